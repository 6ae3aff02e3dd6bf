import { once } from 'node:events';
import type { Cluster, ClusterOptions, Redis, RedisOptions } from 'ioredis';
import { CountersignError } from '../../domain/problem.ts';
import type { StoreLog } from '../store-log.ts';

/** Together below 2 s: whoever waits is told in time that it was for nothing. */
const CONNECT_DEADLINE_MS = 900;
const COMMAND_DEADLINE_MS = 1200;
/** A server that has vanished without a word: its connection is given up. */
const SILENCE_DEADLINE_MS = 3000;
const MOST_RETRY_MS = 250;

export type RedisAddress = {
  readonly host: string;
  readonly port: number;
};

export type RedisTarget = {
  readonly addresses: readonly [RedisAddress, ...RedisAddress[]];
  readonly options: Pick<RedisOptions, 'username' | 'password' | 'tls' | 'db'>;
  /** hosts and ports, for messages: no credential is in it */
  readonly place: string;
};

/** @param url `redis://user:password@host:6379/0`, `rediss://` for TLS; of a Cluster several, with commas between them */
export function parseRedisUrl(url: string): RedisTarget {
  const urls = url.split(',').map((each) => parseOne(each.trim()));
  const [first] = urls;
  if (first === undefined) throw unusable();
  if (!urls.every((each) => agrees(each, first))) {
    throw new CountersignError(
      'store-unavailable',
      'REDIS_URL names several nodes, and says one thing of the first and another of the others: user, password and database are the same for all, and named with the first alone or with each; rediss:// is for all or for none.',
    );
  }
  const addresses = urls.map(({ hostname, port }) => ({
    host: hostname.replace(/^\[|\]$/g, '') || '127.0.0.1',
    port: port === '' ? 6379 : Number(port),
  })) as [RedisAddress, ...RedisAddress[]];
  const db = Number(first.pathname.slice(1));
  if (!Number.isSafeInteger(db)) throw unusable();
  return {
    addresses,
    place: addresses.map(({ host, port }) => `${host}:${port}`).join(', '),
    options: {
      db,
      ...(first.username === '' ? {} : { username: decodeURIComponent(first.username) }),
      ...(first.password === '' ? {} : { password: decodeURIComponent(first.password) }),
      // Each node shows a certificate of its own, for the name or address by which it is reached.
      ...(first.protocol === 'rediss:' ? { tls: {} } : {}),
    },
  };
}

function parseOne(url: string): URL {
  try {
    const parsed = new URL(url);
    for (const part of [parsed.username, parsed.password]) decodeURIComponent(part);
    if (parsed.protocol === 'redis:' || parsed.protocol === 'rediss:') return parsed;
  } catch {
    // Named below, without what is in it.
  }
  throw unusable();
}

/** A further node's address says the same as the first one's, or nothing. */
function agrees(further: URL, first: URL): boolean {
  const credentialsOf = ({ username, password }: URL) => `${username}:${password}`;
  return (
    further.protocol === first.protocol &&
    [':', credentialsOf(first)].includes(credentialsOf(further)) &&
    ['', '/', first.pathname].includes(further.pathname)
  );
}

function unusable(): CountersignError {
  return new CountersignError(
    'store-unavailable',
    'REDIS_URL is no URL: redis://user:password@host:6379/0, or rediss:// for TLS, with special characters of the password percent-encoded (# as %23, @ as %40, / as %2F); several of a Cluster with commas between them.',
  );
}

/** Loaded when Redis is chosen: whoever is content with another store need not have it. */
export async function loadRedisDriver(): Promise<Pick<typeof import('ioredis'), 'Redis' | 'Cluster'>> {
  try {
    return await import('ioredis');
  } catch (error) {
    throw new CountersignError('store-unavailable', 'REDIS_URL needs the package ioredis: npm install ioredis', {
      cause: error,
    });
  }
}

/**
 * What was sent and not answered is never sent again by itself, and nothing waits for a connection: a step whose
 * connection was cut may have been carried out, and only its caller knows whether it may be repeated.
 */
export const cautious = {
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: CONNECT_DEADLINE_MS,
  commandTimeout: COMMAND_DEADLINE_MS,
  socketTimeout: SILENCE_DEADLINE_MS,
  connectionName: 'countersign',
  retryStrategy: (times: number) => Math.min(25 * times, MOST_RETRY_MS),
  // A primary that became a replica: the name may lead to the new one by now.
  reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
} satisfies RedisOptions;

export async function connectOne(target: RedisTarget, log: StoreLog): Promise<Redis> {
  const { Redis: RedisClass } = await loadRedisDriver();
  const [address] = target.addresses;
  const redis = new RedisClass({ ...target.options, ...address, ...cautious });
  tellOutages(redis, target.place, log);
  await redis.connect();
  return redis;
}

export async function connectCluster(target: RedisTarget, log: StoreLog): Promise<Cluster> {
  const { Cluster: ClusterClass } = await loadRedisDriver();
  const { db: _none, ...options } = target.options;
  // The pool of nodes sets its own way to reconnect: by asking for the slots again.
  const { retryStrategy: clusterRetryStrategy, lazyConnect, ...redisOptions } = cautious;
  const cluster = new ClusterClass([...target.addresses], {
    redisOptions: { ...redisOptions, ...options },
    clusterRetryStrategy,
    lazyConnect,
    enableOfflineQueue: false,
    // A name that was replaced by its address would not be found in the certificate.
    dnsLookup: (name, found) => found(null, name),
    // It would be asked of a node that is not connected yet, and the answer, that nothing waits, be taken for a fault.
    enableReadyCheck: false,
    // As above: nothing that may have been carried out is tried again.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    slotsRefreshTimeout: CONNECT_DEADLINE_MS,
    slotsRefreshInterval: 1000,
  } satisfies ClusterOptions);
  tellOutages(cluster, target.place, log);
  // A node is connected to when it becomes known, not with its first step: a second step would not wait for that.
  cluster.on('+node', (node: Redis) => {
    node.on('error', () => undefined);
    if (node.status === 'wait') node.connect().catch(() => undefined);
  });
  await cluster.connect();
  await Promise.all(cluster.nodes('master').map(untilReady));
  return cluster;
}

async function untilReady(node: Redis): Promise<void> {
  if (node.status !== 'ready') await once(node, 'ready', { signal: AbortSignal.timeout(CONNECT_DEADLINE_MS) });
}

/** One line when it goes, one when it is back. */
function tellOutages(connection: Redis | Cluster, place: string, log: StoreLog): void {
  let isAway = false;
  connection.on('error', (error: Error) => {
    if (!isAway) log.warn({ redis: place, error: error.message }, 'Redis cannot be reached');
    isAway = true;
  });
  connection.on('ready', () => {
    if (isAway) log.warn({ redis: place }, 'Redis is back');
    isAway = false;
  });
}
