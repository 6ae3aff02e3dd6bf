-- revive-forget: throws away what is worth nothing, unless another one revives the app by now, or has done so.
-- Needs: app
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, since, token}
-- ARGV[2…] keys of the app
-- Result   `forgotten`, or `lost`

if epoch or redis.call('GET', prefix .. 'reviving') ~= step.token then return 'lost' end
redis.call('UNLINK', unpack(ARGV, 2))
return 'forgotten'
