import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CountersignError } from '../../src/domain/problem.ts';
import { openPostgresStore, type PostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import {
  atOnce,
  budgetTake,
  checkById,
  DAY_0,
  dispatchOf,
  dispatchStep,
  idempotency,
  perNumber,
  phone,
  settleCheck,
  started,
  startStep,
  T0,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { forgetful, onDatabase, type PostgresServer, startPostgres } from '../servers/postgres.ts';
import { findPostgres } from '../servers/postgres-programs.ts';
import { hasPostgres, postgresForFile, silent } from './postgres-database.ts';
import { startProxy, type TestProxy } from './postgres-proxy.ts';

const CLEAR_WITHIN_MS = 2000;
const RECOVERED_WITHIN_MS = 5000;

/** What a call came to, and how long it took. */
async function timed<Result>(call: () => Promise<Result>) {
  const before = performance.now();
  const outcome = await call().catch((error: unknown) => error);
  return { outcome, tookMs: performance.now() - before };
}

function expectUnavailable({ outcome, tookMs }: { outcome: unknown; tookMs: number }): void {
  expect(outcome).toBeInstanceOf(CountersignError);
  expect(outcome).toMatchObject({ code: 'store-unavailable' });
  expect(tookMs).toBeLessThan(CLEAR_WITHIN_MS);
}

/** Asks until it answers. @returns how long that took */
async function untilRecovered(store: PostgresStore): Promise<number> {
  const before = performance.now();
  for (;;) {
    const { outcome } = await timed(() => store.probe(T0));
    const tookMs = performance.now() - before;
    if (outcome === undefined || tookMs > 20_000) return tookMs;
    await delay(20);
  }
}

describe.skipIf(!hasPostgres())('a PostgreSQL store and its connections', () => {
  let file: Awaited<ReturnType<typeof postgresForFile>>;
  let proxy: TestProxy;
  let store: PostgresStore;
  const poolSize = 4;
  beforeAll(async () => {
    file = await postgresForFile();
  });
  beforeEach(async () => {
    await file.empty();
    proxy = await startProxy(file.url);
    store = await openPostgresStore({ url: proxy.url(file.url), poolSize, log: silent });
  });
  afterEach(async () => {
    await proxy.close();
    await store.close();
    await file.closeStores();
  });
  afterAll(() => file.close());

  /** Holds the name of a number for as long as the work takes: a step that needs it waits. */
  async function whileLocked<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
    return onDatabase(file.url, async (client) => {
      await client.query('BEGIN');
      await client.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [name]);
      const result = await work();
      await client.query('ROLLBACK');
      return result;
    });
  }
  const numberLock = `number taxi ${phone(1)}`;
  const waiting = `SELECT count(*)::integer AS count FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'countersign' AND wait_event_type = 'Lock'`;
  const countWaiting = async () =>
    (await onDatabase(file.url, (client) => client.query(waiting))).rows[0]?.count as number;
  async function untilWaiting(count: number): Promise<void> {
    const deadline = performance.now() + 1500;
    while ((await countWaiting()) < count && performance.now() < deadline) await delay(10);
  }

  it('says so in time when another session holds the lock of a step, which is then done wholly or not at all', async () => {
    const given = verificationOf();
    const step = startStep(given, {
      buckets: [perNumber(5, 1000), { scope: 'app', value: '', rules: [{ max: 9, windowMs: 1000 }] }],
      idempotency: idempotency('k'),
    });
    await whileLocked(numberLock, async () => {
      expectUnavailable(await timed(() => store.start(step)));
      // The server does not go on waiting for what nobody waits for.
      await expect.poll(countWaiting, { timeout: 1000 }).toBe(0);
    });
    expect(await store.getVerification('taxi', given.id)).toBeUndefined();
    expect((await store.start(step)).kind).toBe('started');
    expect((await store.start(step)).kind).toBe('replayed');
  });

  it('leaves nothing half done by a step whose last lock was not to be had', async () => {
    const given = verificationOf();
    const budget = { day: '2025-11-20', micros: 5, maxMicros: 10 };
    const step = startStep(given, { buckets: [perNumber(1, 1000)], budget, idempotency: idempotency('k') });
    expectUnavailable(await whileLocked('budget 2025-11-20 taxi', () => timed(() => store.start(step))));
    expect(await store.start(step)).toMatchObject({ kind: 'started', budget: { beforeMicros: 0, afterMicros: 5 } });
  });

  it('lets other numbers through while one is locked, as long as connections are free', async () => {
    await whileLocked(numberLock, async () => {
      const stuck = timed(() => store.start(startStep(verificationOf())));
      await untilWaiting(1);
      const free = await timed(() => started(store, { number: phone(2) }));
      expect(free.tookMs).toBeLessThan(500);
      expectUnavailable(await stuck);
    });
  });

  it('keeps those that share a transaction with one that waits no longer than half of the time', async () => {
    await whileLocked(numberLock, async () => {
      const stuck = timed(() => store.start(startStep(verificationOf())));
      const behind = atOnce(10, (i) => timed(() => started(store, { number: phone(50 + i) })));
      for (const { outcome, tookMs } of await behind) {
        expect(outcome).toMatchObject({ state: 'pending' });
        expect(tookMs).toBeLessThan(1200);
      }
      expectUnavailable(await stuck);
    });
  });

  it('holds no sum that somebody else wants while it waits for one that they hold', async () => {
    const spent = { day: DAY_0, micros: 1 };
    const of = async (i: number) => {
      const step = startStep(verificationOf({ number: phone(i), app: i % 2 === 0 ? 'taxi' : 'food' }));
      const { message } = step;
      await store.start(step);
      return dispatchStep(message, { dispatches: [dispatchOf({ providerMessageId: message.id })], spent });
    };
    const outcomes = await atOnce(40, of);
    await Promise.all(outcomes.slice(0, 2).map((step) => store.recordDispatch(step)));
    await onDatabase(file.url, async (client) => {
      await client.query('BEGIN');
      await client.query("SELECT FROM countersign.budget WHERE app = 'food' FOR UPDATE");
      const recording = timed(() => Promise.all(outcomes.slice(2).map((step) => store.recordDispatch(step))));
      await untilWaiting(1);
      await client.query("SELECT FROM countersign.budget WHERE app = 'taxi' FOR UPDATE NOWAIT");
      await client.query('ROLLBACK');
      expect((await recording).outcome).toHaveLength(38);
    });
    for (const app of ['taxi', 'food'])
      expect(await store.takeBudget(app, budgetTake(1, 1000))).toMatchObject({ beforeMicros: 20 });
  });

  it('begins nothing that it cannot answer in time, so that what is refused for want of a connection is not done', async () => {
    const narrow = await openPostgresStore({ url: file.url, poolSize: 2, log: silent });
    const [held, other] = [await started(narrow), await started(narrow, { number: phone(2) })];
    const right = () => timed(() => checkById(narrow, held, held.digests.byId, T0));
    await whileLocked(`number taxi ${phone(2)}`, async () => {
      const refused = await whileLocked(numberLock, async () => {
        const checks = [right(), right()];
        await delay(700);
        // These have the connections when the number is free again.
        const behind = [1, 2].map(() => timed(() => settleCheck(narrow, other, 'unanswered')));
        await delay(1100);
        return [...checks, ...behind];
      });
      for (const each of await Promise.all(refused)) expectUnavailable(each);
    });
    expect((await narrow.getVerification('taxi', held.id))?.state).toBe('pending');
    await narrow.close();
  });

  it('waits for locks no longer when it has waited for a connection first', async () => {
    const narrow = await openPostgresStore({ url: file.url, poolSize: 1, log: silent });
    const held = await started(narrow);
    await whileLocked(numberLock, async () => {
      const busy = narrow.database.patientQuery('SELECT pg_sleep(1)');
      expectUnavailable(await timed(() => checkById(narrow, held, wrongDigest, T0)));
      expect(await countWaiting()).toBe(0);
      await busy;
    });
    await narrow.close();
  });

  it('ends a walk through too long a history, and the server with it', async () => {
    await started(store);
    await onDatabase(file.url, (client) =>
      client.query(`INSERT INTO countersign.message
        SELECT (jsonb_populate_record(m, jsonb_build_object('id', left(m.id, 14) || lpad(i::text, 16, '0')))).*
          FROM countersign.message m, generate_series(1, 30000) i`),
    );
    expect(await store.listMessages('taxi', { limit: 5, number: phone(1) })).toHaveLength(5);
    expect(await store.listMessages('taxi', { limit: 30_005 })).toHaveLength(30_001);
    expect(await store.listMessages('taxi', { limit: 5, number: phone(9) })).toEqual([]);
    expect(await store.listMessages('food', { limit: 5 })).toEqual([]);
  });

  it('says so in time to those who wait for a connection, when all of them are taken', async () => {
    await whileLocked(numberLock, async () => {
      const outcomes = await atOnce(poolSize * 3, () => timed(() => store.start(startStep(verificationOf()))));
      for (const each of outcomes) expectUnavailable(each);
    });
    expect(await untilRecovered(store)).toBeLessThan(RECOVERED_WITHIN_MS);
  });

  it.each(['terminate', 'cut'] as const)(
    'loses one step to a connection that is cut in the middle of it (%s), and no connection',
    async (how) => {
      for (let round = 0; round < 3; round += 1) {
        const given = verificationOf();
        await whileLocked(numberLock, async () => {
          const stuck = atOnce(poolSize, () => timed(() => store.start(startStep(given))));
          await untilWaiting(1);
          if (how === 'cut') proxy.cut();
          else {
            await onDatabase(file.url, (client) =>
              client.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
              AND application_name = 'countersign' AND wait_event_type = 'Lock'`),
            );
          }
          for (const each of await stuck) expectUnavailable(each);
        });
        // As many at once as there are connections: none of them has leaked.
        const next = await timed(() => atOnce(poolSize, (i) => started(store, { number: phone(10 + i) })));
        expect(next.outcome).toHaveLength(poolSize);
        expect(next.tookMs).toBeLessThan(1000);
      }
      const connected = await onDatabase(file.url, (client) =>
        client.query(
          `SELECT count(*)::integer AS count FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'countersign' AND state <> 'active'`,
        ),
      );
      expect(connected.rows[0]?.count).toBeLessThanOrEqual(poolSize);
    },
  );

  it('says so in time when the network goes silent, and goes on as soon as it is back', async () => {
    await atOnce(poolSize, (i) => started(store, { number: phone(20 + i) }));
    proxy.silence();
    const outcomes = await atOnce(poolSize * 2, (i) =>
      timed(() => store.start(startStep(verificationOf({ number: phone(30 + i) })))),
    );
    for (const each of outcomes) expectUnavailable(each);
    proxy.restore();
    expect(await untilRecovered(store)).toBeLessThan(RECOVERED_WITHIN_MS);
  });

  it('tells what became of an idle connection that the server ended, and makes another one', async () => {
    const warned: string[] = [];
    const warning = await openPostgresStore({
      url: file.url,
      poolSize: 1,
      log: { ...silent, warn: (_fields, text) => warned.push(String(text)) },
    });
    await onDatabase(file.url, (client) =>
      client.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
      ),
    );
    const deadline = performance.now() + 2000;
    while (warned.length === 0 && performance.now() < deadline) await delay(10);
    expect(warned).toEqual(['connection to PostgreSQL lost']);
    await warning.probe(T0);
    await warning.close();
  });

  it('refuses in order once it is closed', async () => {
    await store.close();
    expectUnavailable(await timed(() => store.probe(T0)));
    await store.close();
  });
});

describe.skipIf(findPostgres() === null)('a PostgreSQL store whose server goes away', () => {
  let server: PostgresServer;
  let store: PostgresStore;
  beforeAll(async () => {
    server = await startPostgres({ settings: forgetful });
    store = await openPostgresStore({ url: server.url, poolSize: 4, log: silent });
  });
  afterAll(async () => {
    await store.close();
    await server.close();
  });

  it.each(['fast', 'immediate'] as const)(
    'says so in time, keeps what was acknowledged, and recovers by itself (%s)',
    async (mode) => {
      const known = await started(store, { number: phone(mode === 'fast' ? 1 : 2) });
      expect((await checkById(store, known, wrongDigest, T0)).kind).toBe('wrong');
      const load = new AbortController();
      const wrong: unknown[] = [];
      const worker = async (lane: number) => {
        for (let i = 0; !load.signal.aborted; i += 1) {
          const each = await timed(() => store.start(startStep(verificationOf({ number: phone(1000 * lane + i) }))));
          if (each.tookMs > CLEAR_WITHIN_MS) wrong.push(each);
          if (each.outcome instanceof CountersignError) {
            if (each.outcome.code !== 'store-unavailable') wrong.push(each.outcome);
            await delay(20);
          } else if (each.outcome instanceof Error) wrong.push(each.outcome);
        }
      };
      const workers = [1, 2, 3, 4, 5, 6].map(worker);
      await delay(300);
      await server.stop(mode);
      expectUnavailable(await timed(() => store.probe(T0)));
      await delay(300);
      await server.start();
      expect(await untilRecovered(store)).toBeLessThan(RECOVERED_WITHIN_MS);
      load.abort();
      await Promise.all(workers);
      expect(wrong).toEqual([]);
      expect(await store.getVerification('taxi', known.id)).toMatchObject({ attempts: 1, state: 'pending' });
    },
    60_000,
  );
});
