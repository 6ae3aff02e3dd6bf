import { setTimeout as delay } from 'node:timers/promises';
import { canReplicate } from '../../test/servers/postgres-replica.ts';
import { onRedis } from '../../test/servers/redis.ts';
import type { RedisSide, StoreName } from './backends.ts';
import { clocksOffMs, lookAtClocks } from './clocks.ts';
import type { Installation } from './installation.ts';
import type { Broken, Excuses } from './judge.ts';
import type { TcpProxy } from './tcp-proxy.ts';

export type Durations = {
  /** how long servers are away, or the network is bad */
  readonly faultMs: number;
  /** how long nodes are killed */
  readonly killingMs: number;
};

export type NodeFault = {
  readonly id: string;
  readonly what: string;
  readonly stores: readonly StoreName[];
  /** of nodes of its own, one for each; without it, of nodes whose clocks are right, and which other faults have too */
  readonly clocksOffMs?: readonly number[];
  /** Begins and ends it. What it does is over when this returns. @returns what it has seen by itself that must not be */
  run(installation: Installation, durations: Durations): Promise<readonly Broken[]>;
  /** what may be lost, see docs/decisions/0023-redis-in-front.md */
  readonly mayLose?: Excuses;
  /** false where this machine lacks a program; everywhere possible when undefined */
  readonly isPossible?: () => boolean;
  /** what has to be so when it begins */
  prepare?(installation: Installation): Promise<void>;
};

const KILL_EVERY_MS = 2000;
const SLOW_MS = 300;
const LOST_SHARE = 0.1;

/** How far a replica is behind at worst here, and what the move of the history may take on a busy machine. */
const LAG_MS = 1000;
const MOVED_WITHIN_MS = 500;

/** What was just acknowledged, and was not in PostgreSQL yet. */
const lastMoment: Excuses = {
  'one approval': { why: 'an approval that was not moved yet: the code is good once more', lastMs: MOVED_WITHIN_MS },
  'attempts bounded': { why: 'an attempt that was not moved yet', lastMs: MOVED_WITHIN_MS },
  'attempts kept': { why: 'an attempt that was not moved yet', lastMs: MOVED_WITHIN_MS },
  'guesses bounded': { why: 'a wrong guess that was not moved yet', lastMs: MOVED_WITHIN_MS },
  'nothing lost': { why: 'a verification that was not moved yet: people ask for a new code', lastMs: MOVED_WITHIN_MS },
  'messages settled': { why: 'a message that was not moved yet', lastMs: MOVED_WITHIN_MS },
};

const both: readonly StoreName[] = ['postgres', 'redis'];

