-- What the processes over one file tell each other: who does the work that one of them should do, and what each has found
-- out about a provider.

CREATE TABLE lease (
  name TEXT NOT NULL PRIMARY KEY,
  holder TEXT NOT NULL,
  until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE breaker (
  provider TEXT NOT NULL,
  place TEXT NOT NULL,
  -- JSON
  breaker TEXT NOT NULL,
  changed_at INTEGER NOT NULL,
  PRIMARY KEY (provider, place)
) STRICT, WITHOUT ROWID;
