-- A worker reads which cameras it must look at, and how each of them, in its newest run, wants to be served.
-- KEYS  active, cameras
-- Reply msgpack of {{camera, lane, priority, ms after which a live frame is stale}, ...}; '' is what nobody has said
-- With many workers and cameras this would cost more than all else here. So one of them looks for all, until a camera
-- begins, comes back or is over.

local KEPT_MS = 500

local active, cameras = KEYS[1], KEYS[2]
local seen = redis.call('GET', beside(active, 'seen'))
if seen then
  return seen
end

local found, names = {}, redis.call('SMEMBERS', active)
local runs = #names > 0 and redis.call('HMGET', cameras, unpack(names))
for i, camera in ipairs(names) do
  local run = runs[i] or ''
  local facts = redis.call('HMGET', beside(active, 'ledger:' .. camera .. ':' .. run), 'lane', 'priority', 'max_age_ms')
  found[#found + 1] = { camera, facts[1] or '', facts[2] or '', facts[3] or '' }
end
seen = cmsgpack.pack(found)
redis.pcall('SET', beside(active, 'seen'), seen, 'PX', KEPT_MS) -- refused where memory is full: then everybody looks
return seen
