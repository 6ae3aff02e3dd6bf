import type { Cluster, Redis } from 'ioredis';
import { CountersignError } from '../../domain/problem.ts';
import type { StoreLog } from '../store-log.ts';
import { connectCluster, connectOne, type RedisTarget } from './connection.ts';
import { historyOf, markerOf, prefixOf, refusedOf, revivingOf } from './keys.ts';
import { type ScriptName, scriptOf } from './scripts.ts';
import { memoryFault, parseInfo, type ServerKind } from './server-check.ts';

/** How a server says that it cannot serve just now, or not this way; all else that it refuses is a bug of ours. */
const OUTAGES = new Set(
  'LOADING READONLY CLUSTERDOWN MASTERDOWN TRYAGAIN OOM MISCONF NOREPLICAS NOAUTH WRONGPASS NOPERM BUSY MOVED ASK'.split(
    ' ',
  ),
);

/** The app's slot is on its way to another node of a Cluster. It has no code of its own. */
const SLOT_IS_MOVED = 'ERR Script attempted to access a non local key';

const SCANNED_AT_ONCE = 500;

/** Runs scripts and single commands on a Redis, or on the right node of a Cluster. */
export class RedisClient {
  readonly place: string;
  readonly #connection: Redis | Cluster;

  private constructor(connection: Redis | Cluster, place: string) {
    this.#connection = connection;
    this.place = place;
  }

  static async connect(target: RedisTarget, kind: ServerKind, log: StoreLog): Promise<RedisClient> {
    try {
      const connection = kind === 'cluster' ? await connectCluster(target, log) : await connectOne(target, log);
      return new RedisClient(connection, target.place);
    } catch (error) {
      throw asStoreError(error, target.place);
    }
  }

  /**
   * One script, one round trip. A server that does not know it, being new or having forgotten it, is told it once.
   * @throws CountersignError `store-unavailable`; whether it was carried out is not known then
   */
  async run(name: ScriptName, key: string, ...args: readonly string[]): Promise<unknown> {
    const { sha, text } = scriptOf(name);
    try {
      return await this.#connection.evalsha(sha, 1, key, ...args);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT'))
        throw asStoreError(error, this.place, name);
    }
    return this.do((connection) => connection.eval(text, 1, key, ...args), name);
  }

  /** A single command. */
  async do<Result>(command: (connection: Redis | Cluster) => Promise<Result>, name = 'a command'): Promise<Result> {
    try {
      return await command(this.#connection);
    } catch (error) {
      throw asStoreError(error, this.place, name);
    }
  }

  /** Rejects when a server cannot be used, or is set up so that it forgets what it was told. */
  async probe(): Promise<void> {
    for (const node of this.#primaries()) {
      const info = parseInfo(await this.do(() => node.info('memory'), 'INFO'));
      const fault = memoryFault(info, this.place);
      if (fault !== undefined) throw new CountersignError('store-unavailable', fault.message);
    }
  }

  /** The keys of all that is kept of an app, but of its history and of what says that it is not whole; in parts. */
  async *keysOf(app: string): AsyncGenerator<readonly string[]> {
    const isKept = new Set([markerOf(app), historyOf(app), refusedOf(app), revivingOf(app)]);
    const pattern = `${prefixOf(app).replace(/[\\*?[\]]/g, '\\$&')}*`;
    for (const node of this.#primaries()) {
      let cursor = '0';
      do {
        const [next, keys] = await this.do(() => node.scan(cursor, 'MATCH', pattern, 'COUNT', SCANNED_AT_ONCE), 'SCAN');
        const found = keys.filter((key) => !isKept.has(key));
        if (found.length > 0) yield found;
        cursor = next;
      } while (cursor !== '0');
    }
  }

  close(): void {
    this.#connection.disconnect();
  }

  #primaries(): readonly Redis[] {
    const connection = this.#connection;
    const nodes = 'nodes' in connection ? connection.nodes('master') : [connection];
    if (nodes.length === 0) throw asStoreError(new Error('no node of the Cluster answers'), this.place);
    return nodes;
  }
}

/** What Redis and its driver say becomes a clear answer. The driver's errors hold what was sent, so they are not kept. */
export function asStoreError(error: unknown, place: string, name = ''): Error {
  if (error instanceof CountersignError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const isReply = error instanceof Error && error.name === 'ReplyError';
  const [code = ''] = message.split(' ');
  if (isReply && !OUTAGES.has(code) && !message.startsWith(SLOT_IS_MOVED))
    return new Error(`Redis refused ${name}: ${message}`);
  return new CountersignError(
    'store-unavailable',
    `Redis at ${place} cannot be used just now (${message}). Is it running, a primary, and reachable from here?`,
  );
}
