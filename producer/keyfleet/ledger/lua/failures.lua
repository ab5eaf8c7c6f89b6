-- Counting why requests fail for good. A shared function; joined in front of the scripts that use it.

local MOST_REASONS = 100
local OTHER_REASONS = 'other'

-- failures  hash: reason -> count. Reasons beyond the first hundred are counted as one.
-- examples  hash: reason -> JSON of the first failure with it
local function count_failure(failures, examples, reason, example, count)
  if redis.call('HEXISTS', failures, reason) == 0 and redis.call('HLEN', failures) >= MOST_REASONS then
    reason = OTHER_REASONS
  end
  redis.call('HINCRBY', failures, reason, count)
  if example ~= '' then redis.call('HSETNX', examples, reason, example) end
end
