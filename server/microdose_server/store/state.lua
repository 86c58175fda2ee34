-- Change a sequence's state on behalf of its job, in one step with the fence that keeps older attempts out.
--
-- KEYS  1 fence · 2 sequence
-- ARGV  1 job, as JSON · 2 token, or '' to take over from whoever had it · 3.. field, value, ...
-- Returns the token that may now write; 0 when the sequence is no longer in this job's hands;
-- FENCED when a newer attempt has taken over.
local state = redis.call('HGET', KEYS[2], 'state')
if redis.call('HGET', KEYS[2], 'job') ~= ARGV[1] or (state ~= '"queued"' and state ~= '"running"') then
  return 0
end
local token = ARGV[2]
if token == '' then
  token = redis.call('INCR', KEYS[1])
elseif redis.call('GET', KEYS[1]) ~= token then
  return redis.error_reply('FENCED a newer attempt has taken over')
end
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
return tonumber(token)
