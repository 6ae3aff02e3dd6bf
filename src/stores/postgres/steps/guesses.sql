-- The rules of src/domain/guess-budget.ts. Guesses are {"log": [at, count, …], "lockedUntil": ms, "locks": n}; null is none.

CREATE FUNCTION steps.log_of(guesses jsonb) RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN CASE WHEN guesses IS NULL THEN '{}' ELSE translate(guesses->>'log', '[]', '{}')::bigint[] END;
END $$;

CREATE FUNCTION steps.guesses_from(log bigint[], locked_until bigint, locks integer)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN jsonb_build_object('log', to_jsonb(log), 'lockedUntil', locked_until, 'locks', locks);
END $$;

-- How long the number is locked from now on; 0 when a guess is allowed.
CREATE FUNCTION steps.locked_for(guesses jsonb, policy jsonb, moment bigint)
RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF guesses IS NULL THEN RETURN 0; END IF;
  RETURN greatest(
    0,
    (guesses->>'lockedUntil')::bigint - moment,
    steps.wait_for(steps.log_of(guesses), (policy->>'max')::bigint, (policy->>'windowMs')::bigint, moment));
END $$;

-- Counts one wrong guess; the one that uses the budget up locks the number: one window, then two, four, seven.
CREATE FUNCTION steps.count_guess(guesses jsonb, policy jsonb, moment bigint)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  most bigint := (policy->>'max')::bigint;
  window_ms bigint := (policy->>'windowMs')::bigint;
  locked_until bigint := coalesce((guesses->>'lockedUntil')::bigint, 0);
  locks integer := coalesce((guesses->>'locks')::integer, 0);
  log bigint[] := steps.append_event(steps.log_of(guesses), moment, ARRAY[most, window_ms]);
BEGIN
  IF steps.wait_for(log, most, window_ms, moment) > 0 THEN
    locked_until := moment + least(power(2, least(locks, 10))::bigint, 7) * window_ms;
    locks := locks + 1;
  END IF;
  RETURN steps.guesses_from(log, locked_until, locks);
END $$;

-- Takes the last guess back, which was counted before it was compared and then was not compared at all: an outage must not
-- lock a number. A lock that it brought about goes with it.
CREATE FUNCTION steps.uncount_guess(guesses jsonb, policy jsonb, moment bigint)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  log bigint[] := steps.log_of(guesses);
  last integer := coalesce(array_length(log, 1), 0);
  locked_until bigint := coalesce((guesses->>'lockedUntil')::bigint, 0);
  locks integer := coalesce((guesses->>'locks')::integer, 0);
BEGIN
  IF last = 0 THEN RETURN coalesce(guesses, steps.guesses_from('{}', 0, 0)); END IF;
  IF log[last] > 1 THEN log[last] := log[last] - 1; ELSE log := log[1:last - 2]; END IF;
  IF locked_until > moment
     AND steps.wait_for(log, (policy->>'max')::bigint, (policy->>'windowMs')::bigint, moment) = 0 THEN
    RETURN steps.guesses_from(log, 0, greatest(0, locks - 1));
  END IF;
  RETURN steps.guesses_from(log, locked_until, locks);
END $$;

-- What is kept of a number, its name locked: an empty row where there is none yet.
CREATE FUNCTION steps.read_number(app text, number text) RETURNS countersign.number LANGUAGE plpgsql AS $$
DECLARE
  kept countersign.number;
BEGIN
  PERFORM steps.lock_number(app, number);
  SELECT n.* INTO kept FROM countersign.number n WHERE n.app = read_number.app AND n.number = read_number.number;
  IF NOT FOUND THEN
    kept.app := app;
    kept.number := number;
    kept.starts := '{}';
    kept.live := '{}';
  END IF;
  RETURN kept;
END $$;

CREATE FUNCTION steps.save_number(kept countersign.number) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO countersign.number AS n VALUES (kept.*)
  ON CONFLICT (app, number) DO UPDATE SET starts = excluded.starts, guesses = excluded.guesses, live = excluded.live;
END $$;

-- With other guesses of that lane, or none.
CREATE FUNCTION steps.with_guesses(kept countersign.number, lane text, guesses jsonb)
RETURNS countersign.number LANGUAGE plpgsql AS $$
BEGIN
  IF guesses IS NULL THEN
    kept.guesses := nullif(kept.guesses - lane, '{}');
  ELSE
    kept.guesses := coalesce(kept.guesses, '{}') || jsonb_build_object(lane, guesses);
  END IF;
  RETURN kept;
END $$;
