-- A worker takes frames for exactly the room it has: rank by rank, in fair shares of the cameras of one rank.
-- KEYS  frames streams, the one that has had least first
-- ARGV  worker, room,
--       and, or neither: of the room, frames that are owed to those who are not the first in rank; the rank of each
--       stream, 1 is served first;
--       and, or not: for each stream the ms after which its live frames are late, '' is never
-- Reply {now_us, {{index of the stream from 0, id, deliveries, packed frame, offered_us, late}, ...}}
-- What is owed goes, a frame each, to streams behind the first rank that has frames; what they leave, to that rank.
-- What a worker handed back or left behind (`returned`) goes first, with one delivery more.
-- Frames that are `late` (1, else 0) come on top of the room, since they are to be dropped: in place of the packed frame
-- with the packed record that says so.

local worker, room, owed = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3] or 0)
if #ARGV ~= 2 and #ARGV ~= 3 + #KEYS and #ARGV ~= 3 + 2 * #KEYS then
  return bad_call(string.format('2 arguments are wanted, or 3 and a rank for each of %d streams, got %d', #KEYS, #ARGV))
end
local taken, now = {}, now_us()

-- Most streams are empty most of the time, and with hundreds of them the question whether they are would cost more than
-- the frames. So cameras with frames are listed in a set; the list may say too much, and `sweep` adds what it misses. A
-- stream that has vanished is made again.
local listing, listed = string.gsub(KEYS[1] or '', 'frames:[^:]*$', 'waiting'), nil
if #KEYS > 0 and redis.call('EXISTS', unpack(KEYS)) == #KEYS then
  listed = {}
  for _, camera in ipairs(redis.call('SMEMBERS', listing)) do
    listed[camera] = true
  end
end

local function is_empty(stream)
  local camera = string.match(KEYS[stream], '[^:]*$')
  if listed and not listed[camera] then
    return true
  end
  if redis.call('XLEN', KEYS[stream]) > 0 then
    return false
  end
  if listed then
    listed[camera] = nil
    redis.call('SREM', listing, camera)
  end
  return true
end

local function keep(stream, id, deliveries, fields, late)
  local packed, offered_us = value_of(fields, late and 'if_dropped' or 'frame') or '', value_of(fields, 'offered_us') or ''
  taken[#taken + 1] = { stream - 1, id, deliveries, packed, offered_us, late and 1 or 0 }
end

-- Whether this frame waited for too long. What belongs to a run that was promised that it loses nothing is never late.
local function is_late(stream, id, fields)
  local late_ms, offered_us = tonumber(ARGV[3 + #KEYS + stream] or ''), tonumber(value_of(fields, 'offered_us') or '')
  if not late_ms or not offered_us or now - offered_us < late_ms * 1000 then
    return false
  end
  local ledger = string.gsub(KEYS[stream], 'frames:([^:]*)$', 'ledger:%1:' .. run_of(id))
  return redis.call('HGET', ledger, 'lane') == 'live'
end

local function take_returned(stream, most)
  local frames = KEYS[stream]
  local pending = redis.pcall('XPENDING', frames, GROUP, '-', '+', most, 'returned')
  if pending.err then
    go_on_when_memory_is_full(frames)
    create_group(frames)
    return 0
  end
  local got = 0
  for _, entry in ipairs(pending) do
    local id, deliveries = entry[1], entry[4]
    local claimed = redis.call('XCLAIM', frames, GROUP, worker, 0, id)
    if claimed[1] then
      keep(stream, id, deliveries + 1, claimed[1][2], false)
      got = got + 1
    else
      redis.call('XACK', frames, GROUP, id) -- somebody else deleted it by hand; Redis 7 forgets it by itself
    end
  end
  return got
end

local function take_waiting(stream, most)
  if redis.call('XLEN', KEYS[stream]) == 0 then
    return 0 -- newer servers let a reader join the group even where there is nothing to read
  end
  local got = 0
  while got < most do
    local asked = most - got
    local reply = redis.call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', asked, 'STREAMS', KEYS[stream], '>')
    local entries = reply and reply[1][2] or {}
    for _, entry in ipairs(entries) do
      local late = is_late(stream, entry[1], entry[2])
      keep(stream, entry[1], 1, entry[2], late)
      got = got + (late and 0 or 1)
    end
    if #entries < asked then
      break
    end
  end
  return got
end

local function take_from(stream, most)
  if listed and is_empty(stream) then
    return 0
  end
  local got = take_returned(stream, most)
  if got < most then
    got = got + take_waiting(stream, most - got)
  end
  room = room - got
  return got
end

local function has_any(stream)
  if is_empty(stream) then
    return false
  end
  local frames = KEYS[stream]
  local length = redis.call('XLEN', frames)
  local pending = redis.pcall('XPENDING', frames, GROUP)
  return pending and (pending.err or pending[1] < length
    or #redis.call('XPENDING', frames, GROUP, '-', '+', 1, 'returned') > 0)
end

local streams_of, ranks = {}, {}
for stream = 1, #KEYS do
  local rank = tonumber(ARGV[3 + stream] or 1)
  if not streams_of[rank] then
    streams_of[rank] = {}
    ranks[#ranks + 1] = rank
  end
  table.insert(streams_of[rank], stream)
end
table.sort(ranks)

-- The place in `ranks` of the first one that has frames.
local function first_with_any()
  for place, rank in ipairs(ranks) do
    for _, stream in ipairs(streams_of[rank]) do
      if has_any(stream) then
        return place
      end
    end
  end
  return #ranks
end

-- One frame each, in the order of the streams, until `owed` frames are taken or there is none.
local function take_owed()
  local first, got = ranks[first_with_any()], 1
  while owed > 0 and got > 0 do
    got = 0
    for stream = 1, #KEYS do
      if owed > 0 and tonumber(ARGV[3 + stream]) > first then
        local one = take_from(stream, 1)
        got, owed = got + one, owed - one
      end
    end
  end
end

-- Each round shares what room is left among the cameras that had frames in the round before.
local function take_fairly(streams)
  while room > 0 and #streams > 0 do
    local with_more = {}
    for i, stream in ipairs(streams) do
      local share = math.ceil(room / (#streams - i + 1))
      if share > 0 and take_from(stream, share) == share then
        with_more[#with_more + 1] = stream
      end
    end
    streams = with_more
  end
end

if owed > 0 and #ranks > 1 then
  take_owed()
end
for _, rank in ipairs(ranks) do
  take_fairly(streams_of[rank])
end
return { as_text(now), taken }
