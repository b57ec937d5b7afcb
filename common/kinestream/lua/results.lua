-- Shared opening of every script: appending to the results stream and to a ledger, and what stands around them.
-- An id is `<commit ms on this server's clock>-<running number>`: the time of commit needs no field of its own, and a
-- reader that finds a jump in the running number knows exactly how many records were trimmed before it came.

local GROUP = 'workers'

local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function as_text(number)
  return string.format('%.0f', number)
end

-- The value behind `name` in a flat name-value reply such as XINFO's.
local function value_of(reply, name)
  for i = 1, #reply, 2 do
    if reply[i] == name then
      return reply[i + 1]
    end
  end
end

-- When memory is full, Redis refuses a script's first write if that one needs memory, and none after it. Steps that
-- free memory in the end open with this write, which changes nothing (no entry has the id 0-0) and needs none.
local function go_on_when_memory_is_full(frames)
  redis.call('XACK', frames, GROUP, '0-0')
end

-- The key of this name that stands beside another one, with the same prefix.
local function beside(key, name)
  return (string.match(key, '^.*:') or '') .. name
end

local function is_whole(text)
  return text == '0' or string.find(text, '^[1-9]%d*$') and tonumber(text) <= 9007199254740991
end

local function bad_call(what, got)
  local shown = got and ", got '" .. string.gsub(string.sub(got, 1, 60), '[^\32-\126]', '?') .. "'" or ''
  return redis.error_reply('BADCALL ' .. what .. shown)
end

-- Callers are of many makers, and a script that stops halfway has written half: what is wrong with the form of a call
-- is replied before the first write.
local function wrong_counts(keys, arguments)
  if #KEYS ~= keys or #ARGV ~= arguments then
    return bad_call(string.format('%d keys and %d arguments are wanted, got %d and %d', keys, arguments, #KEYS, #ARGV))
  end
end

-- `numbers` are the places of arguments that are whole numbers, `or_none` of those that may also be ''.
local function wrong_numbers(numbers, or_none)
  for _, place in ipairs(numbers) do
    if not is_whole(ARGV[place]) then
      return bad_call('argument ' .. place .. ' must be a whole number in decimal digits', ARGV[place])
    end
  end
  for _, place in ipairs(or_none) do
    if ARGV[place] ~= '' and not is_whole(ARGV[place]) then
      return bad_call('argument ' .. place .. ' must be a whole number in decimal digits, or empty', ARGV[place])
    end
  end
end

-- `keys` are the names wanted, after the prefix that the first one tells; false is any key.
local function wrong_keys(camera, keys)
  if #camera > 64 or not string.find(camera, '^[A-Za-z0-9][A-Za-z0-9_.-]*$') then
    return bad_call('a camera name is 1 to 64 of A-Z a-z 0-9 _ . - and starts with a letter or digit', camera)
  end
  local prefix = string.match(KEYS[1], '^.*:') or ''
  for i, name in ipairs(keys) do
    if name and KEYS[i] ~= prefix .. name then
      return bad_call('key ' .. i .. " must be '" .. prefix .. name .. "'", KEYS[i])
    end
  end
end

-- The frames that a producer gave up on: the first of them, a packed record and its cause come together or not at all.
local function wrong_gap(from, record, cause, until_seq)
  if (from == '') ~= (record == '') or (from == '') ~= (cause == '') then
    return bad_call('first seq, record and cause of frames given up on come together, or all are empty')
  end
  if from ~= '' and tonumber(from) >= until_seq then
    return bad_call('frames given up on come before ' .. as_text(until_seq), from)
  end
end

local function wrong_lane(lane)
  if lane ~= 'live' and lane ~= 'every-frame' then
    return bad_call('a lane is live or every-frame', lane)
  end
end

local last_ms, last_number

local function publish(results, record)
  if not last_ms then
    local info = redis.pcall('XINFO', 'STREAM', results)
    if info.err then
      last_ms, last_number = 0, -1
    else
      local ms, number = string.match(value_of(info, 'last-generated-id'), '(%d+)-(%d+)')
      last_ms, last_number = tonumber(ms), tonumber(number)
    end
  end
  -- A clock that is set back must not make an id smaller than the one before.
  last_ms = math.max(last_ms, math.floor(now_us() / 1000))
  last_number = last_number + 1
  redis.call('XADD', results, as_text(last_ms) .. '-' .. as_text(last_number), 'result', record)
end

-- Drops the oldest entries until the stream has no more than `max_bytes`, measured on `samples` entries (0: on all).
local function trim_to_bytes(stream, max_bytes, samples)
  local length = redis.call('XLEN', stream)
  while length > 0 do
    local bytes = redis.call('MEMORY', 'USAGE', stream, 'SAMPLES', samples)
    if bytes <= max_bytes then
      return
    end
    length = math.min(length - 1, math.floor(length * max_bytes / bytes))
    redis.call('XTRIM', stream, 'MAXLEN', length)
  end
end

-- Records of all cameras alternate, so a hundred of them tell the size of the others.
local function trim_results(results, keep_ms, max_bytes)
  redis.call('XTRIM', results, 'MINID', '~', as_text(math.max(0, now_us() / 1000 - tonumber(keep_ms))))
  trim_to_bytes(results, tonumber(max_bytes), 100)
end

-- Counts `frames` frames of a run under their status and, where there is one, their cause. A ledger that has expired
-- is not begun anew: nobody would ever remove it.
local function count(ledger, status, cause, frames)
  if redis.call('EXISTS', ledger) == 1 then
    redis.call('HINCRBY', ledger, status, frames)
    if cause ~= '' then
      redis.call('HINCRBY', ledger, status .. ':' .. cause, frames)
    end
  end
end

local function run_of(id)
  return string.match(id, '^%d+')
end

-- The ledger of another run of the same camera: its key differs in the number at its end only.
local function ledger_of(ledger, run)
  return (string.gsub(ledger, '%d+$', run))
end

-- Those who hold nothing leave the group, if it is for `idle_ms` that they have asked for nothing. Who is alive and asks
-- again joins again.
local function forget_workers(frames, idle_ms)
  for _, consumer in ipairs(redis.pcall('XINFO', 'CONSUMERS', frames, GROUP)) do
    if value_of(consumer, 'pending') == 0 and value_of(consumer, 'idle') > idle_ms then
      redis.call('XGROUP', 'DELCONSUMER', frames, GROUP, value_of(consumer, 'name'))
    end
  end
end

-- Workers stop looking at a camera once its newest run is over and no frame is left, of earlier runs neither. The
-- empty stream is forgotten when nobody begins again within `keep_s`. Nobody sweeps it until then, so whoever is in
-- its group leaves now.
local function leave_if_over(cameras, active, frames, ledger, camera, keep_s)
  if redis.call('XLEN', frames) > 0 then
    return
  end
  local newest = redis.call('HGET', cameras, camera)
  local state = newest and redis.call('HGET', ledger_of(ledger, newest), 'state')
  if state ~= 'open' and state ~= 'closing' then
    redis.call('SREM', active, camera)
    redis.call('SREM', beside(active, 'waiting'), camera)
    redis.call('DEL', beside(active, 'seen'))
    redis.call('EXPIRE', frames, keep_s)
    forget_workers(frames, -1)
  end
end

-- The group starts at 0, so that frames which were offered before it existed, or before it was lost, are delivered.
local function create_group(frames)
  redis.pcall('XGROUP', 'CREATE', frames, GROUP, '0', 'MKSTREAM')
end
