import { CountersignError } from '../../domain/problem.ts';
import { toSqlJson } from '../postgres/json.ts';
import type { PostgresStore } from '../postgres/postgres-store.ts';
import type { StoreLog } from '../store-log.ts';
import type { RedisClient } from './client.ts';
import type { Home } from './home.ts';
import { APPS, markerOf } from './keys.ts';
import { Mover } from './mover.ts';
import { Revival } from './revival.ts';
import type { ScriptName } from './scripts.ts';
import type { Given } from './steps.ts';

/** Below 2 s: whoever waits is told in time that it was for nothing. */
export const ANSWER_DEADLINE_MS = 1800;
/** How often a step may find its app cold: once, and once more when the server was changed again meanwhile. */
const TRIES = 3;
const LOOK_FOR_APPS_AGAIN_MS = 500;
const APPS_KEPT_SECONDS = 30 * 86_400;

/** Runs the scripts of apps, each on data that is whole. */
export class Apps {
  readonly mover: Mover;
  readonly #redis: RedisClient;
  readonly #home: Home;
  readonly #postgres: PostgresStore;
  readonly #revival: Revival;
  /** that this node has seen */
  readonly #known = new Set<string>();
  #hasAskedForDue = false;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(redis: RedisClient, home: Home, postgres: PostgresStore, log: StoreLog) {
    this.#redis = redis;
    this.#home = home;
    this.#postgres = postgres;
    this.mover = new Mover(redis, postgres, log, () => this.#recent());
    this.#revival = new Revival(redis, postgres, this.mover, log, (app) => this.remember([app]));
  }

  /** @throws CountersignError `store-unavailable` */
  async run(name: ScriptName, app: string, given: Given): Promise<unknown> {
    this.#known.add(app);
    // A revival may take longer, and nothing is begun after its caller was told that it was for nothing.
    const until = performance.now() + ANSWER_DEADLINE_MS;
    // As PostgreSQL wants it, where it ends up; Lua's reader does not take halves of surrogate pairs either.
    const step = toSqlJson({ ...given, since: this.#postgres.presence.otherUntil });
    for (let tried = 0; tried < TRIES && performance.now() < until; tried += 1) {
      const result = await this.#redis.run(name, markerOf(app), step);
      if (result === 'full') throw full();
      if (result !== 'cold') return result;
      await this.#revival.revive(app, given.now);
    }
    throw new CountersignError('store-unavailable', 'Redis is changing over from one server to another just now.');
  }

  /** All that have data: an app is not known to a node that has not seen it yet. */
  async list(): Promise<readonly string[]> {
    const kept = await this.#redis.do((redis) => redis.smembers(APPS));
    const isEmptied = kept.length === 0;
    if (isEmptied) await this.#home.keep();
    // What is due may be known to PostgreSQL alone, and apps that were asked for since Redis was emptied are here already.
    if (isEmptied || !this.#hasAskedForDue) {
      await this.#askForDue().catch((error: unknown) => {
        if (isEmptied) throw error;
      });
    }
    for (const app of kept) this.#known.add(app);
    this.#lookedAt = performance.now();
    return [...this.#known];
  }

  async #askForDue(): Promise<void> {
    const apps = (await this.#postgres.steps.run('list_apps_with_due', {})) as readonly string[] | null;
    for (const app of apps ?? []) this.#known.add(app);
    this.#hasAskedForDue = true;
  }

  /** So that nodes which have not seen them find them. */
  async remember(apps: readonly string[]): Promise<void> {
    await this.#home.keep();
    if (apps.length === 0) return;
    await this.#redis.do((redis) => redis.sadd(APPS, ...apps));
    await this.#redis.do((redis) => redis.expire(APPS, APPS_KEPT_SECONDS));
  }

  /** The same, but for some that began within the last moment. */
  async #recent(): Promise<readonly string[]> {
    if (performance.now() - this.#lookedAt > LOOK_FOR_APPS_AGAIN_MS) return this.list();
    return [...this.#known];
  }
}

/** What PostgreSQL has not got yet is kept in Redis, whose memory has an end. */
function full(): CountersignError {
  return new CountersignError(
    'store-unavailable',
    'PostgreSQL has been away for so long that Redis keeps no more for it: nothing new is begun until it is back.',
  );
}
