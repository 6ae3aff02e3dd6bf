import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { type Account, freePort, makeServerDirectory, unprivilegedAccount } from './machine.ts';
import { findPostgres, type PostgresPrograms, postgresMissing } from './postgres-programs.ts';
import { ServerEndedError, ServerProcess } from './server-process.ts';

const START_PATIENCE_MS = 30_000;
const PORT_TRIES = 3;

/**
 * Everybody is trusted, being of this machine, but members of `with_password`: these are asked for theirs.
 * See `addPasswordRole`.
 */
const accessRules = `host all +with_password 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
`;

export type PostgresSettings = Readonly<Record<string, string | number>>;

/** For data that nobody misses after a crash: several times as fast. */
export const forgetful: PostgresSettings = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };

export type PostgresOptions = {
  /** an empty directory that stays; one of its own, removed by `close`, when undefined */
  readonly directory?: string;
  readonly port?: number;
  /** as in postgresql.conf */
  readonly settings?: PostgresSettings;
  /** PEM; the server then speaks TLS as well */
  readonly tls?: { readonly certificate: string; readonly key: string };
};

export type PostgresServer = {
  /** of the database `postgres`, as superuser */
  readonly url: string;
  readonly port: number;
  /** e.g. `15.18` */
  readonly version: string;
  /** where its programs are */
  readonly programs: string;
  /** its data */
  readonly directory: string;
  readonly pid: number;
  /** the last of its log */
  readonly log: string;
  /** `fast` (default) ends connections in order; `immediate` leaves a recovery to the next start */
  stop(mode?: 'fast' | 'immediate'): Promise<void>;
  /** Again on the same data and port. @param settings besides the first ones */
  start(settings?: PostgresSettings): Promise<void>;
  /** `kill -9` */
  kill(): Promise<void>;
  /** Stops it, and removes its data unless the directory was given. */
  close(): Promise<void>;
};

/** A PostgreSQL of one's own, on a free port of 127.0.0.1. As root it runs as another user. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const account = unprivilegedAccount();
  const made = options.directory === undefined ? makeServerDirectory('postgres', account) : undefined;
  const directory = options.directory ?? made?.path ?? '';
  try {
    const programs = postgresPrograms();
    if (options.directory !== undefined && account !== undefined) chownSync(directory, account.uid, account.gid);
    await initialise(programs, directory, account);
    writeFileSync(join(directory, 'pg_hba.conf'), accessRules);
    return await serve(directory, programs, options, account, made?.remove);
  } catch (error) {
    await made?.remove();
    throw error;
  }
}

export function postgresPrograms(): PostgresPrograms {
  const programs = findPostgres();
  if (programs === null) throw new Error(postgresMissing);
  return programs;
}

async function initialise({ directory: bin }: PostgresPrograms, directory: string, account: Account | undefined) {
  const args = ['--pgdata', directory, '--username', 'postgres', '--encoding', 'UTF8', '--locale', 'C'];
  await runToEnd(
    join(bin, 'initdb'),
    [...args, '--auth', 'trust', '--no-sync', '--no-instructions'],
    directory,
    account,
  );
}

/** @throws with what it said, when it does not end well */
export async function runToEnd(program: string, args: readonly string[], cwd: string, account: Account | undefined) {
  const child = spawn(program, args, {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
    env: { PATH: process.env['PATH'], HOME: cwd, LC_ALL: 'C', TZ: 'UTC' },
    ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${program} ended with ${code}:\n${said}`);
}

/** Runs the server of a directory that is initialised. */
export async function serve(
  directory: string,
  programs: PostgresPrograms,
  options: PostgresOptions,
  account: Account | undefined,
  remove: (() => Promise<void>) | undefined,
): Promise<PostgresServer> {
  const settings = { ...baseSettings, ...options.settings, ...tlsSettings(directory, options.tls, account) };
  let port = options.port ?? (await freePort());
  const url = () => `postgres://postgres@127.0.0.1:${port}/postgres`;
  let running: ServerProcess;

  async function run(further: PostgresSettings): Promise<void> {
    const given = Object.entries({ ...settings, ...further, port });
    running = new ServerProcess({
      program: join(programs.directory, 'postgres'),
      args: ['-D', directory, ...given.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      cwd: directory,
      account,
      lastSignal: 'SIGQUIT',
    });
    try {
      await running.untilAnswers(() => ask(url()), START_PATIENCE_MS);
    } catch (error) {
      running.signal('SIGKILL');
      throw error;
    }
  }

  /** After `kill -9` the old server's children hold its shared memory for a moment still. */
  async function runOnceFree(further: PostgresSettings): Promise<void> {
    const deadline = performance.now() + START_PATIENCE_MS;
    for (;;) {
      try {
        return await run(further);
      } catch (error) {
        const isHeld = error instanceof ServerEndedError && /shared memory block|lock file/.test(error.message);
        if (!isHeld || performance.now() > deadline) throw error;
      }
    }
  }

  for (let tried = 1; ; tried += 1) {
    try {
      await run({});
      break;
    } catch (error) {
      const isPortTaken = error instanceof ServerEndedError && error.isPortTaken;
      if (!isPortTaken || options.port !== undefined || tried === PORT_TRIES) throw error;
      port = await freePort();
    }
  }
  return {
    url: url(),
    port,
    version: programs.version,
    programs: programs.directory,
    directory,
    get pid() {
      return running.pid;
    },
    get log() {
      return running.log;
    },
    stop: (mode = 'fast') => running.end(mode === 'fast' ? 'SIGINT' : 'SIGQUIT'),
    start: (further = {}) => runOnceFree(further),
    kill: () => running.end('SIGKILL'),
    async close() {
      // Where the data goes anyway there is nothing to write down first.
      await running.end(remove === undefined ? 'SIGINT' : 'SIGQUIT');
      await remove?.();
    },
  };
}

const baseSettings: PostgresSettings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: 300,
  dynamic_shared_memory_type: 'posix',
  password_encryption: 'scram-sha-256',
};

function tlsSettings(directory: string, tls: PostgresOptions['tls'], account: Account | undefined): PostgresSettings {
  if (tls === undefined) return {};
  for (const [name, text] of [
    ['server.crt', tls.certificate],
    ['server.key', tls.key],
  ] as const) {
    writeFileSync(join(directory, name), text, { mode: 0o600 });
    if (account !== undefined) chownSync(join(directory, name), account.uid, account.gid);
  }
  return { ssl: 'on' };
}

async function ask(url: string): Promise<void> {
  await onDatabase(url, async (client) => {
    await client.query('SELECT 1');
  });
}

/** One connection for as long as the work takes. */
export async function onDatabase<Result>(url: string, work: (client: Client) => Promise<Result>): Promise<Result> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  // Whoever stops the server cuts this connection too; the query that was under way says so.
  client.on('error', () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/**
 * A role that is asked for its password; all others are trusted.
 * @returns the given URL with the role's name and password in it
 */
export async function addPasswordRole(url: string, name: string, password: string): Promise<string> {
  await onDatabase(url, async (client) => {
    const groups = await client.query("SELECT 1 FROM pg_roles WHERE rolname = 'with_password'");
    if (groups.rowCount === 0) await client.query('CREATE ROLE with_password');
    const [role, secret] = [client.escapeIdentifier(name), client.escapeLiteral(password)];
    await client.query(`CREATE ROLE ${role} LOGIN PASSWORD ${secret} IN ROLE with_password`);
  });
  const withRole = new URL(url);
  withRole.username = encodeURIComponent(name);
  withRole.password = encodeURIComponent(password);
  return withRole.href;
}
