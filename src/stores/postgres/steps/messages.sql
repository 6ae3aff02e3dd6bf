CREATE FUNCTION steps.add_message(step jsonb) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  moment bigint := (step->>'now')::bigint;
  message countersign.message := jsonb_populate_record(NULL::countersign.message, step->'message');
  refusal jsonb;
  looked record;
  budget jsonb;
BEGIN
  refusal := steps.repeated_request(message.app, step->'idempotency', moment);
  IF refusal IS NOT NULL THEN RETURN refusal; END IF;
  looked := steps.look_at_buckets(step->'buckets', moment, NULL);
  IF looked.refusal IS NOT NULL THEN RETURN looked.refusal; END IF;
  budget := steps.look_at_budget(message.app, step->'budget');
  IF budget = 'false' THEN RETURN '{"kind": "over-budget"}'; END IF;
  PERFORM steps.save_buckets(looked.keys, looked.logs, looked.idle_at);
  IF budget IS NOT NULL THEN
    PERFORM steps.add_spent(message.app, step->'budget'->>'day', (step->'budget'->>'micros')::bigint);
  END IF;
  PERFORM steps.keep_message(message, (step->>'orphanedAt')::bigint);
  PERFORM steps.keep_key(message.app, step->'idempotency');
  RETURN jsonb_build_object('kind', 'added') || CASE WHEN budget IS NULL THEN '{}' ELSE jsonb_build_object('budget', budget) END;
END $$;

CREATE FUNCTION steps.rank_of(state text) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN CASE state WHEN 'unknown' THEN 0 WHEN 'queued' THEN 1 WHEN 'sent' THEN 2 ELSE 3 END;
END $$;

