import { join } from 'node:path';
import type { Config } from './config/config.ts';
import type { Store } from './domain/store.ts';
import { openSqliteStore } from './stores/sqlite/sqlite-store.ts';
import type { StoreLog } from './stores/store-log.ts';

type Chosen = Pick<Config, 'dataDir' | 'databaseUrl' | 'databasePoolSize' | 'redisUrl'>;

/** Where the embedded database is. */
export function databaseFileOf({ dataDir }: Pick<Config, 'dataDir'>): string {
  return join(dataDir, 'countersign.db');
}

/**
 * The store that was chosen: the embedded one, PostgreSQL, or Redis in front of PostgreSQL.
 * @throws CountersignError `store-unavailable` or `store-incompatible`
 */
export async function openStore(config: Chosen, log: StoreLog): Promise<Store> {
  const { databaseUrl, databasePoolSize, redisUrl } = config;
  if (databaseUrl === undefined) return openSqliteStore(databaseFileOf(config));
  // The drivers are loaded by whoever needs them.
  const { openPostgresStore } = await import('./stores/postgres/postgres-store.ts');
  const liveIn = redisUrl === undefined ? 'postgresql' : 'redis';
  const database = await openPostgresStore({ url: databaseUrl, poolSize: databasePoolSize, log, liveIn });
  if (redisUrl === undefined) return database;
  try {
    const { openRedisStore } = await import('./stores/redis/redis-store.ts');
    return await openRedisStore({ url: redisUrl, database, log });
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** The chosen store in words, for people: no user name and no password. */
export function nameOfStore(config: Chosen): string {
  if (config.databaseUrl === undefined) return databaseFileOf(config);
  const url = new URL(config.databaseUrl);
  const host = url.host === '' ? url.searchParams.get('host') : url.host;
  const database = `PostgreSQL, ${decodeURIComponent(url.pathname.slice(1))} on ${host}`;
  if (config.redisUrl === undefined) return database;
  const hosts = config.redisUrl.split(',').map((each) => new URL(each.trim()).host);
  return `Redis on ${hosts.join(', ')}, in front of ${database}`;
}
