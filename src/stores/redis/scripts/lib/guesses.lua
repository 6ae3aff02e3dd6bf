-- The budget of wrong guesses at a number: the same rules as in `domain/guess-budget.ts`. Needs: app, limits
-- They are kept in the number's hash, in a field for each lane, as the JSON that PostgreSQL keeps too.

local LONGEST_LOCK_WINDOWS = 7

local function number_key_of(number)
  return prefix .. 'n:' .. number
end

local function read_guesses(number, lane)
  local text = redis.call('HGET', number_key_of(number), lane)
  return text and cjson.decode(text) or { log = {}, lockedUntil = 0, locks = 0 }
end

local function guesses_text(guesses)
  return string.format(
    '{"log":%s,"lockedUntil":%.0f,"locks":%.0f}',
    log_text(guesses.log),
    guesses.lockedUntil,
    guesses.locks
  )
end

-- For the history: what both lanes are after the step.
local function tell_guesses(number)
  local lanes = redis.call('HMGET', number_key_of(number), 'open', 'trusted')
  local parts = {}
  if lanes[1] then parts[#parts + 1] = '"open":' .. lanes[1] end
  if lanes[2] then parts[#parts + 1] = '"trusted":' .. lanes[2] end
  local guesses = #parts == 0 and 'null' or '{' .. table.concat(parts, ',') .. '}'
  tell('g', '{"number":' .. cjson.encode(number) .. ',"guesses":' .. guesses .. '}')
end

local function save_guesses(number, lane, guesses)
  local key = number_key_of(number)
  redis.call('HSET', key, lane, guesses_text(guesses))
  redis.call('PEXPIRE', key, whole(MEMORY_MS))
  tell_guesses(number)
end

local function clear_guesses(number, lane)
  if redis.call('HDEL', number_key_of(number), lane) == 1 then tell_guesses(number) end
end

-- How long the number is locked from now on; 0 when a guess is allowed.
local function locked_for(guesses, policy)
  return math.max(0, guesses.lockedUntil - now, wait_for(guesses.log, policy.max, policy.windowMs))
end

local function locked(retry_after)
  return outcome({ kind = 'locked', retryAfterMs = retry_after })
end

-- Counts one wrong guess; the one that uses the budget up locks the number.
local function count_guess(number, lane, policy)
  local guesses = read_guesses(number, lane)
  guesses.log = append(guesses.log, { policy })
  if wait_for(guesses.log, policy.max, policy.windowMs) > 0 then
    local windows = math.min(2 ^ guesses.locks, LONGEST_LOCK_WINDOWS)
    guesses.lockedUntil = now + windows * policy.windowMs
    guesses.locks = guesses.locks + 1
  end
  save_guesses(number, lane, guesses)
end

-- Takes the last guess back, with the lock that it brought about.
local function uncount_guess(number, lane, policy)
  local guesses = read_guesses(number, lane)
  local log = guesses.log
  local last = #log
  if last == 0 then return end
  if log[last] > 1 then
    log[last] = log[last] - 1
  else
    log[last] = nil
    log[last - 1] = nil
  end
  if guesses.lockedUntil > now and wait_for(log, policy.max, policy.windowMs) == 0 then
    guesses.lockedUntil = 0
    guesses.locks = math.max(0, guesses.locks - 1)
  end
  save_guesses(number, lane, guesses)
end

-- What two servers know of one number: no guess has room that had none with either of them.
local function join_guesses(a, b)
  return {
    log = join_logs(a.log, b.log),
    lockedUntil = math.max(a.lockedUntil, b.lockedUntil),
    locks = math.max(a.locks, b.locks),
  }
end
