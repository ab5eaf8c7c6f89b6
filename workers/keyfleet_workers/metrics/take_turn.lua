-- flags: allow-oom
-- take_turn: take or keep the turn to tell of the fleet.
--
-- KEYS[1]     whose turn it is
-- ARGV[1]     who asks
-- ARGV[2]     turn_ms: how long a turn lasts
-- Returns     1 when the turn is the asker's for turn_ms from now on, else 0
-- Invariant   nobody takes a turn that another one has
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
if holder then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
