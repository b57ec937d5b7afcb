-- Reads the ledger of one run and, at the same instant, how many of its frames are in flight: from the stream itself,
-- since a number derived from the counters would make the sum balance by definition.
-- KEYS  frames, ledger
-- ARGV  run
-- Reply {frames of this run in the stream, of these held by workers, flat fields of the ledger}

local frames, ledger = unpack(KEYS)
local run = ARGV[1]

-- Counts frames by name, which costs reading their bytes: a page at a time, so that few of them are held at once.
local function frames_by_name()
  local found, from = 0, run
  while true do
    local page = redis.call('XRANGE', frames, from, run, 'COUNT', 16)
    if #page == 0 then
      return found
    end
    found = found + #page
    from = '(' .. page[#page][1]
  end
end

local function in_flight()
  local oldest = redis.call('XRANGE', frames, '-', '+', 'COUNT', 1)[1]
  if not oldest then
    return 0
  end
  local newest = redis.call('XREVRANGE', frames, '+', '-', 'COUNT', 1)[1]
  if run_of(oldest[1]) == run and run_of(newest[1]) == run then
    return redis.call('XLEN', frames) -- the usual case: the stream holds this run alone
  end
  return frames_by_name()
end

local held = 0
for _, entry in ipairs(redis.pcall('XPENDING', frames, GROUP, run, run, 10000)) do
  if entry[2] ~= 'returned' then
    held = held + 1
  end
end
return { in_flight(), held, redis.call('HGETALL', ledger) }
