-- flags: allow-oom
-- key_call_back: tell workers that have left keys out that they can be used again; on a full server too.
--
-- KEYS[i]     called_back of a key, string that lives as long as the call can be heard
-- ARGV[1]     call_ms
-- Returns     the number of keys
for _, called_back in ipairs(KEYS) do redis.call('SET', called_back, '1', 'PX', ARGV[1]) end
return #KEYS
