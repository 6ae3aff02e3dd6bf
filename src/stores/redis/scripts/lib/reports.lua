-- Delivery reports: the same rules as in `domain/message.ts`.

local ranks = { unknown = 0, queued = 1, sent = 2, delivered = 3, undelivered = 3, failed = 3 }

-- A state only ever moves forward, and the first final one stays.
local function is_forward(from, to)
  return ranks[to] > ranks[from]
end

-- Two reports on a dispatch that is not known yet, as one.
local function join_reports(known, report)
  local cost = report.cost or known.cost
  local joined = is_forward(known.state, report.state) and report or known
  joined.cost = cost
  return joined
end

-- Changes the dispatch as the report says. Returns whether that was anything new.
local function apply_report(dispatch, report)
  local is_news = is_forward(dispatch.state, report.state)
  local cost, known = report.cost, dispatch.reportedCost
  local is_priced = cost ~= nil
    and (known == nil or cost.micros ~= known.micros or cost.currency ~= known.currency)
  if is_news then
    dispatch.state = report.state
    if report.reason ~= nil then dispatch.reason = report.reason end
    if report.code ~= nil then dispatch.errorCode = report.code end
  end
  if is_priced then dispatch.reportedCost = cost end
  return is_news or is_priced
end

-- When a message is to be looked at again after a report on its last dispatch; null for never.
local function due_after(message, dispatch, report, at, due_before)
  if dispatch.state == 'delivered' then return cjson.null end
  if dispatch.state ~= 'failed' and dispatch.state ~= 'undelivered' then return due_before end
  local is_final = dispatch.reason == 'recipient' or report.optOut == true or message.valid_until <= at
  return is_final and cjson.null or at
end

-- A provider that took a message has an id for it; one that may have taken it left us not knowing.
local function was_taken(dispatch)
  return dispatch.providerMessageId ~= nil or dispatch.reason == 'uncertain'
end

local function read_dispatches(text)
  return text == '' and {} or cjson.decode('[' .. text .. ']')
end

local function dispatches_text(dispatches)
  local texts = {}
  for i, dispatch in ipairs(dispatches) do texts[i] = cjson.encode(dispatch) end
  return table.concat(texts, ',')
end
