-- Whoever works on a job lets go of it: it is over, or goes back to the queue.
-- KEYS  job, claim
-- ARGV  owner, state, seconds to keep it ('' while it is not over), then fields and values
-- Reply 1, or 0: it is somebody else's, or over

local job, claim = KEYS[1], KEYS[2]
local owner, state, keep_s = ARGV[1], ARGV[2], ARGV[3]
local was, its_owner = unpack(redis.call('HMGET', job, 'state', 'owner'))
if its_owner ~= owner or was ~= 'running' then
  return its_owner == owner and was == state and 1 or 0 -- 1: the reply to the first try got lost
end
redis.call('DEL', claim) -- comes first: it needs no memory, so this goes on where none is left
redis.call('HSET', job, 'state', state, unpack(ARGV, 4))
if keep_s ~= '' then
  local time = redis.call('TIME')
  local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', job, 'finished_ms', string.format('%.0f', now_ms),
    'expires_ms', string.format('%.0f', now_ms + 1000 * keep_s))
  redis.call('EXPIRE', job, keep_s)
end
return 1
