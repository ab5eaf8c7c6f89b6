-- accept: write new requests into the ledger, each ready at the end of its queue, and issue the tickets that it lacks.
--
-- KEYS[1..9]  the queue (queue.lua)
-- KEYS[10]    sequence, counter of the queue's accepted requests
-- KEYS[11]    queues, set of queue names
-- KEYS[12]    the job's hash: `batch` is the last batch that was accepted, `accepted` the number of its requests
-- KEYS[13]    tickets that overtake others, list
-- KEYS[14]    all other tickets, list
-- ARGV[1]     the queue's name
-- ARGV[2]     batch, '' for none: the name of this very call
-- ARGV[3]     whether its tickets overtake others (0|1); then only such count, for what overtakes others
-- ARGV[4]     requests per ticket
-- ARGV[5]     n, the number of tickets at hand
-- ARGV[6..]   tickets, of which as many are issued as the queue lacks, and as the new requests need
-- then        per request: id, urgent (0|1), cost_tokens, record, start_within_ms (0: whenever it can), pack ('-': alone),
--             cost_images
-- Returns     'cancelled' where the job is, and nothing is accepted; else
--             per request 1 when it was accepted now, 0 when the ledger has it already; of a batch that was accepted
--             before, 1 when the request is still there
-- Invariant   a request is accepted once, also where the call is made again because its answer was lost on the way;
--             refused as a whole (by Redis) when the server is full. A ticket that can't be issued hinders nothing: the
--             reaper replaces it
if redis.call('HGET', KEYS[12], 'state') == 'cancelled' then return 'cancelled' end
local is_repeated = ARGV[2] ~= '' and redis.call('HGET', KEYS[12], 'batch') == ARGV[2]
if ARGV[2] ~= '' then redis.call('HSET', KEYS[12], 'batch', ARGV[2]) end
redis.call('SADD', KEYS[11], ARGV[1])
local now_ms = server_now_ms()
local per_ticket, tickets = tonumber(ARGV[4]), tonumber(ARGV[5])
local accepted, count, is_urgent = {}, 0, false
for at = 6 + tickets, #ARGV, 7 do
  local request, urgent = ARGV[at], ARGV[at + 1]
  if is_repeated then
    accepted[#accepted + 1] = redis.call('HEXISTS', REQUESTS, request)
  elseif redis.call('HSETNX', REQUESTS, request, ARGV[at + 3]) == 1 then
    local sequence = milliseconds(redis.call('INCR', KEYS[10]))
    local within_ms = tonumber(ARGV[at + 4])
    local deadline_ms = within_ms > 0 and now_ms + within_ms or 0
    set_place(request, urgent == '1', sequence, ARGV[at + 2], now_ms, deadline_ms, ARGV[at + 5], ARGV[at + 6])
    redis.call('ZADD', urgent == '1' and READY_URGENT or READY_BULK, sequence, request)
    accepted[#accepted + 1] = 1
    count = count + 1
    is_urgent = is_urgent or urgent == '1'
  else
    accepted[#accepted + 1] = 0
  end
end
if is_urgent then tell_urgent() end
if count > 0 then redis.call('HINCRBY', KEYS[12], 'accepted', count) end

local function standing(list)
  local length = redis.pcall('LLEN', list)
  return type(length) == 'number' and length or 0
end

local function lacking(overtakes)
  local ready = redis.call('ZCARD', READY_URGENT)
  if overtakes then return math.ceil(ready / per_ticket) - standing(KEYS[13]) end
  return math.ceil((ready + redis.call('ZCARD', READY_BULK)) / per_ticket) - standing(KEYS[13]) - standing(KEYS[14])
end

local new = 0
for _, flag in ipairs(accepted) do new = new + flag end
if tickets > 0 and new > 0 then
  local overtakes = ARGV[3] == '1'
  for index = 1, math.min(tickets, math.ceil(new / per_ticket), lacking(overtakes)) do
    redis.pcall('LPUSH', overtakes and KEYS[13] or KEYS[14], ARGV[5 + index])
  end
end
return accepted
