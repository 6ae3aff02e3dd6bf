import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { endWithUs } from '../test/servers/guard.ts';
import { commandFor, type Pinning } from './pinning.ts';
import type { StoreServers } from './store-servers.ts';
import { makeTemporaryDirectory } from './temporary-directory.ts';

export type RunningServer = {
  readonly pid: number;
  readonly port: number;
  /** From the spawn to the first 200 of /readyz. */
  readonly readyMs: number;
  readonly stop: () => Promise<void>;
};

/**
 * A store of its own, a data directory, a secret and a key. Servers on it can be started, several at once where the
 * store takes several, stopped and started again.
 */
export type Installation = {
  readonly directory: string;
  readonly codesFile: string;
  readonly key: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Place in the pool of numbers that the next run begins at. */
  nextNumber: number;
  readonly remove: () => Promise<void>;
};

const here = import.meta.dirname;
export const defaultEntry = resolve(here, '../src/cli/main.ts');
const readyDeadlineMs = 30_000;
const stopDeadlineMs = 15_000;
const pollMs = 5;

const children = new Map<ChildProcess, (signal: NodeJS.Signals) => void>();

/** Whatever way the bench ends, nothing of it stays: `kill -9` is seen to by a guard beside each server and directory. */
process.once('exit', () => {
  for (const end of children.values()) end('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130));

type InstallationOptions = {
  readonly entry: string;
  readonly under: string | undefined;
  readonly store: StoreServers;
};

export async function createInstallation(options: InstallationOptions): Promise<Installation> {
  if (options.under !== undefined) mkdirSync(options.under, { recursive: true });
  const { path: directory, ...ofDirectory } = makeTemporaryDirectory(options.under ?? tmpdir(), 'data');
  // In memory where there is such a place: the disk is for the store alone.
  const memory = makeTemporaryDirectory(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'codes');
  const codesFile = join(memory.path, 'codes');
  writeFileSync(codesFile, '');
  const store = await options.store.fresh();
  const environment = {
    // Nothing else of the caller's environment: what it says of databases or providers would change what is measured.
    ...store.environment,
    PATH: process.env['PATH'] ?? '',
    HOME: process.env['HOME'] ?? '',
    HOST: '127.0.0.1',
    DATA_DIR: join(directory, 'data'),
    COUNTERSIGN_CONFIG: join(here, 'countersign.config.ts'),
    COUNTERSIGN_MODE: 'production',
    COUNTERSIGN_SECRET: randomBytes(32).toString('hex'),
    BENCH_CODES: codesFile,
  };
  mkdirSync(environment.DATA_DIR);
  const keys = spawnSync(process.execPath, [options.entry, 'keys', 'create', '--app', 'bench', '--json'], {
    // Not the repository: a .env file there is the developer's.
    cwd: directory,
    env: environment,
    encoding: 'utf8',
    timeout: readyDeadlineMs,
  });
  if (keys.status !== 0) {
    throw new Error(`keys create ended with ${keys.status ?? keys.error?.message}:\n${keys.stderr}${keys.stdout}`);
  }
  const { key } = JSON.parse(keys.stdout) as { key: string };
  const remove = async (): Promise<void> => {
    await store.remove();
    await Promise.all([ofDirectory.remove(), memory.remove()]);
  };
  return { directory, codesFile, key, environment, nextNumber: 0, remove };
}

export function startServer(installation: Installation, entry: string, pinning: Pinning): Promise<RunningServer> {
  const { directory, environment } = installation;
  const command = commandFor(pinning, 'server', [entry, 'serve']);
  return start({ command, cwd: directory, logs: directory, environment });
}

export function startFloor(pinning: Pinning): Promise<RunningServer> {
  const { path } = makeTemporaryDirectory(tmpdir(), 'floor');
  const command = commandFor(pinning, 'server', [join(here, 'floor-server.ts')]);
  return start({ command, cwd: path, logs: path, environment: {} });
}

/** `npm start` as a person types it. */
export function startByNpm({ directory, environment }: Installation): Promise<RunningServer> {
  return start({ command: ['npm', ['start']], cwd: resolve(here, '..'), logs: directory, environment, group: true });
}

type Start = {
  readonly command: readonly [string, readonly string[]];
  readonly cwd: string;
  readonly logs: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Ends every process that came of it: between npm and the server there are a shell and a script. */
  readonly group?: boolean;
};

async function start({ command: [file, args], cwd, logs, environment, group = false }: Start): Promise<RunningServer> {
  const port = await freePort();
  const logFile = join(logs, `server-${port}.log`);
  const log = openSync(logFile, 'a');
  const from = performance.now();
  const env = { ...environment, PORT: String(port) };
  const child = spawn(file, args, { cwd, env, stdio: ['ignore', log, log], detached: group });
  closeSync(log);
  const { pid } = child;
  if (pid === undefined) {
    const [error] = (await once(child, 'error')) as [Error];
    throw error;
  }
  const end = (signal: NodeJS.Signals): void => {
    try {
      process.kill(group ? -pid : pid, signal);
    } catch {
      // It has ended already.
    }
  };
  children.set(child, end);
  const release = endWithUs(pid, 'SIGKILL');
  child.once('exit', () => {
    children.delete(child);
    release();
  });
  await waitUntilReady(child, port, logFile);
  return { pid, port, readyMs: performance.now() - from, stop: () => stop(child, end) };
}

async function waitUntilReady(child: ChildProcess, port: number, logFile: string): Promise<void> {
  const deadline = performance.now() + readyDeadlineMs;
  for (;;) {
    const status = await fetch(`http://127.0.0.1:${port}/readyz`).then(
      (answer) => answer.status,
      () => 0,
    );
    if (status === 200) return;
    const hasEnded = child.exitCode !== null || child.signalCode !== null;
    if (hasEnded || performance.now() > deadline) {
      const what = hasEnded ? `ended with ${child.exitCode ?? child.signalCode}` : `was not ready in time (${status})`;
      throw new Error(`the server ${what}; the end of its log:\n${readFileSync(logFile, 'utf8').slice(-3000)}`);
    }
    await wait(pollMs);
  }
}

async function stop(child: ChildProcess, end: (signal: NodeJS.Signals) => void): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) {
    throw new Error(`the server ended by itself with ${child.exitCode ?? child.signalCode}`);
  }
  const exited = once(child, 'exit');
  end('SIGTERM');
  const patience = new AbortController();
  const late = wait(stopDeadlineMs, 'late', { signal: patience.signal }).catch(() => 'exited');
  if ((await Promise.race([exited, late])) === 'late') {
    console.error(`the server did not end within ${stopDeadlineMs / 1000} s of SIGTERM: killed`);
    end('SIGKILL');
    await exited;
  }
  patience.abort();
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
