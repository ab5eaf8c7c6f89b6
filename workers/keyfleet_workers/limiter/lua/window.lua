-- One exact sliding window over weighted grants. Shared functions; joined in front of the scripts that use them.
--
-- A window is a hash:
--   total      sum of the costs of all slots
--   head       index of the oldest slot that may exist
--   last_ms    the greatest time at which the window was written
--   born_ms    when the window was begun empty; 0 when it was begun as full, which makes up for anything before
--   foreign    what others used of the limit, as the provider told, until foreign_until_ms (correct.lua)
--   <index>    "<newest_ms> <sum>": the slot of all grants in [index * slot_ms, (index + 1) * slot_ms)
--
-- Invariant: a grant counts until more than window_ms + guard_ms after the newest grant of its slot, so no trailing
-- window ever holds more than the amount, whatever the costs; what rounding costs is at most one slot's width.
-- Memory: at most (window_ms + guard_ms) / slot_ms + 2 slots stand in a window, whatever the rate; with a narrow guard
-- that is little more than SLOTS.

local SLOTS = 256

local function redis_now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function parse_slot(text)
  local newest_ms, sum = string.match(text, '^(%d+) (%d+)$')
  return tonumber(newest_ms), tonumber(sum)
end

-- A limit as it is passed in ARGV from `at` on: amount, window_ms, guard_ms, known_ms (when the caller was last granted
-- something here, 0 when that was before the last window: a window that is missing or younger was lost by the server).
-- Returns the window with its stored state.
local function open_window(key, at)
  local window = {
    key = key,
    amount = tonumber(ARGV[at]),
    window_ms = tonumber(ARGV[at + 1]),
    known_ms = tonumber(ARGV[at + 3]),
  }
  window.slot_ms = math.max(1, math.ceil(window.window_ms / SLOTS))
  window.span_ms = window.window_ms + tonumber(ARGV[at + 2])
  window.open_amount = window.amount -- less than the amount while the quota grows back (take.lua)
  window.reserve = 0 -- what is left to urgent requests (take.lua)
  local state = redis.call('HMGET', key, 'total', 'head', 'last_ms', 'born_ms', 'foreign', 'foreign_until_ms')
  window.total, window.head, window.last_ms = tonumber(state[1]), tonumber(state[2]), tonumber(state[3])
  window.born_ms = tonumber(state[4])
  window.foreign, window.foreign_until_ms = tonumber(state[5] or '0'), tonumber(state[6] or '0')
  return window
end

local LIMIT_FIELDS = 4

local function open_windows(first_key, count, first_arg)
  local windows = {}
  for index = 1, count do
    windows[index] = open_window(KEYS[first_key + index - 1], first_arg + (index - 1) * LIMIT_FIELDS)
  end
  return windows
end

-- The time all windows agree on: Redis TIME, but never behind what was written, so that a small step back of the
-- server's clock frees nothing early.
local function shared_now_ms(windows)
  local now_ms = redis_now_ms()
  local latest_ms = now_ms
  for _, window in ipairs(windows) do
    if window.last_ms and window.last_ms > latest_ms and window.last_ms - now_ms <= window.span_ms then
      latest_ms = window.last_ms
    end
  end
  return latest_ms
end

-- Write the window's state and, in the same command, the slots given as further fields and values.
local function save_window(window, now_ms, ...)
  redis.call('HSET', window.key, 'total', string.format('%.0f', window.total), 'head', string.format('%.0f', window.head),
    'last_ms', string.format('%.0f', now_ms), 'born_ms', string.format('%.0f', window.born_ms), ...)
end

-- Let the window live until all that was charged by now has left it, and as long again.
local function prolong_window(window)
  redis.call('PEXPIRE', window.key, string.format('%.0f', 2 * window.span_ms))
end

-- Add `cost` to the window's total and to the slot `index`; returns the slot's text, which the caller must write, and
-- whether the slot is new.
local function add_to_slot(window, index, newest_ms, cost)
  local text = redis.call('HGET', window.key, index)
  local sum = 0
  if text then
    local stored_ms, stored = parse_slot(text)
    sum = stored
    newest_ms = math.max(newest_ms, stored_ms)
  end
  window.total = window.total + cost
  return string.format('%.0f %.0f', newest_ms, math.max(0, sum + cost)), not text
end

local function write_slot(window, index, newest_ms, cost)
  local slot = add_to_slot(window, index, newest_ms, cost)
  redis.call('HSET', window.key, index, slot)
end

local function grant(window, cost, now_ms)
  local index = math.floor(now_ms / window.slot_ms)
  local slot, is_new = add_to_slot(window, index, now_ms, cost)
  save_window(window, now_ms, index, slot)
  if is_new then prolong_window(window) end -- a slot is far shorter than the second half of that life
end

local function start_window(window, now_ms, total)
  redis.call('DEL', window.key)
  window.foreign, window.foreign_until_ms = 0, 0
  window.total, window.head = 0, math.floor(now_ms / window.slot_ms)
  window.born_ms = total > 0 and 0 or now_ms
  if total > 0 then grant(window, total, now_ms) end
end

