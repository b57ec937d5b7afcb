-- A worker commits the outcomes of a batch. The XACK is the commit: of several workers that ran one frame, the first to
-- acknowledge publishes, the others are told 0.
-- KEYS  results, cameras, active, dead, then four a frame: frames, ledger, want, pictures
-- ARGV  worker, ms that results are kept, bytes that results may have, bytes that dead letters may have,
--       pictures to keep a camera, seconds to keep an empty stream,
--       then seven a frame: camera, id, status, cause, packed record, error, traceback
-- Reply {1 | 0, ...}: whether this commit is the one that counts

local results, cameras, active, dead = unpack(KEYS, 1, 4)
local worker, keep_ms, max_bytes, max_dead_bytes, max_pictures, keep_s = unpack(ARGV, 1, 6)
local BEFORE_KEYS, KEYS_A_FRAME, BEFORE_ARGS, ARGS_A_FRAME = 4, 4, 6, 7
local OUTCOMES = { ok = true, dropped = true, stale = true, failed = true }

local frames_in_batch = math.max(0, math.floor((#KEYS - BEFORE_KEYS) / KEYS_A_FRAME))
local wrong = wrong_counts(BEFORE_KEYS + frames_in_batch * KEYS_A_FRAME, BEFORE_ARGS + frames_in_batch * ARGS_A_FRAME)
  or wrong_numbers({ 2, 3, 4, 5, 6 }, {})
for i = 1, wrong and 0 or frames_in_batch do
  local arg = BEFORE_ARGS + (i - 1) * ARGS_A_FRAME
  local camera, id, status = unpack(ARGV, arg + 1, arg + 3)
  local ledger = (string.match(KEYS[1], '^.*:') or '') .. 'ledger:' .. camera .. ':' .. (run_of(id) or '')
  if not OUTCOMES[status] then
    wrong = bad_call('the status of frame ' .. i .. ' must be ok, dropped, stale or failed', status)
  elseif KEYS[BEFORE_KEYS + (i - 1) * KEYS_A_FRAME + 2] ~= ledger then
    wrong = bad_call('the ledger of frame ' .. i .. " must be '" .. ledger .. "'", id)
  end
end
if wrong then
  return wrong
end

-- Order: XACK is a write that needs no memory, so that at maxmemory, where any first write that does is refused, the
-- commit still runs, and the XDEL at its end frees more than the record took.
local function commit(frames, ledger, want, pictures, camera, id, status, cause, record, error, traceback)
  local pending = status == 'failed' and redis.pcall('XPENDING', frames, GROUP, id, id, 1)
  if redis.call('XACK', frames, GROUP, id) ~= 1 then
    return 0
  end
  local wanted = redis.call('EXISTS', want) == 1
  if wanted or status == 'failed' then
    local entry = redis.call('XRANGE', frames, id, id)[1]
    local packed = entry and value_of(entry[2], 'frame') or ''
    if status == 'failed' then
      redis.call('XADD', dead, '*', 'camera', camera, 'name', id, 'frame', packed, 'cause', cause, 'error', error,
        'traceback', traceback, 'worker', worker, 'deliveries', pending[1] and pending[1][4] or 0, 'record', record)
      trim_to_bytes(dead, tonumber(max_dead_bytes), 0)
    end
    if wanted then
      redis.call('XADD', pictures, 'MAXLEN', max_pictures, '*', 'name', id, 'frame', packed)
      redis.call('PEXPIRE', pictures, 60000)
    end
  end
  publish(results, record)
  count(ledger, status, cause, 1)
  redis.call('XDEL', frames, id)
  leave_if_over(cameras, active, frames, ledger, camera, keep_s)
  return 1
end

local committed = {}
for i = 1, frames_in_batch do
  local key, arg = BEFORE_KEYS + (i - 1) * KEYS_A_FRAME, BEFORE_ARGS + (i - 1) * ARGS_A_FRAME
  local of_frame = { unpack(KEYS, key + 1, key + KEYS_A_FRAME) }
  for j = 1, ARGS_A_FRAME do
    of_frame[KEYS_A_FRAME + j] = ARGV[arg + j]
  end
  committed[i] = commit(unpack(of_frame))
end
trim_results(results, keep_ms, max_bytes)
return committed
