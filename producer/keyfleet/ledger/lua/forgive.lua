-- flags: allow-oom
-- forgive: the worker of these requests ends in order with their calls under way, so they are not what kills workers.
--
-- KEYS[1..9]  the queue (queue.lua)
-- then ARGV   per request: id, token
-- Returns     how many leases stood
-- Invariant   the leases stand until they end, so that nobody sends a request while the provider may still be at it
local standing = 0
for at = 1, #ARGV, 2 do
  if holds_lease(ARGV[at], ARGV[at + 1]) then
    redis.call('HDEL', EXPIRIES, ARGV[at])
    standing = standing + 1
  end
end
return standing
