-- flags: allow-oom
-- take: reserve quota and lease the longest run of ready requests that this key may start now, urgent before bulk.
-- Joined behind queue.lua (the ledger), window.lua and ramp.lua (the limiter), capacity.lua and wanted.lua: the one place
-- where both meet.
--
-- KEYS[1..9]  the queue (queue.lua)
-- KEYS[10]    capacity (capacity.lua)
-- KEYS[11]    lost, hash: key name -> until when (ms) it doesn't serve this queue's model
-- KEYS[12]    ramp, hash of the quota pool: the share of its limits that it may use, and since when (ms)
-- KEYS[13]    callers, zset: jobs whose outcomes somebody waits for right now, by when (ms) each was heard last
-- KEYS[14]    urgent, string: stands while urgent requests have lately been there
-- KEYS[15]    paused, set of jobs: nothing of them is started
-- KEYS[16..]  holds of the key, its account and its quota pools (hold.lua), then windows, one per limit
-- ARGV[1]     most calls to begin
-- ARGV[2]     lease_ms
-- ARGV[3]     token prefix, unique to this call
-- ARGV[4]     lookahead: most requests to pass over because they can never fit this key
-- ARGV[5]     grace_ms: how long a request that fits no key's limits waits for a key that might
-- ARGV[6]     the key's name
-- ARGV[7]     ramp_step_ms, in which a share grows by half
-- ARGV[8]     caller_silent_ms, after which a caller is gone, and what it waited for is not started
-- ARGV[9]     most requests to take, those that share calls together
-- ARGV[10]    most requests of one call
-- ARGV[11]    most tokens of one call that several requests share
-- ARGV[12]    urgent_percent, the part of every limit that others leave to urgent requests while these come
-- ARGV[13]    urgent_ms: so long after the last of them
-- ARGV[14]    h, the number of holds
-- ARGV[15]    n, the number of limits
-- ARGV[16..]  per limit: amount, window_ms, guard_ms, known_ms
-- then        per limit what it counts: requests, tokens or images
-- Returns     {now_ms, wait_ms, limit, hold, ready_left, taken, impossible, expired, dropped, standings,
--             parked}
--             wait_ms: until the first request left over may start here (0: none is left, or only `most` stopped it)
--             limit (from 1) or hold (as it stands, '' for none): what imposes the wait
--             taken: id, token, cost_tokens, cost_images, record, attempts, pack, number of its call (from 1),
--             accepted_ms (0 where its place can't be read), ...
--             parked: how many of paused jobs were met, which wait on in backoff
--             impossible: the same with a call of 0; leased to the caller to be failed; a cost of -1 stands for a place
--             that can't be read
--             expired: the same of those that are too late to be started
--             dropped: the same of those whose caller is gone
--             standings: per limit what is left after the grants, and what others use of it
--
-- Requests of one pack ("<what they have in common>:<most requests of one call>") share calls: the first costs a
-- request, the others none; tokens and images add up. Where the next request would need a call, and there is no slot or
-- no request left for it, those behind it may still join calls that have begun, beside what else it needs itself.
--
-- Invariant   a request is leased to one worker at a time, and every limit's windows hold (window.lua)
local most, lease_ms, lookahead = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local most_requests, most_inputs, most_tokens = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local ramp_step_ms, hold_count, count = tonumber(ARGV[7]), tonumber(ARGV[14]), tonumber(ARGV[15])
local FIRST_HOLD, FIRST_LIMIT = 16, 16
local NO_END_MS = 60000 -- after so long, a hold without an end of its own is looked at again
local ready_urgent = redis.call('ZCARD', READY_URGENT)
local ready_left = ready_urgent + redis.call('ZCARD', READY_BULK)

local function nothing(wait_ms, hold)
  return {milliseconds(server_now_ms()), wait_ms, 0, hold, ready_left, {}, {}, {}, {}, {}, 0}
end

if ready_left == 0 then return nothing(0, '') end

local lost_until_ms = tonumber(redis.call('HGET', KEYS[11], ARGV[6]) or '0') or 0
if lost_until_ms > server_now_ms() then
  return nothing(lost_until_ms - server_now_ms(), 'cooling 0 the key lost this model')
end

-- The hold that stands longest, and for how long; 0 for none.
local function longest_hold()
  local longest_ms, found = 0, ''
  for index = FIRST_HOLD, FIRST_HOLD + hold_count - 1 do
    local left_ms = redis.call('PTTL', KEYS[index])
    if left_ms == -1 then left_ms = NO_END_MS end
    if left_ms > longest_ms then longest_ms, found = left_ms, redis.call('GET', KEYS[index]) end
  end
  return longest_ms, found
end

local hold_ms, hold = longest_hold()
if hold_ms > 0 then return nothing(hold_ms, hold) end

local windows = open_windows(FIRST_HOLD + hold_count, count, FIRST_LIMIT)
local now_ms = shared_now_ms(windows)
local share = ramp_share(KEYS[12], now_ms, ramp_step_ms)
for _, window in ipairs(windows) do
  roll_window(window, now_ms)
  window.open_amount = math.max(1, math.floor(window.amount * share))
end

local units = {}
for index = 1, count do units[index] = ARGV[FIRST_LIMIT - 1 + count * LIMIT_FIELDS + index] end

-- What a request takes of each limit, and the call that is begun for it.
local function costs_of(entry)
  local costs = {}
  for index = 1, count do
    local unit = units[index]
    costs[index] = unit == 'tokens' and entry.tokens or unit == 'images' and entry.images or 1
  end
  return costs
end

-- The same of one that joins a call.
local function without_call(costs)
  local others = {}
  for index = 1, count do others[index] = units[index] == 'requests' and 0 or costs[index] end
  return others
end

local function can_ever_fit(costs)
  for index, window in ipairs(windows) do
    if costs[index] > window.amount then return false end
  end
  return true
end

local LEAST_INPUTS = 32 -- no call for fewer requests where more are ready
local CALLS_SHARE = 8 -- one take uses at most this part of the calls that a limit has left

-- How many requests share a call: what is ready, spread over the calls that may begin now at all keys together, so that
-- they run side by side. Where few calls are left, each carries more.
local function spread_inputs()
  local calls, keys = most, count_keys(KEYS[10], now_ms)
  for index, window in ipairs(windows) do
    local left = window.open_amount - window.total - window.foreign
    if units[index] == 'requests' then calls = math.min(calls, math.floor(left / CALLS_SHARE)) end
  end
  return math.max(LEAST_INPUTS, math.ceil(ready_left / (math.max(calls, 1) * math.max(keys, 1))))
end

local inputs_here = nil

local function inputs_of(pack)
  local allowed = tonumber(string.match(pack, ':(%d+)$') or '1')
  if allowed <= 1 then return 1 end
  inputs_here = inputs_here or math.min(most_inputs, spread_inputs())
  return math.min(allowed, inputs_here)
end

local pending = no_costs(count)
local beside = nil -- `pending` and all else of the request that needs a call which can't begin now
local chosen, hopeless, expired, dropped, paused_here, passed = {}, {}, {}, {}, {}, 0
local calls, open, open_count = 0, {}, 0 -- of calls that have begun, those that may be joined, by their packs
local blocked_costs = nil

local function close(pack)
  open[pack], open_count = nil, open_count - 1
end

local function begin_call(pack)
  calls = calls + 1
  open[pack], open_count = {number = calls, inputs = 0, tokens = 0, most = inputs_of(pack)}, open_count + 1
  return open[pack]
end

-- Returns true when the walk is over, as the following do.
local function put_into(call, entry, costs)
  add_costs(pending, costs)
  if beside then add_costs(beside, costs) end
  call.inputs, call.tokens = call.inputs + 1, call.tokens + entry.tokens
  if call.inputs >= call.most then close(entry.pack) end
  entry.call = call.number
  chosen[#chosen + 1] = entry
  return #chosen >= most_requests or (calls >= most and open_count == 0)
end

local function join(call, entry, costs)
  local others = without_call(costs)
  if fits(windows, beside or pending, others) then return put_into(call, entry, others) end
  if not beside then blocked_costs = costs end
  return true
end

-- From now on calls that have begun are filled, and no more begin.
local function fill_only(costs)
  beside = without_call(costs)
  add_costs(beside, pending)
  return open_count == 0
end

local function start(entry, costs)
  if beside then return open_count == 0 end
  if calls >= most then return fill_only(costs) end
  if fits(windows, pending, costs) then return put_into(begin_call(entry.pack), entry, costs) end
  blocked_costs = costs
  return not fits(windows, pending, without_call(costs)) or fill_only(costs)
end

-- Returns true when the walk is over.
local function consider(request)
  -- Lua hands over a few thousand values at once, and all of these are leased in one command.
  if #hopeless + #expired + #dropped + #paused_here >= most_requests then return true end
  local _, _, tokens, accepted_ms, deadline_ms, pack, images = place_of(request)
  if not tokens then
    hopeless[#hopeless + 1] = {request = request, tokens = -1, images = 0}
    return false
  end
  local entry = {request = request, tokens = tokens, images = images, pack = pack, accepted_ms = accepted_ms}
  if deadline_ms > 0 and now_ms >= deadline_ms then
    expired[#expired + 1] = entry
    return false
  end
  if is_caller_gone(request, KEYS[13], now_ms, tonumber(ARGV[8])) then
    dropped[#dropped + 1] = entry
    return false
  end
  if is_paused(request, KEYS[15]) then
    paused_here[#paused_here + 1] = request
    return false
  end
  local costs = costs_of(entry)
  if not can_ever_fit(costs) then
    passed = passed + 1
    if now_ms - accepted_ms >= tonumber(ARGV[5]) and not fits_some_key(KEYS[10], tokens, images, now_ms) then
      hopeless[#hopeless + 1] = entry
    end
    return passed >= lookahead
  end
  if open[pack] and open[pack].tokens + tokens > most_tokens then close(pack) end
  if open[pack] then return join(open[pack], entry, costs) end
  return start(entry, costs)
end

-- Page by page: what lies beyond the first page is only looked at when something of it can never fit this key, or
-- shares calls.
local function walk(ready)
  local first, bound, page_size = 0, most_requests + lookahead, math.max(most, 16)
  while first < bound do
    local page = redis.call('ZRANGE', ready, first, math.min(first + page_size, bound) - 1)
    for _, request in ipairs(page) do
      if consider(request) then return true end
    end
    if #page < page_size then return false end
    first, page_size = first + #page, math.max(page_size, 256)
  end
  return false
end

-- An urgent request that comes next should find room, rather than wait until a window that others have filled moves on.
local function leave_room()
  if redis.call('EXISTS', KEYS[14]) == 0 then return end
  for _, window in ipairs(windows) do
    window.reserve = math.floor(window.amount * tonumber(ARGV[12]) / 100)
  end
end

local function walk_bulk()
  leave_room()
  return walk(READY_BULK)
end

if ready_urgent > 0 then redis.call('SET', KEYS[14], '1', 'PX', ARGV[13]) end
local _ = walk(READY_URGENT) or walk_bulk()
grant_all(windows, pending, now_ms)

local function append(list, ...)
  for _, value in ipairs({...}) do list[#list + 1] = value end
end

-- With as few commands as may be: of two thousand requests the server would be at it for long.
local function lease(list)
  local requests, rows, ends, tokens = {}, {}, {}, {}
  if #list == 0 then return rows end
  for index, entry in ipairs(list) do requests[index] = entry.request end
  local records = redis.call('HMGET', REQUESTS, unpack(requests))
  local attempts = redis.call('HMGET', ATTEMPTS, unpack(requests))
  local until_ms = milliseconds(server_now_ms() + lease_ms)
  for index, entry in ipairs(list) do
    local request, token = entry.request, ARGV[3] .. ':' .. entry.request
    if records[index] then
      append(ends, until_ms, request)
      append(tokens, request, token)
      append(rows, request, token, entry.tokens, entry.images, records[index], attempts[index] or '', entry.pack or '-',
        entry.call or 0, milliseconds(entry.accepted_ms or 0))
    else -- a name without a request
      forget(request)
    end
  end
  if #ends > 0 then
    redis.call('ZADD', RUNNING, unpack(ends))
    redis.call('HSET', LEASES, unpack(tokens))
  end
  redis.call('ZREM', READY_URGENT, unpack(requests))
  redis.call('ZREM', READY_BULK, unpack(requests))
  return rows
end

for _, request in ipairs(paused_here) do -- it came, or came back, since the job was paused
  redis.call('ZREM', READY_URGENT, request)
  redis.call('ZREM', READY_BULK, request)
  redis.call('ZADD', DELAYED, PAUSED_MS, request)
end
local taken, impossible, too_late, unwanted = lease(chosen), lease(hopeless), lease(expired), lease(dropped)
local wait_ms, blocked = 0, 0
if blocked_costs then wait_ms, blocked = longest_wait(windows, blocked_costs, now_ms) end
local standings = {}
for _, window in ipairs(windows) do
  standings[#standings + 1] = window.amount - window.total
  standings[#standings + 1] = window.foreign
end
ready_left = ready_left - #chosen - #hopeless - #expired - #dropped - #paused_here
return {milliseconds(now_ms), wait_ms, blocked, '', ready_left, taken, impossible, too_late, unwanted, standings,
  #paused_here}
