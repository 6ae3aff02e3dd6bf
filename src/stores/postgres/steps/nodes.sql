CREATE FUNCTION steps.lease(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO countersign.lease AS l (name, holder, until)
  VALUES (step->>'name', step->>'holder', (step->>'until')::bigint)
  ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE l.holder = excluded.holder OR l.until <= (step->>'now')::bigint;
  RETURN to_jsonb(FOUND);
END $$;

CREATE FUNCTION steps.share_breaker(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO countersign.breaker AS b (provider, place, breaker, changed_at)
  VALUES (step->>'provider', step->>'place', step->'breaker', (step->>'changedAt')::bigint)
  ON CONFLICT (provider, place) DO UPDATE SET breaker = excluded.breaker, changed_at = excluded.changed_at
    WHERE b.changed_at <= excluded.changed_at;
  RETURN NULL;
END $$;

CREATE FUNCTION steps.list_breakers(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT jsonb_agg(to_jsonb(b)) FROM countersign.breaker b);
END $$;

CREATE FUNCTION steps.clock(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN to_jsonb(floor(extract(epoch FROM clock_timestamp()) * 1000));
END $$;

-- Each connection has a row of its own: probes of many nodes do not wait for each other.
CREATE FUNCTION steps.probe(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO countersign.probe AS p (node, at) VALUES (pg_backend_pid() % 64, (step->>'now')::bigint)
  ON CONFLICT (node) DO UPDATE SET at = excluded.at;
  RETURN NULL;
END $$;
