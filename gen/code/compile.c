/* compile.c -- from CUDA source to cubins with NVRTC: options, threads, deadline, and NVRTC's words for a fault.
**
** One program a kernel: its template, with the generated mx_params.h and every other template as headers in memory.
** Same source, NVRTC and architecture give the same bytes, so a cubin may come from cache.c instead; what its key is
** made of is written here, beside what NVRTC is given. */
#include "compile.h"

#include "cubin.h"
#include "error.h"
#include "hash.h"
#include "nvrtc.h"
#include "text.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A kernel takes a tenth of a second; a minute means that something is wrong. */
enum { DEADLINE_SECONDS = 60, THREADS_MAX = 64, OPTIONS_MAX = 8, ARCH_OPTION = 48, KEY_FORMAT = 1 };

/* One compilation of all sources, shared by its threads. */
typedef struct job {
  const mxg_nvrtc *nvrtc; /* NULL as long as everything came from the cache */
  mxg_cache *cache;       /* NULL: none */
  bool keyed;             /* the results have their keys: cache is there, and the build of NVRTC is known */
  const mxg_source *sources;
  const char *const *header_texts, *const *header_names; /* [0] is mx_params.h, filled for each source */
  const mxg_template *templates;
  uint32_t source_count, template_count, header_count;
  const char *arch;
  pthread_mutex_t lock;
  uint32_t next;      /* under the lock: the source that nobody has taken yet */
  bool stop, waiting; /* waiting: the second round, for what other processes were making in the first */
  struct result *results;
  char build[MXG_NVRTC_BUILD_ROOM]; /* in the keys */
} job;

typedef struct result {
  unsigned char key[MXG_CACHE_KEY];
  void *bytes; /* NULL: not there yet */
  size_t count;
  bool cached;
  uint32_t nvrtc_major, nvrtc_minor; /* of the NVRTC that made it */
  mxg_cubin_use use;
  mxg_status status;
  mxg_error error;
} result;

/* ---- architectures ----------------------------------------------------------------------------------------------- */

/* What this NVRTC can make; it lists the numbers only, without a or f. */
static mxg_status check_supported(const mxg_nvrtc *nvrtc, const char *arch, mxg_error *err) {
  int count = 0, archs[128] = {0};
  int wanted = (int)strtol(arch + 3, NULL, 10);
  if (nvrtc->GetNumSupportedArchs(&count) != MXG_NVRTC_SUCCESS || count < 0 || count > 128) count = 0;
  if (count && nvrtc->GetSupportedArchs(archs) != MXG_NVRTC_SUCCESS) count = 0;
  for (int i = 0; i < count; i++)
    if (archs[i] == wanted) return MXG_OK;
  mxg_fail(err, MXG_ERR_ENVIRONMENT, 504, "NVRTC %d.%d makes no code for %s", nvrtc->major, nvrtc->minor, arch);
  mxg_error_note(err, "it is %.400s", nvrtc->path);
  mxg_error_help(err, "install a newer nvidia-cuda-nvrtc, or leave %s out", arch);
  return MXG_ERR_ENVIRONMENT;
}

/* ---- one source -------------------------------------------------------------------------------------------------- */

static int past_deadline(void *user, void *reserved) {
  (void)reserved;
  const struct timespec *end = user;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec > end->tv_sec || (now.tv_sec == end->tv_sec && now.tv_nsec > end->tv_nsec);
}

/* "dequantize.cu(41): error: ..." gives the place; the text is the first line that is an error, else the first. */
static void report_log(mxg_error *err, const mxg_source *source, const char *arch, const char *log) {
  const char *fault = strstr(log, "error");
  const char *line = log;
  if (fault)
    for (line = fault; line > log && line[-1] != '\n';) line--;
  size_t count = strcspn(line, "\n");
  const char *paren = memchr(line, '(', count);
  const char *colon = paren ? strstr(paren, "): ") : NULL;
  bool placed = colon && colon < line + count && paren > line && paren - line < 200;
  const char *text = placed ? colon + 3 : line;
  int shown = (int)(count - (size_t)(text - line));
  mxg_fail(err, MXG_ERR_COMPILE, 505, "%.*s", shown > 400 ? 400 : shown, *log ? text : "NVRTC gave no reason");
  if (placed) {
    char file[256];
    snprintf(file, sizeof file, "%.*s", (int)(paren - line), line);
    mxg_error_place(err, file, (int)strtol(paren + 1, NULL, 10), 0, 0);
  } else {
    mxg_error_place(err, source->template_name, 0, 0, 0);
  }
  mxg_error_note(err, "kernel %s for %s", source->kernel, arch);
}

