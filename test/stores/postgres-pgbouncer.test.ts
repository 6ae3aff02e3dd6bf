import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPostgresStore, type PostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import { atOnce, phone, started, T0 } from '../../src/testing/store-steps.ts';
import { describeStore } from '../../src/testing.ts';
import { findPgbouncer, type Pgbouncer, startPgbouncer } from '../servers/pgbouncer.ts';
import { hasPostgres, postgresForFile, silent } from './postgres-database.ts';

// The suite of all stores, through a PgBouncer that gives each transaction whatever connection is free.
describe.skipIf(!hasPostgres() || findPgbouncer() === null)('PostgreSQL behind a PgBouncer in transaction mode', () => {
  let file: Awaited<ReturnType<typeof postgresForFile>>;
  let bouncer: Pgbouncer;
  const opened = new Set<PostgresStore>();
  const open = async () => {
    const store = await openPostgresStore({ url: bouncer.url(file.url), poolSize: 8, log: silent });
    opened.add(store);
    return store;
  };
  const closeAll = async () => {
    for (const store of opened) await store.close();
    opened.clear();
  };
  beforeAll(async () => {
    file = await postgresForFile();
    bouncer = await startPgbouncer(file.url);
  });
  afterAll(async () => {
    await closeAll();
    await bouncer.close();
    await file.close();
  });

  describeStore('PostgreSQL behind a PgBouncer, two nodes', async () => {
    await file.empty();
    return {
      a: await open(),
      b: await open(),
      async reopen() {
        await closeAll();
        return open();
      },
      close: closeAll,
    };
  });

  it('has four connections for a hundred callers, and recovers by itself when it was away', async () => {
    await file.empty();
    const stores = await Promise.all([open(), open(), open(), open()]);
    const all = await atOnce(100, (i) => started(stores[i % 4] as PostgresStore, { number: phone(i) }));
    expect(all).toHaveLength(100);
    const [store] = stores;
    await bouncer.stop();
    await expect(store?.probe(T0)).rejects.toMatchObject({ code: 'store-unavailable' });
    await bouncer.start();
    await expect
      .poll(
        () =>
          store?.probe(T0).then(
            () => 'ready',
            () => 'away',
          ),
        { timeout: 5000 },
      )
      .toBe('ready');
    await closeAll();
  });
});
