-- Hands in a job, unless there is one of this id.
-- KEYS  jobs, job
-- ARGV  id, then fields and values
-- Reply 1, or 0 if there was one

local jobs, job = KEYS[1], KEYS[2]
if redis.call('EXISTS', job) == 1 then
  return 0
end
local time = redis.call('TIME')
local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', job, 'state', 'queued', 'attempt', 1, 'claims', 0, 'submitted_ms', now_ms, unpack(ARGV, 2))
redis.call('ZADD', jobs, now_ms, ARGV[1])
return 1
