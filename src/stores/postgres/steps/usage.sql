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

-- Sums of one key are in several rows, and while a transaction adds to some, they are nobody else's: two that wrote the same rows
-- in another order would stand still together. Its rows are those of a number below 32 that was free, until it ends; 32 is what is moved from Redis.
CREATE FUNCTION steps.own_shard() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  usual integer := pg_backend_pid() % 32;
BEGIN
  FOR i IN usual..usual + 31 LOOP
    IF pg_try_advisory_xact_lock(hashtext('countersign usage'), i % 32) THEN RETURN i % 32; END IF;
  END LOOP;
  PERFORM pg_advisory_xact_lock(hashtext('countersign usage'), usual);
  RETURN usual;
END $$;

CREATE FUNCTION steps.add_usage(changes countersign.usage[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  change countersign.usage;
  own_shard integer;
BEGIN
  IF changes = '{}' THEN RETURN; END IF;
  own_shard := steps.own_shard();
  FOREACH change IN ARRAY changes LOOP
    INSERT INTO countersign.usage AS u (
      day, app, provider, country, currency, shard, sent, codes, delivered, failed, approved,
      cost_micros, code_cost_micros, approved_cost_micros)
    VALUES (change.day, change.app, change.provider, change.country, change.currency, own_shard,
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
