-- Send requests in turn and compare every answer with the offline prediction.
-- wrk -s check.lua URL -- BODIES, where a line of BODIES is VALUES, tab, BODY.
-- The last line of output is one JSON object.
-- An answer says by its id which request it belongs to.

local TOLERANCE = 1e-4 -- of float32 models, whose last digits depend on the batch

local threads = {}
local expected, requests = {}, {}
local position = 0
wrong = 0 -- global, so that done() can read it from every thread

function setup(thread)
  table.insert(threads, thread)
end

local function numbers(text)
  local found = {}
  for number in text:gmatch("-?%d[%d.]*[eE]?[-+]?%d*") do
    table.insert(found, tonumber(number))
  end
  return found
end

function init(args)
  local headers = { ["Content-Type"] = "application/json" }
  for line in io.lines(args[1]) do
    local values, body = line:match("^(%S+)\t(.*)$")
    table.insert(expected, numbers(values))
    table.insert(requests, wrk.format("POST", nil, headers, body))
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end

local function close(value, wanted)
  return value ~= nil
    and math.abs(value - wanted) <= TOLERANCE * math.max(1, math.abs(wanted))
end

local function is_right(body)
  local id = body:match('"id"%s*:%s*"(%d+)"')
  local wanted = id and expected[id + 1]
  if wanted == nil then
    return false
  end
  local _, before = body:find('"data"%s*:%s*')
  local list = before and body:match("%b[]", before + 1)
  if list == nil then
    return false
  end
  if #wanted == 1 then -- the common case, made cheap
    return close(tonumber(list:match("^[%[%s]*([^%],%s]+)[%]%s]*$")), wanted[1])
  end
  local values = numbers(list)
  if #values ~= #wanted then
    return false
  end
  for index, value in ipairs(values) do
    if not close(value, wanted[index]) then
      return false
    end
  end
  return true
end

function response(status, _, body)
  if status ~= 200 or not is_right(body) then
    wrong = wrong + 1
  end
end

function done(summary, latency, _)
  local all_wrong = 0
  for _, thread in ipairs(threads) do
    all_wrong = all_wrong + thread:get("wrong")
  end
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  local form = '{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "wrong": %d, "lost": %d}\n'
  io.write(string.format(form, summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), all_wrong, lost))
end
