-- flags: allow-oom
-- pause: keep requests of a paused job from being taken, or let those of a resumed one be ready again.
--
-- KEYS[1..9]  the queue (queue.lua)
-- ARGV[1]     pauses 0|1
-- then ARGV   request ids, all of that job
-- Returns     how many were changed; what a worker holds stays as it is, and so does what is in backoff
-- Invariant   the order of acceptance outlives a pause
local changed = 0
for index = 2, #ARGV do
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
