-- record-dispatch: what became of handing a message over.
-- Needs: app limits guesses slots sending reports warm
-- KEYS[1]  the app's marker
-- ARGV[1]  DispatchStep as JSON: the message's id alone, the dispatches as texts; `isGone` when there is no such message
--          anywhere, and only the money is to be counted
-- Result   `recorded`; `absent` when the message is not here and nothing was done; `cold`

local message = get_record('m:' .. step.id)
if not message and not step.isGone then return 'absent' end

-- A report that came between the two halves of this step, see `find-report.lua`.
local function take_early_report(dispatch)
  if step.noReports or dispatch.providerMessageId == nil then return nil end
  local key = prefix .. 'e:' .. dispatch.provider .. ' ' .. dispatch.providerMessageId
  local text = redis.call('GETDEL', key)
  return text and cjson.decode(text) or nil
end

local function record_dispatches()
  local state, due_at = step.state, step.dueAt or null
  local texts = {}
  for i, text in ipairs(step.dispatches) do
    local dispatch = cjson.decode(text)
    local report = take_early_report(dispatch)
    if report and apply_report(dispatch, report) then
      text = cjson.encode(dispatch)
      -- The message's state is its last dispatch's.
      if i == #step.dispatches then
        state = dispatch.state
        due_at = due_after(message, dispatch, report, now, due_at)
      end
    end
    texts[#texts + 1] = text
    if not step.noReports and dispatch.providerMessageId ~= nil then
      tell('r', cjson.encode({ provider = dispatch.provider, id = dispatch.providerMessageId, message = message.id }))
    end
  end
  if message.dispatches ~= '' then table.insert(texts, 1, message.dispatches) end
  message.dispatches = table.concat(texts, ',')
  message.state = state or message.state
  message.due_at = due_at
  message.leased_until = null
  message.claims = 0
  put_message(message, false)
end

-- By which channel, and whose code it was.
local function record_carrier(carried)
  if message.verification_id == null then return end
  local verification = get_record('v:' .. message.verification_id)
  -- A newer code ended whatever was there before, also what was on its way.
  if not verification or verification.code_number ~= step.codeNumber then return end
  verification.channel = carried.channel
  if carried.managed == nil then
    verification.own_code_sent = true
  else
    -- A text that another provider took, or may have taken, has our code in it, and may still arrive.
    local dispatches = read_dispatches(message.dispatches)
    local is_ours_out = false
    for i = 1, #dispatches - 1 do
      local each = dispatches[i]
      if each.provider ~= carried.managed.provider and was_taken(each) then is_ours_out = true end
    end
    local is_first = verification.sends == 1 and verification.managed_provider == null and not is_ours_out
    verification.own_code_sent = verification.own_code_sent and not is_first
    verification.managed_provider = carried.managed.provider
    verification.managed_id = carried.managed.providerMessageId
  end
  put_verification(verification)
end

-- The hand-over may be known, whatever was reported of it since.
local function is_recorded()
  local first = step.isRepeated and step.dispatches[1] and cjson.decode(step.dispatches[1])
  if not first then return false end
  for _, each in ipairs(read_dispatches(message.dispatches)) do
    if each.provider == first.provider and each.at == first.at and each.providerMessageId == first.providerMessageId then
      return true
    end
  end
  return false
end

if message and is_recorded() then return 'recorded' end
if message then
  record_dispatches()
  if step.carried ~= nil then record_carrier(step.carried) end
  local answer = step.answer
  local kept = answer ~= nil and get_record('i:' .. answer.key)
  if kept then
    kept.answer = answer.text
    redis.call('SET', prefix .. 'i:' .. answer.key, cjson.encode(kept), 'KEEPTTL')
  end
end
if step.spent ~= nil then spend(step.spent.day, step.spent.micros) end
tell_history()
return 'recorded'
