import type { ApiKey, Store } from '../../domain/store.ts';
import type { PostgresStore } from '../postgres/postgres-store.ts';
import { type ApiKeyRow, apiKeyOf as rowToApiKey } from '../postgres/rows.ts';
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
    const [name, kept] = await this.#look(hash);
    if (kept !== null) return { revokedAt: undefined, ...(JSON.parse(kept) as Omit<ApiKey, 'revokedAt'>) };
    const found = await this.#postgres.findApiKey(hash);
    // What was revoked since it was read is there already, and stays.
    if (found !== undefined)
      await this.#redis.do((redis) => redis.set(name, JSON.stringify(found), 'PX', KEPT_MS, 'NX'));
    return found;
  };

  /** Where it fails it is to be asked for again: the key may be in Redis still, as it was. */
  revoke: Store['revokeApiKey'] = async (id, now) => {
    const row = await this.#postgres.steps.run('revoke_api_key', { id, now });
    if (row === null) return false;
    const revoked = rowToApiKey(row as ApiKeyRow);
    const [name] = await this.#look(revoked.hash);
    await this.#redis.do((redis) => redis.set(name, JSON.stringify(revoked), 'PX', KEPT_MS));
    return true;
  };

  async #look(hash: string): Promise<[name: string, kept: string | null]> {
    const key = apiKeyOf(hash, this.#postgres.presence.otherUntil);
    return (await this.#redis.run('find-api-key', key)) as [string, string | null];
  }
}
