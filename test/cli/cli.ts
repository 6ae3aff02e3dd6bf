import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { twilioSimulator } from '../../src/simulators/twilio.ts';

const entry = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const runner = fileURLToPath(new URL('../../scripts/run.mjs', import.meta.url));
const STARTS_WITHIN_MS = 15_000;

export const SECRET = '7f1c0d9a5be2438896adc4e1f02b7753aa90c1';

export type Environment = Readonly<Record<string, string>>;
export type Run = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

export type Server = {
  readonly url: string;
  stdout(): string;
  stderr(): string;
  signal(signal: NodeJS.Signals): void;
  /** @returns the exit code */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
};

/** A directory, a data directory and an environment of one's own, and the command line in it. */
export type Installation = AsyncDisposable & {
  readonly directory: string;
  readonly environment: Environment;
  run(args: readonly string[], more?: Environment): Promise<Run>;
  /** Runs a command with `--json` and reads what it prints. */
  json(args: readonly string[], more?: Environment): Promise<Run & { readonly body: Json }>;
  start(args: readonly string[], more?: Environment): ChildProcess;
  /** `serve`, once it listens. */
  serve(more?: Environment): Promise<Server>;
  /** `npm start`, without npm. */
  serveByRunner(more?: Environment): Promise<Server>;
};

// biome-ignore lint/suspicious/noExplicitAny: what a test looks into is what it then says about it
type Json = any;

export async function makeInstallation(settings: Environment = {}): Promise<Installation> {
  const directory = mkdtempSync(join(tmpdir(), 'countersign-cli-'));
  // Not the repository: a .env file there is the developer's.
  const workingDirectory = join(directory, 'work');
  mkdirSync(workingDirectory);
  const environment: Environment = {
    PATH: process.env['PATH'] ?? '',
    HOME: process.env['HOME'] ?? '',
    DATA_DIR: join(directory, 'data'),
    PORT: String(await freePort()),
    ...settings,
  };
  const children = new Set<ChildProcess>();

  function spawnNode(file: string, args: readonly string[], more: Environment): ChildProcess {
    const child = spawn(process.execPath, [file, ...args], {
      cwd: workingDirectory,
      env: { ...environment, ...more },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.add(child);
    child.once('close', () => children.delete(child));
    return child;
  }

  async function run(args: readonly string[], more: Environment = {}): Promise<Run> {
    const child = spawnNode(entry, args, more);
    const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, stdout: stdout(), stderr: stderr() };
  }

  async function listening(child: ChildProcess): Promise<Server> {
    const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
    const ended = once(child, 'close') as Promise<[number | null]>;
    const url = await new Promise<string>((resolve, reject) => {
      const fail = (why: string) => reject(new Error(`${why}:\n${stdout()}${stderr()}`));
      const timer = setTimeout(() => fail('the server did not start in time'), STARTS_WITHIN_MS);
      const look = () => {
        // The whole line, in either form of the log.
        const address = /"address":"([^"]+)".*\n/.exec(stdout())?.[1];
        if (address === undefined) return;
        clearTimeout(timer);
        resolve(address);
      };
      child.stdout?.on('data', look);
      child.once('close', (code) => fail(`the server ended with ${code}`));
    });
    return {
      url,
      stdout,
      stderr,
      signal: (signal) => void child.kill(signal),
      async stop(signal = 'SIGTERM') {
        child.kill(signal);
        const [code] = await ended;
        return code;
      },
    };
  }

  return {
    directory,
    environment,
    run,
    async json(args, more) {
      const result = await run([...args, '--json'], more);
      return { ...result, body: JSON.parse(result.stdout) as Json };
    },
    start: (args, more = {}) => spawnNode(entry, args, more),
    serve: (more = {}) => listening(spawnNode(entry, ['serve'], more)),
    serveByRunner: (more = {}) => listening(spawnNode(runner, ['serve'], more)),
    async [Symbol.asyncDispose]() {
      await Promise.all(
        [...children].map(async (child) => {
          const ended = once(child, 'close');
          // Not KILL: the runner could not pass it on, and its child would stay.
          child.kill('SIGTERM');
          await ended;
        }),
      );
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** What a stream has said so far. */
export function collect(stream: NodeJS.ReadableStream | null): () => string {
  let text = '';
  stream?.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  return () => text;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  server.close();
  await once(server, 'close');
  return port;
}

/** What an operator with a Twilio account sets; the simulator stands for Twilio. */
export function twilioEnvironment({ url }: Simulator): Environment {
  return twilioSimulator.environment(url);
}

/** Puts a configuration into the working directory. */
export function configure({ directory }: Installation, config: object): void {
  writeFileSync(join(directory, 'work', 'countersign.config.json'), JSON.stringify(config));
}

export function productionEnvironment(simulator: Simulator): Environment {
  return {
    ...twilioEnvironment(simulator),
    COUNTERSIGN_MODE: 'production',
    COUNTERSIGN_SECRET: SECRET,
    HOST: '127.0.0.1',
    PUBLIC_URL: 'https://verify.example.com',
  };
}

export function codeIn(text: string | undefined): string {
  return /\b\d{6}\b/.exec(text ?? '')?.[0] ?? '';
}

export function otherCode(code: string): string {
  return code === '000000' ? '000001' : '000000';
}

/** Looks again and again at something that another process changes in its own time. */
export async function eventually<Value>(
  look: () => Promise<Value | undefined> | Value | undefined,
  withinMs = 10_000,
): Promise<Value> {
  const endsAt = performance.now() + withinMs;
  for (;;) {
    const value = await look();
    if (value !== undefined) return value;
    if (performance.now() > endsAt) throw new Error(`not seen within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