static mxg_status fetch_cubin(result *out, const job *j, const mxg_source *source, mxg_nvrtc_program *program) {
  size_t count = 0;
  int code = j->nvrtc->GetCUBINSize(program, &count);
  if (code == MXG_NVRTC_SUCCESS && count) {
    out->bytes = mxg_alloc(count);
    if (!out->bytes) return mxg_fail_nomem(&out->error);
    out->count = count;
    code = j->nvrtc->GetCUBIN(program, out->bytes);
  }
  unsigned chip = (unsigned)strtoul(j->arch + 3, NULL, 10);
  bool good = code == MXG_NVRTC_SUCCESS && count;
  if (good && mxg_cubin_read(&out->use, out->bytes, count, source->kernel, chip)) return MXG_OK;
  mxg_fail(&out->error, MXG_ERR_COMPILE, 506, "NVRTC's cubin for %s holds no kernel of that name", source->kernel);
  mxg_error_place(&out->error, source->template_name, 0, 0, 0);
  return MXG_ERR_COMPILE;
}

/* The options, but for --no-cache, which depends on NVRTC alone and so is in a key already. */
static int list_options(const char *options[OPTIONS_MAX], char arch[ARCH_OPTION], const job *j) {
  snprintf(arch, ARCH_OPTION, "--gpu-architecture=%s", j->arch);
  int count = 0;
  options[count++] = arch;
  options[count++] = "--std=c++17";
  options[count++] = "--fmad=false";
  options[count++] = "--ftz=false";
  options[count++] = "--no-source-include";
  return count;
}

static mxg_status run_program(result *out, const job *j, const mxg_source *source, mxg_nvrtc_program *program) {
  char arch[ARCH_OPTION];
  const char *options[OPTIONS_MAX];
  int count = list_options(options, arch, j);
  bool caches = j->nvrtc->major > 12 || j->nvrtc->minor >= 9; /* NVRTC's own cache and its option came with 12.9 */
  if (caches) options[count++] = "--no-cache";
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += DEADLINE_SECONDS;
  if (j->nvrtc->SetFlowCallback) j->nvrtc->SetFlowCallback(program, past_deadline, &end);
  int code = j->nvrtc->CompileProgram(program, count, options);
  if (code == MXG_NVRTC_SUCCESS) return fetch_cubin(out, j, source, program);
  if (code == MXG_NVRTC_CANCELLED) {
    mxg_fail(&out->error, MXG_ERR_TIMEOUT, 507, "NVRTC did not finish %s within %d s", source->kernel,
             DEADLINE_SECONDS);
    mxg_error_place(&out->error, source->template_name, 0, 0, 0);
    return MXG_ERR_TIMEOUT;
  }
  size_t log_bytes = 0;
  char *log = NULL;
  if (j->nvrtc->GetProgramLogSize(program, &log_bytes) == MXG_NVRTC_SUCCESS && log_bytes)
    log = mxg_alloc(log_bytes + 1);
  if (log && j->nvrtc->GetProgramLog(program, log) != MXG_NVRTC_SUCCESS) log[0] = 0;
  report_log(&out->error, source, j->arch, log && *log ? log : j->nvrtc->GetErrorString(code));
  out->error.native = code;
  mxg_free(log);
  return MXG_ERR_COMPILE;
}

static const mxg_template *find_template(const job *j, const mxg_source *source) {
  for (uint32_t i = 0; i < j->template_count; i++)
    if (strcmp(j->templates[i].name, source->template_name) == 0) return &j->templates[i];
  return NULL;
}

