import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { firstIdAt } from '../../src/domain/id.ts';
import type { PostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import {
  atOnce,
  checkById,
  DAY,
  MINUTE,
  phone,
  readable,
  resend,
  started,
  startStep,
  T0,
  tally,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { onDatabase } from '../servers/postgres.ts';
import { hasPostgres, postgresForFile } from './postgres-database.ts';

const MIDNIGHT = Math.floor(T0 / DAY) * DAY;

describe.skipIf(!hasPostgres())('the history in PostgreSQL, a table a day', () => {
  let file: Awaited<ReturnType<typeof postgresForFile>>;
  let a: PostgresStore;
  let b: PostgresStore;
  beforeEach(async () => {
    file = await postgresForFile();
    [a, b] = [await file.open(), await file.open()];
  });
  afterEach(() => file.close());

  const namesOf = async (table: string) => {
    const { rows } = await a.database.query(
      `SELECT c.relname::text AS name FROM pg_class c
        WHERE c.relnamespace = 'countersign'::regnamespace AND c.relkind = 'r' AND c.relname ~ $1 ORDER BY 1`,
      [`^${table}_[0-9]{8}$`],
    );
    return rows.map(({ name }) => name);
  };
  const makeDays = async (from: number, count: number) => {
    for (let day = 0; day < count; day += 1) {
      await a.partitions.ensureDaysOf([firstIdAt('ver', from + day * DAY), firstIdAt('msg', from + day * DAY)]);
    }
  };

  it('takes fifty starts at once as the first of a day, on two nodes, and makes each table once', async () => {
    const at = MIDNIGHT + 40 * DAY;
    const outcomes = await atOnce(50, (i) =>
      (i % 2 === 0 ? a : b).start(startStep(verificationOf({ number: phone(i), createdAt: at }))),
    );
    expect(tally(outcomes)).toEqual({ started: 50 });
    expect([await namesOf('verification'), await namesOf('message')]).toEqual([
      ['verification_20251230'],
      ['message_20251230'],
    ]);
  });

  it('goes on at midnight: a verification of the day before is sent again, checked and replaced', async () => {
    const before = await started(a, { createdAt: MIDNIGHT - 1 });
    const at = MIDNIGHT + MINUTE;
    expect((await resend(b, before, at)).kind).toBe('resent');
    expect((await checkById(a, before, wrongDigest, at)).kind).toBe('wrong');
    const [last, first] = [await a.getVerification('taxi', before.id), await started(b, { createdAt: MIDNIGHT })];
    expect(last).toMatchObject({ sends: 2, attempts: 1, messageIds: [before.messageIds[0], expect.any(String)] });
    expect((await checkById(a, first, first.digests.byId, at)).kind).toBe('approved');
    expect((await a.getVerification('taxi', before.id))?.state).toBe('canceled');
    expect(await a.listMessages('taxi', { limit: 9 })).toHaveLength(3);
    expect(await namesOf('verification')).toEqual(['verification_20251119', 'verification_20251120']);
  });

  it('is made two days ahead, so that nobody has to wait for it at midnight', async () => {
    await a.sweep(T0, T0 - 30 * DAY);
    expect(await namesOf('message')).toEqual(['message_20251120', 'message_20251121', 'message_20251122']);
  });

  it('is dropped by whole days, and the day that retention ends in stays', async () => {
    await makeDays(MIDNIGHT - 3 * DAY, 4);
    const kept = await started(a, { createdAt: MIDNIGHT - DAY });
    const gone = await started(a, { number: phone(2), createdAt: MIDNIGHT - 2 * DAY });
    await a.sweep(T0, T0 - DAY);
    expect(readable(await a.getVerification('taxi', kept.id))).toEqual(readable(kept));
    expect(await a.getVerification('taxi', gone.id)).toBeUndefined();
    expect((await namesOf('verification'))[0]).toBe('verification_20251119');
  });

  it('is dropped while starts go on, and keeps none of them waiting', async () => {
    await makeDays(MIDNIGHT - 60 * DAY, 62);
    await started(a, {});
    const longest = { ms: 0 };
    const failures: unknown[] = [];
    let isOver = false;
    const worker = async (lane: number) => {
      for (let i = 0; !isOver; i += 1) {
        const before = performance.now();
        await started(lane % 2 === 0 ? a : b, { number: phone(lane * 1000 + i) }).catch((error: unknown) =>
          failures.push(error),
        );
        longest.ms = Math.max(longest.ms, performance.now() - before);
      }
    };
    const workers = [0, 1, 2, 3].map(worker);
    await delay(100);
    const calm = longest.ms;
    longest.ms = 0;
    await a.sweep(T0, T0 - 30 * DAY);
    isOver = true;
    await Promise.all(workers);
    expect(failures).toEqual([]);
    expect(await namesOf('verification')).toHaveLength(33);
    expect(longest.ms).toBeLessThan(Math.max(200, 4 * calm));
  }, 60_000);

  it('is dropped by two nodes that sweep at once', async () => {
    await makeDays(MIDNIGHT - 12 * DAY, 12);
    await Promise.all([a.sweep(T0, T0 - 2 * DAY), b.sweep(T0, T0 - 2 * DAY)]);
    await a.sweep(T0, T0 - 2 * DAY);
    expect(await namesOf('verification')).toEqual(
      ['20251118', '20251119', '20251120', '20251121', '20251122'].map((day) => `verification_${day}`),
    );
  });

  it('stays while somebody reads it for long, such as a backup, and keeps nobody waiting for that', async () => {
    await makeDays(MIDNIGHT - 6 * DAY, 6);
    await started(a, {});
    await onDatabase(file.url, async (reader) => {
      await reader.query('BEGIN');
      await reader.query('SELECT count(*) FROM countersign.verification');
      const sweeping = Promise.all([1, 2, 3].map(() => b.sweep(T0, T0 - 2 * DAY)));
      const now = await started(a, { number: phone(9) });
      expect((await checkById(a, now, now.digests.byId, T0)).kind).toBe('approved');
      await sweeping;
      expect(await namesOf('verification')).toHaveLength(9);
      const { rows } = await reader.query(
        "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
      );
      expect(rows).toEqual([]);
      await reader.query('ROLLBACK');
    });
    await a.sweep(T0, T0 - 2 * DAY);
    expect((await namesOf('verification'))[0]).toBe('verification_20251118');
    expect((await namesOf('message'))[0]).toBe('message_20251118');
  });

  it('is dropped where somebody has taken it out of the history before', async () => {
    await makeDays(MIDNIGHT - 6 * DAY, 6);
    await a.database.query('ALTER TABLE countersign.message DETACH PARTITION countersign.message_20251115');
    await b.sweep(T0, T0 - 2 * DAY);
    expect((await namesOf('message'))[0]).toBe('message_20251118');
  });

  it('of two hundred days costs a step no more than a few', async () => {
    const times = async () => {
      const one = async (i: number) => {
        const verification = await started(a, { number: phone(i) });
        await checkById(a, verification, verification.digests.byId, T0);
      };
      for (let i = 0; i < 30; i += 1) await one(i);
      const before = performance.now();
      for (let i = 0; i < 60; i += 1) await one(100 + i);
      return (performance.now() - before) / 60;
    };
    await makeDays(MIDNIGHT - DAY, 2);
    const few = await times();
    await makeDays(MIDNIGHT - 200 * DAY, 200);
    const many = await times();
    // Where the machine is busy with other things, both are slow.
    expect(many).toBeLessThan(3 * few + 5);
  }, 60_000);
});
