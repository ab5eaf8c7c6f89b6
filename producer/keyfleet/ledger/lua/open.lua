-- flags: allow-oom
-- open: make a job known, or known again; on a full server too, whose outcomes nobody would collect else.
--
-- KEYS[1]     jobs, set of job ids
-- KEYS[2]     the job's hash
-- KEYS[3..4]  its failures and their examples
-- KEYS[5]     its stream of outcomes, which may hold some from before the server was wiped
-- ARGV[1]     the job's id
-- ARGV[2]     begins 0|1: a producer begins to run it, so it isn't cancelled any more; 0: the server was restarted
--             under a producer
-- ARGV[3]     echo 0|1, whether outcomes bring the request's body back
-- ARGV[4..5]  succeeded and failed, the outcomes that the producer has written
-- then        pairs of field and value: what the job is
-- Invariant   a job that was begun before keeps its counts, which never say less than what the producer has written
local time = redis.call('TIME')
local now_ms = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
redis.call('SADD', KEYS[1], ARGV[1])
for index = 1, 5 do redis.call('PERSIST', KEYS[index]) end
if ARGV[2] == '1' or redis.call('HGET', KEYS[2], 'state') ~= 'cancelled' then
  redis.call('HSET', KEYS[2], 'state', 'open')
end
if ARGV[2] == '1' then
  redis.call('HDEL', KEYS[2], 'pace_ms', 'pace_ended', 'pace_before_ms', 'pace_before_ended') -- seen.lua
end
redis.call('HDEL', KEYS[2], 'done_ms', 'left_ms', 'doomed_ms')
redis.call('HSETNX', KEYS[2], 'begun_ms', now_ms)
redis.call('HSET', KEYS[2], 'echo', ARGV[3], 'seen_ms', now_ms)
for index = 6, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[index], ARGV[index + 1]) end

local function at_least(field, count)
  local found = tonumber(redis.call('HGET', KEYS[2], field) or '0') or 0
  if count > found then redis.call('HSET', KEYS[2], field, string.format('%.0f', count)) end
  return math.max(count, found)
end
local succeeded, failed = at_least('succeeded', tonumber(ARGV[4])), at_least('failed', tonumber(ARGV[5]))
at_least('accepted', succeeded + failed)
return 1
