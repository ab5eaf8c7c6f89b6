-- flags: allow-oom
-- reserve: grant the longest prefix of a list of costs that fits all limits now, all or nothing per entry.
--
-- KEYS[1..n]  windows
-- ARGV[1]     n, the number of limits
-- ARGV[2..]   per limit: amount, window_ms, guard_ms, known_ms
-- then        entries, each n costs in the limits' order
-- Returns     {granted, wait_ms, limit, now_ms}: how many entries were granted; the milliseconds until the next one
--             fits (0: all were granted, -1: never) and the limit (from 1) that holds it; the time of the grants
-- Invariant   within every limit, the grants of any trailing window never exceed its amount
local count = tonumber(ARGV[1])
local windows = open_windows(1, count, 2)
local now_ms = shared_now_ms(windows)
for _, window in ipairs(windows) do roll_window(window, now_ms) end

local first = 2 + count * LIMIT_FIELDS
local entries = (#ARGV - first + 1) / count
local function costs_of(entry)
  local costs = {}
  for index = 1, count do costs[index] = tonumber(ARGV[first + (entry - 1) * count + index - 1]) end
  return costs
end

local granted, pending = 0, no_costs(count)
while granted < entries and fits(windows, pending, costs_of(granted + 1)) do
  add_costs(pending, costs_of(granted + 1))
  granted = granted + 1
end
grant_all(windows, pending, now_ms)

local wait_ms, blocked = 0, 0
if granted < entries then wait_ms, blocked = longest_wait(windows, costs_of(granted + 1), now_ms) end
return {granted, wait_ms, blocked, now_ms}
