/* sandbox.c -- the state, its caps, files and includes, and how an error finds its line. What a recipe may call is in
** sandbox_library.c. See sandbox.h. */
#define _XOPEN_SOURCE 700 /* realpath */

#include "sandbox.h"

#include "embedded.h"
#include "hash.h"
#include "sandbox_library.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <lauxlib.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { hook_interval = 1000 };

mxg_sandbox *mxg_sandbox_of(lua_State *L) {
  mxg_sandbox *box;
  memcpy(&box, lua_getextraspace(L), sizeof box);
  return box;
}

/* ---- caps ------------------------------------------------------------------------------------------------------- */

static uint32_t chunk_file(const char *source);

/* Remembers the recipe's line. Only looks at the stack: Lua is in the middle of something. */
static void refuse(mxg_sandbox *box, bool *why) {
  lua_Debug frame;
  *why = true;
  box->refused_file = MXG_NONE;
  for (int level = 0; box->lua && box->refused_file == MXG_NONE && lua_getstack(box->lua, level, &frame); level++) {
    lua_getinfo(box->lua, "Sl", &frame);
    box->refused_file = chunk_file(frame.source);
    box->refused_line = frame.currentline;
  }
}

/* Lua passes a type tag, not a size, as `old_bytes` when there is no old block. */
static void *capped_memory(void *user, void *old, size_t old_bytes, size_t bytes) {
  mxg_sandbox *box = user;
  bool is_string = !old && old_bytes == LUA_TSTRING;
  if (!old) old_bytes = 0;
  if (bytes == 0) {
    mxg_free(old);
    box->lua_bytes -= old_bytes;
    return NULL;
  }
  if (is_string && bytes > MXG_SANDBOX_STRING_BYTES) {
    refuse(box, &box->long_string);
    return NULL;
  }
  if (bytes > old_bytes && box->lua_bytes + (bytes - old_bytes) > MXG_SANDBOX_BYTES) {
    refuse(box, &box->out_of_cap);
    return NULL;
  }
  void *fresh = mxg_resize(old, bytes);
  if (!fresh) return bytes <= old_bytes ? old : NULL; /* Lua relies on shrinking */
  box->lua_bytes = box->lua_bytes - old_bytes + bytes;
  box->steps += bytes / 32;
  return fresh;
}

void mxg_sandbox_charge(lua_State *L, uint64_t steps) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  struct timespec now;
  box->steps += steps;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  int64_t spent = (int64_t)(now.tv_sec - box->began.tv_sec) * 1000000000 + (now.tv_nsec - box->began.tv_nsec);
  if (box->steps <= MXG_SANDBOX_STEPS && spent <= MXG_SANDBOX_SECONDS * INT64_C(1000000000)) return;
  mxg_call call = mxg_sandbox_call(L);
  mxg_origin origin = {0};
  if (call.file != MXG_NONE) origin = (mxg_origin){box->files[call.file].path, call.line, 0, 0};
  mxg_sandbox_fail(L, &origin, 102, "the recipe does not end: it reached %d million instructions or %d seconds",
                   (int)(MXG_SANDBOX_STEPS / 1000000), (int)MXG_SANDBOX_SECONDS);
}

static void on_count(lua_State *L, lua_Debug *unused) {
  (void)unused;
  mxg_sandbox_charge(L, hook_interval);
}

void *mxg_sandbox_alloc(lua_State *L, size_t count, size_t size) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  void *p = mxg_arena_alloc(box->arena, count, size);
  if (!p) {
    mxg_fail_nomem(&box->error);
    mxg_sandbox_raise(L);
  }
  if (box->arena->total - box->arena_start > MXG_SANDBOX_BYTES) {
    mxg_call call = mxg_sandbox_call(L);
    mxg_origin origin = {0};
    if (call.file != MXG_NONE) origin = (mxg_origin){box->files[call.file].path, call.line, 0, 0};
    mxg_sandbox_fail(L, &origin, 103, "the recipe needs more than %d MiB", (int)(MXG_SANDBOX_BYTES >> 20));
  }
  return p;
}

