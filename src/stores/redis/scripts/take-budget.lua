-- take-budget: takes an amount from the app's day, or nothing.
-- Needs: app limits guesses slots sending warm
-- KEYS[1]  the app's marker
-- ARGV[1]  {budget: BudgetTake}
-- Result   the outcome as JSON; `cold`

local over, budget = look_at_budget(step.budget)
if over then return over end
spend(step.budget.day, step.budget.micros)
tell_history()
budget.kind = 'taken'
return outcome(budget)
