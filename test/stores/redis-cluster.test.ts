import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { markerOf } from '../../src/stores/redis/keys.ts';
import { openRedisStore } from '../../src/stores/redis/redis-store.ts';
import {
  checkById,
  phone,
  started,
  startStep,
  T0,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { describeStore } from '../../src/testing.ts';
import { type TestRedisCluster, useRedisCluster } from '../servers/index.ts';
import { onRedis } from '../servers/redis.ts';
import { startRedisCluster } from '../servers/redis-cluster.ts';
import { hasPostgres, postgresForFile, silent } from './postgres-database.ts';
import { openTwoNodes, until } from './redis-stores.ts';

/** Another file may have its turn with the cluster. */
const TURN_PATIENCE_MS = 180_000;

describe.skipIf(!hasPostgres() || inject('redisClusterUrls') === null)('a Redis Cluster', () => {
  let postgres: Awaited<ReturnType<typeof postgresForFile>>;
  let cluster: TestRedisCluster;
  beforeAll(async () => {
    postgres = await postgresForFile();
    cluster = await useRedisCluster();
  }, TURN_PATIENCE_MS);
  afterAll(async () => {
    await cluster.close();
    await postgres.close();
  });

  describeStore('a Redis Cluster of three nodes in front of PostgreSQL, two nodes', () =>
    openTwoNodes(postgres, { url: cluster.urls.join(','), empty: cluster.empty }),
  );

  // It was taken for a bug of ours, and answered with 500.
  it('moves the slot of an app: a start is answered with 503 meanwhile', async () => {
    await cluster.empty();
    const slot = Number(await onRedis(cluster.urls[0] ?? '', (client) => client.cluster('KEYSLOT', markerOf('taxi'))));
    const setSlot = (url: string, ...how: string[]) =>
      onRedis(url, (client) => client.call('CLUSTER', 'SETSLOT', slot, ...how));
    const store = await openRedisStore({ url: cluster.urls.join(','), database: await postgres.open(), log: silent });
    try {
      await started(store);
      const nodes = await Promise.all(
        cluster.urls.map((url) =>
          onRedis(url, async (client) => ({
            url,
            id: await client.cluster('MYID'),
            keys: await client.cluster('COUNTKEYSINSLOT', slot),
          })),
        ),
      );
      const [to, , from] = nodes.toSorted((a, b) => a.keys - b.keys);
      if (from === undefined || to === undefined) throw new Error('there are three nodes');
      await setSlot(to.url, 'IMPORTING', from.id);
      await setSlot(from.url, 'MIGRATING', to.id);
      const step = startStep(verificationOf({ number: phone(2) }));
      await expect(store.start(step)).rejects.toMatchObject({ code: 'store-unavailable' });
    } finally {
      await store.close();
      for (const url of cluster.urls) await setSlot(url, 'STABLE');
    }
  });

  it('loses a node and has it back: 503 in time, then all is there', async () => {
    const own = await startRedisCluster();
    const database = await postgres.open();
    const store = await openRedisStore({ url: own.urls.join(','), database, log: silent });
    try {
      const apps = ['taxi', 'bank', 'shop', 'club'];
      const verifications = await Promise.all(apps.map((app) => started(store, { app })));
      for (const node of own.nodes) {
        await node.kill();
        const begun = performance.now();
        const outcomes = await Promise.allSettled(
          verifications.map((verification) => checkById(store, verification, wrongDigest, T0)),
        );
        expect(performance.now() - begun).toBeLessThan(2000);
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'store-unavailable' });
        }
        await node.start();
        await until(async () => {
          const checks = await Promise.allSettled(verifications.map(({ app, id }) => store.getVerification(app, id)));
          return checks.every(({ status }) => status === 'fulfilled');
        }, 'all apps answer');
      }
      for (const verification of verifications) {
        const outcome = await checkById(store, verification, verification.digests.byId, T0);
        expect(outcome).toMatchObject({ kind: 'approved' });
      }
    } finally {
      await store.close();
      await own.close();
    }
  }, 40_000);
});
