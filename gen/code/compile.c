/* compile.c -- from CUDA source to cubins with NVRTC: options, threads, deadline, and NVRTC's words for a fault.
**
** One program a kernel: its template, with the generated mx_params.h and every other template as headers in memory.
** Nothing is read from disk, nothing is cached here; same source, NVRTC and architecture give the same bytes. */
#include "compile.h"

#include "cubin.h"
#include "error.h"
#include "nearest.h"
#include "nvrtc.h"
#include "text.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A kernel takes a tenth of a second; a minute means that something is wrong. */
enum { DEADLINE_SECONDS = 60, THREADS_MAX = 64, OPTIONS_MAX = 8 };

const char *const mxg_default_archs[] = {"sm_80", "sm_89", "sm_90a", "sm_100a", "sm_103a", "sm_120a", NULL};

static const char *const known_archs[] = {"sm_80",   "sm_86",   "sm_87",   "sm_89",  "sm_90",   "sm_90a",
                                          "sm_100",  "sm_100a", "sm_100f", "sm_103", "sm_103a", "sm_110",
                                          "sm_110a", "sm_120",  "sm_120a", "sm_121", "sm_121a"};
enum { KNOWN_ARCHS = sizeof known_archs / sizeof *known_archs };

/* One compilation of all sources, shared by its threads. */
typedef struct job {
  const mxg_nvrtc *nvrtc;
  const mxg_source *sources;
  const char *const *header_texts, *const *header_names; /* [0] is mx_params.h, filled for each source */
  const mxg_template *templates;
  uint32_t source_count, template_count, header_count;
  const char *arch;
  pthread_mutex_t lock;
  uint32_t next; /* under the lock: the source that nobody has taken yet */
  bool stop;
  struct result *results;
} job;

typedef struct result {
  void *bytes;
  size_t count;
  mxg_cubin_use use;
  mxg_status status;
  mxg_error error;
} result;

/* ---- architectures ----------------------------------------------------------------------------------------------- */

mxg_status mxg_arch_check(const char *arch, mxg_error *err) {
  const char *nearest = NULL;
  size_t best = 4;
  for (size_t i = 0; i < KNOWN_ARCHS; i++) {
    size_t far = mxg_edit_distance(arch, known_archs[i]);
    if (far == 0) return MXG_OK;
    if (far < best) best = far, nearest = known_archs[i];
  }
  mxg_fail(err, MXG_ERR_USAGE, 503, "there is no architecture '%.40s'", arch);
  mxg_error_note(err, "known: sm_80 86 87 89 90 90a 100 100a 100f 103 103a 110 110a 120 120a 121 121a");
  if (nearest) mxg_error_help(err, "did you mean %s?", nearest);
  return MXG_ERR_USAGE;
}

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

static mxg_status run_program(result *out, const job *j, const mxg_source *source, mxg_nvrtc_program *program) {
  char arch[48];
  snprintf(arch, sizeof arch, "--gpu-architecture=%s", j->arch);
  const char *options[OPTIONS_MAX] = {arch, "--std=c++17", "--fmad=false", "--ftz=false", "--no-source-include"};
  int count = 5;
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

static mxg_status compile_one(result *out, const job *j, const mxg_source *source) {
  const char *text = NULL;
  const char **texts = mxg_alloc(j->header_count * sizeof *texts);
  if (!texts) return mxg_fail_nomem(&out->error);
  memcpy(texts, j->header_texts, j->header_count * sizeof *texts);
  texts[0] = source->params;
  for (uint32_t i = 0; i < j->template_count; i++)
    if (strcmp(j->templates[i].name, source->template_name) == 0) text = j->templates[i].text;
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

/* ---- all sources ------------------------------------------------------------------------------------------------- */

static void *work(void *user) {
  job *j = user;
  for (;;) {
    pthread_mutex_lock(&j->lock);
    uint32_t mine = j->stop ? j->source_count : j->next;
    if (mine < j->source_count) j->next++;
    pthread_mutex_unlock(&j->lock);
    if (mine >= j->source_count) return NULL;
    result *out = &j->results[mine];
    out->status = compile_one(out, j, &j->sources[mine]);
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

mxg_status mxg_compile(const mxg_cubin **out, const mxg_source *sources, uint32_t count, const char *arch,
                       unsigned threads, mxg_arena *arena, mxg_error *err) {
  *out = NULL;
  job j = {.sources = sources, .source_count = count, .arch = arch, .lock = PTHREAD_MUTEX_INITIALIZER};
  MXG_TRY(mxg_arch_check(arch, err));
  MXG_TRY(mxg_nvrtc_open(&j.nvrtc, err));
  MXG_TRY(check_supported(j.nvrtc, arch, err));
  MXG_TRY(mxg_templates(&j.templates, &j.template_count, arena, err));
  MXG_TRY(list_headers(&j, arena, err));
  j.results = mxg_arena_alloc(arena, count ? count : 1, sizeof *j.results);
  if (!j.results) return mxg_fail_nomem(err);
  if (count) run_threads(&j, threads);
  mxg_status status = collect(out, &j, arena, err);
  for (uint32_t i = 0; i < count; i++) mxg_free(j.results[i].bytes);
  pthread_mutex_destroy(&j.lock);
  return status;
}
