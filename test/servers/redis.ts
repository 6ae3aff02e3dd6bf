import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { freePort, makeServerDirectory } from './machine.ts';
import { findRedis, type RedisProgram, redisMissing } from './redis-programs.ts';
import { ServerEndedError, ServerProcess } from './server-process.ts';

const START_PATIENCE_MS = 15_000;
const PORT_TRIES = 3;

export type RedisOptions = {
  readonly port?: number;
  /** as on the command line, e.g. `['--maxmemory', '10mb']`; they come after ours, so they win */
  readonly args?: readonly string[];
  /** a directory that stays; one of its own, removed by `close`, when undefined */
  readonly directory?: string;
  /** as `findRedis` finds it when undefined */
  readonly program?: RedisProgram;
};

export type RedisServer = {
  readonly url: string;
  readonly port: number;
  /** e.g. `Redis 7.0` */
  readonly version: string;
  readonly directory: string;
  readonly pid: number;
  /** the last of its log */
  readonly log: string;
  /** In order: what it has is on the disk. */
  stop(): Promise<void>;
  /** Again on the same data and port. */
  start(): Promise<void>;
  /** `kill -9` */
  kill(): Promise<void>;
  /** Stops it, and removes its data unless the directory was given. */
  close(): Promise<void>;
};

/**
 * A Redis of one's own, on a free port of 127.0.0.1. It keeps a log of what it is told (`appendonly`), so it has
 * everything again after a restart, unless `args` say otherwise.
 */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const program = options.program ?? redisProgram();
  const made = options.directory === undefined ? makeServerDirectory('redis', undefined) : undefined;
  const directory = options.directory ?? made?.path ?? '';
  let port = options.port ?? (await freePort());
  const url = () => `redis://127.0.0.1:${port}`;
  let running: ServerProcess;

  async function run(): Promise<void> {
    const place = ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory];
    running = new ServerProcess({
      program: program.path,
      args: [...place, ...baseArgs, ...(options.args ?? [])],
      cwd: directory,
      account: undefined,
      lastSignal: 'SIGKILL',
    });
    try {
      await running.untilAnswers(() => ask(url()), START_PATIENCE_MS);
    } catch (error) {
      running.signal('SIGKILL');
      throw error;
    }
  }

  try {
    for (let tried = 1; ; tried += 1) {
      try {
        await run();
        break;
      } catch (error) {
        const isPortTaken = error instanceof ServerEndedError && error.isPortTaken;
        if (!isPortTaken || options.port !== undefined || tried === PORT_TRIES) throw error;
        port = await freePort();
      }
    }
  } catch (error) {
    await made?.remove();
    throw error;
  }
  return {
    url: url(),
    port,
    version: `${program.name} ${program.version}`,
    directory,
    get pid() {
      return running.pid;
    },
    get log() {
      return running.log;
    },
    stop: () => running.end('SIGTERM'),
    start: run,
    kill: () => running.end('SIGKILL'),
    async close() {
      await running.end(made === undefined ? 'SIGTERM' : 'SIGKILL');
      await made?.remove();
    },
  };
}

// No pause before a replica is given the data: the tests have one replica, and nobody else to wait for.
const baseArgs = ['--save', '', '--appendonly', 'yes', '--repl-diskless-sync-delay', '0'];

function redisProgram(): RedisProgram {
  const program = findRedis();
  if (program === null) throw new Error(redisMissing);
  return program;
}

/** It answers, and has read what it left on the disk: until then it answers with LOADING. */
async function ask(url: string): Promise<void> {
  await onRedis(url, async (client) => {
    const answer = await client.call('PING').catch((error: Error) => error.message);
    // One that a test started with a password answers too.
    if (answer !== 'PONG' && !String(answer).startsWith('NOAUTH')) throw new Error(String(answer));
  });
}

/** One connection for as long as the work takes; no second try. */
export async function onRedis<Result>(url: string, work: (client: Redis) => Promise<Result>): Promise<Result> {
  const client = new Redis(url, {
    lazyConnect: true,
    retryStrategy: () => null,
    enableReadyCheck: false,
    connectTimeout: 5_000,
    commandTimeout: 15_000,
    maxRetriesPerRequest: 0,
  });
  client.on('error', () => {});
  try {
    await client.connect();
    return await work(client);
  } finally {
    client.disconnect();
  }
}

export type RedisReplica = RedisServer & {
  /** From now on a primary of its own. */
  promote(): Promise<void>;
};

/** A Redis that follows another one, and has what that one has when this returns. */
export async function startReplica(of: RedisServer, options: RedisOptions = {}): Promise<RedisReplica> {
  const args = ['--replicaof', '127.0.0.1', String(of.port), ...(options.args ?? [])];
  const server = await startRedis({ ...options, args });
  try {
    await untilInfo(server.url, 'replication', /master_link_status:up/);
  } catch (error) {
    await server.close();
    throw error;
  }
  // Not spread: `pid` and `log` are looked up each time.
  return Object.assign(Object.create(server) as RedisServer, {
    promote: () =>
      onRedis(server.url, async (client) => {
        await client.call('REPLICAOF', 'NO', 'ONE');
      }),
  });
}

async function untilInfo(url: string, section: string, wanted: RegExp): Promise<void> {
  const deadline = performance.now() + START_PATIENCE_MS;
  await onRedis(url, async (client) => {
    for (;;) {
      const info = String(await client.call('INFO', section));
      if (wanted.test(info)) return;
      if (performance.now() > deadline) throw new Error(`not ${wanted} after ${START_PATIENCE_MS} ms:\n${info}`);
      await delay(20);
    }
  });
}
