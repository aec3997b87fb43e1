/* outcome.c -- see outcome.h. */
#include "outcome.h"

#include "recipe_args.h"

static void print_json(const mxg_transfer *t, mxg_text *text) {
  const mxg_move *m = &t->move;
  mxg_text_puts(text, "{\n  \"name\": ");
  mxg_text_json(text, t->plan->name);
  mxg_text_puts(text, ",\n  \"out\": ");
  mxg_text_json(text, t->out);
  mxg_text_format(text,
                  ",\n  \"files\": %llu,\n  \"arrays\": %llu,\n  \"bytes_read\": %llu,\n  \"bytes_written\": %llu,\n",
                  (unsigned long long)m->files, (unsigned long long)m->arrays, (unsigned long long)m->bytes_read,
                  (unsigned long long)m->bytes_written);
  mxg_text_format(text, "  \"wire_bytes\": %llu,\n  \"wire_bytes_bf16\": %llu,\n  \"seconds\": %.6f,\n",
                  (unsigned long long)m->wire_bytes, (unsigned long long)m->wire_bytes_bf16, m->seconds);
  mxg_text_format(text, "  \"transport\": \"%s\",\n  \"why\": ", mxg_transport_name(m->taken));
  mxg_text_json(text, m->why);
  mxg_text_format(text, ",\n  \"index\": %s,\n  \"replicas_left_out\": %u", m->indexed ? "true" : "false", t->replicas);
  if (m->checks) {
    mxg_text_puts(text, ",\n  \"checksums\": ");
    mxg_checks_json(t->plan, m->checks, NULL, text);
  }
  mxg_text_puts(text, "\n}\n");
}

static void add_wire(const mxg_move *m, mxg_text *text) {
  mxg_text_puts(text, "wire      ");
  mxg_text_size(text, m->wire_bytes);
  if (m->wire_bytes) {
    mxg_text_puts(text, " (as BF16 ");
    mxg_text_size(text, m->wire_bytes_bf16);
    mxg_text_format(text, ", %.3f of it)",
                    (double)m->wire_bytes / (double)(m->wire_bytes_bf16 ? m->wire_bytes_bf16 : 1));
  }
  mxg_text_puts(text, " between ranks\n");
}

static void print_text(const mxg_transfer *t, mxg_text *text) {
  const mxg_move *m = &t->move;
  if (m->checks) {
    mxg_checks_print(t->plan, m->checks, NULL, text);
    mxg_text_puts(text, "\n");
  }
  mxg_text_format(text, "wrote %s: %llu rank file%s, %llu arrays%s\n", t->out, (unsigned long long)m->files,
                  m->files == 1 ? "" : "s", (unsigned long long)m->arrays,
                  m->indexed ? ", model.safetensors.index.json" : "");
  mxg_text_puts(text, "read      ");
  mxg_text_size(text, m->bytes_read);
  mxg_text_puts(text, "\nwritten   ");
  mxg_text_size(text, m->bytes_written);
  mxg_text_puts(text, "\n");
  add_wire(m, text);
  if (m->taken != MXG_HOST || *m->why)
    mxg_text_format(text, "transport %s%s%s\n", mxg_transport_name(m->taken), *m->why ? ": " : "", m->why);
  mxg_text_format(text, "time      %.3f s, ", m->seconds);
  mxg_text_rate(text, m->bytes_read + m->bytes_written, m->seconds);
  mxg_text_puts(text, " read and written\n");
  if (t->replicas)
    mxg_text_format(text,
                    "%u rank%s would hold whole tensors that a lower rank's file has: not written (--all-ranks)\n",
                    t->replicas, t->replicas == 1 ? "" : "s");
}

mxg_status mxg_outcome_print(const mxg_transfer *transfer, bool json, mxg_error *err) {
  mxg_text text = {0};
  if (json)
    print_json(transfer, &text);
  else
    print_text(transfer, &text);
  return mxg_out(&text, err);
}
