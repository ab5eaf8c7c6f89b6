-- flags: allow-oom
-- say_status: a worker says that it lives and how it fares; on a full server too, where it helps to make room.
--
-- KEYS[1]     workers, sorted set of worker ids by the time (ms) until which each counts as alive
-- KEYS[2]     the worker's status, a string
-- KEYS[3]     configured, sorted set of key names by the time (ms) until which each counts as configured
-- KEYS[4]     key facts, hash: key name -> what can be told of it without its secret, as JSON
-- KEYS[5..]   capacity of each queue that its key serves, hash: key name -> "<largest cost> <until_ms>"
-- ARGV[1]     worker id
-- ARGV[2]     now_ms
-- ARGV[3]     life_ms, how long what is said here counts
-- ARGV[4]     status JSON
-- ARGV[5]     key name
-- ARGV[6]     capacity_life_ms, how long others count on the key: longer than its worker may be away
-- ARGV[7]     facts_life_ms, how long the facts stay when no worker says them any more
-- ARGV[8]     the key's facts
-- then        per capacity: the largest cost that the key can ever start there (capacity.lua)
-- Returns     1
local until_ms = string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[3]))
redis.call('ZADD', KEYS[1], until_ms, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
until_ms = string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[6]))
redis.call('ZADD', KEYS[3], until_ms, ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[6])
redis.call('HSET', KEYS[4], ARGV[5], ARGV[8])
redis.call('PEXPIRE', KEYS[4], ARGV[7])
for index = 5, #KEYS do
  redis.call('HSET', KEYS[index], ARGV[5], ARGV[index + 4] .. ' ' .. until_ms)
  redis.call('PEXPIRE', KEYS[index], ARGV[6])
end
return 1