char *mxg_sandbox_text(lua_State *L, const char *text, size_t bytes) {
  char *copy = mxg_sandbox_alloc(L, bytes + 1, 1);
  memcpy(copy, text, bytes);
  return copy;
}

/* ---- errors ----------------------------------------------------------------------------------------------------- */

int mxg_sandbox_raise(lua_State *L) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  box->failed = true;
  lua_pushlightuserdata(L, box);
  return lua_error(L);
}

int mxg_sandbox_fail(lua_State *L, const mxg_origin *origin, unsigned code, const char *format, ...) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  char text[sizeof box->error.text];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  mxg_fail(&box->error, MXG_ERR_INPUT, code, "%s", text);
  const char *file = origin && origin->file ? origin->file : box->files[0].path;
  mxg_error_place(&box->error, file, origin ? origin->line : 0, origin ? origin->column : 0, origin ? origin->span : 0);
  return mxg_sandbox_raise(L);
}

/* Chunks of recipes are named "=<index of the file>", ours "=mx". */
static uint32_t chunk_file(const char *source) {
  return source[0] == '=' && source[1] >= '0' && source[1] <= '9' ? (uint32_t)strtoul(source + 1, NULL, 10) : MXG_NONE;
}

mxg_call mxg_sandbox_call(lua_State *L) {
  mxg_call call = {.file = MXG_NONE};
  lua_Debug frame;
  for (int level = 0; lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "Sln", &frame);
    uint32_t file = chunk_file(frame.source);
    if (file != MXG_NONE) {
      call.file = file;
      call.line = frame.currentline;
      return call;
    }
    /* The name by which the frame was called; it counts if the next frame is the recipe's. */
    call.method = frame.name && strcmp(frame.namewhat, "method") == 0;
    snprintf(call.name, sizeof call.name, "%s", frame.name ? frame.name : "");
  }
  call.name[0] = 0;
  return call;
}

/* Points at the name that Lua quotes last in its message ("... (field 'bf17')"), where the line has it. */
static mxg_origin word_origin(const mxg_recipe_file *file, int line, const char *message) {
  mxg_origin origin = {file->path, line, 0, 0};
  char word[64];
  const char *end = strrchr(message, '\''), *begin = end;
  while (begin && begin > message && begin[-1] != '\'') begin--;
  if (!begin || begin == end || (size_t)(end - begin) >= sizeof word) return origin;
  memcpy(word, begin, (size_t)(end - begin));
  word[end - begin] = 0;
  uint32_t token = mxg_place_word(&file->places, line, word);
  if (token) {
    origin.column = file->places.tokens[token].column;
    origin.span = file->places.tokens[token].width;
  }
  return origin;
}

/* Takes "7:12: text" apart, and drops the "mx:12: " of our own files. Returns the text. */
static const char *split_message(const char *message, uint32_t *file, int *line) {
  char *end;
  if (strncmp(message, "mx:", 3) == 0) {
    strtol(message + 3, &end, 10);
    return end[0] == ':' && end[1] == ' ' ? end + 2 : message;
  }
  *file = (uint32_t)strtoul(message, &end, 10);
  if (end == message || *end != ':') return message;
  const char *digits = end + 1;
  long number = strtol(digits, &end, 10);
  if (end == digits || end[0] != ':' || end[1] != ' ') return message;
  *line = (int)number;
  return end + 2;
}

/* What Lua sees only at the end of a function names its line in the text. */
static void take_line(const char *text, int *line) {
  const char *at = strstr(text, " at line ");
  if (at && (!strncmp(text, "break outside", 13) || !strncmp(text, "no visible label", 16) || text[0] == '<'))
    *line = (int)strtol(at + 9, NULL, 10);
}

