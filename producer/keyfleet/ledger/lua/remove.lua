-- flags: allow-oom
-- remove: end a job's record, and the outcomes that nobody has collected.
--
-- KEYS[1]   jobs, set of job ids
-- KEYS[2]   the job's hash
-- then      all else of the job
-- ARGV[1]   the job's id
-- Returns   1 when it was removed, 0 when a producer was seen since it was doomed (doom.lua)
if redis.call('HEXISTS', KEYS[2], 'doomed_ms') == 0 then return 0 end
redis.call('SREM', KEYS[1], ARGV[1])
for index = 2, #KEYS do redis.call('UNLINK', KEYS[index]) end
return 1
