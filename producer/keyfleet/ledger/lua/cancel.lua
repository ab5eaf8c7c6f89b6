-- flags: allow-oom
-- cancel: from now on nothing more of a job is accepted, until a producer begins to run it again.
--
-- KEYS[1]   the job's hash
-- Returns   the state that it has now: `cancelled`, `done`, or `unknown` where the server has no such job
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return 'unknown' end
if state ~= 'done' then redis.call('HSET', KEYS[1], 'state', 'cancelled') end
return redis.call('HGET', KEYS[1], 'state')
