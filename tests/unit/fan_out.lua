-- model:  the 32 layers of Llama 3 8B.
-- ranks:  2, tensor parallel, to whole tensors on 8: each of the 2 sends four times what any receives.
-- intent: staging stays inside its cap where what is sent is more than what is received.
local mx = require "mx"

local m = mx.model "fan_out"
for i = 0, 31 do
  local b = m:scope("layers.%d", i)
  b:tensor("attn.qkv", { 6144, 4096 })
  b:tensor("attn.out", { 4096, 4096 })
  b:tensor("mlp.gate_up", { 28672, 4096 })
  b:tensor("mlp.down", { 4096, 14336 })
end

return {
  version = 1, name = "fan_out", model = m,
  source = {
    mesh   = mx.mesh { { "tp", 2 } },
    format = { mx.rule(mx.mxfp8 { elem = "e4m3", scale = "rceil" }, "**") },
    layout = { mx.rule(mx.split { row = "tp" }, "**") },
  },
  target = {
    mesh   = mx.mesh { { "copy", 8 } },
    format = { mx.rule(mx.bf16(), "**") },
    layout = { mx.rule(mx.whole(), "**") },
  },
}
