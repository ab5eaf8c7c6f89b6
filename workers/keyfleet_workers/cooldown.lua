-- flags: allow-oom
-- cooldown: let a key or quota rest.
--
-- KEYS[1]   cooldown, string: the reason; its expiry is the end of the rest
-- ARGV[1]   reason
-- ARGV[2]   rest_ms, from now
-- Returns   1 when the rest was set, 0 when a longer one stands
if redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
