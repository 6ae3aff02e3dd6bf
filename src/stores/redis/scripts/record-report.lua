-- record-report: a provider's later word on a dispatch, forward only.
-- Needs: app reports warm
-- KEYS[1]  the app's marker
-- ARGV[1]  {now, id: of the message, provider, report: DeliveryReport}
-- Result   ReportOutcome as JSON; `absent` when the message is not here and nothing was done; `cold`

local message = get_record('m:' .. step.id)
if not message then return 'absent' end
local report = step.report
local dispatches = read_dispatches(message.dispatches)
local index
for i, each in ipairs(dispatches) do
  if each.provider == step.provider and each.providerMessageId == report.providerMessageId then
    index = i
    break
  end
end

if not index then
  -- Its dispatch is being recorded just now, see `find-report.lua`.
  local key = prefix .. 'e:' .. step.provider .. ' ' .. report.providerMessageId
  local known = redis.call('GET', key)
  if known then report = join_reports(cjson.decode(known), report) end
  redis.call('SET', key, cjson.encode(report), 'PX', HOUR_MS)
  return outcome({ changed = false, due = false })
end

local dispatch = dispatches[index]
local state_before = dispatch.state
if not apply_report(dispatch, report) then return outcome({ changed = false, due = false }) end
local is_last = index == #dispatches
local has_moved = is_last and dispatch.state ~= state_before
local due_at = message.due_at
if has_moved then due_at = due_after(message, dispatch, report, now, due_at) end
-- Whoever has taken the message up is sending it by another way already.
if due_at == now and message.leased_until ~= null then due_at = math.max(now, message.leased_until) end
if is_last then message.state = dispatch.state end
message.dispatches = dispatches_text(dispatches)
message.due_at = due_at
put_message(message, false)
tell_history()
return outcome({ changed = true, due = has_moved and due_at == now })
