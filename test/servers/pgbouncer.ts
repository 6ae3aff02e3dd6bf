import { chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installFromDebian } from './debian.ts';
import { findPrograms, freePort, makeServerDirectory, unprivilegedAccount } from './machine.ts';
import { onDatabase } from './postgres.ts';
import { ServerProcess } from './server-process.ts';

const START_PATIENCE_MS = 15_000;

export const pgbouncerMissing =
  'No PgBouncer found. Install it (Debian, Ubuntu: `apt-get install pgbouncer`; macOS: `brew install pgbouncer`).';

/** Where its program is. */
export function findPgbouncer(): string | null {
  return findPrograms(['pgbouncer'], ['/usr/sbin', '/opt/homebrew/bin'])[0] ?? null;
}

export function findOrInstallPgbouncer(): string | null {
  return findPgbouncer() ?? (installFromDebian('PgBouncer', ['pgbouncer'], 'pgbouncer') ? findPgbouncer() : null);
}

export type Pgbouncer = {
  readonly port: number;
  /** The same database through PgBouncer. */
  url(of: string): string;
  stop(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
};

/**
 * PgBouncer in transaction mode in front of a PostgreSQL, with few connections behind: what a caller leaves in its
 * session is sure to meet another caller.
 * @param of a URL of the server; every database of it can be had
 * @param settings as in the section `pgbouncer` of its file
 */
export async function startPgbouncer(
  of: string,
  settings: Readonly<Record<string, string | number>> = {},
): Promise<Pgbouncer> {
  const program = findPgbouncer();
  if (program === null) throw new Error(pgbouncerMissing);
  const account = unprivilegedAccount();
  const directory = makeServerDirectory('pgbouncer', account);
  const port = await freePort();
  const { hostname, port: behind, username } = new URL(of);
  const lines = Object.entries({ ...baseSettings, listen_port: port, ...settings });
  const file = join(directory.path, 'pgbouncer.ini');
  const databases = `[databases]\n* = host=${hostname} port=${behind || 5432} user=${decodeURIComponent(username)}\n`;
  writeFileSync(file, `${databases}[pgbouncer]\n${lines.map(([name, value]) => `${name} = ${value}\n`).join('')}`);
  if (account !== undefined) chownSync(file, account.uid, account.gid);
  const throughIt = (given: string) => {
    const url = new URL(given);
    url.hostname = '127.0.0.1';
    url.port = String(port);
    return url.href;
  };
  let running: ServerProcess;
  async function start(): Promise<void> {
    const command = { program: program ?? '', args: [file], cwd: directory.path, account };
    running = new ServerProcess({ ...command, lastSignal: 'SIGTERM' });
    await running.untilAnswers(
      () => onDatabase(throughIt(of), async (client) => void (await client.query('SELECT 1'))),
      START_PATIENCE_MS,
    );
  }
  const close = async () => {
    await running.end('SIGTERM');
    await directory.remove();
  };
  try {
    await start();
  } catch (error) {
    await close();
    throw error;
  }
  return { port, url: throughIt, stop: () => running.end('SIGTERM'), start, close };
}

const baseSettings = {
  listen_addr: '127.0.0.1',
  unix_socket_dir: '',
  pool_mode: 'transaction',
  // Whoever comes is taken for the user of the line above: passwords are not what is tested here.
  auth_type: 'any',
  default_pool_size: 4,
  max_client_conn: 500,
  query_wait_timeout: 10,
};
