import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type Guesses, type GuessLane, noGuesses } from '../../domain/guess-budget.ts';
import type { PhoneNumber } from '../../domain/phone-number.ts';
import { type EventLog, type LimitRule, takeFrom } from '../../domain/rate-limit.ts';
import type { Bucket, BucketScope } from '../../domain/store.ts';
import { text } from './rows.ts';

/** What is kept of one number of one app. */
export type NumberRow = {
  readonly app: string;
  readonly number: PhoneNumber;
  starts: EventLog;
  guesses: Partial<Record<GuessLane, Guesses>>;
  /** `lane purpose` → id of the verification that was started last */
  live: Record<string, string>;
};

type TakeAllOutcome =
  | { readonly kind: 'taken'; readonly save: () => void }
  | { readonly kind: 'limited'; readonly scope: BucketScope; readonly retryAfterMs: number };

/** Counters of one database connection. Everything here runs inside a write transaction. */
export class Counters {
  readonly #selectNumber: StatementSync;
  readonly #putNumber: StatementSync;
  readonly #selectBucket: StatementSync;
  readonly #putBucket: StatementSync;
  /**
   * Logs that this transaction has read, and must write back. The buckets of the app and of a prefix are the same row
   * for every request of a group: read once and written once, however many requests share the commit.
   */
  readonly #buckets = new Map<string, { log: EventLog; idleAt: number; changed: boolean }>();

  constructor(database: DatabaseSync) {
    this.#selectNumber = database.prepare('SELECT starts, guesses, live FROM number WHERE app = ? AND number = ?');
    this.#putNumber = database.prepare(
      'INSERT OR REPLACE INTO number (app, number, starts, guesses, live) VALUES (?, ?, ?, ?, ?)',
    );
    this.#selectBucket = database.prepare('SELECT log, idle_at FROM bucket WHERE key = ?');
    this.#putBucket = database.prepare('INSERT OR REPLACE INTO bucket (key, log, idle_at) VALUES (?, ?, ?)');
  }

  readNumber(app: string, number: PhoneNumber): NumberRow {
    const row = this.#selectNumber.get(app, number);
    if (row === undefined) return { app, number, starts: [], guesses: {}, live: {} };
    const guesses = row['guesses'];
    return {
      app,
      number,
      starts: JSON.parse(text(row['starts'])) as EventLog,
      guesses: guesses === null ? {} : (JSON.parse(text(guesses)) as NumberRow['guesses']),
      live: JSON.parse(text(row['live'])) as Record<string, string>,
    };
  }

  saveNumber(row: NumberRow): void {
    const hasGuesses = row.guesses.open !== undefined || row.guesses.trusted !== undefined;
    this.#putNumber.run(
      row.app,
      row.number,
      JSON.stringify(row.starts),
      hasGuesses ? JSON.stringify(row.guesses) : null,
      JSON.stringify(row.live),
    );
  }

  /** All buckets or none: looks at each first; nothing is counted before `save` is called. */
  take(app: string, buckets: readonly Bucket[], number: NumberRow | undefined, now: number): TakeAllOutcome {
    const taken: { key: string; log: EventLog; rules: readonly LimitRule[] }[] = [];
    let starts: EventLog | undefined;
    let refusal: (TakeAllOutcome & { kind: 'limited' }) | undefined;
    for (const { scope, value, rules } of buckets) {
      const ofNumber = scope === 'number' ? number : undefined;
      const key = `${app} ${scope} ${value}`;
      const outcome = takeFrom(ofNumber?.starts ?? this.#readBucket(key).log, rules, now);
      if (outcome.kind === 'refused') {
        // The longest wait of all: whoever comes back after a shorter one is refused again.
        const { retryAfterMs } = outcome;
        if (retryAfterMs > (refusal?.retryAfterMs ?? 0)) refusal = { kind: 'limited', scope, retryAfterMs };
      } else if (ofNumber !== undefined) starts = outcome.log;
      else taken.push({ key, log: outcome.log, rules });
    }
    return (
      refusal ?? {
        kind: 'taken',
        save: () => {
          if (number !== undefined && starts !== undefined) number.starts = starts;
          for (const { key, log, rules } of taken) {
            const longestWindowMs = Math.max(...rules.map((rule) => rule.windowMs));
            this.#buckets.set(key, { log, idleAt: now + longestWindowMs, changed: true });
          }
        },
      }
    );
  }

  /** Writes what the transaction's steps counted. */
  writeBack(): void {
    for (const [key, { log, idleAt, changed }] of this.#buckets) {
      if (changed) this.#putBucket.run(key, JSON.stringify(log), idleAt);
    }
  }

  /** To be called after the transaction, committed or not: the next one reads what the database says. */
  forget(): void {
    this.#buckets.clear();
  }

  #readBucket(key: string): { log: EventLog } {
    const known = this.#buckets.get(key);
    if (known !== undefined) return known;
    const row = this.#selectBucket.get(key);
    const read = {
      log: row === undefined ? [] : (JSON.parse(text(row['log'])) as EventLog),
      idleAt: 0,
      changed: false,
    };
    this.#buckets.set(key, read);
    return read;
  }
}

export function guessesOf(row: NumberRow, lane: GuessLane): Guesses {
  return row.guesses[lane] ?? noGuesses;
}
