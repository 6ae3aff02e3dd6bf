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

-- A node says that it is there, and where it has what is live: `postgresql`, `redis`, or `redis` and the name of that one, which
-- is not known before it has been connected to. `other`: that nodes are there that have it elsewhere, and then this
-- one must not be; `otherUntil`: how long the last of those was, 0 when there was none.
CREATE FUNCTION steps.announce(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  moment bigint := floor(extract(epoch FROM clock_timestamp()) * 1000);
  other_until bigint;
BEGIN
  PERFORM steps.lock('nodes');
  SELECT coalesce(max(n.until), 0) INTO other_until FROM countersign.node n
   WHERE n.holder <> step->>'holder'
     AND (split_part(n.live_in, ' ', 1) <> split_part(step->>'liveIn', ' ', 1)
       OR (n.live_in <> step->>'liveIn' AND n.live_in LIKE '% %' AND step->>'liveIn' LIKE '% %'));
  IF other_until <= moment THEN
    INSERT INTO countersign.node AS n (holder, live_in, until)
    VALUES (step->>'holder', step->>'liveIn', moment + (step->>'forMs')::bigint)
    ON CONFLICT (holder) DO UPDATE SET live_in = excluded.live_in, until = excluded.until;
    -- The last one of each kind stays known.
    DELETE FROM countersign.node n WHERE n.until < moment - 60000
       AND EXISTS (SELECT FROM countersign.node x WHERE x.live_in = n.live_in AND x.until > n.until);
  END IF;
  RETURN jsonb_build_object('other', other_until > moment, 'otherUntil', other_until);
END $$;
