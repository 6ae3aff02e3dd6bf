import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CountersignError } from '../../src/domain/problem.ts';
import { type Copied, copyStore, type OnProgress } from '../../src/migrate/copy-store.ts';
import { copiedTables, leftBehind } from '../../src/migrate/tables.ts';
import type { PostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import { CopySource } from '../../src/stores/sqlite/copy.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import {
  budgetTake,
  checkById,
  checkBySlot,
  DAY,
  DAY_0,
  dispatchOf,
  dispatchStep,
  HOUR,
  MINUTE,
  messageOf,
  messageStep,
  perNumber,
  phone,
  readable,
  SECOND,
  settleCheck,
  startStep,
  T0,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { hasPostgres, postgresForFile } from '../stores/postgres-database.ts';
import { fillSqlite, lastWeek, makeDataDirectory, tokenExpiresAt } from './migrate-data.ts';

/** Columns that only PostgreSQL has: their defaults are right for what is copied. */
const targetOnly: Readonly<Record<string, readonly string[]>> = { verification: ['revision'], message: ['revision'] };
/** Tables that hold nothing of an installation. */
const notFilled = ['lease', 'migration', 'node', 'probe'];

describe.skipIf(!hasPostgres())('a copy from SQLite to PostgreSQL', () => {
  const data = makeDataDirectory();
  let filled: Awaited<ReturnType<typeof fillSqlite>>;
  let database: Awaited<ReturnType<typeof postgresForFile>>;
  let store: PostgresStore;
  let copied: readonly Copied[];

  async function copy(onProgress?: OnProgress): Promise<readonly Copied[]> {
    const source = CopySource.open(data.file);
    try {
      return await copyStore(source, store, onProgress);
    } finally {
      source.close();
    }
  }

  beforeAll(async () => {
    filled = await fillSqlite(data.file);
    database = await postgresForFile();
    store = await database.open();
    copied = await copy();
  });
  afterAll(async () => {
    await database.close();
    data.remove();
  });

  describe('knows the schemas of both', () => {
    const source = () => new DatabaseSync(data.file, { readOnly: true });
    const columnsRead = (table: string) =>
      copiedTables.filter((each) => each.source === table).flatMap(({ columns }) => columns);

    it('reads every table of SQLite, and every column', () => {
      const sqlite = source();
      const tables = sqlite
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
        .all()
        .map(({ name }) => String(name));
      const known = [...copiedTables.map((table) => table.source), ...Object.keys(leftBehind)];
      expect([...new Set(known)].sort()).toEqual(tables);
      for (const table of tables.filter((name) => !(name in leftBehind))) {
        const columns = sqlite.prepare(`PRAGMA table_info("${table}")`).all();
        const names = columns.map(({ name }) => String(name)).sort();
        expect({ table, columns: [...new Set(columnsRead(table))].sort() }).toEqual({ table, columns: names });
        for (const name of names) {
          const rows = sqlite.prepare(`SELECT count("${name}") AS count FROM "${table}"`).get();
          // Else this test would show nothing of what becomes of it.
          expect({ table, name, rows: Number(rows?.['count']) > 0 }).toEqual({ table, name, rows: true });
        }
      }
      sqlite.close();
    });

    it('fills every table of PostgreSQL, and every column', async () => {
      const { rows } = await store.database.query(
        `SELECT c.relname AS table, array_agg(a.attname::text ORDER BY a.attname::text) AS columns
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          WHERE c.relnamespace = 'countersign'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          GROUP BY c.relname ORDER BY c.relname`,
      );
      const known = [...copiedTables.map(({ target }) => target), ...notFilled].sort();
      expect(known).toEqual(rows.map((row) => row['table']));
      const sqlite = source();
      for (const { target, source: table, columns, where = 'true', toRecord } of copiedTables) {
        const row = sqlite.prepare(`SELECT ${columns.join(', ')} FROM ${table} WHERE ${where}`).get();
        const names = [...Object.keys(toRecord(row ?? {})), ...(targetOnly[target] ?? [])].sort();
        const wanted = rows.find((each) => each['table'] === target)?.['columns'];
        expect({ target, columns: names }).toEqual({ target, columns: wanted });
      }
      sqlite.close();
    });
  });

  it('has every row as it was', async () => {
    const sqlite = new DatabaseSync(data.file, { readOnly: true });
    for (const { target, source, columns, where = 'true', toRecord } of copiedTables) {
      const records = sqlite
        .prepare(`SELECT ${columns.join(', ')} FROM ${source} WHERE ${where}`)
        .all()
        .map(toRecord);
      const { rows } = await store.database.query(`SELECT to_jsonb(t) AS row FROM countersign.${target} t`);
      const wanted = records.map((record) => expect.objectContaining(JSON.parse(JSON.stringify(record))));
      expect({ target, rows: rows.map(({ row }) => row) }).toEqual({ target, rows: expect.arrayContaining(wanted) });
      expect(copied.find(({ table }) => table === target)).toEqual({
        table: target,
        sourceRows: records.length,
        targetRows: rows.length,
      });
    }
    sqlite.close();
  });

  it('changes nothing in the source, whose schema may be older than ours', () => {
    const sqlite = new DatabaseSync(data.file, { readOnly: true });
    expect(sqlite.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' });
    expect(sqlite.prepare('SELECT count(*) AS count FROM lease').get()).toEqual({ count: 1 });
    sqlite.close();
  });

  it('approves a verification that was started before, once, after the attempts that it had left', async () => {
    const { rich } = filled.live;
    const kept = await store.getVerification('taxi', rich.id);
    expect(readable(kept)).toEqual(readable({ ...rich, attempts: 1 }));
    const digits = { codeLength: 8 };
    const wrong = await checkById(store, rich, wrongDigest, T0 + 2, digits);
    expect(wrong).toMatchObject({ kind: 'wrong', attemptsLeft: 3 });
    const outcome = await checkById(store, rich, rich.digests.byId, T0 + 3, digits);
    expect(outcome).toMatchObject({ kind: 'approved', verification: { attempts: 3, sealedCode: undefined } });
    expect(await checkById(store, rich, rich.digests.byId, T0 + 4, digits)).toEqual({
      kind: 'ended',
      state: 'approved',
    });
  });

  it('finds those of a subject and those with a newer code, and asks the provider that made one', async () => {
    const { bySubject, managed, resent } = filled.live;
    const slot = { number: undefined, subject: 'user-7', purpose: 'change', lane: 'trusted' } as const;
    const outcome = await checkBySlot(store, bySubject.digests.bySlot, T0 + 1, slot);
    expect(outcome).toMatchObject({ kind: 'approved', verification: { id: bySubject.id, sentByEmail: true } });
    expect(await checkById(store, managed, wrongDigest, T0 + 1)).toMatchObject({ kind: 'ask' });
    expect(await settleCheck(store, managed, 'approved', T0 + 2)).toMatchObject({ kind: 'approved' });
    const newer = await checkBySlot(store, resent.digests.bySlot, T0 + 1, { number: phone(24) });
    expect(newer).toMatchObject({ kind: 'approved', verification: { id: resent.id, sends: 2, codeNumber: 1 } });
  });

  it('goes on with guesses, limits and budgets where they were', async () => {
    expect(await checkBySlot(store, wrongDigest, T0 + MINUTE, { number: phone(42) })).toMatchObject({ kind: 'locked' });
    const address = { scope: 'address', value: '203.0.113.7', rules: [{ max: 2, windowMs: DAY }] } as const;
    const start = () => {
      const now = T0 + HOUR;
      const verification = verificationOf({ number: phone(41), createdAt: now });
      return store.start(startStep(verification, { now, buckets: [perNumber(2, DAY, phone(41)), address] }));
    };
    expect(await start()).toMatchObject({ kind: 'started' });
    expect(await start()).toMatchObject({ kind: 'limited', retryAfterMs: DAY - HOUR });
    expect(await store.takeBudget('taxi', budgetTake(301, 1000))).toEqual({ kind: 'over-budget' });
  });

  it('gives the answer of a repeated request again', async () => {
    const { resent, repeatedKey } = filled.live;
    const step = startStep(verificationOf({ number: resent.number }), { idempotency: repeatedKey });
    expect(await store.start(step)).toEqual({ kind: 'replayed', answer: '{"answer":1}' });
    const other = messageStep({ idempotency: { ...repeatedKey, fingerprint: 'another' } });
    expect(await store.addMessage(other)).toEqual({ kind: 'conflict' });
  });

  it('knows users by their tokens, none that was revoked, and gives no id twice', async () => {
    const { user } = filled.users;
    const found = { ...user, fullName: 'Aziza Karimova' };
    expect(await store.findUserByToken('good token', tokenExpiresAt - 1)).toEqual(found);
    expect(await store.findUserByToken('revoked token', T0)).toBeUndefined();
    expect(await store.findUserByToken('token of a user who is erased', T0)).toBeUndefined();
    const verification = verificationOf({ number: phone(13) });
    await store.start(startStep(verification));
    await checkById(store, verification, verification.digests.byId, T0);
    const token = { hash: 'new token', expiresAt: tokenExpiresAt };
    const step = { now: T0, app: 'taxi', verificationId: verification.id, number: phone(13), name: 'Bek', token };
    // 2 was given to somebody who is erased.
    expect(await store.signIn(step)).toMatchObject({ isNew: true, user: { id: '3' } });
  });

  it('has the resources in their order, and new ones come behind', async () => {
    const { service, limit } = filled.resources;
    expect(await store.getResource('taxi', 'service', service)).toMatchObject({
      uniqueKey: 'main',
      body: { z: 1, a: { b: ['ü'] } },
    });
    expect(await store.addResource({ ...limit, id: 'RK3' }, undefined)).toBe('added');
    const query = { app: 'taxi', kind: 'limit', parent: service, limit: 1, after: undefined };
    const page = await store.listResources(query);
    expect(page.resources).toMatchObject([{ id: 'RK1' }]);
    expect((await store.listResources({ ...query, after: page.next })).resources).toMatchObject([{ id: 'RK3' }]);
    const { rows } = await store.database.query("SELECT position FROM countersign.resource WHERE id = 'RK3'");
    expect(Number(rows[0]?.['position'])).toBe(4);
  });

  it('has the history by day, and takes reports on what was sent before', async () => {
    const { reported, sent, orphan, later } = filled.messages;
    const { dispatches } = (await store.getMessage('taxi', reported.id)) ?? {};
    expect(dispatches).toMatchObject([{ state: 'failed', errorCode: '20003' }, { state: 'delivered' }]);
    const report = { providerMessageId: sent.id, state: 'undelivered' } as const;
    expect(await store.recordReport('eskiz', report, T0 + SECOND)).toEqual({ changed: true, due: true });
    const due = await store.claimDue(T0 + HOUR, T0 + 2 * HOUR, 20);
    // Whoever had taken it up before the move counts.
    expect(due.find(({ message }) => message.id === orphan.id)).toMatchObject({ claims: 2 });
    expect(due.map(({ message }) => message.id)).toContain(sent.id);
    expect(due.map(({ message }) => message.id)).not.toContain(later.id);
    const { rows } = await store.database.query(
      `SELECT c.relname AS day FROM pg_class c WHERE c.relispartition AND c.relname ~ '_[0-9]{8}$' AND c.relkind = 'r' ORDER BY 1`,
    );
    expect(rows.map(({ day }) => day)).toEqual([
      'message_20251113',
      'message_20251120',
      'verification_20251113',
      'verification_20251120',
    ]);
    expect(new Date(lastWeek).toISOString().slice(0, 10)).toBe('2025-11-13');
  });

  it('joins a report that came before the answer to the send', async () => {
    const message = messageOf(undefined, { number: phone(51) });
    await store.addMessage(messageStep({ message }));
    const dispatches = [dispatchOf({ provider: 'eskiz', providerMessageId: 'E2' })];
    await store.recordDispatch(dispatchStep(message, { dispatches }));
    expect((await store.getMessage('taxi', message.id))?.dispatches).toMatchObject([
      { state: 'undelivered', reason: 'coverage', errorCode: '5', reportedCost: { micros: 5000, currency: 'USD' } },
    ]);
  });

  it('has keys, sums, comparisons and what is known of providers', async () => {
    expect(await store.listApiKeys()).toMatchObject([
      { id: 'key_1', revokedAt: undefined },
      { id: 'key_2', revokedAt: T0 + 1 },
    ]);
    expect((await store.listSigningKeys()).map(({ id }) => id)).toEqual(['second', 'first']);
    const usage = await store.readUsage({ app: 'taxi', from: '2025-11-13', to: '2025-11-13' });
    expect(usage.find(({ key }) => key.provider === 'eskiz')?.counts).toMatchObject({ delivered: 1, costMicros: 5000 });
    const [shadow] = await store.readShadow({ app: undefined, from: DAY_0, to: DAY_0 });
    expect(shadow).toMatchObject({ count: 3, upstreamStatus: 200, ourStatus: 400 });
    expect(await store.listBreakers()).toMatchObject([{ provider: 'twilio', breaker: { reason: 'account' } }]);
  });

  it('is not made twice, nor into a database with data of its own', async () => {
    await expect(copy()).rejects.toThrow('holds a copy of');
    await database.empty();
    await store.addApiKey({ id: 'key_9', app: 'taxi', name: '', hash: 'h', createdAt: T0, revokedAt: undefined });
    await expect(copy()).rejects.toMatchObject({
      code: 'store-incompatible',
      message: expect.stringContaining('has data already (api_key)'),
    } satisfies Partial<CountersignError>);
    expect(await store.listSigningKeys()).toEqual([]);
  });

  it('shows a node that starts meanwhile all of it or nothing, so that it makes no key of its own', async () => {
    await database.empty();
    const node = await database.open();
    const keys: ReturnType<PostgresStore['listSigningKeys']>[] = [];
    await copy((table) => {
      if (table === 'message' && keys.length === 0) keys.push(node.listSigningKeys());
    });
    expect((await keys[0])?.map(({ id }) => id)).toEqual(['second', 'first']);
  });

  it('has texts that PostgreSQL refuses, and goes on with them', async () => {
    await database.empty();
    const sqlite = openSqliteStore(data.file);
    const verification = verificationOf({ number: phone(61), purpose: 'a NUL: \0' });
    const step = startStep(verification);
    await sqlite.start(step);
    const dispatches = [dispatchOf({ provider: 'eskiz', providerMessageId: 'E61', errorCode: '\0\ud800' })];
    await sqlite.recordDispatch(dispatchStep(step.message, { dispatches }));
    await sqlite.close();
    await copy();
    expect(await store.getVerification('taxi', verification.id)).toMatchObject({ purpose: verification.purpose });
    await store.recordReport('eskiz', { providerMessageId: 'E61', state: 'delivered' }, T0);
    expect((await store.getMessage('taxi', step.message.id))?.dispatches).toMatchObject([
      { state: 'delivered', errorCode: '\0\ud800' },
    ]);
    let resumeAt: string | undefined;
    do {
      ({ resumeAt } = await store.eraseHistory({ app: 'taxi', number: phone(61), answer: '{}', resumeAt }));
    } while (resumeAt !== undefined);
    expect(await store.getMessage('taxi', step.message.id)).toBeUndefined();
  });

  it('takes nothing when a row is not taken', async () => {
    await database.empty();
    const sqlite = new DatabaseSync(data.file);
    sqlite.exec('UPDATE verification SET max_attempts = 5000000000 WHERE id = (SELECT max(id) FROM verification)');
    sqlite.close();
    await expect(copy()).rejects.toThrow(/^A row of the table \w+ cannot be kept in PostgreSQL \(SQLSTATE 22003\)/);
    expect(await store.listApiKeys()).toEqual([]);
  });
});
