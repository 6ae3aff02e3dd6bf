-- revive-finish: from now on this server has what is live.
-- Needs: app
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, token, epoch: greater than any before}
-- Result   `warm`, or `lost` when another one revives the app

if epoch then return 'warm' end
local reviving = prefix .. 'reviving'
if redis.call('GET', reviving) ~= step.token then return 'lost' end
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
redis.call('SET', KEYS[1], server .. ' ' .. whole(step.epoch), 'PX', MEMORY_MS)
redis.call('DEL', reviving)
return 'warm'
