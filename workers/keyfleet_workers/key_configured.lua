-- flags: allow-oom
-- key_configured: tell the fleet which keys a host has configured; on a full server too.
--
-- KEYS[1]     configured, sorted set of key names by the time (ms) until which each counts as configured
-- ARGV[1]     life_ms, how long that is from now
-- then        key names
-- Returns     the number of names
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local until_ms = string.format('%.0f', now_ms + tonumber(ARGV[1]))
for index = 2, #ARGV do redis.call('ZADD', KEYS[1], until_ms, ARGV[index]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now_ms))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return #ARGV - 1