static mxg_status compile_one(result *out, const job *j, const mxg_source *source) {
  const mxg_template *file = find_template(j, source);
  const char *text = file ? file->text : NULL;
  const char **texts = mxg_alloc(j->header_count * sizeof *texts);
  if (!texts) return mxg_fail_nomem(&out->error);
  memcpy(texts, j->header_texts, j->header_count * sizeof *texts);
  texts[0] = source->params;
  mxg_status status = MXG_ERR_COMPILE;
  mxg_nvrtc_program *program = NULL;
  if (!text) {
    mxg_fail(&out->error, status, 505, "there is no template %s", source->template_name);
  } else {
    int code =
        j->nvrtc->CreateProgram(&program, text, source->template_name, (int)j->header_count, texts, j->header_names);
    if (code == MXG_NVRTC_SUCCESS) {
      status = run_program(out, j, source, program);
    } else {
      mxg_fail(&out->error, status, 505, "NVRTC: %s", j->nvrtc->GetErrorString(code));
      out->error.native = code;
    }
  }
  if (program) j->nvrtc->DestroyProgram(&program);
  mxg_free(texts);
  return status;
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

static void add_text(mxg_sha256 *hash, const char *text) { mxg_sha256_field(hash, text, strlen(text)); }

static void add_number(mxg_sha256 *hash, uint32_t n) {
  unsigned char bytes[4] = {(unsigned char)n, (unsigned char)(n >> 8), (unsigned char)(n >> 16),
                            (unsigned char)(n >> 24)};
  mxg_sha256_field(hash, bytes, sizeof bytes);
}

/* A key is over every byte that a cubin can depend on. The build-ids stand for NVRTC and so for its version, which
** nobody can ask without loading it. */
static void make_keys(job *j, const char *build) {
  mxg_sha256 common;
  char arch[ARCH_OPTION];
  const char *options[OPTIONS_MAX];
  int count = list_options(options, arch, j);
  mxg_sha256_begin(&common);
  add_text(&common, "mxgen kernel");
  add_number(&common, KEY_FORMAT);
  add_text(&common, mxg_version());
  add_text(&common, build);
  add_text(&common, j->arch);
  add_number(&common, (uint32_t)count);
  for (int i = 0; i < count; i++) add_text(&common, options[i]);
  add_number(&common, j->header_count);
  for (uint32_t i = 1; i < j->header_count; i++) {
    add_text(&common, j->header_names[i]);
    add_text(&common, j->header_texts[i]);
  }
  for (uint32_t i = 0; i < j->source_count; i++) {
    const mxg_source *source = &j->sources[i];
    const mxg_template *file = find_template(j, source);
    mxg_sha256 hash = common;
    add_text(&hash, j->header_names[0]);
    add_text(&hash, source->params);
    add_text(&hash, source->template_name);
    add_text(&hash, file ? file->text : "");
    add_text(&hash, source->kernel);
    mxg_sha256_end(&hash, j->results[i].key);
  }
  snprintf(j->build, sizeof j->build, "%s", build);
  j->keyed = true;
}

static bool find_cached(result *out, const job *j, const mxg_source *source) {
  mxg_cache_entry entry;
  if (!mxg_cache_find(j->cache, &entry, out->key)) return false;
  unsigned chip = (unsigned)strtoul(j->arch + 3, NULL, 10);
  if (strcmp(entry.kernel, source->kernel) != 0 || strcmp(entry.arch, j->arch) != 0 ||
      !mxg_cubin_read(&out->use, entry.bytes, entry.count, source->kernel, chip)) {
    mxg_free(entry.bytes);
    return false;
  }
  out->bytes = entry.bytes;
  out->count = entry.count;
  out->nvrtc_major = entry.nvrtc_major;
  out->nvrtc_minor = entry.nvrtc_minor;
  out->cached = true;
  return true;
}

static void find_all_cached(job *j) {
  for (uint32_t i = 0; i < j->source_count; i++) find_cached(&j->results[i], j, &j->sources[i]);
}

static void forget_all(job *j) {
  for (uint32_t i = 0; i < j->source_count; i++) {
    mxg_free(j->results[i].bytes);
    j->results[i] = (result){0};
  }
}

static const mxg_source *first_missing(const job *j) {
  for (uint32_t i = 0; i < j->source_count; i++)
    if (!j->results[i].bytes) return &j->sources[i];
  return NULL;
}

static void put_cached(const result *from, const job *j, const mxg_source *source) {
  mxg_cache_entry entry = {.nvrtc_major = from->nvrtc_major,
                           .nvrtc_minor = from->nvrtc_minor,
                           .registers = from->use.registers,
                           .shared_bytes = from->use.shared_bytes,
                           .local_bytes = from->use.local_bytes,
                           .bytes = from->bytes,
                           .count = from->count};
  int kernel = snprintf(entry.kernel, sizeof entry.kernel, "%s", source->kernel);
  int arch = snprintf(entry.arch, sizeof entry.arch, "%s", j->arch);
  if (kernel < (int)sizeof entry.kernel && arch < (int)sizeof entry.arch) mxg_cache_put(j->cache, &entry, from->key);
}

/* Which NVRTC filled the cache last is an entry too, so that an image without NVRTC finds the kernels that it ships. */
static void record_key(unsigned char key[MXG_CACHE_KEY]) {
  mxg_sha256 hash;
  mxg_sha256_begin(&hash);
  add_text(&hash, "mxgen nvrtc build");
  add_number(&hash, KEY_FORMAT);
  add_text(&hash, mxg_version());
  mxg_sha256_end(&hash, key);
}

static bool read_record(char build[MXG_NVRTC_BUILD_ROOM], mxg_cache *cache) {
  unsigned char key[MXG_CACHE_KEY];
  mxg_cache_entry entry;
  record_key(key);
  build[0] = 0;
  if (!mxg_cache_find(cache, &entry, key)) return false;
  if (entry.count < MXG_NVRTC_BUILD_ROOM) {
    memcpy(build, entry.bytes, entry.count);
    build[entry.count] = 0;
  }
  mxg_free(entry.bytes);
  return build[0] != 0;
}

static void write_record(const job *j, char build[MXG_NVRTC_BUILD_ROOM]) {
  unsigned char key[MXG_CACHE_KEY];
  char before[MXG_NVRTC_BUILD_ROOM];
  if (read_record(before, j->cache) && strcmp(before, build) == 0) return;
  mxg_cache_entry entry = {.kernel = "(which NVRTC)", .bytes = build, .count = strlen(build)};
  record_key(key);
  mxg_cache_put(j->cache, &entry, key);
}

/* ---- all sources ------------------------------------------------------------------------------------------------- */

/* From NVRTC, or from a process that was quicker. Leaves out->bytes NULL where another one is at it just now. */
static mxg_status make_one(result *out, job *j, const mxg_source *source) {
  int lock = -1;
  if (j->keyed && mxg_cache_lock(j->cache, &lock, out->key, j->waiting) == MXG_CACHE_BUSY) return MXG_OK;
  mxg_status status = MXG_OK;
  if (!j->keyed || !find_cached(out, j, source)) {
    status = compile_one(out, j, source);
    out->nvrtc_major = (uint32_t)j->nvrtc->major;
    out->nvrtc_minor = (uint32_t)j->nvrtc->minor;
    if (status == MXG_OK && j->keyed) put_cached(out, j, source);
  }
  mxg_cache_unlock(lock);
  return status;
}

static void *work(void *user) {
  job *j = user;
  for (;;) {
    pthread_mutex_lock(&j->lock);
    uint32_t mine = j->stop ? j->source_count : j->next;
    if (mine < j->source_count) j->next++;
    pthread_mutex_unlock(&j->lock);
    if (mine >= j->source_count) return NULL;
    result *out = &j->results[mine];
    if (out->bytes) continue;
    out->status = make_one(out, j, &j->sources[mine]);
    if (out->status == MXG_OK) continue;
    pthread_mutex_lock(&j->lock);
    j->stop = true; /* sources before this one are taken already, so the first fault stays the first */
    pthread_mutex_unlock(&j->lock);
  }
}

static void run_threads(job *j, unsigned threads) {
  if (threads == 0) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    threads = cores > 0 ? (unsigned)cores : 1;
  }
  if (threads > THREADS_MAX) threads = THREADS_MAX;
  if (threads > j->source_count) threads = j->source_count;
  if (threads == 0) return;
  pthread_t others[THREADS_MAX];
  unsigned started = 0;
  while (started + 1 < threads && pthread_create(&others[started], NULL, work, j) == 0) started++;
  work(j);
  for (unsigned i = 0; i < started; i++) pthread_join(others[i], NULL);
}

