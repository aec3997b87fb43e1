/* tune_file.c -- see tune_file.h: print, parse, and whether a file is about what is here. What is measured is tune.c's.
 */
#include "tune_file.h"

#include "driver.h"
#include "hash.h"
#include "memory.h"
#include "read_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
  const char *name;
  uint32_t transport;
} transports[] = {{"nccl", MXG_NCCL}, {"copy", MXG_COPY}, {"direct", MXG_DIRECT}};

bool mxg_tune_transport(uint32_t *out, const char *name) {
  for (size_t i = 0; i < sizeof transports / sizeof *transports; i++) {
    if (strcmp(name, transports[i].name) != 0) continue;
    *out = transports[i].transport;
    return true;
  }
  return false;
}

const char *mxg_tune_transport_name(uint32_t transport) {
  for (size_t i = 0; i < sizeof transports / sizeof *transports; i++)
    if (transports[i].transport == transport) return transports[i].name;
  return "none";
}

bool mxg_tune_path(char *path, size_t room, const char *recipe) {
  size_t count = strlen(recipe);
  if (count > 4 && !strcmp(recipe + count - 4, ".lua")) count -= 4;
  int n = snprintf(path, room, "%.*s.tune", (int)count, recipe);
  return n > 0 && (size_t)n < room;
}

void mxg_tune_recipe(char hex[65], const mxg_files *files) {
  mxg_sha256 hash;
  unsigned char digest[32];
  mxg_sha256_begin(&hash);
  for (uint32_t i = 0; i < files->count; i++) mxg_sha256_field(&hash, files->digests[i], sizeof files->digests[i]);
  mxg_sha256_end(&hash, digest);
  mxg_sha256_hex(digest, hex);
}

static void seal_of(char hex[17], const char *bytes, size_t count) {
  mxg_sha256 hash;
  unsigned char digest[32];
  char whole[65];
  mxg_sha256_begin(&hash);
  mxg_sha256_add(&hash, bytes, count);
  mxg_sha256_end(&hash, digest);
  mxg_sha256_hex(digest, whole);
  snprintf(hex, 17, "%.16s", whole);
}

/* ---- print ---- */

static void add_word(mxg_text *text, const char *key, const char *value) {
  if (!*value || strchr(value, '\n')) text->failed = true;
  mxg_text_format(text, "%s %s\n", key, value);
}

static void add_count(mxg_text *text, const char *key, uint64_t value) {
  mxg_text_format(text, "%s %llu\n", key, (unsigned long long)value);
}

static void add_comments(mxg_text *text, const char *comments) {
  while (*comments) {
    size_t count = strcspn(comments, "\n");
    mxg_text_puts(text, count ? "# " : "#");
    mxg_text_add(text, comments, count);
    mxg_text_puts(text, "\n");
    comments += count + (comments[count] == '\n');
  }
}

static void add_kernels(mxg_text *text, const mxg_kernel_shapes *shapes) {
  for (unsigned f = 0; f < MXG_FAMILIES; f++) {
    const mxg_kernel_shape *shape = &shapes->of[f];
    if (!shape->threads && !shape->access_bytes) continue;
    if (!mxg_kernel_shape_is_good(shape)) text->failed = true;
    mxg_text_format(text, "kernel %s %u %u\n", mxg_family_name(f), shape->threads, shape->access_bytes);
  }
}

static void add_measured(mxg_text *text, const uint64_t *measured_ns) {
  for (size_t i = 0; i < sizeof transports / sizeof *transports; i++)
    if (measured_ns[transports[i].transport])
      mxg_text_format(text, "measured %s %llu\n", transports[i].name,
                      (unsigned long long)measured_ns[transports[i].transport]);
}

void mxg_tune_print(const mxg_tune *tune, const char *comments, mxg_text *text) {
  size_t begin = text->count;
  char capability[24], seal[17];
  snprintf(capability, sizeof capability, "%u.%u", tune->hints.major, tune->hints.minor);
  mxg_text_format(text, "mxgen tune %d\n", MXG_TUNE_FORMAT);
  add_word(text, "mxgen", tune->mxgen);
  add_word(text, "recipe", tune->recipe);
  for (uint32_t i = 0; i < tune->set_count; i++) add_word(text, "set", tune->sets[i]);
  add_count(text, "gpus", tune->hints.gpus);
  add_word(text, "gpu", tune->hints.gpu);
  add_word(text, "capability", capability);
  add_word(text, "cuda", tune->cuda);
  add_count(text, "copy_pull", tune->copy_pull);
  add_count(text, "kernel_pull", tune->kernel_pull);
  if (comments) add_comments(text, comments);
  add_word(text, "transport", mxg_tune_transport_name(tune->hints.transport));
  add_count(text, "chunk", tune->hints.chunk_bytes);
  add_count(text, "streams", tune->hints.copy_streams);
  add_count(text, "bucket", tune->bucket_bytes);
  add_kernels(text, &tune->shapes);
  add_measured(text, tune->measured_ns);
  add_word(text, "because", tune->because);
  if (text->failed) return;
  seal_of(seal, text->bytes + begin, text->count - begin);
  mxg_text_format(text, "end %s\n", seal);
}

