-- flags: allow-oom
-- reap: make due and abandoned requests ready again, and say how many tickets the queue lacks.
--
-- KEYS[1..9]  the queue (queue.lua)
-- KEYS[10]    shortage, string: since when (ms) tickets are too few
-- KEYS[11..]  lists of tickets, one per priority
-- ARGV[1]     most requests to move in one call
-- ARGV[2]     tick_ms, the beat that this call belongs to
-- ARGV[3]     may_expire 0|1, from that beat
-- ARGV[4]     silence_ms: a beat older than this is stale, so nothing expires on its word
-- ARGV[5]     expiries after which a request is given up
-- ARGV[6]     lease_ms
-- ARGV[7]     requests per ticket
-- ARGV[8]     shortage_ms: how long tickets must have been too few
-- Returns     {tickets to issue, moved to ready, expired, given up: id, token, id, token, ...}
--             those given up are leased to the caller, who must finish them as failed
-- Invariant   nobody is given up for what a call did that it shared: before its last lease, a request is sent alone
local now_ms = server_now_ms()
local most = tonumber(ARGV[1])
local moved, expired, given_up = 0, 0, {}
local SPLIT = 16

-- A request whose worker was lost shares calls with fewer others than before, and at last with none.
local function split(request, is_last)
  local _, _, _, _, _, pack = place_of(request)
  local common, shared_by = string.match(pack or '', '^(.*):(%d+)$')
  if not common then return end
  shared_by = is_last and 1 or math.ceil(tonumber(shared_by) / SPLIT)
  change_place(request, '', '', shared_by > 1 and common .. ':' .. milliseconds(shared_by) or '-')
end

for _, request in ipairs(redis.call('ZRANGEBYSCORE', DELAYED, '-inf', milliseconds(now_ms), 'LIMIT', 0, most)) do
  redis.call('ZREM', DELAYED, request)
  make_ready(request)
  moved = moved + 1
end

if ARGV[3] == '1' and now_ms - tonumber(ARGV[2]) <= tonumber(ARGV[4]) then
  for _, request in ipairs(redis.call('ZRANGEBYSCORE', RUNNING, '-inf', milliseconds(now_ms), 'LIMIT', 0, most)) do
    release_lease(request)
    expired = expired + 1
    local expiries = redis.pcall('HINCRBY', EXPIRIES, request, 1) -- what is no number there counts as too many
    if type(expiries) ~= 'number' or expiries >= tonumber(ARGV[5]) then
      local token = 'reaper:' .. milliseconds(now_ms) .. ':' .. expired
      start_lease(request, token, now_ms + tonumber(ARGV[6]))
      given_up[#given_up + 1] = request
      given_up[#given_up + 1] = token
    else
      split(request, expiries == tonumber(ARGV[5]) - 1)
      make_ready(request)
      moved = moved + 1
    end
  end
end

local per_ticket = tonumber(ARGV[7])
local ready = redis.call('ZCARD', READY_URGENT) + redis.call('ZCARD', READY_BULK)
local standing = 0
for index = QUEUE_KEYS + 2, #KEYS do standing = standing + redis.call('LLEN', KEYS[index]) end
local lacking = math.ceil(ready / per_ticket) - standing
if moved > 0 and lacking > 0 then
  redis.call('DEL', KEYS[10])
  return {lacking, moved, expired, given_up}
end
if lacking <= 0 then
  redis.call('DEL', KEYS[10])
  return {0, moved, expired, given_up}
end
local since_ms = tonumber(redis.call('GET', KEYS[10]) or now_ms) or now_ms
if now_ms - since_ms < tonumber(ARGV[8]) then
  redis.call('SET', KEYS[10], milliseconds(since_ms), 'PX', 60000)
  return {0, moved, expired, given_up}
end
redis.call('DEL', KEYS[10])
return {lacking, moved, expired, given_up}
