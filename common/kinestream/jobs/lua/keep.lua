-- Renews a claim, and tells how the job goes. A claim that ran out is taken up again if nobody else has it.
-- KEYS  job, claim
-- ARGV  owner, ms that the claim holds without being renewed, then fields and values
-- Reply 'ok', 'abort': somebody wants the job to end, or 'lost': it is somebody else's, or over

local job, claim = KEYS[1], KEYS[2]
local owner, lease_ms = ARGV[1], ARGV[2]
local state, its_owner, abort = unpack(redis.call('HMGET', job, 'state', 'owner', 'abort'))
if state ~= 'running' or its_owner ~= owner then
  return 'lost'
end
redis.call('SET', claim, owner, 'PX', lease_ms)
if #ARGV > 2 then
  redis.call('HSET', job, unpack(ARGV, 3))
end
return abort and 'abort' or 'ok'
