-- cancel: ends a pending verification.
-- Needs: app limits guesses slots warm
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, id}
-- Result   the outcome as JSON; `cold`

local verification = get_record('v:' .. step.id)
if not verification then return outcome({ kind = 'unknown' }) end
local state = state_at(verification)
if state ~= 'pending' then return ended(state) end
local text = settle(verification, 'canceled')
tell_history()
return outcome_with(text, { kind = 'canceled' })
