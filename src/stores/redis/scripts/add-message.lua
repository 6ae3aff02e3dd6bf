-- add-message: keeps a custom message to be sent.
-- Needs: app limits guesses slots sending warm
-- KEYS[1]  the app's marker
-- ARGV[1]  MessageStep as JSON, its message as a record; `bound`: most entries of the stream
-- Result   the outcome as JSON; `cold`, or `full` when the stream has no room

local replayed = repeated_request(step.idempotency)
if replayed then return replayed end
if is_behind(step.bound) then return 'full' end
local limited, save_buckets = take_buckets(step.buckets, nil)
if limited then return limited end
local over, budget = look_at_budget(step.budget)
if over then return over end
save_buckets()
if step.budget ~= nil then spend(step.budget.day, step.budget.micros) end
add_message(step.message)
keep_key(step.message.number, step.idempotency)
tell_history()
budget.kind = 'added'
return outcome(budget)