/* ---- parse ---- */

typedef struct reader {
  const char *at, *end;
  unsigned line;
  char *why;
  char value[512]; /* of the last line taken */
} reader;

static bool __attribute__((format(printf, 2, 3))) refuse(reader *r, const char *format, ...) {
  va_list args;
  int n = snprintf(r->why, MXG_TUNE_WHY, "line %u ", r->line);
  va_start(args, format);
  vsnprintf(r->why + n, MXG_TUNE_WHY - (size_t)n, format, args);
  va_end(args);
  return false;
}

/* Takes the next line if it is `key` and something. */
static bool take(reader *r, const char *key) {
  while (r->at < r->end && *r->at == '#') {
    const char *stop = memchr(r->at, '\n', (size_t)(r->end - r->at));
    r->at = stop ? stop + 1 : r->end;
    r->line++;
  }
  size_t key_count = strlen(key), left = (size_t)(r->end - r->at);
  const char *stop = memchr(r->at, '\n', left);
  if (!stop || left <= key_count || memcmp(r->at, key, key_count) != 0 || r->at[key_count] != ' ') return false;
  const char *value = r->at + key_count + 1;
  size_t count = (size_t)(stop - value);
  if (stop <= value || count >= sizeof r->value || memchr(value, 0, count)) return false;
  memcpy(r->value, value, count);
  r->value[count] = 0;
  r->at = stop + 1;
  r->line++;
  return true;
}

static bool take_text(reader *r, const char *key, char *out, size_t room) {
  if (!take(r, key)) return refuse(r, "is not \"%s ...\"", key);
  if (strlen(r->value) >= room) return refuse(r, "is too long");
  memset(out, 0, room);
  memcpy(out, r->value, strlen(r->value));
  return true;
}

static bool read_number(uint64_t *out, const char *text, uint64_t most) {
  uint64_t number = 0;
  if (!*text || (*text == '0' && text[1])) return false;
  for (const char *c = text; *c; c++)
    if (*c < '0' || *c > '9' || !mxg_mul(&number, number, 10) || !mxg_add(&number, number, (uint64_t)(*c - '0')))
      return false;
  *out = number;
  return number <= most;
}

static bool take_number(reader *r, const char *key, uint64_t *out, uint64_t most) {
  if (!take(r, key)) return refuse(r, "is not \"%s N\"", key);
  return read_number(out, r->value, most) || refuse(r, "has no number that %s can be", key);
}

/* The next word of the value, from *at on; "" at its end. */
static const char *next_word(char **at) {
  char *word = *at;
  size_t count = strcspn(word, " ");
  *at = word + count + (word[count] == ' ');
  word[count] = 0;
  return word;
}

/* Families stand in their order, each once. */
static bool take_kernels(reader *r, mxg_kernel_shapes *shapes) {
  unsigned least = 0;
  while (take(r, "kernel")) {
    char *at = r->value;
    const char *name = next_word(&at), *threads = next_word(&at), *bytes = next_word(&at);
    uint64_t numbers[2];
    unsigned f = least;
    while (f < MXG_FAMILIES && strcmp(mxg_family_name(f), name) != 0) f++;
    if (f >= MXG_FAMILIES) return refuse(r, "is after a family of kernels that there is not, or not there");
    if (*at || !read_number(&numbers[0], threads, MXG_THREADS_MOST) ||
        !read_number(&numbers[1], bytes, MXG_ACCESS_BYTES))
      return refuse(r, "is after no shape of kernels");
    shapes->of[f] = (mxg_kernel_shape){(uint32_t)numbers[0], (uint32_t)numbers[1]};
    if ((!numbers[0] && !numbers[1]) || !mxg_kernel_shape_is_good(&shapes->of[f]))
      return refuse(r, "is after a shape that no kernel can have");
    least = f + 1;
  }
  return true;
}

