import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { timeOfId } from '../../domain/id.ts';
import { CountersignError } from '../../domain/problem.ts';
import { codeOf } from '../postgres/database.ts';
import type { PostgresStore } from '../postgres/postgres-store.ts';
import type { StoreLog } from '../store-log.ts';
import { Batch } from './batch.ts';
import type { RedisClient } from './client.ts';
import { historyOf, markerOf } from './keys.ts';
import { writeBatch } from './move.ts';
import { type HistoryEntry, readEntries } from './snapshots.ts';

/** Entries of one transaction. */
const BATCH_ENTRIES = 500;
/** How long what was written waits at most, while there is nothing else to do. */
const LOOK_AGAIN_MS = 25;
/** While another node moves for all: when to see whether it is still there. */
const STAND_BY_MS = 250;
const LEASE_MS = 1000;
/** After a failure, so that a database that is away is not asked forty times a second. */
const AFTER_FAILURE_MS = 200;
const BUSY_AGAIN_MS = 3;
/** Others wait behind the one that moves: it is given up before long, by itself and by the server if it is not heard of. */
const LIMITS = { statementMs: 3000, idleMs: 3000 };
const LAST_DRAIN_MS = 1000;
/** Entries of an app. Where so many are refused it is not for what is in them, and the whole history would follow. */
const MOST_SET_ASIDE = 1000;

/** For the length of a transaction, also through a PgBouncer. */
const LOCK_APP = "SELECT pg_try_advisory_xact_lock(hashtextextended('countersign history ' || $1, 0)) AS locked";

/** A row is of a day whose table is not there yet. https://www.postgresql.org/docs/current/errcodes-appendix.html */
const CHECK_VIOLATION = '23514';

/**
 * What is wrong with an entry itself: a value, a constraint, a size. All else (a deadline of the server's, a right that is
 * missing, a fault in a statement of ours) would be wrong with any other entry as well, and may pass.
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const FAULTS_OF_ENTRIES = /^(21|22|23|54)/;

type Pass = 'empty' | 'busy' | 'moved';

/**
 * Moves the history of all apps from Redis into PostgreSQL. One node does it for all, by a lease; what is done twice all
 * the same is done under a lock, and changes nothing the second time.
 */
export class Mover {
  readonly #redis: RedisClient;
  readonly #postgres: PostgresStore;
  readonly #log: StoreLog;
  readonly #apps: () => Promise<readonly string[]>;
  readonly #holder = randomUUID();
  readonly #drains = new Map<string, { running: Promise<void>; next: Promise<void> | undefined }>();
  /** how many entries of an app are to be moved one by one, because PostgreSQL refuses one of them */
  readonly #careful = new Map<string, number>();
  readonly #stop = new AbortController();
  /** what stands in the way of an app, or of all of them (`''`): it was said, and the app rests until then, of `performance.now()` */
  readonly #faults = new Map<string, { readonly fault: string; readonly restsUntil: number }>();
  #isStopped = false;
  #loop: Promise<void> | undefined;

  /** @param apps that have a history in Redis */
  constructor(redis: RedisClient, postgres: PostgresStore, log: StoreLog, apps: () => Promise<readonly string[]>) {
    this.#redis = redis;
    this.#postgres = postgres;
    this.#log = log;
    this.#apps = apps;
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Ends when what is there is moved, so that the last node that stops leaves nothing behind; or soon in any case. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    const last = this.#apps().then((apps) => Promise.allSettled(apps.map((app) => this.drain(app))));
    await Promise.race([last.catch(() => undefined), delay(LAST_DRAIN_MS, undefined, { ref: false })]);
    this.#isStopped = true;
    // Else the others would wait until it ends by itself. They can, when it cannot be ended.
    await this.#lease(0).catch(() => undefined);
  }

