import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CountersignError } from '../domain/problem.ts';

/** The installation's secret while nobody has set one: made once and kept beside the development database. */
export function developmentSecret(dataDir: string): string {
  const file = join(dataDir, 'secret');
  try {
    mkdirSync(dataDir, { recursive: true });
    // `wx`: of two processes that start together one makes it, and both read the same.
    writeFileSync(file, randomBytes(32).toString('hex'), { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new CountersignError(
        'store-unavailable',
        `The data directory ${dataDir} cannot be written (${(error as Error).message}). Set DATA_DIR to one that can, or give this user the right to write there.`,
        { cause: error },
      );
    }
  }
  return readFileSync(file, 'utf8').trim();
}
