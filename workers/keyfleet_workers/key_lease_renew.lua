-- flags: allow-oom
-- key_lease_renew: prolong leases of keys, and take again those that ran out while the key still has room.
--
-- KEYS[i]     holders of a leased key, sorted set: holder by the time (ms) until which its lease stands
-- ARGV[1]     lease_ms
-- then        per key: holder, most holders (0: any number)
-- Returns     per key 1 when its lease stands for lease_ms, 0 when others have taken the room
-- Invariant   no lease is taken again beyond the most
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local until_ms = string.format('%.0f', now_ms + tonumber(ARGV[1]))
local stands = {}
for index, holders in ipairs(KEYS) do
  local holder, most = ARGV[2 * index], tonumber(ARGV[2 * index + 1])
  redis.call('ZREMRANGEBYSCORE', holders, '-inf', string.format('%.0f', now_ms))
  if redis.call('ZSCORE', holders, holder) or most == 0 or redis.call('ZCARD', holders) < most then
    redis.call('ZADD', holders, until_ms, holder)
    if redis.call('PTTL', holders) < tonumber(ARGV[1]) then redis.call('PEXPIRE', holders, ARGV[1]) end
    stands[index] = 1
  else
    stands[index] = 0
  end
end
return stands
