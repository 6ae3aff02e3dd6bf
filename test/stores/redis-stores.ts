import { setTimeout as delay } from 'node:timers/promises';
import { openRedisStore } from '../../src/stores/redis/redis-store.ts';
import type { OpenedStores } from '../../src/testing/store-suite.ts';
import { type postgresForFile, silent } from './postgres-database.ts';

type Postgres = Awaited<ReturnType<typeof postgresForFile>>;

/** Two nodes over one empty PostgreSQL and one empty Redis, as the suite of the stores wants them. */
export async function openTwoNodes(
  postgres: Postgres,
  redis: { readonly url: string; empty(): Promise<void> },
): Promise<OpenedStores> {
  await redis.empty();
  await postgres.empty();
  const open = async () => openRedisStore({ url: redis.url, database: await postgres.open(), log: silent });
  const [a, b] = [await open(), await open()];
  const opened = [a, b];
  const closeAll = async () => {
    await Promise.all(opened.map((store) => store.close()));
    await postgres.closeStores();
  };
  return {
    a,
    b,
    async reopen() {
      await closeAll();
      const store = await open();
      opened.push(store);
      return store;
    },
    close: closeAll,
  };
}

/** What has to come by itself, and soon. */
export async function until(isSo: () => Promise<boolean>, what: string, patienceMs = 5000): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`not within ${patienceMs} ms: ${what}`);
    await delay(10);
  }
}
