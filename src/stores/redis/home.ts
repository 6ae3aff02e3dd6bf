import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { CountersignError } from '../../domain/problem.ts';
import { PRESENT_MS, type Presence } from '../postgres/presence.ts';
import type { StoreLog } from '../store-log.ts';
import type { RedisClient } from './client.ts';
import { HOME } from './keys.ts';

const KEPT_MS = 30 * 86_400_000;
const LOOK_AGAIN_MS = 250;
/** A node that was killed is forgotten by then. */
const PATIENCE_MS = PRESENT_MS + 1000;

/**
 * A Redis has a name, which is kept in it, and nodes tell each other through PostgreSQL which one they use. With a Redis each (an
 * address such as `127.0.0.1` on every machine) they would be several services over one history, as with and without Redis: see
 * `Presence`. What another Redis had before is older than what nodes did since, and is not believed.
 */
export class Home {
  readonly #redis: RedisClient;
  readonly #name: string;

  private constructor(redis: RedisClient, name: string) {
    this.#redis = redis;
    this.#name = name;
  }

  /** @throws CountersignError `store-incompatible` while nodes are there that use another one */
  static async settle(redis: RedisClient, presence: Presence, log: StoreLog): Promise<Home> {
    const deadline = performance.now() + PATIENCE_MS;
    for (let isFirst = true; ; isFirst = false) {
      const name = await nameOf(redis);
      if (!(await presence.settleIn(name))) return new Home(redis, name);
      if (performance.now() > deadline) {
        throw new CountersignError(
          'store-incompatible',
          `Other nodes use this database with another Redis in front than the one at ${redis.place}: REDIS_URL must lead all of them to the same one, and to the same numbered database.`,
        );
      }
      if (isFirst)
        log.warn({ redis: redis.place }, 'waiting for nodes that use another Redis, or for theirs to be known');
      // It may have been emptied just now: those that use it give it its name back.
      await delay(LOOK_AGAIN_MS);
    }
  }

  /** Gives it its name again, which it may have been robbed of. */
  async keep(): Promise<void> {
    await this.#redis.do((redis) => redis.set(HOME, this.#name, 'PX', KEPT_MS));
  }
}

async function nameOf(redis: RedisClient): Promise<string> {
  const drawn = randomUUID();
  await redis.do((connection) => connection.set(HOME, drawn, 'PX', KEPT_MS, 'NX'));
  return (await redis.do((connection) => connection.get(HOME))) ?? drawn;
}
