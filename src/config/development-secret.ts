import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CountersignError } from '../domain/problem.ts';

/** The installation's secret while nobody has set one: made once and kept beside the development database. */
export function developmentSecret(dataDir: string): string {
  const file = join(dataDir, 'secret');
  try {
    mkdirSync(dataDir, { recursive: true });
    // Written aside and then named, which happens at once and only for the first: of two processes that start together
    // both read the same secret, and the whole of it.
    const draft = `${file}.${process.pid}`;
    try {
      if (!existsSync(file)) {
        writeFileSync(draft, randomBytes(32).toString('hex'), { mode: 0o600 });
        linkSync(draft, file);
      }
    } finally {
      rmSync(draft, { force: true });
    }
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
