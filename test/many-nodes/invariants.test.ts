import { afterAll, beforeAll, describe } from 'vitest';
import { describeInvariants } from '../http/invariants-suite.ts';
import { hasPostgres, postgresForFile } from '../stores/postgres-database.ts';

describe.skipIf(!hasPostgres())('invariants', () => {
  let file: Awaited<ReturnType<typeof postgresForFile>>;
  beforeAll(async () => {
    file = await postgresForFile();
  });
  afterAll(() => file.close());
  describeInvariants('PostgreSQL', () => file.open());
});
