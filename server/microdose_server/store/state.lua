-- Change a sequence's state on behalf of its job, in one step with the fence that keeps older attempts out.
--
-- KEYS  1 fence · 2 sequence
-- ARGV  1 job, as JSON · 2 the token that must be the newest, or '' for whichever is
--       3 'new' to shut that one out too, else 'same' · 4.. field, value, ...
-- Returns the token that may now write; 0 when the sequence is no longer in this job's hands;
-- FENCED when a newer attempt has taken over.
local state = redis.call('HGET', KEYS[2], 'state')
if redis.call('HGET', KEYS[2], 'job') ~= ARGV[1] or (state ~= '"queued"' and state ~= '"running"') then
  return 0
end
local token = redis.call('GET', KEYS[1]) or '0'
if ARGV[2] ~= '' and ARGV[2] ~= token then
  return redis.error_reply('FENCED a newer attempt has taken over')
end
if ARGV[3] == 'new' then
  token = redis.call('INCR', KEYS[1])
end
for i = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
return tonumber(token)
