import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readSchema } from '../../src/stores/postgres/schema.ts';
import {
  budgetTake,
  checkById,
  DAY,
  DAY_0,
  dispatchOf,
  dispatchStep,
  phone,
  started,
  startStep,
  T0,
  verificationOf,
} from '../../src/testing/store-steps.ts';
import { makeDatabase } from '../servers/index.ts';
import { onDatabase } from '../servers/postgres.ts';
import { Child, race } from './child.ts';
import type { PostgresTask } from './postgres-child.ts';
import { hasPostgres, postgresForFile } from './postgres-database.ts';

const NODES = 4;
const four = Array.from({ length: NODES }, (_, index) => index);

/** A process for each task, all at once from a barrier on. @returns the last thing that each said */
function runNodes(tasks: readonly PostgresTask[]): Promise<unknown[]> {
  return race(tasks.map((task) => new Child('postgres-child.ts', task)));
}

/** Kinds of outcomes of all nodes, added up. */
function together(tallies: readonly unknown[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const tally of tallies as readonly Record<string, number>[]) {
    for (const [kind, count] of Object.entries(tally)) sums[kind] = (sums[kind] ?? 0) + count;
  }
  return sums;
}

describe.skipIf(!hasPostgres())('four processes over one PostgreSQL', () => {
  let file: Awaited<ReturnType<typeof postgresForFile>>;
  beforeAll(async () => {
    file = await postgresForFile();
  });
  beforeEach(() => file.empty());
  afterEach(() => file.closeStores());
  afterAll(() => file.close());

  it('make a new database into one schema when they start at once', async () => {
    for (let round = 0; round < 3; round += 1) {
      const database = await makeDatabase();
      try {
        expect(await runNodes(four.map(() => ({ does: 'open', url: database.url })))).toEqual(
          Array(NODES).fill('opened'),
        );
        const { rows } = await onDatabase(database.url, (client) =>
          client.query(`SELECT (SELECT count(*)::integer FROM countersign.migration) AS migrations,
            (SELECT count(*)::integer FROM countersign.verification) AS verifications,
            (SELECT array_agg(nspname::text) FROM pg_namespace WHERE nspname LIKE 'countersign%' AND nspname <> 'countersign') AS steps`),
        );
        const { migrations, stepsSchema } = readSchema();
        expect(rows).toEqual([{ migrations: migrations.length, verifications: NODES, steps: [stepsSchema] }]);
      } finally {
        await database.close();
      }
    }
  }, 60_000);

  it('approve exactly one of two hundred right codes (invariant 1)', async () => {
    const store = await file.open();
    const { id, digests } = await started(store);
    const digest = Buffer.from(digests.byId).toString('hex');
    const tallies = await runNodes(four.map(() => ({ does: 'approve', url: file.url, count: 50, id, digest })));
    expect(together(tallies)).toEqual({ approved: 1, ended: 199 });
  });

  it('compare exactly five of two hundred wrong codes (invariant 2)', async () => {
    const store = await file.open();
    const { id } = await started(store);
    const tallies = await runNodes(four.map(() => ({ does: 'guess', url: file.url, count: 50, id })));
    expect(together(tallies)).toEqual({ wrong: 5, ended: 195 });
    expect((await store.getVerification('taxi', id))?.attempts).toBe(5);
  });

  it('let exactly as many of two hundred starts through as the limit says (invariant 7)', async () => {
    const tallies = await runNodes(four.map(() => ({ does: 'limit', url: file.url, count: 50, max: 7 })));
    expect(together(tallies)).toEqual({ started: 7, limited: 193 });
  });

  it('start all of two hundred at the first moment of a day that has no table yet', async () => {
    const at = Math.floor(T0 / DAY) * DAY + 20 * DAY;
    const tallies = await runNodes(
      four.map((node) => ({ does: 'start', url: file.url, count: 50, first: 1000 * node, at })),
    );
    expect(together(tallies)).toEqual({ started: 200 });
    const store = await file.open();
    expect(
      await store.findVerification({ app: 'taxi', purpose: 'login', subject: undefined, number: phone(3049) }),
    ).toMatchObject({ state: 'pending' });
  });

  it('add to the sums of apps and countries at once, and none is lost', async () => {
    const nodes = await Promise.all([file.open(), file.open()]);
    const nodeOf = (i: number) => nodes[i % 2] ?? expect.fail('two nodes');
    const begun = await Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        const [app, country] = [['taxi', 'food'][i % 2], (['UZ', 'KZ', 'KG'] as const)[i % 3]];
        const verification = verificationOf({ number: phone(i), ...(app && { app }), ...(country && { country }) });
        const step = startStep(verification);
        await nodeOf(i).start(step);
        return { verification, message: { ...step.message, country } };
      }),
    );
    const spent = { day: DAY_0, micros: 1 };
    await Promise.all(
      begun.map(({ message }, i) => {
        const dispatches = [dispatchOf({ providerMessageId: message.id })];
        return nodeOf(Math.floor(i / 2)).recordDispatch(dispatchStep(message, { dispatches, spent }));
      }),
    );
    await Promise.all(
      begun.map(({ verification }, i) =>
        checkById(nodeOf(Math.floor(i / 2) + 1), verification, verification.digests.byId, T0),
      ),
    );
    const usage = await nodeOf(0).readUsage({ app: undefined, from: DAY_0, to: DAY_0 });
    expect(usage.map(({ counts }) => [counts.sent, counts.approved])).toEqual(Array(6).fill([50, 50]));
    for (const app of ['taxi', 'food'])
      expect(await nodeOf(0).takeBudget(app, budgetTake(1, 1000))).toMatchObject({ beforeMicros: 150 });
  });

  it('add to sums in any order, and none waits for another', async () => {
    const { stepsSchema } = readSchema();
    const store = await file.open();
    // Each a transaction that goes on for as long as the other one.
    const writing = async (client: Client, countries: readonly string[]) => {
      for (const country of countries)
        await client.query(
          `SELECT ${stepsSchema}.add_usage(ARRAY[${stepsSchema}.usage_key('taxi', $1, '{"at": ${T0}, "provider": "acme"}')])`,
          [country],
        );
    };
    await onDatabase(file.url, (one) =>
      onDatabase(file.url, async (other) => {
        for (const client of [one, other]) await client.query("BEGIN; SET LOCAL lock_timeout = '1s'");
        await writing(one, ['UZ']);
        await writing(other, ['KZ', 'UZ']);
        await writing(one, ['KZ']);
        for (const client of [one, other]) await client.query('COMMIT');
      }),
    );
    const { rows } = await store.database.query('SELECT count(*)::integer AS count FROM countersign.usage');
    expect(rows).toEqual([{ count: 4 }]);
  });
});
