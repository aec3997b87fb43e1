-- model:  one tensor for every conversion that a library of others makes too.
-- ranks:  1.
-- intent: kernels for tests/bench/peers_kernels.py, which compares what they write with theirs, and their times.
local mx = require "mx"

local ROWS, COLS = mx.param("rows", 4096), mx.param("cols", 14336)
local m = mx.model "peers"
local from, to = {}, {}

local function convert(name, source, target)
  m:tensor(name, { ROWS, COLS })
  from[#from + 1], to[#to + 1] = mx.rule(source, name), mx.rule(target, name)
end

for _, elem in ipairs { "e4m3", "e5m2" } do
  for _, rule in ipairs { "floor", "rceil", "ceil", "even" } do
    for _, nan in ipairs { "block", "element" } do
      convert(("row.%s.%s.%s"):format(elem, rule, nan), mx.bf16(), mx.mxfp8 { elem = elem, scale = rule, nan = nan })
    end
  end
  local fp8 = mx.mxfp8 { elem = elem, scale = "rceil" }
  convert(elem .. ".to_bf16", fp8, mx.bf16())
  convert(elem .. ".to_fp16", fp8, mx.fp16())
  convert(elem .. ".to_fp32", fp8, mx.fp32())
end
for _, rule in ipairs { "floor", "rceil" } do
  convert("column." .. rule, mx.bf16(), mx.mxfp8 { elem = "e4m3", block = { 32, 1 }, scale = rule })
  convert("swizzled." .. rule, mx.bf16(), mx.mxfp8 { elem = "e4m3", scale = rule, scales = "swizzled" })
end

return {
  version = 1, name = "peers", model = m,
  source = { mesh = mx.mesh { { "one", 1 } }, format = from, layout = { mx.rule(mx.whole(), "**") } },
  target = { mesh = mx.mesh { { "one", 1 } }, format = to, layout = { mx.rule(mx.whole(), "**") } },
  schedule = { bucket = "1GiB", slots = 2, staging = "8GiB" },
}
