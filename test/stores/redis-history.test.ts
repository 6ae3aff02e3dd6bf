import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import type { Store } from '../../src/domain/store.ts';
import { openPostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import { historyOf, markerOf, refusedOf } from '../../src/stores/redis/keys.ts';
import { openRedisStore, type RedisStoreOptions } from '../../src/stores/redis/redis-store.ts';
import {
  checkById,
  checkBySlot,
  DAY_0,
  HOUR,
  messageStep,
  money,
  phone,
  sentCode,
  sentMessage,
  started,
  startStep,
  T0,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { type TestRedis, useRedis } from '../servers/index.ts';
import { type PostgresServer, startPostgres } from '../servers/postgres.ts';
import { onRedis } from '../servers/redis.ts';
import { hasPostgres, postgresForFile, silent } from './postgres-database.ts';
import { until } from './redis-stores.ts';

/** The way of the history: out of Redis, by way of its stream, into PostgreSQL. */
describe.skipIf(!hasPostgres() || inject('redisUrl') === null)('the history that Redis hands to PostgreSQL', () => {
  const history = historyOf('taxi');
  let postgres: Awaited<ReturnType<typeof postgresForFile>>;
  let redis: TestRedis;
  const opened: Store[] = [];

  beforeAll(async () => {
    postgres = await postgresForFile();
    redis = await useRedis();
  });
  beforeEach(async () => {
    await redis.empty();
    await postgres.empty();
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((store) => store.close()));
    await postgres.closeStores();
  });
  afterAll(async () => {
    await redis.close();
    await postgres.close();
  });

  async function open(given: Partial<RedisStoreOptions> = {}): Promise<Store> {
    const database = given.database ?? (await postgres.open());
    const store = await openRedisStore({ url: redis.url, log: silent, ...given, database });
    opened.push(store);
    return store;
  }

  /** As if another node had to move, and did not: what is written stays in the stream. */
  async function holdMover(): Promise<{ release(): Promise<void> }> {
    const { database } = await postgres.open(1);
    await database.query(
      `INSERT INTO countersign.lease (name, holder, until) VALUES ('move history', 'nobody', 9e15)
       ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until`,
    );
    // Whoever had it goes on for as long as it was told to.
    await delay(800);
    return {
      async release() {
        await database.query("DELETE FROM countersign.lease WHERE name = 'move history'");
      },
    };
  }

  const waiting = () => onRedis(redis.url, (client) => client.xlen(history));
  const untilMoved = () => until(async () => (await waiting()) === 0, 'the stream is empty');

  async function rowOf(id: string): Promise<Record<string, unknown> | undefined> {
    const { database } = await postgres.open(1);
    const { rows } = await database.query('SELECT * FROM countersign.verification WHERE id = $1', [id]);
    return rows[0];
  }

  it('is there within moments, with nobody asking for it', async () => {
    const store = await open();
    const verification = await started(store);
    await checkById(store, verification, verification.digests.byId, T0);
    const begun = performance.now();
    await until(async () => (await rowOf(verification.id))?.['state'] === 'approved', 'the approval is moved');
    expect(performance.now() - begun).toBeLessThan(1000);
    await untilMoved();
  });

  it('counts once what is moved twice: the node died between the two', async () => {
    const store = await open();
    const held = await holdMover();
    const { verification, message } = await sentCode(store, {}, [{ estimatedCost: money(7) }]);
    await checkById(store, verification, wrongDigest, T0);
    await checkById(store, verification, verification.digests.byId, T0);
    await store.recordReport('acme', { providerMessageId: message.id, state: 'delivered', cost: money(9) }, T0);
    const entries = await onRedis(redis.url, (client) => client.xrange(history, '-', '+'));
    expect(entries.length).toBeGreaterThanOrEqual(5);
    const query = { app: 'taxi', from: DAY_0, to: DAY_0 };
    const before = [await store.readUsage(query), await store.listMessages('taxi', { limit: 9 })];
    const row = await rowOf(verification.id);
    await onRedis(redis.url, async (client) => {
      for (const [, fields] of entries) await client.xadd(history, '*', ...fields);
    });
    await held.release();
    await untilMoved();
    expect([await store.readUsage(query), await store.listMessages('taxi', { limit: 9 })]).toEqual(before);
    expect(await rowOf(verification.id)).toEqual(row);
    expect(before[0]).toMatchObject([{ counts: { sent: 1, delivered: 1, approved: 1, costMicros: 9 } }]);
  });

  it('is taken up where a node left it that died with a batch in its hands', async () => {
    const store = await open();
    const held = await holdMover();
    const verification = await started(store);
    await onRedis(redis.url, async (client) => {
      await client.xgroup('CREATE', history, 'postgres', '0').catch(() => undefined);
      const taken = await client.xreadgroup('GROUP', 'postgres', 'mover', 'STREAMS', history, '>');
      expect(taken).not.toBeNull();
    });
    await checkById(store, verification, verification.digests.byId, T0);
    await held.release();
    await untilMoved();
    expect(await rowOf(verification.id)).toMatchObject({ state: 'approved', attempts: 1 });
    const pending = await onRedis(redis.url, (client) => client.xpending(history, 'postgres'));
    expect(pending[0]).toBe(0);
  });

  it('survives that its consumer group is lost', async () => {
    const store = await open();
    const first = await started(store);
    await untilMoved();
    await onRedis(redis.url, (client) => client.xgroup('DESTROY', history, 'postgres'));
    const second = await started(store, { number: phone(2) });
    await untilMoved();
    expect([await rowOf(first.id), await rowOf(second.id)]).toMatchObject([{ id: first.id }, { id: second.id }]);
  });

  it('is not held up by an entry that PostgreSQL does not take: that one is set aside, and said', async () => {
    const lines: object[] = [];
    const error = (fields: object) => lines.push(fields);
    const store = await open({ log: { ...silent, error } });
    const held = await holdMover();
    const first = await started(store);
    const bad = { ...messageStep().message, segments: 2 ** 40 };
    await store.addMessage(messageStep({ message: bad }));
    const last = await started(store, { number: phone(2) });
    await held.release();
    await untilMoved();
    expect([await rowOf(first.id), await rowOf(last.id)]).toMatchObject([{ id: first.id }, { id: last.id }]);
    expect(lines).toMatchObject([{ app: 'taxi', code: '22003' }]);
    expect(await onRedis(redis.url, (client) => client.xlen('cs:{taxi}:refused'))).toBe(1);
    expect(await store.getMessage('taxi', bad.id)).toMatchObject({ id: bad.id });
  });

  // What refuses every row (a trigger of an operator's) had the whole history put aside, until Redis was full.
  it('sets a thousand entries aside, and no more: the next one stays, is tried again, and moves when there is room', async () => {
    const lines: string[] = [];
    const error = (fields: object) => lines.push((fields as { error: string }).error);
    const store = await open({ log: { ...silent, error } });
    const aside = refusedOf('taxi');
    await onRedis(redis.url, (client) =>
      client.eval("for i = 1, 1000 do redis.call('XADD', KEYS[1], '*', 'x', '') end", 1, aside),
    );
    await store.addMessage(messageStep({ message: { ...messageStep().message, segments: 2 ** 40 } }));
    await until(async () => lines.length > 0, 'it is said');
    expect(lines).toEqual([
      'PostgreSQL refuses an entry of the history of taxi (22003), and 1000 are set aside already',
    ]);
    expect(await waiting()).toBe(1);
    expect(await onRedis(redis.url, (client) => client.xlen(aside))).toBe(1000);
    await onRedis(redis.url, (client) => client.del(aside));
    await untilMoved();
    expect(await onRedis(redis.url, (client) => client.xlen(aside))).toBe(1);
  });

  // 25P04 is `transaction_timeout` (PostgreSQL 17): it was taken for a fault of the entry, and an approval was set aside.
  it.each(['25P04', 'P0001'])('loses no entry to what is wrong with PostgreSQL: %s', async (code) => {
    const lines: object[] = [];
    const error = (fields: object) => lines.push(fields);
    const store = await open({ log: { ...silent, error } });
    const { database } = await postgres.open(1);
    await database.query(`CREATE FUNCTION countersign.refuse() RETURNS trigger LANGUAGE plpgsql
      AS $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '${code}'; END $$`);
    await database.query(`CREATE TRIGGER refuse BEFORE INSERT ON countersign.verification
      FOR EACH ROW EXECUTE FUNCTION countersign.refuse()`);
    let verification: Awaited<ReturnType<typeof started>>;
    try {
      verification = await started(store);
      await until(async () => lines.length > 0, 'it is said');
      await delay(500);
    } finally {
      await database.query('DROP FUNCTION countersign.refuse CASCADE');
    }
    await untilMoved();
    expect(await rowOf(verification.id)).toMatchObject({ id: verification.id });
    expect(await onRedis(redis.url, (client) => client.xlen('cs:{taxi}:refused'))).toBe(0);
    expect(lines).toEqual([{ app: 'taxi', code, error: 'not now' }]);
  });

  it('is moved once by two nodes and by those who wait for it, all at the same time', async () => {
    const [a, b] = [await open(), await open()];
    const messages = 60;
    await Promise.all(
      Array.from({ length: messages }, async (_, index) => {
        await sentMessage(index % 2 === 0 ? a : b, { estimatedCost: money(1) });
        if (index % 10 === 0) await a.listMessages('taxi', { limit: 1 });
      }),
    );
    const [usage] = await b.readUsage({ app: 'taxi', from: DAY_0, to: DAY_0 });
    expect(usage?.counts).toMatchObject({ sent: messages, costMicros: messages });
  });

  // The eighteen of yesterday were taken for worse than seventeen fresh ones, and seventeen more were compared.
  it('forgets no fresh guess when a server comes back that knows old ones alone (invariant 3)', async () => {
    const store = await open();
    const guess = (now: number) => checkBySlot(store, wrongDigest, now, { number: phone(4) });
    const lane = [`cs:{taxi}:n:${phone(4)}`, 'open'] as const;
    for (let count = 0; count < 18; count += 1) await guess(T0);
    const old = (await onRedis(redis.url, (client) => client.hget(...lane))) ?? '';
    const later = T0 + 25 * HOUR;
    for (let count = 0; count < 17; count += 1) await guess(later);
    await untilMoved();
    const change = `{"number":"${phone(4)}","guesses":{"open":${old}}}`;
    await onRedis(redis.url, async (client) => {
      await client.del(markerOf('taxi'));
      await client.hset(...lane, old);
      await client.xadd(history, '*', 'g', change);
    });
    for (let count = 17; count < 20; count += 1) expect(await guess(later)).toMatchObject({ kind: 'wrong' });
    expect(await guess(later)).toMatchObject({ kind: 'locked' });
  });

  describe('when a number is erased', () => {
    async function eraseAll(store: Store): Promise<void> {
      let resumeAt: string | undefined;
      do ({ resumeAt } = await store.eraseHistory({ app: 'taxi', number: phone(1), answer: '{}', resumeAt }));
      while (resumeAt !== undefined);
    }

    async function expectNothingLeft(store: Store): Promise<void> {
      await untilMoved();
      expect(await store.listMessages('taxi', { limit: 1 })).toEqual([]);
      expect(await onRedis(redis.url, (client) => client.keys('cs:{taxi}:m:*'))).toEqual([]);
    }

    // The tombstones were of what Redis had still, and this message was in PostgreSQL alone.
    it('brings nothing back by a report that had read its message just before', async () => {
      const database = await postgres.open();
      const store = await open({ database });
      const message = await sentMessage(store);
      await untilMoved();
      await onRedis(redis.url, (client) => client.del(`cs:{taxi}:m:${message.id}`));
      const run = database.steps.run.bind(database.steps);
      vi.spyOn(database.steps, 'run').mockImplementation(async (name, step) => {
        const outcome = await run(name, step);
        if (name === 'get_message_with_due') await eraseAll(store);
        return outcome;
      });
      const report = { providerMessageId: message.id, state: 'delivered' } as const;
      expect(await store.recordReport('acme', report, T0)).toMatchObject({ changed: false });
      await expectNothingLeft(store);
    });

    it('brings nothing back by what a revival in between had put back, and a step had changed', async () => {
      const database = await postgres.open();
      const store = await open({ database });
      const { verification, message } = await sentCode(store);
      await untilMoved();
      const held = await holdMover();
      const eraseRows = database.eraseHistory.bind(database);
      vi.spyOn(database, 'eraseHistory')
        .mockImplementationOnce(async (step) => {
          await redis.empty();
          expect(await checkById(store, verification, wrongDigest, T0)).toMatchObject({ kind: 'wrong' });
          return eraseRows(step);
        })
        .mockImplementationOnce(async (step) => {
          const report = { providerMessageId: message.id, state: 'delivered' } as const;
          expect(await store.recordReport('acme', report, T0)).toMatchObject({ changed: true });
          expect(await checkById(store, verification, wrongDigest, T0)).toMatchObject({ kind: 'wrong' });
          return eraseRows(step);
        });
      await eraseAll(store);
      await held.release();
      await expectNothingLeft(store);
      expect(await rowOf(verification.id)).toBeUndefined();
    });
  });

  it('has a bound: then nothing new is begun, what is under way has its end, and room comes back by itself', async () => {
    const mostEntries = 20;
    const store = await open({ mostEntries });
    const first = await started(store);
    const held = await holdMover();
    let begun: Awaited<ReturnType<typeof sentCode>> | undefined;
    for (let index = 2; (await waiting()) < mostEntries; index += 1) {
      begun = await sentCode(store, { number: phone(index) });
    }
    const refused = { code: 'store-unavailable', message: expect.stringContaining('PostgreSQL has been away') };
    await expect(store.start(startStep(verificationOf({ number: phone(99) })))).rejects.toMatchObject(refused);
    await expect(store.addMessage(messageStep())).rejects.toMatchObject(refused);
    // Other apps may have room, and what is under way goes on: a proxy must not take the node away for it.
    await store.probe(T0);
    const report = { providerMessageId: begun?.message.id ?? '', state: 'delivered' } as const;
    expect(await store.recordReport('acme', report, T0)).toMatchObject({ changed: true });
    expect(await checkById(store, first, wrongDigest, T0)).toMatchObject({ kind: 'wrong' });
    expect(await checkById(store, first, first.digests.byId, T0)).toMatchObject({ kind: 'approved' });
    await held.release();
    await untilMoved();
    await started(store, { number: phone(99) });
  });

  describe('while PostgreSQL is away', () => {
    let server: PostgresServer;
    beforeAll(async () => {
      server = await startPostgres();
    });
    afterAll(async () => {
      await server.close();
    });

    it('waits: codes are sent and checked, keys are known, and all of it is there when PostgreSQL is back', async () => {
      const database = await openPostgresStore({ url: server.url, poolSize: 4, log: silent });
      const store = await open({ database });
      await started(store, { number: phone(7) });
      const key = { id: 'key_1', app: 'taxi', name: 'one', hash: 'hash', createdAt: T0, revokedAt: undefined };
      await store.addApiKey(key);
      expect(await store.findApiKey('hash')).toEqual(key);
      await server.stop('immediate');

      const { verification } = await sentCode(store);
      expect(await checkById(store, verification, verification.digests.byId, T0)).toMatchObject({ kind: 'approved' });
      expect(await store.findApiKey('hash')).toEqual(key);
      await store.probe(T0);
      const begun = performance.now();
      await expect(store.listMessages('taxi', { limit: 1 })).rejects.toMatchObject({ code: 'store-unavailable' });
      expect(performance.now() - begun).toBeLessThan(2000);
      await expect(store.clock()).rejects.toMatchObject({ code: 'store-unavailable' });
      expect(await waiting()).toBeGreaterThan(0);

      await server.start();
      await untilMoved();
      expect(await store.listMessages('taxi', { limit: 9 })).toHaveLength(2);
      expect(await database.getVerification('taxi', verification.id)).toMatchObject({ state: 'approved' });
    });
  });
});
