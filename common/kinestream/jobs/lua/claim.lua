-- Somebody wants to work on a job. Each claim has a number, by which files of two who believe that it is theirs differ.
-- KEYS  job, claim
-- ARGV  owner (a name that only this claim has), ms that the claim holds without being renewed
-- Reply {'ok', number of the claim}, or {'gone' | 'over' | 'taken', 0}

local job, claim = KEYS[1], KEYS[2]
local owner, lease_ms = ARGV[1], ARGV[2]
local state, its_owner, claims = unpack(redis.call('HMGET', job, 'state', 'owner', 'claims'))
if not state then
  return { 'gone', 0 }
elseif state ~= 'queued' and state ~= 'running' then
  return { 'over', 0 }
elseif redis.call('GET', claim) == owner and its_owner == owner then
  return { 'ok', tonumber(claims) } -- the reply to the first try got lost
elseif redis.call('EXISTS', claim) == 1 then
  return { 'taken', 0 }
end
redis.call('SET', claim, owner, 'PX', lease_ms)
local time = redis.call('TIME')
redis.call('HSETNX', job, 'started_ms', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
redis.call('HSET', job, 'state', 'running', 'owner', owner)
return { 'ok', redis.call('HINCRBY', job, 'claims', 1) }
