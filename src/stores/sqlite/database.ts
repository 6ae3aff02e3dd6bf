import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { CountersignError } from '../../domain/problem.ts';

/** How long opening, and so a migration, waits for another process that is at it. */
const OPEN_PATIENCE_MS = 5000;
/** How long a step may hold this thread for another process's commit; GroupCommit tries again later. */
const STEP_PATIENCE_MS = 5;
const OPEN_RETRY_MS = 10;
const SQLITE_BUSY = 5;
const CACHE_KIB = 32_768;

const migrationsDirectory = join(import.meta.dirname, 'migrations');

/** Opens the file, makes it when it is missing, and brings its schema up to date. */
export function openDatabase(file: string): DatabaseSync {
  const patientUntil = performance.now() + OPEN_PATIENCE_MS;
  for (;;) {
    try {
      return openOnce(file);
    } catch (error) {
      if (error instanceof CountersignError) throw error;
      if (!isBusy(error) || performance.now() >= patientUntil) {
        throw new CountersignError(
          'store-unavailable',
          `The database ${file} cannot be opened or written (${reasonOf(error)}). Is its directory writable by this user, and is there room on the disk?`,
          { cause: error },
        );
      }
      // Of processes that start together on a new file one turns it to WAL, and SQLite tells the others so at once
      // instead of letting them wait. Nothing else runs in this process yet.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, OPEN_RETRY_MS);
    }
  }
}

function openOnce(file: string): DatabaseSync {
  if (file !== ':memory:') mkdirSync(dirname(file), { recursive: true });
  const database = new DatabaseSync(file, { timeout: OPEN_PATIENCE_MS });
  try {
    // NORMAL never waits at a commit: GroupCommit does, before it acknowledges (see there).
    database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = NORMAL;
      PRAGMA wal_autocheckpoint = 0;
      PRAGMA foreign_keys = OFF;
      PRAGMA temp_store = MEMORY;
      PRAGMA cache_size = -${CACHE_KIB};
      PRAGMA journal_size_limit = 67108864;
    `);
    migrate(database, file);
    database.exec(`PRAGMA busy_timeout = ${STEP_PATIENCE_MS}`);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Another process holds the lock. https://sqlite.org/rescode.html#busy */
export function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && (Number(error.errcode) & 0xff) === SQLITE_BUSY;
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Each migration runs once, in order, in one exclusive transaction; `user_version` says how far the file is. */
function migrate(database: DatabaseSync, file: string): void {
  const migrations = readdirSync(migrationsDirectory)
    .filter((name) => /^\d{4}-.*\.sql$/.test(name))
    .sort();
  if (versionOf(database) === migrations.length) return;
  database.exec('BEGIN EXCLUSIVE');
  try {
    // Read again: another process may have migrated while this one waited for the lock.
    const version = versionOf(database);
    if (version > migrations.length) {
      throw new CountersignError(
        'store-incompatible',
        `The database ${file} has schema version ${version}, and this version of Countersign knows ${migrations.length}. Start the newer version that wrote it, or restore an older copy of the file.`,
      );
    }
    for (const name of migrations.slice(version)) database.exec(readFileSync(join(migrationsDirectory, name), 'utf8'));
    database.exec(`PRAGMA user_version = ${migrations.length}`);
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

function versionOf(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
}
