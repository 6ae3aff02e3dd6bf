-- Changes to an app's resources come one after another: they are rare, and some look at others before they write.
CREATE FUNCTION steps.lock_resources(app text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM steps.lock('resources ' || app);
END $$;

CREATE FUNCTION steps.is_key_taken(wanted countersign.resource) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RETURN wanted.unique_key IS NOT NULL AND EXISTS (
    SELECT FROM countersign.resource r
     WHERE r.app = wanted.app AND r.kind = wanted.kind AND r.parent = wanted.parent AND r.unique_key = wanted.unique_key);
END $$;

CREATE FUNCTION steps.add_resource(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  wanted countersign.resource := jsonb_populate_record(NULL::countersign.resource, step->'resource');
BEGIN
  PERFORM steps.lock_resources(wanted.app);
  IF wanted.parent <> ''
     AND NOT EXISTS (SELECT FROM countersign.resource r WHERE r.app = wanted.app AND r.id = wanted.parent) THEN
    RETURN '"orphan"';
  END IF;
  IF EXISTS (SELECT FROM countersign.resource r WHERE r.app = wanted.app AND r.id = wanted.id)
     OR steps.is_key_taken(wanted) THEN
    RETURN '"exists"';
  END IF;
  IF (SELECT count(*) FROM countersign.resource r
       WHERE r.app = wanted.app AND r.parent = wanted.parent AND r.kind = wanted.kind) >= (step->>'most')::bigint THEN
    RETURN '"too-many"';
  END IF;
  INSERT INTO countersign.resource (app, kind, id, parent, unique_key, body, created_at, updated_at)
  VALUES (wanted.app, wanted.kind, wanted.id, wanted.parent, wanted.unique_key, wanted.body,
          wanted.created_at, wanted.updated_at);
  RETURN '"added"';
END $$;

CREATE FUNCTION steps.get_resource(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (
    SELECT to_jsonb(r) FROM countersign.resource r
     WHERE r.app = step->>'app' AND r.id = step->>'id' AND r.kind = step->>'kind');
END $$;

CREATE FUNCTION steps.list_resources(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (
    SELECT jsonb_agg(to_jsonb(t)) FROM (
      SELECT r.* FROM countersign.resource r
       WHERE r.app = step->>'app' AND r.kind = step->>'kind' AND r.position > (step->>'position')::bigint
         AND (step->>'parent' IS NULL OR r.parent = step->>'parent')
       ORDER BY r.position LIMIT (step->>'limit')::integer) t);
END $$;

CREATE FUNCTION steps.update_resource(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  known countersign.resource;
  wanted countersign.resource;
BEGIN
  PERFORM steps.lock_resources(step->>'app');
  SELECT r.* INTO known FROM countersign.resource r
   WHERE r.app = step->>'app' AND r.id = step->>'id' AND r.kind = step->>'kind';
  IF NOT FOUND THEN RETURN '{"kind": "unknown"}'; END IF;
  wanted := known;
  wanted.unique_key := coalesce(step->>'uniqueKey', known.unique_key);
  IF wanted.unique_key IS DISTINCT FROM known.unique_key AND steps.is_key_taken(wanted) THEN
    RETURN '{"kind": "exists"}';
  END IF;
  UPDATE countersign.resource AS r SET
    -- as text and not as jsonb, which would put the fields in another order
    body = (SELECT coalesce(json_object_agg(f.key, f.value), '{}') FROM (
      SELECT coalesce(b.key, a.key) AS key, coalesce(b.value, a.value) AS value
        FROM json_each(known.body::json) WITH ORDINALITY AS a (key, value, place)
        FULL JOIN json_each((step->>'body')::json) WITH ORDINALITY AS b (key, value, place) ON b.key = a.key
       ORDER BY a.place, b.place) f)::text,
    unique_key = wanted.unique_key,
    updated_at = (step->>'now')::bigint
  WHERE r.position = known.position
  RETURNING r.* INTO known;
  RETURN jsonb_build_object('kind', 'updated', 'resource', to_jsonb(known));
END $$;

-- With all that belong to it, and to those.
CREATE FUNCTION steps.remove_resource(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM steps.lock_resources(step->>'app');
  IF steps.get_resource(step) IS NULL THEN RETURN 'false'; END IF;
  WITH RECURSIVE doomed (id) AS (
    SELECT (step->>'id') COLLATE "C"
    UNION
    SELECT r.id FROM countersign.resource r JOIN doomed ON r.app = step->>'app' AND r.parent = doomed.id)
  DELETE FROM countersign.resource r WHERE r.app = step->>'app' AND r.id IN (SELECT doomed.id FROM doomed);
  RETURN 'true';
END $$;
