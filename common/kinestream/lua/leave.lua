-- A worker leaves the group of each stream, unless frames are still listed under its name (they would vanish with it).
-- KEYS  frames streams
-- ARGV  worker
-- Reply number of streams whose group it left

local left = 0
for _, frames in ipairs(KEYS) do
  local pending = redis.pcall('XPENDING', frames, GROUP, '-', '+', 1, ARGV[1])
  if not pending.err and #pending == 0 then
    go_on_when_memory_is_full(frames) -- Redis 6.2 takes every XGROUP for one that needs memory
    redis.call('XGROUP', 'DELCONSUMER', frames, GROUP, ARGV[1])
    left = left + 1
  end
end
return left
