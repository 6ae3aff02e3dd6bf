-- settle-check: what a managed provider said about a code that `check` let through.
-- Needs: app limits guesses slots warm
-- KEYS[1]  the app's marker
-- ARGV[1]  SettleCheckStep as JSON
-- Result   the outcome as JSON; `cold`

local verification = get_record('v:' .. step.id)
if not verification then return outcome({ kind = 'unknown' }) end
local state = verification.state
-- Not `expired`: the check came in time. `exhausted` by a wrong one that was answered sooner, with this one under way.
if state ~= 'pending' and state ~= 'exhausted' then return ended(state) end
local result
if step.verdict == 'approved' and step.codeNumber == verification.code_number then
  result = approve(verification)
else
  if step.verdict == 'unanswered' then
    uncount_guess(verification.number, verification.lane, step.guesses)
    verification.attempts = math.max(0, verification.attempts - 1)
  end
  local left = math.max(0, verification.max_attempts - verification.attempts)
  local text = settle(verification, has_attempt_left(verification) and state or 'exhausted')
  result = outcome_with(text, { kind = 'wrong', attemptsLeft = left })
end
tell_history()
return result
