-- flags: allow-oom
-- renew: prolong leases.
--
-- KEYS[1..9]  the queue (queue.lua)
-- ARGV[1]     lease_ms
-- then        per request: id, token
-- Returns     per request 1 when the lease stands again for lease_ms, 0 when it has passed on, -1 when the ledger doesn't
--             know the request: it has its outcome, or the server has lost it
local until_ms = milliseconds(server_now_ms() + tonumber(ARGV[1]))
local renewed = {}
for at = 2, #ARGV, 2 do
  if holds_lease(ARGV[at], ARGV[at + 1]) then
    redis.call('ZADD', RUNNING, until_ms, ARGV[at])
    renewed[#renewed + 1] = 1
  else
    renewed[#renewed + 1] = redis.call('HEXISTS', REQUESTS, ARGV[at]) - 1
  end
end
return renewed
