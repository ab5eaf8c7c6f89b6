-- flags: allow-oom
-- slow_down: let a quota pool begin anew with half of the share it had, and grow back. Joined behind ramp.lua.
--
-- KEYS[1]   ramp (ramp.lua)
-- ARGV[1]   granted_ms of the call that was refused
-- ARGV[2]   step_ms, in which a share grows by half
-- ARGV[3]   least share
-- Returns   1 when the pool slows down, 0 when the call was granted before the pool slowed down last
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local granted_ms, step_ms, least = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if granted_ms <= tonumber(redis.call('HGET', KEYS[1], 'since_ms') or '-1') then return 0 end
local share = math.max(least, ramp_share(KEYS[1], now_ms, step_ms) / 2)
redis.call('HSET', KEYS[1], 'share', string.format('%.6f', share), 'since_ms', string.format('%.0f', now_ms))
redis.call('PEXPIRE', KEYS[1], math.ceil(step_ms * math.log(1 / share) / math.log(1.5)) + 1)
return 1
