-- restore-message: takes a message up again that PostgreSQL alone has still.
-- Needs: app warm
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, message: a record with due_at, leased_until and claims}
-- Result   `restored`, or `gone` when its number was erased meanwhile; `cold`

local message = step.message
if redis.call('EXISTS', prefix .. 'gone:' .. message.number) == 1 then return 'gone' end
if redis.call('EXISTS', prefix .. 'm:' .. message.id) == 1 then return 'restored' end
local _, leaves_at = write_message(message)
index_by_number(message.number, 'm:' .. message.id, leaves_at)
return 'restored'
