import { spawnSync } from 'node:child_process';
import { accessSync, chownSync, constants, mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { removeWithUs } from './guard.ts';

/** Whether a file is there and may be run. */
export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Programs of those names on the PATH and in further directories, in that order. */
export function findPrograms(names: readonly string[], directories: readonly string[] = []): string[] {
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((directory) => directory !== '');
  return names
    .flatMap((name) => [...path, ...directories].map((directory) => join(directory, name)))
    .filter(isExecutable);
}

/**
 * What a program says of its version, e.g. `15.18`; nothing when it is older, or cannot be run.
 * @param pattern its first group is the version
 */
export function versionOf(program: string, pattern: RegExp, oldest: number): string | undefined {
  const run = spawnSync(program, ['--version'], { encoding: 'utf8', timeout: 10_000 });
  const version = pattern.exec(run.stdout ?? '')?.[1];
  return version !== undefined && Number.parseInt(version, 10) >= oldest ? version : undefined;
}

export type Account = { readonly name: string; readonly uid: number; readonly gid: number };

/**
 * Whom a server runs as that refuses to be root: undefined, that is ourselves, unless we are.
 * It has to be a user that the system knows: initdb asks for its name.
 */
export function unprivilegedAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
  const accounts = lines.map((line) => line.split(':')).filter(([, , uid]) => Number(uid) > 0);
  for (const wanted of ['postgres', 'nobody']) {
    const [name, , uid, gid] = accounts.find(([given]) => given === wanted) ?? [];
    if (name !== undefined) return { name, uid: Number(uid), gid: Number(gid) };
  }
  throw new Error('PostgreSQL does not run as root, and there is no other user: neither postgres nor nobody.');
}

export type ServerDirectory = { readonly path: string; remove(): Promise<void> };

/** An empty directory for a server's data, which is gone at the latest when this process is. */
export function makeServerDirectory(name: string, account: Account | undefined): ServerDirectory {
  const path = mkdtempSync(join(tmpdir(), `countersign-${name}-`));
  const release = removeWithUs(path);
  if (account !== undefined) chownSync(path, account.uid, account.gid);
  return {
    path,
    async remove() {
      // A process of the server that outlives it by a moment may still write.
      await rm(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
      release();
    },
  };
}

/** A port of 127.0.0.1 that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
