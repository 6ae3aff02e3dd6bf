-- There is no index by number (it would cost every start a page), so the history is walked, newest first: what is still alive
-- goes first. Rows walked in one step: a thousand.

-- Ends what is pending, as far as it is known by number: a subject's is young, and met in the first slices.
CREATE FUNCTION steps.cancel_live(app text, number text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  kept countersign.number := steps.read_number(app, number);
BEGIN
  UPDATE countersign.verification v SET state = 'canceled', sealed_code = NULL
   WHERE v.id IN (SELECT value FROM jsonb_each_text(kept.live)) AND v.state = 'pending';
  IF kept.starts = '{}' AND kept.guesses IS NULL THEN
    DELETE FROM countersign.number n WHERE n.app = cancel_live.app AND n.number = cancel_live.number;
  ELSE
    UPDATE countersign.number n SET live = '{}' WHERE n.app = cancel_live.app AND n.number = cancel_live.number;
  END IF;
END $$;

CREATE FUNCTION steps.erase_history(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  wanted_app text := step->>'app';
  wanted_number text := step->>'number';
  -- `~` sorts after every id of its kind
  resume_at text := coalesce(step->>'resumeAt', 'ver_~');
  last text;
  erased record;
BEGIN
  PERFORM steps.lock_number(wanted_app, wanted_number);
  IF step->>'resumeAt' IS NULL THEN
    PERFORM steps.cancel_live(wanted_app, wanted_number);
    RETURN to_jsonb(resume_at);
  END IF;
  IF resume_at LIKE 'ver%' THEN
    -- A decoy (see checks.sql) is nobody's.
    SELECT v.id INTO last FROM countersign.verification v
     WHERE v.id < resume_at AND v.id > 'ver' ORDER BY v.id DESC LIMIT 1 OFFSET 999;
    FOR erased IN
      DELETE FROM countersign.verification v
       WHERE v.id < resume_at AND v.id >= coalesce(last, '') AND v.number = wanted_number AND v.app = wanted_app
      RETURNING v.id, v.subject, v.purpose, v.lane
    LOOP
      DELETE FROM countersign.subject s
       WHERE s.app = wanted_app AND s.subject = erased.subject AND s.purpose = erased.purpose AND s.lane = erased.lane
         AND s.verification_id = erased.id;
    END LOOP;
    RETURN to_jsonb(coalesce(last, 'msg_~'));
  END IF;
  SELECT m.id INTO last FROM countersign.message m WHERE m.id < resume_at ORDER BY m.id DESC LIMIT 1 OFFSET 999;
  FOR erased IN
    DELETE FROM countersign.message m
     WHERE m.id < resume_at AND m.id >= coalesce(last, '') AND m.number = wanted_number AND m.app = wanted_app
    RETURNING m.id, m.dispatches, m.idempotency_key, m.created_at
  LOOP
    DELETE FROM countersign.due d WHERE d.message_id = erased.id;
    DELETE FROM countersign.provider_message p USING jsonb_array_elements(steps.dispatches_of(erased.dispatches)) AS e (dispatch)
     WHERE p.provider = e.dispatch->>'provider' AND p.provider_message_id = e.dispatch->>'providerMessageId'
       AND p.message_id = erased.id;
    -- A key that has ended may be another message's by now.
    UPDATE countersign.idempotency i SET answer = step->>'answer'
     WHERE i.app = wanted_app AND i.key = erased.idempotency_key
       AND i.expires_at < erased.created_at + 2 * (step->>'keyTtlMs')::bigint;
  END LOOP;
  RETURN to_jsonb(last);
END $$;