static bool take_measured(reader *r, uint64_t *measured_ns) {
  while (take(r, "measured")) {
    char *at = r->value;
    const char *name = next_word(&at), *number = next_word(&at);
    uint32_t transport;
    uint64_t ns;
    if (!mxg_tune_transport(&transport, name) || measured_ns[transport])
      return refuse(r, "is after a transport that there is not, or twice");
    if (*at || !read_number(&ns, number, (uint64_t)1 << 50) || !ns) return refuse(r, "is after no time");
    measured_ns[transport] = ns;
  }
  return true;
}

static bool take_body(mxg_tune *t, reader *r) {
  uint64_t gpus, major, minor, streams;
  char transport[16], capability[24];
  if (!take_text(r, "mxgen", t->mxgen, sizeof t->mxgen) || !take_text(r, "recipe", t->recipe, sizeof t->recipe))
    return false;
  if (strlen(t->recipe) != 64 || strspn(t->recipe, "0123456789abcdef") != 64)
    return refuse(r, "is before a bad digest");
  while (t->set_count < MXG_TUNE_SETS && take(r, "set")) {
    if (strlen(r->value) >= sizeof t->sets[0]) return refuse(r, "is too long");
    memcpy(t->sets[t->set_count++], r->value, strlen(r->value) + 1);
  }
  if (!take_number(r, "gpus", &gpus, 1024) || !take_text(r, "gpu", t->hints.gpu, sizeof t->hints.gpu) ||
      !take_text(r, "capability", capability, sizeof capability))
    return false;
  char *dot = strchr(capability, '.');
  if (dot) *dot = 0;
  if (!gpus || !dot || !read_number(&major, capability, 1000) || !read_number(&minor, dot + 1, 1000))
    return refuse(r, "is before no capability that a GPU has");
  if (!take_text(r, "cuda", t->cuda, sizeof t->cuda) ||
      !take_number(r, "copy_pull", &t->copy_pull, (uint64_t)1 << 50) ||
      !take_number(r, "kernel_pull", &t->kernel_pull, (uint64_t)1 << 50) ||
      !take_text(r, "transport", transport, sizeof transport))
    return false;
  if (!mxg_tune_transport(&t->hints.transport, transport)) return refuse(r, "is after a transport that there is not");
  if (!take_number(r, "chunk", &t->hints.chunk_bytes, (uint64_t)1 << 40) || !take_number(r, "streams", &streams, 64) ||
      !take_number(r, "bucket", &t->bucket_bytes, (uint64_t)1 << 50) || !take_kernels(r, &t->shapes) ||
      !take_measured(r, t->measured_ns) || !take_text(r, "because", t->because, sizeof t->because))
    return false;
  t->hints.gpus = (uint32_t)gpus;
  t->hints.major = (uint32_t)major;
  t->hints.minor = (uint32_t)minor;
  t->hints.copy_streams = (uint32_t)streams;
  return true;
}

bool mxg_tune_parse(mxg_tune *out, const char *bytes, size_t count, char why[MXG_TUNE_WHY]) {
  reader r = {.at = bytes, .end = bytes + count, .line = 1, .why = why};
  mxg_tune tune = {.hints = MXG_HINTS_INIT};
  char seal[17];
  uint64_t format;
  memset(out, 0, sizeof *out);
  why[0] = 0;
  if (count > MXG_TUNE_BYTES || !take(&r, "mxgen tune") || !read_number(&format, r.value, UINT32_MAX)) {
    snprintf(why, MXG_TUNE_WHY, "it does not begin as a tuning file");
    return false;
  }
  if (format != MXG_TUNE_FORMAT) {
    snprintf(why, MXG_TUNE_WHY, "it is too %s: it has format %llu, this mxgen reads %d",
             format > MXG_TUNE_FORMAT ? "new" : "old", (unsigned long long)format, MXG_TUNE_FORMAT);
    return false;
  }
  if (!take_body(&tune, &r)) return false;
  seal_of(seal, bytes, (size_t)(r.at - bytes));
  if (!take(&r, "end") || r.at != r.end || strcmp(r.value, seal) != 0) {
    snprintf(why, MXG_TUNE_WHY, "it is damaged, or was edited: its last line does not fit what is before it");
    return false;
  }
  *out = tune;
  return true;
}

/* ---- whether it is about what is here ---- */

