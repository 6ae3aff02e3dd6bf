import { findOrInstallPgbouncer, pgbouncerMissing } from './pgbouncer.ts';
import { forgetful, onDatabase, startPostgres } from './postgres.ts';
import { findOrInstallPostgres, OLDEST_POSTGRES, postgresMissing } from './postgres-programs.ts';
import { onRedis, startRedis } from './redis.ts';
import { startRedisCluster } from './redis-cluster.ts';
import { findOrInstallRedis, findOrInstallValkey, redisMissing, valkeyMissing } from './redis-programs.ts';
import { giveTurns } from './turns.ts';

/** What all test files of a run share; `null` where it is not to be had. */
export type SharedServers = {
  readonly postgresUrl: string | null;
  /** each worker has a numbered database of its own there: see `useRedis` */
  readonly redisUrl: string | null;
  readonly redisClusterUrls: readonly string[] | null;
  /** port where a file waits for its turn with the cluster: see `useRedisCluster` */
  readonly redisClusterTurns: number | null;
};

type Shared<Value> = {
  readonly value: Value;
  /** what it is, for whoever reads the run's output */
  readonly line: string;
  close(): Promise<void>;
};

export type SharedOptions = {
  /** something missing is an error there: a skipped test would pass for one that ran */
  readonly isCi: boolean;
  /** how many test files run at a time */
  readonly workers: number;
};

/** Brings up what the tests share, and says on stderr what it is and what is missing. */
export async function startSharedServers({ isCi, workers }: SharedOptions) {
  const [databaseUrl, redisUrl] = [process.env['DATABASE_URL'] || undefined, process.env['REDIS_URL'] || undefined];
  const hasPostgres = findOrInstallPostgres() !== null;
  const hasRedis = findOrInstallRedis() !== null;
  const hasValkey = findOrInstallValkey() !== null;
  const hasPgbouncer = findOrInstallPgbouncer() !== null;
  // Also with a URL: the tests of failures stop and kill servers, so they need some of their own.
  const missing = [
    hasPostgres ? [] : postgresMissing,
    hasRedis ? [] : redisMissing,
    hasValkey ? [] : valkeyMissing,
    hasPgbouncer ? [] : pgbouncerMissing,
  ].flat();
  if (isCi && missing.length > 0) throw new Error(missing.join('\n'));
  for (const line of missing) console.error(`${line} Until then the tests that need it are skipped.`);

  const starting = [
    databaseUrl !== undefined ? givenPostgres(databaseUrl) : hasPostgres ? ownPostgres() : null,
    redisUrl !== undefined ? givenRedis(redisUrl, workers) : hasRedis ? ownRedis(workers) : null,
    hasRedis ? ownCluster() : null,
  ] as const;
  const settled = await Promise.allSettled(starting);
  const close = async () => {
    await Promise.all(settled.map((each) => (each.status === 'fulfilled' ? each.value?.close() : undefined)));
  };
  try {
    const [postgres, redis, cluster] = await Promise.all(starting);
    for (const server of [postgres, redis, cluster]) if (server !== null) console.error(`Tests use ${server.line}`);
    const servers: SharedServers = {
      postgresUrl: postgres?.value ?? null,
      redisUrl: redis?.value ?? null,
      redisClusterUrls: cluster?.value.urls ?? null,
      redisClusterTurns: cluster?.value.turns ?? null,
    };
    return { servers, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function ownPostgres(): Promise<Shared<string>> {
  const server = await startPostgres({ settings: forgetful });
  const line = `PostgreSQL ${server.version} from ${server.programs} on port ${server.port}`;
  return { value: server.url, line, close: server.close };
}

async function givenPostgres(url: string): Promise<Shared<string>> {
  const { version, mayCreate } = (await onDatabase(url, async (client) => {
    const query = `SELECT current_setting('server_version') AS version,
      (SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user) AS "mayCreate"`;
    return (await client.query<{ version: string; mayCreate: boolean }>(query)).rows[0] ?? { version: '0' };
  }).catch((error: Error) => {
    throw new Error(`DATABASE_URL is set, and the tests cannot use that server: ${error.message}`);
  })) as { version: string; mayCreate: boolean };
  if (Number.parseInt(version, 10) < OLDEST_POSTGRES) {
    throw new Error(`DATABASE_URL is a PostgreSQL ${version}; ${OLDEST_POSTGRES} is the oldest that will do.`);
  }
  if (!mayCreate) throw new Error('The role in DATABASE_URL may not create databases: ALTER ROLE … CREATEDB.');
  return { value: url, line: `PostgreSQL ${version} of DATABASE_URL`, async close() {} };
}

async function ownRedis(workers: number): Promise<Shared<string>> {
  const server = await startRedis({ args: ['--appendonly', 'no', '--databases', String(workers + 1)] });
  return { value: server.url, line: `${server.version} on port ${server.port}`, close: server.close };
}

/** The tests empty the databases that they use, so these have to be empty before. */
async function givenRedis(url: string, workers: number): Promise<Shared<string>> {
  const version = await onRedis(url, async (client) => {
    for (let database = 1; database <= workers; database += 1) {
      await client.select(database);
      if ((await client.dbsize()) > 0) throw new Error(`its database ${database} is not empty`);
    }
    return /redis_version:(\S+)/.exec(await client.info('server'))?.[1];
  }).catch((error: Error) => {
    throw new Error(`REDIS_URL is set, and the tests cannot use databases 1 to ${workers} there: ${error.message}.`);
  });
  return { value: url, line: `Redis ${version} of REDIS_URL, databases 1 to ${workers}`, async close() {} };
}

async function ownCluster(): Promise<Shared<{ urls: readonly string[]; turns: number }>> {
  const cluster = await startRedisCluster({ args: ['--appendonly', 'no'] });
  const turns = await giveTurns();
  return {
    value: { urls: cluster.urls, turns: turns.port },
    line: `a Redis Cluster on ports ${cluster.nodes.map(({ port }) => port).join(', ')}`,
    async close() {
      await Promise.all([turns.close(), cluster.close()]);
    },
  };
}
