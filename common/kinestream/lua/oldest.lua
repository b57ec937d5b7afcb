-- Reads when the oldest frame that no worker holds was offered, for each of several cameras; changes nothing.
-- KEYS  frames streams
-- Reply {now_us, offered_us of each stream in turn, '' where nothing waits}

local function offered_us(frames, from, to)
  local entry = redis.call('XRANGE', frames, from, to, 'COUNT', 1)[1]
  return entry and tonumber(value_of(entry[2], 'offered_us') or '')
end

local function oldest(frames)
  local last_delivered = '0-0'
  for _, group in ipairs(redis.pcall('XINFO', 'GROUPS', frames)) do
    if value_of(group, 'name') == GROUP then
      last_delivered = value_of(group, 'last-delivered-id')
    end
  end
  local never_taken = offered_us(frames, '(' .. last_delivered, '+')
  local returned = redis.pcall('XPENDING', frames, GROUP, '-', '+', 1, 'returned')[1]
  local handed_back = returned and offered_us(frames, returned[1], returned[1])
  if never_taken and handed_back then
    return as_text(math.min(never_taken, handed_back))
  end
  return never_taken and as_text(never_taken) or handed_back and as_text(handed_back) or ''
end

local reply = { as_text(now_us()) }
for _, frames in ipairs(KEYS) do
  reply[#reply + 1] = oldest(frames)
end
return reply
