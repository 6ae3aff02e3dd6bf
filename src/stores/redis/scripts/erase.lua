-- erase: deletes what is kept of a number, a bounded part of it; starts and guesses stay.
-- Needs: app limits guesses slots warm
-- KEYS[1]  the app's marker
-- ARGV[1]  {number, answer, limit}
-- Result   [how many names are left to erase, 1 when the app was not revived since the number was erased last, or else 0]; `cold`

-- Whoever has read a message just now may not put it back. One that is made later stays longer by itself than that.
local TOMBSTONE_MS = MESSAGE_KEPT_MS
local erased_in = redis.call('SET', prefix .. 'gone:' .. step.number, whole(epoch), 'PX', TOMBSTONE_MS, 'GET')

local index = prefix .. 'of:' .. step.number
local found = redis.call('ZREVRANGE', index, 0, step.limit - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local name, leaves_at = found[i], tonumber(found[i + 1])
  local kind, id = string.match(name, '^(%a):(.*)$')
  local kept = get_record(name)
  if kept and kind == 'i' then
    kept.answer = step.answer
    -- A key that has ended may be another number's by now.
    if kept.expires_at <= leaves_at then redis.call('SET', prefix .. name, cjson.encode(kept), 'KEEPTTL') end
  elseif kept then
    redis.call('DEL', prefix .. name)
    if kind == 'm' then redis.call('ZREM', prefix .. 'due', id) end
    if kind == 'v' and kept.subject ~= null then
      local key = subject_key(kept.subject, kept.purpose, kept.lane)
      if redis.call('GET', key) == kept.id then redis.call('DEL', key) end
    end
  end
  redis.call('ZREM', index, name)
end

local number = number_key_of(step.number)
for _, field in ipairs(redis.call('HKEYS', number)) do
  if string.sub(field, 1, #LIVE) == LIVE then redis.call('HDEL', number, field) end
end
return { redis.call('ZCARD', index), erased_in == whole(epoch) and 1 or 0 }
