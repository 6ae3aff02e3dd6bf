-- What a script of one app begins with. All keys of an app have one hash tag, so a script may touch any of them:
-- KEYS[1] is the app's marker `cs:{app}:warm`, and the names of the others begin as its own does.
-- ARGV[1] is the step as JSON; `step.now` is the time (ms since the epoch).

local prefix = string.sub(KEYS[1], 1, -5)
local step = cjson.decode(ARGV[1])
local now = step.now
local null = cjson.null

local HOUR_MS = 3600000
-- No rule looks back further than this (the configuration refuses longer windows), and no lock lasts longer.
local MEMORY_MS = 8 * 24 * HOUR_MS
-- A verification that has ended is asked about for a while, and one at whose code somebody is still typing.
local VERIFICATION_KEPT_MS = HOUR_MS
-- Reports come late; those that come later still find the message in PostgreSQL.
local MESSAGE_KEPT_MS = 4 * HOUR_MS
local HISTORY_KEPT_MS = 30 * 24 * HOUR_MS

-- Changes with every restart and failover.
local function this_server()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
end

-- The marker says since when this server has had what is live. A server that was restarted, emptied or has taken the
-- place of another one has no marker or another replication id: it may lack what was acknowledged, and must not
-- answer before it has been looked up in PostgreSQL (see `revival.ts`). `epoch` is nil then. It is as well where nodes
-- without Redis were at work since (`step.since`), and `is_stale` says that what is here is worth nothing.
local function current_epoch()
  local marker = redis.call('GET', KEYS[1])
  if not marker then return nil, false end
  local server, since = string.match(marker, '^(%x+) (%d+)$')
  if tonumber(since) < (step.since or 0) then return nil, true end
  if server ~= this_server() then return nil, false end
  return tonumber(since), false
end

local epoch, is_stale = current_epoch()

-- What has changed, for the stream: one entry for the whole step.
local changes = {}

local function tell(kind, text)
  changes[#changes + 1] = kind
  changes[#changes + 1] = text
end

-- To be called once, when all of the step is written.
local function tell_history()
  if #changes == 0 then return end
  local history = prefix .. 'history'
  redis.call('XADD', history, '*', unpack(changes))
  redis.call('PEXPIRE', history, HISTORY_KEPT_MS)
end

local function is_behind(entries)
  return redis.call('XLEN', prefix .. 'history') >= entries
end

local function whole(number)
  return string.format('%.0f', number)
end

local function get_record(name)
  local text = redis.call('GET', prefix .. name)
  return text and cjson.decode(text) or nil
end

-- Everything that is kept of a number is found by it, so that it can be erased. The score is when it leaves Redis.
local function index_by_number(number, name, leaves_at)
  local index = prefix .. 'of:' .. number
  redis.call('ZREMRANGEBYSCORE', index, '-inf', whole(now - HOUR_MS))
  redis.call('ZADD', index, whole(leaves_at), name)
  redis.call('PEXPIRE', index, whole(math.max(leaves_at - now, MEMORY_MS)))
end

-- Later epochs win over whatever another server said before, also where it had got further.
local function raise(record)
  record.revision = math.max((record.revision or 0) + 1, epoch)
end

local function write_verification(verification)
  local text = cjson.encode(verification)
  local ttl = math.max(verification.expires_at - now, 0) + VERIFICATION_KEPT_MS
  redis.call('SET', prefix .. 'v:' .. verification.id, text, 'PX', whole(ttl))
  return text
end

local function put_verification(verification)
  raise(verification)
  local text = write_verification(verification)
  -- It stays longer than was thought when it was started.
  if now > verification.expires_at then
    index_by_number(verification.number, 'v:' .. verification.id, now + VERIFICATION_KEPT_MS)
  end
  tell('v', text)
  return text
end

-- `due_at` of the message says when it is to be looked at, null never.
local function write_message(message)
  local text = cjson.encode(message)
  local due = prefix .. 'due'
  local leaves_at = message.valid_until
  if message.due_at == null then
    redis.call('ZREM', due, message.id)
  else
    leaves_at = math.max(leaves_at, message.due_at)
    redis.call('ZADD', due, whole(message.due_at), message.id)
    redis.call('PEXPIRE', due, whole(MEMORY_MS))
  end
  local ttl = math.max(leaves_at - now, 0) + MESSAGE_KEPT_MS
  redis.call('SET', prefix .. 'm:' .. message.id, text, 'PX', whole(ttl))
  return text, now + ttl
end

local function put_message(message, is_new)
  raise(message)
  local text, leaves_at = write_message(message)
  local is_longer = leaves_at > message.valid_until + MESSAGE_KEPT_MS
  if is_new or is_longer then index_by_number(message.number, 'm:' .. message.id, leaves_at) end
  tell('m', text)
end

local function outcome(fields)
  return cjson.encode(fields)
end

-- An outcome with a verification that is text already.
local function outcome_with(text, fields)
  local rest = cjson.encode(fields)
  return '{"verification":' .. text .. ',' .. string.sub(rest, 2)
end