/* Turns Lua's own message into an error with a place. */
static void take_message(mxg_sandbox *box, unsigned code, const char *message, mxg_call call) {
  uint32_t file = call.file == MXG_NONE ? 0 : call.file;
  int line = call.line;
  uint32_t said_file = file;
  const char *text = split_message(message, &said_file, &line);
  bool said = text != message && said_file < box->file_count;
  if (said) file = said_file;
  if (said) take_line(text, &line);
  if (!said) line = call.line;
  mxg_origin origin = word_origin(&box->files[file], line, text);
  char flat[400];
  snprintf(flat, sizeof flat, "%s", text);
  for (char *c = flat; *c; c++)
    if ((unsigned char)*c < 0x20) *c = ' ';
  mxg_fail(&box->error, MXG_ERR_INPUT, code, "%s", flat);
  mxg_error_place(&box->error, origin.file, origin.line, origin.column, origin.span);
  box->failed = true;
}

static int on_error(lua_State *L) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  if (box->failed) return 1;
  const char *message = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
  char room[64];
  if (!message) {
    snprintf(room, sizeof room, "the recipe raised a %s, not a text", luaL_typename(L, 1));
    message = room;
  }
  take_message(box, 104, message, mxg_sandbox_call(L));
  return 1;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

/* Reads the whole file into the arena, all or nothing. */
static const char *read_text(lua_State *L, const char *path, const mxg_origin *origin, size_t *bytes) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info;
  if (fd < 0 || fstat(fd, &info) != 0) {
    int why = errno;
    if (fd >= 0) close(fd);
    mxg_sandbox_fail(L, origin, 106, "cannot read '%.200s': %s", path, strerror(why));
    return NULL;
  }
  if (!S_ISREG(info.st_mode) || info.st_size > MXG_SANDBOX_TEXT_BYTES) {
    close(fd);
    mxg_sandbox_fail(L, origin, 106,
                     S_ISREG(info.st_mode) ? "'%.200s' is larger than 1 MiB, too large for a recipe"
                                           : "'%.200s' is not a regular file",
                     path);
    return NULL;
  }
  size_t size = (size_t)info.st_size, got = 0;
  char *text = mxg_arena_alloc(mxg_sandbox_of(L)->arena, size + 1, 1);
  ssize_t n = 1;
  while (text && got < size && (n = read(fd, text + got, size - got)) > 0) got += (size_t)n;
  int why = errno;
  close(fd);
  if (!text) {
    mxg_fail_nomem(&mxg_sandbox_of(L)->error);
    mxg_sandbox_raise(L);
  }
  if (n < 0) mxg_sandbox_fail(L, origin, 106, "cannot read '%.200s': %s", path, strerror(why));
  *bytes = got;
  return text;
}

/* A parser's message names the token it stopped at, which the line may have several times. The one that is meant is the
** first at which the text can end and give the same message. Leaves the error's column. */
static void find_syntax_column(lua_State *L, const mxg_recipe_file *file, const char *name, const char *message) {
  enum { most_tries = 16 };
  mxg_error *err = &mxg_sandbox_of(L)->error;
  const mxg_places *places = &file->places;
  uint32_t first = 1;
  while (first <= places->count && places->tokens[first].line < err->line) first++;
  for (uint32_t i = first, tries = 0; i <= places->count && places->tokens[i].line == err->line; i++) {
    const mxg_token *token = &places->tokens[i];
    if (token->column < err->column || token->width != err->span) continue;
    if (tries++ == most_tries) return;
    int status = luaL_loadbufferx(L, file->text, token->start + token->bytes, name, "t");
    bool same = status == LUA_ERRSYNTAX && strcmp(lua_tostring(L, -1), message) == 0;
    lua_pop(L, 1);
    if (!same) continue;
    err->column = token->column;
    err->span = token->width;
    return;
  }
}