bool mxg_tune_fits(const mxg_tune *tune, const char recipe[65], const char *const *sets, char why[MXG_TUNE_WHY]) {
  uint32_t count = 0;
  while (sets && sets[count]) count++;
  bool same = count == tune->set_count;
  for (uint32_t i = 0; same && i < count; i++) same = !strcmp(sets[i], tune->sets[i]);
  if (strcmp(tune->mxgen, mxg_version()) != 0)
    snprintf(why, MXG_TUNE_WHY, "it is from mxgen %s, this is %s", tune->mxgen, mxg_version());
  else if (strcmp(tune->recipe, recipe) != 0)
    snprintf(why, MXG_TUNE_WHY, "the recipe, or what it includes, is not the one that was tuned");
  else if (!same && tune->set_count == 0)
    snprintf(why, MXG_TUNE_WHY, "it was tuned without --set");
  else if (!same)
    snprintf(why, MXG_TUNE_WHY, "it was tuned with --set %s%s", tune->sets[0], tune->set_count > 1 ? " ..." : "");
  else
    return true;
  return false;
}

bool mxg_tune_fits_found(const mxg_tune *tune, const mxg_tune_gpus *found, uint32_t ranks, char why[MXG_TUNE_WHY]) {
  const mxg_hints *hints = &tune->hints;
  uint32_t used = found->count < ranks ? found->count : ranks;
  if (found->count == 0) return true;
  if (strcmp(found->name, hints->gpu) != 0)
    snprintf(why, MXG_TUNE_WHY, "it was tuned on %.80s, here is %.80s", hints->gpu, found->name);
  else if (found->major != hints->major || found->minor != hints->minor)
    snprintf(why, MXG_TUNE_WHY, "it was tuned on compute capability %u.%u, here is %u.%u", hints->major, hints->minor,
             found->major, found->minor);
  else if (used != hints->gpus)
    snprintf(why, MXG_TUNE_WHY, "it was tuned on %u GPUs, ranks would be on %u here", hints->gpus, used);
  else if (strcmp(found->cuda, tune->cuda) != 0)
    snprintf(why, MXG_TUNE_WHY, "it was tuned under a driver for CUDA %s, here is %s", tune->cuda, found->cuda);
  else
    return true;
  return false;
}

void mxg_tune_find_gpus(mxg_tune_gpus *found) {
  int count = 0;
  memset(found, 0, sizeof *found);
  if (mxg_gpu_count(&count, NULL) != MXG_OK || count <= 0) return;
  mxg_driver_state driver;
  mxg_gpu_info first, other;
  mxg_driver_find(&driver);
  if (mxg_gpu_ask(&first, 0, NULL) != MXG_OK) return;
  memcpy(found->name, first.name, sizeof found->name);
  snprintf(found->cuda, sizeof found->cuda, "%s", driver.version);
  found->count = (uint32_t)count;
  found->major = (uint32_t)first.major;
  found->minor = (uint32_t)first.minor;
  for (int i = 1; i < count; i++)
    if (mxg_gpu_ask(&other, i, NULL) != MXG_OK || strcmp(other.name, first.name) != 0)
      snprintf(found->name, sizeof found->name, "GPUs of several kinds");
}

bool mxg_tune_fits_gpus(const mxg_tune *tune, uint32_t ranks, char why[MXG_TUNE_WHY]) {
  mxg_tune_gpus found;
  mxg_tune_find_gpus(&found);
  return mxg_tune_fits_found(tune, &found, ranks, why);
}

mxg_rates mxg_tune_rates(const mxg_tune *tune) {
  mxg_rates rates = *mxg_rates_of(tune->hints.gpu, NULL);
  if (tune->copy_pull) rates.copy_pull = (double)tune->copy_pull;
  if (tune->kernel_pull) rates.kernel_pull = (double)tune->kernel_pull;
  return rates;
}

/* ---- load ---- */

bool mxg_tune_load(mxg_tune *out, bool *there, const char *recipe, char why[MXG_TUNE_WHY]) {
  char path[4096];
  struct stat info;
  *there = false;
  why[0] = 0;
  if (!mxg_tune_path(path, sizeof path, recipe)) return false;
  int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0 && errno == ENOENT) return false;
  *there = true;
  if (file < 0) {
    snprintf(why, MXG_TUNE_WHY, "it cannot be read: %s", strerror(errno));
    return false;
  }
  bool good = fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_size >= 0 && info.st_size <= MXG_TUNE_BYTES;
  size_t count = good ? (size_t)info.st_size : 0;
  char *bytes = good ? mxg_alloc(count) : NULL;
  good = bytes && mxg_read_all(file, bytes, count);
  close(file);
  if (good)
    good = mxg_tune_parse(out, bytes, count, why);
  else
    snprintf(why, MXG_TUNE_WHY, "it is no file of at most 64 KiB");
  mxg_free(bytes);
  return good;
}
