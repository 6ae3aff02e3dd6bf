-- Steps that belong together wait for each other by a lock of a name, held until the step's transaction ends. Names are taken
-- in one order by all steps, so that no two wait for each other: the idempotency key, the number, the subject, buckets by
-- their keys, the budget, a provider's message. Rows come after all of them, and these in one order too: a message, when it is
-- due, what it is found by, its verification, buckets, sums, the budget. Housekeeping passes by what somebody has locked.
--
-- With `countersign.waits` off (see batch.sql) nobody waits: what cannot be had at once is said to be so.
CREATE FUNCTION steps.lock(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('countersign.waits', true) IS DISTINCT FROM 'off' THEN
    PERFORM pg_advisory_xact_lock(hashtextextended(name, 0));
  ELSIF NOT pg_try_advisory_xact_lock(hashtextextended(name, 0)) THEN
    RAISE lock_not_available USING MESSAGE = 'taken';
  END IF;
END $$;

CREATE FUNCTION steps.lock_number(app text, number text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM steps.lock('number ' || app || ' ' || number);
END $$;
