-- flags: allow-oom
-- seen: a producer says that it still runs its job, or that it leaves it, and hears what became of the job.
--
-- KEYS[1]   the job's hash
-- KEYS[2]   paused, set of jobs
-- KEYS[3]   callers (take.lua), where somebody waits for the job's outcomes right now; else missing
-- ARGV[1]   leaves 0|1
-- ARGV[2]   the job's id
-- ARGV[3]   how many requests it has, '' where that isn't known
-- Returns   the job's state: `open`, `paused`, `cancelled`, or `unknown` where the server has lost it; then nothing is written
if redis.call('HEXISTS', KEYS[1], 'echo') == 0 then return 'unknown' end
local time = redis.call('TIME')
local time_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local now_ms = string.format('%.0f', time_ms)
redis.call('HSET', KEYS[1], 'seen_ms', now_ms)
redis.call('HDEL', KEYS[1], 'doomed_ms', 'left_ms')
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'total', ARGV[3]) end

-- How many had ended at two times a minute apart, for whoever wants to know how fast the job goes: what limits of a
-- minute allow comes in bursts.
local PACE_MS = 60000
local pace = redis.call('HMGET', KEYS[1], 'succeeded', 'failed', 'pace_ms', 'pace_ended')
if time_ms - (tonumber(pace[3]) or 0) >= PACE_MS then
  local ended = string.format('%.0f', (tonumber(pace[1]) or 0) + (tonumber(pace[2]) or 0))
  if pace[4] then redis.call('HSET', KEYS[1], 'pace_before_ms', pace[3], 'pace_before_ended', pace[4]) end
  redis.call('HSET', KEYS[1], 'pace_ms', now_ms, 'pace_ended', ended)
end
if ARGV[1] == '1' then redis.call('HSET', KEYS[1], 'left_ms', now_ms) end
if KEYS[3] then redis.call('ZADD', KEYS[3], ARGV[1] == '1' and 0 or now_ms, ARGV[2]) end
local state = redis.call('HGET', KEYS[1], 'state') or 'open'
if state == 'open' and redis.call('SISMEMBER', KEYS[2], ARGV[2]) == 1 then return 'paused' end
return state
