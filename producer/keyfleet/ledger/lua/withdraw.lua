-- flags: allow-oom
-- withdraw: take requests out of the ledger that no worker holds.
--
-- KEYS[1..9]  the queue (queue.lua)
-- KEYS[10]    the job's hash: `accepted` is the number of its requests
-- then ARGV   request ids, all of that job
-- Returns     per request 1 when it was withdrawn, 0 when a worker holds it, -1 when it is not in the ledger
local withdrawn, count = {}, 0
for index, request in ipairs(ARGV) do
  if redis.call('HEXISTS', REQUESTS, request) == 0 then
    withdrawn[index] = -1
  elseif redis.call('HEXISTS', LEASES, request) == 1 then
    withdrawn[index] = 0
  else
    forget(request)
    withdrawn[index] = 1
    count = count + 1
  end
end
if count > 0 and redis.call('HEXISTS', KEYS[10], 'accepted') == 1 then
  redis.call('HINCRBY', KEYS[10], 'accepted', -count)
end
return withdrawn
