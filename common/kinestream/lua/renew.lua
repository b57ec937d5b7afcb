-- A worker renews the leases of what it still works on; what is no longer listed under its name is left alone.
-- KEYS  frames stream of each frame
-- ARGV  worker, then the id of each frame
-- Reply {1 | 0, ...}: whether the frame is still this worker's

local worker = ARGV[1]
local mine = {}
for i, frames in ipairs(KEYS) do
  local id = ARGV[i + 1]
  local pending = redis.pcall('XPENDING', frames, GROUP, id, id, 1, worker)
  if #pending == 1 then
    redis.call('XCLAIM', frames, GROUP, worker, 0, id, 'JUSTID') -- resets the idle time, counts no delivery
    mine[i] = 1
  else
    mine[i] = 0
  end
end
return mine
