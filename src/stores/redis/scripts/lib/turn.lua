-- What a turn at reviving an app asks before it does anything: it is lost when another one is at it or has done it, and when
-- this is not the server that it began on, or has been emptied since: what it put there before is not here. It stays lost
-- then, for a turn is taken by `revive-begin` alone. Needs: app

local reviving = prefix .. 'reviving'
if epoch or redis.call('GET', reviving) ~= step.token .. ' ' .. this_server() then return 'lost' end
redis.call('PEXPIRE', reviving, whole(step.patienceMs))
