import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compose } from '../../src/compose.ts';
import type { Environment } from '../../src/config/config.ts';
import { resolveConfig } from '../../src/config/load.ts';
import { providerDefinitions } from '../../src/providers/index.ts';
import { type HttpClient, httpClient } from './http-client.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const START_PATIENCE_MS = 15_000;

export type ServerProcess = {
  readonly child: ChildProcess;
  readonly call: HttpClient;
  readonly origin: string;
  /** what came on stdout and stderr so far */
  output(): string;
  /** Sends a signal and waits for the end. @returns the exit code, null when the signal ended it */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
};

export async function makeDataDir(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'countersign-process-'));
}

export async function removeDataDir(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
}

/** The environment of a process: nothing of this one's but what Node.js itself needs. */
function environmentOf(environment: Environment): NodeJS.ProcessEnv {
  const { PATH, HOME, TMPDIR } = process.env;
  return { PATH, HOME, TMPDIR, HOST: '127.0.0.1', PORT: '0', ...environment };
}

/** Runs `countersign serve` in a directory of its own until it ends by itself. */
export async function serveUntilEnd(directory: string, environment: Environment) {
  const child = spawn(process.execPath, [main, 'serve'], { cwd: directory, env: environmentOf(environment) });
  const { output, ended } = watch(child);
  return { exitCode: await ended, output: output() };
}

/** Starts `countersign serve` as an operator would, and waits until it listens. */
export async function serveInProcess(directory: string, environment: Environment): Promise<ServerProcess> {
  const child = spawn(process.execPath, [main, 'serve'], { cwd: directory, env: environmentOf(environment) });
  const { output, ended, said } = watch(child);
  const origin = await said(/http:\/\/(?:127\.0\.0\.1|localhost):\d+/);
  const call = httpClient(origin.replace('localhost', '127.0.0.1'));
  return {
    child,
    call,
    origin,
    output,
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      const code = await ended;
      call.close();
      return code;
    },
  };
}

function watch(child: ChildProcess) {
  let heard = '';
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      heard += chunk;
      for (const look of waiting) look();
    });
  }
  const ended = once(child, 'close').then(([code]) => code as number | null);
  const said = (pattern: RegExp) =>
    new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error(`the server did not say ${pattern}:\n${heard}`));
      }, START_PATIENCE_MS);
      const look = () => {
        const found = pattern.exec(heard)?.[0];
        if (found === undefined) return;
        clearTimeout(timer);
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
      ended.then((code) => {
        clearTimeout(timer);
        reject(new Error(`the server ended with ${code}:\n${heard}`));
      }, reject);
    });
  return { output: () => heard, ended, said };
}

/** An API key for a data directory whose server does not run yet. */
export async function makeKey(dataDir: string, secret: string): Promise<string> {
  const config = resolveConfig({ secret, dataDir }, {}, providerDefinitions, dataDir);
  const { countersign } = await compose(config);
  const { key } = await countersign.keys.create({ app: 'default', name: 'test' });
  await countersign.close();
  return key;
}

/** Every byte of every file below a directory, as text. */
export async function contentsOf(directory: string): Promise<string> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  return (await Promise.all(files.map((file) => readFile(file, 'latin1')))).join('\n');
}

/** A port that was free a moment ago, for a server whose address has to be known before it starts. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
