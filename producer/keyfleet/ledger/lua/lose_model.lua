-- flags: allow-oom
-- lose_model: a key was told that it can't use a queue's model. It leaves the queue if another key serves it.
--
-- KEYS[1]   capacity, hash: key name -> "<largest cost it can ever start> <until_ms>" (capacity.lua)
-- KEYS[2]   lost, hash: key name -> until when (ms) the key leaves the queue to others
-- ARGV[1]   the key's name
-- ARGV[2]   rest_ms
-- ARGV[3]   alone_ms: so long it leaves the queue where no other key serves it now, for one that may be coming; 0: not
-- Returns   1 when the key leaves the queue to others, 0 when no other key serves it now
-- Invariant of several keys that are told so at once, one stays, so that requests end with the provider's own words
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local entries = redis.call('HGETALL', KEYS[1])
for index = 1, #entries, 2 do
  local name, until_ms = entries[index], tonumber(string.match(entries[index + 1], ' (%d+)$') or '0')
  local is_lost = tonumber(redis.call('HGET', KEYS[2], name) or '0') > now_ms
  if name ~= ARGV[1] and until_ms >= now_ms and not is_lost then
    redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', now_ms + tonumber(ARGV[2])))
    redis.call('PEXPIRE', KEYS[2], ARGV[2])
    return 1
  end
end
if tonumber(ARGV[3]) > 0 then
  redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', now_ms + tonumber(ARGV[3])))
  if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
end
return 0
