-- Forgets a job that has expired.
-- KEYS  jobs, job
-- ARGV  id
-- Reply 1, or 0: it is there (again)

local jobs, job = KEYS[1], KEYS[2]
return redis.call('EXISTS', job) == 0 and redis.call('ZREM', jobs, ARGV[1]) or 0
