-- Failover, managed providers, what messages cost.

ALTER TABLE verification ADD COLUMN ending TEXT;
ALTER TABLE verification ADD COLUMN email TEXT;
-- A managed provider that made a code, and the code's name there.
ALTER TABLE verification ADD COLUMN managed_provider TEXT;
ALTER TABLE verification ADD COLUMN managed_id TEXT;
ALTER TABLE verification ADD COLUMN own_code_sent INTEGER NOT NULL DEFAULT 1;
ALTER TABLE verification ADD COLUMN sent_by_email INTEGER NOT NULL DEFAULT 0;
-- So that an approval finds out, without an index, which provider carried the code and what it cost.
ALTER TABLE verification ADD COLUMN last_message_id TEXT;

ALTER TABLE message ADD COLUMN channel_fixed INTEGER NOT NULL DEFAULT 1;
-- An orphan is one kind of message that has to be looked at; one whose report is missing or bad is another.
ALTER TABLE message RENAME COLUMN orphaned_at TO due_at;
-- Somebody has taken the message up and is at it until then: a report meanwhile does not make it due for others.
ALTER TABLE message ADD COLUMN leased_until INTEGER;
DROP INDEX message_orphans;
CREATE INDEX message_due ON message (due_at) WHERE due_at IS NOT NULL;

ALTER TABLE early_report ADD COLUMN cost TEXT;
ALTER TABLE early_report ADD COLUMN opt_out INTEGER NOT NULL DEFAULT 0;

CREATE TABLE usage (
  day TEXT NOT NULL,
  app TEXT NOT NULL,
  provider TEXT NOT NULL,
  country TEXT NOT NULL,
  currency TEXT NOT NULL,
  sent INTEGER NOT NULL,
  codes INTEGER NOT NULL,
  delivered INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  approved INTEGER NOT NULL,
  cost_micros INTEGER NOT NULL,
  code_cost_micros INTEGER NOT NULL,
  approved_cost_micros INTEGER NOT NULL,
  PRIMARY KEY (day, app, provider, country, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE budget (
  day TEXT NOT NULL,
  app TEXT NOT NULL,
  spent_micros INTEGER NOT NULL,
  PRIMARY KEY (day, app)
) STRICT, WITHOUT ROWID;
