-- What Redis asks for where it stands in front, and has not got any more. What there may be much of comes in rows.
-- What only reads is STABLE, so that a message and when it is due are of one moment.

CREATE FUNCTION steps.message_with_due(m countersign.message) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  due countersign.due;
BEGIN
  SELECT d.* INTO due FROM countersign.due d WHERE d.message_id = m.id;
  RETURN to_jsonb(m) || jsonb_build_object(
    'due_at', due.due_at, 'leased_until', due.leased_until, 'claims', coalesce(due.claims, 0));
END $$;

CREATE FUNCTION steps.get_message_with_due(step jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT steps.message_with_due(m) FROM countersign.message m WHERE m.id = step->>'id' AND m.app = step->>'app');
END $$;

-- Which message a report is of that names none.
CREATE FUNCTION steps.find_reported(step jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT jsonb_build_object('app', m.app, 'message', m.id)
      FROM countersign.provider_message p JOIN countersign.message m ON m.id = p.message_id
     WHERE p.provider = step->>'provider' AND p.provider_message_id = step->>'providerMessageId');
END $$;

CREATE FUNCTION steps.list_apps_with_due(step jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT jsonb_agg(DISTINCT m.app) FROM countersign.due d JOIN countersign.message m ON m.id = d.message_id);
END $$;

-- A page of those that are alive or have just ended, oldest first. `kept` is the row as JSON.
CREATE FUNCTION steps.live_verifications(step jsonb) RETURNS TABLE (
  id text, number text, lane text, purpose text, subject text, expires_at bigint, kept text
) LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN QUERY
    SELECT v.id, v.number, v.lane, v.purpose, coalesce('=' || v.subject, ''), v.expires_at, to_jsonb(v)::text
      FROM countersign.verification v
     WHERE v.id > step->>'after' AND v.app = step->>'app' AND v.expires_at > (step->>'endedSince')::bigint
     ORDER BY v.id LIMIT (step->>'limit')::integer;
END $$;

-- What is due, and what Redis takes for due.
CREATE FUNCTION steps.live_messages(step jsonb) RETURNS SETOF jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN QUERY
    SELECT steps.message_with_due(m)
      FROM (SELECT d.message_id AS id FROM countersign.due d
            UNION SELECT jsonb_array_elements_text(step->'dueIds')) wanted
      JOIN countersign.message m ON m.id = wanted.id
     WHERE m.app = step->>'app';
END $$;

CREATE FUNCTION steps.live_numbers(step jsonb) RETURNS SETOF jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN QUERY
    SELECT jsonb_build_object('number', n.number, 'guesses', n.guesses)
      FROM countersign.number n WHERE n.app = step->>'app' AND n.guesses IS NOT NULL;
END $$;

CREATE FUNCTION steps.live_budgets(step jsonb) RETURNS SETOF jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN QUERY
    SELECT jsonb_build_object('day', b.day, 'spent', b.spent_micros::text)
      FROM countersign.budget b WHERE b.app = step->>'app' AND b.day >= step->>'since';
END $$;

-- As `lease`, by the server's own clock. With `forMs` 0 it is given back.
CREATE FUNCTION steps.lease_for(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  moment bigint := floor(extract(epoch FROM clock_timestamp()) * 1000);
BEGIN
  RETURN steps.lease(step || jsonb_build_object('now', moment, 'until', moment + (step->>'forMs')::bigint));
END $$;
