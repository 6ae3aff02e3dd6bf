-- revive-leave: a turn that came to nothing is over, and the next one need not wait.
-- Needs: app turn
-- KEYS[1]  the app's marker
-- ARGV[1]  {since, token, patienceMs}
-- Result   `left`, or `lost`

redis.call('DEL', reviving)
return 'left'
