-- The rules of src/domain/rate-limit.ts. A log is {at, count, at, count, …}, oldest first; rules are {max, windowMs, …}.

-- How long until one more event fits under `most` events in `window_ms`; 0 when it fits now.
CREATE FUNCTION steps.wait_for(log bigint[], most bigint, window_ms bigint, moment bigint)
RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  events bigint := 0;
  i integer := coalesce(array_length(log, 1), 0) - 1;
BEGIN
  WHILE i >= 1 LOOP
    EXIT WHEN log[i] <= moment - window_ms;
    events := events + log[i + 1];
    -- This entry is the one that has to leave the window before there is room again.
    IF events >= most THEN RETURN greatest(1, log[i] + window_ms - moment); END IF;
    i := i - 2;
  END LOOP;
  RETURN CASE WHEN most > 0 THEN 0 ELSE window_ms END;
END $$;

CREATE FUNCTION steps.longest_wait(log bigint[], rules bigint[], moment bigint)
RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  longest bigint := 0;
BEGIN
  FOR i IN 1..coalesce(array_length(rules, 1), 0) BY 2 LOOP
    longest := greatest(longest, steps.wait_for(log, rules[i], rules[i + 1], moment));
  END LOOP;
  RETURN longest;
END $$;

CREATE FUNCTION steps.longest_window(rules bigint[]) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  longest bigint := 0;
BEGIN
  FOR i IN 2..coalesce(array_length(rules, 1), 0) BY 2 LOOP
    longest := greatest(longest, rules[i]);
  END LOOP;
  RETURN longest;
END $$;

-- The log with one more event, without what no rule looks at any more.
CREATE FUNCTION steps.append_event(log bigint[], moment bigint, rules bigint[])
RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  horizon bigint := moment - steps.longest_window(rules);
  length integer := coalesce(array_length(log, 1), 0);
  first integer := 1;
  kept bigint[];
  at bigint;
BEGIN
  WHILE first < length AND log[first] <= horizon LOOP
    first := first + 2;
  END LOOP;
  kept := log[first:length];
  length := coalesce(array_length(kept, 1), 0);
  -- A clock that was set back must not put a later moment before an earlier one: the order is what makes the count right.
  at := CASE WHEN length = 0 THEN moment ELSE greatest(moment, kept[length - 1]) END;
  IF length > 0 AND kept[length - 1] = at THEN
    kept[length] := kept[length] + 1;
  ELSE
    kept := kept || ARRAY[at, 1];
    length := length + 2;
  END IF;
  RETURN CASE WHEN length > 64 THEN steps.coarsen(kept, at, rules) ELSE kept END;
END $$;

-- A limit of up to a hundred events keeps the moment of each; a larger one keeps events of the same 32nd part of the shortest
-- window that still sees them under the moment of the latest.
CREATE FUNCTION steps.coarsen(log bigint[], moment bigint, rules bigint[])
RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  coarse bigint[] := '{}';
  last integer := 0;
  at bigint;
  resolution_ms bigint;
BEGIN
  FOR i IN 1..array_length(log, 1) BY 2 LOOP
    at := log[i];
    resolution_ms := NULL;
    FOR rule IN 1..array_length(rules, 1) BY 2 LOOP
      CONTINUE WHEN at <= moment - rules[rule + 1];
      resolution_ms := least(
        resolution_ms,
        CASE WHEN rules[rule] <= 100 THEN 1 ELSE greatest(1, rules[rule + 1] / 32) END);
    END LOOP;
    -- Seen by no rule any more: of the same moment as all before it.
    IF last > 0 AND (resolution_ms IS NULL OR coarse[last - 1] / resolution_ms = at / resolution_ms) THEN
      coarse[last - 1] := at;
      coarse[last] := coarse[last] + log[i + 1];
    ELSE
      coarse := coarse || ARRAY[at, log[i + 1]];
      last := last + 2;
    END IF;
  END LOOP;
  RETURN coarse;
END $$;

