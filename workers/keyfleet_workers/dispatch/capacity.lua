-- What the keys of a queue can start. Shared functions; joined in front of the scripts that use them.
--
-- A capacity is a hash: key name -> "<largest cost it can ever start> <until_ms>", as workers say it (say_status.lua);
-- a cost is "<tokens>", or "<tokens>/<images>" where the images are limited too.

local CAPACITY = '^(%d+)/?(%d*) (%d+)$'

-- Whether a key that is counted on could ever start a request of so many tokens and images.
local function fits_some_key(capacity, tokens, images, now_ms)
  for _, text in ipairs(redis.call('HVALS', capacity)) do
    local most_tokens, most_images, until_ms = string.match(text, CAPACITY)
    if most_tokens and tonumber(until_ms) >= now_ms and tonumber(most_tokens) >= tokens
      and (tonumber(most_images) or images) >= images then return true end
  end
  return false
end

-- How many keys are counted on.
local function count_keys(capacity, now_ms)
  local keys = 0
  for _, text in ipairs(redis.call('HVALS', capacity)) do
    local _, _, until_ms = string.match(text, CAPACITY)
    if until_ms and tonumber(until_ms) >= now_ms then keys = keys + 1 end
  end
  return keys
end
