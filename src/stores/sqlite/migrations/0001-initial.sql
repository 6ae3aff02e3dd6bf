-- Ids are time-ordered text, so new rows land on the last page and clean-up is a range of the primary key.
-- Instants are ms since the epoch.

CREATE TABLE verification (
  id TEXT PRIMARY KEY,
  app TEXT NOT NULL,
  purpose TEXT NOT NULL,
  subject TEXT,
  number TEXT NOT NULL,
  country TEXT,
  channel TEXT NOT NULL,
  locale TEXT NOT NULL,
  lane TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  sends INTEGER NOT NULL,
  max_sends INTEGER NOT NULL,
  nonce BLOB NOT NULL,
  code_number INTEGER NOT NULL,
  code_length INTEGER NOT NULL,
  digest_by_id BLOB NOT NULL,
  digest_by_slot BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  resend_at INTEGER NOT NULL,
  metadata TEXT
) STRICT, WITHOUT ROWID;

-- Everything that is kept by number sits in one row, because each page touched at random costs as much as the rest of
-- a step: its starts (an event log), wrong guesses by lane, and the live verification of each purpose and lane.
CREATE TABLE number (
  app TEXT NOT NULL,
  number TEXT NOT NULL,
  starts TEXT NOT NULL,
  guesses TEXT,
  live TEXT NOT NULL,
  PRIMARY KEY (app, number)
) STRICT, WITHOUT ROWID;

-- The live verification of a subject, whatever number it is for.
CREATE TABLE subject (
  app TEXT NOT NULL,
  subject TEXT NOT NULL,
  purpose TEXT NOT NULL,
  lane TEXT NOT NULL,
  verification_id TEXT NOT NULL,
  PRIMARY KEY (app, subject, purpose, lane)
) STRICT, WITHOUT ROWID;

-- Event logs by address, prefix and app.
CREATE TABLE bucket (
  key TEXT PRIMARY KEY,
  log TEXT NOT NULL,
  idle_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A message has one dispatch, rarely two: they are kept in its row, as JSON objects with commas between them.
CREATE TABLE message (
  id TEXT PRIMARY KEY,
  app TEXT NOT NULL,
  verification_id TEXT,
  number TEXT NOT NULL,
  country TEXT,
  channel TEXT NOT NULL,
  locale TEXT NOT NULL,
  encoding TEXT NOT NULL,
  segments INTEGER NOT NULL,
  sealed_text BLOB,
  code_number INTEGER NOT NULL,
  idempotency_key TEXT,
  state TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  valid_until INTEGER NOT NULL,
  orphaned_at INTEGER,
  dispatches TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX message_orphans ON message (orphaned_at) WHERE orphaned_at IS NOT NULL;

-- Which message a provider's id belongs to, where reports are to be expected.
CREATE TABLE provider_message (
  provider TEXT NOT NULL,
  provider_message_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  PRIMARY KEY (provider, provider_message_id)
) STRICT, WITHOUT ROWID;

-- A report that came before the answer to the send: kept until the dispatch is known.
CREATE TABLE early_report (
  provider TEXT NOT NULL,
  provider_message_id TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  error_code TEXT,
  at INTEGER NOT NULL,
  PRIMARY KEY (provider, provider_message_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
  app TEXT NOT NULL,
  key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  answer TEXT,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (app, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);

CREATE TABLE api_key (
  id TEXT PRIMARY KEY,
  app TEXT NOT NULL,
  name TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_key (
  id TEXT PRIMARY KEY,
  sealed_private_key BLOB NOT NULL,
  public_jwk TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
