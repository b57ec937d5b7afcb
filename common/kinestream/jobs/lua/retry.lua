-- A job that failed, was aborted, or has lost whoever worked on it, goes back to the queue. Of one that is over nothing
-- is gone on with: its run has ended.
-- KEYS  job, claim
-- Reply {'again' | 'goes-on', attempt}, the latter if it was begun, or {'runs' | 'done' | 'gone', 0}

local job, claim = KEYS[1], KEYS[2]
local state, attempt, claims = unpack(redis.call('HMGET', job, 'state', 'attempt', 'claims'))
if not state then
  return { 'gone', 0 }
elseif state == 'done' then
  return { 'done', 0 }
elseif redis.call('EXISTS', claim) == 1 then
  return { 'runs', 0 }
elseif state == 'queued' or state == 'running' then
  redis.call('HDEL', job, 'abort') -- nobody has heard of it yet, and by now something else is wanted
  return { claims == '0' and 'again' or 'goes-on', tonumber(attempt) }
end
redis.call('HDEL', job, 'abort', 'error', 'note', 'run', 'run_key', 'cursor', 'offset', 'lines_of', 'found', 'stage',
  'owner', 'started_ms', 'finished_ms', 'expires_ms', 'offered', 'done', 'people', 'fps')
redis.call('HSET', job, 'state', 'queued', 'claims', 0)
redis.call('PERSIST', job)
return { 'again', redis.call('HINCRBY', job, 'attempt', 1) }
