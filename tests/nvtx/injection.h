/* injection.h -- what the test's profiler has seen; of one thread. */
#ifndef TESTS_INJECTION_H
#define TESTS_INJECTION_H

typedef struct injection_record {
  char domain[32];
  char names[64][64]; /* of the first ranges, in order */
  unsigned count, wrong, attached;
  int depth, deepest;
} injection_record;

const injection_record *injection_look(void);
typedef const injection_record *(*injection_look_function)(void);

#endif
