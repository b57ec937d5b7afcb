-- A producer ends its run: the `end` goes straight to the results, workers never see it.
-- KEYS  cameras, active, frames, ledger, results
-- ARGV  camera, run, token of the producer, number of frames, packed `end`, seconds to keep the ledger,
--       of the frames that the producer gave up on at the end: first seq, packed record, cause ('' if none),
--       first seq that is to be counted as lost by Redis ('' if none),
--       ms that results are kept, bytes that results may have
-- Reply {'ok' | 'moved' | 'fenced' | 'lost', frames produced so far}

local cameras, active, frames, ledger, results = unpack(KEYS)
local camera, run, token, frames_text, end_record, keep_s, gap_from, gap, gap_cause, lost_from = unpack(ARGV, 1, 10)
local keep_ms, max_bytes = unpack(ARGV, 11)
local total = tonumber(frames_text)
local wrong = wrong_counts(5, 12) or wrong_numbers({ 2, 4, 6, 11, 12 }, { 7, 10 })
  or wrong_keys(camera, { 'cameras', 'active', 'frames:' .. camera, 'ledger:' .. camera .. ':' .. run, 'results' })
  or wrong_gap(gap_from, gap, gap_cause, total)
if not wrong and lost_from ~= '' and (gap ~= '' or tonumber(lost_from) > total) then
  wrong = bad_call('what Redis lost is in no gap, and begins at ' .. as_text(total) .. ' at the latest', lost_from)
end
if wrong then
  return wrong
end

local facts = redis.call('HMGET', ledger, 'state', 'produced', 'token', 'ended_by')
local state, produced, its_token, ended_by = facts[1], tonumber(facts[2] or 0), facts[3] or token, facts[4]
if its_token ~= token then
  return { 'fenced', produced }
end
if state == 'ended' then
  return { ended_by and 'fenced' or 'ok', produced } -- ok: the reply to the first try got lost
end
-- What the producer believes that Redis knows; if it knows more, the reply to an earlier offer got lost.
local expected = tonumber(lost_from) or tonumber(gap_from) or total
if lost_from == '' and (not state or expected > produced) then
  return { 'lost', produced }
end
if expected ~= produced then
  return { 'moved', produced }
end

go_on_when_memory_is_full(frames) -- a run must be able to end, else its camera never leaves the workers' list
redis.call('HSET', ledger, 'state', 'ended', 'produced', frames_text)
redis.call('EXPIRE', ledger, keep_s)
if lost_from ~= '' and total > produced then
  count(ledger, 'lost', 'redis', total - produced)
elseif gap ~= '' then
  publish(results, gap)
  count(ledger, 'dropped', gap_cause, total - produced)
end
publish(results, end_record)
leave_if_over(cameras, active, frames, ledger, camera, keep_s)
trim_results(results, keep_ms, max_bytes)
return { 'ok', total }
