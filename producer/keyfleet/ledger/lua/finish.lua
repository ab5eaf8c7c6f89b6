-- flags: allow-oom
-- finish: end requests, each with one outcome in its job's stream.
--
-- KEYS[1..9]  the queue (queue.lua)
-- KEYS[10]    the job's hash; without `echo`, which its opening writes, the job is closed or the server has lost it;
--             without `state`, which its closing leaves, the server has lost it, and its producer will open it again
-- KEYS[11]    the job's stream of outcomes
-- KEYS[12]    its failures (failures.lua)
-- KEYS[13]    their examples
-- then ARGV   per request: id, token, ok (0|1), outcome JSON, answer body, record, and of a failure its reason and an
--             example JSON
--             token ''    a success, taken from whoever brings it while the request has no outcome
--             record ''   unless the outcome is delivered again after the server lost its last seconds: then it is
--                         written even if the ledger doesn't know the request, and the collector drops a second one
-- Returns     per request 1 when its outcome was written, 0 when the request is not in the ledger, -1 when the lease
--             has passed to another worker
-- Invariant   an outcome is written in the step that removes its request, so there is exactly one

-- An example that also says by which id its caller knows the request, where it can be told.
local function with_custom_id(example, record)
  local ok, header = pcall(cjson.decode, string.match(record, '^[^\n]*'))
  local id = ok and type(header) == 'table' and type(header.context) == 'table' and header.context.custom_id
  if type(id) ~= 'string' or #id > 200 or string.sub(example, -1) ~= '}' then return example end
  return string.sub(example, 1, -2) .. ',"custom_id":' .. cjson.encode(id) .. '}'
end

local LOST_JOB_MS = 24 * 60 * 60 * 1000 -- how long outcomes wait for the producer of a job that the server has lost

local echo = redis.call('HGET', KEYS[10], 'echo')
local is_lost = redis.call('HEXISTS', KEYS[10], 'state') == 0
local wants_body = echo ~= '0' -- where the answer is lost, a body too many is better than none
local written = {}
for at = 1, #ARGV, 8 do
  local request, token, ok, record = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 5]
  local known = redis.call('HGET', REQUESTS, request)
  if not known and (record == '' or not (echo or is_lost)) then
    written[#written + 1] = 0
  elseif known and token ~= '' and not holds_lease(request, token) then
    written[#written + 1] = -1
  else
    record = known or record
    if known then forget(request) end
    if not wants_body then record = string.sub(record, 1, (string.find(record, '\n', 1, true) or 0) - 1) end
    redis.call('XADD', KEYS[11], '*', 'request', request, 'outcome', ARGV[at + 3], 'body', ARGV[at + 4], 'record', record)
    if echo then redis.call('HINCRBY', KEYS[10], ok == '1' and 'succeeded' or 'failed', 1) end
    if echo and ok ~= '1' then count_failure(KEYS[12], KEYS[13], ARGV[at + 6], with_custom_id(ARGV[at + 7], record), 1) end
    written[#written + 1] = 1
  end
end
if is_lost then redis.call('PEXPIRE', KEYS[11], LOST_JOB_MS) end -- opening the job takes this back
return written
