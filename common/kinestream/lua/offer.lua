-- A producer offers one frame; the frame is taken in, makes room for itself, or is told to wait.
-- KEYS  cameras, active, frames, ledger, results
-- ARGV  camera, run, token of the producer, seq, packed frame, packed record to publish if the frame is dropped, lane,
--       frames that may wait, bytes that the stream may have,
--       of the frames that the producer gave up on just before this one: first seq, packed record, cause ('' if none),
--       ms that results are kept, bytes that results may have
-- Reply {'ok' | 'dropped' | 'full' | 'moved' | 'fenced' | 'lost', frames produced so far}
-- When memory is full, an offer that evicts goes on, since that frees memory first; any other is refused unchanged.

local cameras, active, frames, ledger, results = unpack(KEYS)
local camera, run, token, seq_text, frame, if_dropped, lane, room_text, max_bytes_text = unpack(ARGV, 1, 9)
local gap_from, gap, gap_cause, keep_ms, max_result_bytes = unpack(ARGV, 10)
local seq, room, max_bytes = tonumber(seq_text), tonumber(room_text), tonumber(max_bytes_text)
local wrong = wrong_counts(5, 14) or wrong_numbers({ 2, 4, 8, 9, 13, 14 }, { 10 }) or wrong_lane(lane)
  or wrong_keys(camera, { 'cameras', 'active', 'frames:' .. camera, 'ledger:' .. camera .. ':' .. run, 'results' })
  or wrong_gap(gap_from, gap, gap_cause, seq)
if wrong then
  return wrong
end

local current = tonumber(redis.call('HGET', cameras, camera) or 0)
local state, produced_text, its_token = unpack(redis.call('HMGET', ledger, 'state', 'produced', 'token'))
local produced = tonumber(produced_text or 0)
if current > tonumber(run) then
  return { 'fenced', produced }
end
if current < tonumber(run) or not state then
  return { 'lost', produced }
end
if state ~= 'open' or its_token ~= token then -- after a loss of memory, another run may have the same number
  return { 'fenced', produced }
end
if seq < produced then
  return { 'ok', produced } -- the reply to the first try got lost
end
local expected = gap ~= '' and tonumber(gap_from) or seq
if expected > produced then
  return { 'lost', produced }
end
if expected < produced then
  return { 'moved', produced } -- a frame of the gap was taken in after all, only the reply got lost
end

local function workers_group()
  for _, group in ipairs(redis.pcall('XINFO', 'GROUPS', frames)) do
    if value_of(group, 'name') == GROUP then
      return group
    end
  end
end

local group = workers_group()
if not group then
  redis.call('XGROUP', 'CREATE', frames, GROUP, '0', 'MKSTREAM') -- an offer is refused if memory is too full for it
  group = workers_group()
end
local length = redis.call('XLEN', frames)
local waiting = length - value_of(group, 'pending')
local last_delivered = value_of(group, 'last-delivered-id')

-- One frame is always let in, however large. All frames are measured: the first of a camera are often black and small.
local function has_room()
  if waiting >= room then
    return false
  end
  return length == 0 or redis.call('MEMORY', 'USAGE', frames, 'SAMPLES', 0) + #frame <= max_bytes
end

-- The oldest waiting frame gives way; returns whether it did. It may belong to an earlier run, whose ledger stands
-- beside this one's, and which may have been promised that it loses nothing.
local function evict()
  local entry = waiting > 0 and redis.call('XRANGE', frames, '(' .. last_delivered, '+', 'COUNT', 1)[1]
  local its_ledger = entry and ledger_of(ledger, run_of(entry[1]))
  if not entry or redis.call('HGET', its_ledger, 'lane') == 'every-frame' then
    return false
  end
  redis.call('XDEL', frames, entry[1])
  publish(results, value_of(entry[2], 'if_dropped'))
  count(its_ledger, 'dropped', 'no-room', 1)
  waiting, length = waiting - 1, length - 1
  return true
end

local fits = has_room()
while not fits and lane == 'live' and evict() do
  fits = has_room()
end
if not fits and lane ~= 'live' then
  return { 'full', produced }
end

if gap ~= '' then
  publish(results, gap)
  count(ledger, 'dropped', gap_cause, seq - produced)
end
if fits then
  redis.call('XADD', frames, run .. '-' .. seq_text, 'frame', frame, 'if_dropped', if_dropped,
    'offered_us', as_text(now_us()))
  redis.call('SADD', beside(cameras, 'waiting'), camera)
else
  publish(results, if_dropped) -- what may not give way leaves no room for even this one
  count(ledger, 'dropped', 'no-room', 1)
end
redis.call('HSET', ledger, 'produced', as_text(seq + 1))
if redis.call('SADD', active, camera) == 1 then
  redis.call('DEL', beside(active, 'seen')) -- the camera had been lost
end
if last_number then
  trim_results(results, keep_ms, max_result_bytes)
end
return { fits and 'ok' or 'dropped', seq + 1 }
