/* hash.h without the instructions of one processor: the same tests over the plain code. */
#define MXG_HASH_PORTABLE 1
#include "../../runtime/base/hash.c"
#include "test_hash.c"