/* Copies results into the arena; the first fault by source order counts. */
static mxg_status collect(const mxg_cubin **out, const job *j, mxg_arena *arena, mxg_error *err) {
  for (uint32_t i = 0; i < j->source_count; i++) {
    if (j->results[i].status == MXG_OK) continue;
    if (err) *err = j->results[i].error;
    return j->results[i].status;
  }
  mxg_cubin *cubins = mxg_arena_alloc(arena, j->source_count + 1, sizeof *cubins);
  if (!cubins) return mxg_fail_nomem(err);
  for (uint32_t i = 0; i < j->source_count; i++) {
    const result *from = &j->results[i];
    void *bytes = mxg_arena_alloc(arena, from->count, 1);
    if (!bytes) return mxg_fail_nomem(err);
    memcpy(bytes, from->bytes, from->count);
    const mxg_cubin_use *use = &from->use;
    cubins[i] = (mxg_cubin){bytes, from->count, use->registers, use->shared_bytes, use->local_bytes, use->code_bytes};
  }
  *out = cubins;
  return MXG_OK;
}

/* Headers of every program: mx_params.h first, then each template that is not a kernel. */
static mxg_status list_headers(job *j, mxg_arena *arena, mxg_error *err) {
  const char **texts = mxg_arena_alloc(arena, j->template_count + 1, sizeof *texts);
  const char **names = mxg_arena_alloc(arena, j->template_count + 1, sizeof *names);
  if (!texts || !names) return mxg_fail_nomem(err);
  uint32_t count = 0;
  names[count] = "mx_params.h";
  texts[count++] = "";
  for (uint32_t i = 0; i < j->template_count; i++) {
    const char *dot = strrchr(j->templates[i].name, '.');
    if (dot && strcmp(dot, ".cu") == 0) continue;
    names[count] = j->templates[i].name;
    texts[count++] = j->templates[i].text;
  }
  j->header_names = names;
  j->header_texts = texts;
  j->header_count = count;
  return MXG_OK;
}

