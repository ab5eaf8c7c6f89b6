-- flags: allow-oom
-- correct: take over what a provider says is left of its limits, where that is less than what is left here.
--
-- KEYS[1..n]  windows
-- ARGV[1]     n, the number of limits
-- ARGV[2..]   per limit: amount, window_ms, guard_ms, known_ms (not used: a window that is missing says nothing)
-- then        per limit: granted_ms of the call that was answered, left here after that grant, remaining there as its
--             answer says (-1: it doesn't say), reset_ms from now as it says (-1: it doesn't say)
-- Returns     per limit what others used, as it stands now
-- Invariant   a provider's `remaining` speaks of the moment of admission, between the grant and now, so what it is below
--             both what was left then and what is left now is the least that others used. In between others of our own
--             calls were admitted, so most answers tell too little: the most of the last HOLD_MS or two counts. It
--             leaves the window with the grant, and at the reset at the latest
local HOLD_MS = 10000
local count = tonumber(ARGV[1])
local windows = open_windows(1, count, 2)
local now_ms = shared_now_ms(windows)

-- The most that others used, in the present turn and the one before it.
local function hold_most(window, least)
  local state = redis.call('HMGET', window.key, 'foreign_now', 'foreign_was', 'foreign_turn_ms')
  local present, before = tonumber(state[1] or '0'), tonumber(state[2] or '0')
  local turn_ms = tonumber(state[3] or '0')
  if window.foreign == 0 then present, before, turn_ms = 0, 0, now_ms end
  if now_ms - turn_ms >= HOLD_MS then present, before, turn_ms = 0, present, now_ms end
  present = math.max(present, least)
  window.foreign = math.max(present, before)
  return 'foreign_now', string.format('%.0f', present), 'foreign_was', string.format('%.0f', before),
    'foreign_turn_ms', string.format('%.0f', turn_ms)
end

local function correct(window, granted_ms, left_then, remaining, reset_ms)
  local until_ms = granted_ms + window.span_ms
  if reset_ms >= 0 then until_ms = math.min(until_ms, now_ms + reset_ms) end
  local least = math.max(0, math.min(left_then, window.amount - window.total) - remaining)
  if until_ms <= now_ms then least = 0 end
  if least > 0 then window.foreign_until_ms = math.max(window.foreign_until_ms, until_ms) end
  local fields = {hold_most(window, least)}
  redis.call('HSET', window.key, 'foreign', string.format('%.0f', window.foreign), 'foreign_until_ms',
    string.format('%.0f', window.foreign_until_ms), unpack(fields))
end

local found = {}
for index, window in ipairs(windows) do
  local at = 2 + count * LIMIT_FIELDS + (index - 1) * 4
  local remaining = tonumber(ARGV[at + 2])
  found[index] = 0
  if window.total and remaining >= 0 then
    roll_window(window, now_ms)
    correct(window, tonumber(ARGV[at]), tonumber(ARGV[at + 1]), remaining, tonumber(ARGV[at + 3]))
    found[index] = window.foreign
  end
end
return found
