-- claim-due: hands out messages that have to be looked at, each to one caller.
-- Needs: app warm
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, leaseUntil, limit}
-- Result   {due: [{message, verification?}, …], absent: [ids that are not here any more]} as JSON; `cold`

local due = {}
local absent = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'due', '-inf', whole(now), 'LIMIT', 0, step.limit)) do
  local message = get_record('m:' .. id)
  if message then
    message.due_at = step.leaseUntil
    message.leased_until = step.leaseUntil
    message.claims = message.claims + 1
    put_message(message, false)
    local verification = message.verification_id ~= null and get_record('v:' .. message.verification_id) or nil
    due[#due + 1] = cjson.encode({ message = message, verification = verification })
  else
    absent[#absent + 1] = cjson.encode(id)
  end
end
tell_history()
-- Whoever asks again and again keeps the app warm.
redis.call('PEXPIRE', KEYS[1], MEMORY_MS)
return '{"due":[' .. table.concat(due, ',') .. '],"absent":[' .. table.concat(absent, ',') .. ']}'
