import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { PostgresStore } from '../postgres/postgres-store.ts';
import type { StoreLog } from '../store-log.ts';
import type { RedisClient } from './client.ts';
import { markerOf } from './keys.ts';
import { type LiveData, readLiveData, readLiveVerifications } from './live-data.ts';
import type { Mover } from './mover.ts';
import type { ScriptName } from './scripts.ts';

/**
 * When others may take over from a node that revives an app and gets no further: it died, or has lost PostgreSQL. Each
 * script of a turn renews it, so to read what they need may take as long as this, and twice as long the next time.
 */
const PATIENCE_MS = 3500;
const MOST_PATIENCE_MS = 30_000;
const BUSY_AGAIN_MS = 25;
/** Rows of one script: some milliseconds, in which the server does nothing else. */
const ROWS_OF_ONE_SCRIPT = 200;

/**
 * Puts what is live back into a Redis that may lack it: it was emptied, lost its last writes in a restart, or has taken
 * the place of one that knew more. Scripts notice by the app's marker, and do nothing until it is renewed. What Redis
 * has still and PostgreSQL has not is moved first; then both are merged, and of what either of them knows nothing goes
 * back: what has ended has ended, of attempts and money spent the greater is kept, and wrong guesses are joined.
 *
 * That rests on one server having all of it in the end. So a turn is of the server that it began on: on another one, or
 * on one that was emptied meanwhile, nothing more is done in it, and it begins anew.
 */
export class Revival {
  readonly #redis: RedisClient;
  readonly #postgres: PostgresStore;
  readonly #mover: Mover;
  readonly #log: StoreLog;
  readonly #remember: (app: string) => Promise<void>;
  readonly #running = new Map<string, Promise<void>>();

  /** @param remember so that other nodes find the app too */
  constructor(
    redis: RedisClient,
    postgres: PostgresStore,
    mover: Mover,
    log: StoreLog,
    remember: (app: string) => Promise<void>,
  ) {
    this.#remember = remember;
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
    let patienceMs = PATIENCE_MS;
    for (;;) {
      const turn = new Turn(this.#redis, app, {
        since: this.#postgres.presence.otherUntil,
        token: randomUUID(),
        patienceMs,
      });
      const begun = await turn.run('revive-begin');
      if (begun === 'warm') return;
      if (begun === 'busy') {
        await delay(BUSY_AGAIN_MS);
        continue;
      }
      const [isStale, due] = begun as [number, string[]];
      try {
        if (await this.#reviveIn(turn, stepNow, isStale === 1, due)) return;
      } catch (error) {
        // Else everybody would wait until it is over.
        await turn.run('revive-leave').catch(() => undefined);
        throw error;
      }
      patienceMs = Math.min(2 * patienceMs, MOST_PATIENCE_MS);
    }
  }

  /** @returns false when the turn is lost */
  async #reviveIn(turn: Turn, stepNow: number | undefined, isStale: boolean, due: string[]): Promise<boolean> {
    const clock = await this.#postgres.clock();
    while (await this.#mover.moveNext(turn.app)) if ((await turn.run('revive-renew')) !== 'renewed') return false;
    // Nodes without Redis were at work meanwhile, and told nothing of it here.
    if (isStale && !(await this.#forget(turn))) return false;
    return this.#merge(turn, isStale ? [] : due, Math.min(stepNow ?? clock, clock), clock);
  }

  /** @returns false when the turn is lost: what is there then may be of use again */
  async #forget(turn: Turn): Promise<boolean> {
    for await (const keys of this.#redis.keysOf(turn.app)) {
      if ((await turn.run('revive-forget', {}, keys)) !== 'forgotten') return false;
    }
    return true;
  }

  /** @returns false when the turn is lost */
  async #merge(turn: Turn, due: readonly string[], now: number, clock: number): Promise<boolean> {
    const { steps } = this.#postgres;
    const { app } = turn;
    let verifications = 0;
    for await (const page of readLiveVerifications(steps, app, now)) {
      for (const part of slicesOf(page)) {
        if ((await turn.run('revive-verifications', { now }, part.flat())) !== 'merged') return false;
      }
      verifications += page.length;
    }
    const live = await readLiveData(steps, app, now, due);
    for (const part of partsOf(live)) if ((await turn.run('revive-merge', { now, ...part })) !== 'merged') return false;
    // Known before it is served, so that whoever walks all apps finds it.
    await this.#remember(app);
    if ((await turn.run('revive-finish', { epoch: Math.max(clock, turn.since) })) !== 'warm') return false;
    const { messages, numbers } = live;
    if (verifications + messages.length + numbers.length > 0) {
      const counts = { verifications, messages: messages.length, numbers: numbers.length };
      this.#log.warn({ app, ...counts }, 'Redis lacked live data, and has it again');
    }
    return true;
  }
}

type TurnTerms = {
  readonly since: number;
  readonly token: string;
  readonly patienceMs: number;
};

/** One node's time at reviving one app, on one server: on another one each of its scripts says `lost`. */
class Turn {
  readonly app: string;
  readonly #redis: RedisClient;
  readonly #terms: TurnTerms;

  constructor(redis: RedisClient, app: string, terms: TurnTerms) {
    this.#redis = redis;
    this.app = app;
    this.#terms = terms;
  }

  get since(): number {
    return this.#terms.since;
  }

  run(name: ScriptName, given: object = {}, more: readonly string[] = []): Promise<unknown> {
    return this.#redis.run(name, markerOf(this.app), JSON.stringify({ ...this.#terms, ...given }), ...more);
  }
}

function* partsOf({ messages, numbers, budgets }: LiveData): Generator<LiveData> {
  const none: LiveData = { messages: [], numbers: [], budgets: [] };
  for (const part of slicesOf(messages)) yield { ...none, messages: part };
  for (const part of slicesOf(numbers)) yield { ...none, numbers: part };
  yield { ...none, budgets };
}

function* slicesOf<Row>(rows: readonly Row[]): Generator<readonly Row[]> {
  for (let from = 0; from < rows.length; from += ROWS_OF_ONE_SCRIPT) yield rows.slice(from, from + ROWS_OF_ONE_SCRIPT);
}
