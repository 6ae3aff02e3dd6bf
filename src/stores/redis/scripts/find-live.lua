-- find-live: the ids of the verifications that were started last in a slot, one for each lane.
-- Needs: app limits guesses slots warm
-- KEYS[1]  the app's marker
-- ARGV[1]  {number, purpose, subject?}
-- Result   [open, trusted], false where there is none; `cold`

local ids = {}
for i, lane in ipairs({ 'open', 'trusted' }) do
  if step.subject ~= nil then
    ids[i] = redis.call('GET', subject_key(step.subject, step.purpose, lane))
  else
    ids[i] = redis.call('HGET', number_key_of(step.number), live_field(lane, step.purpose))
  end
end
return ids
