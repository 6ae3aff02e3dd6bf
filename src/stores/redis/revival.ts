import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { firstIdAt } from '../../domain/id.ts';
import type { Database } from '../postgres/database.ts';
import type { PostgresStore } from '../postgres/postgres-store.ts';
import type { StoreLog } from '../store-log.ts';
import type { RedisClient } from './client.ts';
import { APPS, markerOf } from './keys.ts';
import type { Mover } from './mover.ts';
import type { DaySpent, MessageSnapshot, NumberGuesses, VerificationSnapshot } from './snapshots.ts';

/** When others may take over from a node that died while it revived an app. */
const PATIENCE_MS = 2000;
const BUSY_AGAIN_MS = 25;
/** Rows of one script: some milliseconds, in which the server does nothing else. */
const ROWS_OF_ONE_SCRIPT = 200;
/** The longest life that a code may be given (15 min), and as much as clocks differ. */
const LONGEST_LIFE_MS = 30 * 60_000;
/** An ended one is of use for a while: a code that was used must stay used. */
const CLOCKS_DIFFER_MS = 10 * 60_000;
/** A day's money is looked at that day. */
const BUDGET_DAYS_MS = 2 * 86_400_000;
export const APPS_KEPT_SECONDS = 30 * 86_400;

/**
 * Puts what is live back into a Redis that may lack it: it was emptied, lost its last writes in a restart, or has taken
 * the place of one that knew more. Scripts notice by the app's marker, and do nothing until it is renewed. What Redis
 * has still and PostgreSQL has not is moved first; then both are merged, and nothing ever goes back: what has ended has
 * ended, and of attempts, guesses and money spent the greater is kept.
 */
export class Revival {
  readonly #redis: RedisClient;
  readonly #postgres: PostgresStore;
  readonly #mover: Mover;
  readonly #log: StoreLog;
  readonly #running = new Map<string, Promise<void>>();

  constructor(redis: RedisClient, postgres: PostgresStore, mover: Mover, log: StoreLog) {
    this.#redis = redis;
    this.#postgres = postgres;
    this.#mover = mover;
    this.#log = log;
  }

  /** @param now of the step that found the app cold, undefined where it has none */
  revive(app: string, now: number | undefined): Promise<void> {
    const running = this.#running.get(app);
    if (running !== undefined) return running;
    const started = this.#revive(app, now).finally(() => this.#running.delete(app));
    this.#running.set(app, started);
    return started;
  }

  async #revive(app: string, stepNow: number | undefined): Promise<void> {
    const token = randomUUID();
    const { database } = this.#postgres;
    const clock = await readClock(database);
    const now = Math.min(stepNow ?? clock, clock);
    const run = (name: 'revive-begin' | 'revive-merge' | 'revive-finish', given: object) =>
      this.#redis.run(name, markerOf(app), JSON.stringify({ now, token, patienceMs: PATIENCE_MS, ...given }));
    for (;;) {
      const begun = await run('revive-begin', {});
      if (begun === 'warm') return;
      if (begun === 'busy') {
        await delay(BUSY_AGAIN_MS);
        continue;
      }
      await this.#mover.drain(app);
      const live = await readLive(database, app, now, begun as string[]);
      let outcome: unknown = 'merged';
      for (const part of partsOf(live)) {
        if (outcome === 'merged') outcome = await run('revive-merge', part);
      }
      if (outcome !== 'merged') continue;
      // Known before it is served, so that whoever walks all apps finds it.
      await this.#redis.do((redis) => redis.sadd(APPS, app));
      await this.#redis.do((redis) => redis.expire(APPS, APPS_KEPT_SECONDS));
      if ((await run('revive-finish', { epoch: clock })) !== 'warm') continue;
      const { verifications, messages, numbers } = live;
      if (verifications.length + messages.length + numbers.length > 0) {
        const counts = { verifications: verifications.length, messages: messages.length, numbers: numbers.length };
        this.#log.warn({ app, ...counts }, 'Redis lacked live data, and has it again');
      }
      return;
    }
  }
}

type Live = {
  readonly verifications: readonly VerificationSnapshot[];
  readonly messages: readonly MessageSnapshot[];
  readonly numbers: readonly NumberGuesses[];
  readonly budgets: readonly DaySpent[];
};

async function readClock(database: Database): Promise<number> {
  const { rows } = await database.query('SELECT floor(extract(epoch FROM clock_timestamp()) * 1000) AS now');
  return Number(rows[0]?.['now']);
}

async function readLive(database: Database, app: string, now: number, dueIds: readonly string[]): Promise<Live> {
  const since = now - CLOCKS_DIFFER_MS;
  const [verifications, messages, numbers, budgets] = await Promise.all([
    database.patientQuery(
      `SELECT to_jsonb(v) AS row FROM countersign.verification v
        WHERE id >= $1 AND app = $2 AND expires_at > $3 ORDER BY id`,
      [firstIdAt('ver', since - LONGEST_LIFE_MS), app, since],
    ),
    database.patientQuery(
      `SELECT to_jsonb(m) || jsonb_build_object('due_at', d.due_at, 'leased_until', d.leased_until,
              'claims', coalesce(d.claims, 0)) AS row
         FROM countersign.message m LEFT JOIN countersign.due d ON d.message_id = m.id
        WHERE m.app = $1 AND (d.message_id IS NOT NULL OR m.id = ANY($2))`,
      [app, dueIds],
    ),
    database.patientQuery(
      `SELECT jsonb_build_object('number', number, 'guesses', guesses) AS row
         FROM countersign.number WHERE app = $1 AND guesses IS NOT NULL`,
      [app],
    ),
    database.patientQuery(
      `SELECT jsonb_build_object('day', day, 'spent', spent_micros::text) AS row
         FROM countersign.budget WHERE app = $1 AND day >= $2`,
      [app, new Date(now - BUDGET_DAYS_MS).toISOString().slice(0, 10)],
    ),
  ]);
  const rowsOf = <Row>({ rows }: typeof numbers) => rows.map(({ row }) => row as Row);
  return {
    verifications: rowsOf<VerificationSnapshot>(verifications),
    messages: rowsOf<MessageSnapshot>(messages),
    numbers: rowsOf<NumberGuesses>(numbers),
    budgets: rowsOf<DaySpent>(budgets),
  };
}

function* partsOf({ verifications, messages, numbers, budgets }: Live): Generator<Live> {
  const none: Live = { verifications: [], messages: [], numbers: [], budgets: [] };
  for (const part of slicesOf(verifications)) yield { ...none, verifications: part };
  for (const part of slicesOf(messages)) yield { ...none, messages: part };
  for (const part of slicesOf(numbers)) yield { ...none, numbers: part };
  yield { ...none, budgets };
}

function* slicesOf<Row>(rows: readonly Row[]): Generator<readonly Row[]> {
  for (let from = 0; from < rows.length; from += ROWS_OF_ONE_SCRIPT) yield rows.slice(from, from + ROWS_OF_ONE_SCRIPT);
}
