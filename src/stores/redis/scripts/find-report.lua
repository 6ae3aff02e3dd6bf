-- find-report: which message a provider's id belongs to; a report that comes before that is known waits here.
-- A dispatch is recorded in two places at once, `expect-report` here and `record-dispatch` with its app. Whichever is
-- first, no report is lost: before the former it waits here and is handed over with it, before the latter it waits
-- with the app.
-- Needs: reports
-- KEYS[1]  `cs:{report <provider> <id>}`
-- ARGV[1]  DeliveryReport as JSON
-- ARGV[2]  how long it waits, in ms
-- Result   [app, id of the message], or false

local known = redis.call('HMGET', KEYS[1], 'app', 'message', 'early')
if known[1] then return { known[1], known[2] } end
local report = cjson.decode(ARGV[1])
if known[3] then report = join_reports(cjson.decode(known[3]), report) end
redis.call('HSET', KEYS[1], 'early', cjson.encode(report))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return false
