import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { TcpProxy } from '../../faults/nodes/tcp-proxy.ts';
import type { Bucket, Store } from '../../src/domain/store.ts';
import { openPostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import { APPS, historyOf, markerOf } from '../../src/stores/redis/keys.ts';
import { openRedisStore } from '../../src/stores/redis/redis-store.ts';
import {
  budgetTake,
  checkById,
  checkBySlot,
  DAY,
  dispatchStep,
  HOUR,
  MINUTE,
  messageStep,
  money,
  perNumber,
  phone,
  resend,
  SECOND,
  sentCode,
  sentMessage,
  started,
  startStep,
  T0,
  tally,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { onDatabase } from '../servers/postgres.ts';
import { onRedis, type RedisServer, startRedis, startReplica } from '../servers/redis.ts';
import { hasPostgres, postgresForFile, silent } from './postgres-database.ts';
import { until } from './redis-stores.ts';

/** Redis goes, comes back, forgets, or is another one: what holds then, and how soon all is well again. */
describe.skipIf(!hasPostgres() || inject('redisUrl') === null)('a Redis that fails', () => {
  let postgres: Awaited<ReturnType<typeof postgresForFile>>;
  let server: RedisServer;
  let proxy: TcpProxy;
  const opened: Store[] = [];

  beforeAll(async () => {
    postgres = await postgresForFile();
    server = await startRedis();
    proxy = await TcpProxy.open(server.port);
  });
  beforeEach(async () => {
    await onRedis(server.url, (client) => client.flushall());
    await postgres.empty();
  });
  afterEach(async () => {
    proxy.mode = { kind: 'pass' };
    await Promise.all(opened.splice(0).map((store) => store.close()));
    await postgres.closeStores();
  });
  afterAll(async () => {
    await proxy.close();
    await server.close();
    await postgres.close();
  });

  async function open(): Promise<Store> {
    const url = `redis://127.0.0.1:${proxy.port}`;
    const store = await openRedisStore({ url, database: await postgres.open(), log: silent });
    opened.push(store);
    return store;
  }

  const untilMoved = (url = server.url) =>
    until(() => onRedis(url, async (client) => (await client.xlen(historyOf('taxi'))) === 0), 'the stream is empty');

  /** Answers again, by itself, in less than five seconds. */
  const untilBack = (store: Store) =>
    until(
      () =>
        store.probe(T0).then(
          () => true,
          () => false,
        ),
      'the store is back',
    );

  async function expectUnavailable(work: Promise<unknown>): Promise<void> {
    const begun = performance.now();
    await expect(work).rejects.toMatchObject({ code: 'store-unavailable' });
    expect(performance.now() - begun).toBeLessThan(2000);
  }

  /** One of each thing that must not be forgotten, all of it moved to PostgreSQL. */
  async function fill(store: Store) {
    const pending = await started(store);
    for (let attempt = 0; attempt < 3; attempt += 1) await checkById(store, pending, wrongDigest, T0);
    const ofSubject = await started(store, { subject: 'u1', number: phone(2) });
    const approved = await started(store, { number: phone(3) });
    await checkById(store, approved, approved.digests.byId, T0);
    for (let guess = 0; guess < 20; guess += 1) await checkBySlot(store, wrongDigest, T0, { number: phone(4) });
    await store.takeBudget('taxi', budgetTake(700, 1000));
    const awaited = await sentMessage(store, { estimatedCost: money(1) }, { dueAt: T0 + 20 * SECOND });
    const settled = await sentMessage(store);
    await untilMoved();
    return { pending, ofSubject, approved, awaited, settled };
  }

  async function expectKept(store: Store, kept: Awaited<ReturnType<typeof fill>>): Promise<void> {
    const { pending, ofSubject, approved, awaited, settled } = kept;
    // Invariants 1 and 2: a code that was used stays used, and attempts stay counted.
    expect(await checkById(store, approved, approved.digests.byId, T0)).toEqual({ kind: 'ended', state: 'approved' });
    expect(await checkById(store, pending, wrongDigest, T0)).toMatchObject({ kind: 'wrong', attemptsLeft: 1 });
    expect(await checkBySlot(store, pending.digests.bySlot, T0)).toMatchObject({ kind: 'approved' });
    const bySubject = await checkBySlot(store, ofSubject.digests.bySlot, T0, { number: phone(2), subject: 'u1' });
    expect(bySubject).toMatchObject({ kind: 'approved', verification: { id: ofSubject.id } });
    // Invariant 3.
    expect(await checkBySlot(store, wrongDigest, T0, { number: phone(4) })).toEqual({
      kind: 'locked',
      retryAfterMs: DAY,
    });
    expect(await store.takeBudget('taxi', budgetTake(301, 1000))).toEqual({ kind: 'over-budget' });
    // Invariant 8.
    const due = await store.claimDue(T0 + 20 * SECOND, T0 + MINUTE, 10);
    expect(due.map(({ message }) => message.id).sort()).toContain(awaited.id);
    for (const { id } of [awaited, settled]) {
      const report = { providerMessageId: id, state: 'delivered' } as const;
      expect(await store.recordReport('acme', report, T0 + MINUTE)).toMatchObject({ changed: true });
      expect(await store.getMessage('taxi', id)).toMatchObject({ state: 'delivered' });
    }
  }

  it('is emptied: what is live comes back from PostgreSQL, and starts alone are counted anew', async () => {
    const [a, b] = [await open(), await open()];
    const kept = await fill(a);
    const limited = startStep(verificationOf({ number: phone(9) }), { buckets: [perNumber(1, HOUR, phone(9))] });
    await a.start(limited);
    await untilMoved();
    await onRedis(server.url, (client) => client.flushall());
    await expectKept(b, kept);
    const again = startStep(verificationOf({ number: phone(9) }), { buckets: limited.buckets });
    expect(await b.start(again)).toMatchObject({ kind: 'started' });
  });

  /** @returns once something waits for a lock on the table */
  const untilWaitsFor = (client: Client, table: string) =>
    until(async () => {
      const { rows } = await client.query(
        `SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
          WHERE d.datname = current_database() AND l.relation = $1::regclass AND NOT l.granted`,
        [`countersign.${table}`],
      );
      return rows.length > 0;
    }, `something waits for ${table}`);

  /** Does something when a revival that a step has begun has merged the verifications, and has not got to the rest. */
  async function inTheMiddleOfARevival(
    store: Store,
    change: (step: Promise<unknown>, client: Client) => Promise<unknown>,
    begin = () => checkBySlot(store, wrongDigest, T0, { number: phone(9) }) as Promise<unknown>,
  ): Promise<void> {
    await onDatabase(postgres.url, async (client) => {
      await client.query('BEGIN; LOCK TABLE countersign.budget IN ACCESS EXCLUSIVE MODE');
      const step = begin().catch(() => undefined);
      await untilWaitsFor(client, 'budget');
      await change(step, client);
      await client.query('COMMIT');
      await step;
    });
  }

  // What a turn merged later was on another server than what it had merged before.
  it('is emptied in the middle of a revival, which begins anew', async () => {
    const store = await open();
    const kept = await fill(store);
    await onRedis(server.url, (client) => client.flushall());
    await inTheMiddleOfARevival(store, () => onRedis(server.url, (client) => client.flushall()));
    await expectKept(store, kept);
  });

  // The stream of an emptied server is empty, so a revival read PostgreSQL before a batch of the old stream was in it.
  it('is emptied while a batch is under way: what PostgreSQL gets of it holds (invariants 1, 8)', async () => {
    const store = await open();
    const verification = await started(store);
    await untilMoved();
    const step = messageStep();
    await onDatabase(postgres.url, async (client) => {
      await client.query('BEGIN; LOCK TABLE countersign.verification IN SHARE MODE');
      expect(await checkById(store, verification, verification.digests.byId, T0)).toMatchObject({ kind: 'approved' });
      await untilWaitsFor(client, 'verification');
      await onRedis(server.url, (redis) => redis.flushall());
      const second = checkById(store, verification, verification.digests.byId, T0);
      await delay(200);
      await client.query('COMMIT');
      expect(await second).toEqual({ kind: 'ended', state: 'approved' });
      await untilMoved();
      await client.query('BEGIN; LOCK TABLE countersign.message IN SHARE MODE');
      await store.addMessage(step);
      await untilWaitsFor(client, 'message');
      await onRedis(server.url, (redis) => redis.flushall());
      const claiming = store.claimDue(step.orphanedAt, step.orphanedAt + HOUR, 10);
      await delay(200);
      await client.query('COMMIT');
      expect((await claiming).map(({ message }) => message.id)).toContain(step.message.id);
    });
  });

  it('is emptied, and the node that revives an app is cut off from PostgreSQL: others do it before long', async () => {
    const postgresProxy = await TcpProxy.open(Number(new URL(postgres.url).port));
    const url = new URL(postgres.url);
    url.port = String(postgresProxy.port);
    const database = await openPostgresStore({ url: url.href, poolSize: 4, log: silent });
    const cutOff = await openRedisStore({ url: server.url, database, log: silent });
    try {
      const well = await open();
      const verification = await started(well);
      await untilMoved();
      await onRedis(server.url, (client) => client.flushall());
      await inTheMiddleOfARevival(cutOff, async () => {
        postgresProxy.mode = { kind: 'silent' };
      });
      await until(
        () =>
          checkById(well, verification, wrongDigest, T0).then(
            () => true,
            () => false,
          ),
        'another node has revived the app',
        3000,
      );
    } finally {
      await postgresProxy.close();
      await cutOff.close();
    }
  });

  it('is emptied, and a revival fails: the next step begins another one at once', async () => {
    const store = await open();
    const verification = await started(store);
    await untilMoved();
    await onRedis(server.url, (client) => client.flushall());
    await inTheMiddleOfARevival(store, async (step, client) => {
      await client.query(
        `SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
          WHERE d.datname = current_database() AND NOT l.granted`,
      );
      await step;
    });
    expect(await checkById(store, verification, wrongDigest, T0)).toMatchObject({ kind: 'wrong' });
  });

  it('is emptied, and a step that was given up on while its app was revived is not done after that', async () => {
    const store = await open();
    const verification = await started(store);
    await untilMoved();
    await onRedis(server.url, (client) => client.flushall());
    const check = () => checkById(store, verification, wrongDigest, T0);
    await inTheMiddleOfARevival(store, (step) => step, check);
    expect(await check()).toMatchObject({ attemptsLeft: verification.maxAttempts - 1 });
  });

  it('is emptied, and what is due of an app is taken up, though another app was there first', async () => {
    const before = await open();
    const { message, ...step } = messageStep();
    await before.addMessage({ ...step, message: { ...message, app: 'bank' } });
    await before.close();
    await onRedis(server.url, async (client) => {
      await client.flushall();
      await client.sadd(APPS, 'taxi');
    });
    const due = await (await open()).claimDue(step.orphanedAt, step.orphanedAt + HOUR, 10);
    expect(due).toMatchObject([{ message: { id: message.id } }]);
  });

  it('is emptied, and a node that has just begun takes up what is due, though it has seen no app yet', async () => {
    const { awaited } = await fill(await open());
    await Promise.all(opened.splice(0).map((store) => store.close()));
    await onRedis(server.url, (client) => client.flushall());
    const due = await (await open()).claimDue(T0 + MINUTE, T0 + HOUR, 10);
    expect(due.map(({ message }) => message.id)).toContain(awaited.id);
  });

  it('is emptied under load: no code is good twice, no attempt is beyond the bound (invariants 1, 2)', async () => {
    const [a, b] = [await open(), await open()];
    const verifications = await Promise.all(
      Array.from({ length: 40 }, (_, index) => started(a, { number: phone(index) })),
    );
    await untilMoved();
    const outcomes = await Promise.all(
      verifications.flatMap((verification, index) =>
        Array.from({ length: 12 }, async (_, turn) => {
          await delay(turn * 15);
          if (index === 0 && turn === 6) await onRedis(server.url, (client) => client.flushall());
          const digest = turn === 11 ? verification.digests.byId : wrongDigest;
          const outcome = await checkById(turn % 2 === 0 ? a : b, verification, digest, T0);
          return { id: verification.id, kind: outcome.kind };
        }),
      ),
    );
    for (const { id } of verifications) {
      const { wrong = 0, approved = 0 } = tally(outcomes.filter((outcome) => outcome.id === id));
      // What was counted within the last moment before Redis was emptied may be compared once more.
      expect(wrong).toBeLessThanOrEqual(5 + 2);
      expect(approved).toBeLessThanOrEqual(1);
    }
  });

  it('has been left out for a while: what nodes did without it holds, and nothing that it had is believed', async () => {
    // Whoever emptied the tables had nothing in Redis.
    await postgres.closeStores();
    const openPostgres = (liveIn: 'postgresql' | 'redis') =>
      openPostgresStore({ url: postgres.url, poolSize: 4, log: silent, liveIn });
    const openBehind = async () =>
      openRedisStore({ url: server.url, database: await openPostgres('redis'), log: silent });
    const before = await openBehind();
    const verification = await started(before);
    const other = await started(before, { number: phone(2) });
    await before.close();
    const alone = await openPostgres('postgresql');
    expect(await checkById(alone, verification, verification.digests.byId, T0)).toMatchObject({ kind: 'approved' });
    await alone.close();
    const again = await openBehind();
    opened.push(again);
    expect(await checkById(again, verification, verification.digests.byId, T0)).toEqual({
      kind: 'ended',
      state: 'approved',
    });
    expect(await checkBySlot(again, other.digests.bySlot, T0, { number: phone(2) })).toMatchObject({
      kind: 'approved',
    });
  });

  it('has forgotten a message by the time that somebody looks at what is due: PostgreSQL has it', async () => {
    const store = await open();
    const message = await sentMessage(store, {}, { dueAt: T0 + 20 * SECOND });
    await untilMoved();
    await onRedis(server.url, (client) => client.del(`cs:{taxi}:m:${message.id}`));
    const due = await store.claimDue(T0 + 20 * SECOND, T0 + MINUTE, 10);
    expect(due).toMatchObject([{ message: { id: message.id, dispatches: [{ state: 'queued' }] }, claims: 1 }]);
    expect(await store.claimDue(T0 + 30 * SECOND, T0 + MINUTE, 10)).toEqual([]);
    expect(await store.claimDue(T0 + MINUTE, T0 + HOUR, 10)).toMatchObject([{ claims: 2 }]);
  });

  it('forgets its scripts: nobody notices', async () => {
    const store = await open();
    const verification = await started(store);
    await onRedis(server.url, (client) => client.script('FLUSH'));
    expect(await checkById(store, verification, verification.digests.byId, T0)).toMatchObject({ kind: 'approved' });
  });

  it.each(['stop', 'kill'] as const)('ends (%s) and begins again: 503 in time, then all is there', async (how) => {
    const store = await open();
    const kept = await fill(store);
    await server[how]();
    await expectUnavailable(store.start(startStep(verificationOf())));
    await expectUnavailable(store.getVerification('taxi', kept.pending.id));
    await server.start();
    await untilBack(store);
    await expectKept(store, kept);
  });

  it('hangs: 503 in time, and well again when it goes on', async () => {
    const store = await open();
    const kept = await fill(store);
    process.kill(server.pid, 'SIGSTOP');
    try {
      await expectUnavailable(checkById(store, kept.pending, wrongDigest, T0));
      await expectUnavailable(store.start(startStep(verificationOf({ number: phone(50) }))));
    } finally {
      process.kill(server.pid, 'SIGCONT');
    }
    await untilBack(store);
    // The check that was given up on may have been counted, and counts once.
    const after = await checkById(store, kept.pending, wrongDigest, T0);
    expect(after).toMatchObject({ kind: 'wrong' });
    expect(['wrong', 'ended']).toContain((await checkById(store, kept.pending, wrongDigest, T0)).kind);
  });

  it('has its connections cut in the middle of steps: each is done once or not at all, and none again by itself', async () => {
    const store = await open();
    const buckets: Bucket[] = [{ scope: 'app', value: '', rules: [{ max: 10_000, windowMs: HOUR }] }];
    await started(store);
    await untilMoved();
    proxy.mode = { kind: 'lose-answers', share: 0.2 };
    const wanted = Array.from({ length: 120 }, (_, index) => verificationOf({ number: phone(100 + index) }));
    const answered: string[] = [];
    for (const verification of wanted) {
      const step = startStep(verification, { buckets, budget: budgetTake(1, 1_000_000) });
      await store.start(step).then(
        () => answered.push(verification.id),
        (error: unknown) => expect(error).toMatchObject({ code: 'store-unavailable' }),
      );
      await delay(2);
    }
    proxy.mode = { kind: 'pass' };
    await untilBack(store);
    const kept = await Promise.all(wanted.map(({ id }) => store.getVerification('taxi', id)));
    const found = kept.filter((verification) => verification !== undefined);
    for (const id of answered) expect(found.map((verification) => verification.id)).toContain(id);
    expect(answered.length).toBeLessThan(wanted.length);
    const taken = await store.takeBudget('taxi', budgetTake(0, 1_000_000));
    expect(taken).toMatchObject({ beforeMicros: found.length });
    for (const verification of found) expect(verification.sends).toBe(1);
  });

  it('costs no app its messages when another one cannot be revived', async () => {
    const lines: object[] = [];
    const warn = (fields: object) => lines.push(fields);
    const postgresProxy = await TcpProxy.open(Number(new URL(postgres.url).port));
    const url = new URL(postgres.url);
    url.port = String(postgresProxy.port);
    const database = await openPostgresStore({ url: url.href, poolSize: 4, log: silent });
    const store = await openRedisStore({ url: server.url, database, log: { ...silent, warn } });
    try {
      const step = messageStep();
      await store.addMessage(step);
      const verification = await started(store);
      await started(store, { app: 'bank' });
      await untilMoved();
      postgresProxy.mode = { kind: 'silent' };
      await onRedis(server.url, (client) => client.del(markerOf('bank')));
      await store.recordEmail('taxi', verification.id, T0);
      expect(await store.getVerification('taxi', verification.id)).toMatchObject({ sentByEmail: true });
      const due = await store.claimDue(step.orphanedAt, step.orphanedAt + MINUTE, 10);
      expect(due).toMatchObject([
        { message: { id: step.message.id }, claims: 1 },
        { verification: { id: verification.id }, claims: 1 },
      ]);
      expect(lines).toContainEqual(expect.objectContaining({ app: 'bank', error: expect.any(String) }));
      // Where nothing can be claimed it is an outage as any other.
      await onRedis(server.url, (client) => client.del(markerOf('taxi')));
      await expectUnavailable(store.claimDue(step.orphanedAt, step.orphanedAt + MINUTE, 10));
    } finally {
      await postgresProxy.close();
      await store.close();
    }
  });

  describe('and has a replica that takes its place', () => {
    it('without a revocation: the key is not good again', async () => {
      const store = await open();
      const key = { id: 'key_1', app: 'taxi', name: 'one', hash: 'hash', createdAt: T0, revokedAt: undefined };
      await store.addApiKey(key);
      expect(await store.findApiKey('hash')).toEqual(key);
      const replica = await startReplica(server);
      try {
        await replica.promote();
        await store.revokeApiKey('key_1', T0 + SECOND);
        proxy.leadTo(replica.port);
        await untilBack(store);
        expect(await store.findApiKey('hash')).toMatchObject({ revokedAt: T0 + SECOND });
        // What was looked up once is kept here as well.
        expect(await onRedis(replica.url, (client) => client.keys('cs:{key hash*'))).toHaveLength(2);
      } finally {
        proxy.leadTo(server.port);
        await replica.close();
      }
    });

    it('without what was written last: what PostgreSQL knows of it holds', async () => {
      const store = await open();
      const kept = await fill(store);
      const verification = await started(store, { number: phone(20) });
      const guessed = await started(store, { number: phone(21) });
      const message = messageStep({ budget: budgetTake(100, 1000) });
      await store.addMessage(message);
      await untilMoved();
      const replica = await startReplica(server);
      try {
        // From here on the replica hears nothing of what its primary does.
        await replica.promote();
        expect(await checkById(store, verification, verification.digests.byId, T0)).toMatchObject({ kind: 'approved' });
        for (let attempt = 0; attempt < 5; attempt += 1) await checkById(store, guessed, wrongDigest, T0);
        await store.recordDispatch(dispatchStep(message.message));
        await store.takeBudget('taxi', budgetTake(100, 1000));
        await untilMoved();
        proxy.leadTo(replica.port);
        await untilBack(store);
        expect(await checkById(store, verification, verification.digests.byId, T0)).toEqual({
          kind: 'ended',
          state: 'approved',
        });
        expect(await checkById(store, guessed, guessed.digests.byId, T0)).toEqual({
          kind: 'ended',
          state: 'exhausted',
        });
        expect(await store.takeBudget('taxi', budgetTake(101, 1000))).toEqual({ kind: 'over-budget' });
        expect(await store.getMessage('taxi', message.message.id)).toMatchObject({ dispatches: [{ state: 'queued' }] });
        const due = await store.claimDue(T0 + 15 * SECOND, T0 + MINUTE, 10);
        expect(due.map((each) => each.message.id)).not.toContain(message.message.id);
        await expectKept(store, kept);
        // And back: the old primary has its scripts still, and less than the new one.
        await untilMoved(replica.url);
        proxy.leadTo(server.port);
        await onRedis(server.url, (client) => client.call('REPLICAOF', '127.0.0.1', String(replica.port)));
        await until(
          () => onRedis(server.url, async (client) => (await client.info('replication')).includes('link_status:up')),
          'the old primary follows',
        );
        await onRedis(server.url, (client) => client.call('REPLICAOF', 'NO', 'ONE'));
        await untilBack(store);
        const resent = await resend(store, guessed, guessed.resendAt);
        expect(resent).toEqual({ kind: 'ended', state: 'exhausted' });
        const { message: next } = await sentCode(store, { number: phone(30) });
        await untilMoved();
        expect(await store.getMessage('taxi', next.id)).toMatchObject({ state: 'queued' });
      } finally {
        proxy.leadTo(server.port);
        await replica.close();
      }
    });

    it('in the middle of a revival, which begins anew there: no code is good twice (invariant 1)', async () => {
      const store = await open();
      const verification = await started(store);
      await untilMoved();
      const replica = await startReplica(server);
      try {
        await replica.promote();
        expect(await checkById(store, verification, verification.digests.byId, T0)).toMatchObject({ kind: 'approved' });
        await untilMoved();
        await onRedis(server.url, (client) => client.del(markerOf('taxi')));
        await inTheMiddleOfARevival(store, async () => proxy.leadTo(replica.port));
        await untilBack(store);
        expect(await checkById(store, verification, verification.digests.byId, T0)).toEqual({
          kind: 'ended',
          state: 'approved',
        });
      } finally {
        proxy.leadTo(server.port);
        await replica.close();
      }
    });

    it('moves on from revisions that the old one gave: what follows is newer than all that was before', async () => {
      const store = await open();
      const verification = await started(store);
      await untilMoved();
      const replica = await startReplica(server);
      try {
        await replica.promote();
        for (let attempt = 0; attempt < 3; attempt += 1) await checkById(store, verification, wrongDigest, T0);
        await untilMoved();
        proxy.leadTo(replica.port);
        await untilBack(store);
        expect(await checkById(store, verification, verification.digests.byId, T0)).toMatchObject({
          kind: 'approved',
          verification: { attempts: 4 },
        });
        await untilMoved(replica.url);
        const { database } = await postgres.open(1);
        const { rows } = await database.query('SELECT state, attempts FROM countersign.verification');
        expect(rows).toEqual([{ state: 'approved', attempts: 4 }]);
      } finally {
        proxy.leadTo(server.port);
        await replica.close();
      }
    });
  });
});
