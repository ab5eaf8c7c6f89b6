-- flags: allow-oom
-- note_outputs: bring the tokens of outputs into the exponential moving mean and mean deviation of their model.
--
-- KEYS[1]   outputs, hash: model -> "<mean> <mean deviation>"
-- ARGV[1]   model
-- ARGV[2..] tokens of one output each
-- Returns   the mean and the mean deviation, rounded, as text
local WEIGHT = 0.05 -- of the newest output: the last twenty or so make up most of the mean
local KEPT_S = 30 * 24 * 3600 -- without any news of any model
local mean, deviation = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%S+) (%S+)$')
mean, deviation = tonumber(mean), tonumber(deviation)
for index = 2, #ARGV do
  local tokens = tonumber(ARGV[index])
  if not mean then
    mean, deviation = tokens, tokens / 2
  else
    deviation = deviation + WEIGHT * (math.abs(tokens - mean) - deviation)
    mean = mean + WEIGHT * (tokens - mean)
  end
end
local text = string.format('%.1f %.1f', mean, deviation)
redis.call('HSET', KEYS[1], ARGV[1], text)
redis.call('EXPIRE', KEYS[1], KEPT_S)
return text
