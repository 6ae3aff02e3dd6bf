-- Which verification is the one of a slot, and how it ends. Needs: app, limits, guesses

-- An app that makes purposes up as it goes must not make a number's hash longer with each.
local LIVE_BEFORE_CLEANING = 8
local LIVE = 'live '

local function state_at(verification)
  if verification.state == 'pending' and now >= verification.expires_at then return 'expired' end
  return verification.state
end

local function has_attempt_left(verification)
  return verification.attempts < verification.max_attempts
end

local function subject_key(subject, purpose, lane)
  return prefix .. 's:' .. lane .. ':' .. #purpose .. ':' .. purpose .. ':' .. subject
end

local function live_field(lane, purpose)
  return LIVE .. lane .. ' ' .. purpose
end

-- The verification that was started last in the slot, whatever its state. Reads two keys in any case.
local function live_in(number, subject, purpose, lane)
  local id
  if subject ~= nil and subject ~= null then
    id = redis.call('GET', subject_key(subject, purpose, lane))
  else
    id = redis.call('HGET', number_key_of(number), live_field(lane, purpose))
  end
  local verification = get_record(id and 'v:' .. id or 'none')
  return id and verification or nil
end

-- Does it hold its slot, where one verification is kept for its whole life?
local function is_kept(verification)
  return now < verification.expires_at and (verification.state == 'pending' or verification.state == 'exhausted')
end

local function forget_ended(key)
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, #LIVE) == LIVE then
      local verification = get_record('v:' .. fields[i + 1])
      if not verification or not is_kept(verification) then redis.call('HDEL', key, fields[i]) end
    end
  end
end

local function set_live(verification)
  if verification.subject ~= null then
    local key = subject_key(verification.subject, verification.purpose, verification.lane)
    redis.call('SET', key, verification.id, 'PX', whole(MEMORY_MS))
    return
  end
  local key = number_key_of(verification.number)
  -- With its three other fields.
  if redis.call('HLEN', key) >= LIVE_BEFORE_CLEANING + 3 then forget_ended(key) end
  redis.call('HSET', key, live_field(verification.lane, verification.purpose), verification.id)
  redis.call('PEXPIRE', key, whole(MEMORY_MS))
end

local function ended(state)
  return outcome({ kind = 'ended', state = state })
end

-- A code that is worth nothing any more is not kept.
local function settle(verification, state)
  verification.state = state
  if state ~= 'pending' then verification.sealed_code = null end
  return put_verification(verification)
end

local function settle_approved(verification)
  return outcome_with(settle(verification, 'approved'), { kind = 'approved' })
end

local function approve(verification)
  -- Whoever reads a mailbox has shown nothing of a number: that gives nobody the guesses at it back.
  local is_held = not verification.sent_by_email or verification.email == verification.number
  if is_held then clear_guesses(verification.number, verification.lane) end
  return settle_approved(verification)
end
