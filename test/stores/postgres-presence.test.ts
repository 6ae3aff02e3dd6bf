import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openPostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import type { LiveIn } from '../../src/stores/postgres/presence.ts';
import { makeDatabase, type TestDatabase } from '../servers/index.ts';
import { hasPostgres, silent } from './postgres-database.ts';

describe.skipIf(!hasPostgres())('nodes with Redis and nodes without, over one PostgreSQL', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await makeDatabase();
  });
  afterAll(() => database.close());
  const open = (liveIn: LiveIn) => openPostgresStore({ url: database.url, poolSize: 2, log: silent, liveIn });

  let server: Awaited<ReturnType<typeof open>>;
  beforeEach(async () => {
    server = await open('postgresql');
    await server.database.query('DELETE FROM countersign.node');
    await server.close();
    await open('postgresql').then((store) => store.close());
  });

  it.each([
    ['postgresql', 'redis', /Nodes without Redis use this database: REDIS_URL must be set on all of them or on none/],
    ['redis', 'postgresql', /Nodes with Redis in front use this database: set REDIS_URL here as well/],
  ] as const)('are never there together: one with %s keeps one with %s out', async (first, second, sentence) => {
    const running = await open(first);
    const another = await open(first);
    await expect(open(second)).rejects.toMatchObject({
      code: 'store-incompatible',
      message: expect.stringMatching(sentence),
    });
    await running.close();
    await expect(open(second)).rejects.toMatchObject({ code: 'store-incompatible' });
    await another.close();
    await open(second).then((store) => store.close());
  });

  it('are forgotten some seconds after they were killed', async () => {
    const killed = await open('redis');
    await expect(open('postgresql')).rejects.toMatchObject({ code: 'store-incompatible' });
    // As after fifteen seconds without a word.
    await killed.database.query('UPDATE countersign.node SET until = until - 15001 WHERE live_in = $1', ['redis']);
    const next = await open('postgresql');
    await next.close();
    await killed.close();
  });

  it('are known to have been there, so that what Redis kept from before is not believed', async () => {
    const before = Date.now();
    const direct = await open('postgresql');
    await direct.close();
    const fronted = await open('redis');
    expect(fronted.presence.otherUntil).toBeGreaterThanOrEqual(before - 1000);
    expect(fronted.presence.otherUntil).toBeLessThanOrEqual(Date.now() + 1000);
    await fronted.close();
  });
});
