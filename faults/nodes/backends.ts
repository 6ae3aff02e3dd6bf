import { setTimeout as delay } from 'node:timers/promises';
import { type PostgresServer, startPostgres } from '../../test/servers/postgres.ts';
import { findPostgres } from '../../test/servers/postgres-programs.ts';
import {
  type PostgresReplica,
  startPostgresReplica,
  waitForReplicaOnCommit,
} from '../../test/servers/postgres-replica.ts';
import { onRedis, type RedisServer, startRedis } from '../../test/servers/redis.ts';
import { findRedis } from '../../test/servers/redis-programs.ts';
import { TcpProxy } from './tcp-proxy.ts';

export const storeNames = ['postgres', 'redis'] as const;
/** `redis` is Redis in front of PostgreSQL. */
export type StoreName = (typeof storeNames)[number];

/** The servers that nodes share. Nodes reach them through proxies only. */
export type Backend = {
  readonly name: StoreName;
  /** what it is, for whoever reads the tables */
  readonly version: string;
  readonly postgres: PostgresSide;
  readonly redis: RedisSide | undefined;
  readonly environment: Readonly<Record<string, string>>;
  close(): Promise<void>;
};

export type PostgresSide = {
  readonly proxy: TcpProxy;
  /** to which the proxy leads */
  readonly primary: PostgresServer;
  /** A replica that has every commit before anybody is told of it. */
  addReplica(): Promise<void>;
  /** Kills the primary and has the replica take its place. */
  failOver(): Promise<void>;
};

export type RedisSide = {
  readonly proxy: TcpProxy;
  /** to which the proxy leads */
  readonly primary: RedisServer;
  /** From now on nothing gets through to the replica, until it takes the primary's place. */
  leaveReplicaBehind(): void;
  /** Kills the primary and has its replica take its place; a new replica follows that one. */
  failOver(): Promise<void>;
};

const REPLICA_PATIENCE_MS = 15_000;

/** Whether this machine has what the store needs. */
export function canRun(store: StoreName): boolean {
  return findPostgres() !== null && (store === 'postgres' || findRedis() !== null);
}

/** Servers as an operator would set them up: nothing is switched off that makes an acknowledged write stay. */
export async function startBackend(name: StoreName): Promise<Backend> {
  const closing: (() => Promise<void>)[] = [];
  const close = async () => {
    for (const end of closing.splice(0).reverse()) await end();
  };
  try {
    const postgres = await startPostgresSide(closing);
    const redis = name === 'redis' ? await startRedisSide(closing) : undefined;
    const { url, port, version } = postgres.primary;
    return {
      name,
      version: [redis?.primary.version, `PostgreSQL ${version}`].filter(Boolean).join(' and '),
      postgres,
      redis,
      environment: {
        DATABASE_URL: url.replace(`:${port}/`, `:${postgres.proxy.port}/`),
        ...(redis === undefined ? {} : { REDIS_URL: `redis://127.0.0.1:${redis.proxy.port}` }),
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startPostgresSide(closing: (() => Promise<void>)[]): Promise<PostgresSide> {
  let primary = await startPostgres();
  closing.push(() => primary.close());
  const proxy = await TcpProxy.open(primary.port);
  closing.push(() => proxy.close());
  let replica: PostgresReplica | undefined;
  closing.push(async () => replica?.close());
  return {
    proxy,
    get primary() {
      return primary;
    },
    async addReplica() {
      replica = await startPostgresReplica(primary);
      await waitForReplicaOnCommit(primary);
    },
    async failOver() {
      if (replica === undefined) throw new Error('there is no replica');
      const dead = primary;
      await dead.kill();
      await replica.promote();
      [primary, replica] = [replica, undefined];
      proxy.leadTo(primary.port);
      await dead.close();
    },
  };
}

async function startRedisSide(closing: (() => Promise<void>)[]): Promise<RedisSide> {
  let primary = await startRedis();
  closing.push(() => primary.close());
  let follower = await follow(primary);
  closing.push(() => follower.close());
  const proxy = await TcpProxy.open(primary.port);
  closing.push(() => proxy.close());
  return {
    proxy,
    get primary() {
      return primary;
    },
    leaveReplicaBehind() {
      follower.link.mode = { kind: 'silent' };
    },
    async failOver() {
      const [dead, { replica, link }] = [primary, follower];
      await dead.kill();
      proxy.cut();
      await follower.promote();
      primary = replica;
      proxy.leadTo(primary.port);
      await Promise.all([dead.close(), link.close()]);
      follower = await follow(primary);
    },
  };
}

/** A replica that hears of its primary through a proxy. It is told so while it runs: what it is started with stays with it. */
async function follow(primary: RedisServer) {
  const link = await TcpProxy.open(primary.port);
  const replica = await startRedis();
  const tell = (...args: readonly (string | number)[]) =>
    onRedis(replica.url, async (redis) => void (await redis.call('REPLICAOF', ...args)));
  const follower = {
    link,
    replica,
    promote: () => tell('NO', 'ONE'),
    async close() {
      await replica.close();
      await link.close();
    },
  };
  try {
    await tell('127.0.0.1', link.port);
    await untilInStep(replica);
    return follower;
  } catch (error) {
    await follower.close();
    throw error;
  }
}

async function untilInStep({ url }: RedisServer): Promise<void> {
  const deadline = performance.now() + REPLICA_PATIENCE_MS;
  await onRedis(url, async (redis) => {
    while (!(await redis.info('replication')).includes('master_link_status:up')) {
      if (performance.now() > deadline) throw new Error(`a replica does not follow after ${REPLICA_PATIENCE_MS} ms`);
      await delay(20);
    }
  });
}
