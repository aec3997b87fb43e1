-- model:  a tensor for every way in which scales can lie in rows, and for some where they cannot.
-- ranks:  2, tensor parallel; target the same 2, some tensors whole, some split the other way.
-- intent: formats are the same on both sides, so that what moves is bytes, by copies where those will do.
local mx = require "mx"

local m = mx.model "moves"
m:tensor("row", { 192, 256 })
m:fused("qkv", { { "q", 256 }, { "k", 64 }, { "v", 64 } }, 128):interleave(4)
m:tensor("padded", { 96, 160 })
m:tensor("column", { 256, 96 })
m:tensor("square", { 128, 192 })
m:tensor("block", { 512, 256 })
m:tensor("swizzled", { 256, 256 })
m:tensor("experts", { 6, 64, 96 })
m:tensor("other", { 128, 128 })

local function fp8(block, scales)
  return mx.mxfp8 { elem = "e4m3", block = block, scale = "rceil", scales = scales }
end
local same = { mx.rule(fp8 { 32, 1 }, "column"), mx.rule(fp8 { 32, 32 }, "square"), mx.rule(mx.fp8_block { elem = "e4m3" }, "block"),
               mx.rule(fp8(32, "swizzled"), "swizzled") }
local function formats(padded)
  local rules = { mx.rule(fp8(32, padded), "padded") }
  for _, rule in ipairs(same) do rules[#rules + 1] = rule end
  rules[#rules + 1] = mx.rule(fp8(32), "**")
  return rules
end

return {
  version = 1, name = "moves", model = m,
  source = {
    mesh   = mx.mesh { { "tp", 2 } },
    format = formats "compact",
    layout = { mx.rule(mx.split { col = "tp" }, "square", "other"), mx.rule(mx.split { expert = "tp" }, "experts"),
               mx.rule(mx.split { row = "tp" }, "**") },
  },
  target = {
    mesh   = mx.mesh { { "tp", 2 } },
    format = formats "padded",
    layout = { mx.rule(mx.split { col = "tp" }, "row", "column"), mx.rule(mx.split { row = "tp" }, "other", "square"),
               mx.rule(mx.whole(), "**") },
  },
}
