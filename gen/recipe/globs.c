/* globs.c -- see globs.h. A pattern becomes a small program; all its threads step through the text together (Pike's
** method), so no pattern can backtrack. Literal ends are compared first: most texts are refused there. */
#include "globs.h"

#include <string.h>

typedef enum opcode { OP_CHAR, OP_SEGMENT, OP_ANY, OP_SPLIT, OP_JUMP, OP_SAVE, OP_MATCH } opcode;

typedef struct op {
  uint8_t code;
  char c;
  uint16_t a, b; /* SPLIT: a is tried first. JUMP: a. SAVE: slot a */
} op;

enum { slots = 2 * MXG_GLOB_CAPTURES, deepest_brace = 8 };

typedef struct thread {
  uint16_t pc;
  size_t at[slots];
} thread;

typedef struct undo {
  uint16_t pc;   /* to visit, or */
  uint16_t slot; /* slot + 1 to restore; 0: none */
  size_t old;
} undo;

typedef struct thread_list {
  thread *threads;
  uint32_t count;
} thread_list;

struct mxg_glob {
  const char *pattern;
  size_t prefix, suffix, bytes; /* literal bytes at both ends */
  bool literal;
  uint32_t stars, op_count;
  op *ops;
  thread_list now, next;
  uint32_t *seen; /* the step in which an op was last added */
  undo *stack;
  uint32_t step;
};

typedef struct compiler {
  mxg_glob *glob;
  const char *at, *end;
  uint32_t room;
  const char *wrong;
} compiler;

static uint16_t emit(compiler *c, opcode code) {
  if (c->glob->op_count == c->room) {
    c->wrong = "is too long";
    return 0;
  }
  op *o = &c->glob->ops[c->glob->op_count];
  o->code = (uint8_t)code;
  return (uint16_t)c->glob->op_count++;
}

static void star(compiler *c) {
  mxg_glob *g = c->glob;
  opcode any = OP_SEGMENT;
  c->at++;
  while (c->at < c->end && *c->at == '*') {
    any = OP_ANY;
    c->at++;
  }
  if (g->stars == MXG_GLOB_CAPTURES) {
    c->wrong = "has more than 9 stars";
    return;
  }
  uint16_t slot = (uint16_t)(2 * g->stars++);
  g->ops[emit(c, OP_SAVE)].a = slot;
  uint16_t split = emit(c, OP_SPLIT);
  uint16_t one = emit(c, any);
  uint16_t back = emit(c, OP_JUMP);
  uint16_t done = emit(c, OP_SAVE);
  g->ops[split].a = one;
  g->ops[split].b = done;
  g->ops[back].a = split;
  g->ops[done].a = (uint16_t)(slot + 1);
}

static void sequence(compiler *c, unsigned depth);

static void braces(compiler *c, unsigned depth) {
  mxg_glob *g = c->glob;
  uint16_t last_jump = 0; /* chained through `b` until the end is known; op 0 is never a jump */
  c->at++;
  for (;;) {
    uint16_t split = emit(c, OP_SPLIT);
    sequence(c, depth + 1);
    if (c->wrong) return;
    if (c->at == c->end) {
      c->wrong = "has a '{' without its '}'";
      return;
    }
    uint16_t jump = emit(c, OP_JUMP);
    g->ops[jump].b = last_jump;
    last_jump = jump;
    g->ops[split].a = (uint16_t)(split + 1);
    g->ops[split].b = (uint16_t)g->op_count;
    if (*c->at++ == '}') {
      g->ops[split].b = g->ops[split].a; /* the last alternative has no other */
      break;
    }
  }
  while (last_jump) {
    uint16_t before = g->ops[last_jump].b;
    g->ops[last_jump].a = (uint16_t)g->op_count;
    last_jump = before;
  }
}

/* Up to the end, or up to the ',' or '}' of the braces around it. */
static void sequence(compiler *c, unsigned depth) {
  if (depth > deepest_brace) {
    c->wrong = "has braces nested too deeply";
    return;
  }
  while (c->at < c->end && !c->wrong) {
    if (*c->at == '*') {
      star(c);
    } else if (*c->at == '{') {
      braces(c, depth);
    } else if (depth && (*c->at == ',' || *c->at == '}')) {
      return;
    } else if (*c->at == '}') {
      c->wrong = "has a '}' without its '{'";
    } else {
      c->glob->ops[emit(c, OP_CHAR)].c = *c->at++;
    }
  }
}

