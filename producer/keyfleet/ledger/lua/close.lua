-- flags: allow-oom
-- close: a job is done and its outcomes are all collected. What it was and how it ended stays for a while.
--
-- KEYS[1]     jobs, set of job ids
-- KEYS[2]     the job's hash
-- KEYS[3..4]  its failures (failures.lua) and their examples
-- KEYS[5]     its stream of outcomes
-- KEYS[6..10] the same of the retry whose outcomes are the job's own from now on; missing where there was none
-- ARGV[1]     the job's id
-- ARGV[2]     the retry's id, '' for none
-- ARGV[3]     keep_ms, how long the record stays
-- ARGV[4]     how many fields follow, and as many values: what the job is, where its record has gone by now, and its
--             final counts, which replace those of the ledger
-- then        per reason: reason, count; these replace the ledger's where ARGV[4] is above 0
-- Invariant   a closed job has no `echo`, so an outcome that is delivered again finds it closed
local time = redis.call('TIME')
local now_ms = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
redis.call('HSETNX', KEYS[2], 'begun_ms', now_ms)
redis.call('HSET', KEYS[2], 'state', 'done', 'done_ms', now_ms, 'seen_ms', now_ms)
redis.call('HDEL', KEYS[2], 'echo', 'batch', 'left_ms', 'doomed_ms')
local values = tonumber(ARGV[4])
for index = 5, 4 + values, 2 do redis.call('HSET', KEYS[2], ARGV[index], ARGV[index + 1]) end

if ARGV[2] ~= '' then
  local found = redis.call('HGETALL', KEYS[9])
  for index = 1, #found, 2 do redis.call('HSET', KEYS[4], found[index], found[index + 1]) end
end
if values > 0 then
  redis.call('DEL', KEYS[3])
  for index = 5 + values, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[index], ARGV[index + 1]) end
  for _, reason in ipairs(redis.call('HKEYS', KEYS[4])) do
    if redis.call('HEXISTS', KEYS[3], reason) == 0 then redis.call('HDEL', KEYS[4], reason) end
  end
end

redis.call('DEL', KEYS[5])
redis.call('SADD', KEYS[1], ARGV[1])
for index = 2, 4 do redis.call('PEXPIRE', KEYS[index], ARGV[3]) end
if ARGV[2] ~= '' then
  redis.call('SREM', KEYS[6], ARGV[2])
  redis.call('UNLINK', KEYS[7], KEYS[8], KEYS[9], KEYS[10])
end
if redis.call('SCARD', KEYS[1]) == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1
