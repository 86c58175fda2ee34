-- Write a job's record and its event, unless the job has ended or a newer attempt writes it.
--
-- KEYS  1 job · 2 its events
-- ARGV  1 token · 2 most events to keep · 3 event JSON · 4.. field, value, ...
-- Returns 1 when written, 0 when the job has ended or is gone, FENCED for an older attempt.
local ended = redis.call('HGET', KEYS[1], 'ended')
if not ended or ended ~= 'null' then
  return 0
end
if tonumber(redis.call('HGET', KEYS[1], 'token') or '0') > tonumber(ARGV[1]) then
  return redis.error_reply('FENCED a newer attempt has taken over')
end
redis.call('HSET', KEYS[1], 'token', ARGV[1])
for i = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[3])
return 1
