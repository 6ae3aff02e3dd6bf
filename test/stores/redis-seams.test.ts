import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { TcpProxy } from '../../faults/nodes/tcp-proxy.ts';
import type { Store } from '../../src/domain/store.ts';
import { openPostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import { historyOf } from '../../src/stores/redis/keys.ts';
import { openRedisStore } from '../../src/stores/redis/redis-store.ts';
import {
  checkById,
  checkBySlot,
  HOUR,
  MINUTE,
  newId,
  phone,
  SECOND,
  sentMessage,
  started,
  T0,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { makeDatabase, type TestDatabase } from '../servers/index.ts';
import { onRedis, type RedisServer, startRedis } from '../servers/redis.ts';
import { hasPostgres, silent } from './postgres-database.ts';
import { until } from './redis-stores.ts';

/** Where what is in Redis meets what is in PostgreSQL: sequences that somebody would choose who wants to come in between. */
describe.skipIf(!hasPostgres() || inject('redisUrl') === null)('the seam between Redis and PostgreSQL', () => {
  let database: TestDatabase;
  let redis: RedisServer;
  let redisProxy: TcpProxy;
  let postgresProxy: TcpProxy;
  const opened: Store[] = [];

  beforeAll(async () => {
    redis = await startRedis();
    redisProxy = await TcpProxy.open(redis.port);
    postgresProxy = await TcpProxy.open(Number(new URL(inject('postgresUrl') ?? '').port));
  });
  beforeEach(async () => {
    await onRedis(redis.url, (client) => client.flushall());
    database = await makeDatabase();
  });
  afterEach(async () => {
    for (const proxy of [redisProxy, postgresProxy]) {
      proxy.mode = { kind: 'pass' };
      proxy.cut();
    }
    await Promise.all(opened.splice(0).map((store) => store.close()));
    await database.close();
  });
  afterAll(async () => {
    await Promise.all([redisProxy.close(), postgresProxy.close()]);
    await redis.close();
  });

  function openPostgres(liveIn: 'postgresql' | 'redis', port?: number) {
    const url = new URL(database.url);
    if (port !== undefined) url.port = String(port);
    return openPostgresStore({ url: url.href, poolSize: 4, log: silent, liveIn });
  }

  async function open(ports: { redis?: number; postgres?: number } = {}): Promise<Store> {
    const url = `redis://127.0.0.1:${ports.redis ?? redis.port}`;
    const store = await openRedisStore({ url, database: await openPostgres('redis', ports.postgres), log: silent });
    opened.push(store);
    return store;
  }

  async function closeAll(): Promise<void> {
    await Promise.all(opened.splice(0).map((store) => store.close()));
  }

  const untilMoved = () =>
    until(() => onRedis(redis.url, async (client) => (await client.xlen(historyOf('taxi'))) === 0), 'all is moved');

  it('knows of a key that was revoked while all nodes were stopped, by a command without Redis', async () => {
    const key = { id: newId('key'), app: 'taxi', name: 'backend', hash: 'h1', createdAt: T0, revokedAt: undefined };
    const before = await open();
    await before.addApiKey(key);
    expect(await before.findApiKey('h1')).toMatchObject({ id: key.id, revokedAt: undefined });
    await closeAll();
    const alone = await openPostgres('postgresql');
    await alone.revokeApiKey(key.id, T0 + SECOND);
    await alone.close();
    expect(await (await open()).findApiKey('h1')).toMatchObject({ revokedAt: T0 + SECOND });
  });

  it('does not take an approval back that was made without Redis, by what a killed node left in the stream', async () => {
    const before = await open();
    const verification = await started(before);
    await untilMoved();
    await checkById(before, verification, wrongDigest, T0);
    await untilMoved();
    // What the last node would have left that was killed before it moved a third attempt.
    const snapshot = await onRedis(redis.url, (client) => client.get(`cs:{taxi}:v:${verification.id}`));
    const later = { ...(JSON.parse(snapshot ?? '{}') as object), attempts: 2, revision: Date.now() + 5000 };
    await closeAll();
    await onRedis(redis.url, (client) => client.xadd(historyOf('taxi'), '*', 'v', JSON.stringify(later)));
    const alone = await openPostgres('postgresql');
    expect(await checkById(alone, verification, verification.digests.byId, T0)).toMatchObject({ kind: 'approved' });
    await alone.close();
    const again = await open();
    expect(await checkById(again, verification, verification.digests.byId, T0)).toEqual({
      kind: 'ended',
      state: 'approved',
    });
  });

  it('is crossed again when a node has vanished in the middle of moving, with its connections still open', async () => {
    const lost = await open({ redis: redisProxy.port, postgres: postgresProxy.port });
    const well = await open();
    await started(lost);
    await untilMoved();
    // Its transaction has begun, and it waits for Redis, when it is heard of no more.
    const busy = sentMessages(lost);
    await new Promise((resolve) => setTimeout(resolve, 300));
    redisProxy.mode = { kind: 'silent' };
    await new Promise((resolve) => setTimeout(resolve, 300));
    postgresProxy.mode = { kind: 'silent' };
    await busy;
    const message = await sentMessage(well);
    await until(
      () =>
        well.listMessages('taxi', { limit: 1 }).then(
          (found) => found.some(({ id }) => id === message.id),
          () => false,
        ),
      'history is moved again',
      10_000,
    );
  }, 30_000);

  async function sentMessages(store: Store): Promise<void> {
    for (let index = 0; index < 2000; index += 1) {
      try {
        await sentMessage(store);
      } catch {
        return;
      }
    }
  }

  it('keeps nobody waiting who erases a number while PostgreSQL says nothing', async () => {
    const store = await open({ postgres: postgresProxy.port });
    await started(store);
    postgresProxy.mode = { kind: 'silent' };
    const begun = performance.now();
    const erasing = store.eraseHistory({ app: 'taxi', number: phone(1), answer: '{}', resumeAt: undefined });
    await expect(erasing).rejects.toMatchObject({ code: 'store-unavailable' });
    expect(performance.now() - begun).toBeLessThan(2500);
  }, 60_000);

  it('gives back nothing of an erased number, whose reports came late', async () => {
    const store = await open();
    const message = await sentMessage(store);
    const at = message.validUntil + 3 * HOUR + 50 * MINUTE;
    const report = { providerMessageId: message.id, state: 'sent' } as const;
    expect(await store.recordReport('acme', report, at)).toMatchObject({ changed: true });
    // Another start of the number lets go of what should have left Redis by now.
    await started(store, { createdAt: message.validUntil + 6 * HOUR });
    for (let resumeAt: string | undefined, isFirst = true; isFirst || resumeAt !== undefined; isFirst = false)
      ({ resumeAt } = await store.eraseHistory({ app: 'taxi', number: phone(1), answer: '{}', resumeAt }));
    expect(await store.getMessage('taxi', message.id)).toBeUndefined();
    expect(
      await onRedis(redis.url, async (client) => (await client.exists(`cs:{taxi}:m:${message.id}`)) === 0),
    ).toBe(true);
  });

  it('has no verification that nobody started', async () => {
    const store = await open();
    await checkBySlot(store, wrongDigest, T0);
    expect(await store.getVerification('taxi', 'none')).toBeUndefined();
    expect(await store.approve('taxi', 'none', T0)).toEqual({ kind: 'unknown' });
    expect(await store.cancel('taxi', 'none', T0)).toEqual({ kind: 'unknown' });
  });

  it('has one Redis: a node with another one does not start', async () => {
    const other = await startRedis();
    try {
      const store = await open();
      const verification = await started(store);
      await untilMoved();
      const opening = open({ redis: other.port }).then(async (second) => ({
        a: (await checkById(store, verification, verification.digests.byId, T0)).kind,
        b: (await checkById(second, verification, verification.digests.byId, T0)).kind,
      }));
      await expect(opening).rejects.toMatchObject({ code: 'store-incompatible' });
    } finally {
      await closeAll();
      await other.close();
    }
  });
});
