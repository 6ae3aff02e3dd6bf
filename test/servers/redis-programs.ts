import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installFromDebian, unpackFromBackports } from './debian.ts';
import { findPrograms, versionOf } from './machine.ts';

/** Functions that the store's scripts and these tests use are there from Redis 7 on; Valkey began at 7.2. */
const OLDEST = 7;
const version = /v=(\d[\d.]*)/;
/** Valkey that is unpacked, not installed. */
const unpacked = fileURLToPath(new URL('../../node_modules/.cache/countersign-valkey', import.meta.url));
const directories = ['/usr/sbin', '/usr/local/sbin', '/opt/homebrew/bin', join(unpacked, 'usr/bin')];

export const redisMissing =
  `No Redis or Valkey (${OLDEST} or newer) found. Install it (Debian, Ubuntu: \`apt-get install redis-server\`; macOS: ` +
  '`brew install redis`), or set REDIS_SERVER to its program or REDIS_URL to a server.';

export type RedisProgram = { readonly path: string; readonly name: 'Redis' | 'Valkey'; readonly version: string };

/** `redis-server` or `valkey-server`: REDIS_SERVER, else the first of this machine that is new enough. */
export function findRedis(): RedisProgram | null {
  const given = process.env['REDIS_SERVER'];
  if (given) {
    const program = programAt(given);
    if (program === undefined)
      throw new Error(`REDIS_SERVER is '${given}', and that is no Redis of ${OLDEST} or newer.`);
    return program;
  }
  return first(['redis-server', 'valkey-server']);
}

export const valkeyMissing =
  'No Valkey found. Install it (Debian 13, Ubuntu 25.04: `apt-get install valkey-server`; macOS: `brew install valkey`).';

/** Valkey, where there is one besides or instead of Redis. */
export function findValkey(): RedisProgram | null {
  return first(['valkey-server']);
}

export function findOrInstallRedis(): RedisProgram | null {
  return findRedis() ?? (installFromDebian('Redis', ['redis-server'], 'redis-server') ? findRedis() : null);
}

export function findOrInstallValkey(): RedisProgram | null {
  const found = findValkey();
  if (found !== null) return found;
  const packages = ['valkey-server', 'valkey-tools'];
  // Debian 12 has it in its backports alone. What it depends on came with Redis.
  const isThere =
    unpackFromBackports('Valkey', packages, unpacked) || installFromDebian('Valkey', packages, 'valkey-server');
  return isThere ? findValkey() : null;
}

function first(names: readonly string[]): RedisProgram | null {
  for (const path of findPrograms(names, directories)) {
    const program = programAt(path);
    if (program !== undefined) return program;
  }
  return null;
}

function programAt(path: string): RedisProgram | undefined {
  const found = versionOf(path, version, OLDEST);
  if (found === undefined) return undefined;
  return { path, name: path.endsWith('valkey-server') ? 'Valkey' : 'Redis', version: found };
}
