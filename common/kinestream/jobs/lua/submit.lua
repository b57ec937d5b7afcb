-- Hands in a job, unless there is one of this id.
-- KEYS  jobs, job
-- ARGV  id, a word that only this call has, then fields and values
-- Reply {1, 'queued', 1}, or if there was one {0, its state, its attempt}

local jobs, job = KEYS[1], KEYS[2]
local id, word = ARGV[1], ARGV[2]
local state, attempt, its_word = unpack(redis.call('HMGET', job, 'state', 'attempt', 'word'))
if state then
  return { its_word == word and 1 or 0, state, tonumber(attempt) } -- its word: the reply to the first try got lost
end
local time = redis.call('TIME')
local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', job, 'state', 'queued', 'attempt', 1, 'claims', 0, 'submitted_ms', now_ms, 'word', word,
  unpack(ARGV, 3))
redis.call('ZADD', jobs, now_ms, id)
return { 1, 'queued', 1 }
