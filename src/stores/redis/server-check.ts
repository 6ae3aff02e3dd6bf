import type { Redis } from 'ioredis';
import { CountersignError } from '../../domain/problem.ts';
import { cautious, loadRedisDriver, type RedisAddress, type RedisTarget } from './connection.ts';

/** Since then scripts are no part of what replicas and restarts take over, and an error keeps its code in a script. */
const OLDEST_MAJOR = 7;

export type ServerKind = 'single' | 'cluster';

/**
 * Looks at one server, with a connection of its own.
 * @throws CountersignError with a sentence that says what to do
 */
export async function checkServer(target: RedisTarget, address: RedisAddress): Promise<ServerKind> {
  const place = `${address.host}:${address.port}`;
  const { Redis: RedisClass } = await loadRedisDriver();
  const redis = new RedisClass({ ...target.options, ...address, ...cautious, retryStrategy: () => null });
  let lastError: Error | undefined;
  redis.on('error', (error: Error) => {
    lastError = error;
  });
  try {
    try {
      await redis.connect();
    } catch (error) {
      throw connectFault(lastError ?? error, place);
    }
    const info = await readInfo(redis, place);
    // A number of a database that is refused: the driver would go on in database 0, which may be somebody else's.
    if (lastError !== undefined) throw connectFault(lastError, place);
    for (const fault of faultsOf(info, place)) throw fault;
    await tryScript(redis, place);
    return info.get('cluster_enabled') === '1' ? 'cluster' : 'single';
  } finally {
    redis.disconnect();
  }
}

/** Of any server, one that answers: a Cluster is there while most of it is. */
export async function checkServers(target: RedisTarget): Promise<ServerKind> {
  let fault: unknown;
  for (const address of target.addresses) {
    try {
      return await checkServer(target, address);
    } catch (error) {
      fault ??= error;
    }
  }
  throw fault;
}

/** What an operator can change while we run; looked at by probes as well. */
export function memoryFault(info: ReadonlyMap<string, string>, place: string): CountersignError | undefined {
  const policy = info.get('maxmemory_policy') ?? 'noeviction';
  if ((info.get('maxmemory') ?? '0') === '0' || policy === 'noeviction') return undefined;
  return new CountersignError(
    'store-incompatible',
    `Redis at ${place} throws data away when its memory is full (maxmemory-policy ${policy}): limits and guesses would be forgotten. Set maxmemory-policy noeviction, or give Countersign a Redis of its own.`,
  );
}

export function parseInfo(text: string): ReadonlyMap<string, string> {
  const lines = text.split(/\r?\n/).filter((line) => line.includes(':'));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]));
}

/** What is wrong with a server, by what its INFO says. */
export function faultsOf(info: ReadonlyMap<string, string>, place: string): readonly CountersignError[] {
  const version = info.get('redis_version') ?? '0';
  const isOld = Number(version.split('.')[0]) < OLDEST_MAJOR;
  // Which of a Cluster's nodes are primaries changes, and its client asks.
  const isReplica = info.get('role') !== 'master' && info.get('cluster_enabled') !== '1';
  return [
    isOld
      ? incompatible(place, `is version ${version}: Redis 7.0 or Valkey 7.2 is the oldest that will do. Upgrade it`)
      : [],
    isReplica
      ? incompatible(place, 'is a replica, and can only be read: REDIS_URL must name the primary, not a replica')
      : [],
    memoryFault(info, place) ?? [],
  ].flat();
}

function incompatible(place: string, sentence: string): CountersignError {
  return new CountersignError('store-incompatible', `Redis at ${place} ${sentence}.`);
}

async function readInfo(redis: Redis, place: string): Promise<ReadonlyMap<string, string>> {
  try {
    return parseInfo(await redis.info());
  } catch (error) {
    throw incompatible(place, `does not let this user run INFO (${messageOf(error)}). Allow it: ACL SETUSER … +info`);
  }
}

async function tryScript(redis: Redis, place: string): Promise<void> {
  const text = "return redis.call('PING')";
  try {
    await redis.eval(text, 0);
    await redis.call('SCRIPT', 'EXISTS', '0');
  } catch (error) {
    throw incompatible(
      place,
      `runs no scripts (${messageOf(error)}), and each step is one. Allow EVAL and EVALSHA: ACL SETUSER … +@scripting`,
    );
  }
}

function connectFault(error: unknown, place: string): CountersignError {
  const reason = messageOf(error);
  const isRefused = /WRONGPASS|NOAUTH|AUTH/.test(reason);
  const isOfDatabase = /SELECT|DB index/.test(reason);
  const sentence = isRefused
    ? 'user or password is refused; special characters of the password must be percent-encoded in REDIS_URL'
    : isOfDatabase
      ? 'it has no database of the number behind the host in REDIS_URL; a Cluster has none but 0'
      : 'is it running, and reachable from here?';
  return new CountersignError('store-unavailable', `Redis at ${place} cannot be used (${reason}): ${sentence}`);
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as NodeJS.ErrnoException;
  return error.message === '' ? (code ?? error.name) : error.message;
}
