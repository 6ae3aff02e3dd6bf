import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { onDatabase } from './postgres.ts';
import { onRedis } from './redis.ts';
import { emptyNode } from './redis-cluster.ts';
import type { SharedServers } from './shared.ts';
import { takeTurn } from './turns.ts';

declare module 'vitest' {
  // What `global-setup.ts` started; a file that needs one that is null is skipped: `describe.skipIf(…)`.
  interface ProvidedContext extends SharedServers {}
}

export type TestDatabase = { readonly url: string; close(): Promise<void> };

/** A fresh, empty database on the shared PostgreSQL, or on another one. `close` removes it, whoever is connected still. */
export async function makeDatabase(server: string | null = inject('postgresUrl')): Promise<TestDatabase> {
  if (server === null) throw new Error('there is no PostgreSQL: skip what needs it');
  const name = `countersign_test_${randomBytes(8).toString('hex')}`;
  // Of template0, which nobody can be connected to: two files at once would be in each other's way otherwise.
  await onDatabase(server, (client) => client.query(`CREATE DATABASE ${name} TEMPLATE template0`));
  const url = new URL(server);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    async close() {
      await onDatabase(server, (client) => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
    },
  };
}

export type TestRedis = {
  readonly url: string;
  /** Removes every key, so that each test can begin with nothing. */
  empty(): Promise<void>;
  /** Leaves nothing behind. */
  close(): Promise<void>;
};

/**
 * The numbered database of this worker on the shared Redis, empty. A worker runs one file at a time, so it is that file's
 * alone. What concerns the whole server (`CONFIG SET`, `SCRIPT FLUSH`, stopping it) needs a server of one's own.
 */
export async function useRedis(): Promise<TestRedis> {
  const server = inject('redisUrl');
  if (server === null) throw new Error('there is no Redis: skip what needs it');
  const url = new URL(server);
  url.pathname = `/${process.env['VITEST_POOL_ID'] ?? 1}`;
  const empty = () =>
    onRedis(url.href, async (client) => {
      await client.flushdb();
    });
  await empty();
  return { url: url.href, empty, close: empty };
}

export type TestRedisCluster = Omit<TestRedis, 'url'> & { readonly urls: readonly string[] };

/** The shared Redis Cluster, empty. It has no numbered databases, so one file at a time has it, and the others wait here. */
export async function useRedisCluster(): Promise<TestRedisCluster> {
  const [urls, turns] = [inject('redisClusterUrls'), inject('redisClusterTurns')];
  if (urls === null || turns === null) throw new Error('there is no Redis Cluster: skip what needs it');
  const endTurn = await takeTurn(turns);
  const empty = async () => {
    await Promise.all(urls.map(emptyNode));
  };
  try {
    await empty();
  } catch (error) {
    endTurn();
    throw error;
  }
  return {
    urls,
    empty,
    async close() {
      await empty();
      endTurn();
    },
  };
}