/* Loads and runs a file; its value is left on the stack. */
static int run_file(lua_State *L, const char *path, const char *real, const mxg_origin *origin) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  if (box->file_count == MXG_SANDBOX_FILES)
    return mxg_sandbox_fail(L, origin, 108, "more than %d files are included", (int)MXG_SANDBOX_FILES);
  uint32_t index = box->file_count;
  mxg_recipe_file *file = &box->files[index];
  *file = (mxg_recipe_file){.path = path, .real = real, .loading = true, .value = LUA_NOREF};
  size_t bytes = 0;
  const char *text = read_text(L, real, origin, &bytes);
  mxg_sha256 hash;
  mxg_sha256_begin(&hash);
  mxg_sha256_add(&hash, text, bytes);
  mxg_sha256_end(&hash, file->digest);
  if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) text += 3, bytes -= 3;
  if (bytes && text[0] == '#') { /* the line's end stays, so that lines keep their numbers */
    const char *end = memchr(text, '\n', bytes);
    bytes = end ? bytes - (size_t)(end - text) : 0;
    text = end ? end : text;
  }
  file->text = text;
  file->bytes = bytes;
  box->file_count++;
  box->chain[box->depth++] = index;
  mxg_origin top = {path, 1, 1, 1};
  if (bytes && text[0] == LUA_SIGNATURE[0])
    return mxg_sandbox_fail(L, &top, 101, "this is Lua bytecode; recipes are text");
  if (!mxg_places_build(&file->places, text, bytes, box->arena)) {
    mxg_fail_nomem(&box->error);
    return mxg_sandbox_raise(L);
  }
  char name[16];
  snprintf(name, sizeof name, "=%u", (unsigned)index);
  int status = luaL_loadbufferx(L, text, bytes, name, "t");
  if (status == LUA_ERRMEM) return lua_error(L);
  if (status != LUA_OK) {
    take_message(box, 101, lua_tostring(L, -1), (mxg_call){.file = index});
    if (status == LUA_ERRSYNTAX && box->error.column) find_syntax_column(L, file, name, lua_tostring(L, -1));
    return mxg_sandbox_raise(L);
  }
  mxg_sandbox_environment(L);
  lua_setupvalue(L, -2, 1);
  lua_call(L, 0, 1);
  box->files[index].loading = false;
  box->depth--;
  lua_pushvalue(L, -1);
  box->files[index].value = luaL_ref(L, LUA_REGISTRYINDEX);
  return 1;
}

static int include_cycle(lua_State *L, const mxg_origin *origin, uint32_t again) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  char chain[400] = "";
  size_t used = 0;
  for (uint32_t i = 0; i < box->depth; i++)
    if (used < sizeof chain)
      used += (size_t)snprintf(chain + used, sizeof chain - used, "%s -> ", box->files[box->chain[i]].path);
  if (used < sizeof chain) snprintf(chain + used, sizeof chain - used, "%s", box->files[again].path);
  mxg_fail(&box->error, MXG_ERR_INPUT, 110, "the recipe includes itself");
  mxg_error_place(&box->error, origin->file, origin->line, origin->column, origin->span);
  mxg_error_note(&box->error, "the chain is %s", chain);
  return mxg_sandbox_raise(L);
}

