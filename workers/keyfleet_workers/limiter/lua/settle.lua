-- flags: allow-oom
-- settle: correct earlier grants to what was really used, at the time it was really used.
--
-- KEYS[1..n]  windows
-- ARGV[1]     n, the number of limits
-- ARGV[2..]   per limit: amount, window_ms, guard_ms, known_ms (not used: the settled grants tell)
-- then        rows of granted_ms (-1: nothing was granted, it is charged now), used_ms, and per limit: cost reserved,
--             delta
--             (delta above 0: a surcharge, which may carry the window above its amount; below 0: a refund)
-- Returns     1
-- Invariant   a charge only moves forward in time; a window that has left is not touched
local count = tonumber(ARGV[1])
local windows = open_windows(1, count, 2)
local now_ms = shared_now_ms(windows)
local width = 2 + 2 * count

-- The newest of the grants to be settled that must still stand in the window; 0 when there is none.
local function newest_standing_ms(window, index)
  local newest_ms = 0
  for at = 2 + count * LIMIT_FIELDS, #ARGV, width do
    local granted_ms = tonumber(ARGV[at])
    local is_charged = tonumber(ARGV[at + 2 * index]) > 0 or tonumber(ARGV[at + 2 * index + 1]) > 0
    if is_charged and granted_ms >= 0 and granted_ms + window.window_ms >= now_ms then newest_ms = math.max(newest_ms, granted_ms) end
  end
  return newest_ms
end

for index, window in ipairs(windows) do
  window.known_ms = newest_standing_ms(window, index)
  roll_window(window, now_ms)
end

for at = 2 + count * LIMIT_FIELDS, #ARGV, width do
  local granted_ms = tonumber(ARGV[at])
  if granted_ms < 0 then granted_ms = now_ms end
  local used_ms = math.min(math.max(granted_ms, tonumber(ARGV[at + 1])), now_ms)
  for index, window in ipairs(windows) do
    resettle(window, granted_ms, used_ms, tonumber(ARGV[at + 2 * index]), tonumber(ARGV[at + 2 * index + 1]), now_ms)
  end
end
for _, window in ipairs(windows) do
  if window.changed then
    save_window(window, now_ms)
    prolong_window(window)
  end
end
return 1
