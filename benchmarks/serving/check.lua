-- Send rows in turn and compare every answer with the offline prediction.
-- wrk -s check.lua URL -- BODIES, where a line of BODIES is LABEL, tab, BODY.
-- The last line of output is one JSON object.

local threads = {}
local expected, requests = {}, {}
local position = 0
wrong = 0 -- global, so that done() can read it from every thread

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local headers = { ["Content-Type"] = "application/json" }
  for line in io.lines(args[1]) do
    local label, body = line:match("^(%S+)\t(.*)$")
    table.insert(expected, tonumber(label))
    table.insert(requests, wrk.format("POST", nil, headers, body))
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function response(status, _, body)
  local row = tonumber(body:match('"id"%s*:%s*"(%d+)"'))
  local label = tonumber(body:match('"data"%s*:%s*%[%s*%[?%s*([%d.]+)'))
  if status ~= 200 or row == nil or label == nil or label ~= expected[row + 1] then
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
