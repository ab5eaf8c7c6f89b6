-- flags: allow-oom
-- doom: announce that a job is to be removed, as its producer has not been seen for long.
--
-- KEYS[1]   the job's hash
-- ARGV[1]   silent_ms, for how long no producer may have been seen
-- ARGV[2]   notice_ms, how long it must have been announced: a producer that is back with its server says so meanwhile
-- Returns   1 when the job may be removed now, 0 when not (yet)
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local found = redis.call('HMGET', KEYS[1], 'seen_ms', 'doomed_ms')
if now_ms - (tonumber(found[1] or '0') or 0) < tonumber(ARGV[1]) then return 0 end
if not found[2] then redis.call('HSET', KEYS[1], 'doomed_ms', string.format('%.0f', now_ms)) end
return now_ms - (tonumber(found[2] or now_ms) or now_ms) >= tonumber(ARGV[2]) and 1 or 0
