-- A job that failed, was aborted, or has lost whoever worked on it, goes back to the queue. Of one that is over nothing
-- is gone on with: its run has ended.
-- KEYS  job, claim
-- Reply {'again' | 'goes-on', attempt}, or {'runs' | 'done' | 'gone', 0}

local job, claim = KEYS[1], KEYS[2]
local state, attempt = unpack(redis.call('HMGET', job, 'state', 'attempt'))
if not state then
  return { 'gone', 0 }
elseif state == 'done' then
  return { 'done', 0 }
elseif state == 'queued' or state == 'running' then
  return redis.call('EXISTS', claim) == 1 and { 'runs', 0 } or { 'goes-on', tonumber(attempt) }
end
redis.call('HDEL', job, 'abort', 'error', 'note', 'run', 'run_key', 'cursor', 'offset', 'stage', 'started_ms',
  'finished_ms', 'expires_ms', 'offered', 'done', 'people', 'fps')
redis.call('HSET', job, 'state', 'queued', 'claims', 0)
redis.call('PERSIST', job)
return { 'again', redis.call('HINCRBY', job, 'attempt', 1) }
