-- Forgets a camera whose newest run has ended and expired, and of which no frame is left.
-- KEYS  cameras, active, frames, ledger of its newest run
-- ARGV  camera, its newest run
-- Reply 1, or 0: it is not so (any more)

local cameras, active, frames, ledger = unpack(KEYS)
local camera, run = unpack(ARGV)
if redis.call('HGET', cameras, camera) ~= run or redis.call('EXISTS', ledger) == 1
  or redis.call('XLEN', frames) > 0 then
  return 0
end
redis.call('HDEL', cameras, camera)
redis.call('SREM', active, camera)
redis.call('DEL', frames)
return 1