  /**
   * Everything that was written before this call is in PostgreSQL when it returns. Callers that come while others wait
   * go together.
   */
  drain(app: string): Promise<void> {
    const known = this.#drains.get(app);
    if (known === undefined) {
      const entry = { running: this.#drainNow(app), next: undefined as Promise<void> | undefined };
      this.#drains.set(app, entry);
      const end = () => {
        if (entry.next === undefined) this.#drains.delete(app);
      };
      entry.running.then(end, end);
      return entry.running;
    }
    // What is running may have begun before the caller's own writes.
    known.next ??= known.running
      .catch(() => undefined)
      .then(() => {
        this.#drains.delete(app);
        return this.drain(app);
      });
    return known.next;
  }

  /**
   * Moves one batch, when the one that is under way is over. That may be of a Redis that has been emptied since, or
   * replaced: the stream is empty then, and PostgreSQL has not got all of it yet.
   * @returns false when nothing was left
   */
  async moveNext(app: string): Promise<boolean> {
    for (;;) {
      const pass = await this.#pass(app);
      if (pass !== 'busy') return pass === 'moved';
      await delay(BUSY_AGAIN_MS);
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const pauseMs = await this.#round().catch((error: unknown) => this.#failed('', error));
      await delay(pauseMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  /** @returns how long until the next one */
  async #round(): Promise<number> {
    if (!(await this.#lease(LEASE_MS))) return STAND_BY_MS;
    const leasedUntil = performance.now() + LEASE_MS / 2;
    while (performance.now() < leasedUntil && !this.#stop.signal.aborted) {
      const apps = (await this.#apps()).filter((app) => !this.#isResting(app));
      const moves = await Promise.allSettled(apps.map((app) => this.#moveIfAny(app)));
      for (const [index, move] of moves.entries()) {
        if (move.status === 'rejected') this.#failed(apps[index] ?? '', move.reason);
        else if (move.value) this.#recovered(apps[index] ?? '');
      }
      const hasMoved = moves.some((move) => move.status === 'fulfilled' && move.value);
      if (!hasMoved) await delay(LOOK_AGAIN_MS, undefined, { signal: this.#stop.signal, ref: false });
    }
    return 0;
  }

  /** @returns whether this node has it */
  async #lease(forMs: number): Promise<boolean> {
    const given = { name: 'move history', holder: this.#holder, forMs };
    return (await this.#postgres.steps.run('lease_for', given)) === true;
  }

  #isResting(app: string): boolean {
    return performance.now() < (this.#faults.get(app)?.restsUntil ?? 0);
  }

  #failed(app: string, error: unknown): number {
    const message = error instanceof Error ? error.message : String(error);
    // An outage is everybody's, and said once, however it shows.
    const isOutage = error instanceof CountersignError;
    const before = this.#faults.get(isOutage ? '' : app);
    const fault = { fault: message, restsUntil: performance.now() + AFTER_FAILURE_MS };
    this.#faults.set(app, fault);
    if (isOutage) this.#faults.set('', fault);
    const isSaid = before !== undefined && (isOutage || before.fault === message);
    if (this.#stop.signal.aborted || isSaid) return AFTER_FAILURE_MS;
    if (isOutage) this.#log.warn({ error: message }, 'history cannot be moved just now');
    else this.#log.error({ app, code: codeOf(error), error: message }, 'history cannot be moved');
    return AFTER_FAILURE_MS;
  }

  #recovered(app: string): void {
    const had = [this.#faults.delete(app), this.#faults.delete('')];
    if (had.includes(true)) this.#log.warn({ postgres: this.#postgres.database.place }, 'history is moved again');
  }

  async #moveIfAny(app: string): Promise<boolean> {
    if ((await this.#redis.do((redis) => redis.xlen(historyOf(app)))) === 0) return false;
    return (await this.#pass(app)) !== 'empty';
  }

  async #drainNow(app: string): Promise<void> {
    const [newest] = await this.#redis.do((redis) => redis.xrevrange(historyOf(app), '+', '-', 'COUNT', 1));
    if (newest === undefined) return;
    for (;;) {
      const pass = await this.#pass(app);
      if (pass === 'busy') await delay(BUSY_AGAIN_MS);
      const left = await this.#redis.do((redis) => redis.xrange(historyOf(app), '-', newest[0], 'COUNT', 1));
      if (left.length === 0) return;
      if (this.#isStopped) throw new CountersignError('store-unavailable', 'The store is closed.');
    }
  }

  /** One batch of one app, unless another node is at it. */
  async #pass(app: string, hasMadeRoom = false): Promise<Pass> {
    const careful = this.#careful.get(app) ?? 0;
    const taken: HistoryEntry[] = [];
    try {
      const pass = await this.#move(app, careful > 0 ? 1 : BATCH_ENTRIES, taken);
      if (careful > 0 && pass !== 'busy') this.#careful.set(app, careful - 1);
      return pass;
    } catch (error) {
      if (error instanceof CountersignError || taken.length === 0) throw error;
      if (codeOf(error) === CHECK_VIOLATION && !hasMadeRoom) {
        await this.#postgres.partitions.ensureDaysOf(oneOfEachDay(taken));
        return this.#pass(app, true);
      }
      if (!FAULTS_OF_ENTRIES.test(codeOf(error) ?? '')) throw error;
      await this.#refused(app, taken, error);
      return this.#pass(app);
    }
  }

  /** @param taken is filled with the entries that the pass is about, however it ends */
  async #move(app: string, limit: number, taken: HistoryEntry[]): Promise<Pass> {
    const pass = await this.#postgres.database.transaction(async (query): Promise<Pass> => {
      const { rows } = await query(LOCK_APP, [app]);
      if (rows[0]?.['locked'] !== true) return 'busy';
      const given = JSON.stringify({ now: 0, since: this.#postgres.presence.otherUntil, limit });
      const [isBackward, entries] = (await this.#redis.run('take-history', markerOf(app), given)) as [number, unknown];
      taken.splice(0, taken.length, ...readEntries(entries));
      if (taken.length === 0) return 'empty';
      const batch = await Batch.of(taken, isBackward === 1, query);
      await writeBatch(app, batch, isBackward === 1, query);
      return 'moved';
    }, LIMITS);
    if (pass === 'moved') await this.#drop(app, taken);
    return pass;
  }

  /** What PostgreSQL does not take, one entry by itself, is set aside: all others would wait behind it for ever. */
  async #refused(app: string, entries: readonly HistoryEntry[], error: unknown): Promise<void> {
    const [only, ...others] = entries;
    if (only === undefined || others.length > 0) {
      this.#careful.set(app, entries.length);
      return;
    }
    const code = codeOf(error);
    const given = JSON.stringify({ now: 0, id: only.id, most: MOST_SET_ASIDE });
    if ((await this.#redis.run('set-aside', markerOf(app), given)) === 'full') {
      throw new Error(
        `PostgreSQL refuses an entry of the history of ${app} (${code}), and ${MOST_SET_ASIDE} are set aside already`,
      );
    }
    this.#log.error({ app, entry: only.id, code }, 'PostgreSQL refuses an entry of the history: it is set aside');
  }

  async #drop(app: string, entries: readonly HistoryEntry[]): Promise<void> {
    const ids = entries.map(({ id }) => id);
    await this.#redis.run('drop-history', markerOf(app), JSON.stringify({ now: 0, ids }));
  }
}

const DAY_MS = 86_400_000;

/** An id of each day of history that the entries are of. */
function oneOfEachDay(entries: readonly HistoryEntry[]): string[] {
  const days = new Map<string, string>();
  for (const { changes } of entries) {
    for (const change of changes) {
      const row =
        change.kind === 'verification' ? change.verification : change.kind === 'message' ? change.message : undefined;
      if (row !== undefined) days.set(`${row.id.slice(0, 3)} ${Math.floor(timeOfId(row.id) / DAY_MS)}`, row.id);
    }
  }
  return [...days.values()];
}
