-- resend: one more send of a verification, under all that a start is under.
-- Needs: app limits guesses slots sending warm
-- KEYS[1]  the app's marker
-- ARGV[1]  ResendStep as JSON, its message as a record, bytes as in records; `bound`: most entries of the stream
-- Result   ResendOutcome as JSON; `cold`, or `full` when the stream has no room

local replayed = repeated_request(step.idempotency)
if replayed then return replayed end
if is_behind(step.bound) then return 'full' end
local verification = get_record('v:' .. step.id)
if not verification then return outcome({ kind = 'unknown' }) end
local state = state_at(verification)
if state ~= 'pending' then return ended(state) end
if verification.sends >= verification.max_sends then return outcome({ kind = 'sends-exhausted' }) end
if now < verification.resend_at then
  return outcome({ kind = 'too-early', retryAfterMs = verification.resend_at - now })
end
if step.code ~= nil and step.code.replaces ~= verification.code_number then return outcome({ kind = 'changed' }) end
local refusal, budget, take = look_at_all(verification.number, verification.lane)
if refusal then return refusal end

take()
verification.sends = verification.sends + 1
verification.channel = step.channel
verification.resend_at = now + resend_delay(verification.sends, step.delaysSeconds)
if step.ending ~= nil then verification.ending = step.ending end
verification.sent_by_email = verification.sent_by_email or step.channel == 'email'
if step.code ~= nil then
  verification.code_number = step.code.codeNumber
  verification.digest_by_id = step.code.digest_by_id
  verification.digest_by_slot = step.code.digest_by_slot
  -- A new code ends whatever was there before, a managed provider's too.
  verification.managed_provider = null
  verification.managed_id = null
end
add_message_id(verification, step.message.id)
local text = put_verification(verification)
add_message_for(verification, step.message)
keep_key(verification.number, step.idempotency)
tell_history()
budget.kind = 'resent'
return outcome_with(text, budget)
