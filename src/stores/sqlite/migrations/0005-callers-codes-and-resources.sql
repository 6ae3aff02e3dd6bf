-- Codes that callers bring, wordings of one verification, and small records that are kept for an app.

-- One id for each send, with a space between; what was there is a list of one.
ALTER TABLE verification RENAME COLUMN last_message_id TO message_ids;
-- The caller's own code, sealed under the installation's key while the code is worth something.
ALTER TABLE verification ADD COLUMN sealed_code BLOB;
ALTER TABLE verification ADD COLUMN wording TEXT;

-- `position` is the order in which they were added, and never used again.
CREATE TABLE resource (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  app TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  -- '' for none: a unique index takes no two NULLs for the same
  parent TEXT NOT NULL,
  unique_key TEXT,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX resource_by_id ON resource (app, id);
CREATE UNIQUE INDEX resource_by_key ON resource (app, kind, parent, unique_key) WHERE unique_key IS NOT NULL;
CREATE INDEX resource_by_parent ON resource (app, parent, kind, position);
CREATE INDEX resource_by_kind ON resource (app, kind, position);
