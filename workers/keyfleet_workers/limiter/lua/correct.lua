-- flags: allow-oom
-- correct: take over what a provider says is left of its limits, where that is less than what is left here.
--
-- KEYS[1..n]  windows
-- ARGV[1]     n, the number of limits
-- ARGV[2..]   per limit: amount, window_ms, guard_ms, known_ms (not used: a window that is missing says nothing)
-- then        per limit: granted_ms of the call that was answered, left here after that grant, remaining there as its
--             answer says (-1: it doesn't say), reset_ms from now as it says (-1: it doesn't say)
-- Returns     per limit what others used, as it stands now
-- Invariant   a provider's `remaining` speaks of the moment of admission, so it counts only where it is below both what
--             was left here at the grant and what is left now; it replaces the last one, leaves the window with the
--             grant, and at the reset at the latest
local count = tonumber(ARGV[1])
local windows = open_windows(1, count, 2)
local now_ms = shared_now_ms(windows)
local found = {}
for index, window in ipairs(windows) do
  local at = 2 + count * LIMIT_FIELDS + (index - 1) * 4
  local granted_ms, left_then = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local remaining, reset_ms = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  found[index] = 0
  if window.total and remaining >= 0 then
    roll_window(window, now_ms)
    local stands_from_ms = tonumber(redis.call('HGET', window.key, 'foreign_ms') or '0')
    if granted_ms >= stands_from_ms then
      local until_ms = granted_ms + window.span_ms
      if reset_ms >= 0 then until_ms = math.min(until_ms, now_ms + reset_ms) end
      local foreign = math.max(0, math.min(left_then, window.amount - window.total) - remaining)
      if until_ms <= now_ms then foreign = 0 end
      redis.call('HSET', window.key, 'foreign', string.format('%.0f', foreign), 'foreign_ms',
        string.format('%.0f', granted_ms), 'foreign_until_ms', string.format('%.0f', until_ms))
      window.foreign = foreign
    end
    found[index] = window.foreign
  end
end
return found
