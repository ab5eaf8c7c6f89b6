-- flags: allow-oom
-- withdraw: take requests out of the ledger that no worker holds.
--
-- KEYS[1..9]  the queue (queue.lua)
-- then ARGV   request ids
-- Returns     per request 1 when it was withdrawn, 0 when it is running or not in the ledger
local withdrawn = {}
for index, request in ipairs(ARGV) do
  if redis.call('HEXISTS', REQUESTS, request) == 1 and redis.call('HEXISTS', LEASES, request) == 0 then
    forget(request)
    withdrawn[index] = 1
  else
    withdrawn[index] = 0
  end
end
return withdrawn
