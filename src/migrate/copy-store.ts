import { firstIdAt, timeOfId } from '../domain/id.ts';
import { CountersignError } from '../domain/problem.ts';
import { CopyTarget, type IdRange } from '../stores/postgres/copy.ts';
import type { PostgresStore } from '../stores/postgres/postgres-store.ts';
import type { CopySource } from '../stores/sqlite/copy.ts';
import { text } from '../stores/sqlite/rows.ts';
import { copiedTables } from './tables.ts';

/** Rows that travel together: about a megabyte. */
const BATCH_ROWS = 1000;
const DAY_MS = 86_400_000;

const history = { verification: 'ver', message: 'msg' } as const;

export type Copied = { readonly table: string; readonly sourceRows: number; readonly targetRows: number };

/** Called before the first batch of a table, and after each one. */
export type OnProgress = (table: string, done: number, total: number) => void;

/**
 * Copies everything that an embedded database holds into an empty PostgreSQL, in one transaction: all of it or nothing. Whoever
 * was stopped in the middle begins anew.
 * @returns the rows of each table on both sides, which are as many
 * @throws CountersignError when the target has data already, cannot be reached, or is in use
 */
export async function copyStore(
  source: CopySource,
  target: PostgresStore,
  onProgress: OnProgress = () => {},
): Promise<readonly Copied[]> {
  const days = { verification: daysOf(source, 'verification'), message: daysOf(source, 'message') };
  // Before the transaction, whose locks would keep a day from being made.
  await target.partitions.ensureDaysOf([...days.verification, ...days.message].map(({ from }) => from));
  const targetTables = copiedTables.map((table) => table.target);
  const copied = await target.database.transaction(async (query) => {
    const into = new CopyTarget(query);
    await into.lock(targetTables);
    await refuseFilled(into, targetTables, source, target.database.place);
    const results: Copied[] = [];
    for (const table of copiedTables) {
      const total = source.count(table);
      let done = 0;
      onProgress(table.target, done, total);
      for (const batch of source.batches(table, BATCH_ROWS)) {
        await into.insert(table.target, batch.map(table.toRecord));
        done += batch.length;
        onProgress(table.target, done, total);
      }
      const ranges = isHistory(table.target) ? days[table.target] : undefined;
      const targetRows = await into.count(table.target, ranges);
      if (targetRows !== total) throw new Error(`${table.target} has ${targetRows} rows after ${total} were copied`);
      results.push({ table: table.target, sourceRows: total, targetRows });
    }
    await into.continuePositionsAfter(source.lastPosition());
    return results;
  });
  await analyze(target, targetTables);
  return copied;
}

/** So that the first queries are planned for what is there. */
async function analyze({ database }: PostgresStore, tables: readonly string[]): Promise<void> {
  try {
    await database.patientQuery(`ANALYZE ${tables.map((table) => `countersign.${table}`).join(', ')}`);
  } catch {
    // The copy is made, and the server does it by itself a minute later.
  }
}

async function refuseFilled(
  into: CopyTarget,
  tables: readonly string[],
  source: CopySource,
  place: string,
): Promise<void> {
  const filled = await into.tablesWithRows(tables);
  if (filled.length === 0) return;
  const keyIds = signingKeysOf(source).map(({ id }) => id);
  if (await into.hasSigningKey(keyIds)) {
    throw new CountersignError(
      'store-incompatible',
      `The database ${place} holds a copy of ${source.file} already: an earlier run came to its end. Nothing was changed.`,
    );
  }
  throw new CountersignError(
    'store-incompatible',
    `The database ${place} has data already (${filled.join(', ')}), and nothing was changed. Copy before the first node is started on it, into a new database; or, if nothing in it is needed any more: DROP SCHEMA countersign CASCADE.`,
  );
}

export type SealedKey = { readonly id: string; readonly sealedPrivateKey: Uint8Array };

/** Newest first. */
export function signingKeysOf(source: CopySource): readonly SealedKey[] {
  const selection = {
    source: 'signing_key',
    columns: ['id', 'sealed_private_key'],
    key: 'created_at DESC, id DESC',
  };
  return [...source.batches(selection, BATCH_ROWS)]
    .flat()
    .map((row) => ({ id: text(row['id']), sealedPrivateKey: row['sealed_private_key'] as Uint8Array }));
}

/** The days (UTC) that have rows. */
function daysOf(source: CopySource, table: keyof typeof history): IdRange[] {
  const days: IdRange[] = [];
  for (let next = ''; ; ) {
    const id = source.firstIdFrom(table, next);
    if (id === undefined) return days;
    const midnight = Math.floor(timeOfId(id) / DAY_MS) * DAY_MS;
    next = firstIdAt(history[table], midnight + DAY_MS);
    days.push({ from: firstIdAt(history[table], midnight), to: next });
  }
}

function isHistory(table: string): table is keyof typeof history {
  return table in history;
}
