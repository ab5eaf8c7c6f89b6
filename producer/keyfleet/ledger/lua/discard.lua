-- flags: allow-oom
-- discard: take requests out of the ledger that no living worker holds.
--
-- KEYS[1..9]  the queue (queue.lua)
-- ARGV[1]     force 0|1: also those in flight, whose answers will then be dropped
-- then        request ids
-- Returns     how many are left, as they are in flight
local now_ms = server_now_ms()
local left = 0
for at = 2, #ARGV do
  local lease_end_ms = tonumber(redis.call('ZSCORE', RUNNING, ARGV[at]) or '0')
  if ARGV[1] == '1' or lease_end_ms <= now_ms then
    forget(ARGV[at])
  else
    left = left + 1
  end
end
return left
