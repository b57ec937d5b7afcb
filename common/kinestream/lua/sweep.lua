-- One worker at a time looks after what others left behind: frames whose lease nobody renewed move to `returned`, from
-- where anybody takes them; workers that are long gone leave the group; results and dead letters grow too old even when
-- nobody commits.
-- KEYS  sweeper lock, results, dead, frames streams
-- ARGV  worker, lease in ms, ms for which nobody else sweeps, ms that results are kept, bytes that results may have,
--       ms that dead letters are kept
-- Reply number of frames moved, or -1: another worker has swept just now

local lock, results, dead = KEYS[1], KEYS[2], KEYS[3]
local worker, lease_ms, lock_ms, keep_ms, max_bytes, keep_dead_ms = unpack(ARGV)
lease_ms = tonumber(lease_ms)
local gone_ms = 100 * lease_ms -- far beyond any pause between two of a living worker's reads
if redis.call('EXISTS', lock) == 1 then
  return -1
end
trim_results(results, keep_ms, max_bytes) -- comes first: it needs no memory, and may be what makes room again
redis.call('XTRIM', dead, 'MINID', as_text(math.max(0, now_us() / 1000 - tonumber(keep_dead_ms))))
redis.call('SET', lock, worker, 'PX', lock_ms)

local function move_expired(frames)
  local moved, from = 0, '-'
  while true do
    local pending = redis.pcall('XPENDING', frames, GROUP, 'IDLE', lease_ms, from, '+', 100)
    if pending.err or #pending == 0 then
      return moved
    end
    for _, entry in ipairs(pending) do
      if entry[2] ~= 'returned' then
        redis.call('XCLAIM', frames, GROUP, 'returned', 0, entry[1], 'JUSTID')
        moved = moved + 1
      end
    end
    from = '(' .. pending[#pending][1]
  end
end

-- What `take` would pass by, where somebody changed a stream past the scripts: one without its group, or with frames and
-- not listed.
local function mend(frames)
  local pending = redis.pcall('XPENDING', frames, GROUP)
  if pending.err and redis.call('EXISTS', frames) == 1 then
    create_group(frames)
  end
  if redis.call('XLEN', frames) > 0 then
    local prefix, camera = string.match(frames, '^(.*:)frames:([^:]*)$')
    redis.call('SADD', prefix .. 'waiting', camera)
  end
end

local moved = 0
for i = 4, #KEYS do
  mend(KEYS[i])
  moved = moved + move_expired(KEYS[i])
end
-- One stream a sweep: with many workers and cameras, looking at every membership would cost more than all else here.
if #KEYS >= 4 then
  local turn = math.floor(now_us() / 1000 / math.max(1, tonumber(lock_ms))) % (#KEYS - 3)
  forget_workers(KEYS[4 + turn], gone_ms)
end
return moved
