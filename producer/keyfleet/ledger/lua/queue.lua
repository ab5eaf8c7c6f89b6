-- The ledger of one queue. Shared functions; joined in front of the scripts that use them.
--
-- KEYS[1] requests      hash  request -> "<header JSON>\n<body>"
-- KEYS[2] places        hash  request -> "<urgent 0|1> <sequence> <cost_tokens> <accepted_ms> <deadline_ms> <pack>"
--                       and " <cost_images>" behind it, where that is above 0 (so workers of before read all others)
--                       deadline_ms: from then on it is not started any more; 0 for never
--                       pack: '-', or what one call may carry together (take.lua)
-- KEYS[3] ready:urgent  zset  request by sequence
-- KEYS[4] ready:bulk    zset  request by sequence
-- KEYS[5] running       zset  request by the end of its lease (ms)
-- KEYS[6] leases        hash  request -> fencing token
-- KEYS[7] expiries      hash  request -> leases in a row that expired
-- KEYS[8] delayed       zset  request by the time (ms) at which it is ready again
-- KEYS[9] attempts      hash  request -> its failed attempts as JSON
--
-- Invariant: a request in `requests` is in exactly one of ready:urgent, ready:bulk, running and delayed, and has a
-- fencing token if and only if it is running.

local QUEUE_KEYS = 9
local REQUESTS, PLACES, READY_URGENT, READY_BULK = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local RUNNING, LEASES, EXPIRIES, DELAYED, ATTEMPTS = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]

local function server_now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function milliseconds(value)
  return string.format('%.0f', value)
end

local MOST = 2 ^ 53 -- beyond it numbers are not exact

-- The place of a request; nothing but false where it can't be read. Such a request must not stop its queue: it goes to
-- the front, and take.lua has it ended.
local function place_of(request)
  local urgent, sequence, cost_tokens, accepted_ms, deadline_ms, pack, cost_images =
    string.match(redis.call('HGET', PLACES, request) or '', '^([01]) (%d+) (%d+) (%d+) (%d+) (%S+) ?(%d*)$')
  if not urgent then return false end
  local tokens, images = tonumber(cost_tokens), tonumber(cost_images) or 0
  if math.max(tonumber(sequence), tokens, images, tonumber(accepted_ms), tonumber(deadline_ms)) > MOST then return false end
  return urgent == '1', sequence, tokens, tonumber(accepted_ms), tonumber(deadline_ms), pack, images
end

-- `sequence` and both costs as decimal texts.
local function set_place(request, urgent, sequence, cost_tokens, accepted_ms, deadline_ms, pack, cost_images)
  redis.call('HSET', PLACES, request, table.concat({urgent and '1' or '0', sequence, cost_tokens,
    milliseconds(accepted_ms), milliseconds(deadline_ms), pack, cost_images ~= '0' and cost_images or nil}, ' '))
end

-- New costs, or a new pack; '' for what stays as it was.
local function change_place(request, cost_tokens, cost_images, pack)
  if cost_tokens == '' and cost_images == '' and pack == '' then return end
  local urgent, sequence, tokens_before, accepted_ms, deadline_ms, pack_before, images_before = place_of(request)
  if not sequence then return end
  if cost_tokens == '' then cost_tokens = milliseconds(tokens_before) end
  if cost_images == '' then cost_images = milliseconds(images_before) end
  if pack == '' then pack = pack_before end
  set_place(request, urgent, sequence, cost_tokens, accepted_ms, deadline_ms, pack, cost_images)
end

-- It is not started any more: whoever takes it next ends it as too late.
local function never_start_again(request)
  local urgent, sequence, cost_tokens, accepted_ms, _, pack, cost_images = place_of(request)
  if not sequence then return end
  set_place(request, urgent, sequence, milliseconds(cost_tokens), accepted_ms, 1, pack, milliseconds(cost_images))
end

-- Workers that leave the queue alone for other work's sake hear of it, under the name of the key.
local function tell_urgent()
  redis.call('PUBLISH', READY_URGENT, '')
end

local function make_ready(request)
  local urgent, sequence = place_of(request)
  redis.call('ZADD', urgent and READY_URGENT or READY_BULK, sequence or 0, request)
  if urgent then tell_urgent() end
end

-- So long requests of a paused job are delayed: until the job is resumed, which gives them their places back.
local PAUSED_MS = milliseconds(MOST - 1)

local function release_lease(request)
  redis.call('ZREM', RUNNING, request)
  redis.call('HDEL', LEASES, request)
end

local function start_lease(request, token, until_ms)
  redis.call('ZADD', RUNNING, milliseconds(until_ms), request)
  redis.call('HSET', LEASES, request, token)
end

local function holds_lease(request, token)
  return redis.call('HGET', LEASES, request) == token
end

local function forget(request)
  redis.call('HDEL', REQUESTS, request)
  redis.call('ZREM', READY_URGENT, request)
  redis.call('ZREM', READY_BULK, request)
  redis.call('ZREM', DELAYED, request)
  release_lease(request)
  redis.call('HDEL', PLACES, request)
  redis.call('HDEL', EXPIRIES, request)
  redis.call('HDEL', ATTEMPTS, request)
end
