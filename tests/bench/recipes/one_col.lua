-- model:  one tensor of 4096 x 14336, MXFP8.
-- ranks:  2 (`tp`), split by columns; the target whole in BF16 on both.
-- intent: the smallest gather: how near to the link's time one launch or a few copies come.
local mx = require "mx"

local m, TP = mx.model "one_col", mx.param("tp", 2)
m:tensor("w", { 4096, 14336 })

return {
  version = 1, name = "one_col", model = m,
  source = {
    mesh   = mx.mesh { { "tp", TP } },
    format = { mx.rule(mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }, "w") },
    layout = { mx.rule(mx.split { col = "tp" }, "w") },
  },
  target = {
    mesh   = mx.mesh { { "copy", TP } },
    format = { mx.rule(mx.bf16(), "w") },
    layout = { mx.rule(mx.whole(), "w") },
  },
  schedule = { bucket = "64MiB", slots = 2, staging = "128MiB" },
}
