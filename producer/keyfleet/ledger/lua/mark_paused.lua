-- flags: allow-oom
-- mark_paused: note that a job is paused; on a full server too, where a pause stops what fills it.
--
-- KEYS[1]     paused jobs, set of job ids
-- ARGV[1]     job id
-- Returns     1 when the job was not paused before
return redis.call('SADD', KEYS[1], ARGV[1])
