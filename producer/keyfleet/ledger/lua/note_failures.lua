-- note_failures: count requests that failed without ever being accepted: wrong lines of the input.
--
-- KEYS[1]   the job's hash
-- KEYS[2]   failures (failures.lua)
-- KEYS[3]   their examples
-- then ARGV per reason: reason, count, example JSON
-- Returns   1, or 0 where the server has lost the job; then nothing is written
if redis.call('HEXISTS', KEYS[1], 'echo') == 0 then return 0 end
for at = 1, #ARGV, 3 do
  count_failure(KEYS[2], KEYS[3], ARGV[at], ARGV[at + 2], ARGV[at + 1])
  redis.call('HINCRBY', KEYS[1], 'failed', ARGV[at + 1])
  redis.call('HINCRBY', KEYS[1], 'accepted', ARGV[at + 1])
end
return 1
