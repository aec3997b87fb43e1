-- model:  dense.lua.
-- ranks:  the same 2 on both sides, the same layout: nothing travels between ranks.
-- intent: reconcile. A trainer that holds every linear layer in MXFP8 is told when its model is made that the first and the
--         last layers stay in high precision: those become BF16, the rest stays where it is, byte for byte.
local mx = require "mx"

local m, L = include "dense.lua", mx.param("layers", 4)
local keep = mx.param("keep", 1)                   -- layers at each end that become BF16
local quantised = mx.param("quantised", true)      -- false: a model in which nothing is; the example must notice

local forced = {}
for i = 0, L - 1 do
  if i < keep or i >= math.max(L - keep, keep + 1) then forced[#forced + 1] = ("layers.%d.**"):format(i) end
end

local fp8, bf16 = mx.mxfp8 { elem = "e4m3", block = 32, scale = "rceil" }, mx.bf16()
local held = { mx.rule(bf16, "**") }
local wanted = held
if quantised then
  held = { mx.rule(bf16, "embed", "head", "**norm"), mx.rule(fp8, "layers.**") }
  wanted = { mx.rule(bf16, "embed", "head", "**norm", table.unpack(forced)), mx.rule(fp8, "layers.**") }
end
local mesh = mx.mesh { { "tp", 2 } }
local layout = {
  mx.rule(mx.whole(), "**norm"),
  mx.rule(mx.split { col = "tp" }, "**.attn.out", "**.mlp.down"),
  mx.rule(mx.split { row = "tp" }, "**"),
}

return {
  version = 1, name = "dense_reconcile_tp2", model = m,
  source = { mesh = mesh, layout = layout, format = held },
  target = { mesh = mesh, layout = layout, format = wanted },
  schedule = { bucket = "256MiB", staging = "1GiB" },
}
