-- flags: allow-oom
-- withdraw: take requests out of the ledger that no worker holds.
--
-- KEYS[1..9]  the queue (queue.lua)
-- KEYS[10]    the job's hash: `accepted` is the number of its requests
-- KEYS[11]    unwanted, the channel by which workers hear of requests in their hands that nobody waits for any more
-- ARGV[1]     0: all that no worker holds
--             1: nobody waits for them any more, so one that a worker holds is stopped, and never started again
--             2: those alone that were never sent, as far as attempts tell
-- then ARGV   request ids, all of that job
-- Returns     per request 1 when it was withdrawn (where it is given up 2 if it had been sent before), 0 when a worker
--             holds it or it is not to be withdrawn, -1 when it is not in the ledger
local withdrawn, count = {}, 0
for at = 2, #ARGV do
  local request = ARGV[at]
  local is_spent = redis.call('HEXISTS', ATTEMPTS, request) == 1
  if redis.call('HEXISTS', REQUESTS, request) == 0 then
    withdrawn[at - 1] = -1
  elseif ARGV[1] == '2' and is_spent then
    withdrawn[at - 1] = 0
  elseif redis.call('HEXISTS', LEASES, request) == 1 then
    withdrawn[at - 1] = 0
    if ARGV[1] == '1' then
      never_start_again(request)
      redis.call('PUBLISH', KEYS[11], request)
    end
  else
    forget(request)
    withdrawn[at - 1] = ARGV[1] == '1' and is_spent and 2 or 1
    count = count + 1
  end
end
if count > 0 and redis.call('HEXISTS', KEYS[10], 'accepted') == 1 then
  redis.call('HINCRBY', KEYS[10], 'accepted', -count)
end
return withdrawn
