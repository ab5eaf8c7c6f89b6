-- flags: allow-oom
-- mark_paused: note that an open job is paused, or that it is being resumed; on a full server too, where a pause stops
-- what fills it.
--
-- KEYS[1]     paused, set of jobs
-- KEYS[2]     resuming, set of jobs of which requests may still be parked
-- KEYS[3]     the job's hash
-- ARGV[1]     pauses 0|1
-- ARGV[2]     job id
-- Returns     of a pause 1, or 0 where the job isn't open: then nothing is written; else whether it was paused, 0|1
if ARGV[1] == '1' then
  if redis.call('HGET', KEYS[3], 'state') ~= 'open' then return 0 end
  redis.call('SADD', KEYS[1], ARGV[2])
  redis.call('SREM', KEYS[2], ARGV[2])
  return 1
end
redis.call('SADD', KEYS[2], ARGV[2])
return redis.call('SREM', KEYS[1], ARGV[2])
