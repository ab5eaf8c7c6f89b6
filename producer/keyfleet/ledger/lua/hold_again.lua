-- flags: allow-oom
-- hold_again: after the server lost what it wrote last, or everything, make good what a worker has in flight.
--
-- KEYS[1..9]  the queue (queue.lua)
-- KEYS[10]    sequence, counter of the queue's accepted requests
-- KEYS[11]    queues, set of queue names
-- ARGV[1]     the queue's name
-- ARGV[2]     lease_ms
-- then        per request: id, token, cost_tokens, cost_images, record, failed attempts as JSON ('' for none)
-- Returns     per request 1 when it is leased to the caller now, 0 when another worker holds it
-- Invariant   a request that a worker has in flight is in the ledger, and ready for nobody else
local until_ms = server_now_ms() + tonumber(ARGV[2])
redis.call('SADD', KEYS[11], ARGV[1])
local held = {}
for at = 3, #ARGV, 6 do
  local request, token = ARGV[at], ARGV[at + 1]
  if redis.call('HEXISTS', LEASES, request) == 1 and not holds_lease(request, token) then
    held[#held + 1] = 0
  else
    if redis.call('HSETNX', REQUESTS, request, ARGV[at + 4]) == 1 then
      local sequence = milliseconds(redis.call('INCR', KEYS[10]))
      set_place(request, false, sequence, ARGV[at + 2], server_now_ms(), 0, '-', ARGV[at + 3])
    end
    redis.call('ZREM', READY_URGENT, request)
    redis.call('ZREM', READY_BULK, request)
    redis.call('ZREM', DELAYED, request)
    if ARGV[at + 5] ~= '' then redis.call('HSET', ATTEMPTS, request, ARGV[at + 5]) end
    start_lease(request, token, until_ms)
    held[#held + 1] = 1
  end
end
return held
