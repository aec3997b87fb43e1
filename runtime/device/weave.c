/* weave.c -- see weave.h. */
#include "weave.h"

#include "error.h"
#include "memory.h"

#include <string.h>

mxg_status mxg_weave_make(mxg_weave *weave, uint32_t programs, uint32_t turns, mxg_error *err) {
  *weave = (mxg_weave){.count = programs, .turns = turns};
  weave->programs = mxg_alloc(programs * sizeof(mxg_gpu_program *));
  weave->at = mxg_alloc(programs * sizeof *weave->at);
  weave->passed = mxg_alloc(turns * sizeof *weave->passed);
  if (weave->programs && weave->at && weave->passed) return MXG_OK;
  mxg_weave_free(weave);
  return mxg_fail_nomem(err);
}

void mxg_weave_free(mxg_weave *weave) {
  mxg_free(weave->programs);
  mxg_free(weave->at);
  mxg_free(weave->passed);
  *weave = (mxg_weave){0};
}

void mxg_weave_begin(mxg_weave *weave) {
  weave->current = 0;
  memset(weave->at, 0, weave->count * sizeof *weave->at);
  memset(weave->passed, 0, weave->turns * sizeof *weave->passed);
}

bool mxg_weave_next(mxg_weave *weave, uint32_t *program, size_t *op) {
  for (uint32_t tried = 0; tried < weave->count; tried++) {
    const mxg_gpu_program *p = weave->programs[weave->current];
    size_t *at = &weave->at[weave->current];
    const mxg_gpu_op *next = *at < p->count ? &p->ops[*at] : NULL;
    if (next && (next->kind != MXG_OP_TAKE || weave->passed[next->index])) {
      if (next->kind == MXG_OP_PASS) weave->passed[next->index] = true;
      *program = weave->current;
      *op = (*at)++;
      return true;
    }
    weave->current = (weave->current + 1) % weave->count;
  }
  return false;
}

bool mxg_weave_is_over(const mxg_weave *weave) {
  for (uint32_t i = 0; i < weave->count; i++)
    if (weave->at[i] < weave->programs[i]->count) return false;
  return true;
}
