import { installFromDebian } from '../servers/debian.ts';
import { findPrograms } from '../servers/machine.ts';
import { findOrInstallPostgres, postgresMissing } from '../servers/postgres-programs.ts';
import { findOrInstallRedis, redisMissing } from '../servers/redis-programs.ts';

const nginxMissing =
  'No nginx found. Install it (Debian, Ubuntu: `apt-get install nginx`; macOS: `brew install nginx`).';

/** PostgreSQL and Redis, for whoever starts some of their own. @returns null where one is missing, which was said */
export function findServers(): 'found' | null {
  const missing = [
    ...(findOrInstallPostgres() === null ? [postgresMissing] : []),
    ...(findOrInstallRedis() === null ? [redisMissing] : []),
  ];
  return report(missing) ? 'found' : null;
}

/** The proxy's program. @returns null where it is missing, which was said */
export function findNginx(): string | null {
  const find = () => findPrograms(['nginx'], ['/usr/sbin', '/usr/local/sbin', '/opt/homebrew/bin'])[0] ?? null;
  const found = find() ?? (installFromDebian('nginx', ['nginx'], 'nginx') ? find() : null);
  return report(found === null ? [nginxMissing] : []) ? found : null;
}

/** In CI a skipped test would pass for one that ran. */
function report(missing: readonly string[]): boolean {
  if (missing.length > 0 && process.env['CI']) throw new Error(missing.join('\n'));
  for (const line of missing) console.error(`${line} Until then the tests that need it are skipped.`);
  return missing.length === 0;
}