export const nodeFaults: readonly NodeFault[] = [
  {
    id: 'nodes-killed',
    what: 'every two seconds a node is killed (`kill -9`) and started again',
    stores: both,
    async run({ nodes }, { killingMs }) {
      const begun = performance.now();
      const restarts: Promise<unknown>[] = [];
      for (let turn = 0; turn * KILL_EVERY_MS < killingMs; turn += 1) {
        const node = nodes[turn % nodes.length];
        // One that has not come up since it was killed last is waited for: else four nodes would be none.
        await restarts[turn - nodes.length];
        await delay(Math.max(0, begun + turn * KILL_EVERY_MS - performance.now()));
        await node?.stop('SIGKILL');
        restarts.push(node?.start() ?? Promise.resolve());
      }
      await Promise.all(restarts);
      return [];
    },
  },
  {
    id: 'postgres-restarted',
    what: 'PostgreSQL is stopped in order, and started',
    stores: both,
    run: ({ backend: { postgres } }, { faultMs }) => whileAway(postgres.primary.stop, postgres.primary.start, faultMs),
  },
  {
    id: 'postgres-killed',
    what: 'PostgreSQL is killed (`kill -9`), and started',
    stores: both,
    run: ({ backend: { postgres } }, { faultMs }) => whileAway(postgres.primary.kill, postgres.primary.start, faultMs),
  },
  {
    id: 'postgres-failover',
    what: 'PostgreSQL is killed, and its synchronous replica takes its place',
    stores: both,
    isPossible: canReplicate,
    prepare: ({ backend: { postgres } }) => postgres.addReplica(),
    async run({ backend: { postgres } }) {
      await postgres.failOver();
      return [];
    },
  },
  {
    id: 'postgres-cut',
    what: 'every tenth answer of PostgreSQL is lost with its connection',
    stores: both,
    run: ({ backend }, { faultMs }) =>
      whileBad(backend.postgres.proxy, { kind: 'lose-answers', share: LOST_SHARE }, faultMs),
  },
  {
    id: 'postgres-silent',
    what: 'nothing gets through to PostgreSQL, and nobody is told',
    stores: both,
    run: ({ backend }, { faultMs }) => whileBad(backend.postgres.proxy, { kind: 'silent' }, faultMs),
  },
  {
    id: 'postgres-slow',
    what: 'each answer of PostgreSQL comes 300 ms late',
    stores: both,
    run: ({ backend }, { faultMs }) => whileBad(backend.postgres.proxy, { kind: 'slow', delayMs: SLOW_MS }, faultMs),
  },
  {
    id: 'clocks-off',
    what: 'the clock of one node is five minutes ahead, that of another as much behind',
    stores: both,
    clocksOffMs,
    run: (installation) => lookAtClocks(installation),
  },
  {
    id: 'redis-restarted',
    what: 'Redis is stopped in order, and started',
    stores: ['redis'],
    async run(installation, { faultMs }) {
      const { primary } = redisOf(installation);
      return whileAway(primary.stop, primary.start, faultMs);
    },
  },
  {
    id: 'redis-killed',
    what: 'Redis is killed (`kill -9`), and started',
    stores: ['redis'],
    async run(installation, { faultMs }) {
      const { primary } = redisOf(installation);
      return whileAway(primary.kill, primary.start, faultMs);
    },
  },
  {
    id: 'all-killed',
    what: 'Redis and PostgreSQL are killed (`kill -9`), and started',
    stores: ['redis'],
    async run(installation, { faultMs }) {
      const servers = [redisOf(installation).primary, installation.backend.postgres.primary];
      const kill = async () => void (await Promise.all(servers.map((server) => server.kill())));
      const start = async () => void (await Promise.all(servers.map((server) => server.start())));
      return whileAway(kill, start, faultMs);
    },
  },
  {
    id: 'redis-emptied',
    what: 'Redis is emptied (`FLUSHALL`)',
    stores: ['redis'],
    mayLose: {
      ...lastMoment,
      'limit exact': { why: 'limits of starts are in Redis alone: each window begins anew' },
      'one message': { why: 'answers to repeated requests are in Redis alone: a repeated request is a new one' },
    },
    async run(installation) {
      await onRedis(redisOf(installation).primary.url, (redis) => redis.flushall());
      return [];
    },
  },
  {
    id: 'redis-failover',
    what: 'Redis is killed, and its replica takes its place',
    stores: ['redis'],
    mayLose: withLastMoment(MOVED_WITHIN_MS),
    async run(installation) {
      await redisOf(installation).failOver();
      return [];
    },
  },
  {
    id: 'redis-failover-late',
    what: 'Redis is killed, and a replica takes its place that has not heard of the last second',
    stores: ['redis'],
    mayLose: withLastMoment(LAG_MS + MOVED_WITHIN_MS),
    async prepare(installation) {
      redisOf(installation).leaveReplicaBehind();
      await delay(LAG_MS);
    },
    async run(installation) {
      await redisOf(installation).failOver();
      return [];
    },
  },
  {
    id: 'redis-cut',
    what: 'every tenth answer of Redis is lost with its connection',
    stores: ['redis'],
    run: (installation, { faultMs }) =>
      whileBad(redisOf(installation).proxy, { kind: 'lose-answers', share: LOST_SHARE }, faultMs),
  },
  {
    id: 'redis-silent',
    what: 'nothing gets through to Redis, and nobody is told',
    stores: ['redis'],
    run: (installation, { faultMs }) => whileBad(redisOf(installation).proxy, { kind: 'silent' }, faultMs),
  },
  {
    id: 'redis-slow',
    what: 'each answer of Redis comes 300 ms late',
    stores: ['redis'],
    run: (installation, { faultMs }) =>
      whileBad(redisOf(installation).proxy, { kind: 'slow', delayMs: SLOW_MS }, faultMs),
  },
];

function withLastMoment(lastMs: number): Excuses {
  return {
    ...lastMoment,
    'limit exact': { why: 'a start that the replica had not heard of is not counted', lastMs },
    'one message': { why: 'a key that the replica had not heard of is a new one', lastMs },
  };
}

async function whileAway(end: () => Promise<void>, start: () => Promise<void>, ms: number): Promise<readonly Broken[]> {
  await end();
  await delay(ms);
  await start();
  return [];
}

async function whileBad(proxy: TcpProxy, mode: TcpProxy['mode'], ms: number): Promise<readonly Broken[]> {
  proxy.mode = mode;
  await delay(ms);
  proxy.mode = { kind: 'pass' };
  return [];
}

function redisOf({ backend }: Installation): RedisSide {
  if (backend.redis === undefined) throw new Error('this store has no Redis');
  return backend.redis;
}
