import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type ShadowEntry, type ShadowQuery, shadowOutcomes } from '../../domain/shadow.ts';
import { integer, type Row, text } from './rows.ts';

/** What the comparisons of shadow mode came to. */
export class ShadowSteps {
  readonly #add: StatementSync;
  readonly #select: StatementSync;

  constructor(database: DatabaseSync) {
    // The example that was kept first stays: one is enough.
    this.#add = database.prepare(
      `INSERT INTO shadow (day, app, dialect, route, outcome, upstream_status, our_status, difference,
                           count, upstream_example, our_example) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET count = count + excluded.count`,
    );
    this.#select = database.prepare(
      'SELECT * FROM shadow WHERE day BETWEEN ?1 AND ?2 AND (?3 IS NULL OR app = ?3) ORDER BY day, app, dialect, route',
    );
  }

  record(entry: ShadowEntry): void {
    this.#add.run(
      entry.day,
      entry.app,
      entry.dialect,
      entry.route,
      entry.outcome,
      entry.upstreamStatus ?? 0,
      entry.ourStatus ?? 0,
      entry.difference,
      entry.count,
      entry.upstreamExample,
      entry.ourExample,
    );
  }

  read({ app, from, to }: ShadowQuery): ShadowEntry[] {
    return this.#select.all(from, to, app ?? null).map(toEntry);
  }
}

function toEntry(row: Row): ShadowEntry {
  return {
    day: text(row['day']),
    app: text(row['app']),
    dialect: text(row['dialect']),
    route: text(row['route']),
    // Of a newer version, perhaps: then it is no comparison that this one could judge.
    outcome: shadowOutcomes.find((outcome) => outcome === row['outcome']) ?? 'not-compared',
    upstreamStatus: integer(row['upstream_status']) || undefined,
    ourStatus: integer(row['our_status']) || undefined,
    difference: text(row['difference']),
    count: integer(row['count']),
    upstreamExample: text(row['upstream_example']),
    ourExample: text(row['our_example']),
  };
}
