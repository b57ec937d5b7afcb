-- A worker takes frames for exactly the room it has, in fair shares of the cameras.
-- KEYS  frames streams, in the order in which this worker's turn goes round
-- ARGV  worker, room
-- Reply {now_us, {{index of the stream from 0, id, deliveries, packed frame, offered_us}, ...}}
-- What a worker handed back or left behind (`returned`) goes first, with one delivery more.

local worker, room = ARGV[1], tonumber(ARGV[2])
local taken = {}

local function keep(stream, id, deliveries, fields)
  local packed, offered_us = value_of(fields, 'frame') or '', value_of(fields, 'offered_us') or ''
  taken[#taken + 1] = { stream - 1, id, deliveries, packed, offered_us }
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
      keep(stream, id, deliveries + 1, claimed[1][2])
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
  local reply = redis.call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', most, 'STREAMS', KEYS[stream], '>')
  if not reply then
    return 0
  end
  for _, entry in ipairs(reply[1][2]) do
    keep(stream, entry[1], 1, entry[2])
  end
  return #reply[1][2]
end

-- Each round shares what room is left among the cameras that had frames in the round before.
local streams = {}
for stream = 1, #KEYS do
  streams[stream] = stream
end
while room > 0 and #streams > 0 do
  local with_more = {}
  for i, stream in ipairs(streams) do
    local share = math.ceil(room / (#streams - i + 1))
    local got = 0
    if share > 0 then
      got = take_returned(stream, share)
      if got < share then
        got = got + take_waiting(stream, share - got)
      end
      room = room - got
      if got == share then
        with_more[#with_more + 1] = stream
      end
    end
  end
  streams = with_more
end
return { as_text(now_us()), taken }
