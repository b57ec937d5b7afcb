-- Somebody wants a job to end. What nobody has begun ends here; else whoever works on it, or does so next, ends it.
-- KEYS  job
-- ARGV  seconds to keep it
-- Reply 'aborted', 'asked', or the state of a job that is over, or 'gone'

local job, keep_s = KEYS[1], ARGV[1]
local state, claims = unpack(redis.call('HMGET', job, 'state', 'claims'))
if not state then
  return 'gone'
elseif state ~= 'queued' and state ~= 'running' then
  return state
elseif claims ~= '0' then
  redis.call('HSET', job, 'abort', 1)
  return 'asked'
end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', job, 'state', 'aborted', 'error', 'aborted before it was begun',
  'finished_ms', string.format('%.0f', now_ms), 'expires_ms', string.format('%.0f', now_ms + 1000 * keep_s))
redis.call('EXPIRE', job, keep_s)
return 'aborted'
