CREATE FUNCTION steps.sign_in(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  wanted_app text := step->>'app';
  v countersign.verification;
  u countersign.users;
  is_new boolean;
BEGIN
  -- Erasing takes the same lock: it comes before or after, never in between.
  PERFORM steps.lock_number(wanted_app, step->>'number');
  v := steps.find_verification_by_id(wanted_app, step->>'verificationId');
  IF v.id IS NULL OR v.state <> 'approved' OR v.number <> step->>'number' OR v.sent_by_email THEN
    RETURN '{"kind": "unproven"}';
  END IF;
  SELECT x.* INTO u FROM countersign.users x WHERE x.app = wanted_app AND x.number = v.number;
  is_new := NOT FOUND;
  IF is_new THEN
    INSERT INTO countersign.user_sequence AS s (app, last_id) VALUES (wanted_app, 1)
    ON CONFLICT (app) DO UPDATE SET last_id = s.last_id + 1 RETURNING s.last_id INTO u.id;
    INSERT INTO countersign.users (app, id, number, name, full_name, created_at)
    VALUES (wanted_app, u.id, v.number, step->>'name', '', (step->>'now')::bigint)
    RETURNING * INTO u;
  END IF;
  INSERT INTO countersign.access_token (hash, app, user_id, expires_at)
  VALUES (step->'token'->>'hash', wanted_app, u.id, (step->'token'->>'expiresAt')::bigint);
  RETURN jsonb_build_object('kind', 'signed-in', 'user', to_jsonb(u), 'isNew', is_new);
END $$;

CREATE FUNCTION steps.find_user_by_token(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (
    SELECT to_jsonb(u) FROM countersign.access_token t JOIN countersign.users u ON u.app = t.app AND u.id = t.user_id
     WHERE t.hash = step->>'hash' AND t.expires_at > (step->>'now')::bigint);
END $$;

CREATE FUNCTION steps.get_user(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT to_jsonb(u) FROM countersign.users u WHERE u.app = step->>'app' AND u.id = (step->>'id')::bigint);
END $$;

CREATE FUNCTION steps.update_user(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  u countersign.users;
BEGIN
  UPDATE countersign.users AS x SET name = coalesce(step->>'name', x.name), full_name = coalesce(step->>'fullName', x.full_name)
   WHERE x.app = step->>'app' AND x.id = (step->>'id')::bigint RETURNING x.* INTO u;
  RETURN CASE WHEN FOUND THEN to_jsonb(u) END;
END $$;

CREATE FUNCTION steps.revoke_token(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM countersign.access_token t WHERE t.hash = step->>'hash' AND t.expires_at > (step->>'now')::bigint;
  RETURN to_jsonb(FOUND);
END $$;

CREATE FUNCTION steps.revoke_tokens(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM countersign.access_token t WHERE t.app = step->>'app' AND t.user_id = (step->>'id')::bigint;
  RETURN to_jsonb(steps.get_user(step) IS NOT NULL);
END $$;

CREATE FUNCTION steps.erase_user(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  erased_id bigint;
BEGIN
  PERFORM steps.lock_number(step->>'app', step->>'number');
  DELETE FROM countersign.users u WHERE u.app = step->>'app' AND u.number = step->>'number' RETURNING u.id INTO erased_id;
  DELETE FROM countersign.access_token t WHERE t.app = step->>'app' AND t.user_id = erased_id;
  RETURN NULL;
END $$;
