-- record-email: an e-mail is to carry the code.
-- Needs: app warm
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, id}
-- Result   `recorded`, or `unknown` when the app has no such verification; `cold`

local verification = get_record('v:' .. step.id)
if not verification then return 'unknown' end
verification.sent_by_email = true
put_verification(verification)
tell_history()
return 'recorded'
