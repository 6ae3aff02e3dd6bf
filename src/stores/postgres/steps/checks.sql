CREATE FUNCTION steps.wrong(v countersign.verification) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN jsonb_build_object('kind', 'wrong', 'verification', to_jsonb(v),
    'attemptsLeft', greatest(0, v.max_attempts - v.attempts));
END $$;

-- A code that is worth nothing any more is not kept.
CREATE FUNCTION steps.record_attempt(v countersign.verification) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE countersign.verification SET
    attempts = v.attempts, state = v.state, sealed_code = CASE WHEN v.state = 'pending' THEN sealed_code END
  WHERE id = v.id;
END $$;

-- What is kept of its row is locked by the caller.
CREATE FUNCTION steps.settle_approved(v countersign.verification) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  carried text;
BEGIN
  v.state := 'approved';
  v.sealed_code := NULL;
  PERFORM steps.record_attempt(v);
  SELECT m.dispatches INTO carried FROM countersign.message m
   WHERE m.id = substring(v.message_ids FROM '[^ ]+$') AND m.dispatches <> '';
  IF FOUND THEN
    PERFORM steps.add_usage(steps.usage_of_approval(v.app, v.country, steps.dispatches_of(carried), 1));
  END IF;
  RETURN jsonb_build_object('kind', 'approved', 'verification', to_jsonb(v));
END $$;

CREATE FUNCTION steps.approve_found(v countersign.verification, number countersign.number)
RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  -- Whoever reads a mailbox has shown nothing of a number: that gives nobody the guesses at it back.
  IF number.guesses ? v.lane AND (NOT v.sent_by_email OR v.email IS NOT DISTINCT FROM v.number) THEN
    PERFORM steps.save_number(steps.with_guesses(number, v.lane, NULL));
  END IF;
  RETURN steps.settle_approved(v);
END $$;

