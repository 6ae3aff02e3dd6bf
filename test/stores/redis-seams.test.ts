import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import { TcpProxy } from '../../faults/nodes/tcp-proxy.ts';
import type { Store } from '../../src/domain/store.ts';
import { openPostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import { Steps } from '../../src/stores/postgres/steps.ts';
import { historyOf, markerOf, refusedOf } from '../../src/stores/redis/keys.ts';
import { openRedisStore } from '../../src/stores/redis/redis-store.ts';
import { type ScriptName, scriptOf } from '../../src/stores/redis/scripts.ts';
import {
  budgetTake,
  checkById,
  checkBySlot,
  DAY_0,
  dispatchOf,
  dispatchStep,
  HOUR,
  MINUTE,
  messageStep,
  newId,
  phone,
  SECOND,
  sentMessage,
  started,
  T0,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { makeDatabase, type TestDatabase } from '../servers/index.ts';
import { onDatabase } from '../servers/postgres.ts';
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

  // All keys were read to find the one: where that failed, what was revoked stayed good in Redis for ten minutes.
  it('has a key revoked by one step of PostgreSQL, and asks nothing after it', async () => {
    const key = { id: newId('key'), app: 'taxi', name: 'backend', hash: 'h1', createdAt: T0, revokedAt: undefined };
    const store = await open();
    await store.addApiKey(key);
    expect(await store.findApiKey('h1')).toEqual(key);
    const steps = vi.spyOn(Steps.prototype, 'run');
    try {
      expect(await store.revokeApiKey(key.id, T0 + SECOND)).toBe(true);
      const asked = steps.mock.calls.map(([name]) => name).filter((name) => name !== 'lease_for');
      expect(asked).toEqual(['revoke_api_key']);
    } finally {
      steps.mockRestore();
    }
    expect(await store.findApiKey('h1')).toEqual({ ...key, revokedAt: T0 + SECOND });
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

  it('sends nothing again that was sent without Redis, by what a killed node left in the stream', async () => {
    const before = await open();
    const { message, ...step } = messageStep();
    await before.addMessage({ ...step, message });
    await untilMoved();
    const snapshot = await onRedis(redis.url, (client) => client.get(`cs:{taxi}:m:${message.id}`));
    const later = { ...(JSON.parse(snapshot ?? '{}') as object), claims: 1, revision: Date.now() + 5000 };
    await closeAll();
    await onRedis(redis.url, (client) => client.xadd(historyOf('taxi'), '*', 'm', JSON.stringify(later)));
    const alone = await openPostgres('postgresql');
    await alone.recordDispatch(dispatchStep(message, { dispatches: [dispatchOf({ providerMessageId: message.id })] }));
    await alone.close();
    const again = await open();
    expect(await again.claimDue(T0 + HOUR, T0 + 2 * HOUR, 10)).toEqual([]);
    expect(await again.getMessage('taxi', message.id)).toMatchObject({ dispatches: [{ state: 'queued' }] });
  });

  it('is crossed again when a node has vanished in the middle of moving, with its connections still open', async () => {
    const lost = await open({ redis: redisProxy.port, postgres: postgresProxy.port });
    const well = await open();
    await started(lost);
    await untilMoved();
    // Each answer of PostgreSQL comes late, so its transaction has begun, and is not over, when it is heard of no more.
    postgresProxy.mode = { kind: 'slow', delayMs: 200 };
    await sentMessage(lost);
    await delay(500);
    postgresProxy.mode = { kind: 'silent' };
    redisProxy.mode = { kind: 'silent' };
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
    expect(await onRedis(redis.url, async (client) => (await client.exists(`cs:{taxi}:m:${message.id}`)) === 0)).toBe(
      true,
    );
  });

  it('gives nothing back of an erased number when Redis is emptied between two steps of it', async () => {
    const store = await open();
    const verification = await started(store);
    await untilMoved();
    const erase = (resumeAt: string | undefined) =>
      store.eraseHistory({ app: 'taxi', number: phone(1), answer: '{}', resumeAt });
    let { resumeAt } = await erase(undefined);
    expect(resumeAt).toBeDefined();
    await onRedis(redis.url, (client) => client.flushall());
    expect(await store.getVerification('taxi', verification.id)).toBeUndefined();
    while (resumeAt !== undefined) ({ resumeAt } = await erase(resumeAt));
    expect(await store.claimDue(T0 + HOUR, T0 + 2 * HOUR, 10)).toEqual([]);
    const left = await onRedis(redis.url, (client) => client.keys('cs:{taxi}:m:*'));
    expect(left).toEqual([]);
  });

  it('erases also what was taken from a Redis that was emptied, and gets to PostgreSQL late', async () => {
    const store = await open();
    await started(store);
    const erase = (resumeAt: string | undefined) =>
      store.eraseHistory({ app: 'taxi', number: phone(1), answer: '{}', resumeAt });
    const { resumeAt } = await erase(undefined);
    expect(resumeAt).toBeDefined();
    await onDatabase(database.url, async (client) => {
      await client.query('BEGIN; LOCK TABLE countersign.budget IN SHARE MODE');
      const { message, ...step } = messageStep({ budget: budgetTake(1, 1000) });
      await store.addMessage({ ...step, message: { ...message, number: phone(1) } });
      await until(async () => {
        const { rows } = await client.query(
          "SELECT FROM pg_locks WHERE relation = 'countersign.budget'::regclass AND NOT granted",
        );
        return rows.length > 0;
      }, 'the batch waits for the budget');
      await onRedis(redis.url, (connection) => connection.flushall());
      const erasing = erase(resumeAt);
      await delay(200);
      await client.query('COMMIT');
      for (let next = await erasing; next.resumeAt !== undefined; ) next = await erase(next.resumeAt);
      const { rows } = await client.query('SELECT FROM countersign.message WHERE number = $1', [phone(1)]);
      expect(rows).toEqual([]);
    });
  });

  it.each(['a\0b', '\ud83d', '"\\\0', '\uFDD0'])(
    'takes any text from a provider, and any number can be erased after that: %j',
    async (text) => {
      const store = await open();
      const message = await sentMessage(store, { errorCode: text }, { message: { number: phone(1) } });
      const early = { providerMessageId: `early ${text}`, state: 'failed', code: text, reason: 'content' } as const;
      expect(await store.recordReport('acme', early, T0)).toEqual({ changed: false, due: false });
      const later = await sentMessage(store, { providerMessageId: `early ${text}` }, { message: { number: phone(1) } });
      const known = [
        [message.id, 'queued'],
        [later.id, 'failed'],
      ] as const;
      for (const emptied of [false, true]) {
        for (const [id, state] of known) {
          const found = await store.getMessage('taxi', id);
          expect(found?.dispatches).toMatchObject([{ state, errorCode: text }]);
        }
        expect(await store.listMessages('taxi', { limit: 9 })).toMatchObject([
          { dispatches: [{ errorCode: text }] },
          { dispatches: [{ errorCode: text }] },
        ]);
        if (!emptied) await onRedis(redis.url, (client) => client.flushall());
      }
      const report = { providerMessageId: message.id, state: 'delivered' } as const;
      expect(await store.recordReport('acme', report, T0 + SECOND)).toMatchObject({ changed: true });
      expect(await store.getMessage('taxi', message.id)).toMatchObject({ dispatches: [{ errorCode: text }] });
      for (let resumeAt: string | undefined, isFirst = true; isFirst || resumeAt !== undefined; isFirst = false)
        ({ resumeAt } = await store.eraseHistory({ app: 'taxi', number: phone(1), answer: '{}', resumeAt }));
      expect(await store.listMessages('taxi', { limit: 9 })).toEqual([]);
      const verification = await started(store, { subject: text });
      expect(
        await checkBySlot(store, verification.digests.bySlot, T0, { subject: text, number: phone(1) }),
      ).toMatchObject({ kind: 'approved', verification: { subject: text } });
    },
  );

  it('gives no money back that was taken from a Redis which has been emptied since', async () => {
    const store = await open({ postgres: postgresProxy.port });
    await started(store);
    await untilMoved();
    postgresProxy.mode = { kind: 'silent' };
    const { message, ...step } = messageStep({ budget: budgetTake(700, 1000) });
    await store.addMessage({ ...step, message });
    await onRedis(redis.url, (client) => client.flushall());
    postgresProxy.mode = { kind: 'pass' };
    await until(
      () =>
        store.recordDispatch(dispatchStep(message, { spent: { day: DAY_0, micros: -700 } })).then(
          () => true,
          () => false,
        ),
      'the outcome is recorded',
    );
    expect(await store.takeBudget('taxi', budgetTake(1001, 1000))).toEqual({ kind: 'over-budget' });
    expect(await store.takeBudget('taxi', budgetTake(1000, 1000))).toMatchObject({ kind: 'taken', beforeMicros: 0 });
  });

  it('erases a number also from what PostgreSQL refused, and nobody else from there', async () => {
    const store = await open();
    for (const number of [phone(1), phone(2)]) {
      const { message, ...step } = messageStep();
      await store.addMessage({ ...step, message: { ...message, number, segments: 2 ** 40 } });
    }
    await untilMoved();
    const erase = { app: 'taxi', number: phone(1), answer: '{}' };
    for (let resumeAt: string | undefined, isFirst = true; isFirst || resumeAt !== undefined; isFirst = false)
      ({ resumeAt } = await store.eraseHistory({ ...erase, resumeAt }));
    const left = await onRedis(redis.url, (client) => client.xrange(refusedOf('taxi'), '-', '+'));
    expect(left).toHaveLength(1);
    expect(JSON.stringify(left)).toContain(phone(2));
  });

  it('throws away nothing that another node has revived meanwhile', async () => {
    const marker = markerOf('taxi');
    await onRedis(redis.url, async (client) => {
      const turn = JSON.stringify({ now: T0, since: 0, token: 'late', patienceMs: 50 });
      const run = async (name: ScriptName, ...more: string[]) =>
        client.eval(scriptOf(name).text, 1, marker, turn, ...more);
      expect(await run('revive-begin')).toEqual([0, []]);
      await delay(100);
      await started(await open());
      const keys = await client.keys('cs:{taxi}:v:*');
      expect(keys).toHaveLength(1);
      expect(await run('revive-forget', ...keys)).toBe('lost');
      expect(await client.exists(...keys)).toBe(1);
    });
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
  }, 30_000);

  it('is emptied, and lets a node in that starts then: the name of its Redis is given back', async () => {
    await started(await open());
    await onRedis(redis.url, (client) => client.flushall());
    const begun = performance.now();
    const second = await open();
    expect(performance.now() - begun).toBeLessThan(5000);
    expect(await second.getAnswer('taxi', 'none')).toBeUndefined();
  });

  it('believes nothing of a Redis that was left for another one for a while', async () => {
    const other = await startRedis();
    try {
      const first = await open();
      const verification = await started(first);
      await closeAll();
      const meanwhile = await open({ redis: other.port });
      expect(await checkById(meanwhile, verification, verification.digests.byId, T0)).toMatchObject({
        kind: 'approved',
      });
      await closeAll();
      const back = await open();
      expect(await checkById(back, verification, verification.digests.byId, T0)).toEqual({
        kind: 'ended',
        state: 'approved',
      });
    } finally {
      await closeAll();
      await other.close();
    }
  });
});
