-- revive-forget: throws away what is worth nothing.
-- Needs: app turn
-- KEYS[1]  the app's marker
-- ARGV[1]  {since, token, patienceMs}
-- ARGV[2…] keys of the app
-- Result   `forgotten`, or `lost`

redis.call('UNLINK', unpack(ARGV, 2))
return 'forgotten'
