/* bundle.c -- the bundle's file format: made in memory, read all or nothing, saved by rename.
**
** A file is: a head (magic, format version, number of sections, bytes of the file), a table of sections, the sections
** in the order of `kinds`, each at the next multiple of 16 with zeros between, and a SHA-256 of all before it (see
** hash_image: of three stretches, so that the digest needs no second pass). Tables are the structs of plan.h as a
** little-endian machine has them in memory; a section's item size must be the reader's. What a plan means is
** plan_check.c's; files of other formats are not read here.
**
** The digest is over the plan, the sources' digest, the maker and the hints, not over the cubins: they follow from
** those, and ranks whose bundles were made for other architectures must agree. */
#include "bundle.h"

#include "error.h"
#include "hash.h"
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "bundles hold the tables as a little-endian machine has them");
_Static_assert(sizeof(mxg_encoding) == 16, "no implicit padding");
_Static_assert(sizeof(mxg_array) == 56, "no implicit padding");
_Static_assert(sizeof(mxg_segment) == 12, "no implicit padding");
_Static_assert(sizeof(mxg_piece) == 80, "no implicit padding");
_Static_assert(sizeof(mxg_fill) == 32, "no implicit padding");
_Static_assert(sizeof(mxg_step) == 40, "no implicit padding");
_Static_assert(sizeof(mxg_kernel) == 96, "no implicit padding");
_Static_assert(sizeof(mxg_rank) == 48, "no implicit padding");
_Static_assert(sizeof(mxg_group) == 4, "no implicit padding");
_Static_assert(sizeof(mxg_hints) == 128, "no implicit padding");

/* Never reuse a number: a bundle of another version is refused, not guessed at. */
enum { format_version = 3, head_bytes = 32, record_bytes = 24, hash_bytes = 32, section_align = 16 };

/* More than any plan needs, and little enough that every offset fits a size_t. */
static const uint64_t largest_file = (uint64_t)4 << 30;
static const uint64_t largest_hint = (uint64_t)1 << 40;

/* The first byte is no text, and the line ends show a transfer that rewrote them. */
static const unsigned char magic[8] = {0x8d, 'M', 'X', 'B', '\r', '\n', 0x1a, '\n'};

typedef struct plan_head {
  uint32_t rank_count, slots;
  uint64_t slot_bytes, staging_cap;
} plan_head;

typedef struct cubin_record {
  uint32_t kernel;
  char arch[16];
  uint32_t pad;
  uint64_t offset, count; /* in the section of code */
} cubin_record;

_Static_assert(sizeof(plan_head) == 24, "no implicit padding");
_Static_assert(sizeof(cubin_record) == 40, "no implicit padding");

enum section_kind {
  section_plan,
  section_name,
  section_strings,
  section_ranks,
  section_encodings,
  section_arrays,
  section_pieces,
  section_segments,
  section_fills,
  section_steps,
  section_kernels,
  section_groups,
  section_sources,
  section_maker,
  section_hints,
  section_tuned,
  section_cubins,
  section_code,
  section_kinds
};

/* What one section holds: item size, the fewest and the most items. The first `digested` kinds make the digest. */
static const struct {
  const char *name;
  uint32_t item;
  uint64_t least, most;
} kinds[section_kinds] = {
    {"plan", sizeof(plan_head), 1, 1},
    {"name", 1, 1, 4096},
    {"strings", 1, 1, UINT32_MAX},
    {"ranks", sizeof(mxg_rank), 1, UINT32_MAX},
    {"encodings", sizeof(mxg_encoding), 0, UINT32_MAX},
    {"arrays", sizeof(mxg_array), 0, UINT32_MAX},
    {"pieces", sizeof(mxg_piece), 0, UINT32_MAX},
    {"segments", sizeof(mxg_segment), 0, UINT32_MAX},
    {"fills", sizeof(mxg_fill), 0, UINT32_MAX},
    {"steps", sizeof(mxg_step), 0, UINT32_MAX},
    {"kernels", sizeof(mxg_kernel), 0, UINT32_MAX},
    {"groups", sizeof(mxg_group), 0, UINT32_MAX - 1},
    {"sources", 1, 32, 32},
    {"maker", 1, 1, 4096},
    {"hints", sizeof(mxg_hints), 1, 1},
    {"tuned", 1, 1, 4096},
    {"cubins", sizeof(cubin_record), 0, UINT32_MAX},
    {"code", 1, 0, UINT64_MAX},
};
enum { digested = section_cubins, front_bytes = head_bytes + section_kinds * record_bytes };

