-- flags: allow-oom
-- key_lease_take_over: put a holder in the place of another one, who notices when it renews.
--
-- KEYS[1]     holders of the key, sorted set: holder by the time (ms) until which its lease stands
-- ARGV[1]     new holder
-- ARGV[2]     lease_ms
-- ARGV[3]     holder to replace
-- Returns     1 when the new holder's lease stands, 0 where the other has none any more
-- Invariant   the number of leases stays; a holder that asks again, since the answer was lost, has the lease
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  local until_ms = redis.call('ZSCORE', KEYS[1], ARGV[3])
  if not until_ms or tonumber(until_ms) <= now_ms then return 0 end
  redis.call('ZREM', KEYS[1], ARGV[3])
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms + tonumber(ARGV[2])), ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
