-- The rules of src/domain/usage.ts, over dispatches as JSON.

CREATE FUNCTION steps.dispatches_of(list text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN ('[' || list || ']')::jsonb;
END $$;

-- JSON objects with commas between them and no brackets around, so that further ones can be put behind.
CREATE FUNCTION steps.dispatches_to_text(dispatches jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN substring(dispatches::text FROM 2 FOR length(dispatches::text) - 2);
END $$;

-- A provider that took a message has an id for it; one that may have taken it left us not knowing.
CREATE FUNCTION steps.was_taken(dispatch jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN dispatch ? 'providerMessageId' OR coalesce(dispatch->>'reason' = 'uncertain', false);
END $$;

-- An empty row of sums under the key of a dispatch.
CREATE FUNCTION steps.usage_key(app text, country text, dispatch jsonb) RETURNS countersign.usage LANGUAGE plpgsql AS $$
DECLARE
  cost jsonb := CASE WHEN steps.was_taken(dispatch) THEN coalesce(dispatch->'reportedCost', dispatch->'estimatedCost') END;
  empty countersign.usage;
BEGIN
  -- By their names: a newer version may have added columns.
  empty.day := to_char(to_timestamp((dispatch->>'at')::bigint / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD');
  empty.app := app;
  empty.provider := dispatch->>'provider';
  empty.country := coalesce(country, '');
  empty.currency := coalesce(cost->>'currency', '');
  empty.sent := 0;
  empty.codes := 0;
  empty.delivered := 0;
  empty.failed := 0;
  empty.approved := 0;
  empty.cost_micros := 0;
  empty.code_cost_micros := 0;
  empty.approved_cost_micros := 0;
  RETURN empty;
END $$;

-- What a dispatch adds: `sign` 1, or takes away: -1.
CREATE FUNCTION steps.usage_of_dispatch(app text, country text, is_code boolean, dispatch jsonb, sign integer)
RETURNS countersign.usage LANGUAGE plpgsql AS $$
DECLARE
  counts countersign.usage := steps.usage_key(app, country, dispatch);
  micros bigint;
BEGIN
  IF steps.was_taken(dispatch) THEN
    micros := coalesce((coalesce(dispatch->'reportedCost', dispatch->'estimatedCost')->>'micros')::bigint, 0);
    counts.sent := sign;
    counts.cost_micros := sign * micros;
    IF is_code THEN
      counts.codes := sign;
      counts.code_cost_micros := sign * micros;
    END IF;
  END IF;
  IF dispatch->>'state' = 'delivered' THEN counts.delivered := sign; END IF;
  IF dispatch->>'state' IN ('failed', 'undelivered') THEN counts.failed := sign; END IF;
  RETURN counts;
END $$;

-- An approval counts for the provider that carried the code last, and with what all of them cost.
CREATE FUNCTION steps.usage_of_approval(app text, country text, dispatches jsonb, sign integer)
RETURNS countersign.usage[] LANGUAGE plpgsql AS $$
DECLARE
  changes countersign.usage[] := '{}';
  counts countersign.usage;
  dispatch jsonb;
  is_last boolean := true;
BEGIN
  FOR i IN REVERSE jsonb_array_length(dispatches) - 1..0 LOOP
    dispatch := dispatches->i;
    CONTINUE WHEN NOT steps.was_taken(dispatch);
    counts := steps.usage_key(app, country, dispatch);
    counts.approved := CASE WHEN is_last THEN sign ELSE 0 END;
    counts.approved_cost_micros :=
      sign * coalesce((coalesce(dispatch->'reportedCost', dispatch->'estimatedCost')->>'micros')::bigint, 0);
    changes := changes || counts;
    is_last := false;
  END LOOP;
  RETURN changes;
END $$;

-- Steps that share a transaction put off what they add to sums, and it is written when all of them are through, in one order:
-- else two such transactions would hold rows that the other one wants. What is put off is a list in JSON, in a setting, so
-- that a step that fails takes its part back.
CREATE FUNCTION steps.put_sums_off() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('countersign.usage', 'null', true), set_config('countersign.spent', 'null', true);
END $$;

-- False when sums are to be written at once.
CREATE FUNCTION steps.is_put_off(setting text, change jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  before text := current_setting(setting, true);
BEGIN
  IF coalesce(before, '') = '' THEN RETURN false; END IF;
  PERFORM set_config(setting, before || ',' || change::text, true);
  RETURN true;
END $$;

CREATE FUNCTION steps.write_sums() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  usage jsonb := ('[' || current_setting('countersign.usage') || ']')::jsonb - 0;
  spent jsonb := ('[' || current_setting('countersign.spent') || ']')::jsonb - 0;
  sums record;
BEGIN
  PERFORM set_config('countersign.usage', '', true), set_config('countersign.spent', '', true);
  PERFORM steps.add_usage(ARRAY(
    SELECT jsonb_populate_record(NULL::countersign.usage, change)
      FROM jsonb_array_elements(usage) AS changes, jsonb_array_elements(changes) AS change));
  FOR sums IN
    SELECT change->>'app' AS app, change->>'day' AS day, sum((change->>'micros')::bigint)::bigint AS micros
      FROM jsonb_array_elements(spent) AS change GROUP BY 1, 2 ORDER BY 2, 1
  LOOP
    PERFORM steps.add_spent(sums.app, sums.day, sums.micros);
  END LOOP;
END $$;

-- Sums of one key are in several rows, each connection's in one of sixteen: else all would wait for one. Changes of several keys
-- are written in one order, so that no two wait for each other.
CREATE FUNCTION steps.add_usage(changes countersign.usage[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  change countersign.usage;
BEGIN
  IF changes = '{}' OR steps.is_put_off('countersign.usage', to_jsonb(changes)) THEN RETURN; END IF;
  IF coalesce(array_length(changes, 1), 0) > 1 THEN
    -- By the names of the columns: a newer version may have added some.
    changes := ARRAY(
      SELECT jsonb_populate_record(NULL::countersign.usage, to_jsonb(sums))
        FROM (
          SELECT c.day, c.app, c.provider, c.country, c.currency,
                 sum(c.sent) AS sent, sum(c.codes) AS codes, sum(c.delivered) AS delivered, sum(c.failed) AS failed,
                 sum(c.approved) AS approved, sum(c.cost_micros) AS cost_micros,
                 sum(c.code_cost_micros) AS code_cost_micros, sum(c.approved_cost_micros) AS approved_cost_micros
            FROM unnest(changes) c
           GROUP BY c.day, c.app, c.provider, c.country, c.currency
           ORDER BY c.day, c.app, c.provider, c.country, c.currency) sums);
  END IF;
  FOREACH change IN ARRAY changes LOOP
    INSERT INTO countersign.usage AS u (
      day, app, provider, country, currency, shard, sent, codes, delivered, failed, approved,
      cost_micros, code_cost_micros, approved_cost_micros)
    VALUES (change.day, change.app, change.provider, change.country, change.currency, pg_backend_pid() % 16,
            change.sent, change.codes, change.delivered, change.failed, change.approved,
            change.cost_micros, change.code_cost_micros, change.approved_cost_micros)
    ON CONFLICT (day, app, provider, country, currency, shard) DO UPDATE SET
      sent = u.sent + excluded.sent, codes = u.codes + excluded.codes,
      delivered = u.delivered + excluded.delivered, failed = u.failed + excluded.failed,
      approved = u.approved + excluded.approved, cost_micros = u.cost_micros + excluded.cost_micros,
      code_cost_micros = u.code_cost_micros + excluded.code_cost_micros,
      approved_cost_micros = u.approved_cost_micros + excluded.approved_cost_micros;
  END LOOP;
END $$;

CREATE FUNCTION steps.read_usage(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (
    SELECT jsonb_agg(to_jsonb(t))
      FROM (
        SELECT u.day, u.app, u.provider, u.country, u.currency,
               sum(u.sent) AS sent, sum(u.codes) AS codes, sum(u.delivered) AS delivered, sum(u.failed) AS failed,
               sum(u.approved) AS approved, sum(u.cost_micros) AS cost_micros,
               sum(u.code_cost_micros) AS code_cost_micros, sum(u.approved_cost_micros) AS approved_cost_micros
          FROM countersign.usage u
         WHERE u.day BETWEEN step->>'from' AND step->>'to' AND (step->>'app' IS NULL OR u.app = step->>'app')
         GROUP BY u.day, u.app, u.provider, u.country, u.currency
        HAVING sum(u.sent) <> 0 OR sum(u.codes) <> 0 OR sum(u.delivered) <> 0 OR sum(u.failed) <> 0
            OR sum(u.approved) <> 0 OR sum(u.cost_micros) <> 0 OR sum(u.code_cost_micros) <> 0
            OR sum(u.approved_cost_micros) <> 0
         ORDER BY u.day, u.app, u.provider, u.country, u.currency
      ) t);
END $$;
