-- Buckets as event logs: the same rules as in `domain/rate-limit.ts`, which says why. Needs: app

local EXACT_MAX = 100
local RESOLUTION = 32

-- How long until one more event fits under `max` events in `window` ms; 0 when it fits now.
local function wait_for(log, max, window)
  local events = 0
  for i = #log - 1, 1, -2 do
    local at = log[i]
    if at <= now - window then break end
    events = events + log[i + 1]
    if events >= max then return math.max(1, at + window - now) end
  end
  if max > 0 then return 0 end
  return window
end

local function add_to(log, at, count, resolution)
  local last = #log - 1
  local last_at = log[last]
  if last_at and math.floor(last_at / resolution) == math.floor(at / resolution) then
    log[last] = at
    log[last + 1] = log[last + 1] + count
  else
    log[#log + 1] = at
    log[#log + 1] = count
  end
end

local function coarsen(log, at_now, rules)
  local coarse = {}
  for i = 1, #log, 2 do
    local at = log[i]
    local resolution = math.huge
    for _, rule in ipairs(rules) do
      if at > at_now - rule.windowMs then
        local finest = rule.max <= EXACT_MAX and 1 or math.max(1, math.floor(rule.windowMs / RESOLUTION))
        resolution = math.min(resolution, finest)
      end
    end
    add_to(coarse, at, log[i + 1], resolution)
  end
  return coarse
end

local function longest_window(rules)
  local longest = -math.huge
  for _, rule in ipairs(rules) do longest = math.max(longest, rule.windowMs) end
  return longest
end

-- The log with one more event, without what no rule looks at any more.
local function append(log, rules)
  local oldest = now - longest_window(rules)
  local kept = {}
  for i = 1, #log, 2 do
    if #kept > 0 or log[i] > oldest then
      kept[#kept + 1] = log[i]
      kept[#kept + 1] = log[i + 1]
    end
  end
  local at = math.max(now, kept[#kept - 1] or now)
  add_to(kept, at, 1, 1)
  if #kept / 2 > RESOLUTION then return coarsen(kept, at, rules) end
  return kept
end

-- The moment of each event, oldest first.
local function moments_of(log)
  local moments = {}
  for i = 1, #log, 2 do
    for _ = 1, log[i + 1] do moments[#moments + 1] = log[i] end
  end
  return moments
end

-- One log of two that were one once: each event, counted from the last, at the later of its two moments.
local function join_logs(a, b)
  local of_a, of_b = moments_of(a), moments_of(b)
  local joined = {}
  for back = math.max(#of_a, #of_b) - 1, 0, -1 do
    add_to(joined, math.max(of_a[#of_a - back] or 0, of_b[#of_b - back] or 0), 1, 1)
  end
  return joined
end

local function read_log(text)
  return text and cjson.decode(text) or {}
end

-- cjson takes an empty table for an object.
local function log_text(log)
  return #log == 0 and '[]' or cjson.encode(log)
end

-- Looks at all buckets, and counts in none before `save` is called.
-- number_key: the hash of the request's number, whose own log is in it; nil where a number is a bucket like others.
-- Returns the refusal as an outcome, or nil and `save`.
local function take_buckets(buckets, number_key)
  local refusal
  local taken = {}
  for _, bucket in ipairs(buckets) do
    local of_number = bucket.scope == 'number' and number_key ~= nil
    local key = of_number and number_key or prefix .. 'b:' .. bucket.scope .. ' ' .. bucket.value
    local log = read_log(of_number and redis.call('HGET', key, 'starts') or not of_number and redis.call('GET', key))
    local wait = 0
    for _, rule in ipairs(bucket.rules) do wait = math.max(wait, wait_for(log, rule.max, rule.windowMs)) end
    if wait > 0 then
      -- The longest wait of all: whoever comes back after a shorter one is refused again.
      if wait > (refusal and refusal.retryAfterMs or 0) then
        refusal = { kind = 'limited', scope = bucket.scope, retryAfterMs = wait, limit = bucket.name }
      end
    else
      local text = log_text(append(log, bucket.rules))
      taken[#taken + 1] = { key = key, of_number = of_number, text = text, window = longest_window(bucket.rules) }
    end
  end
  if refusal then return outcome(refusal) end
  return nil, function()
    for _, each in ipairs(taken) do
      if each.of_number then
        redis.call('HSET', each.key, 'starts', each.text)
        redis.call('PEXPIRE', each.key, whole(MEMORY_MS))
      else
        -- An hour more: the clocks of nodes differ.
        redis.call('SET', each.key, each.text, 'PX', whole(math.max(each.window, 0) + HOUR_MS))
      end
    end
  end
end
