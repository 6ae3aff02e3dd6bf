import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from 'pg';
import { firstIdAt } from '../src/domain/id.ts';
import { openPostgresStore } from '../src/stores/postgres/postgres-store.ts';
import { onDatabase } from '../test/servers/postgres.ts';
import { whole } from './tables.ts';

/** What is kept by default, `retention`. */
const historyDays = 30;
/** No rule looks back further, so what is kept by number goes after this. */
const memoryDays = 8;
const dayMs = 86_400_000;
const verificationsPerBatch = 50_000;
/** The first 7 of an id's 10 characters of time say this; the last 3 are drawn, as good as any for rows that are only there. */
const slotMs = 32 ** 3;
const slotChars = 7;
const idStart = 'ver_'.length;
const silent = { info: () => {}, warn: () => {}, error: () => {} };

const insertMessages = sqlFile('fill-messages');
const insertVerifications = sqlFile('fill-verifications');
const insertNumbers = sqlFile('fill-numbers');

/** Verifications of one slot of time. */
type Slot = { readonly at: number; readonly time: string; readonly first: number; readonly count: number };

/**
 * A month of history made by SQL: verifications that were approved, their messages, and the numbers of the last days. The
 * tables are made by the store itself, and what life would have done to them by now, a vacuum and a checkpoint, is done too.
 */
export async function fillPostgres(url: string, rows: number, say: (line: string) => void): Promise<void> {
  const from = performance.now();
  const now = Date.now();
  const firstDay = Math.floor(now / dayMs) * dayMs - (historyDays - 1) * dayMs;
  await makeDays(url, firstDay);
  let made = 0;
  for (let day = 0; day < historyDays; day++) {
    const dayFrom = firstDay + day * dayMs;
    const dayTo = Math.min(dayFrom + dayMs, now);
    const upTo = Math.round((rows * (day + 1)) / historyDays);
    const slots = slotsOf(dayFrom, dayTo, made, upTo - made);
    const hasNumbers = day >= historyDays - memoryDays;
    // Side by side, on a connection each: nothing else asks for the CPUs meanwhile.
    await Promise.all([
      insertSlots(url, insertMessages, slots),
      insertSlots(url, insertVerifications, slots),
      ...(hasNumbers ? [insertSlots(url, insertNumbers, slots)] : []),
    ]);
    made = upTo;
    const seconds = (performance.now() - from) / 1000;
    if ((day + 1) % 5 === 0) say(`  ${whole(made)} verifications by SQL after ${whole(seconds)} s`);
  }
  const bytes = await onDatabase(url, settle);
  say(`  filled in ${whole((performance.now() - from) / 1000)} s: ${(bytes / 2 ** 30).toFixed(1)} GB`);
}

async function makeDays(url: string, firstDay: number): Promise<void> {
  const store = await openPostgresStore({ url, poolSize: 1, log: silent });
  const days = Array.from({ length: historyDays }, (_, day) => firstDay + day * dayMs);
  await store.partitions.ensureDaysOf(days.flatMap((at) => [firstIdAt('ver', at), firstIdAt('msg', at)]));
  await store.close();
}

/** @returns the database's size in bytes */
async function settle(client: Client): Promise<number> {
  await client.query('VACUUM (FREEZE, ANALYZE)');
  await client.query('CHECKPOINT');
  const { rows } = await client.query<{ bytes: string }>('SELECT pg_database_size(current_database()) AS bytes');
  return Number(rows[0]?.bytes);
}

function slotsOf(from: number, to: number, first: number, count: number): readonly Slot[] {
  const begin = Math.ceil(from / slotMs);
  const slotCount = Math.max(1, Math.floor(to / slotMs) - begin);
  const place = (slot: number): number => Math.round((count * slot) / slotCount);
  return Array.from({ length: slotCount }, (_, slot) => {
    const at = (begin + slot) * slotMs;
    const time = firstIdAt('ver', at).slice(idStart, idStart + slotChars);
    return { at, time, first: first + place(slot), count: place(slot + 1) - place(slot) };
  });
}

async function insertSlots(url: string, statement: string, slots: readonly Slot[]): Promise<void> {
  await onDatabase(url, async (client) => {
    await client.query('SET synchronous_commit = off');
    for (let from = 0; from < slots.length; ) {
      const batch: Slot[] = [];
      for (let count = 0; count < verificationsPerBatch && from < slots.length; from++) {
        const slot = slots[from];
        if (slot === undefined) break;
        batch.push(slot);
        count += slot.count;
      }
      const column = (name: keyof Slot): readonly (string | number)[] => batch.map((slot) => slot[name]);
      await client.query(statement, [column('at'), column('time'), column('first'), column('count')]);
    }
  });
}

function sqlFile(name: string): string {
  return readFileSync(join(import.meta.dirname, 'sql', `${name}.sql`), 'utf8');
}