-- The dispatch as the report leaves it: itself when the report says nothing new. What it says that it cost was looked at
-- by the caller.
CREATE FUNCTION steps.reported_dispatch(dispatch jsonb, report jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  is_news boolean;
BEGIN
  IF report IS NULL THEN RETURN dispatch; END IF;
  is_news := steps.rank_of(report->>'state') > steps.rank_of(dispatch->>'state');
  IF is_news THEN
    dispatch := dispatch || jsonb_build_object('state', report->'state');
    IF report ? 'reason' THEN dispatch := dispatch || jsonb_build_object('reason', report->'reason'); END IF;
    IF report ? 'code' THEN dispatch := dispatch || jsonb_build_object('errorCode', report->'code'); END IF;
  END IF;
  -- What it cost may be known later than what became of it.
  IF report ? 'cost' AND report->'cost' IS DISTINCT FROM dispatch->'reportedCost' THEN
    dispatch := dispatch || jsonb_build_object('reportedCost', report->'cost');
  END IF;
  RETURN dispatch;
END $$;

-- When a message is to be looked at again after a report on its last dispatch: at once when it did not arrive and another
-- way may do better, never when it did or when nobody may try.
CREATE FUNCTION steps.due_after(valid_until bigint, dispatch jsonb, report jsonb, moment bigint, due_before bigint)
RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF dispatch->>'state' = 'delivered' THEN RETURN NULL; END IF;
  IF dispatch->>'state' NOT IN ('failed', 'undelivered') THEN RETURN due_before; END IF;
  IF dispatch->>'reason' = 'recipient' OR report->>'optOut' = 'true' OR valid_until <= moment THEN RETURN NULL; END IF;
  RETURN moment;
END $$;

CREATE FUNCTION steps.lock_report(provider text, provider_message_id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM steps.lock('report ' || provider || ' ' || provider_message_id);
END $$;

-- Is that hand-over known, whatever was reported of it since?
CREATE FUNCTION steps.has_dispatch(id text, dispatch jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  known text;
BEGIN
  SELECT m.dispatches INTO known FROM countersign.message m WHERE m.id = has_dispatch.id FOR UPDATE;
  RETURN EXISTS (
    SELECT FROM jsonb_array_elements(steps.dispatches_of(coalesce(known, ''))) AS e (known)
     WHERE e.known->'provider' = dispatch->'provider' AND e.known->'at' = dispatch->'at'
       AND e.known->'providerMessageId' IS NOT DISTINCT FROM dispatch->'providerMessageId');
END $$;

CREATE FUNCTION steps.record_dispatch(step jsonb) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  moment bigint := (step->>'now')::bigint;
  message jsonb := step->'message';
  given jsonb := step->'dispatches';
  has_reports boolean := NOT step ? 'noReports';
  dispatch jsonb;
  reported jsonb;
  early jsonb;
  handed_over jsonb := '[]';
  changes countersign.usage[] := '{}';
  new_state text := step->>'state';
  next_due bigint := (step->>'dueAt')::bigint;
  is_kept boolean;
BEGIN
  IF step ? 'isRepeated' AND steps.has_dispatch(message->>'id', given->0) THEN RETURN NULL; END IF;
  FOR i IN 0..jsonb_array_length(given) - 1 LOOP
    dispatch := given->i;
    early := NULL;
    IF has_reports AND dispatch ? 'providerMessageId' THEN
      PERFORM steps.lock_report(dispatch->>'provider', dispatch->>'providerMessageId');
      DELETE FROM countersign.early_report e
       WHERE e.provider = dispatch->>'provider' AND e.provider_message_id = dispatch->>'providerMessageId'
      RETURNING e.report INTO early;
    END IF;
    reported := steps.reported_dispatch(dispatch, early);
    handed_over := handed_over || reported;
    changes := changes || steps.usage_of_dispatch(
      message->>'app', message->>'country', message->>'verification_id' IS NOT NULL, reported, 1);
  END LOOP;
  -- The message's state is its last dispatch's.
  IF reported IS DISTINCT FROM dispatch THEN
    new_state := reported->>'state';
    next_due := steps.due_after((message->>'valid_until')::bigint, reported, early, moment, next_due);
  END IF;
  UPDATE countersign.message AS m SET
    state = coalesce(new_state, m.state),
    dispatches = concat_ws(',', nullif(m.dispatches, ''), nullif(steps.dispatches_to_text(handed_over), ''))
  WHERE m.id = message->>'id';
  -- Erased while it was handed over: nothing that names its number may come back.
  is_kept := FOUND;
  IF is_kept THEN
    IF next_due IS NULL THEN
      DELETE FROM countersign.due d WHERE d.message_id = message->>'id';
    ELSE
      INSERT INTO countersign.due AS d (message_id, due_at) VALUES (message->>'id', next_due)
      ON CONFLICT (message_id) DO UPDATE SET due_at = excluded.due_at, leased_until = NULL, claims = 0;
    END IF;
    IF has_reports THEN
      FOR i IN 0..jsonb_array_length(handed_over) - 1 LOOP
        dispatch := handed_over->i;
        CONTINUE WHEN NOT dispatch ? 'providerMessageId';
        INSERT INTO countersign.provider_message AS p (provider, provider_message_id, message_id)
        VALUES (dispatch->>'provider', dispatch->>'providerMessageId', message->>'id')
        ON CONFLICT (provider, provider_message_id) DO UPDATE SET message_id = excluded.message_id;
      END LOOP;
    END IF;
    IF step ? 'answer' THEN
      UPDATE countersign.idempotency i SET answer = step->'answer'->>'text'
       WHERE i.app = step->'answer'->>'app' AND i.key = step->'answer'->>'key';
    END IF;
  END IF;
  IF step ? 'carried' AND message->>'verification_id' IS NOT NULL THEN
    PERFORM steps.record_carrier(message, step->'carried');
  END IF;
  PERFORM steps.add_usage(changes);
  IF step ? 'spent' THEN
    PERFORM steps.correct_spent(step->'spent' || jsonb_build_object('app', message->>'app'));
  END IF;
  RETURN NULL;
END $$;

-- After a hand-over: by which channel, and whose code it was. A newer code ended whatever was there before, also what was on
-- its way.
CREATE FUNCTION steps.record_carrier(message jsonb, carried jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v countersign.verification;
  managed jsonb := carried->'managed';
  before jsonb;
  is_ours_out boolean := false;
BEGIN
  IF managed IS NULL THEN
    UPDATE countersign.verification AS x SET channel = carried->>'channel', own_code_sent = true
     WHERE x.id = message->>'verification_id' AND x.app = message->>'app'
       AND x.code_number = (message->>'code_number')::integer
       -- Mostly it went as it was planned, and then nothing is written.
       AND (x.channel <> carried->>'channel' OR NOT x.own_code_sent);
    RETURN;
  END IF;
  SELECT x.* INTO v FROM countersign.verification x
   WHERE x.id = message->>'verification_id' AND x.app = message->>'app' FOR UPDATE;
  IF v.id IS NULL OR v.code_number <> (message->>'code_number')::integer THEN RETURN; END IF;
  SELECT steps.dispatches_of(m.dispatches) INTO before FROM countersign.message m WHERE m.id = message->>'id';
  FOR i IN 0..coalesce(jsonb_array_length(before), 0) - 2 LOOP
    -- A text that another provider took, or may have taken, has our code in it, and may still arrive.
    is_ours_out := is_ours_out
      OR (before->i->>'provider' <> managed->>'provider' AND steps.was_taken(before->i));
  END LOOP;
  UPDATE countersign.verification AS x SET
    channel = carried->>'channel',
    managed_provider = managed->>'provider',
    managed_id = managed->>'providerMessageId',
    own_code_sent = v.own_code_sent AND NOT (v.sends = 1 AND v.managed_provider IS NULL AND NOT is_ours_out)
  WHERE x.id = v.id;
END $$;

-- Before a hand-over: an e-mail is to carry the code.
CREATE FUNCTION steps.record_email(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  UPDATE countersign.verification v SET sent_by_email = true
   WHERE v.app = step->>'app' AND v.id = step->>'id';
  RETURN NULL;
END $$;

CREATE FUNCTION steps.record_report(step jsonb) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  moment bigint := (step->>'now')::bigint;
  from_provider text := step->>'provider';
  news jsonb := step->'report';
  their_id text := news->>'providerMessageId';
  known jsonb;
  m countersign.message;
  known_dispatches jsonb;
  index integer;
  dispatch jsonb;
  reported jsonb;
  is_last boolean;
  has_moved boolean;
  due_before bigint;
  leased_until bigint;
  wanted bigint;
  next_due bigint;
  is_approved boolean;
  changes countersign.usage[];
BEGIN
  PERFORM steps.lock_report(from_provider, their_id);
  SELECT x.* INTO m FROM countersign.message x
   WHERE x.id = (SELECT p.message_id FROM countersign.provider_message p
                  WHERE p.provider = from_provider AND p.provider_message_id = their_id)
     FOR UPDATE;
  IF m.id IS NULL THEN
    -- Early ones come out of order as well, and each may say what the others do not.
    SELECT e.report INTO known FROM countersign.early_report e
     WHERE e.provider = from_provider AND e.provider_message_id = their_id;
    IF known IS NOT NULL THEN
      news := CASE WHEN steps.rank_of(news->>'state') > steps.rank_of(known->>'state') THEN news ELSE known END
        || jsonb_strip_nulls(jsonb_build_object('cost', coalesce(news->'cost', known->'cost')));
    END IF;
    INSERT INTO countersign.early_report AS e (provider, provider_message_id, report, at)
    VALUES (from_provider, their_id, news, moment)
    ON CONFLICT ON CONSTRAINT early_report_pkey DO UPDATE SET report = excluded.report, at = excluded.at;
    RETURN '{"changed": false, "due": false}';
  END IF;
  known_dispatches := steps.dispatches_of(m.dispatches);
  FOR i IN 0..jsonb_array_length(known_dispatches) - 1 LOOP
    IF known_dispatches->i->>'provider' = from_provider AND known_dispatches->i->>'providerMessageId' = their_id THEN
      index := i;
      EXIT;
    END IF;
  END LOOP;
  IF index IS NULL THEN RETURN '{"changed": false, "due": false}'; END IF;
  dispatch := known_dispatches->index;
  reported := steps.reported_dispatch(dispatch, news);
  IF reported = dispatch THEN RETURN '{"changed": false, "due": false}'; END IF;
  is_last := index = jsonb_array_length(known_dispatches) - 1;
  has_moved := is_last AND reported->>'state' <> dispatch->>'state';
  SELECT d.due_at, d.leased_until INTO due_before, leased_until
    FROM countersign.due d WHERE d.message_id = m.id FOR UPDATE;
  wanted := CASE WHEN has_moved THEN steps.due_after(m.valid_until, reported, news, moment, due_before) ELSE due_before END;
  -- Whoever has taken the message up is sending it by another way already.
  next_due := CASE WHEN wanted = moment THEN greatest(moment, coalesce(leased_until, moment)) ELSE wanted END;
  UPDATE countersign.message AS x SET
    state = CASE WHEN is_last THEN reported->>'state' ELSE x.state END,
    dispatches = steps.dispatches_to_text(jsonb_set(known_dispatches, ARRAY[index::text], reported))
  WHERE x.id = m.id;
  IF next_due IS NULL THEN
    IF due_before IS NOT NULL THEN DELETE FROM countersign.due d WHERE d.message_id = m.id; END IF;
  ELSIF next_due IS DISTINCT FROM due_before THEN
    INSERT INTO countersign.due AS d (message_id, due_at) VALUES (m.id, next_due)
    ON CONFLICT (message_id) DO UPDATE SET due_at = excluded.due_at;
  END IF;
  changes := ARRAY[
    steps.usage_of_dispatch(m.app, m.country, m.verification_id IS NOT NULL, dispatch, -1),
    steps.usage_of_dispatch(m.app, m.country, m.verification_id IS NOT NULL, reported, 1)];
  IF m.verification_id IS NOT NULL AND reported->'reportedCost' IS DISTINCT FROM dispatch->'reportedCost' THEN
    -- Approved by the code that it carried last? Its row is locked: an approval at the same moment has counted the old cost,
    -- and is waited for, or comes after us and counts the new one.
    SELECT v.state = 'approved' AND right(v.message_ids, length(m.id)) = m.id INTO is_approved
      FROM countersign.verification v WHERE v.id = m.verification_id FOR SHARE;
  END IF;
  IF is_approved THEN
    changes := changes || steps.usage_of_approval(m.app, m.country, known_dispatches, -1)
      || steps.usage_of_approval(m.app, m.country, jsonb_set(known_dispatches, ARRAY[index::text], reported), 1);
  END IF;
  PERFORM steps.add_usage(changes);
  RETURN jsonb_build_object('changed', true, 'due', has_moved AND next_due IS NOT DISTINCT FROM moment);
END $$;

CREATE FUNCTION steps.get_message(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT to_jsonb(m) FROM countersign.message m WHERE m.id = step->>'id' AND m.app = step->>'app');
END $$;

-- There is no index by number or app (it would cost every start a page), so the history is walked, newest first, a larger slice each
-- time. Whoever is found in none of them is given up in time, and the server does not walk on for nobody.
CREATE FUNCTION steps.list_messages(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  before text := step->>'before';
  rows_left integer := (step->>'limit')::integer;
  slice integer := 500;
  lowest text;
  part jsonb;
  found jsonb := '[]';
  ids text[];
BEGIN
  IF step->>'verificationId' IS NOT NULL THEN
    SELECT string_to_array(v.message_ids, ' ') INTO ids FROM countersign.verification v
     WHERE v.id = step->>'verificationId' AND v.app = step->>'app';
    RETURN (
      SELECT jsonb_agg(to_jsonb(t)) FROM (
        SELECT m.* FROM countersign.message m
         WHERE m.id = ANY (ids) AND m.app = step->>'app' AND m.id < before AND m.id > step->>'after'
           AND (step->>'number' IS NULL OR m.number = step->>'number')
           AND (step->>'isCode' IS NULL OR (step->>'isCode')::boolean)
         ORDER BY m.id DESC LIMIT rows_left) t);
  END IF;
  LOOP
    SELECT m.id INTO lowest FROM countersign.message m
     WHERE m.id < before AND m.id > step->>'after' ORDER BY m.id DESC LIMIT 1 OFFSET slice;
    SELECT jsonb_agg(to_jsonb(t)) INTO part FROM (
      SELECT m.* FROM countersign.message m
       WHERE m.app = step->>'app' AND m.id < before AND m.id > step->>'after' AND (lowest IS NULL OR m.id >= lowest)
         AND (step->>'number' IS NULL OR m.number = step->>'number')
         AND (step->>'isCode' IS NULL OR (m.verification_id IS NOT NULL) = (step->>'isCode')::boolean)
       ORDER BY m.id DESC LIMIT rows_left) t;
    IF part IS NOT NULL THEN
      found := found || part;
      rows_left := rows_left - jsonb_array_length(part);
    END IF;
    IF lowest IS NULL OR rows_left = 0 THEN RETURN found; END IF;
    IF clock_timestamp() > statement_timestamp() + interval '1200ms' THEN
      RAISE query_canceled USING MESSAGE = 'too many messages to look through';
    END IF;
    before := lowest;
    slice := least(4 * slice, 50000);
  END LOOP;
END $$;

-- Each is handed to exactly one caller, with its verification.
CREATE FUNCTION steps.claim_due(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  lease bigint := (step->>'leaseUntil')::bigint;
  ids text[];
BEGIN
  ids := ARRAY(
    SELECT d.message_id FROM countersign.due d WHERE d.due_at <= (step->>'now')::bigint
     ORDER BY d.due_at LIMIT (step->>'limit')::integer FOR UPDATE SKIP LOCKED);
  IF array_length(ids, 1) IS NULL THEN RETURN NULL; END IF;
  UPDATE countersign.due d SET due_at = lease, leased_until = lease, claims = d.claims + 1 WHERE d.message_id = ANY (ids);
  RETURN (
    SELECT jsonb_agg(jsonb_build_object('message', to_jsonb(m), 'claims', d.claims, 'verification', to_jsonb(v)))
      FROM unnest(ids) WITH ORDINALITY AS t (id, place)
      JOIN countersign.due d ON d.message_id = t.id
      JOIN countersign.message m ON m.id = t.id
      LEFT JOIN countersign.verification v ON v.id = m.verification_id AND v.app = m.app);
END $$;

CREATE FUNCTION steps.get_answer(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT to_jsonb(i.answer) FROM countersign.idempotency i WHERE i.app = step->>'app' AND i.key = step->>'key');
END $$;
