-- flags: allow-oom
-- tick: one beat of the fleet's reaper, for at most one worker at a time.
--
-- KEYS[1]     reaper, hash: owner, owner_until_ms, tick_ms, grace_until_ms, epoch, run_id, settles_ms
-- ARGV[1]     worker id
-- ARGV[2]     lock_ms, how long the worker owns the reaper after this beat
-- ARGV[3]     lease_ms
-- ARGV[4]     silence_ms: a last beat older than this means that the server or the whole fleet was away; one in the
--             future, that the server's clock stepped back
-- ARGV[5]     run_id of this start of the server; '' where no start can have lost anything
-- ARGV[6]     settling_ms, how long workers may take to make good what a start of the server has lost
-- Returns     {owned 0|1, now_ms, may_expire 0|1, epoch, settling_ms}
--             epoch: another one than before means that the server has lost everything in between
--             settling_ms: how long nothing may be taken yet, as others may be about to say what they have in flight
-- Invariant   after a silence no lease expires for one whole lease, so that live workers renew first
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local state = redis.call('HMGET', KEYS[1], 'owner', 'owner_until_ms', 'tick_ms', 'grace_until_ms', 'epoch',
  'run_id', 'settles_ms')
local epoch = state[5]
if not epoch then
  epoch = ARGV[1] .. ':' .. string.format('%.0f', now_ms)
  redis.call('HSET', KEYS[1], 'epoch', epoch)
end
-- What lies further ahead than it was ever set comes from before the server's clock stepped back.
local settles_ms = tonumber(state[7] or '0') or 0
if ARGV[5] ~= '' and state[6] ~= ARGV[5] then
  settles_ms = now_ms + tonumber(ARGV[6])
  redis.call('HSET', KEYS[1], 'run_id', ARGV[5], 'settles_ms', string.format('%.0f', settles_ms))
end
local settling_ms = math.max(0, settles_ms - now_ms)
if settling_ms > tonumber(ARGV[6]) then settling_ms = 0 end
local owned_for_ms = (tonumber(state[2] or '0') or 0) - now_ms
if state[1] and state[1] ~= ARGV[1] and owned_for_ms > 0 and owned_for_ms <= tonumber(ARGV[2]) then
  return {0, now_ms, 0, epoch, settling_ms}
end

local grace_until_ms = tonumber(state[4] or '0') or 0
local silent_ms = now_ms - (tonumber(state[3] or '0') or 0)
if silent_ms > tonumber(ARGV[4]) or silent_ms < 0 then
  grace_until_ms = now_ms + tonumber(ARGV[3])
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'owner_until_ms', string.format('%.0f', now_ms + tonumber(ARGV[2])),
  'tick_ms', string.format('%.0f', now_ms), 'grace_until_ms', string.format('%.0f', grace_until_ms))
return {1, now_ms, now_ms >= grace_until_ms and 1 or 0, epoch, settling_ms}
