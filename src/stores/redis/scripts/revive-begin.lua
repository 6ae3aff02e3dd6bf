-- revive-begin: of all nodes that find an app cold, one is to revive it. Called again, it says that it is at it still.
-- Needs: app
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, token: which no other call has, patienceMs: when others may take over}
-- Result   `warm`, `busy` when another one is at it, or a list: whether what is here is worth nothing (1 or 0), and the
--          ids of the messages that are due here

if epoch then return 'warm' end
local reviving = prefix .. 'reviving'
local holder = redis.call('GET', reviving)
if holder and holder ~= step.token then return 'busy' end
redis.call('SET', reviving, step.token, 'PX', whole(step.patienceMs))
return { is_stale and 1 or 0, redis.call('ZRANGE', prefix .. 'due', 0, -1) }
