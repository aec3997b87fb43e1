/* sandbox.h -- runs a recipe's Lua text where it can neither hang, nor read or write anything, nor differ between two
** runs: an allow-list of functions, one memory cap, one instruction cap. Knows nothing of what recipes say: recipe.c
** brings the functions behind mx.lua. Functions that take a lua_State may leave by a Lua error and hold no C resource.
*/
#ifndef MXG_SANDBOX_H
#define MXG_SANDBOX_H

#include "model.h"
#include "place.h"

#include "error.h"

#include <lua.h>
#include <time.h>

enum {
  MXG_SANDBOX_BYTES = 64 << 20,       /* Lua's memory and what recipe.c keeps of the recipe, each */
  MXG_SANDBOX_STEPS = 50 * 1000000,   /* VM instructions, and allocated bytes / 32 */
  MXG_SANDBOX_SECONDS = 2,            /* of processor time: what no counter of instructions sees */
  MXG_SANDBOX_TEXT_BYTES = 1 << 20,   /* one file */
  MXG_SANDBOX_STRING_BYTES = 1 << 16, /* one string */
  MXG_SANDBOX_DEPTH = 16,             /* includes within includes */
  MXG_SANDBOX_FILES = 256
};

typedef struct mxg_recipe_file {
  const char *path; /* as people see it: the recipe's folder as given, joined with the include's name */
  const char *real;
  const char *text;
  size_t bytes;
  unsigned char digest[32]; /* SHA-256 of the file as it was read */
  mxg_places places;
  bool loading;
  int value; /* registry reference of what it returned */
} mxg_recipe_file;

typedef struct mxg_sandbox {
  lua_State *lua;
  mxg_arena *arena;
  const mxg_recipe_options *options;
  bool *define_used;
  const char **params; /* names that mx.param asked for, in order */
  uint32_t param_count, param_room;
  mxg_recipe_file *files;
  uint32_t file_count, depth;
  uint32_t chain[MXG_SANDBOX_DEPTH]; /* files being loaded, outermost first */
  const char *folder, *real_folder;
  size_t lua_bytes, arena_start;
  uint64_t steps;
  struct timespec began;
  bool out_of_cap, long_string, failed;
  uint32_t refused_file; /* where the first refused allocation was; MXG_NONE */
  int refused_line;
  mxg_error error; /* set when failed */
  int (*open_core)(lua_State *L);
  void (*take)(lua_State *L, void *user);
  void *user;
} mxg_sandbox;

/* Runs the recipe at `path`. `open_core` pushes the table that mx.lua gets as its only argument; `take` is called
** with the recipe's value on top of the stack. Both run protected. `files` gets what was read, even on failure. */
mxg_status mxg_sandbox_run(const char *path, const mxg_recipe_options *options, int (*open_core)(lua_State *L),
                           void (*take)(lua_State *L, void *user), void *user, mxg_files *files, mxg_arena *arena,
                           mxg_error *err);

mxg_sandbox *mxg_sandbox_of(lua_State *L);

/* The recipe's call that is being served: the innermost frame of recipe text. */
typedef struct mxg_call {
  uint32_t file; /* MXG_NONE: no recipe frame is left (a tail call) */
  int line;
  bool method;
  char name[64]; /* as the recipe calls it; "" unknown */
} mxg_call;
mxg_call mxg_sandbox_call(lua_State *L);

/* Leave by a Lua error. `_fail` fills the sandbox's error first; more can be added by filling it before `_raise`. */
int mxg_sandbox_raise(lua_State *L);
int mxg_sandbox_fail(lua_State *L, const mxg_origin *origin, unsigned code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds to the instructions used; does not return when that is too much. For C functions whose work grows with a value.
 */
void mxg_sandbox_charge(lua_State *L, uint64_t steps);

/* Arena memory that counts against the cap; does not return on failure. */
void *mxg_sandbox_alloc(lua_State *L, size_t count, size_t size);
char *mxg_sandbox_text(lua_State *L, const char *text, size_t bytes);

/* Pushes a read-only view of the table on top of the stack, replacing it: an unknown key is an error that says `label`
** and the nearest known key. */
void mxg_sandbox_freeze(lua_State *L, const char *label);

#endif
