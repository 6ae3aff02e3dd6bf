-- What the comparisons of shadow mode came to: one row for each day, route and difference, with one masked example.

CREATE TABLE shadow (
  day TEXT NOT NULL,
  app TEXT NOT NULL,
  dialect TEXT NOT NULL,
  route TEXT NOT NULL,
  outcome TEXT NOT NULL,
  -- 0 where there was none
  upstream_status INTEGER NOT NULL,
  our_status INTEGER NOT NULL,
  difference TEXT NOT NULL,
  count INTEGER NOT NULL,
  upstream_example TEXT NOT NULL,
  our_example TEXT NOT NULL,
  PRIMARY KEY (day, app, dialect, route, outcome, upstream_status, our_status, difference)
) STRICT, WITHOUT ROWID;
