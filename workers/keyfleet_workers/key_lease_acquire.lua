-- flags: allow-oom
-- key_lease_acquire: lease the key that has the fewest holders, of those that have room for one more.
--
-- KEYS[i]     holders of candidate i, sorted set: holder by the time (ms) until which its lease stands
-- ARGV[1]     holder
-- ARGV[2]     lease_ms
-- ARGV[2 + i] most holders of candidate i
-- Returns     the number of the key that is now leased, 0 where none has room
-- Invariant   no more leases stand than the most; a holder that asks again, since the answer was lost, gets the same key
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local chosen, fewest = 0, math.huge
for index, holders in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', holders, '-inf', string.format('%.0f', now_ms))
  local count = redis.call('ZCARD', holders)
  if redis.call('ZSCORE', holders, ARGV[1]) then
    chosen = index
    break
  end
  if count < tonumber(ARGV[2 + index]) and count < fewest then chosen, fewest = index, count end
end
if chosen > 0 then
  redis.call('ZADD', KEYS[chosen], string.format('%.0f', now_ms + tonumber(ARGV[2])), ARGV[1])
  if redis.call('PTTL', KEYS[chosen]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[chosen], ARGV[2]) end
end
return chosen
