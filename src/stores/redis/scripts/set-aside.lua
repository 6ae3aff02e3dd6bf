-- set-aside: an entry that PostgreSQL does not take is kept where it is in nobody's way, for an operator to look at.
-- Needs: app
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, id, most: entries that may be kept there}
-- Result   `done`, or `full` when nothing was done

local history = prefix .. 'history'
local aside = prefix .. 'refused'
if redis.call('XLEN', aside) >= step.most then return 'full' end
local entry = redis.call('XRANGE', history, step.id, step.id)[1]
if entry then
  redis.call('XADD', aside, '*', unpack(entry[2]))
  redis.call('PEXPIRE', aside, HISTORY_KEPT_MS)
end
redis.call('XACK', history, 'postgres', step.id)
redis.call('XDEL', history, step.id)
return 'done'
