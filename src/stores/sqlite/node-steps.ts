import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type Breaker, closedBreaker } from '../../domain/circuit-breaker.ts';
import type { SharedBreaker } from '../../domain/store.ts';
import { integer, type Row, text } from './rows.ts';

/** What the processes over one file tell each other. */
export class NodeSteps {
  readonly #take: StatementSync;
  readonly #share: StatementSync;
  readonly #select: StatementSync;

  constructor(database: DatabaseSync) {
    this.#take = database.prepare(
      `INSERT INTO lease (name, holder, until) VALUES (?1, ?2, ?4)
       ON CONFLICT DO UPDATE SET holder = excluded.holder, until = excluded.until
        WHERE holder = excluded.holder OR until <= ?3`,
    );
    this.#share = database.prepare(
      `INSERT INTO breaker (provider, place, breaker, changed_at) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET breaker = excluded.breaker, changed_at = excluded.changed_at
        WHERE excluded.changed_at >= changed_at`,
    );
    this.#select = database.prepare('SELECT * FROM breaker ORDER BY provider, place');
  }

  lease(name: string, holder: string, now: number, until: number): boolean {
    return this.#take.run(name, holder, now, until).changes === 1;
  }

  share({ provider, place, breaker, changedAt }: SharedBreaker): void {
    this.#share.run(provider, place, JSON.stringify(breaker), changedAt);
  }

  list(): SharedBreaker[] {
    return this.#select.all().map(toSharedBreaker);
  }
}

function toSharedBreaker(row: Row): SharedBreaker {
  return {
    provider: text(row['provider']),
    place: text(row['place']),
    // JSON leaves out what is undefined.
    breaker: { ...closedBreaker, ...(JSON.parse(text(row['breaker'])) as Partial<Breaker>) },
    changedAt: integer(row['changed_at']),
  };
}