int mxg_sandbox_include(lua_State *L) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  mxg_call call = mxg_sandbox_call(L);
  size_t bytes = 0;
  const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &bytes) : NULL;
  mxg_origin origin = {0};
  if (call.file != MXG_NONE) {
    const mxg_recipe_file *from = &box->files[call.file];
    origin = (mxg_origin){from->path, call.line, 0, 0};
    uint32_t token = name ? mxg_place_word(&from->places, call.line, name) : 0;
    if (token) {
      origin.column = from->places.tokens[token].column;
      origin.span = from->places.tokens[token].width;
    }
  }
  if (!name || !bytes || strlen(name) != bytes)
    return mxg_sandbox_fail(L, &origin, 107, "include takes the name of a file beside the recipe");
  const char *path = box->folder[0] ? mxg_arena_format(box->arena, "%s/%s", box->folder, name)
                                    : mxg_arena_text(box->arena, name, bytes);
  char joined[2 * PATH_MAX], real[PATH_MAX];
  if (!path) {
    mxg_fail_nomem(&box->error);
    return mxg_sandbox_raise(L);
  }
  int n = snprintf(joined, sizeof joined, "%s/%s", box->real_folder, name);
  if (name[0] == '/' || n < 0 || n >= PATH_MAX)
    return mxg_sandbox_fail(L, &origin, 107, "include '%.100s' is outside of the recipe's folder", name);
  bool exists = realpath(joined, real) != NULL;
  size_t folder = strlen(box->real_folder);
  bool inside = exists && strncmp(real, box->real_folder, folder) == 0 && (folder == 1 || real[folder] == '/');
  if ((exists && !inside) || (!exists && strstr(name, "..")))
    return mxg_sandbox_fail(L, &origin, 107, "include '%.100s' is outside of the recipe's folder", name);
  if (!exists) return mxg_sandbox_fail(L, &origin, 106, "cannot read '%.200s': %s", path, strerror(ENOENT));
  for (uint32_t i = 0; i < box->file_count; i++) {
    if (strcmp(box->files[i].real, real) != 0) continue;
    if (box->files[i].loading) return include_cycle(L, &origin, i);
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->files[i].value);
    return 1;
  }
  if (box->depth == MXG_SANDBOX_DEPTH)
    return mxg_sandbox_fail(L, &origin, 108, "includes are nested more than %d deep", (int)MXG_SANDBOX_DEPTH);
  return run_file(L, path, mxg_sandbox_text(L, real, strlen(real)), &origin);
}

/* ---- one run ---------------------------------------------------------------------------------------------------- */

static const mxg_embedded *embedded(const char *name) {
  for (const mxg_embedded *file = mxg_embedded_files; file->name; file++)
    if (strcmp(file->name, name) == 0) return file;
  return NULL;
}

/* Runs one of our own Lua files with the table on top of the stack as its argument; leaves its value. */
void mxg_sandbox_own_file(lua_State *L, const char *name) {
  const mxg_embedded *file = embedded(name);
  if (!file || luaL_loadbufferx(L, file->text, file->bytes, "=mx", "t") != LUA_OK) lua_error(L);
  lua_insert(L, -2);
  lua_call(L, 1, 1);
}

static int protected_run(lua_State *L) {
  mxg_sandbox *box = mxg_sandbox_of(L);
  const char *path = lua_touserdata(L, 1);
  lua_settop(L, 0);
  mxg_sandbox_open_library(L);
  char real[PATH_MAX];
  const char *slash = strrchr(path, '/');
  box->folder = mxg_sandbox_text(L, path, slash ? (slash == path ? 1 : (size_t)(slash - path)) : 0);
  box->files = mxg_sandbox_alloc(L, MXG_SANDBOX_FILES, sizeof *box->files);
  box->files[0].path = path;
  if (!realpath(path, real)) {
    int why = errno;
    mxg_fail(&box->error, MXG_ERR_IO, 106, "cannot read '%.200s': %s", path, strerror(why));
    return mxg_sandbox_raise(L);
  }
  const char *last = strrchr(real, '/');
  box->real_folder = mxg_sandbox_text(L, real, last == real ? 1 : (size_t)(last - real));
  lua_sethook(L, on_count, LUA_MASKCOUNT, hook_interval);
  mxg_origin origin = {path, 0, 0, 0};
  run_file(L, path, mxg_sandbox_text(L, real, strlen(real)), &origin);
  lua_sethook(L, NULL, 0, 0);
  box->take(L, box->user);
  return 0;
}

