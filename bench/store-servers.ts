import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { onDatabase, type PostgresSettings, startPostgres } from '../test/servers/postgres.ts';
import { findOrInstallPostgres, postgresMissing } from '../test/servers/postgres-programs.ts';
import { onRedis, startRedis } from '../test/servers/redis.ts';
import { findOrInstallRedis, redisMissing } from '../test/servers/redis-programs.ts';
import type { BenchOptions, Placement } from './options.ts';
import { movePinned, type Pinning } from './pinning.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';

/** What was acknowledged is on the disk, as by default, but there is room for more than the default's 128 MB. */
const postgresSettings: PostgresSettings = {
  fsync: 'on',
  synchronous_commit: 'on',
  shared_buffers: '1GB',
  max_wal_size: '2GB',
};
/** What was acknowledged is on the disk within a second; Redis' own advice, https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/ */
const redisArgs = ['--appendonly', 'yes', '--appendfsync', 'everysec'];
const redisDatabases = 16;

/** A store with nothing in it. */
export type FreshStore = {
  /** Chooses it: `DATABASE_URL`, `REDIS_URL`. */
  readonly environment: Readonly<Record<string, string>>;
  remove(): Promise<void>;
};

export type StoreProcess = { readonly name: 'postgres' | 'redis'; readonly pid: number };

/** The servers behind the servers under test: none for SQLite. All data of a run is in them, and gone with them. */
export type StoreServers = {
  /** For the conditions: what they are, and what of their settings matters. */
  readonly description: string;
  readonly processes: readonly StoreProcess[];
  fresh(): Promise<FreshStore>;
  /** Gives the store's server the CPU of the load or of the server under test, or all while nothing is measured. */
  place(where: Placement | 'anywhere'): void;
  /** Those that share the CPU of the server under test just now. */
  neighbours(): readonly StoreProcess[];
  close(): Promise<void>;
};

export async function startStoreServers(options: BenchOptions, pinning: Pinning): Promise<StoreServers> {
  if (options.store === 'sqlite') return sqlite;
  const under = options.directory ?? tmpdir();
  const postgres = await ownPostgres(under);
  try {
    const servers = options.store === 'postgres' ? postgres : await ownRedis(under, postgres);
    return placed(servers, options.placements[0], pinning);
  } catch (error) {
    await postgres.close();
    throw error;
  }
}

type Servers = Omit<StoreServers, 'place' | 'neighbours'>;

const sqlite: StoreServers = {
  description: 'sqlite',
  processes: [],
  fresh: () => Promise.resolve({ environment: {}, remove: () => Promise.resolve() }),
  place: () => {},
  neighbours: () => [],
  close: () => Promise.resolve(),
};

/** Behind Redis, PostgreSQL is always on the CPU of the load: it is Redis whose place makes the difference. */
function placed(servers: Servers, first: Placement, pinning: Pinning): StoreServers {
  // Redis comes first, where there is one.
  const [front, ...behind] = servers.processes;
  let isNeighbour = false;
  const place = (where: Placement | 'anywhere'): void => {
    isNeighbour = where === 'same';
    const elsewhere = where === 'anywhere' ? 'all' : 'load';
    if (front !== undefined) movePinned(pinning, front.pid, isNeighbour ? 'server' : elsewhere);
    for (const { pid } of behind) movePinned(pinning, pid, elsewhere);
  };
  place(first);
  return { ...servers, place, neighbours: () => (isNeighbour && front !== undefined ? [front] : []) };
}

async function ownPostgres(under: string): Promise<Servers> {
  if (findOrInstallPostgres() === null) throw new Error(postgresMissing);
  const directory = makeTemporaryDirectory(under, 'postgres');
  const server = await startPostgres({ directory: directory.path, settings: postgresSettings });
  const settings = Object.entries(postgresSettings).map(([name, value]) => `${name} ${value}`);
  return {
    description: `PostgreSQL ${server.version} (${settings.join(', ')})`,
    processes: [{ name: 'postgres', pid: server.pid }],
    async fresh() {
      const name = `bench_${randomBytes(6).toString('hex')}`;
      await onDatabase(server.url, (client) => client.query(`CREATE DATABASE ${name} TEMPLATE template0`));
      const url = new URL(server.url);
      url.pathname = `/${name}`;
      return {
        environment: { DATABASE_URL: url.href },
        async remove() {
          await onDatabase(server.url, (client) => client.query(`DROP DATABASE ${name} WITH (FORCE)`));
        },
      };
    },
    async close() {
      // Its data goes anyway, so there is nothing to write down first.
      await server.stop('immediate');
      await directory.remove();
    },
  };
}

async function ownRedis(under: string, postgres: Servers): Promise<Servers> {
  const program = findOrInstallRedis();
  if (program === null) throw new Error(redisMissing);
  const directory = makeTemporaryDirectory(under, 'redis');
  const server = await startRedis({
    directory: directory.path,
    program,
    args: [...redisArgs, '--databases', String(redisDatabases)],
  });
  const free = Array.from({ length: redisDatabases }, (_, database) => database);
  return {
    description: `${server.version} (appendfsync everysec), in front of ${postgres.description}`,
    processes: [{ name: 'redis', pid: server.pid }, ...postgres.processes],
    async fresh() {
      const database = free.shift();
      if (database === undefined) throw new Error(`Redis has ${redisDatabases} databases, and all are in use`);
      const behind = await postgres.fresh();
      const url = `${server.url}/${database}`;
      return {
        environment: { ...behind.environment, REDIS_URL: url },
        async remove() {
          await onRedis(url, (client) => client.flushdb());
          free.push(database);
          await behind.remove();
        },
      };
    },
    async close() {
      await server.kill();
      await directory.remove();
      await postgres.close();
    },
  };
}
