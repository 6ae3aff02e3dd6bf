-- needs: 1
-- Ids are time-ordered text, so a day of history is a range of ids, and a table of each day holds them. Instants are ms
-- since the epoch. Everything compares by bytes (COLLATE "C"), whatever language the database speaks.

CREATE TABLE countersign.verification (
  id text COLLATE "C" NOT NULL,
  app text COLLATE "C" NOT NULL,
  purpose text COLLATE "C" NOT NULL,
  subject text COLLATE "C",
  number text COLLATE "C" NOT NULL,
  country text COLLATE "C",
  channel text COLLATE "C" NOT NULL,
  locale text COLLATE "C" NOT NULL,
  lane text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL,
  attempts integer NOT NULL,
  max_attempts integer NOT NULL,
  sends integer NOT NULL,
  max_sends integer NOT NULL,
  nonce bytea NOT NULL,
  code_number integer NOT NULL,
  code_length integer NOT NULL,
  digest_by_id bytea NOT NULL,
  digest_by_slot bytea NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  resend_at bigint NOT NULL,
  metadata text,
  ending text,
  email text,
  -- a managed provider that made a code, and the code's name there
  managed_provider text COLLATE "C",
  managed_id text COLLATE "C",
  own_code_sent boolean NOT NULL,
  sent_by_email boolean NOT NULL,
  -- one id for each send, with a space between
  message_ids text COLLATE "C",
  -- the caller's own code, sealed under the installation's key while the code is worth something
  sealed_code bytea,
  wording text,
  -- counts the changes that were made in Redis, where that is in front; see stores/redis
  revision bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- What is read and written where there is nothing to compare a code with: see steps/checks.sql.
CREATE TABLE countersign.verification_decoy PARTITION OF countersign.verification FOR VALUES FROM (MINVALUE) TO ('ver_');

-- A message has one dispatch, rarely two: they are kept in its row, as JSON objects with commas between them.
CREATE TABLE countersign.message (
  id text COLLATE "C" NOT NULL,
  app text COLLATE "C" NOT NULL,
  verification_id text COLLATE "C",
  number text COLLATE "C" NOT NULL,
  country text COLLATE "C",
  channel text COLLATE "C" NOT NULL,
  channel_fixed boolean NOT NULL,
  locale text COLLATE "C" NOT NULL,
  encoding text COLLATE "C" NOT NULL,
  segments integer NOT NULL,
  sealed_text bytea,
  code_number integer NOT NULL,
  idempotency_key text COLLATE "C",
  state text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  valid_until bigint NOT NULL,
  dispatches text NOT NULL,
  revision bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- Messages that have to be looked at, and when. Beside the history, so that who looks need not walk a month of days.
CREATE TABLE countersign.due (
  message_id text COLLATE "C" PRIMARY KEY,
  due_at bigint NOT NULL,
  -- somebody has taken the message up and is at it until then: a report meanwhile does not make it due for others
  leased_until bigint,
  -- how often somebody took it up since its last step
  claims integer NOT NULL DEFAULT 0
);
CREATE INDEX due_by_time ON countersign.due (due_at);

-- What is kept by number: its starts (an event log), wrong guesses by lane, and the live verification of each lane and
-- purpose. Room is left in each page, so that a row that changes stays on its page.
CREATE TABLE countersign.number (
  app text COLLATE "C" NOT NULL,
  number text COLLATE "C" NOT NULL,
  starts bigint[] NOT NULL DEFAULT '{}',
  -- {"open": {"log": [at, count, …], "lockedUntil": ms, "locks": n}, "trusted": …}
  guesses jsonb,
  -- {"open login": "ver_…"}
  live jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (app, number)
) WITH (fillfactor = 70);

-- The live verification of a subject, whatever number it is for.
CREATE TABLE countersign.subject (
  app text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  purpose text COLLATE "C" NOT NULL,
  lane text COLLATE "C" NOT NULL,
  verification_id text COLLATE "C" NOT NULL,
  PRIMARY KEY (app, subject, purpose, lane)
);

-- Event logs by address, prefix and app.
CREATE TABLE countersign.bucket (
  key text COLLATE "C" PRIMARY KEY,
  log bigint[] NOT NULL,
  idle_at bigint NOT NULL
) WITH (fillfactor = 50);

-- Which message a provider's id belongs to, where reports are to be expected.
CREATE TABLE countersign.provider_message (
  provider text COLLATE "C" NOT NULL,
  provider_message_id text COLLATE "C" NOT NULL,
  message_id text COLLATE "C" NOT NULL,
  PRIMARY KEY (provider, provider_message_id)
);

-- A report that came before the answer to the send: kept until the dispatch is known.
CREATE TABLE countersign.early_report (
  provider text COLLATE "C" NOT NULL,
  provider_message_id text COLLATE "C" NOT NULL,
  report jsonb NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (provider, provider_message_id)
);

CREATE TABLE countersign.idempotency (
  app text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  fingerprint text COLLATE "C" NOT NULL,
  answer text,
  expires_at bigint NOT NULL,
  PRIMARY KEY (app, key)
);
CREATE INDEX idempotency_by_expiry ON countersign.idempotency (expires_at);

-- `shard`: a row that every hand-over adds to would have them wait for each other; those of one key are added up when they are read.
CREATE TABLE countersign.usage (
  day text COLLATE "C" NOT NULL,
  app text COLLATE "C" NOT NULL,
  provider text COLLATE "C" NOT NULL,
  country text COLLATE "C" NOT NULL,
  currency text COLLATE "C" NOT NULL,
  shard integer NOT NULL,
  sent bigint NOT NULL,
  codes bigint NOT NULL,
  delivered bigint NOT NULL,
  failed bigint NOT NULL,
  approved bigint NOT NULL,
  cost_micros bigint NOT NULL,
  code_cost_micros bigint NOT NULL,
  approved_cost_micros bigint NOT NULL,
  PRIMARY KEY (day, app, provider, country, currency, shard)
) WITH (fillfactor = 50);

CREATE TABLE countersign.budget (
  day text COLLATE "C" NOT NULL,
  app text COLLATE "C" NOT NULL,
  spent_micros bigint NOT NULL,
  PRIMARY KEY (day, app)
) WITH (fillfactor = 50);

CREATE TABLE countersign.users (
  app text COLLATE "C" NOT NULL,
  id bigint NOT NULL,
  number text COLLATE "C" NOT NULL,
  name text NOT NULL,
  full_name text NOT NULL,
  created_at bigint NOT NULL,
  PRIMARY KEY (app, id)
);
CREATE UNIQUE INDEX user_by_number ON countersign.users (app, number);

-- The id that each app gave last. Not max(id): who came last may have been erased, and its id must not become another's.
CREATE TABLE countersign.user_sequence (
  app text COLLATE "C" PRIMARY KEY,
  last_id bigint NOT NULL
);

-- A revoked one is deleted.
CREATE TABLE countersign.access_token (
  hash text COLLATE "C" PRIMARY KEY,
  app text COLLATE "C" NOT NULL,
  user_id bigint NOT NULL,
  expires_at bigint NOT NULL
);
CREATE INDEX access_token_by_user ON countersign.access_token (app, user_id);
CREATE INDEX access_token_by_expiry ON countersign.access_token (expires_at);

-- `position` is the order in which they were added, and never used again.
CREATE TABLE countersign.resource (
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  app text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  -- '' for none: a unique index takes no two NULLs for the same
  parent text COLLATE "C" NOT NULL,
  unique_key text COLLATE "C",
  -- JSON as text: as it was given, the order of its fields too
  body text NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL
);
CREATE UNIQUE INDEX resource_by_id ON countersign.resource (app, id);
CREATE UNIQUE INDEX resource_by_key ON countersign.resource (app, kind, parent, unique_key) WHERE unique_key IS NOT NULL;
CREATE INDEX resource_by_parent ON countersign.resource (app, parent, kind, position);
CREATE INDEX resource_by_kind ON countersign.resource (app, kind, position);

-- What the comparisons of shadow mode came to: one row for each day, route and difference, with one masked example.
CREATE TABLE countersign.shadow (
  day text COLLATE "C" NOT NULL,
  app text COLLATE "C" NOT NULL,
  dialect text COLLATE "C" NOT NULL,
  route text COLLATE "C" NOT NULL,
  outcome text COLLATE "C" NOT NULL,
  -- 0 where there was none
  upstream_status integer NOT NULL,
  our_status integer NOT NULL,
  difference text COLLATE "C" NOT NULL,
  count bigint NOT NULL,
  upstream_example text NOT NULL,
  our_example text NOT NULL,
  PRIMARY KEY (day, app, dialect, route, outcome, upstream_status, our_status, difference)
);

CREATE TABLE countersign.api_key (
  id text COLLATE "C" PRIMARY KEY,
  app text COLLATE "C" NOT NULL,
  name text NOT NULL,
  hash text COLLATE "C" NOT NULL UNIQUE,
  created_at bigint NOT NULL,
  revoked_at bigint
);

CREATE TABLE countersign.signing_key (
  id text COLLATE "C" PRIMARY KEY,
  sealed_private_key bytea NOT NULL,
  public_jwk text NOT NULL,
  created_at bigint NOT NULL
);

-- Work that one node does for all: who has it, until when.
CREATE TABLE countersign.lease (
  name text COLLATE "C" PRIMARY KEY,
  holder text COLLATE "C" NOT NULL,
  until bigint NOT NULL
);

-- What a node has found out about a provider, for all others: see `SharedBreaker`.
CREATE TABLE countersign.breaker (
  provider text COLLATE "C" NOT NULL,
  place text COLLATE "C" NOT NULL,
  breaker jsonb NOT NULL,
  changed_at bigint NOT NULL,
  PRIMARY KEY (provider, place)
);

-- Written by probes, which find out that nothing can be written.
CREATE TABLE countersign.probe (
  node integer PRIMARY KEY,
  at bigint NOT NULL
);

-- Which nodes there are, and where each has what is live: in the tables above, or in the Redis in front of them.
CREATE TABLE countersign.node (
  holder text COLLATE "C" PRIMARY KEY,
  live_in text COLLATE "C" NOT NULL,
  -- by the server's clock
  until bigint NOT NULL
);