-- `v` and its number are locked. `digest` is the one of `v` that the given code is compared with.
CREATE FUNCTION steps.compare(
  v countersign.verification, number countersign.number, digest bytea, step jsonb, moment bigint
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  locked_ms bigint := steps.locked_for(number.guesses->v.lane, step->'guesses', moment);
BEGIN
  IF locked_ms > 0 THEN RETURN jsonb_build_object('kind', 'locked', 'retryAfterMs', locked_ms); END IF;
  v.attempts := v.attempts + 1;
  -- A code of ours that never went out is a code that nobody can know: it must not be guessed either.
  IF v.own_code_sent AND digest = (step->>'digest')::bytea THEN RETURN steps.approve_found(v, number); END IF;
  PERFORM steps.save_number(steps.with_guesses(
    number, v.lane, steps.count_guess(number.guesses->v.lane, step->'guesses', moment)));
  IF v.managed_provider IS NOT NULL THEN
    PERFORM steps.record_attempt(v);
    RETURN jsonb_build_object('kind', 'ask', 'verification', to_jsonb(v));
  END IF;
  IF v.attempts >= v.max_attempts THEN
    v.state := 'exhausted';
    v.sealed_code := NULL;
  END IF;
  PERFORM steps.record_attempt(v);
  RETURN steps.wrong(v);
END $$;

-- The number of the verification that is asked about, before anything is locked; null where there is none.
CREATE FUNCTION steps.number_asked_about(asked jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  v countersign.verification;
BEGIN
  IF asked->>'by' = 'slot' AND asked->>'number' IS NOT NULL THEN RETURN asked->>'number'; END IF;
  IF asked->>'by' = 'slot' THEN
    v := steps.live_in(asked->>'app', asked->>'subject', asked->>'purpose', asked->>'lane', '{}');
  ELSE
    v := steps.find_verification_by_id(asked->>'app', asked->>'id');
  END IF;
  RETURN v.number;
END $$;

CREATE FUNCTION steps."check"(step jsonb) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  moment bigint := (step->>'now')::bigint;
  app text := step->>'app';
  asked text := steps.number_asked_about(step);
  number countersign.number;
  looked record;
  outcome jsonb;
BEGIN
  IF asked IS NOT NULL THEN number := steps.read_number(app, asked); END IF;
  looked := steps.look_at_buckets(step->'buckets', moment, NULL);
  IF looked.refusal IS NOT NULL THEN RETURN looked.refusal; END IF;
  outcome := CASE WHEN step->>'by' = 'id' THEN steps.check_by_id(step, number, moment)
    ELSE steps.check_by_slot(step, number, moment) END;
  IF outcome->>'kind' IN ('wrong', 'ask') THEN PERFORM steps.save_buckets(looked.keys, looked.logs, looked.idle_at); END IF;
  RETURN outcome;
END $$;

CREATE FUNCTION steps.check_by_id(step jsonb, number countersign.number, moment bigint)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v countersign.verification;
  state text;
BEGIN
  SELECT x.* INTO v FROM countersign.verification x WHERE x.id = step->>'id' AND x.app = step->>'app' FOR UPDATE;
  -- Stored only after its number was looked for: nobody has its id yet.
  IF v.id IS NULL OR v.number IS DISTINCT FROM number.number
     OR (step->>'purpose' IS NOT NULL AND step->>'purpose' <> v.purpose)
     OR (step->>'subject' IS NOT NULL AND step->>'subject' IS DISTINCT FROM v.subject) THEN
    RETURN '{"kind": "unknown"}';
  END IF;
  state := steps.state_at(v, moment);
  IF state <> 'pending' THEN RETURN jsonb_build_object('kind', 'ended', 'state', state); END IF;
  -- Checks that wait for a managed provider's answer have their attempts counted, and no further one is let through.
  IF v.attempts >= v.max_attempts THEN RETURN '{"kind": "ended", "state": "exhausted"}'; END IF;
  IF (step->>'codeLength')::integer <> v.code_length THEN
    RETURN jsonb_build_object('kind', 'malformed', 'codeLength', v.code_length);
  END IF;
  RETURN steps.compare(v, number, v.digest_by_id, step, moment);
END $$;

-- A verification that nobody started, to be read and written where there is none to compare with: what a step takes would tell
-- else whether there was one. There are some, so that such steps do not wait for each other.
CREATE FUNCTION steps.decoy() RETURNS countersign.verification LANGUAGE plpgsql AS $$
DECLARE
  decoy_id text := 'decoy_' || pg_backend_pid() % 16;
  v countersign.verification;
BEGIN
  v := steps.find_verification_by_id('', decoy_id);
  IF v.id IS NULL THEN
    INSERT INTO countersign.verification (
      id, app, purpose, number, channel, locale, lane, state, attempts, max_attempts, sends, max_sends, nonce, code_number,
      code_length, digest_by_id, digest_by_slot, created_at, expires_at, resend_at, own_code_sent, sent_by_email, message_ids)
    VALUES (
      decoy_id, '', 'login', '+998900000000', 'sms', 'uz', 'open', 'pending', 0, 5, 1, 5, decode(repeat('00', 16), 'hex'), 0,
      6, decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'), 0, 0, 0, true, false, 'msg_' || repeat('0', 26))
    ON CONFLICT DO NOTHING;
  END IF;
  SELECT x.* INTO v FROM countersign.verification x WHERE x.id = decoy_id AND x.app = '' FOR UPDATE;
  RETURN v;
END $$;

-- Whether there is something to compare with or not: the same reads, the same writes, an answer of the same length. Who is
-- signed in (`number` is not said then) learns of nobody else's number, so there is nothing to level out.
CREATE FUNCTION steps.check_by_slot(step jsonb, number countersign.number, moment bigint)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  lane text := step->>'lane';
  v countersign.verification;
  locked_ms bigint;
BEGIN
  v := steps.live_in(step->>'app', step->>'subject', step->>'purpose', lane, coalesce(number.live, '{}'));
  IF v.id IS NOT NULL THEN
    SELECT x.* INTO v FROM countersign.verification x WHERE x.id = v.id FOR UPDATE;
  END IF;
  -- A subject's code is not bound to the number: this comparison is what keeps it from another one, and from one whose
  -- number is not the one that was locked.
  IF v.number = number.number AND steps.state_at(v, moment) = 'pending' AND v.attempts < v.max_attempts THEN
    RETURN steps.compare(v, number, v.digest_by_slot, step, moment);
  END IF;
  IF step->>'number' IS NULL THEN RETURN '{"kind": "wrong", "attemptsLeft": 0}'; END IF;
  locked_ms := steps.locked_for(number.guesses->lane, step->'guesses', moment);
  IF locked_ms > 0 THEN RETURN jsonb_build_object('kind', 'locked', 'retryAfterMs', locked_ms); END IF;
  IF v.id IS NULL THEN v := steps.decoy(); END IF;
  PERFORM steps.save_number(steps.with_guesses(
    number, lane, steps.count_guess(number.guesses->lane, step->'guesses', moment)));
  PERFORM steps.record_attempt(v);
  RETURN jsonb_build_object('kind', 'wrong', 'unused', to_jsonb(v), 'attemptsLeft', 0);
END $$;

-- What a managed provider said about a code that `check` let through.
CREATE FUNCTION steps.settle_check(step jsonb) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  moment bigint := (step->>'now')::bigint;
  verdict text := step->>'verdict';
  v countersign.verification := steps.find_verification_by_id(step->>'app', step->>'id');
  number countersign.number;
BEGIN
  IF v.id IS NULL THEN RETURN '{"kind": "unknown"}'; END IF;
  number := steps.read_number(v.app, v.number);
  SELECT x.* INTO v FROM countersign.verification x WHERE x.id = v.id FOR UPDATE;
  IF v.id IS NULL THEN RETURN '{"kind": "unknown"}'; END IF;
  -- Not `expired`: the check came in time. `exhausted` by a wrong one that was answered sooner, with this one under way.
  IF v.state NOT IN ('pending', 'exhausted') THEN RETURN jsonb_build_object('kind', 'ended', 'state', v.state); END IF;
  IF verdict = 'approved' AND (step->>'codeNumber')::integer = v.code_number THEN
    RETURN steps.approve_found(v, number);
  END IF;
  IF verdict = 'unanswered' THEN
    PERFORM steps.save_number(steps.with_guesses(
      number, v.lane, steps.uncount_guess(number.guesses->v.lane, step->'guesses', moment)));
    v.attempts := greatest(0, v.attempts - 1);
  END IF;
  IF v.attempts >= v.max_attempts THEN v.state := 'exhausted'; END IF;
  PERFORM steps.record_attempt(v);
  RETURN steps.wrong(v);
END $$;

-- What an operator does with a verification: it is locked, and the refusal is null when it is pending.
CREATE FUNCTION steps.take_pending(asked jsonb, OUT v countersign.verification, OUT refusal jsonb) LANGUAGE plpgsql AS $$
DECLARE
  state text;
BEGIN
  SELECT x.* INTO v FROM countersign.verification x WHERE x.id = asked->>'id' AND x.app = asked->>'app' FOR UPDATE;
  state := steps.state_at(v, (asked->>'now')::bigint);
  refusal := CASE WHEN v.id IS NULL THEN '{"kind": "unknown"}'
    WHEN state <> 'pending' THEN jsonb_build_object('kind', 'ended', 'state', state) END;
END $$;

CREATE FUNCTION steps.approve(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  taken record := steps.take_pending(step);
BEGIN
  IF taken.refusal IS NOT NULL THEN RETURN taken.refusal; END IF;
  RETURN steps.settle_approved(taken.v);
END $$;

CREATE FUNCTION steps.cancel(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  taken record := steps.take_pending(step);
  v countersign.verification := taken.v;
BEGIN
  IF taken.refusal IS NOT NULL THEN RETURN taken.refusal; END IF;
  v.state := 'canceled';
  v.sealed_code := NULL;
  PERFORM steps.record_attempt(v);
  RETURN jsonb_build_object('kind', 'canceled', 'verification', to_jsonb(v));
END $$;

CREATE FUNCTION steps.get_verification(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v countersign.verification := steps.find_verification_by_id(step->>'app', step->>'id');
BEGIN
  RETURN CASE WHEN v.id IS NULL THEN NULL ELSE to_jsonb(v) END;
END $$;

-- The newest of a slot, in either lane.
CREATE FUNCTION steps.find_verification(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  app text := step->>'app';
  live jsonb;
  lane text;
  v countersign.verification;
  newest countersign.verification;
BEGIN
  SELECT n.live INTO live FROM countersign.number n WHERE n.app = step->>'app' AND n.number = step->>'number';
  FOREACH lane IN ARRAY ARRAY['open', 'trusted'] LOOP
    v := steps.live_in(app, step->>'subject', step->>'purpose', lane, coalesce(live, '{}'));
    -- Ids sort by the moment they were made.
    IF v.number = step->>'number' AND (newest.id IS NULL OR v.id > newest.id) THEN newest := v; END IF;
  END LOOP;
  RETURN CASE WHEN newest.id IS NULL THEN NULL ELSE to_jsonb(newest) END;
END $$;
