-- accept: write new requests into the ledger, each ready at the end of its queue.
--
-- KEYS[1..9]  the queue (queue.lua)
-- KEYS[10]    sequence, counter of the queue's accepted requests
-- KEYS[11]    queues, set of queue names
-- ARGV[1]     the queue's name
-- then        per request: id, urgent (0|1), cost_tokens, record
-- Returns     per request 1 when it was accepted now, 0 when the ledger has it already
-- Invariant   a request is accepted once; refused as a whole (by Redis) when the server is full
redis.call('SADD', KEYS[11], ARGV[1])
local now_ms = milliseconds(server_now_ms())
local accepted = {}
for at = 2, #ARGV, 4 do
  local request, urgent = ARGV[at], ARGV[at + 1]
  if redis.call('HSETNX', REQUESTS, request, ARGV[at + 3]) == 1 then
    local sequence = milliseconds(redis.call('INCR', KEYS[10]))
    redis.call('HSET', PLACES, request, table.concat({urgent, sequence, ARGV[at + 2], now_ms}, ' '))
    redis.call('ZADD', urgent == '1' and READY_URGENT or READY_BULK, sequence, request)
    accepted[#accepted + 1] = 1
  else
    accepted[#accepted + 1] = 0
  end
end
return accepted
