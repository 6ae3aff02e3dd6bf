-- drop-history: entries that PostgreSQL has.
-- Needs: app
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, ids}
-- Result   how many are left

local history = prefix .. 'history'
redis.call('XACK', history, 'postgres', unpack(step.ids))
redis.call('XDEL', history, unpack(step.ids))
return redis.call('XLEN', history)
