-- expect-report: reports with that id belong to that message from now on.
-- KEYS[1]  `cs:{report <provider> <id>}`
-- ARGV[1]  app
-- ARGV[2]  id of the message
-- ARGV[3]  for how long, in ms
-- Result   a report that came before, as JSON, or false. It stays until it is taken (`HDEL`), in case that this is
--          tried again; of another message's it is none.

local known = redis.call('HMGET', KEYS[1], 'message', 'early')
redis.call('HSET', KEYS[1], 'app', ARGV[1], 'message', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if known[1] and known[1] ~= ARGV[2] then
  redis.call('HDEL', KEYS[1], 'early')
  return false
end
return known[2]
