-- Note something that a job keeps of its work for another attempt, for the newest attempt only.
--
-- KEYS  1 fence · 2 hash
-- ARGV  1 token · 2 field · 3 value
-- Returns what the field held before; FENCED for an older attempt.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED a newer attempt has taken over, or the sequence was removed')
end
local before = redis.call('HGET', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return before
