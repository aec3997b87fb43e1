/* fake_nccl.h -- what a test asks the NCCL that is none (fake_nccl.c), which it finds by dlsym. */
#ifndef TESTS_FAKE_NCCL_H
#define TESTS_FAKE_NCCL_H

/* Communicators that were destroyed or aborted so far. */
typedef int (*fake_nccl_ended_function)(void);
int fake_nccl_ended(void);

#endif
