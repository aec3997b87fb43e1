-- model:  some layers of a weight by rows, one by columns and one that is not divided evenly.
-- ranks:  as many as are asked for, tensor parallel to whole tensors on all of them.
-- intent: every rank pulls from every other in every bucket, so that ranks take turns.
local mx = require "mx"

local N, L = mx.param("ranks", 4), mx.param("layers", 5)
local m = mx.model "ring"
for i = 0, L - 1 do
  local b = m:scope("layers.%d", i)
  b:tensor("up", { 120 * 64, 64 })
  b:tensor("down", { 64, 120 * 64 })
  b:tensor("norm", { 64 })
end

local fp8, bf16 = mx.mxfp8 { elem = "e4m3", scale = "rceil" }, mx.bf16()
return {
  version = 1, name = "ring", model = m,
  source = {
    mesh   = mx.mesh { { "tp", N } },
    format = { mx.rule(bf16, "**norm"), mx.rule(fp8, "**") },
    layout = {
      mx.rule(mx.whole(), "**norm"),
      mx.rule(mx.split { col = "tp" }, "**.down"),
      mx.rule(mx.split { row = "tp" }, "**"),
    },
  },
  target = {
    mesh   = mx.mesh { { "copy", N } },
    format = { mx.rule(bf16, "**") },
    layout = { mx.rule(mx.whole(), "**") },
  },
  schedule = { bucket = "512KiB", slots = 2, staging = "2MiB" },
}