static bool find_build(char build[MXG_NVRTC_BUILD_ROOM], mxg_cache *cache, bool jit) {
  build[0] = 0;
  return cache && (mxg_nvrtc_build(build, NULL) || (!jit && read_record(build, cache)));
}

/* What can be had without NVRTC. `build`: of the NVRTC whose kernels were looked for, "" when it is not known. */
static void try_cache(job *j, char build[MXG_NVRTC_BUILD_ROOM], bool jit) {
  if (!find_build(build, j->cache, jit)) return;
  make_keys(j, build);
  find_all_cached(j);
}

/* Opens NVRTC for what is missing. Where it is not the build that try_cache thought of, the look-up starts again: one
** bundle never mixes two compilers. */
static mxg_status open_compiler(job *j, char build[MXG_NVRTC_BUILD_ROOM], mxg_error *err) {
  char real[MXG_NVRTC_BUILD_ROOM];
  MXG_TRY(mxg_nvrtc_open(&j->nvrtc, err));
  MXG_TRY(check_supported(j->nvrtc, j->arch, err));
  if (!j->cache) return MXG_OK;
  bool known = mxg_nvrtc_build(real, j->nvrtc);
  if (known && j->keyed && strcmp(real, build) == 0) return MXG_OK;
  forget_all(j);
  j->keyed = false;
  memcpy(build, real, sizeof real);
  if (!known) return MXG_OK;
  make_keys(j, build);
  find_all_cached(j);
  return MXG_OK;
}

static mxg_status make_missing(job *j, unsigned threads, char build[MXG_NVRTC_BUILD_ROOM], mxg_error *err) {
  MXG_TRY(open_compiler(j, build, err));
  run_threads(j, threads);
  if (!j->stop && first_missing(j)) {
    j->next = 0;
    j->waiting = true;
    run_threads(j, threads);
  }
  if (j->keyed && !j->stop) write_record(j, build);
  return MXG_OK;
}

static mxg_status read_jit(bool *jit, mxg_error *err) {
  const char *told = getenv("MXGEN_JIT");
  *jit = true;
  if (!told || !*told || strcmp(told, "on") == 0) return MXG_OK;
  if (strcmp(told, "off") != 0)
    return mxg_fail(err, MXG_ERR_USAGE, 516, "MXGEN_JIT is '%.40s', neither on nor off", told);
  *jit = false;
  return MXG_OK;
}

