-- Deletes a bounded number of what no rule looks at any more. Verifications and messages are not among it: whole days of them
-- are dropped at once (see partitions.ts).
--
-- Tables without an index by time are walked, a piece at a time, in the order of their keys: `cursors` says where each is at,
-- and comes back for the next step. What somebody has locked is in use, and passed by: it waits for nobody, since it has many
-- rows locked itself.
CREATE FUNCTION steps.sweep(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  moment bigint := (step->>'now')::bigint;
  long_ago bigint := (step->>'longAgo')::bigint;
  cursors jsonb := step->'cursors';
  gone bigint;
  deleted bigint := 0;
  first text[];
  last text[];
BEGIN
  DELETE FROM countersign.shadow s WHERE s.ctid = ANY (ARRAY(
    SELECT x.ctid FROM countersign.shadow x WHERE x.day < step->>'historyDay'
     ORDER BY x.day LIMIT 500 FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS gone = ROW_COUNT; deleted := deleted + gone;
  DELETE FROM countersign.usage u WHERE u.ctid = ANY (ARRAY(
    SELECT x.ctid FROM countersign.usage x WHERE x.day < step->>'usageDay'
     ORDER BY x.day LIMIT 500 FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS gone = ROW_COUNT; deleted := deleted + gone;
  DELETE FROM countersign.budget b WHERE b.ctid = ANY (ARRAY(
    SELECT x.ctid FROM countersign.budget x WHERE x.day < step->>'budgetDay'
     ORDER BY x.day LIMIT 500 FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS gone = ROW_COUNT; deleted := deleted + gone;
  DELETE FROM countersign.idempotency i WHERE i.ctid = ANY (ARRAY(
    SELECT x.ctid FROM countersign.idempotency x WHERE x.expires_at < moment
     ORDER BY x.expires_at LIMIT 500 FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS gone = ROW_COUNT; deleted := deleted + gone;
  DELETE FROM countersign.access_token t WHERE t.ctid = ANY (ARRAY(
    SELECT x.ctid FROM countersign.access_token x WHERE x.expires_at < moment
     ORDER BY x.expires_at LIMIT 500 FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS gone = ROW_COUNT; deleted := deleted + gone;

  first := ARRAY(SELECT jsonb_array_elements_text(coalesce(cursors->'number', '["", ""]')));
  SELECT ARRAY[x.app, x.number] INTO last FROM countersign.number x WHERE (x.app, x.number) > (first[1], first[2])
   ORDER BY x.app, x.number LIMIT 1 OFFSET 499;
  DELETE FROM countersign.number n WHERE n.ctid = ANY (ARRAY(
    SELECT x.ctid FROM countersign.number x
     WHERE (x.app, x.number) > (first[1], first[2]) AND (last IS NULL OR (x.app, x.number) <= (last[1], last[2]))
       AND coalesce(x.starts[array_length(x.starts, 1) - 1], 0) <= long_ago
       AND NOT EXISTS (
         SELECT FROM jsonb_each(x.guesses) g
          WHERE (g.value->>'lockedUntil')::bigint > long_ago OR coalesce((g.value->'log'->>-2)::bigint, 0) > long_ago)
       -- Asked for itself: without a limit per number there is no start to go by. Ids are time-ordered, and no verification
       -- lives longer than minutes.
       AND NOT EXISTS (
         SELECT FROM jsonb_each_text(x.live) l WHERE l.value COLLATE "C" >= step->>'oldestThatCounts')
     FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS gone = ROW_COUNT; deleted := deleted + gone;
  cursors := cursors || jsonb_build_object('number', to_jsonb(coalesce(last, ARRAY['', ''])));

  first := ARRAY(SELECT jsonb_array_elements_text(coalesce(cursors->'bucket', '[""]')));
  SELECT ARRAY[x.key] INTO last FROM countersign.bucket x WHERE x.key > first[1] ORDER BY x.key LIMIT 1 OFFSET 499;
  DELETE FROM countersign.bucket b WHERE b.ctid = ANY (ARRAY(
    SELECT x.ctid FROM countersign.bucket x
     WHERE x.key > first[1] AND (last IS NULL OR x.key <= last[1]) AND x.idle_at <= moment FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS gone = ROW_COUNT; deleted := deleted + gone;
  cursors := cursors || jsonb_build_object('bucket', to_jsonb(coalesce(last, ARRAY[''])));

  first := ARRAY(SELECT jsonb_array_elements_text(coalesce(cursors->'early_report', '["", ""]')));
  SELECT ARRAY[x.provider, x.provider_message_id] INTO last FROM countersign.early_report x
   WHERE (x.provider, x.provider_message_id) > (first[1], first[2])
   ORDER BY x.provider, x.provider_message_id LIMIT 1 OFFSET 499;
  DELETE FROM countersign.early_report e WHERE e.ctid = ANY (ARRAY(
    SELECT x.ctid FROM countersign.early_report x
     WHERE (x.provider, x.provider_message_id) > (first[1], first[2])
       AND (last IS NULL OR (x.provider, x.provider_message_id) <= (last[1], last[2])) AND x.at <= long_ago
     FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS gone = ROW_COUNT; deleted := deleted + gone;
  cursors := cursors || jsonb_build_object('early_report', to_jsonb(coalesce(last, ARRAY['', ''])));

  first := ARRAY(SELECT jsonb_array_elements_text(coalesce(cursors->'provider_message', '["", ""]')));
  SELECT ARRAY[x.provider, x.provider_message_id] INTO last FROM countersign.provider_message x
   WHERE (x.provider, x.provider_message_id) > (first[1], first[2])
   ORDER BY x.provider, x.provider_message_id LIMIT 1 OFFSET 499;
  DELETE FROM countersign.provider_message p WHERE p.ctid = ANY (ARRAY(
    SELECT x.ctid FROM countersign.provider_message x
     WHERE (x.provider, x.provider_message_id) > (first[1], first[2])
       AND (last IS NULL OR (x.provider, x.provider_message_id) <= (last[1], last[2]))
       AND x.message_id < step->>'messagesBefore'
     FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS gone = ROW_COUNT; deleted := deleted + gone;
  cursors := cursors || jsonb_build_object('provider_message', to_jsonb(coalesce(last, ARRAY['', ''])));

  first := ARRAY(SELECT jsonb_array_elements_text(coalesce(cursors->'subject', '["", "", "", ""]')));
  SELECT ARRAY[x.app, x.subject, x.purpose, x.lane] INTO last FROM countersign.subject x
   WHERE (x.app, x.subject, x.purpose, x.lane) > (first[1], first[2], first[3], first[4])
   ORDER BY x.app, x.subject, x.purpose, x.lane LIMIT 1 OFFSET 499;
  DELETE FROM countersign.subject s WHERE s.ctid = ANY (ARRAY(
    SELECT x.ctid FROM countersign.subject x
     WHERE (x.app, x.subject, x.purpose, x.lane) > (first[1], first[2], first[3], first[4])
       AND (last IS NULL OR (x.app, x.subject, x.purpose, x.lane) <= (last[1], last[2], last[3], last[4]))
       AND x.verification_id < step->>'verificationsBefore'
     FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS gone = ROW_COUNT; deleted := deleted + gone;
  cursors := cursors || jsonb_build_object('subject', to_jsonb(coalesce(last, ARRAY['', '', '', ''])));

  -- Of days that were dropped.
  DELETE FROM countersign.due d WHERE d.ctid = ANY (ARRAY(
    SELECT x.ctid FROM countersign.due x WHERE x.message_id < step->>'messagesBefore'
     LIMIT 500 FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS gone = ROW_COUNT; deleted := deleted + gone;
  RETURN jsonb_build_object('deleted', deleted, 'cursors', cursors);
END $$;
