-- A producer opens a run, and with it closes the run before it.
-- KEYS  cameras, active, results, frames, ledger of the new run, ledger of the run before (any key if there is none)
-- ARGV  camera, new run, run before ('' if none), its number of frames, its packed `end`, seconds to keep its ledger,
--       token of the producer, lane, source, ms that results are kept, bytes that results may have,
--       and, or neither of the two: priority from 0 to 9 ('' is 0), ms after which a live frame is stale ('' leaves it
--       to the workers)
-- Reply 'ok', or 'moved': somebody else began or offered meanwhile, so read again and retry.

local cameras, active, results, frames, ledger, ledger_before = unpack(KEYS)
local camera, run, run_before, frames_before, end_before, keep_s, token, lane, source, keep_ms, max_bytes = unpack(ARGV)
local priority, max_age_ms = ARGV[12] or '', ARGV[13] or ''
local wrong = #ARGV ~= 11 and wrong_counts(6, 13) or wrong_counts(6, #ARGV)
  or wrong_numbers({ 2, 6, 10, 11 }, #ARGV == 13 and { 3, 4, 12, 13 } or { 3, 4 }) or wrong_lane(lane)
  or wrong_keys(camera, { 'cameras', 'active', 'results', 'frames:' .. camera, 'ledger:' .. camera .. ':' .. run,
    run_before ~= '' and 'ledger:' .. camera .. ':' .. run_before })
if not wrong and #priority > 1 then
  wrong = bad_call('a priority is 0 to 9', priority)
elseif not wrong and max_age_ms == '0' then
  wrong = bad_call('an age limit is at least 1 ms', max_age_ms)
end
if wrong then
  return wrong
end

local current = redis.call('HGET', cameras, camera) or ''
if current == run and redis.call('HGET', ledger, 'token') == token then
  return 'ok' -- the reply to the first try got lost
end
if current ~= run_before then
  return 'moved'
end
if tonumber(run) <= (tonumber(run_before) or 0) then
  return bad_call('a run is at least 1, and larger than the run before', run)
end
local state, produced = unpack(redis.call('HMGET', ledger_before, 'state', 'produced'))
if run_before ~= '' and (state == 'open' or state == 'closing') then
  if produced ~= frames_before then
    -- Its producer offers faster than this one can read and retry. From now on it is refused, and the retry succeeds.
    redis.call('HSET', ledger_before, 'state', 'closing')
    return 'moved'
  end
  publish(results, end_before)
  redis.call('HSET', ledger_before, 'state', 'ended', 'ended_by', 'next-run')
  redis.call('EXPIRE', ledger_before, keep_s)
  trim_results(results, keep_ms, max_bytes)
end

redis.call('HSET', cameras, camera, run)
redis.call('SADD', active, camera)
redis.call('DEL', beside(active, 'seen'))
redis.call('HSET', ledger, 'state', 'open', 'produced', 0, 'lane', lane, 'source', source, 'token', token,
  'priority', priority, 'max_age_ms', max_age_ms, 'began_us', as_text(now_us()))
create_group(frames)
redis.call('PERSIST', frames)
return 'ok'
