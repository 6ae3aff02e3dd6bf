-- Locks are waited for so long from now on.
CREATE FUNCTION steps.wait_at_most(span interval) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('lock_timeout', greatest(1, 1000 * extract(epoch FROM span))::integer::text, true);
END $$;

-- Steps that were asked for while others were under way share one transaction, and one wait for the disk. The first waits for its
-- locks, for half of the time, so that something is left for the others; those behind it take theirs at once or are handed back,
-- for nobody may wait while holding what others wait for. Each is a whole: one that fails takes nothing back of its neighbours.
-- Once somebody else has a row, or the time is over, those that have not begun are handed back too: one wait is enough for all.
CREATE FUNCTION steps.run_together(batch jsonb) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  outcomes jsonb[] := '{}';
  outcome jsonb;
  step jsonb;
  time_left interval := current_setting('lock_timeout');
  latest timestamptz := statement_timestamp() + time_left;
  is_over boolean := false;
BEGIN
  PERFORM steps.wait_at_most(time_left / 2);
  PERFORM set_config('countersign.spent', 'null', true);
  FOR i IN 0..jsonb_array_length(batch) - 1 LOOP
    IF is_over OR clock_timestamp() > latest THEN
      outcomes := outcomes || '{"code": "55P03", "message": "not begun"}'::jsonb;
      CONTINUE;
    END IF;
    IF i = 1 THEN
      PERFORM set_config('countersign.waits', 'off', true);
      -- Rows have no such order among several steps: whoever has one is through in a moment, or waits for one of ours.
      PERFORM steps.wait_at_most('50ms');
    END IF;
    step := batch->i->'step';
    BEGIN
      outcome := CASE batch->i->>'name'
        WHEN 'start' THEN steps.start(step)
        WHEN 'resend' THEN steps.resend(step)
        WHEN 'check' THEN steps."check"(step)
        WHEN 'add_message' THEN steps.add_message(step)
        WHEN 'record_dispatch' THEN steps.record_dispatch(step)
        WHEN 'record_report' THEN steps.record_report(step)
      END;
      outcomes := outcomes || jsonb_build_object('outcome', outcome);
    EXCEPTION WHEN OTHERS THEN
      is_over := i > 0 AND SQLSTATE = '55P03' AND SQLERRM <> 'taken';
      outcomes := outcomes || jsonb_build_object('code', SQLSTATE, 'message', SQLERRM);
    END;
  END LOOP;
  IF current_setting('countersign.spent') <> 'null' THEN
    -- In one order nothing crosses, so there is time to wait.
    PERFORM steps.wait_at_most(latest - clock_timestamp());
    PERFORM steps.write_spent(current_setting('countersign.spent'));
  END IF;
  RETURN to_jsonb(outcomes);
END $$;
