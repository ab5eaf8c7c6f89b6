-- flags: allow-oom
-- stream: pass pieces of answers on to the caller of a job as they come, beside the outcomes in its stream.
--
-- KEYS[1..9]  the queue (queue.lua)
-- KEYS[10]    the job's hash; without `echo`, which its opening writes, nobody reads its stream
-- KEYS[11]    the job's stream of outcomes
-- KEYS[12]    callers (take.lua): by when (ms) the caller was heard last
-- KEYS[13]    read, hash: request -> how many bytes of its pieces its caller has read
-- ARGV[1]     caller_silent_ms, after which the caller is gone
-- then ARGV   per request: id, token, number of the piece (from 1; '0': there is none, only the standing is asked for),
--             head JSON of the first piece (else ''), piece
-- Returns     per request how many bytes its caller has read (0 or more); else
--             -1 when another worker holds it, -2 when the ledger doesn't know it, -3 when nobody waits for it
-- Invariant   a request whose first piece was passed on is never started again: its caller would get two beginnings
local caller = string.match(ARGV[2] or '', '^[^:]*')
local heard_ms = tonumber(redis.call('ZSCORE', KEYS[12], caller) or '0') or 0
local is_read = redis.call('HEXISTS', KEYS[10], 'echo') == 1 and server_now_ms() - heard_ms <= tonumber(ARGV[1])
local standings = {}
for at = 2, #ARGV, 5 do
  local request, token, number = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if redis.call('HEXISTS', REQUESTS, request) == 0 then
    standings[#standings + 1] = -2
  elseif not holds_lease(request, token) then
    standings[#standings + 1] = -1
  elseif not is_read then
    standings[#standings + 1] = -3
  else
    if number == '1' then never_start_again(request) end
    if number ~= '0' then
      redis.call('XADD', KEYS[11], '*', 'request', request, 'piece', token .. ' ' .. number, 'head', ARGV[at + 3],
        'body', ARGV[at + 4])
    end
    standings[#standings + 1] = tonumber(redis.call('HGET', KEYS[13], request) or '0') or 0
  end
end
return standings
