-- prelude.lua -- the two library functions that recipes get in another form than Lua's own. Trusted code; written in
-- Lua so that every step counts against the recipe's instruction cap.
local next, type, error = next, type, error

-- Numbers before texts before booleans; other keys have no order that two runs share.
local rank = { number = 1, string = 2, boolean = 3 }

local function before(a, b)
  local ta, tb = type(a), type(b)
  if ta ~= tb then return rank[ta] < rank[tb] end
  if ta == "boolean" then return not a and b end
  return a < b
end

-- Stable merge sort: equal elements keep their order, and the same input always gives the same result.
local function sort(list, less)
  if type(list) ~= "table" then error("table.sort takes a list", 2) end
  if less ~= nil and type(less) ~= "function" then error("table.sort: the order is not a function", 2) end
  less = less or function(a, b) return a < b end
  local n = #list
  local from, to, width = list, {}, 1
  while width < n do
    for low = 1, n, 2 * width do
      local middle, high = low + width, low + 2 * width
      if middle > n + 1 then middle = n + 1 end
      if high > n + 1 then high = n + 1 end
      local i, j = low, middle
      for k = low, high - 1 do
        if i < middle and (j >= high or not less(from[j], from[i])) then
          to[k] = from[i]
          i = i + 1
        else
          to[k] = from[j]
          j = j + 1
        end
      end
    end
    from, to, width = to, from, 2 * width
  end
  if from ~= list then
    for i = 1, n do list[i] = from[i] end
  end
end

local function sorted_pairs(t)
  if type(t) ~= "table" then error("pairs takes a table, not a " .. type(t), 2) end
  local keys, n = {}, 0
  for key in next, t do
    if not rank[type(key)] then error("pairs: a key that is a " .. type(key) .. " has no order", 2) end
    n = n + 1
    keys[n] = key
  end
  sort(keys, before)
  local i = 0
  return function()
    i = i + 1
    local key = keys[i]
    if key ~= nil then return key, t[key] end
  end
end

return { pairs = sorted_pairs, sort = sort }
