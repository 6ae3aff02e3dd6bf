-- read: records as they are.
-- Needs: app warm
-- KEYS[1]  the app's marker
-- ARGV[1]  {names: what follows the app's prefix in their keys}
-- Result   a list of texts, false where there is none; `cold`

local keys = {}
for i, name in ipairs(step.names) do keys[i] = prefix .. name end
return redis.call('MGET', unpack(keys))
