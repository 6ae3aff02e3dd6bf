-- Makes the table of a day, where there is none yet. It is made by itself and then attached, which keeps nobody waiting: made
-- as a partition it would lock the whole history.
CREATE FUNCTION steps.ensure_day(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  name text := step->>'name';
BEGIN
  PERFORM steps.lock('day ' || name);
  IF to_regclass('countersign.' || name) IS NOT NULL THEN RETURN NULL; END IF;
  -- Room is left in each page, so that a row that changes stays on its page. The check says what the bounds say: without it
  -- the rows would be read when the table is attached.
  EXECUTE format(
    'CREATE TABLE countersign.%I (LIKE countersign.%I INCLUDING ALL, CONSTRAINT of_that_day CHECK (id >= %L AND id < %L)) WITH (fillfactor = 80)',
    name, step->>'parent', step->>'from', step->>'to');
  EXECUTE format(
    'ALTER TABLE countersign.%I ATTACH PARTITION countersign.%I FOR VALUES FROM (%L) TO (%L)',
    step->>'parent', name, step->>'from', step->>'to');
  EXECUTE format('ALTER TABLE countersign.%I DROP CONSTRAINT of_that_day', name);
  RETURN NULL;
END $$;

-- Drops the table of a day, unless it is in use: false then. For a moment that takes the whole history to itself, so whoever comes
-- meanwhile waits behind us; nobody is to wait for a backup, which reads for an hour.
CREATE FUNCTION steps.drop_day(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('lock_timeout', '50ms', true);
  EXECUTE format('DROP TABLE IF EXISTS countersign.%I', step->>'name');
  RETURN 'true';
EXCEPTION WHEN lock_not_available THEN
  RETURN 'false';
END $$;
