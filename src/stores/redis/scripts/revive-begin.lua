-- revive-begin: of all nodes that find an app cold, one is to revive it, on this server: see `lib/turn.lua`.
-- Needs: app
-- KEYS[1]  the app's marker
-- ARGV[1]  {since, token: which no other turn has, patienceMs: when others may take over}
-- Result   `warm`, `busy` when another one is at it, or a list: whether what is here is worth nothing (1 or 0), and the
--          ids of the messages that are due here

if epoch then return 'warm' end
local reviving = prefix .. 'reviving'
local server = this_server()
-- A replica that has taken its primary's place has the turn that was begun there, which is lost.
local holder = redis.call('GET', reviving)
if holder and string.match(holder, ' (%x+)$') == server then return 'busy' end
redis.call('SET', reviving, step.token .. ' ' .. server, 'PX', whole(step.patienceMs))
return { is_stale and 1 or 0, redis.call('ZRANGE', prefix .. 'due', 0, -1) }
