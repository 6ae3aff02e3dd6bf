-- start: takes all buckets or none, then repeats the live verification of the slot or replaces it.
-- Needs: app limits guesses slots sending warm
-- KEYS[1]  the app's marker
-- ARGV[1]  StartStep as JSON, its verification and message as records; `bound`: most entries of the stream
-- Result   StartOutcome as JSON; `cold`, or `full` when the stream has no room

local wanted = step.verification

local replayed = repeated_request(step.idempotency)
if replayed then return replayed end
if is_behind(step.bound) then return 'full' end
local refusal, budget, take = look_at_all(wanted.number, wanted.lane)
if refusal then return refusal end

local live = live_in(wanted.number, wanted.subject, wanted.purpose, wanted.lane)
local is_same_number = live ~= nil and live.number == wanted.number
if step.keep and is_same_number and is_kept(live) then
  local what
  if live.state == 'exhausted' or not has_attempt_left(live) then
    what = 'attempts'
  elseif live.sends >= live.max_sends then
    what = 'sends'
  end
  if what then return outcome({ kind = 'used-up', what = what, retryAfterMs = live.expires_at - now }) end
end

local is_live = live ~= nil and state_at(live) == 'pending'
local function is_worth_repeating()
  return live.expires_at - now >= math.min(120000, (live.expires_at - live.created_at) / 2)
end
local is_repeated = is_live
  and is_same_number
  and (step.keep or (step['repeat'] and live.sends < live.max_sends and is_worth_repeating()))
local is_recoded = is_repeated and wanted.sealed_code ~= null and wanted.digest_by_slot ~= live.digest_by_slot
local recode = step.recode
if is_recoded and (recode == nil or recode.id ~= live.id) then return outcome({ kind = 'changed', id = live.id }) end

take()
local started
if is_repeated then
  started = live
  started.sends = live.sends + 1
  started.channel = wanted.channel
  started.resend_at = now + resend_delay(started.sends, step.delaysSeconds)
  started.ending = wanted.ending
  if wanted.email ~= null then started.email = wanted.email end
  started.wording = wanted.wording
  started.sent_by_email = live.sent_by_email or wanted.channel == 'email'
  add_message_id(started, step.message.id)
  if is_recoded then
    -- As after a resend with a new code: the older one is worth nothing, a managed provider's neither.
    started.digest_by_id = recode.digest_by_id
    started.digest_by_slot = recode.digest_by_slot
    started.sealed_code = recode.sealed_code
    started.code_length = wanted.code_length
    started.code_number = live.code_number + 1
    started.managed_provider = null
    started.managed_id = null
    started.own_code_sent = true
  end
else
  -- Two codes for one slot would be two chances a guess.
  if is_live then settle(live, 'canceled') end
  started = wanted
  started.message_ids = step.message.id
  set_live(started)
  index_by_number(started.number, 'v:' .. started.id, started.expires_at + VERIFICATION_KEPT_MS)
end
local text = put_verification(started)
add_message_for(started, step.message)
keep_key(started.number, step.idempotency)
tell_history()
budget.kind = 'started'
return outcome_with(text, budget)
