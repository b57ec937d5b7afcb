-- A worker gives back frames that it will not finish, so that others can take them at once.
-- KEYS  frames stream of each frame
-- ARGV  worker, '1' if this counts as an attempt at the frame else '0', then the id of each frame
-- Reply number of frames handed back; those no longer listed under its name are left alone

local worker, counted = ARGV[1], ARGV[2] == '1'
local handed_back = 0
for i, frames in ipairs(KEYS) do
  local id = ARGV[i + 2]
  local pending = redis.pcall('XPENDING', frames, GROUP, id, id, 1, worker)
  if #pending == 1 then
    local deliveries = pending[1][4]
    if not counted then
      deliveries = math.max(0, deliveries - 1)
    end
    redis.call('XCLAIM', frames, GROUP, 'returned', 0, id, 'RETRYCOUNT', deliveries, 'JUSTID')
    handed_back = handed_back + 1
  end
end
return handed_back