-- Drop the slots that have left the window at now_ms. A window that the server lost, or whose clock fell back by more
-- than a window, counts as full for one window. That it was lost is also seen when others have begun it anew.
local function roll_window(window, now_ms)
  if window.foreign_until_ms <= now_ms then window.foreign = 0 end
  if not window.total then
    return start_window(window, now_ms, window.known_ms > 0 and window.amount or 0)
  end
  if window.known_ms > 0 and window.known_ms < window.born_ms and window.known_ms + window.window_ms >= now_ms then
    return start_window(window, now_ms, window.amount)
  end
  if window.last_ms > now_ms then
    return start_window(window, now_ms, window.amount)
  end
  if now_ms - window.last_ms > window.span_ms then
    return start_window(window, now_ms, 0)
  end
  local current = math.floor(now_ms / window.slot_ms)
  local stale = false
  -- What was granted in a slot is no older than the slot's beginning, so a younger one need not be looked at.
  while window.head <= current and window.head * window.slot_ms + window.span_ms < now_ms do
    local text = redis.call('HGET', window.key, window.head)
    if text then
      local newest_ms, sum = parse_slot(text)
      if newest_ms + window.span_ms >= now_ms then break end
      redis.call('HDEL', window.key, window.head)
      window.total = window.total - sum
      stale = true
    end
    window.head = window.head + 1
  end
  window.head = math.min(window.head, current) -- the next grant goes into the current slot
  if stale then save_window(window, now_ms) end
end

-- By how much `cost` is too much beside what is used. What is larger than the open amount may start alone, and what
-- leaves no room for the reserve need leave none: else it would never start beside a trickle of urgent requests.
local function excess_of(window, used, cost)
  local open = window.open_amount - window.reserve
  if cost > open then open = math.max(window.open_amount, cost) end
  return used + cost - open
end

-- Milliseconds from now_ms until `cost` fits, 0 when it fits now, -1 when it never does. A cost of nothing always fits:
-- what makes no image need not wait for a window of images that is full.
local function window_wait_ms(window, cost, now_ms)
  if cost == 0 then return 0 end
  if cost > window.amount then return -1 end
  local excess = excess_of(window, window.total + window.foreign, cost)
  if excess <= 0 then return 0 end
  local foreign = window.foreign
  local index = window.head
  local current = math.floor(now_ms / window.slot_ms)
  while index <= current do
    local indexes = {}
    for offset = 0, math.min(63, current - index) do indexes[offset + 1] = index + offset end
    for _, text in ipairs(redis.call('HMGET', window.key, unpack(indexes))) do
      if text then
        local newest_ms, sum = parse_slot(text)
        local leaves_ms = newest_ms + window.span_ms + 1
        if foreign > 0 and window.foreign_until_ms <= leaves_ms then
          excess, foreign = excess - foreign, 0
          if excess <= 0 then return window.foreign_until_ms - now_ms end
        end
        excess = excess - sum
        if excess <= 0 then return leaves_ms - now_ms end
      end
    end
    index = index + #indexes
  end
  if foreign > 0 and foreign >= excess then return window.foreign_until_ms - now_ms end
  return window.span_ms + 1
end

local function no_costs(count)
  local costs = {}
  for index = 1, count do costs[index] = 0 end
  return costs
end

local function add_costs(sums, costs)
  for index, cost in ipairs(costs) do sums[index] = sums[index] + cost end
end

-- Whether `costs` fit every window now, beside `pending` grants that are not written yet.
local function fits(windows, pending, costs)
  for index, window in ipairs(windows) do
    local cost = costs[index]
    if cost > window.amount then return false end
    if cost > 0 and excess_of(window, window.total + window.foreign + pending[index], cost) > 0 then return false end
  end
  return true
end

-- The longest wait of `costs` over all windows, and the window (from 1) that imposes it; -1 when they never fit.
local function longest_wait(windows, costs, now_ms)
  local longest_ms, blocked = 0, 0
  for index, window in ipairs(windows) do
    local wait_ms = window_wait_ms(window, costs[index], now_ms)
    if wait_ms < 0 then return wait_ms, index end
    if wait_ms > longest_ms then longest_ms, blocked = wait_ms, index end
  end
  return longest_ms, blocked
end

local function grant_all(windows, costs, now_ms)
  for index, window in ipairs(windows) do
    if costs[index] > 0 then grant(window, costs[index], now_ms) end
  end
end

-- Change what was granted at granted_ms by `delta` and move it forward to used_ms. Only what still stands in its slot
-- moves or is refunded, so that no other grant's charge is.
local function resettle(window, granted_ms, used_ms, cost, delta, now_ms)
  if used_ms + window.span_ms < now_ms then return end
  local from, to = math.floor(granted_ms / window.slot_ms), math.floor(used_ms / window.slot_ms)
  local stored = from <= to and redis.call('HGET', window.key, from)
  local standing = 0
  if stored then
    local _, sum = parse_slot(stored)
    standing = math.min(cost, sum)
  end
  if from < to and standing > 0 then
    write_slot(window, from, 0, -standing)
    write_slot(window, to, used_ms, standing)
    window.changed = true
  end
  local change = math.max(delta, -standing)
  if change ~= 0 then
    write_slot(window, to, change > 0 and used_ms or 0, change)
    window.head = math.min(window.head, to)
    window.changed = true
  end
end
