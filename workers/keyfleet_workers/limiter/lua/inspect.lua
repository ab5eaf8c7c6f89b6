-- flags: allow-oom
-- inspect: what each limit has used, and how long a cost would have to wait. Grants nothing.
--
-- KEYS[1..n]  windows
-- ARGV[1]     n, the number of limits
-- ARGV[2..]   per limit: amount, window_ms, guard_ms, known_ms
-- then        n costs, one per limit
-- Returns     per limit {used, wait_ms}: wait_ms is 0 when the cost fits now, -1 when it never does
local count = tonumber(ARGV[1])
local windows = open_windows(1, count, 2)
local now_ms = shared_now_ms(windows)
local first = 2 + count * LIMIT_FIELDS
local found = {}
for index, window in ipairs(windows) do
  roll_window(window, now_ms)
  found[index] = {window.total, window_wait_ms(window, tonumber(ARGV[first + index - 1]), now_ms)}
end
return found
