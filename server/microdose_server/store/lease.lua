-- Renew the lease of the newest attempt.
--
-- KEYS  1 fence · 2 lease
-- ARGV  1 token · 2 milliseconds
-- Returns 1; FENCED when a newer attempt has taken over, the job was cancelled, or the sequence removed.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED a newer attempt has taken over')
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
