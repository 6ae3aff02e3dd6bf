-- forget-due: a message that is kept nowhere any more is not to be looked at.
-- Needs: app warm
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, id}
-- Result   `forgotten`; `cold`

if redis.call('EXISTS', prefix .. 'm:' .. step.id) == 0 then redis.call('ZREM', prefix .. 'due', step.id) end
return 'forgotten'
