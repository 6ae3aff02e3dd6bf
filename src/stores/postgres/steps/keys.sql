CREATE FUNCTION steps.add_api_key(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO countersign.api_key SELECT t.* FROM jsonb_populate_record(NULL::countersign.api_key, step) t;
  RETURN NULL;
END $$;

CREATE FUNCTION steps.find_api_key(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT to_jsonb(k) FROM countersign.api_key k WHERE k.hash = step->>'hash');
END $$;

CREATE FUNCTION steps.list_api_keys(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT jsonb_agg(to_jsonb(k) ORDER BY k.id) FROM countersign.api_key k);
END $$;

-- The moment of the first revocation stays. Returns the key as it was kept, null when there is none.
CREATE FUNCTION steps.revoke_api_key(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  revoked countersign.api_key;
BEGIN
  UPDATE countersign.api_key AS k SET revoked_at = coalesce(k.revoked_at, (step->>'now')::bigint)
   WHERE k.id = step->>'id' RETURNING k.* INTO revoked;
  RETURN CASE WHEN FOUND THEN to_jsonb(revoked) END;
END $$;

CREATE FUNCTION steps.list_signing_keys(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT jsonb_agg(to_jsonb(k) ORDER BY k.created_at DESC, k.id DESC) FROM countersign.signing_key k);
END $$;

-- `onlyFirst`: nodes that start together agree on one.
CREATE FUNCTION steps.add_signing_key(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM steps.lock('signing key');
  IF NOT (step->>'onlyFirst')::boolean OR NOT EXISTS (SELECT FROM countersign.signing_key) THEN
    INSERT INTO countersign.signing_key SELECT t.* FROM jsonb_populate_record(NULL::countersign.signing_key, step->'key') t;
  END IF;
  RETURN NULL;
END $$;
