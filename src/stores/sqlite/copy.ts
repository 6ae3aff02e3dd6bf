import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { CountersignError } from '../../domain/problem.ts';
import { isBusy, reasonOf } from './database.ts';
import { integer, type Row, text } from './rows.ts';

/** A command beside it (`keys list`, say) is over sooner; a server is not. */
const LOCK_PATIENCE_MS = 2000;
/** https://sqlite.org/rescode.html */
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

const migrationsDirectory = join(import.meta.dirname, 'migrations');

/** Rows of one table, in the order of their primary key. */
export type Selection = {
  readonly source: string;
  readonly columns: readonly string[];
  /** the columns of the primary key, with commas between them */
  readonly key: string;
  /** of some rows only */
  readonly where?: string;
};

/**
 * An embedded database that is read as a whole, to be copied. Nobody else has it open meanwhile, and nothing in it is
 * changed: an older schema is brought up to date inside a transaction that is never committed.
 */
export class CopySource {
  readonly file: string;
  readonly #database: DatabaseSync;

  private constructor(file: string, database: DatabaseSync) {
    this.file = file;
    this.#database = database;
  }

  /** @throws CountersignError for a file that is missing, in use, none of ours, damaged, or of a newer version */
  static open(file: string): CopySource {
    if (!existsSync(file))
      throw new CountersignError(
        'store-unavailable',
        `There is no file ${file}. --from names the data directory of the old server, or the database in it.`,
      );
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(file, { timeout: LOCK_PATIENCE_MS });
      // A process that has the file open in WAL mode holds a shared lock on it from its first to its last statement, so this
      // one is had only when there is none; and none can open the file as long as it is held.
      database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY; BEGIN EXCLUSIVE');
      bringUpToDate(database, file);
      return new CopySource(file, database);
    } catch (error) {
      if (database?.isOpen === true) database.close();
      throw asSourceError(error, file);
    }
  }

  count({ source, where = 'true' }: Selection): number {
    return this.#reading(() => {
      const row = this.#database.prepare(`SELECT count(*) AS count FROM ${source} WHERE ${where}`).get();
      return integer(row?.['count']);
    });
  }

  /** At most `size` rows at a time: the history need not fit into the memory. */
  *batches({ source, columns, key, where = 'true' }: Selection, size: number): Generator<Row[], void> {
    const rows = this.#reading(() =>
      this.#database.prepare(`SELECT ${columns.join(', ')} FROM ${source} WHERE ${where} ORDER BY ${key}`).iterate(),
    );
    for (;;) {
      const batch = this.#reading(() => nextOf(rows, size));
      if (batch.length > 0) yield batch;
      if (batch.length < size) return;
    }
  }

  /** The first id at or after another; undefined after the last one. */
  firstIdFrom(table: 'verification' | 'message', id: string): string | undefined {
    return this.#reading(() => {
      const row = this.#database.prepare(`SELECT min(id) AS id FROM ${table} WHERE id >= ?`).get(id);
      return row === undefined || row['id'] === null ? undefined : text(row['id']);
    });
  }

  /** The last position that a resource was given: none is used twice. */
  lastPosition(): number {
    return this.#reading(() => {
      const row = this.#database.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'resource'").get();
      return row === undefined ? 0 : integer(row['seq']);
    });
  }

  close(): void {
    if (!this.#database.isOpen) return;
    if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
    this.#database.close();
  }

  #reading<Result>(work: () => Result): Result {
    try {
      return work();
    } catch (error) {
      throw asSourceError(error, this.file);
    }
  }
}

/** Not `take`, which ends what it takes from. */
function nextOf(rows: Iterator<Row>, size: number): Row[] {
  const batch: Row[] = [];
  while (batch.length < size) {
    const { done, value } = rows.next();
    if (done === true) break;
    batch.push(value);
  }
  return batch;
}

function bringUpToDate(database: DatabaseSync, file: string): void {
  const migrations = readdirSync(migrationsDirectory)
    .filter((name) => /^\d{4}-.*\.sql$/.test(name))
    .sort();
  const version = integer(database.prepare('PRAGMA user_version').get()?.['user_version']);
  const known = database.prepare(
    "SELECT count(*) AS count FROM sqlite_schema WHERE name IN ('verification', 'signing_key')",
  );
  if (version === 0 || integer(known.get()?.['count']) !== 2)
    throw new CountersignError('store-incompatible', `${file} is no database of Countersign.`);
  if (version > migrations.length) {
    throw new CountersignError(
      'store-incompatible',
      `The database ${file} has schema version ${version}, and this version of Countersign knows ${migrations.length}. Copy it with the newer version that wrote it.`,
    );
  }
  for (const name of migrations.slice(version)) database.exec(readFileSync(join(migrationsDirectory, name), 'utf8'));
}

function asSourceError(error: unknown, file: string): unknown {
  if (!(error instanceof Error) || !('errcode' in error)) return error;
  if (isBusy(error)) {
    return new CountersignError(
      'store-unavailable',
      `${file} is in use. Stop the server on it first, and keep it stopped: what it writes after the copy would be lost.`,
      { cause: error },
    );
  }
  const code = Number(error.errcode) & 0xff;
  if (code === SQLITE_NOTADB)
    return new CountersignError('store-incompatible', `${file} is no database of Countersign.`, { cause: error });
  if (code === SQLITE_CORRUPT) {
    return new CountersignError(
      'store-unavailable',
      `${file} is damaged (${reasonOf(error)}). Restore it from a backup, and copy that.`,
      { cause: error },
    );
  }
  return new CountersignError(
    'store-unavailable',
    `${file} cannot be read (${reasonOf(error)}). This user needs the right to write to it and its directory, for the lock that keeps others out.`,
    { cause: error },
  );
}
