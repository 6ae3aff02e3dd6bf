import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Store } from '../../src/domain/store.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import {
  atOnce,
  checkById,
  checkBySlot,
  DAY,
  dispatchOf,
  dispatchStep,
  HOUR,
  idempotency,
  messageOf,
  messageStep,
  perNumber,
  phone,
  resend,
  started,
  startStep,
  T0,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';

describe('erasing a number from a SQLite file', () => {
  let directory: string;
  let file: string;
  let store: Store;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'countersign-erase-'));
    file = join(directory, 'countersign.db');
    store = openSqliteStore(file);
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true });
  });

  /** How many rows of each table hold that text in any column, as text or as bytes. */
  function rowsWith(text: string): Record<string, number> {
    const database = new DatabaseSync(file, { readOnly: true });
    const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
    const found: Record<string, number> = {};
    for (const { name } of tables) {
      const rows = database.prepare(`SELECT * FROM ${name}`).all();
      const hits = rows.filter((row) =>
        Object.values(row).some((value) =>
          (value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : String(value)).includes(text),
        ),
      );
      if (hits.length > 0) found[String(name)] = hits.length;
    }
    database.close();
    return found;
  }

  async function erase(number = phone(1)): Promise<void> {
    let resumeAt: string | undefined;
    do ({ resumeAt } = await store.eraseHistory({ app: 'taxi', number, answer: 'erased', resumeAt }));
    while (resumeAt !== undefined);
    await store.eraseUser('taxi', number);
  }

  /** One person's traces in every table that has any: a life with the app. */
  async function live(): Promise<void> {
    const number = phone(1);
    const buckets = [perNumber(9, HOUR)];
    const key = idempotency('start');
    const step = startStep(verificationOf({ metadata: { phone: number } }), { buckets, idempotency: key });
    await store.start(step);
    const answer = { app: 'taxi', key: 'start', text: JSON.stringify({ to: number }) };
    // Providers name their messages as they like.
    const dispatches = [dispatchOf({ providerMessageId: `${number}-1` })];
    await store.recordDispatch(dispatchStep(step.message, { dispatches, answer }));
    await resend(store, step.verification, T0 + HOUR / 60);
    const approved = await checkById(store, step.verification, step.verification.digests.byId, T0);
    expect(approved).toMatchObject({ kind: 'approved' });
    await store.signIn({
      now: T0,
      app: 'taxi',
      verificationId: step.verification.id,
      number,
      name: number.slice(4),
      token: { hash: 'hash', expiresAt: T0 + 30 * DAY },
    });
    // The signed-in user may be known by its number.
    await started(store, { subject: number });
    const custom = messageOf(undefined, { idempotencyKey: 'custom' });
    const perText = { ...perNumber(9, HOUR), value: number };
    await store.addMessage({
      ...messageStep({ idempotency: idempotency('custom'), buckets: [perText] }),
      message: custom,
    });
    await store.recordDispatch(
      dispatchStep(custom, { answer: { app: 'taxi', key: 'custom', text: number }, dispatches: [] }),
    );
    await checkBySlot(store, wrongDigest, T0);
  }

  it('leaves the number in the counters alone, and in nothing once no rule looks at those', async () => {
    await live();
    const local = phone(1).slice(4);
    expect(Object.keys(rowsWith(local)).sort()).toEqual([
      'bucket',
      'idempotency',
      'message',
      'number',
      'provider_message',
      'subject',
      'user',
      'verification',
    ]);
    await erase();
    expect(rowsWith(local)).toEqual({ bucket: 1, number: 1 });
    expect(rowsWith('hash')).toEqual({});
    for (let round = 0; round < 3; round += 1) await store.sweep(T0 + 9 * DAY, T0 - DAY);
    expect(rowsWith(local)).toEqual({});
  });

  it('cancels what is pending first, however much is newer', async () => {
    const pending = await started(store);
    await atOnce(1200, (i) => started(store, { number: phone(i + 2), createdAt: T0 + 1 + i }));
    const { resumeAt } = await store.eraseHistory({ app: 'taxi', number: phone(1), answer: '', resumeAt: undefined });
    expect(resumeAt).toBeDefined();
    expect(await store.getVerification('taxi', pending.id)).toMatchObject({ state: 'canceled' });
    await erase();
    expect(rowsWith(phone(1))).toEqual({});
  });

  it('never holds the lock for a walk: each step looks at a bounded part, and most of them write nothing', async () => {
    const others = 3500;
    await atOnce(others, (i) => started(store, { number: phone(i + 2), createdAt: T0 + i }));
    await atOnce(20, (i) => started(store, { createdAt: T0 + i * 100, purpose: `p${i}` }));
    const database = new DatabaseSync(file);
    let resumeAt: string | undefined;
    let steps = 0;
    do {
      const before = rowsWith(phone(1))['verification'] ?? 0;
      ({ resumeAt } = await store.eraseHistory({ app: 'taxi', number: phone(1), answer: '', resumeAt }));
      steps += 1;
      // A thousand rows of a walk have ten of this number in them.
      expect(before - (rowsWith(phone(1))['verification'] ?? 0)).toBeLessThanOrEqual(11);
    } while (resumeAt !== undefined);
    expect(steps).toBe(8);
    expect(rowsWith(phone(1))).toEqual({});

    // Nothing of that number is left: but for the first step a walk does not even want the lock that another has.
    const first = await store.eraseHistory({ app: 'taxi', number: phone(1), answer: '', resumeAt: undefined });
    database.exec('BEGIN IMMEDIATE');
    resumeAt = first.resumeAt;
    while (resumeAt !== undefined)
      ({ resumeAt } = await store.eraseHistory({ app: 'taxi', number: phone(1), answer: '', resumeAt }));
    database.exec('COMMIT');
    expect(database.prepare('SELECT count(*) AS n FROM verification').get()).toEqual({ n: others });
    database.close();
  });
});
