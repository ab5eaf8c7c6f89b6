-- flags: allow-oom
-- hand_back: return requests that were taken but not served, each to its place in the queue. Spends no attempt.
--
-- KEYS[1..9]  the queue (queue.lua)
-- then ARGV   per request: id, token, cost_tokens, cost_images ('' unless the provider counts it otherwise than was
--             assumed), pack ('' unless it is to share calls with others than before; '-': with none)
-- Returns     how many were returned; those whose lease has passed on are left alone
local returned = 0
for at = 1, #ARGV, 5 do
  local request = ARGV[at]
  if holds_lease(request, ARGV[at + 1]) then
    change_place(request, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
    release_lease(request)
    redis.call('HDEL', EXPIRIES, request)
    make_ready(request)
    returned = returned + 1
  end
end
return returned