static mxg_status list_files(const mxg_sandbox *box, mxg_files *files) {
  if (!files) return MXG_OK;
  *files = (mxg_files){0};
  if (!box->file_count) return MXG_OK;
  files->paths = mxg_arena_alloc(box->arena, box->file_count, sizeof *files->paths);
  files->digests = mxg_arena_alloc(box->arena, box->file_count, sizeof *files->digests);
  if (!files->paths || !files->digests) return MXG_ERR_NOMEM;
  for (uint32_t i = 0; i < box->file_count; i++) {
    files->paths[i] = box->files[i].path;
    memcpy(files->digests[i], box->files[i].digest, sizeof files->digests[i]);
  }
  files->count = box->file_count;
  return MXG_OK;
}

/* Runs it. Lua writes and reads numbers by the locale of the thread: what a recipe makes must not depend on it. */
static int run_plainly(lua_State *L, mxg_sandbox *box) {
  if (!strcmp(nl_langinfo(RADIXCHAR), ".")) return lua_pcall(L, 1, 0, 1);
  locale_t before = uselocale((locale_t)0), base = duplocale(before);
  locale_t plain = base ? newlocale(LC_NUMERIC_MASK, "C", base) : (locale_t)0;
  if (!plain) {
    if (base) freelocale(base);
    mxg_fail_nomem(&box->error);
    box->failed = true;
    return LUA_ERRMEM;
  }
  uselocale(plain);
  int status = lua_pcall(L, 1, 0, 1);
  uselocale(before);
  freelocale(plain);
  return status;
}

mxg_status mxg_sandbox_run(const char *path, const mxg_recipe_options *options, int (*open_core)(lua_State *L),
                           void (*take)(lua_State *L, void *user), void *user, mxg_files *files, mxg_arena *arena,
                           mxg_error *err) {
  static const mxg_recipe_options none = {0};
  char *own_path = mxg_arena_text(arena, path, strlen(path));
  mxg_sandbox *box = mxg_arena_alloc(arena, 1, sizeof *box);
  if (!own_path || !box) return mxg_fail_nomem(err);
  *box = (mxg_sandbox){.arena = arena, .open_core = open_core, .take = take, .user = user, .arena_start = arena->total};
  box->refused_file = MXG_NONE;
  box->options = options ? options : &none;
  box->define_used = mxg_arena_alloc(arena, box->options->define_count, sizeof *box->define_used);
  if (!box->define_used) return mxg_fail_nomem(err);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &box->began);
  lua_State *L = lua_newstate(capped_memory, box);
  if (!L) return mxg_fail_nomem(err);
  box->lua = L;
  memcpy(lua_getextraspace(L), &box, sizeof box);
  lua_pushcfunction(L, on_error);
  lua_pushcfunction(L, protected_run);
  lua_pushlightuserdata(L, own_path);
  int status = run_plainly(L, box);
  lua_close(L);
  if (list_files(box, files) != MXG_OK) return mxg_fail_nomem(err);
  if (status == LUA_OK) return MXG_OK;
  if (!box->failed && status == LUA_ERRMEM && (box->long_string || box->out_of_cap)) {
    bool found = box->refused_file != MXG_NONE;
    mxg_fail(&box->error, MXG_ERR_INPUT, 103,
             box->long_string ? "a text of the recipe is longer than %d KiB" : "the recipe needs more than %d MiB",
             box->long_string ? (int)(MXG_SANDBOX_STRING_BYTES >> 10) : (int)(MXG_SANDBOX_BYTES >> 20));
    mxg_error_place(&box->error, found ? box->files[box->refused_file].path : own_path, found ? box->refused_line : 0,
                    0, 0);
  } else if (!box->failed && status == LUA_ERRMEM) {
    mxg_fail_nomem(&box->error);
  } else if (!box->failed) {
    mxg_fail(&box->error, MXG_ERR_INPUT, 104, "the recipe failed while it was reporting an error");
    mxg_error_place(&box->error, own_path, 0, 0, 0);
  }
  if (err) *err = box->error;
  return box->error.status;
}
