-- flags: allow-oom
-- finish: end requests, each with one outcome in its job's stream.
--
-- KEYS[1..9]  the queue (queue.lua)
-- KEYS[10]    the job's hash; without `echo`, which its opening writes, the job is closed or the server has lost it
-- KEYS[11]    the job's stream of outcomes
-- then ARGV   per request: id, token, ok (0|1), outcome JSON, answer body, record
--             token ''    a success, taken from whoever brings it while the request has no outcome
--             record ''   unless the outcome is delivered again after the server lost its last seconds: then it is
--                         written even if the ledger doesn't know the request, and the collector drops a second one
-- Returns     per request 1 when its outcome was written, 0 when the request is not in the ledger, -1 when the lease
--             has passed to another worker
-- Invariant   an outcome is written in the step that removes its request, so there is exactly one
local echo = redis.call('HGET', KEYS[10], 'echo')
local wants_body = echo ~= '0' -- where the answer is lost, a body too many is better than none
local written = {}
for at = 1, #ARGV, 6 do
  local request, token, ok, record = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 5]
  local known = redis.call('HGET', REQUESTS, request)
  if not known and (record == '' or not echo) then
    written[#written + 1] = 0
  elseif known and token ~= '' and not holds_lease(request, token) then
    written[#written + 1] = -1
  else
    record = known or record
    if known then forget(request) end
    if not wants_body then record = string.sub(record, 1, (string.find(record, '\n', 1, true) or 0) - 1) end
    redis.call('XADD', KEYS[11], '*', 'request', request, 'outcome', ARGV[at + 3], 'body', ARGV[at + 4], 'record', record)
    if echo then redis.call('HINCRBY', KEYS[10], ok == '1' and 'succeeded' or 'failed', 1) end
    written[#written + 1] = 1
  end
end
return written
