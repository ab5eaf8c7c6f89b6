-- flags: allow-oom
-- pause: keep requests of a paused job from being taken, or let those of a resumed one be ready again.
--
-- KEYS[1..9]  the queue (queue.lua)
-- KEYS[10]    paused, set of jobs
-- ARGV[1]     pauses 0|1
-- ARGV[2]     job id
-- then ARGV   request ids, all of that job
-- Returns     how many were changed; what a worker holds stays as it is, and so does what is in backoff
-- Invariant   the order of acceptance outlives a pause, and nothing waits on for a pause that somebody has ended
local changed = 0
if redis.call('SISMEMBER', KEYS[10], ARGV[2]) ~= tonumber(ARGV[1]) then return 0 end
for index = 3, #ARGV do
  local request = ARGV[index]
  if ARGV[1] == '1' then
    if redis.call('ZREM', READY_URGENT, request) + redis.call('ZREM', READY_BULK, request) > 0 then
      redis.call('ZADD', DELAYED, PAUSED_MS, request)
      changed = changed + 1
    end
  elseif tonumber(redis.call('ZSCORE', DELAYED, request) or 0) == tonumber(PAUSED_MS) then
    redis.call('ZADD', DELAYED, milliseconds(server_now_ms()), request) -- the reaper makes it ready, and issues tickets
    changed = changed + 1
  end
end
return changed
