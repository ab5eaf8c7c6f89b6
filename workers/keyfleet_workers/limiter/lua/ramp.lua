-- A quota pool that grows back after `slow_down`. Shared functions; joined in front of the scripts that use them.
--
-- A ramp is a hash:
--   share      the share of every limit that could be used at since_ms
--   since_ms   when the provider asked to slow down last

-- The share of every limit that may be used at now_ms: it grows by half in each step_ms.
local function ramp_share(key, now_ms, step_ms)
  local state = redis.call('HMGET', key, 'share', 'since_ms')
  if not state[1] or not state[2] then return 1 end
  local grown = tonumber(state[1]) * 1.5 ^ (math.max(0, now_ms - tonumber(state[2])) / step_ms)
  return math.min(1, grown)
end
