import type { ApiKey, Store } from '../../domain/store.ts';
import type { PostgresStore } from '../postgres/postgres-store.ts';
import type { RedisClient } from './client.ts';
import { apiKeyOf } from './keys.ts';

/** Every request asks for a key, and should be answered while PostgreSQL is away. */
const KEPT_MS = 10 * 60_000;

/** API keys are PostgreSQL's; those that were asked for lately are in Redis, where all nodes see at once what changes. */
export class ApiKeys {
  readonly #redis: RedisClient;
  readonly #postgres: PostgresStore;

  constructor(redis: RedisClient, postgres: PostgresStore) {
    this.#redis = redis;
    this.#postgres = postgres;
  }

  find: Store['findApiKey'] = async (hash) => {
    const kept = await this.#redis.do((redis) => redis.get(this.#nameOf(hash)));
    if (kept !== null) return { revokedAt: undefined, ...(JSON.parse(kept) as Omit<ApiKey, 'revokedAt'>) };
    const found = await this.#postgres.findApiKey(hash);
    // What was revoked since it was read is there already, and stays.
    if (found !== undefined) await this.#keep(found, 'NX');
    return found;
  };

  revoke: Store['revokeApiKey'] = async (id, now) => {
    const isKnown = await this.#postgres.revokeApiKey(id, now);
    if (!isKnown) return false;
    const revoked = (await this.#postgres.listApiKeys()).find((key) => key.id === id);
    if (revoked !== undefined) await this.#keep(revoked, 'XX or NX');
    return true;
  };

  async #keep(key: ApiKey, when: 'NX' | 'XX or NX'): Promise<void> {
    const [name, text] = [this.#nameOf(key.hash), JSON.stringify(key)];
    await this.#redis.do((redis) =>
      when === 'NX' ? redis.set(name, text, 'PX', KEPT_MS, 'NX') : redis.set(name, text, 'PX', KEPT_MS),
    );
  }

  #nameOf(hash: string): string {
    return apiKeyOf(hash, this.#postgres.presence.otherUntil);
  }
}
