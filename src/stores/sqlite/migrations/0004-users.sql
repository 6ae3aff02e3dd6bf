-- Users of apps that have none of their own, and what signs them in.

CREATE TABLE user (
  app TEXT NOT NULL,
  id INTEGER NOT NULL,
  number TEXT NOT NULL,
  name TEXT NOT NULL,
  full_name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (app, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX user_by_number ON user (app, number);

-- The id that each app gave last. Not max(id): who came last may have been erased, and its id must not become another's.
CREATE TABLE user_sequence (
  app TEXT PRIMARY KEY,
  last_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A revoked one is deleted.
CREATE TABLE access_token (
  hash TEXT PRIMARY KEY,
  app TEXT NOT NULL,
  user_id INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX access_token_by_user ON access_token (app, user_id);
CREATE INDEX access_token_by_expiry ON access_token (expires_at);
