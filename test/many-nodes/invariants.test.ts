import { afterAll, beforeAll, describe, inject } from 'vitest';
import { openRedisStore } from '../../src/stores/redis/redis-store.ts';
import { describeInvariants } from '../http/invariants-suite.ts';
import { type TestRedis, useRedis } from '../servers/index.ts';
import { hasPostgres, postgresForFile, silent } from '../stores/postgres-database.ts';

describe.skipIf(!hasPostgres())('invariants', () => {
  let postgres: Awaited<ReturnType<typeof postgresForFile>>;
  beforeAll(async () => {
    postgres = await postgresForFile();
  });
  afterAll(() => postgres.close());

  describeInvariants('PostgreSQL', () => postgres.open());

  describe.skipIf(inject('redisUrl') === null)('with Redis', () => {
    let redis: TestRedis;
    beforeAll(async () => {
      redis = await useRedis();
      await postgres.empty();
    });
    afterAll(() => redis.close());

    describeInvariants('Redis and PostgreSQL', async () =>
      openRedisStore({ url: redis.url, database: await postgres.open(), log: silent }),
    );
  });
});
