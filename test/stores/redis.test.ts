import { afterAll, beforeAll, describe, inject } from 'vitest';
import { describeStore } from '../../src/testing.ts';
import { type TestRedis, useRedis } from '../servers/index.ts';
import { hasPostgres, postgresForFile } from './postgres-database.ts';
import { openTwoNodes } from './redis-stores.ts';

describe.skipIf(!hasPostgres() || inject('redisUrl') === null)('Redis', () => {
  let postgres: Awaited<ReturnType<typeof postgresForFile>>;
  let redis: TestRedis;
  beforeAll(async () => {
    postgres = await postgresForFile();
    redis = await useRedis();
  });
  afterAll(async () => {
    await redis.close();
    await postgres.close();
  });

  describeStore('Redis in front of PostgreSQL, two nodes', () => openTwoNodes(postgres, redis));
});
