import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Store } from '../../src/domain/store.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import {
  checkById,
  checkBySlot,
  codeDigests,
  DAY,
  digestOf,
  dispatchOf,
  dispatchStep,
  HOUR,
  MINUTE,
  messageOf,
  newId,
  phone,
  readable,
  resend,
  SECOND,
  sentMessage,
  T0,
  verificationOf,
} from '../../src/testing/store-steps.ts';

const firstMigration = join(import.meta.dirname, '../../src/stores/sqlite/migrations/0001-initial.sql');

describe('a SQLite file of the first schema', () => {
  const verificationId = newId('ver');
  const ids = { code: newId('msg'), sent: newId('msg'), orphan: newId('msg') };
  let directory: string;
  let file: string;
  let store: Store;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'countersign-upgrade-'));
    file = join(directory, 'countersign.db');
    writeFirstSchema();
    store = openSqliteStore(file);
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true });
  });

  /** As the first version left it: nothing here may follow what the code of today writes. */
  function writeFirstSchema(): void {
    const database = new DatabaseSync(file);
    database.exec('PRAGMA journal_mode = WAL');
    database.exec(readFileSync(firstMigration, 'utf8'));
    database.exec('PRAGMA user_version = 1');
    const digests = codeDigests(verificationId, 0);
    database
      .prepare(
        `INSERT INTO verification (id, app, purpose, subject, number, country, channel, locale, lane, state, attempts,
           max_attempts, sends, max_sends, nonce, code_number, code_length, digest_by_id, digest_by_slot, created_at,
           expires_at, resend_at, metadata)
         VALUES (?, 'taxi', 'login', NULL, ?, 'UZ', 'sms', 'uz', 'open', 'pending', 1, 5, 1, 5, ?, 0, 6, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        verificationId,
        phone(1),
        digestOf(`nonce of ${verificationId}`),
        digests.byId,
        digests.bySlot,
        T0,
        T0 + 10 * MINUTE,
        T0 + 30 * SECOND,
        '{"ride":"7"}',
      );
    database
      .prepare(`INSERT INTO number (app, number, starts, guesses, live) VALUES ('taxi', ?, ?, ?, ?)`)
      .run(
        phone(1),
        `[${T0},1]`,
        JSON.stringify({ open: { log: [T0, 1], lockedUntil: 0, locks: 0 } }),
        JSON.stringify({ 'open login': verificationId }),
      );
    const insertMessage = database.prepare(
      `INSERT INTO message (id, app, verification_id, number, country, channel, locale, encoding, segments, sealed_text,
         code_number, idempotency_key, state, created_at, valid_until, orphaned_at, dispatches)
       VALUES (?, 'taxi', ?, ?, 'UZ', ?, 'uz', 'GSM-7', 1, ?, 0, NULL, ?, ?, ?, ?, ?)`,
    );
    const dispatches = [
      { provider: 'twilio', state: 'failed', reason: 'account', errorCode: '20003', at: T0 },
      { provider: 'eskiz', state: 'queued', providerMessageId: 'E1', at: T0 + 1 },
    ];
    const list = dispatches.map((each) => JSON.stringify(each)).join(',');
    const sealed = digestOf('sealed text');
    insertMessage.run(ids.code, verificationId, phone(1), 'voice', null, 'queued', T0, T0 + 10 * MINUTE, null, list);
    insertMessage.run(ids.sent, null, phone(1), 'sms', sealed, 'delivered', T0, T0 + HOUR, null, list);
    insertMessage.run(ids.orphan, null, phone(2), 'sms', sealed, 'pending', T0, T0 + HOUR, T0 + 15 * SECOND, '');
    database.prepare(`INSERT INTO provider_message VALUES ('eskiz', 'E1', ?)`).run(ids.code);
    database.prepare(`INSERT INTO early_report VALUES ('eskiz', 'E2', 'undelivered', 'coverage', '5', ?)`).run(T0);
    database.prepare(`INSERT INTO api_key VALUES ('key_1', 'taxi', 'one', 'hash', ?, NULL)`).run(T0);
    database.close();
  }

  it('is brought up to date once, and opened again as it is', async () => {
    await store.close();
    const database = new DatabaseSync(file);
    expect(database.prepare('PRAGMA user_version').get()).toEqual({
      user_version: readdirSync(dirname(firstMigration)).length,
    });
    expect(database.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' });
    database.close();
    store = openSqliteStore(file);
    expect(await store.findApiKey('hash')).toMatchObject({ name: 'one' });
  });

  it('has its verifications: made by us alone, and their code is right', async () => {
    const wanted = verificationOf({
      id: verificationId,
      attempts: 1,
      metadata: { ride: '7' },
    });
    expect(readable(await store.getVerification('taxi', verificationId))).toEqual(readable(wanted));
    const { bySlot } = codeDigests(verificationId, 0);
    expect(await checkBySlot(store, bySlot, T0)).toMatchObject({ kind: 'approved', verification: { attempts: 2 } });
    // Which message it was, the first schema did not say.
    expect(await store.readUsage({ app: 'taxi', from: '2025-01-01', to: '2026-01-01' })).toEqual([]);
  });

  it('has its messages, and each dispatch says the channel that the message had', async () => {
    const message = await store.getMessage('taxi', ids.code);
    expect(message).toMatchObject({ channel: 'voice', channelFixed: true, state: 'queued' });
    expect(message?.dispatches).toEqual([
      dispatchOf({
        provider: 'twilio',
        channel: 'voice',
        state: 'failed',
        providerMessageId: undefined,
        reason: 'account',
        errorCode: '20003',
      }),
      dispatchOf({ provider: 'eskiz', channel: 'voice', providerMessageId: 'E1', at: T0 + 1 }),
    ]);
    expect(await store.listMessages('taxi', { limit: 10 })).toHaveLength(3);
  });

  it('has its orphans, due when they were, and nothing else is', async () => {
    expect(await store.claimDue(T0 + 15 * SECOND - 1, T0 + HOUR, 10)).toEqual([]);
    const due = await store.claimDue(T0 + 15 * SECOND, T0 + 400 * DAY, 10);
    expect(due.map(({ message }) => message.id)).toEqual([ids.orphan]);
    expect(await store.claimDue(T0 + 399 * DAY, T0 + 400 * DAY, 10)).toEqual([]);
  });

  it('takes reports on what it had sent: the message is due, by another way than the old one', async () => {
    const outcome = await store.recordReport('eskiz', { providerMessageId: 'E1', state: 'undelivered' }, T0 + SECOND);
    expect(outcome).toEqual({ changed: true, due: true });
    const [due] = await store.claimDue(T0 + SECOND, T0 + HOUR, 10);
    expect(due?.message.dispatches[1]).toMatchObject({ state: 'undelivered', channel: 'voice' });
    expect(due?.verification).toMatchObject({ id: verificationId });
  });

  it('has the reports that were early', async () => {
    const message = await sentMessage(store, { provider: 'eskiz', providerMessageId: 'E2' });
    expect((await store.getMessage('taxi', message.id))?.dispatches[0]).toMatchObject({
      state: 'undelivered',
      reason: 'coverage',
      errorCode: '5',
      reportedCost: undefined,
    });
    expect((await store.claimDue(T0, T0 + HOUR, 10)).map((due) => due.message.id)).toEqual([message.id]);
  });

  it('has its messages in lists, and from now on its verifications know theirs', async () => {
    const verification = verificationOf({ id: verificationId });
    const message = messageOf(verification, { createdAt: T0 + MINUTE });
    await resend(store, verification, T0 + MINUTE, { message });
    expect((await store.getVerification('taxi', verificationId))?.messageIds).toEqual([message.id]);
    expect(await store.listMessages('taxi', { limit: 9, verificationId })).toHaveLength(1);
    expect(await store.listMessages('taxi', { limit: 9, carries: 'code' })).toHaveLength(2);
  });

  it('goes on: a resend and its approval are counted as of now', async () => {
    const verification = verificationOf({ id: verificationId });
    const at = T0 + MINUTE;
    const message = messageOf(verification, { createdAt: at });
    expect(await resend(store, verification, at, { message })).toMatchObject({ kind: 'resent' });
    await store.recordDispatch(dispatchStep(message));
    const outcome = await checkById(store, verification, verification.digests.byId, at);
    expect(outcome).toMatchObject({ kind: 'approved' });
    const [row] = await store.readUsage({ app: 'taxi', from: '2025-11-20', to: '2025-11-20' });
    expect(row?.counts).toMatchObject({ sent: 1, codes: 1, approved: 1 });
  });
});

describe('a SQLite file of the schema before callers’ own codes', () => {
  it('has its last messages, by which approvals and late costs are counted', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'countersign-upgrade-'));
    const file = join(directory, 'countersign.db');
    const migrations = dirname(firstMigration);
    const before = readdirSync(migrations).sort().slice(0, 4);
    const verification = verificationOf();
    const message = messageOf(verification);
    const digests = verification.digests;
    const database = new DatabaseSync(file);
    for (const name of before) database.exec(readFileSync(join(migrations, name), 'utf8'));
    database.exec('PRAGMA user_version = 4');
    database
      .prepare(
        `INSERT INTO verification (id, app, purpose, number, country, channel, locale, lane, state, attempts, max_attempts,
           sends, max_sends, nonce, code_number, code_length, digest_by_id, digest_by_slot, created_at, expires_at, resend_at,
           last_message_id)
         VALUES (?, 'taxi', 'login', ?, 'UZ', 'sms', 'uz', 'open', 'pending', 0, 5, 2, 5, ?, 0, 6, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        verification.id,
        phone(1),
        verification.nonce,
        digests.byId,
        digests.bySlot,
        T0,
        T0 + 10 * MINUTE,
        T0 + 30 * SECOND,
        message.id,
      );
    const dispatches = JSON.stringify({ provider: 'eskiz', state: 'queued', providerMessageId: 'E1', at: T0 });
    database
      .prepare(
        `INSERT INTO message (id, app, verification_id, number, country, channel, locale, encoding, segments, code_number,
           state, created_at, valid_until, dispatches)
         VALUES (?, 'taxi', ?, ?, 'UZ', 'sms', 'uz', 'GSM-7', 1, 0, 'queued', ?, ?, ?)`,
      )
      .run(message.id, verification.id, phone(1), T0, T0 + 10 * MINUTE, dispatches);
    database.prepare(`INSERT INTO provider_message VALUES ('eskiz', 'E1', ?)`).run(message.id);
    database.close();

    const store = openSqliteStore(file);
    expect(await store.getVerification('taxi', verification.id)).toMatchObject({
      messageIds: [message.id],
      sealedCode: undefined,
      wording: undefined,
    });
    expect(await checkById(store, verification, digests.byId, T0)).toMatchObject({ kind: 'approved' });
    const cost = { micros: 5000, currency: 'USD' };
    await store.recordReport('eskiz', { providerMessageId: 'E1', state: 'delivered', cost }, T0 + SECOND);
    const rows = await store.readUsage({ app: 'taxi', from: '2025-11-20', to: '2025-11-20' });
    expect(rows.map(({ counts }) => counts.approved).reduce((sum, each) => sum + each, 0)).toBe(1);
    expect(rows.find(({ key }) => key.currency === 'USD')?.counts).toMatchObject({ approvedCostMicros: 5000 });
    await store.close();
    rmSync(directory, { recursive: true });
  });
});
