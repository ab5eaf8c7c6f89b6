-- flags: allow-oom
-- hand_back: return requests that were taken but not served, each to its place in the queue. Spends no attempt.
--
-- KEYS[1..9]  the queue (queue.lua)
-- then ARGV   per request: id, token, cost_tokens ('' unless the provider counts it otherwise than was assumed)
-- Returns     how many were returned; those whose lease has passed on are left alone
local returned = 0
for at = 1, #ARGV, 3 do
  local request = ARGV[at]
  if holds_lease(request, ARGV[at + 1]) then
    if ARGV[at + 2] ~= '' then set_cost(request, ARGV[at + 2]) end
    release_lease(request)
    redis.call('HDEL', EXPIRIES, request)
    make_ready(request)
    returned = returned + 1
  end
end
return returned
