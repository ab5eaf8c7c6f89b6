-- flags: allow-oom
-- settle: correct earlier grants to what was really used, at the time it was really used.
--
-- KEYS[1..n]  windows
-- ARGV[1]     n, the number of limits
-- ARGV[2..]   per limit: amount, window_ms, guard_ms, known
-- then        rows of granted_ms, used_ms, and per limit: cost reserved, delta
--             (delta above 0: a surcharge, which may carry the window above its amount; below 0: a refund)
-- Returns     1
-- Invariant   a charge only moves forward in time; a window that has left is not touched
local count = tonumber(ARGV[1])
local windows = open_windows(1, count, 2)
local now_ms = shared_now_ms(windows)
for _, window in ipairs(windows) do roll_window(window, now_ms) end

local width = 2 + 2 * count
for at = 2 + count * LIMIT_FIELDS, #ARGV, width do
  local granted_ms = tonumber(ARGV[at])
  local used_ms = math.min(math.max(granted_ms, tonumber(ARGV[at + 1])), now_ms)
  for index, window in ipairs(windows) do
    resettle(window, granted_ms, used_ms, tonumber(ARGV[at + 2 * index]), tonumber(ARGV[at + 2 * index + 1]), now_ms)
  end
end
for _, window in ipairs(windows) do save_window(window, now_ms) end
return 1
