import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type Guesses, type GuessLane, noGuesses } from '../../domain/guess-budget.ts';
import type { PhoneNumber } from '../../domain/phone-number.ts';
import { type EventLog, type LimitRule, takeFrom } from '../../domain/rate-limit.ts';
import type { Bucket, BudgetTake, BudgetTaken, SendRefusal } from '../../domain/store.ts';
import { addUsage, type UsageChange, type UsageCounts } from '../../domain/usage.ts';
import { integer, placeholders, type Row, text } from './rows.ts';

/** What is kept of one number of one app. */
export type NumberRow = {
  readonly app: string;
  readonly number: PhoneNumber;
  starts: EventLog;
  guesses: Partial<Record<GuessLane, Guesses>>;
  /** `lane purpose` → id of the verification that was started last */
  live: Record<string, string>;
};

type TakeAllOutcome = { readonly kind: 'taken'; readonly save: () => void } | (SendRefusal & { kind: 'limited' });

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

  /** What this transaction's steps add to the usage, by key: one row for most of a group. */
  readonly #usage = new Map<string, UsageChange>();
  /** What apps have spent, as far as this transaction has read it: `day app` → micros. */
  readonly #spent = new Map<string, number>();
  readonly #addUsage: StatementSync;
  readonly #selectUsage: StatementSync;
  readonly #selectSpent: StatementSync;
  readonly #putSpent: StatementSync;

  constructor(database: DatabaseSync) {
    this.#addUsage = database.prepare(
      `INSERT INTO usage (day, app, provider, country, currency, ${usageColumns}) VALUES (?, ?, ?, ?, ?, ${placeholders(usageColumns)})
       ON CONFLICT DO UPDATE SET ${usageColumns
         .split(', ')
         .map((column) => `${column} = ${column} + excluded.${column}`)
         .join(', ')}`,
    );
    this.#selectUsage = database.prepare(
      `SELECT day, app, provider, country, currency, ${usageColumns} FROM usage
       WHERE day BETWEEN ?1 AND ?2 AND (?3 IS NULL OR app = ?3)
         AND (${usageColumns
           .split(', ')
           .map((column) => `${column} <> 0`)
           .join(' OR ')})
       ORDER BY day, app, provider, country, currency`,
    );
    this.#selectSpent = database.prepare('SELECT spent_micros FROM budget WHERE day = ? AND app = ?');
    this.#putSpent = database.prepare('INSERT OR REPLACE INTO budget (day, app, spent_micros) VALUES (?, ?, ?)');
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
    for (const { scope, value, rules, name } of buckets) {
      const ofNumber = scope === 'number' ? number : undefined;
      const key = `${app} ${scope} ${value}`;
      const outcome = takeFrom(ofNumber?.starts ?? this.#readBucket(key).log, rules, now);
      if (outcome.kind === 'refused') {
        // The longest wait of all: whoever comes back after a shorter one is refused again.
        const { retryAfterMs } = outcome;
        if (retryAfterMs > (refusal?.retryAfterMs ?? 0)) {
          refusal = { kind: 'limited', scope, retryAfterMs, ...(name === undefined ? {} : { limit: name }) };
        }
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
    for (const { key, counts } of this.#usage.values()) {
      this.#addUsage.run(key.day, key.app, key.provider, key.country, key.currency, ...usageParameters(counts));
    }
    for (const [key, micros] of this.#spent) this.#putSpent.run(key.slice(0, 10), key.slice(11), micros);
  }

  /** To be called after the transaction, committed or not: the next one reads what the database says. */
  forget(): void {
    this.#buckets.clear();
    this.#usage.clear();
    this.#spent.clear();
  }

  /** Takes the whole amount or nothing; nothing is kept before `addSpent` is called. */
  budgetAfter(app: string, take: BudgetTake): BudgetTaken | 'over-budget' {
    const beforeMicros = this.#readSpent(app, take.day);
    const afterMicros = beforeMicros + take.micros;
    return afterMicros > take.maxMicros ? 'over-budget' : { beforeMicros, afterMicros };
  }

  addSpent(app: string, day: string, micros: number): void {
    this.#spent.set(`${day} ${app}`, this.#readSpent(app, day) + micros);
  }

  addUsage(changes: readonly UsageChange[]): void {
    for (const { key, counts } of changes) {
      const name = `${key.day} ${key.app} ${key.provider} ${key.country} ${key.currency}`;
      const known = this.#usage.get(name);
      this.#usage.set(name, known === undefined ? { key, counts } : { key, counts: addUsage(known.counts, counts) });
    }
  }

  readUsage(app: string | undefined, from: string, to: string): UsageChange[] {
    return this.#selectUsage.all(from, to, app ?? null).map(toUsage);
  }

  #readSpent(app: string, day: string): number {
    const key = `${day} ${app}`;
    const known = this.#spent.get(key);
    if (known !== undefined) return known;
    const row = this.#selectSpent.get(day, app);
    return row === undefined ? 0 : integer(row['spent_micros']);
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

const usageColumns = 'sent, codes, delivered, failed, approved, cost_micros, code_cost_micros, approved_cost_micros';

function usageParameters(counts: UsageCounts) {
  return [
    counts.sent,
    counts.codes,
    counts.delivered,
    counts.failed,
    counts.approved,
    counts.costMicros,
    counts.codeCostMicros,
    counts.approvedCostMicros,
  ] as const;
}

function toUsage(row: Row): UsageChange {
  return {
    key: {
      day: text(row['day']),
      app: text(row['app']),
      provider: text(row['provider']),
      country: text(row['country']),
      currency: text(row['currency']),
    },
    counts: {
      sent: integer(row['sent']),
      codes: integer(row['codes']),
      delivered: integer(row['delivered']),
      failed: integer(row['failed']),
      approved: integer(row['approved']),
      costMicros: integer(row['cost_micros']),
      codeCostMicros: integer(row['code_cost_micros']),
      approvedCostMicros: integer(row['approved_cost_micros']),
    },
  };
}

export function guessesOf(row: NumberRow, lane: GuessLane): Guesses {
  return row.guesses[lane] ?? noGuesses;
}
