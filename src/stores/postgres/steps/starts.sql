-- The state at that moment: a pending verification is expired from the very millisecond of `expires_at` on.
CREATE FUNCTION steps.state_at(v countersign.verification, moment bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN CASE WHEN v.state = 'pending' AND moment >= v.expires_at THEN 'expired' ELSE v.state END;
END $$;

CREATE FUNCTION steps.find_verification_by_id(app text, id text) RETURNS countersign.verification LANGUAGE plpgsql AS $$
DECLARE
  found_one countersign.verification;
BEGIN
  SELECT v.* INTO found_one FROM countersign.verification v
   WHERE v.id = find_verification_by_id.id AND v.app = find_verification_by_id.app;
  RETURN found_one;
END $$;

-- The verification that was started last in a slot: the subject's, whatever its number, or else the number's.
CREATE FUNCTION steps.live_in(app text, subject text, purpose text, lane text, live jsonb)
RETURNS countersign.verification LANGUAGE plpgsql AS $$
DECLARE
  live_id text;
BEGIN
  IF subject IS NULL THEN
    live_id := live->>(lane || ' ' || purpose);
  ELSE
    SELECT s.verification_id INTO live_id FROM countersign.subject s
     WHERE s.app = live_in.app AND s.subject = live_in.subject AND s.purpose = live_in.purpose AND s.lane = live_in.lane;
  END IF;
  RETURN CASE WHEN live_id IS NULL THEN NULL::countersign.verification
    ELSE steps.find_verification_by_id(app, live_id) END;
END $$;

-- What a request with this key was answered: null when it may go on, and then nobody else with the key is let in before it
-- has ended.
CREATE FUNCTION steps.repeated_request(app text, idempotency jsonb, moment bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  kept countersign.idempotency;
BEGIN
  IF idempotency IS NULL OR jsonb_typeof(idempotency) = 'null' THEN RETURN NULL; END IF;
  PERFORM steps.lock('key ' || app || ' ' || (idempotency->>'key'));
  SELECT i.* INTO kept FROM countersign.idempotency i WHERE i.app = repeated_request.app AND i.key = idempotency->>'key';
  -- An expired key may lie there until the next sweep.
  IF kept.key IS NULL OR kept.expires_at <= moment THEN RETURN NULL; END IF;
  IF kept.fingerprint <> idempotency->>'fingerprint' THEN RETURN '{"kind": "conflict"}'; END IF;
  RETURN jsonb_build_object('kind', 'replayed') ||
    CASE WHEN kept.answer IS NULL THEN '{}' ELSE jsonb_build_object('answer', kept.answer) END;
END $$;

CREATE FUNCTION steps.keep_key(app text, idempotency jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF idempotency IS NULL OR jsonb_typeof(idempotency) = 'null' THEN RETURN; END IF;
  INSERT INTO countersign.idempotency AS i (app, key, fingerprint, answer, expires_at)
  VALUES (keep_key.app, idempotency->>'key', idempotency->>'fingerprint', NULL, (idempotency->>'expiresAt')::bigint)
  ON CONFLICT ON CONSTRAINT idempotency_pkey
  DO UPDATE SET fingerprint = excluded.fingerprint, answer = NULL, expires_at = excluded.expires_at;
END $$;

CREATE FUNCTION steps.keep_message(message countersign.message, due_at bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  message.revision := 0;
  INSERT INTO countersign.message VALUES (message.*);
  INSERT INTO countersign.due (message_id, due_at) VALUES (message.id, keep_message.due_at);
END $$;

-- The message of a verification that was started, repeated or sent again.
CREATE FUNCTION steps.keep_message_for(v countersign.verification, step jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  message countersign.message := jsonb_populate_record(NULL::countersign.message, step->'message');
BEGIN
  message.verification_id := v.id;
  message.code_number := v.code_number;
  message.valid_until := v.expires_at;
  PERFORM steps.keep_message(message, (step->>'orphanedAt')::bigint);
END $$;

-- Writes what a further send changes.
CREATE FUNCTION steps.save_send(v countersign.verification) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE countersign.verification SET
    sends = v.sends, channel = v.channel, resend_at = v.resend_at, code_number = v.code_number,
    digest_by_id = v.digest_by_id, digest_by_slot = v.digest_by_slot, ending = v.ending, email = v.email,
    message_ids = v.message_ids, managed_provider = v.managed_provider, managed_id = v.managed_id,
    sent_by_email = v.sent_by_email, own_code_sent = v.own_code_sent, code_length = v.code_length,
    sealed_code = v.sealed_code, wording = v.wording
  WHERE id = v.id;
END $$;

-- When the send after `sends` sends may follow. `delays` is the delay after the first send, the second …, in ms.
CREATE FUNCTION steps.resend_delay(sends integer, delays bigint[]) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN coalesce(delays[least(sends, array_length(delays, 1))], 0);
END $$;

-- An app that makes purposes up as it goes (`order-4711`) must not make a number's row longer with each. An exhausted one
-- may be one that is kept: until it expires nothing takes its place.
CREATE FUNCTION steps.without_ended(app text, live jsonb, moment bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  kept jsonb := '{}';
  slot record;
  v countersign.verification;
BEGIN
  FOR slot IN SELECT key, value FROM jsonb_each_text(live) LOOP
    v := steps.find_verification_by_id(app, slot.value);
    IF v.id IS NOT NULL AND moment < v.expires_at AND v.state IN ('pending', 'exhausted') THEN
      kept := kept || jsonb_build_object(slot.key, slot.value);
    END IF;
  END LOOP;
  RETURN kept;
END $$;

CREATE FUNCTION steps.start(step jsonb) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  moment bigint := (step->>'now')::bigint;
  wanted countersign.verification := jsonb_populate_record(NULL::countersign.verification, step->'verification');
  is_kept boolean := (step->>'keep')::boolean;
  delays bigint[] := (step->>'delays')::bigint[];
  refusal jsonb;
  number countersign.number;
  looked record;
  budget jsonb;
  locked_ms bigint;
  live countersign.verification;
  is_live boolean;
  is_same_number boolean;
  is_repeated boolean;
  is_recoded boolean;
BEGIN
  refusal := steps.repeated_request(wanted.app, step->'idempotency', moment);
  IF refusal IS NOT NULL THEN RETURN refusal; END IF;
  number := steps.read_number(wanted.app, wanted.number);
  IF wanted.subject IS NOT NULL THEN
    PERFORM steps.lock('subject ' || wanted.app || ' ' || wanted.subject);
  END IF;
  locked_ms := steps.locked_for(number.guesses->wanted.lane, step->'guesses', moment);
  IF locked_ms > 0 THEN RETURN jsonb_build_object('kind', 'locked', 'retryAfterMs', locked_ms); END IF;
  looked := steps.look_at_buckets(step->'buckets', moment, number.starts);
  IF looked.refusal IS NOT NULL THEN RETURN looked.refusal; END IF;
  budget := steps.look_at_budget(wanted.app, step->'budget');
  IF budget = 'false' THEN RETURN '{"kind": "over-budget"}'; END IF;

  live := steps.live_in(wanted.app, wanted.subject, wanted.purpose, wanted.lane, number.live);
  IF live.id IS NOT NULL THEN
    -- Read anew: a check that is under way may be at it, and the row's lock is what both go by.
    SELECT v.* INTO live FROM countersign.verification v WHERE v.id = live.id FOR UPDATE;
  END IF;
  is_same_number := coalesce(live.number = wanted.number, false);
  IF is_kept AND is_same_number AND moment < live.expires_at AND live.state IN ('pending', 'exhausted') THEN
    IF live.state = 'exhausted' OR live.attempts >= live.max_attempts THEN
      RETURN jsonb_build_object('kind', 'used-up', 'what', 'attempts', 'retryAfterMs', live.expires_at - moment);
    ELSIF live.sends >= live.max_sends THEN
      RETURN jsonb_build_object('kind', 'used-up', 'what', 'sends', 'retryAfterMs', live.expires_at - moment);
    END IF;
  END IF;
  is_live := live.id IS NOT NULL AND steps.state_at(live, moment) = 'pending';
  is_repeated := is_live AND is_same_number AND (
    is_kept OR (
      (step->>'repeat')::boolean AND live.sends < live.max_sends
      -- Nobody can read, switch apps and type in less.
      AND live.expires_at - moment >= least(120000, (live.expires_at - live.created_at) / 2.0)));
  is_recoded := is_repeated AND wanted.sealed_code IS NOT NULL AND wanted.digest_by_slot <> live.digest_by_slot;
  IF is_recoded AND live.id IS DISTINCT FROM step->'recode'->>'id' THEN
    RETURN jsonb_build_object('kind', 'changed', 'id', live.id);
  END IF;

  PERFORM steps.save_buckets(looked.keys, looked.logs, looked.idle_at);
  IF looked.starts_after IS NOT NULL THEN number.starts := looked.starts_after; END IF;
  IF budget IS NOT NULL THEN
    PERFORM steps.add_spent(wanted.app, step->'budget'->>'day', (step->'budget'->>'micros')::bigint);
  END IF;
  IF is_repeated THEN
    live.sends := live.sends + 1;
    live.channel := wanted.channel;
    live.resend_at := moment + steps.resend_delay(live.sends, delays);
    live.ending := wanted.ending;
    live.email := coalesce(wanted.email, live.email);
    live.wording := wanted.wording;
    live.sent_by_email := live.sent_by_email OR wanted.channel = 'email';
    live.message_ids := concat_ws(' ', live.message_ids, step->'message'->>'id');
    IF is_recoded THEN
      -- As after a resend with a new code: the older one is worth nothing, a managed provider's neither.
      live.digest_by_id := (step->'recode'->>'digest_by_id')::bytea;
      live.digest_by_slot := (step->'recode'->>'digest_by_slot')::bytea;
      live.sealed_code := (step->'recode'->>'sealed_code')::bytea;
      live.code_length := wanted.code_length;
      live.code_number := live.code_number + 1;
      live.managed_provider := NULL;
      live.managed_id := NULL;
      live.own_code_sent := true;
    END IF;
    PERFORM steps.save_send(live);
  ELSE
    IF is_live THEN
      -- Two codes for one slot would be two chances a guess.
      UPDATE countersign.verification SET state = 'canceled', sealed_code = NULL WHERE id = live.id AND state = 'pending';
    END IF;
    live := wanted;
    live.message_ids := step->'message'->>'id';
    live.revision := 0;
    INSERT INTO countersign.verification VALUES (live.*);
    IF wanted.subject IS NULL THEN
      -- Cleaned now and then: how many purposes there are is asked of the text, which is cheaper than to count them.
      IF length(number.live::text) > 400 THEN number.live := steps.without_ended(wanted.app, number.live, moment); END IF;
      number.live := number.live || jsonb_build_object(wanted.lane || ' ' || wanted.purpose, wanted.id);
    ELSE
      INSERT INTO countersign.subject AS s (app, subject, purpose, lane, verification_id)
      VALUES (wanted.app, wanted.subject, wanted.purpose, wanted.lane, wanted.id)
      ON CONFLICT (app, subject, purpose, lane) DO UPDATE SET verification_id = excluded.verification_id;
    END IF;
  END IF;
  PERFORM steps.save_number(number);
  PERFORM steps.keep_message_for(live, step);
  PERFORM steps.keep_key(wanted.app, step->'idempotency');
  -- A new one is as the caller made it; only one that was there before has to be told.
  RETURN jsonb_build_object('kind', 'started')
    || CASE WHEN is_repeated THEN jsonb_build_object('verification', to_jsonb(live)) ELSE '{}' END
    || CASE WHEN budget IS NULL THEN '{}' ELSE jsonb_build_object('budget', budget) END;
END $$;

CREATE FUNCTION steps.resend(step jsonb) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  moment bigint := (step->>'now')::bigint;
  app text := step->>'app';
  code jsonb := nullif(step->'code', 'null');
  refusal jsonb;
  v countersign.verification;
  state text;
  number countersign.number;
  locked_ms bigint;
  looked record;
  budget jsonb;
BEGIN
  refusal := steps.repeated_request(app, step->'idempotency', moment);
  IF refusal IS NOT NULL THEN RETURN refusal; END IF;
  v := steps.find_verification_by_id(app, step->>'id');
  IF v.id IS NULL THEN RETURN '{"kind": "unknown"}'; END IF;
  number := steps.read_number(app, v.number);
  v := steps.find_verification_by_id(app, v.id);
  IF v.id IS NULL THEN RETURN '{"kind": "unknown"}'; END IF;
  state := steps.state_at(v, moment);
  IF state <> 'pending' THEN RETURN jsonb_build_object('kind', 'ended', 'state', state); END IF;
  IF v.sends >= v.max_sends THEN RETURN '{"kind": "sends-exhausted"}'; END IF;
  IF moment < v.resend_at THEN
    RETURN jsonb_build_object('kind', 'too-early', 'retryAfterMs', v.resend_at - moment);
  END IF;
  IF code IS NOT NULL AND (code->>'replaces')::integer <> v.code_number THEN RETURN '{"kind": "changed"}'; END IF;
  locked_ms := steps.locked_for(number.guesses->v.lane, step->'guesses', moment);
  IF locked_ms > 0 THEN RETURN jsonb_build_object('kind', 'locked', 'retryAfterMs', locked_ms); END IF;
  looked := steps.look_at_buckets(step->'buckets', moment, number.starts);
  IF looked.refusal IS NOT NULL THEN RETURN looked.refusal; END IF;
  budget := steps.look_at_budget(app, step->'budget');
  IF budget = 'false' THEN RETURN '{"kind": "over-budget"}'; END IF;
  -- The row comes last of all locks. Whoever does not need the number's (a hand-over's outcome, a start for the same subject
  -- and another number) may have changed it since it was read.
  SELECT x.* INTO v FROM countersign.verification x WHERE x.id = v.id FOR UPDATE;
  IF v.state IS DISTINCT FROM 'pending' THEN
    RETURN CASE WHEN v.id IS NULL THEN '{"kind": "unknown"}'::jsonb
      ELSE jsonb_build_object('kind', 'ended', 'state', v.state) END;
  END IF;

  PERFORM steps.save_buckets(looked.keys, looked.logs, looked.idle_at);
  IF looked.starts_after IS NOT NULL THEN number.starts := looked.starts_after; END IF;
  IF budget IS NOT NULL THEN
    PERFORM steps.add_spent(app, step->'budget'->>'day', (step->'budget'->>'micros')::bigint);
  END IF;
  v.sends := v.sends + 1;
  v.channel := step->>'channel';
  v.resend_at := moment + steps.resend_delay(v.sends, (step->>'delays')::bigint[]);
  IF code IS NOT NULL THEN
    v.code_number := (code->>'codeNumber')::integer;
    v.digest_by_id := (code->>'digest_by_id')::bytea;
    v.digest_by_slot := (code->>'digest_by_slot')::bytea;
    -- A new code ends whatever was there before, a managed provider's too.
    v.managed_provider := NULL;
    v.managed_id := NULL;
  END IF;
  v.ending := coalesce(step->>'ending', v.ending);
  v.sent_by_email := v.sent_by_email OR v.channel = 'email';
  v.message_ids := concat_ws(' ', v.message_ids, step->'message'->>'id');
  PERFORM steps.save_send(v);
  PERFORM steps.save_number(number);
  PERFORM steps.keep_message_for(v, step);
  PERFORM steps.keep_key(app, step->'idempotency');
  RETURN jsonb_build_object('kind', 'resent', 'verification', to_jsonb(v))
    || CASE WHEN budget IS NULL THEN '{}' ELSE jsonb_build_object('budget', budget) END;
END $$;
