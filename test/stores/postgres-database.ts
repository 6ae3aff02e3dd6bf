import { inject } from 'vitest';
import { openPostgresStore, type PostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import { makeDatabase } from '../servers/index.ts';
import { silent } from './postgres-log.ts';

export { silent } from './postgres-log.ts';

export const hasPostgres = (): boolean => inject('postgresUrl') !== null;

/** Every row of every table but the migrations: as a new database is. */
const emptyAll = `
  DO $$ DECLARE names text; BEGIN
    SELECT string_agg(format('countersign.%I', c.relname), ', ') INTO names
      FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
     WHERE c.relnamespace = 'countersign'::regnamespace AND c.relkind IN ('r', 'p') AND i.inhrelid IS NULL
       AND c.relname <> 'migration';
    EXECUTE 'TRUNCATE ' || names || ' RESTART IDENTITY';
  END $$`;

/** A database for one test file, and stores over it. */
export async function postgresForFile() {
  const database = await makeDatabase();
  const opened = new Set<PostgresStore>();
  const open = async (poolSize = 8) => {
    const store = await openPostgresStore({ url: database.url, poolSize, log: silent });
    opened.add(store);
    return store;
  };
  const closeStores = async () => {
    for (const store of opened) await store.close();
    opened.clear();
  };
  return {
    url: database.url,
    open,
    closeStores,
    async empty() {
      const store = await openPostgresStore({ url: database.url, poolSize: 1, log: silent });
      await store.database.query(emptyAll);
      await store.close();
    },
    async close() {
      await closeStores();
      await database.close();
    },
  };
}
