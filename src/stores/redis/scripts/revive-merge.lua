-- revive-merge: messages, guesses and money that PostgreSQL knows are put beside what is here. Whatever was further on
-- stays: it never goes back.
-- Needs: app limits guesses slots sending turn
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, since, token, patienceMs, messages: records with due_at, leased_until and claims,
--          numbers: [{number, guesses}], budgets: [{day, spent}]}
-- Result   `merged`, or `lost`

local function is_newer(given, known)
  return not known or (known.revision or 0) < (given.revision or 0)
end

for _, given in ipairs(step.messages) do
  if is_newer(given, get_record('m:' .. given.id)) then
    local _, leaves_at = write_message(given)
    index_by_number(given.number, 'm:' .. given.id, leaves_at)
  end
end

for _, given in ipairs(step.numbers) do
  local key = number_key_of(given.number)
  for _, lane in ipairs({ 'open', 'trusted' }) do
    local guesses = given.guesses[lane]
    if guesses then
      redis.call('HSET', key, lane, guesses_text(join_guesses(guesses, read_guesses(given.number, lane))))
      redis.call('PEXPIRE', key, whole(MEMORY_MS))
    end
  end
end

for _, given in ipairs(step.budgets) do
  local key = budget_key(given.day)
  if tonumber(redis.call('GET', key) or '0') < tonumber(given.spent) then
    redis.call('SET', key, given.spent, 'PX', MEMORY_MS)
  end
end
return 'merged'