-- All buckets or none: looks at each, and counts nothing. Buckets come sorted by key, which is the order of their locks;
-- `place` is where each stood in the request. `starts` is the log of the number's own bucket, which is in the number's row.
CREATE FUNCTION steps.look_at_buckets(
  buckets jsonb, moment bigint, starts bigint[],
  OUT refusal jsonb, OUT starts_after bigint[], OUT keys text[], OUT logs text[], OUT idle_at bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
  bucket jsonb;
  bucket_log bigint[];
  rules bigint[];
  wait_ms bigint;
  longest_ms bigint := 0;
  longest_place integer;
BEGIN
  FOR i IN 0..jsonb_array_length(buckets) - 1 LOOP
    bucket := buckets->i;
    rules := (bucket->>'rules')::bigint[];
    IF bucket ? 'ofNumber' AND starts IS NOT NULL THEN
      bucket_log := starts;
    ELSE
      PERFORM steps.lock('bucket ' || (bucket->>'key'));
      SELECT b.log INTO bucket_log FROM countersign.bucket b WHERE b.key = bucket->>'key';
      bucket_log := coalesce(bucket_log, '{}');
    END IF;
    wait_ms := steps.longest_wait(bucket_log, rules, moment);
    IF wait_ms > 0 THEN
      -- The longest wait of all: whoever comes back after a shorter one is refused again.
      IF wait_ms > longest_ms OR (wait_ms = longest_ms AND (bucket->>'place')::integer < longest_place) THEN
        longest_ms := wait_ms;
        longest_place := (bucket->>'place')::integer;
        refusal := jsonb_build_object('kind', 'limited', 'scope', bucket->'scope', 'retryAfterMs', wait_ms)
          || CASE WHEN bucket ? 'name' THEN jsonb_build_object('limit', bucket->'name') ELSE '{}' END;
      END IF;
    ELSIF refusal IS NULL THEN
      bucket_log := steps.append_event(bucket_log, moment, rules);
      IF bucket ? 'ofNumber' AND starts IS NOT NULL THEN
        starts_after := bucket_log;
      ELSE
        keys := keys || (bucket->>'key');
        logs := logs || bucket_log::text;
        idle_at := idle_at || (moment + steps.longest_window(rules));
      END IF;
    END IF;
  END LOOP;
END $$;

CREATE FUNCTION steps.save_buckets(keys text[], logs text[], idle_at bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1..coalesce(array_length(keys, 1), 0) LOOP
    INSERT INTO countersign.bucket AS b (key, log, idle_at) VALUES (keys[i], logs[i]::bigint[], save_buckets.idle_at[i])
    ON CONFLICT (key) DO UPDATE SET log = excluded.log, idle_at = excluded.idle_at;
  END LOOP;
END $$;

-- The whole amount or nothing; nothing is kept before `add_spent` is called. Null when there is no budget to look at.
CREATE FUNCTION steps.look_at_budget(app text, take jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  before_micros bigint;
  after_micros bigint;
BEGIN
  IF take IS NULL OR jsonb_typeof(take) = 'null' THEN RETURN NULL; END IF;
  PERFORM steps.lock('budget ' || (take->>'day') || ' ' || app);
  SELECT b.spent_micros INTO before_micros
    FROM countersign.budget b WHERE b.day = take->>'day' AND b.app = look_at_budget.app;
  before_micros := coalesce(before_micros, 0);
  after_micros := before_micros + (take->>'micros')::bigint;
  RETURN CASE WHEN after_micros > (take->>'maxMicros')::bigint THEN 'false'::jsonb
    ELSE jsonb_build_object('beforeMicros', before_micros, 'afterMicros', after_micros) END;
END $$;

CREATE FUNCTION steps.add_spent(app text, spent_on text, micros bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO countersign.budget AS b (day, app, spent_micros) VALUES (spent_on, add_spent.app, micros)
  ON CONFLICT ON CONSTRAINT budget_pkey DO UPDATE SET spent_micros = b.spent_micros + excluded.spent_micros;
END $$;

-- What a hand-over cost in the end, against what was set aside for it. Steps that share a transaction put it off to its end, where
-- all of it is written in one order: two transactions with the budgets of two apps, each wanting the other one's, would stand
-- still together. It is put into a setting, a list in JSON, so that a step that fails takes its part back.
CREATE FUNCTION steps.correct_spent(change jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  put_off text := current_setting('countersign.spent', true);
BEGIN
  IF coalesce(put_off, '') = '' THEN
    PERFORM steps.add_spent(change->>'app', change->>'day', (change->>'micros')::bigint);
  ELSE
    PERFORM set_config('countersign.spent', put_off || ',' || change::text, true);
  END IF;
END $$;

CREATE FUNCTION steps.write_spent(put_off text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  spent record;
BEGIN
  FOR spent IN
    SELECT change->>'app' AS app, change->>'day' AS day, sum((change->>'micros')::bigint)::bigint AS micros
      FROM jsonb_array_elements(('[' || put_off || ']')::jsonb - 0) AS change GROUP BY 1, 2 ORDER BY 2, 1
  LOOP
    PERFORM steps.add_spent(spent.app, spent.day, spent.micros);
  END LOOP;
END $$;

CREATE FUNCTION steps.take_budget(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  taken jsonb := steps.look_at_budget(step->>'app', step->'take');
BEGIN
  IF taken = 'false' THEN RETURN '{"kind": "over-budget"}'; END IF;
  PERFORM steps.add_spent(step->>'app', step->'take'->>'day', (step->'take'->>'micros')::bigint);
  RETURN taken || '{"kind": "taken"}';
END $$;
