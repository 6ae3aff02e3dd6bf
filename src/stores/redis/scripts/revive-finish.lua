-- revive-finish: from now on this server has what is live.
-- Needs: app turn
-- KEYS[1]  the app's marker
-- ARGV[1]  {since, token, patienceMs, epoch: greater than any before}
-- Result   `warm`, or `lost`

redis.call('SET', KEYS[1], this_server() .. ' ' .. whole(step.epoch), 'PX', MEMORY_MS)
redis.call('DEL', reviving)
return 'warm'
