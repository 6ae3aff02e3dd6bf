-- find-api-key: what is kept of an API key. Each server has a name of its own for it (see `this_server` in `lib/app.lua`): one
-- that has taken another's place may have heard nothing of a revocation, and has nothing under its own name yet.
-- KEYS[1]  `cs:{key <hash> <since>}`
-- Result   [the name for this server, the key as JSON or false]

local name = KEYS[1] .. ':' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
return { name, redis.call('GET', name) }
