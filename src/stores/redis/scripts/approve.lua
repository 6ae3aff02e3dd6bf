-- approve: the caller vouches that the code was right; wrong guesses stay counted.
-- Needs: app limits guesses slots warm
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, id}
-- Result   the outcome as JSON; `cold`

local verification = get_record('v:' .. step.id)
if not verification then return outcome({ kind = 'unknown' }) end
local state = state_at(verification)
if state ~= 'pending' then return ended(state) end
local result = settle_approved(verification)
tell_history()
return result
