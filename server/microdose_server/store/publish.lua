-- Publish: the manifest, its events and the sequence's state change together, once, for the newest attempt only.
-- What was kept for another attempt goes with the same step.
--
-- KEYS  1 fence · 2 manifest · 3 events · 4 sequence · 5 drafts · 6 checkpoints
-- ARGV  1 token · 2 publication · 3 manifest JSON · 4 most events to keep · 5 results JSON
--       6.. event id, event JSON, ...
-- Returns the id of the publication's first event, also when it is repeated; FENCED for an older attempt.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED a newer attempt has taken over, or the sequence was removed')
end
local publication = 'published:' .. ARGV[2]
local first = redis.call('HGET', KEYS[4], publication)
if first then
  return first
end
for i = 6, #ARGV, 2 do
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], ARGV[i], 'event', ARGV[i + 1])
end
redis.call('SET', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[4], publication, ARGV[6], 'state', '"published"', 'results', ARGV[5], 'error', 'null')
redis.call('DEL', KEYS[5], KEYS[6])
return ARGV[6]
