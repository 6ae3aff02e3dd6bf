import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Guesses } from '../../domain/guess-budget.ts';
import { firstIdAt } from '../../domain/id.ts';
import type { EventLog } from '../../domain/rate-limit.ts';
import { LONGEST_MEMORY_MS, USAGE_KEPT_MS } from '../../domain/retention.ts';
import { dayOf } from '../../domain/usage.ts';
import { type Row, text } from './rows.ts';

/** Rows looked at in one sweep of each table: some milliseconds, so that no request waits long behind it. */
const BATCH_ROWS = 500;
const SHADOW_KEY = 'day, app, dialect, route, outcome, upstream_status, our_status, difference';

/** Ids and a day that everything that is kept is at or after. */
type HistoryBefore = { readonly ver: string; readonly msg: string; readonly day: string };

/** Deletes what has ended, a bounded number of rows a call. Runs inside a write transaction. */
export class Sweeper {
  readonly #history: readonly { statement: StatementSync; kind: keyof HistoryBefore }[];
  readonly #byDay: readonly { statement: StatementSync; ageMs: number }[];
  readonly #byTime: readonly StatementSync[];
  readonly #scan: readonly {
    select: StatementSync;
    remove: StatementSync;
    isIdle: (row: Row, now: number, messagesBefore: string) => boolean;
    at: string[];
  }[];

  constructor(database: DatabaseSync) {
    const oldest = (table: string, column: string, primaryKey = column) =>
      database.prepare(
        `DELETE FROM ${table} WHERE (${primaryKey}) IN
         (SELECT ${primaryKey} FROM ${table} WHERE ${column} < ? ORDER BY ${column} LIMIT ${BATCH_ROWS})`,
      );
    this.#history = [
      { statement: oldest('verification', 'id'), kind: 'ver' },
      { statement: oldest('message', 'id'), kind: 'msg' },
      { statement: oldest('shadow', 'day', SHADOW_KEY), kind: 'day' },
    ];
    this.#byDay = [
      { statement: oldest('usage', 'day', 'day, app, provider, country, currency'), ageMs: USAGE_KEPT_MS },
      { statement: oldest('budget', 'day', 'day, app'), ageMs: LONGEST_MEMORY_MS },
    ];
    this.#byTime = [oldest('idempotency', 'expires_at', 'app, key'), oldest('access_token', 'expires_at', 'hash')];
    // These tables have no index by time: one more page touched at random for every start would cost more than
    // walking them, a piece at a time, in the order of their keys.
    this.#scan = [
      {
        select: database.prepare(
          `SELECT app, number, starts, guesses, live FROM number WHERE (app, number) > (?, ?) ORDER BY app, number LIMIT ${BATCH_ROWS}`,
        ),
        remove: database.prepare('DELETE FROM number WHERE app = ? AND number = ?'),
        isIdle: isIdleNumber,
        at: ['', ''],
      },
      {
        select: database.prepare(`SELECT key, idle_at FROM bucket WHERE key > ? ORDER BY key LIMIT ${BATCH_ROWS}`),
        remove: database.prepare('DELETE FROM bucket WHERE key = ?'),
        isIdle: (row, now) => Number(row['idle_at']) <= now,
        at: [''],
      },
      {
        select: database.prepare(
          `SELECT provider, provider_message_id, at FROM early_report
           WHERE (provider, provider_message_id) > (?, ?) ORDER BY provider, provider_message_id LIMIT ${BATCH_ROWS}`,
        ),
        remove: database.prepare('DELETE FROM early_report WHERE provider = ? AND provider_message_id = ?'),
        isIdle: (row, now) => Number(row['at']) <= now - LONGEST_MEMORY_MS,
        at: ['', ''],
      },
      {
        select: database.prepare(
          `SELECT provider, provider_message_id, message_id FROM provider_message
           WHERE (provider, provider_message_id) > (?, ?) ORDER BY provider, provider_message_id LIMIT ${BATCH_ROWS}`,
        ),
        remove: database.prepare('DELETE FROM provider_message WHERE provider = ? AND provider_message_id = ?'),
        isIdle: (row, _now, messagesBefore) => text(row['message_id']) < messagesBefore,
        at: ['', ''],
      },
      {
        select: database.prepare(
          `SELECT s.app, s.subject, s.purpose, s.lane, v.id AS live FROM subject s LEFT JOIN verification v ON v.id = s.verification_id
           WHERE (s.app, s.subject, s.purpose, s.lane) > (?, ?, ?, ?)
           ORDER BY s.app, s.subject, s.purpose, s.lane LIMIT ${BATCH_ROWS}`,
        ),
        remove: database.prepare('DELETE FROM subject WHERE app = ? AND subject = ? AND purpose = ? AND lane = ?'),
        isIdle: (row) => row['live'] === null,
        at: ['', '', '', ''],
      },
    ];
  }

  sweep(now: number, before: HistoryBefore): { deleted: number } {
    let deleted = 0;
    for (const { statement, kind } of this.#history) {
      deleted += Number(statement.run(before[kind]).changes);
    }
    for (const { statement, ageMs } of this.#byDay) deleted += Number(statement.run(dayOf(now - ageMs)).changes);
    for (const statement of this.#byTime) deleted += Number(statement.run(now).changes);
    for (const table of this.#scan) {
      const rows = table.select.all(...table.at);
      for (const row of rows) {
        table.at = Object.values(row).slice(0, table.at.length).map(String);
        if (table.isIdle(row, now, before.msg)) deleted += Number(table.remove.run(...table.at).changes);
      }
      if (rows.length < BATCH_ROWS) table.at = table.at.map(() => '');
    }
    return { deleted };
  }
}

function isIdleNumber(row: Row, now: number): boolean {
  const starts = JSON.parse(text(row['starts'])) as EventLog;
  const guesses = row['guesses'] === null ? {} : (JSON.parse(text(row['guesses'])) as Record<string, Guesses>);
  const lastStart = starts.at(-2) ?? 0;
  const lastGuess = Math.max(
    0,
    ...Object.values(guesses).map((lane) => Math.max(lane.lockedUntil, lane.log.at(-2) ?? 0)),
  );
  const longAgo = now - LONGEST_MEMORY_MS;
  // Asked for itself: without a limit per number there is no start to go by. Ids are time-ordered, and no verification
  // lives longer than minutes.
  const oldestThatCounts = firstIdAt('ver', longAgo);
  const live = JSON.parse(text(row['live'])) as Record<string, string>;
  return Math.max(lastStart, lastGuess) <= longAgo && Object.values(live).every((id) => id < oldestThatCounts);
}
