-- The example that was kept first stays: one is enough.
CREATE FUNCTION steps.record_shadow(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO countersign.shadow AS s
  SELECT t.* FROM jsonb_populate_record(NULL::countersign.shadow, step) t
  ON CONFLICT (day, app, dialect, route, outcome, upstream_status, our_status, difference)
  DO UPDATE SET count = s.count + excluded.count;
  RETURN NULL;
END $$;

CREATE FUNCTION steps.read_shadow(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (
    SELECT jsonb_agg(to_jsonb(t)) FROM (
      SELECT s.* FROM countersign.shadow s
       WHERE s.day BETWEEN step->>'from' AND step->>'to' AND (step->>'app' IS NULL OR s.app = step->>'app')
       ORDER BY s.day, s.app, s.dialect, s.route) t);
END $$;
