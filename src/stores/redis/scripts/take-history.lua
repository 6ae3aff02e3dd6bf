-- take-history: the next entries to be moved. Those that somebody took and did not finish come first: of all nodes one
-- is at it at a time (a lock in PostgreSQL), so they are nobody's.
-- Needs: app
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, limit}
-- Result   [1 when the server may lack something or else 0, [[id, [kind, text, …]], …]]

local history = prefix .. 'history'
local GROUP, CONSUMER = 'postgres', 'mover'

local function read(from)
  return redis.pcall('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', step.limit, 'STREAMS', history, from)
end

local taken = read('0')
if taken and taken.err then
  if not string.find(taken.err, 'NOGROUP', 1, true) then return taken end
  redis.call('XGROUP', 'CREATE', history, GROUP, '0', 'MKSTREAM')
  redis.call('PEXPIRE', history, HISTORY_KEPT_MS)
  taken = read('0')
end
if not taken or #taken[1][2] == 0 then taken = read('>') end
return { epoch and 0 or 1, taken and taken[1][2] or {} }
