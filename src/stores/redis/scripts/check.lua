-- check: counts one attempt, compares the digests and settles.
-- Needs: app limits guesses slots warm
-- KEYS[1]  the app's marker
-- ARGV[1]  CheckStep as JSON, the digest as in records; `bound`: most entries of the stream
-- Result   CheckOutcome as JSON; `cold`, or `full` when the stream has no room

if is_behind(step.bound) then return 'full' end
local limited, save_buckets = take_buckets(step.buckets, nil)
if limited then return limited end

local function compare(verification, digest)
  local number, lane = verification.number, verification.lane
  local lock = locked_for(read_guesses(number, lane), step.guesses)
  if lock > 0 then return locked(lock) end
  verification.attempts = verification.attempts + 1
  -- A code of ours that never went out is a code that nobody can know: it must not be guessed either. Lua keeps one
  -- copy of each string and compares where it lies, so the time tells nothing of the digest.
  if verification.own_code_sent and digest == step.digest then return approve(verification) end
  save_buckets()
  if verification.managed_provider ~= null then
    local text = put_verification(verification)
    count_guess(number, lane, step.guesses)
    return outcome_with(text, { kind = 'ask' })
  end
  local text = settle(verification, has_attempt_left(verification) and 'pending' or 'exhausted')
  count_guess(number, lane, step.guesses)
  return outcome_with(text, { kind = 'wrong', attemptsLeft = verification.max_attempts - verification.attempts })
end

local function nothing_to_compare()
  return outcome({ kind = 'wrong', attemptsLeft = 0 })
end

local function is_open(verification)
  return state_at(verification) == 'pending' and has_attempt_left(verification)
end

local function check_by_id()
  local verification = get_record('v:' .. step.id)
  local is_meant = verification
    and (step.purpose == nil or step.purpose == verification.purpose)
    and (step.subject == nil or step.subject == verification.subject)
  if not is_meant then return outcome({ kind = 'unknown' }) end
  local state = state_at(verification)
  if state ~= 'pending' then return ended(state) end
  if not has_attempt_left(verification) then return ended('exhausted') end
  if step.codeLength ~= verification.code_length then
    return outcome({ kind = 'malformed', codeLength = verification.code_length })
  end
  return compare(verification, verification.digest_by_id)
end

-- As long as a record is, and with as much in it to read and to write.
local function stand_in()
  local record = {}
  for i = 1, 32 do record['field_of_a_record_' .. i] = i % 4 == 0 and string.rep('0', 66) or null end
  local text = cjson.encode(record)
  redis.call('SET', prefix .. 'none', text, 'PX', HOUR_MS)
  tell('x', text)
end

-- Whether there is something to compare with or not: the same reads, the same writes, the same answer.
local function check_by_slot()
  local live = live_in(step.number, step.subject, step.purpose, step.lane)
  -- Who is signed in learns of nobody else's number, so there is nothing to level out.
  if step.number == nil then
    if not live or not is_open(live) then
      save_buckets()
      return nothing_to_compare()
    end
    return compare(live, live.digest_by_slot)
  end
  -- A subject's code is not bound to the number: this comparison is what keeps it from another one.
  if live and live.number == step.number and is_open(live) then return compare(live, live.digest_by_slot) end
  local lock = locked_for(read_guesses(step.number, step.lane), step.guesses)
  if lock > 0 then return locked(lock) end
  save_buckets()
  stand_in()
  count_guess(step.number, step.lane, step.guesses)
  return nothing_to_compare()
end

local result
if step.by == 'id' then
  result = check_by_id()
else
  result = check_by_slot()
end
tell_history()
return result
