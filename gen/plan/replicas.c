/* replicas.c -- see replicas.h. */
#include "replicas.h"

#include "error.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

typedef struct named {
  const char *name;
  uint32_t array, rank;
} named;

static int by_name_then_rank(const void *a, const void *b) {
  const named *x = a, *y = b;
  int order = x->name == y->name ? 0 : strcmp(x->name, y->name);
  return order ? order : x->rank < y->rank ? -1 : x->rank > y->rank;
}

static bool same_tensor(const mxg_array *a, const mxg_array *b) {
  return a->whole && b->whole && a->encoding == b->encoding && a->ndim == b->ndim && a->matrices == b->matrices &&
         a->rows == b->rows && a->cols == b->cols;
}

mxg_status mxg_plan_first_arrays(bool *first, const mxg_plan *plan, const bool *wanted, mxg_error *err) {
  named *list = mxg_alloc((size_t)plan->array_count * sizeof *list);
  if (!list) return mxg_fail_nomem(err);
  size_t count = 0;
  memset(first, 0, plan->array_count * sizeof *first);
  for (uint32_t a = 0; a < plan->array_count; a++) {
    const mxg_array *array = &plan->arrays[a];
    if (array->side == MXG_TARGET && (!wanted || wanted[array->rank]))
      list[count++] = (named){plan->strings + array->name, a, array->rank};
  }
  qsort(list, count, sizeof *list, by_name_then_rank);
  for (size_t i = 0; i < count; i++) {
    bool known = i > 0 && !strcmp(list[i].name, list[i - 1].name) &&
                 same_tensor(&plan->arrays[list[i].array], &plan->arrays[list[i - 1].array]);
    first[list[i].array] = !known;
  }
  mxg_free(list);
  return MXG_OK;
}

mxg_status mxg_plan_replicas(bool *replica, const mxg_plan *plan, mxg_error *err) {
  bool *first = mxg_alloc(plan->array_count * sizeof *first);
  if (!first) return mxg_fail_nomem(err);
  mxg_status status = mxg_plan_first_arrays(first, plan, NULL, err);
  for (uint32_t r = 0; status == MXG_OK && r < plan->rank_count; r++) {
    const mxg_rank *row = &plan->ranks[r];
    replica[r] = row->targets > 0;
    for (uint32_t a = row->first_target; a < row->first_target + row->targets; a++)
      if (first[a]) replica[r] = false;
  }
  mxg_free(first);
  return status;
}