typedef struct section {
  uint64_t offset, count;
} section;

typedef struct layout {
  section sections[section_kinds];
  uint64_t file_bytes;
} layout;

struct mxg_bundle {
  mxg_plan plan;
  mxg_bundle_cubin *cubins; /* behind this struct */
  uint32_t cubin_count;
  unsigned char *image; /* the file's bytes, behind the cubins */
  size_t image_bytes;
  mxg_group_range *ranges; /* of the arrays, behind the image */
  const char *maker, *tuned;
  mxg_hints hints;
  char digest[65];
};

static uint32_t load32(const unsigned char *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static uint64_t load64(const unsigned char *p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static uint64_t align_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

/* ---- one block of memory ---- */

static mxg_status new_bundle(mxg_bundle **out, const layout *where, mxg_error *err) {
  uint64_t cubins = where->sections[section_cubins].count;
  uint64_t at_cubins = align_up(sizeof(mxg_bundle), 16), bytes;
  if (!mxg_mul(&bytes, cubins, sizeof(mxg_bundle_cubin)) || !mxg_add(&bytes, bytes, at_cubins))
    return mxg_fail_nomem(err);
  uint64_t at_image = align_up(bytes, 16);
  if (!mxg_add(&bytes, at_image, where->file_bytes)) return mxg_fail_nomem(err);
  uint64_t at_ranges = align_up(bytes, 16), ranges = where->sections[section_arrays].count * sizeof(mxg_group_range);
  if (!mxg_add(&bytes, at_ranges, ranges) || bytes > SIZE_MAX) return mxg_fail_nomem(err);
  unsigned char *block = mxg_alloc((size_t)bytes);
  if (!block) return mxg_fail_nomem(err);
  mxg_bundle *bundle = (mxg_bundle *)(void *)block;
  bundle->cubins = (mxg_bundle_cubin *)(void *)(block + at_cubins);
  bundle->cubin_count = (uint32_t)cubins;
  bundle->image = block + at_image;
  bundle->image_bytes = (size_t)where->file_bytes;
  bundle->ranges = (mxg_group_range *)(void *)(block + at_ranges);
  *out = bundle;
  return MXG_OK;
}

void mxg_bundle_free(mxg_bundle *bundle) { mxg_free(bundle); }

/* ---- reading ---- */

/* Head and section table. `front` has min(file_bytes, front_bytes) bytes. */
static mxg_status read_front(layout *out, const unsigned char *front, uint64_t file_bytes, mxg_error *err) {
  memset(out, 0, sizeof *out);
  if (file_bytes < sizeof magic || memcmp(front, magic, sizeof magic) != 0)
    return mxg_fail(err, MXG_ERR_BUNDLE, 701, "not a bundle: it does not begin as one");
  if (file_bytes < 12)
    return mxg_fail(err, MXG_ERR_BUNDLE, 704, "the bundle is cut off after %u bytes", (unsigned)file_bytes);
  uint32_t version = load32(front + 8);
  if (version > format_version) {
    mxg_fail(err, MXG_ERR_BUNDLE, 702, "the bundle is too new: it has format %u, this library reads format %d", version,
             format_version);
    mxg_error_help(err, "use the mxgen that made it, or a newer one, or generate the bundle again");
    return MXG_ERR_BUNDLE;
  }
  if (version < format_version) {
    mxg_fail(err, MXG_ERR_BUNDLE, 703, "the bundle is too old: it has format %u, this library reads format %d", version,
             format_version);
    mxg_error_help(err, "generate the bundle again from its recipe");
    return MXG_ERR_BUNDLE;
  }
  if (file_bytes < front_bytes + hash_bytes)
    return mxg_fail(err, MXG_ERR_BUNDLE, 704, "the bundle is cut off after %llu bytes", (unsigned long long)file_bytes);
  uint64_t said = load64(front + 16);
  if (said != file_bytes)
    return mxg_fail(err, MXG_ERR_BUNDLE, 704, "the bundle has %llu bytes, and says that it has %llu",
                    (unsigned long long)file_bytes, (unsigned long long)said);
  if (load32(front + 12) != section_kinds || load64(front + 24) != 0)
    return mxg_fail(err, MXG_ERR_BUNDLE, 706, "the bundle's head is malformed");
  uint64_t next = front_bytes;
  for (uint32_t i = 0; i < section_kinds; i++) {
    const unsigned char *record = front + head_bytes + i * record_bytes;
    uint64_t offset = load64(record + 8), count = load64(record + 16), bytes, end;
    next = align_up(next, section_align);
    if (load32(record) != i || load32(record + 4) != kinds[i].item || offset != next)
      return mxg_fail(err, MXG_ERR_BUNDLE, 706, "the bundle's section \"%s\" is malformed", kinds[i].name);
    if (count < kinds[i].least || count > kinds[i].most || !mxg_mul(&bytes, count, kinds[i].item) ||
        !mxg_add(&end, offset, bytes) || end > file_bytes - hash_bytes)
      return mxg_fail(err, MXG_ERR_BUNDLE, 706, "the bundle's section \"%s\" does not fit: %llu items of %u bytes",
                      kinds[i].name, (unsigned long long)count, kinds[i].item);
    out->sections[i] = (section){offset, count};
    next = end;
  }
  if (next != file_bytes - hash_bytes)
    return mxg_fail(err, MXG_ERR_BUNDLE, 706, "the bundle has %llu bytes after its last section",
                    (unsigned long long)(file_bytes - hash_bytes - next));
  out->file_bytes = file_bytes;
  return MXG_OK;
}

/* What the digest is over, and then the hash of the whole image: three stretches, each looked at once. */
static void hash_image(const unsigned char *image, uint64_t bytes, uint64_t begin, uint64_t end,
                       unsigned char content[32], unsigned char digest[32]) {
  mxg_sha256 hash;
  unsigned char stretch[32];
  static const char what[] = "mxgen bundle file";
  mxg_sha256_tree(image + begin, (size_t)(end - begin), content);
  mxg_sha256_begin(&hash);
  mxg_sha256_field(&hash, what, sizeof what - 1);
  mxg_sha256_tree(image, (size_t)begin, stretch);
  mxg_sha256_add(&hash, stretch, sizeof stretch);
  mxg_sha256_add(&hash, content, hash_bytes);
  mxg_sha256_tree(image + end, (size_t)(bytes - hash_bytes - end), stretch);
  mxg_sha256_add(&hash, stretch, sizeof stretch);
  mxg_sha256_end(&hash, digest);
}

void mxg_bundle_seal(unsigned char *image, size_t count) {
  unsigned char content[32];
  if (count < front_bytes + hash_bytes) return;
  uint64_t last = count - hash_bytes, begin = load64(image + head_bytes + section_plan * record_bytes + 8);
  uint64_t end = load64(image + head_bytes + section_cubins * record_bytes + 8);
  if (end > last) end = last;
  if (begin > end) begin = end;
  hash_image(image, count, begin, end, content, image + last);
}

/* A text that ends with its only NUL. */
static const char *section_text(const mxg_bundle *bundle, const layout *where, enum section_kind kind) {
  const unsigned char *text = bundle->image + where->sections[kind].offset;
  size_t count = (size_t)where->sections[kind].count;
  return memchr(text, 0, count) == text + count - 1 ? (const char *)text : NULL;
}

static bool gaps_are_zero(const mxg_bundle *bundle, const layout *where) {
  for (uint32_t i = 0; i + 1 < section_kinds; i++) {
    uint64_t end = where->sections[i].offset + where->sections[i].count * kinds[i].item;
    for (uint64_t at = end; at < where->sections[i + 1].offset; at++)
      if (bundle->image[at] != 0) return false;
  }
  return true;
}

static bool arch_is_plain(const char arch[16]) {
  const char *end = memchr(arch, 0, 16);
  if (!end || end == arch) return false;
  for (const char *c = arch; c < end; c++)
    if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_')) return false;
  for (const char *c = end; c < arch + 16; c++)
    if (*c) return false;
  return true;
}

static int compare_cubins(uint32_t kernel_a, const char *arch_a, uint32_t kernel_b, const char *arch_b) {
  if (kernel_a != kernel_b) return kernel_a < kernel_b ? -1 : 1;
  return strncmp(arch_a, arch_b, 16);
}

static mxg_status open_cubins(mxg_bundle *bundle, const layout *where, mxg_error *err) {
  const unsigned char *code = bundle->image + where->sections[section_code].offset;
  uint64_t code_bytes = where->sections[section_code].count, next = 0;
  for (uint32_t i = 0; i < bundle->cubin_count; i++) {
    cubin_record record;
    memcpy(&record, bundle->image + where->sections[section_cubins].offset + i * sizeof record, sizeof record);
    mxg_bundle_cubin *cubin = &bundle->cubins[i];
    bool good = record.kernel < bundle->plan.kernel_count && arch_is_plain(record.arch) && record.pad == 0 &&
                record.offset == next && record.offset <= code_bytes && record.count <= code_bytes - record.offset;
    if (good && i > 0)
      good = compare_cubins(cubin[-1].kernel, cubin[-1].arch, record.kernel, record.arch) < 0; /* sorted, none twice */
    if (!good) return mxg_fail(err, MXG_ERR_BUNDLE, 706, "the bundle's cubin %u is malformed", i);
    cubin->kernel = record.kernel;
    memcpy(cubin->arch, record.arch, sizeof cubin->arch);
    cubin->bytes = code + record.offset;
    cubin->count = (size_t)record.count;
    next = align_up(record.offset + record.count, section_align);
  }
  if (next != code_bytes) return mxg_fail(err, MXG_ERR_BUNDLE, 706, "the bundle has code that belongs to no cubin");
  return MXG_OK;
}

static void make_digest(mxg_bundle *bundle, const layout *where, const unsigned char content[32]) {
  mxg_sha256 hash;
  unsigned char digest[32];
  static const char version[] = "mxgen bundle 3";
  mxg_sha256_begin(&hash);
  mxg_sha256_field(&hash, version, sizeof version - 1);
  for (uint32_t i = 0; i < digested; i++)
    mxg_sha256_add(&hash, &where->sections[i].count, sizeof where->sections[i].count);
  mxg_sha256_add(&hash, content, hash_bytes);
  mxg_sha256_end(&hash, digest);
  mxg_sha256_hex(digest, bundle->digest);
}

static void widen(mxg_group_range *range, uint32_t group) {
  if (range->first == MXG_NONE || range->first > group) range->first = group;
  if (range->last == MXG_NONE || range->last < group) range->last = group;
}

/* Which groups write each array: what a caller has to wait for. */
static void find_ranges(mxg_bundle *bundle) {
  const mxg_plan *plan = &bundle->plan;
  for (uint32_t i = 0; i < plan->array_count; i++) bundle->ranges[i] = (mxg_group_range){MXG_NONE, MXG_NONE};
  for (uint32_t s = 0; s < plan->step_count; s++) {
    const mxg_step *step = &plan->steps[s];
    if (step->kind != MXG_STEP_FILL && step->kind != MXG_STEP_CONVERT) continue;
    for (uint32_t i = step->first; i < step->first + step->count; i++)
      widen(&bundle->ranges[step->kind == MXG_STEP_FILL ? plan->fills[i].array : plan->pieces[i].dst], step->group);
  }
}

/* Of an executor's options: more streams than any machine has copy engines say that something else was meant. */
static bool hints_are_good(const mxg_hints *hints) {
  bool ends = memchr(hints->gpu, 0, sizeof hints->gpu) != NULL;
  for (size_t i = ends ? strlen(hints->gpu) : 0; ends && i < sizeof hints->gpu; i++) ends = hints->gpu[i] == 0;
  return hints->transport <= MXG_AUTO && hints->copy_streams <= 64 && hints->chunk_bytes <= largest_hint &&
         hints->pad == 0 && ends;
}

/* Points the plan into an image whose sections fit, and checks all of it, or all but the plan. */
static mxg_status open_image(mxg_bundle *bundle, const layout *where, bool known, mxg_error *err) {
  unsigned char *image = bundle->image;
  const section *at = where->sections;
  mxg_plan *plan = &bundle->plan;
  plan_head head;
  if (!gaps_are_zero(bundle, where))
    return mxg_fail(err, MXG_ERR_BUNDLE, 706, "the bundle has bytes between its sections");
  memcpy(&head, image + at[section_plan].offset, sizeof head);
  plan->rank_count = head.rank_count;
  plan->slots = head.slots;
  plan->slot_bytes = head.slot_bytes;
  plan->staging_cap = head.staging_cap;
  if (head.rank_count != at[section_ranks].count)
    return mxg_fail(err, MXG_ERR_BUNDLE, 706, "the bundle says %u ranks and describes %llu", head.rank_count,
                    (unsigned long long)at[section_ranks].count);
  plan->name = section_text(bundle, where, section_name);
  bundle->maker = section_text(bundle, where, section_maker);
  bundle->tuned = section_text(bundle, where, section_tuned);
  if (!plan->name || !bundle->maker || !bundle->tuned)
    return mxg_fail(err, MXG_ERR_BUNDLE, 706, "the bundle's name, maker or tuning is not a text");
  memcpy(&bundle->hints, image + at[section_hints].offset, sizeof bundle->hints);
  if (!hints_are_good(&bundle->hints)) return mxg_fail(err, MXG_ERR_BUNDLE, 706, "the bundle's hints are malformed");
  plan->strings = (const char *)(image + at[section_strings].offset);
  plan->string_bytes = at[section_strings].count;
  plan->ranks = (mxg_rank *)(void *)(image + at[section_ranks].offset);
  plan->encodings = (mxg_encoding *)(void *)(image + at[section_encodings].offset);
  plan->encoding_count = (uint32_t)at[section_encodings].count;
  plan->arrays = (mxg_array *)(void *)(image + at[section_arrays].offset);
  plan->array_count = (uint32_t)at[section_arrays].count;
  plan->pieces = (mxg_piece *)(void *)(image + at[section_pieces].offset);
  plan->piece_count = (uint32_t)at[section_pieces].count;
  plan->segments = (mxg_segment *)(void *)(image + at[section_segments].offset);
  plan->segment_count = (uint32_t)at[section_segments].count;
  plan->fills = (mxg_fill *)(void *)(image + at[section_fills].offset);
  plan->fill_count = (uint32_t)at[section_fills].count;
  plan->steps = (mxg_step *)(void *)(image + at[section_steps].offset);
  plan->step_count = (uint32_t)at[section_steps].count;
  plan->kernels = (mxg_kernel *)(void *)(image + at[section_kernels].offset);
  plan->kernel_count = (uint32_t)at[section_kernels].count;
  plan->groups = (mxg_group *)(void *)(image + at[section_groups].offset);
  plan->group_count = (uint32_t)at[section_groups].count;
  MXG_TRY(open_cubins(bundle, where, err));
  if (!known) MXG_TRY(mxg_plan_check(plan, err));
  find_ranges(bundle);
  return MXG_OK;
}

static mxg_status open_read(mxg_bundle *bundle, const layout *where, bool known, mxg_error *err) {
  unsigned char digest[hash_bytes], content[hash_bytes];
  hash_image(bundle->image, bundle->image_bytes, where->sections[section_plan].offset,
             where->sections[section_cubins].offset, content, digest);
  if (memcmp(digest, bundle->image + bundle->image_bytes - hash_bytes, hash_bytes) != 0)
    return mxg_fail(err, MXG_ERR_BUNDLE, 705, "the bundle is damaged: its SHA-256 is not the one that it ends with");
  make_digest(bundle, where, content);
  return open_image(bundle, where, known, err);
}

/* The last word on a bundle being made or read: hands it out, or frees it and places the error. */
static mxg_status settle(mxg_bundle **out, mxg_bundle *bundle, mxg_status status, const char *name, mxg_error *err) {
  if (status == MXG_OK) {
    *out = bundle;
    return MXG_OK;
  }
  mxg_bundle_free(bundle);
  if (name) mxg_error_place(err, name, 0, 0, 0);
  return status;
}

static mxg_status refuse_large(uint64_t bytes, mxg_error *err) {
  return mxg_fail(err, MXG_ERR_BUNDLE, 707, "%llu bytes are more than a bundle can have, %llu",
                  (unsigned long long)bytes, (unsigned long long)largest_file);
}

mxg_status mxg_bundle_read(mxg_bundle **out, const void *bytes, size_t count, const char *name, mxg_error *err) {
  *out = NULL;
  if (!bytes && count) return mxg_fail(err, MXG_ERR_USAGE, 700, "mxg_bundle_read: bytes is NULL");
  layout where;
  mxg_bundle *bundle = NULL;
  mxg_status status = count > largest_file ? refuse_large(count, err) : read_front(&where, bytes, count, err);
  if (status == MXG_OK) status = new_bundle(&bundle, &where, err);
  if (status == MXG_OK) {
    memcpy(bundle->image, bytes, count);
    status = open_read(bundle, &where, false, err);
  }
  return settle(out, bundle, status, name, err);
}

static mxg_status fail_file(const char *verb, mxg_error *err) {
  int number = errno;
  mxg_fail(err, MXG_ERR_IO, 708, "the bundle cannot be %s: %s", verb, strerror(number));
  if (err) err->native = number;
  return MXG_ERR_IO;
}

static mxg_status read_exactly(int file, unsigned char *bytes, uint64_t count, mxg_error *err) {
  while (count) {
    size_t chunk = count < (uint64_t)1 << 30 ? (size_t)count : (size_t)1 << 30;
    ssize_t got = read(file, bytes, chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_file("read", err);
    if (got == 0) return mxg_fail(err, MXG_ERR_BUNDLE, 704, "the bundle became shorter while it was read");
    bytes += got;
    count -= (uint64_t)got;
  }
  return MXG_OK;
}

static mxg_status read_image(mxg_bundle **bundle, int file, uint64_t bytes, bool known, mxg_error *err) {
  if (bytes > largest_file) return refuse_large(bytes, err);
  unsigned char front[front_bytes] = {0};
  uint64_t count = bytes < front_bytes ? bytes : front_bytes;
  layout where;
  MXG_TRY(read_exactly(file, front, count, err));
  MXG_TRY(read_front(&where, front, bytes, err));
  MXG_TRY(new_bundle(bundle, &where, err));
  memcpy((*bundle)->image, front, (size_t)count);
  MXG_TRY(read_exactly(file, (*bundle)->image + count, bytes - count, err));
  return open_read(*bundle, &where, known, err);
}

mxg_status mxg_bundle_read_file(mxg_bundle **out, int file, uint64_t count, bool known, mxg_error *err) {
  mxg_bundle *bundle = *out = NULL;
  mxg_status status = read_image(&bundle, file, count, known, err);
  return settle(out, bundle, status, NULL, err);
}

static mxg_status load_file(mxg_bundle **bundle, int file, mxg_error *err) {
  struct stat about;
  if (fstat(file, &about) != 0) return fail_file("read", err);
  if (!S_ISREG(about.st_mode))
    return mxg_fail(err, MXG_ERR_BUNDLE, 707, "not a bundle: it is %s, not a file",
                    S_ISDIR(about.st_mode) ? "a folder" : "a device or a pipe");
  return read_image(bundle, file, (uint64_t)about.st_size, false, err);
}

mxg_status mxg_bundle_load(mxg_bundle **out, const char *path, mxg_error *err) {
  *out = NULL;
  if (!path) return mxg_fail(err, MXG_ERR_USAGE, 700, "mxg_bundle_load: path is NULL");
  mxg_bundle *bundle = NULL;
  mxg_status status;
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not stop us here */
  if (file < 0)
    status = fail_file("opened", err);
  else
    status = load_file(&bundle, file, err);
  if (file >= 0) close(file);
  return settle(out, bundle, status, path, err);
}

/* ---- making ---- */

static int by_kernel_and_arch(const void *a, const void *b) {
  const mxg_bundle_cubin *x = a, *y = b;
  return compare_cubins(x->kernel, x->arch, y->kernel, y->arch);
}

static mxg_status place_sections(layout *where, const mxg_bundle_parts *parts, mxg_error *err) {
  const mxg_plan *plan = parts->plan;
  uint64_t code = 0, next = front_bytes;
  for (uint32_t i = 0; i < parts->cubin_count; i++)
    if (parts->cubins[i].count > largest_file ||
        (code += align_up(parts->cubins[i].count, section_align)) > largest_file)
      return refuse_large(UINT64_MAX, err);
  const uint64_t counts[section_kinds] = {
      1,
      strlen(plan->name ? plan->name : "") + 1,
      plan->string_bytes,
      plan->rank_count,
      plan->encoding_count,
      plan->array_count,
      plan->piece_count,
      plan->segment_count,
      plan->fill_count,
      plan->step_count,
      plan->kernel_count,
      plan->group_count,
      32,
      strlen(parts->maker) + 1,
      1,
      strlen(parts->tuned ? parts->tuned : "") + 1,
      parts->cubin_count,
      code,
  };
  for (uint32_t i = 0; i < section_kinds; i++) {
    uint64_t bytes;
    if (counts[i] < kinds[i].least || counts[i] > kinds[i].most)
      return mxg_fail(err, MXG_ERR_BUNDLE, 706, "a bundle cannot hold %llu items in its section \"%s\"",
                      (unsigned long long)counts[i], kinds[i].name);
    next = align_up(next, section_align);
    where->sections[i] = (section){next, counts[i]};
    if (!mxg_mul(&bytes, counts[i], kinds[i].item) || !mxg_add(&next, next, bytes) || next > largest_file)
      return refuse_large(next, err);
  }
  where->file_bytes = next + hash_bytes;
  return where->file_bytes > largest_file ? refuse_large(where->file_bytes, err) : MXG_OK;
}

static void put(mxg_bundle *bundle, const layout *where, enum section_kind kind, const void *items) {
  const section *at = &where->sections[kind];
  if (at->count) memcpy(bundle->image + at->offset, items, (size_t)(at->count * kinds[kind].item));
}

static void put_front(mxg_bundle *bundle, const layout *where) {
  unsigned char *front = bundle->image;
  const uint32_t version = format_version, sections = section_kinds;
  memcpy(front, magic, sizeof magic);
  memcpy(front + 8, &version, 4);
  memcpy(front + 12, &sections, 4);
  memcpy(front + 16, &where->file_bytes, 8);
  for (uint32_t i = 0; i < section_kinds; i++) {
    unsigned char *record = front + head_bytes + i * record_bytes;
    memcpy(record, &i, 4);
    memcpy(record + 4, &kinds[i].item, 4);
    memcpy(record + 8, &where->sections[i].offset, 8);
    memcpy(record + 16, &where->sections[i].count, 8);
  }
}

/* `bundle->cubins` are the caller's, sorted. */
static void put_cubins(mxg_bundle *bundle, const layout *where) {
  unsigned char *code = bundle->image + where->sections[section_code].offset;
  uint64_t next = 0;
  for (uint32_t i = 0; i < bundle->cubin_count; i++) {
    const mxg_bundle_cubin *cubin = &bundle->cubins[i];
    cubin_record record = {.kernel = cubin->kernel, .offset = next, .count = cubin->count};
    memcpy(record.arch, cubin->arch, strnlen(cubin->arch, sizeof record.arch));
    memcpy(bundle->image + where->sections[section_cubins].offset + i * sizeof record, &record, sizeof record);
    if (cubin->count) memcpy(code + next, cubin->bytes, cubin->count);
    next += align_up(cubin->count, section_align);
  }
}

mxg_status mxg_bundle_make(mxg_bundle **out, const mxg_bundle_parts *parts, mxg_error *err) {
  *out = NULL;
  const mxg_plan *plan = parts->plan;
  if (!plan || !parts->maker || !parts->sources_digest || (parts->cubin_count && !parts->cubins))
    return mxg_fail(err, MXG_ERR_USAGE, 700, "mxg_bundle_make: a part is NULL");
  layout where;
  mxg_bundle *bundle = NULL;
  MXG_TRY(place_sections(&where, parts, err));
  MXG_TRY(new_bundle(&bundle, &where, err));
  static const mxg_hints no_hints = MXG_HINTS_INIT;
  const plan_head head = {plan->rank_count, plan->slots, plan->slot_bytes, plan->staging_cap};
  put_front(bundle, &where);
  put(bundle, &where, section_plan, &head);
  put(bundle, &where, section_name, plan->name ? plan->name : "");
  put(bundle, &where, section_strings, plan->strings);
  put(bundle, &where, section_ranks, plan->ranks);
  put(bundle, &where, section_encodings, plan->encodings);
  put(bundle, &where, section_arrays, plan->arrays);
  put(bundle, &where, section_pieces, plan->pieces);
  put(bundle, &where, section_segments, plan->segments);
  put(bundle, &where, section_fills, plan->fills);
  put(bundle, &where, section_steps, plan->steps);
  put(bundle, &where, section_kernels, plan->kernels);
  put(bundle, &where, section_groups, plan->groups);
  put(bundle, &where, section_sources, parts->sources_digest);
  put(bundle, &where, section_maker, parts->maker);
  put(bundle, &where, section_hints, parts->hints ? parts->hints : &no_hints);
  put(bundle, &where, section_tuned, parts->tuned ? parts->tuned : "");
  if (parts->cubin_count) {
    memcpy(bundle->cubins, parts->cubins, parts->cubin_count * sizeof *parts->cubins);
    qsort(bundle->cubins, parts->cubin_count, sizeof *bundle->cubins, by_kernel_and_arch);
    put_cubins(bundle, &where);
  }
  unsigned char content[hash_bytes];
  hash_image(bundle->image, bundle->image_bytes, where.sections[section_plan].offset,
             where.sections[section_cubins].offset, content, bundle->image + bundle->image_bytes - hash_bytes);
  make_digest(bundle, &where, content);
  return settle(out, bundle, open_image(bundle, &where, false, err), NULL, err);
}

/* ---- saving ---- */

static mxg_status write_exactly(int file, const unsigned char *bytes, size_t count, mxg_error *err) {
  while (count) {
    ssize_t put_bytes = write(file, bytes, count < (size_t)1 << 30 ? count : (size_t)1 << 30);
    if (put_bytes < 0 && errno == EINTR) continue;
    if (put_bytes < 0) return fail_file("written", err);
    bytes += put_bytes;
    count -= (size_t)put_bytes;
  }
  return fsync(file) == 0 ? MXG_OK : fail_file("written", err);
}

/* The name survives a power cut once its folder is on disk too. Not every file system can; then the rename stands. */
static void sync_folder(char *path) {
  char *slash = strrchr(path, '/');
  if (slash) slash[slash == path ? 1 : 0] = 0;
  int folder = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  (void)fsync(folder);
  close(folder);
}

mxg_status mxg_bundle_save(const mxg_bundle *bundle, const char *path, mxg_error *err) {
  if (!bundle || !path) return mxg_fail(err, MXG_ERR_USAGE, 700, "mxg_bundle_save: bundle or path is NULL");
  size_t room = strlen(path) + 32;
  char *beside = mxg_alloc(room);
  if (!beside) return mxg_fail_nomem(err);
  int file = -1;
  for (unsigned attempt = 0; attempt < 100 && file < 0; attempt++) {
    snprintf(beside, room, "%s.%ld-%u.part", path, (long)getpid(), attempt);
    file = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0 && errno != EEXIST) break;
  }
  mxg_status status =
      file < 0 ? fail_file("written", err) : write_exactly(file, bundle->image, bundle->image_bytes, err);
  if (file >= 0) {
    if (close(file) != 0 && status == MXG_OK) status = fail_file("written", err);
    if (status == MXG_OK && rename(beside, path) != 0) status = fail_file("written", err);
    if (status != MXG_OK) unlink(beside);
  }
  if (status == MXG_OK)
    sync_folder(beside);
  else
    mxg_error_place(err, path, 0, 0, 0);
  mxg_free(beside);
  return status;
}

/* ---- looking inside ---- */

const mxg_plan *mxg_bundle_plan(const mxg_bundle *bundle) { return &bundle->plan; }

const mxg_hints *mxg_bundle_hints(const mxg_bundle *bundle, const char **tuned) {
  if (tuned) *tuned = bundle->tuned;
  return &bundle->hints;
}

const char *mxg_bundle_maker(const mxg_bundle *bundle) { return bundle->maker; }
const char *mxg_bundle_digest(const mxg_bundle *bundle) { return bundle->digest; }

const unsigned char *mxg_bundle_image(const mxg_bundle *bundle, size_t *count) {
  *count = bundle->image_bytes;
  return bundle->image;
}

mxg_group_range mxg_bundle_array_groups(const mxg_bundle *bundle, uint32_t array) { return bundle->ranges[array]; }

uint32_t mxg_bundle_cubins(const mxg_bundle *bundle, const mxg_bundle_cubin **out) {
  *out = bundle->cubins;
  return bundle->cubin_count;
}
