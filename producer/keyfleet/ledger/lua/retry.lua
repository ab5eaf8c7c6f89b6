-- flags: allow-oom
-- retry: after a failed attempt, keep requests back for their backoff.
--
-- KEYS[1..9]  the queue (queue.lua)
-- then ARGV   per request: id, token, delay_ms, all failed attempts so far as JSON, pack (as hand_back.lua has it)
-- Returns     how many were delayed; those whose lease has passed on are left alone
local now_ms = server_now_ms()
local delayed = 0
for at = 1, #ARGV, 5 do
  local request = ARGV[at]
  if holds_lease(request, ARGV[at + 1]) then
    release_lease(request)
    redis.call('HDEL', EXPIRIES, request)
    change_place(request, '', '', ARGV[at + 4])
    redis.call('HSET', ATTEMPTS, request, ARGV[at + 3])
    redis.call('ZADD', DELAYED, milliseconds(now_ms + tonumber(ARGV[at + 2])), request)
    delayed = delayed + 1
  end
end
return delayed
