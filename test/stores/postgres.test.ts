import { afterAll, beforeAll, describe } from 'vitest';
import { describeStore } from '../../src/testing.ts';
import { hasPostgres, postgresForFile } from './postgres-database.ts';

describe.skipIf(!hasPostgres())('PostgreSQL', () => {
  let file: Awaited<ReturnType<typeof postgresForFile>>;
  beforeAll(async () => {
    file = await postgresForFile();
  });
  afterAll(async () => {
    await file.close();
  });

  describeStore('PostgreSQL, two nodes', async () => {
    await file.empty();
    const [a, b] = [await file.open(), await file.open()];
    return {
      a,
      b,
      async reopen() {
        await file.closeStores();
        return file.open();
      },
      close: () => file.closeStores(),
    };
  });
});
