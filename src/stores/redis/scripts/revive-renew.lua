-- revive-renew: a turn that takes long is not over yet.
-- Needs: app turn
-- KEYS[1]  the app's marker
-- ARGV[1]  {since, token, patienceMs}
-- Result   `renewed`, or `lost`

return 'renewed'
