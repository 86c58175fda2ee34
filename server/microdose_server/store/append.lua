-- Publish more of a live sequence: the manifest, its events and what the sequence's record says change together.
--
-- KEYS  1 fence · 2 manifest · 3 events · 4 sequence
-- ARGV  1 token · 2 manifest JSON · 3 most events to keep · 4 how many values of field, value, ... follow
--       5.. field, value, ... · then event id, event JSON, ...
-- Returns the first event's id, also when it is repeated; FENCED for an older attempt.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED a newer attempt has taken over, or the sequence was removed')
end
local function number(id)
  return tonumber(string.match(id, '^%d+'))
end
local events = 5 + tonumber(ARGV[4])
local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
if last and number(last[1]) >= number(ARGV[events]) then
  return ARGV[events]
end
for i = events, #ARGV, 2 do
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], ARGV[i], 'event', ARGV[i + 1])
end
redis.call('SET', KEYS[2], ARGV[2])
for i = 5, events - 1, 2 do
  redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1])
end
return ARGV[events]
