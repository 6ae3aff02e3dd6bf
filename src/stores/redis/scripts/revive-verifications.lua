-- revive-verifications: verifications that PostgreSQL knows are put beside those that are here. Whatever was further on
-- stays: it never goes back. There may be very many, so what is not here yet goes in as it comes.
-- Needs: app limits guesses slots turn
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, since, token, patienceMs}
-- ARGV[2…] for each its id, number, lane, purpose, subject (behind `=`, or nothing), expires_at, and its record as JSON
-- Result   `merged`, or `lost`

local function merge(known, given)
  local merged, other = known, given
  if (known.revision or 0) < (given.revision or 0) then merged, other = given, known end
  merged.attempts = math.max(merged.attempts, other.attempts)
  if merged.state == 'pending' and other.state ~= 'pending' then
    merged.state = other.state
    merged.sealed_code = null
  end
  write_verification(merged)
end

for i = 2, #ARGV, 7 do
  local id, number, lane, purpose, subject, expires_at, text = unpack(ARGV, i, i + 6)
  local leaves_at = tonumber(expires_at) + VERIFICATION_KEPT_MS
  local known = get_record('v:' .. id)
  if known then
    merge(known, cjson.decode(text))
  else
    redis.call('SET', prefix .. 'v:' .. id, text, 'PX', whole(math.max(leaves_at - now, VERIFICATION_KEPT_MS)))
  end
  local index = prefix .. 'of:' .. number
  redis.call('ZADD', index, whole(leaves_at), 'v:' .. id)
  redis.call('PEXPIRE', index, whole(MEMORY_MS))
  -- Ids sort by the moment they were made.
  if subject ~= '' then
    local key = subject_key(string.sub(subject, 2), purpose, lane)
    if (redis.call('GET', key) or '') < id then redis.call('SET', key, id, 'PX', whole(MEMORY_MS)) end
  else
    local key, field = number_key_of(number), live_field(lane, purpose)
    if (redis.call('HGET', key, field) or '') < id then
      redis.call('HSET', key, field, id)
      redis.call('PEXPIRE', key, whole(MEMORY_MS))
    end
  end
end
return 'merged'
