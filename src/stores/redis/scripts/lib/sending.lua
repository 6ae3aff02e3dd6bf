-- What a request that sends something is counted in, and what it leaves behind. Needs: app, limits, guesses, slots

-- What a request with this key was answered, if there was one.
local function repeated_request(idempotency)
  if idempotency == nil then return nil end
  local kept = get_record('i:' .. idempotency.key)
  if not kept or kept.expires_at <= now then return nil end
  if kept.fingerprint ~= idempotency.fingerprint then return outcome({ kind = 'conflict' }) end
  return outcome({ kind = 'replayed', answer = kept.answer })
end

local function keep_key(number, idempotency)
  if idempotency == nil then return end
  local name = 'i:' .. idempotency.key
  local kept = { fingerprint = idempotency.fingerprint, expires_at = idempotency.expiresAt }
  redis.call('SET', prefix .. name, cjson.encode(kept), 'PX', whole(math.max(idempotency.expiresAt - now, 1) + HOUR_MS))
  index_by_number(number, name, idempotency.expiresAt)
end

local function budget_key(day)
  return prefix .. 'budget:' .. day
end

local function spend(day, micros)
  local key = budget_key(day)
  local after = redis.call('INCRBY', key, whole(micros))
  -- What is given back was taken, and forgotten since: nobody may spend it twice.
  if after < 0 then
    after = 0
    redis.call('SET', key, '0')
  end
  redis.call('PEXPIRE', key, whole(MEMORY_MS))
  tell('b', cjson.encode({ day = day, spent = whole(after) }))
end

-- The whole amount or nothing. Returns the outcome `over-budget`, or nil and what is taken.
local function look_at_budget(budget)
  if budget == nil then return nil, {} end
  local before = tonumber(redis.call('GET', budget_key(budget.day)) or '0')
  local after = before + budget.micros
  if after > budget.maxMicros then return outcome({ kind = 'over-budget' }) end
  return nil, { beforeMicros = whole(before), afterMicros = whole(after) }
end

-- The lock, the buckets and the budget. Returns a refusal, or nil, what is taken of the budget, and `take`.
local function look_at_all(number, lane)
  local lock = locked_for(read_guesses(number, lane), step.guesses)
  if lock > 0 then return locked(lock) end
  local limited, save = take_buckets(step.buckets, number_key_of(number))
  if limited then return limited end
  local over, taken = look_at_budget(step.budget)
  if over then return over end
  return nil, taken, function()
    save()
    if step.budget ~= nil then spend(step.budget.day, step.budget.micros) end
  end
end

-- When the send after `sends` sends may follow.
local function resend_delay(sends, delays)
  return (delays[math.min(sends, #delays)] or 0) * 1000
end

local function add_message_id(verification, id)
  if verification.message_ids == null then
    verification.message_ids = id
  else
    verification.message_ids = verification.message_ids .. ' ' .. id
  end
end

local function add_message(message)
  message.due_at = step.orphanedAt
  message.leased_until = null
  message.claims = 0
  put_message(message, true)
end

-- Keeps the message of a verification that was started, repeated or sent again.
local function add_message_for(verification, message)
  message.verification_id = verification.id
  message.code_number = verification.code_number
  message.valid_until = verification.expires_at
  add_message(message)
end
