import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import type { Bucket, Store } from '../../src/domain/store.ts';
import type { Verification } from '../../src/domain/verification.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import {
  budgetTake,
  checkById,
  checkBySlot,
  DAY,
  dispatchOf,
  dispatchStep,
  HOUR,
  MINUTE,
  perNumber,
  phone,
  started,
  startStep,
  T0,
  tally,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { describeStore } from '../../src/testing.ts';
import { Child, race } from './child.ts';
import type { SqliteTask } from './sqlite-child.ts';

describeStore('SQLite, one file opened twice', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'countersign-store-'));
  const file = join(directory, 'countersign.db');
  const [a, b] = [openSqliteStore(file), openSqliteStore(file)];
  const opened = [a, b];
  const closeAll = () => Promise.all(opened.map((store) => store.close()));
  return {
    a,
    b,
    async reopen() {
      await closeAll();
      const store = openSqliteStore(file);
      opened.push(store);
      return store;
    },
    async close() {
      await closeAll();
      rmSync(directory, { recursive: true });
    },
  };
});

describe('a SQLite store', () => {
  let directory: string;
  let file: string;
  const children: Child[] = [];
  const opened: Store[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'countersign-sqlite-'));
    file = join(directory, 'countersign.db');
  });
  afterEach(async () => {
    await Promise.all(children.splice(0).map((child) => child.kill()));
    await Promise.all(opened.splice(0).map((store) => store.close()));
    rmSync(directory, { recursive: true });
  });

  function open(): Store {
    const store = openSqliteStore(file);
    opened.push(store);
    return store;
  }

  function child(task: SqliteTask, fileSizeBlocks?: number): Child {
    const made = new Child('sqlite-child.ts', task, fileSizeBlocks);
    children.push(made);
    return made;
  }

  /** Two processes that begin at the same moment, and what each was answered. */
  async function raceOf(task: SqliteTask): Promise<Record<string, number>[]> {
    return (await race([child(task), child(task)])) as Record<string, number>[];
  }

  function sum(tallies: readonly Record<string, number>[], kind: string): number {
    return tallies.reduce((total, tally) => total + (tally[kind] ?? 0), 0);
  }

  type Acknowledged = { id: string; message: string; number: PhoneNumber; wrong: number };

  function acknowledgedBy(said: readonly unknown[]): Acknowledged[] {
    const byId = new Map<string, Acknowledged>();
    for (const line of said as { started?: string; message: string; number: PhoneNumber; wrong?: string }[]) {
      if (line.started !== undefined) {
        byId.set(line.started, { id: line.started, message: line.message, number: line.number, wrong: 0 });
      }
      const checked = byId.get(line.wrong ?? '');
      if (checked !== undefined) checked.wrong += 1;
    }
    return [...byId.values()];
  }

  /** Nothing that was acknowledged is missing, and nothing that was counted can be had again. */
  async function expectKept(store: Store, acknowledged: readonly Acknowledged[]): Promise<void> {
    const orphans = await store.claimDue(T0 + MINUTE, T0 + HOUR, 1_000_000);
    const orphanIds = new Set(orphans.map(({ message }) => message.id));
    for (const { id, message, number, wrong } of acknowledged) {
      const verification = await store.getVerification('taxi', id);
      expect(verification).toMatchObject({ id, number, state: 'pending' });
      expect(orphanIds.has(message)).toBe(true);
      // One more may have been counted without the answer getting out.
      expect([wrong, wrong + 1]).toContain(verification?.attempts);
    }
    const sample = acknowledged.filter((_, index) => index % 10 === 0);
    for (const { id, number } of sample) {
      const kept = (await store.getVerification('taxi', id)) as Verification;
      const outcomes = await Promise.all(Array.from({ length: 10 }, () => checkById(store, kept, wrongDigest, T0)));
      expect(tally(outcomes)['wrong']).toBe(kept.maxAttempts - kept.attempts);
      const again = startStep(verificationOf({ number }), { buckets: [perNumber(1, DAY, number)] });
      expect(await store.start(again)).toMatchObject({ kind: 'limited' });
    }
  }

  it('keeps whatever it acknowledged when the process is killed at full speed, again and again (invariants 2, 7, 8)', async () => {
    const acknowledged: Acknowledged[] = [];
    for (let round = 0; round < 4; round += 1) {
      const worker = child({ kind: 'work', file, workers: 32, firstNumber: round * 100_000 });
      await worker.until((said) => said.length > 1000 + round * 137);
      await worker.kill();
      acknowledged.push(...acknowledgedBy(worker.said));
    }
    expect(acknowledged.length).toBeGreaterThan(1000);
    const store = open();
    await expectKept(store, acknowledged);
    const database = new DatabaseSync(file);
    expect(database.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' });
    database.close();
  });

  it('approves once for two processes (invariant 1)', async () => {
    const store = open();
    for (let round = 0; round < 3; round += 1) {
      const { id, digests } = await started(store);
      const digest = Buffer.from(digests.byId).toString('hex');
      const tallies = await raceOf({ kind: 'race', on: 'approval', file, id, digest, count: 100 });
      expect(sum(tallies, 'approved')).toBe(1);
      expect(sum(tallies, 'ended')).toBe(199);
    }
  });

  it('compares maxAttempts codes for two processes (invariant 2)', async () => {
    const { id } = await started(open(), { maxAttempts: 10 });
    const tallies = await raceOf({ kind: 'race', on: 'attempts', file, id, count: 100 });
    expect([sum(tallies, 'wrong'), sum(tallies, 'ended')]).toEqual([10, 190]);
  });

  it('lets exactly as many starts through as the limit says for two processes (invariant 7)', async () => {
    const tallies = await raceOf({ kind: 'race', on: 'limit', file, count: 200, max: 111 });
    expect([sum(tallies, 'started'), sum(tallies, 'limited')]).toEqual([111, 289]);
    // Otherwise one was done before the other began, and this proved nothing.
    expect(Math.min(...tallies.map((tally) => tally['started'] ?? 0))).toBeGreaterThan(0);
  });

  it('is made once by four processes that start together on an empty directory', async () => {
    const openers = Array.from({ length: 4 }, () => child({ kind: 'open', file }));
    await Promise.all(openers.map((opener) => opener.ready()));
    for (const opener of openers) opener.go();
    expect(await Promise.all(openers.map((opener) => opener.result()))).toEqual(Array(4).fill('opened'));
  });

  it('rejects with store-unavailable while there is no room, loses nothing, and goes on when there is (invariants 8, 15)', async () => {
    const store = open();
    // Somebody who reads keeps the log from being begun anew, so it grows up to the limit.
    const reader = new DatabaseSync(file);
    reader.exec('BEGIN');
    reader.prepare('SELECT count(*) FROM verification').get();
    const worker = child({ kind: 'work', file, workers: 16, firstNumber: 0 }, 4096);
    const refusals = (said: readonly unknown[]) => said.filter((line) => Object.hasOwn(line as object, 'refused'));
    await worker.until((said) => refusals(said).length >= 16);
    expect(new Set(refusals(worker.said).map((line) => JSON.stringify(line)))).toEqual(
      new Set(['{"refused":"store-unavailable"}']),
    );
    // A probe that wrote one page said "ready" while every start was refused (seen on a full tmpfs).
    const probes = (said: readonly unknown[]) => said.filter((line) => Object.hasOwn(line as object, 'probe'));
    await worker.until((said) => probes(said).length >= 16);
    expect(new Set(probes(worker.said).map((line) => JSON.stringify(line)))).toEqual(
      new Set(['{"probe":"store-unavailable"}']),
    );

    reader.exec('COMMIT');
    reader.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    const before = worker.said.length;
    await worker.until((said) => acknowledgedBy(said.slice(before)).length >= 10);
    await worker.kill();
    reader.close();
    await expectKept(store, acknowledgedBy(worker.said));
  });

  it('rejects with store-unavailable while another process holds the lock, and goes on afterwards (invariant 15)', async () => {
    const store = open();
    const other = new DatabaseSync(file);
    other.exec('BEGIN IMMEDIATE');
    await expect(started(store)).rejects.toMatchObject({ name: 'CountersignError', code: 'store-unavailable' });
    await expect(store.listApiKeys()).resolves.toEqual([]);
    other.exec('COMMIT');
    other.close();
    await expect(started(store)).resolves.toMatchObject({ state: 'pending' });
  });

  it('does not let a step that fails take its neighbours along', async () => {
    const store = open();
    const taken = await started(store, { number: phone(0) });
    const buckets: Bucket[] = [{ scope: 'app', value: '', rules: [{ max: 50, windowMs: HOUR }] }];
    const outcomes = await Promise.allSettled(
      Array.from({ length: 60 }, (_, index) => {
        const id = index === 20 ? { id: taken.id } : {};
        return store.start(startStep(verificationOf({ number: phone(index + 1), ...id }), { buckets }));
      }),
    );
    expect(outcomes.flatMap((outcome, index) => (outcome.status === 'rejected' ? [index] : []))).toEqual([20]);
    const fulfilled = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    expect(tally(fulfilled)).toEqual({ started: 50, limited: 9 });
    // What the failing step had counted was not kept.
    expect(await store.start(startStep(verificationOf({ createdAt: T0 + HOUR }), { buckets }))).toMatchObject({
      kind: 'started',
    });
  });

  it('refuses a file that a newer version wrote, and leaves it alone', async () => {
    await openSqliteStore(file).close();
    const database = new DatabaseSync(file);
    database.exec('PRAGMA user_version = 99');
    expect(() => openSqliteStore(file)).toThrow(expect.objectContaining({ code: 'store-incompatible' }));
    expect(() => openSqliteStore(file)).toThrow(/version 99.*newer version/);
    expect(database.prepare('PRAGMA user_version').get()).toEqual({ user_version: 99 });
    database.close();
  });

  it('says which file it cannot open: no directory, no file, no database', () => {
    const regularFile = join(directory, 'regular-file');
    writeFileSync(regularFile, 'This is no database, and it is longer than the header of one. '.repeat(100));
    for (const path of [join(regularFile, 'data', 'countersign.db'), directory, regularFile]) {
      expect(() => openSqliteStore(path)).toThrow(
        expect.objectContaining({
          name: 'CountersignError',
          code: 'store-unavailable',
          message: expect.stringContaining(path),
        }),
      );
    }
  });

  it('says so when its directory or its file may not be written', async () => {
    const store = open();
    await started(store);
    // As another user than root, whom no mode stops; from a copy, because that user may not see this directory.
    const copy = mkdtempSync(join(tmpdir(), 'countersign-copy-'));
    const source = join(import.meta.dirname, '../../src');
    for (const part of ['domain', 'stores']) cpSync(join(source, part), join(copy, part), { recursive: true });
    writeFileSync(join(copy, 'package.json'), '{"type":"module"}');
    chmodSync(copy, 0o755);
    chmodSync(directory, 0o555);
    for (const name of readdirSync(directory)) chmodSync(join(directory, name), 0o444);
    const script = `
      if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534); }
      const { openSqliteStore } = await import('${join(copy, 'stores/sqlite/sqlite-store.ts')}');
      for (const file of process.argv.slice(1)) {
        try {
          const store = openSqliteStore(file);
          await store.probe(1);
          console.log('written');
        } catch (error) { console.log(error.code, error.message.includes('writ')); }
      }`;
    const run = spawnSync(
      process.execPath,
      ['--input-type=module', '--eval', script, join(directory, 'new.db'), join(directory, 'deep', 'new.db'), file],
      { encoding: 'utf8', cwd: copy },
    );
    chmodSync(directory, 0o755);
    rmSync(copy, { recursive: true });
    expect(run.stderr).toBe('');
    expect(run.stdout.trim().split('\n')).toEqual(Array(3).fill('store-unavailable true'));
  });

  it('sweeps a bounded number of rows at a time, and in the end every table is empty', async () => {
    const store = open();
    await Promise.all(
      Array.from({ length: 700 }, async (_, index) => {
        const buckets: Bucket[] = [
          perNumber(5, HOUR, phone(index)),
          { scope: 'address', value: `a${index}`, rules: [{ max: 5, windowMs: HOUR }] },
        ];
        const subject = index % 2 === 0 ? `u${index}` : undefined;
        const step = startStep(verificationOf({ number: phone(index), subject }), {
          buckets,
          idempotency: { key: `k${index}`, fingerprint: '', expiresAt: T0 + index },
        });
        await store.start({ ...step, budget: budgetTake(1, 1000) });
        const dispatches = [dispatchOf({ provider: `p${index}` })];
        await store.recordDispatch(dispatchStep(step.message, { dispatches }));
        await checkBySlot(store, wrongDigest, T0, { number: phone(index), lane: 'trusted' });
        await store.recordReport('acme', { providerMessageId: `early ${index}`, state: 'sent' }, T0);
      }),
    );
    const late = T0 + 60 * DAY;
    const first = await store.sweep(late, late - 30 * DAY);
    expect(first.deleted).toBeGreaterThan(500);
    expect(first.deleted).toBeLessThanOrEqual(8 * 500);
    for (let round = 0; round < 10; round += 1) await store.sweep(late, late - 30 * DAY);
    const database = new DatabaseSync(file);
    const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
    expect(tables.length).toBeGreaterThanOrEqual(12);
    const rowsLeft = () =>
      tables
        .map(({ name }) => [name, database.prepare(`SELECT count(*) AS n FROM ${name}`).get()?.['n']])
        .filter(([, count]) => count !== 0);
    // Sums name nobody, and are compared with those of the year before.
    expect(rowsLeft()).toEqual([['usage', 700]]);
    await store.sweep(T0 + 400 * DAY, late);
    expect(rowsLeft()).toEqual([['usage', 700]]);
    // A day's sums went all at once, however many there were.
    const usageSweep = await store.sweep(T0 + 401 * DAY, late);
    expect(usageSweep.deleted).toBe(500);
    await store.sweep(T0 + 401 * DAY, late);
    expect(rowsLeft()).toEqual([]);
    database.close();
  });

  it('keeps a budget for as long as the day lasts, and for some days after', async () => {
    const store = open();
    await store.takeBudget('taxi', budgetTake(70, 100));
    for (const now of [T0, T0 + DAY, T0 + 8 * DAY]) {
      await store.sweep(now, now - 30 * DAY);
      expect(await store.takeBudget('taxi', budgetTake(31, 100))).toEqual({ kind: 'over-budget' });
    }
    expect(await store.sweep(T0 + 9 * DAY, T0)).toEqual({ deleted: 1 });
  });

  it('does not let a number’s row grow with the purposes that an app makes up', async () => {
    const store = open();
    for (let order = 0; order < 200; order += 1) {
      const createdAt = T0 + order * HOUR;
      await started(store, { purpose: `order-${order}`, createdAt });
    }
    const newest = await started(store, { purpose: 'login', createdAt: T0 + 201 * HOUR });
    const database = new DatabaseSync(file);
    expect(String(database.prepare('SELECT live FROM number').get()?.['live']).length).toBeLessThan(600);
    database.close();
    expect(await checkBySlot(store, newest.digests.bySlot, T0 + 201 * HOUR)).toMatchObject({ kind: 'approved' });
  });
});