bool mxg_compile_build(char build[MXG_NVRTC_BUILD_ROOM], mxg_cache *cache) {
  bool jit;
  build[0] = 0;
  return read_jit(&jit, NULL) == MXG_OK && find_build(build, cache, jit);
}

static mxg_status refuse_missing(const job *j, const mxg_source *missing, const char *build, mxg_error *err) {
  char folder[MXG_CACHE_PATH];
  const char *from;
  mxg_cache_place(folder, &from);
  mxg_fail(err, MXG_ERR_UNSUPPORTED, 515, "kernel %.64s for %s is not in the cache, and MXGEN_JIT is off",
           missing->kernel, j->arch);
  if (!j->cache)
    mxg_error_note(err, "the cache is off as well");
  else
    mxg_error_note(err, "the cache is %.350s%s", folder, *build ? "" : "; it holds no kernels of this mxgen");
  mxg_error_help(err, "generate once where NVRTC is, with the same recipe, mxgen and a cache that can be written");
  return MXG_ERR_UNSUPPORTED;
}

static mxg_status compile_job(job *j, unsigned threads, bool jit, mxg_error *err) {
  char build[MXG_NVRTC_BUILD_ROOM];
  try_cache(j, build, jit);
  const mxg_source *missing = first_missing(j);
  if (missing && !jit) return refuse_missing(j, missing, build, err);
  return missing || !j->cache ? make_missing(j, threads, build, err) : MXG_OK;
}

static void count_use(mxg_compile_use *use, const job *j) {
  for (uint32_t i = 0; i < j->source_count; i++) {
    const result *r = &j->results[i];
    if (!r->bytes) continue;
    if (r->cached)
      use->cached++;
    else
      use->compiled++;
    use->nvrtc_major = r->nvrtc_major;
    use->nvrtc_minor = r->nvrtc_minor;
  }
  if (j->cache && j->nvrtc && !j->keyed) use->unkeyed = true;
  if (!j->keyed || (use->build[0] && strcmp(use->build, j->build) != 0))
    use->build[0] = 0; /* not all of them have one key */
  else
    memcpy(use->build, j->build, sizeof use->build);
}

static mxg_status compile(const mxg_cubin **out, job *j, mxg_compile_use *use, unsigned threads, bool jit,
                          mxg_arena *arena, mxg_error *err) {
  *out = NULL;
  MXG_TRY(mxg_arch_check(j->arch, err));
  MXG_TRY(mxg_templates(&j->templates, &j->template_count, arena, err));
  MXG_TRY(list_headers(j, arena, err));
  j->results = mxg_arena_alloc(arena, j->source_count ? j->source_count : 1, sizeof *j->results);
  if (!j->results) return mxg_fail_nomem(err);
  mxg_status status = compile_job(j, threads, jit, err);
  if (status == MXG_OK) status = collect(out, j, arena, err);
  if (use) count_use(use, j);
  for (uint32_t i = 0; i < j->source_count; i++) mxg_free(j->results[i].bytes);
  return status;
}

mxg_status mxg_compile_cached(const mxg_cubin **out, const mxg_source *sources, uint32_t count, const char *arch,
                              unsigned threads, mxg_cache *cache, mxg_compile_use *use, mxg_arena *arena,
                              mxg_error *err) {
  job j = {.sources = sources, .source_count = count, .arch = arch, .cache = cache, .lock = PTHREAD_MUTEX_INITIALIZER};
  bool jit;
  *out = NULL;
  MXG_TRY(read_jit(&jit, err));
  mxg_status status = compile(out, &j, use, threads, jit, arena, err);
  pthread_mutex_destroy(&j.lock);
  return status;
}

mxg_status mxg_compile(const mxg_cubin **out, const mxg_source *sources, uint32_t count, const char *arch,
                       unsigned threads, mxg_arena *arena, mxg_error *err) {
  job j = {.sources = sources, .source_count = count, .arch = arch, .lock = PTHREAD_MUTEX_INITIALIZER};
  mxg_status status = compile(out, &j, NULL, threads, true, arena, err);
  pthread_mutex_destroy(&j.lock);
  return status;
}
