-- Whether the jobs that requests belong to want them started now. Shared functions; joined in front of take.lua.

local gone, paused = {}, {}

local function job_of(request)
  return string.match(request, '^[^:]*')
end

-- `callers` is a sorted set: jobs whose outcomes somebody waits for right now, by when (ms) each was heard last.
local function is_caller_gone(request, callers, now_ms, silent_ms)
  local job = job_of(request)
  if gone[job] == nil then
    local heard_ms = tonumber(redis.call('ZSCORE', callers, job) or now_ms) or 0
    gone[job] = now_ms - heard_ms > silent_ms
  end
  return gone[job]
end

-- `paused_jobs` is a set of jobs.
local function is_paused(request, paused_jobs)
  local job = job_of(request)
  if paused[job] == nil then paused[job] = redis.call('SISMEMBER', paused_jobs, job) == 1 end
  return paused[job]
end