mxg_status mxg_glob_build(mxg_glob **out, const char *pattern, mxg_arena *arena, mxg_error *err) {
  *out = NULL;
  size_t bytes = strlen(pattern);
  if (bytes == 0) return mxg_fail(err, MXG_ERR_INPUT, 208, "the pattern is empty");
  if (bytes > MXG_GLOB_BYTES)
    return mxg_fail(err, MXG_ERR_INPUT, 208, "the pattern is longer than %d bytes", (int)MXG_GLOB_BYTES);
  mxg_glob *glob = mxg_arena_alloc(arena, 1, sizeof *glob);
  uint32_t room = (uint32_t)bytes * 2 + 5 * MXG_GLOB_CAPTURES + 4;
  if (!glob || !(glob->ops = mxg_arena_alloc(arena, room, sizeof *glob->ops)) ||
      !(glob->pattern = mxg_arena_text(arena, pattern, bytes)))
    return mxg_fail_nomem(err);
  glob->bytes = bytes;
  glob->prefix = strcspn(pattern, "*{");
  glob->literal = glob->prefix == bytes;
  while (glob->suffix < bytes && !strchr("*}{,", pattern[bytes - 1 - glob->suffix])) glob->suffix++;
  if (glob->literal && !strchr(pattern, '}')) {
    *out = glob;
    return MXG_OK;
  }
  compiler c = {glob, pattern, pattern + bytes, room, NULL};
  sequence(&c, 0);
  emit(&c, OP_MATCH);
  if (c.wrong) return mxg_fail(err, MXG_ERR_INPUT, 208, "the pattern '%.100s' %s", pattern, c.wrong);
  uint32_t count = glob->op_count;
  glob->now.threads = mxg_arena_alloc(arena, count, sizeof(thread));
  glob->next.threads = mxg_arena_alloc(arena, count, sizeof(thread));
  glob->seen = mxg_arena_alloc(arena, count, sizeof *glob->seen);
  glob->stack = mxg_arena_alloc(arena, 2 * (size_t)count + 2, sizeof *glob->stack);
  if (!glob->now.threads || !glob->next.threads || !glob->seen || !glob->stack) return mxg_fail_nomem(err);
  *out = glob;
  return MXG_OK;
}

/* Follows jumps, splits and saves from pc; every op is added at most once a step. `at` is restored before the return.
 */
static void add_thread(mxg_glob *g, thread_list *list, uint16_t pc, size_t position, size_t *at) {
  uint32_t depth = 0;
  g->stack[depth++] = (undo){.pc = pc};
  while (depth) {
    undo u = g->stack[--depth];
    if (u.slot) {
      at[u.slot - 1] = u.old;
      continue;
    }
    if (g->seen[u.pc] == g->step) continue;
    g->seen[u.pc] = g->step;
    const op *o = &g->ops[u.pc];
    if (o->code == OP_JUMP) {
      g->stack[depth++] = (undo){.pc = o->a};
    } else if (o->code == OP_SPLIT) {
      g->stack[depth++] = (undo){.pc = o->b};
      g->stack[depth++] = (undo){.pc = o->a};
    } else if (o->code == OP_SAVE) {
      g->stack[depth++] = (undo){.slot = (uint16_t)(o->a + 1), .old = at[o->a]};
      g->stack[depth++] = (undo){.pc = (uint16_t)(u.pc + 1)};
      at[o->a] = position;
    } else {
      thread *t = &list->threads[list->count++];
      t->pc = u.pc;
      memcpy(t->at, at, 2 * g->stars * sizeof *at);
    }
  }
}

static bool accepts(const op *o, char c) {
  return o->code == OP_ANY || (o->code == OP_SEGMENT && c != '.') || (o->code == OP_CHAR && o->c == c);
}

bool mxg_glob_match(mxg_glob *g, const char *text, size_t bytes, mxg_capture *captures) {
  if (captures) memset(captures, 0, MXG_GLOB_CAPTURES * sizeof *captures);
  if (g->op_count == 0) return bytes == g->bytes && memcmp(text, g->pattern, bytes) == 0;
  if (bytes < g->prefix + g->suffix || memcmp(text, g->pattern, g->prefix) != 0) return false;
  if (memcmp(text + bytes - g->suffix, g->pattern + g->bytes - g->suffix, g->suffix) != 0) return false;
  size_t at[slots] = {0};
  if (++g->step == 0) { /* the counter went round: forget all marks */
    memset(g->seen, 0, g->op_count * sizeof *g->seen);
    g->step = 1;
  }
  g->now.count = 0;
  add_thread(g, &g->now, 0, 0, at);
  for (size_t i = 0; i <= bytes; i++) {
    g->next.count = 0;
    if (++g->step == 0) {
      memset(g->seen, 0, g->op_count * sizeof *g->seen);
      g->step = 1;
    }
    for (uint32_t k = 0; k < g->now.count; k++) {
      thread *t = &g->now.threads[k];
      const op *o = &g->ops[t->pc];
      if (o->code == OP_MATCH) {
        if (i < bytes) continue;
        for (uint32_t s = 0; captures && s < g->stars; s++)
          captures[s] = (mxg_capture){t->at[2 * s], t->at[2 * s + 1] - t->at[2 * s]};
        return true;
      }
      if (i < bytes && accepts(o, text[i])) add_thread(g, &g->next, (uint16_t)(t->pc + 1), i + 1, t->at);
    }
    thread_list swap = g->now;
    g->now = g->next;
    g->next = swap;
    if (g->now.count == 0) return false;
  }
  return false;
}

uint32_t mxg_glob_stars(const mxg_glob *glob) { return glob->stars; }
