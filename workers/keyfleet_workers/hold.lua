-- flags: allow-oom
-- hold: keep a key, a group or a quota pool from being used.
--
-- KEYS[1]   hold, string "<state> <since_ms> <reason>"; its expiry, if it has one, is the end of the hold
-- KEYS[2]   lifted, string: since_ms of a hold without an end that a probe has lifted lately; it stays while such a
--           hold stands again
-- ARGV[1]   state, a word
-- ARGV[2]   reason
-- ARGV[3]   rest_ms from now, 0: until it is lifted
-- Returns   1 when the hold was set, 0 when one stands that lasts as long or longer
-- Invariant of several ends the latest wins; who disables again gives a new reason; a hold that is prolonged, or set again soon after a probe lifted it,
--           keeps the time since which it stands
local rest_ms = tonumber(ARGV[3])
local standing = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local since_ms = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
if standing then
  local state, stood_since_ms = string.match(standing, '^(%S+) (%d+) ')
  local left_ms = redis.call('PTTL', KEYS[1])
  if left_ms < 0 and (rest_ms > 0 or (state == ARGV[1] and state ~= 'disabled')) then return 0 end
  if left_ms >= 0 and rest_ms > 0 and left_ms >= rest_ms then return 0 end
  if state == ARGV[1] then since_ms = stood_since_ms end
end
local lifted_since_ms = rest_ms == 0 and string.match(redis.call('GET', KEYS[2]) or '', '^%d+$')
if lifted_since_ms then
  since_ms = lifted_since_ms
  redis.call('SET', KEYS[2], since_ms)
end
local text = table.concat({ARGV[1], since_ms, ARGV[2]}, ' ')
if rest_ms > 0 then
  redis.call('SET', KEYS[1], text, 'PX', ARGV[3])
else
  redis.call('SET', KEYS[1], text)
end
return 1
