import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countGuess, type Guesses, lockedFor, noGuesses, uncountGuess } from '../../src/domain/guess-budget.ts';
import { append, type EventLog, type LimitRule, waitFor } from '../../src/domain/rate-limit.ts';
import type { Store } from '../../src/domain/store.ts';
import type { PostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import { readSchema } from '../../src/stores/postgres/schema.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import { DAY, MINUTE, T0 } from '../../src/testing/store-steps.ts';
import { hasPostgres, postgresForFile } from './postgres-database.ts';
import { sequences, Twins } from './postgres-twins.ts';

/** More by hand: `TWIN_RUNS=2000 npm test -- test/stores/postgres-twins.test.ts`. */
const RUNS = Number(process.env['TWIN_RUNS'] ?? 50);
const LOGS = 3000;

describe.skipIf(!hasPostgres())('PostgreSQL beside SQLite', () => {
  let file: Awaited<ReturnType<typeof postgresForFile>>;
  let postgres: PostgresStore;
  let sqlite: Store;
  let directory: string;
  const { stepsSchema } = readSchema();

  beforeAll(async () => {
    file = await postgresForFile();
    postgres = await file.open();
    directory = mkdtempSync(join(tmpdir(), 'countersign-twins-'));
    sqlite = openSqliteStore(join(directory, 'countersign.db'));
  });
  afterAll(async () => {
    await sqlite.close();
    rmSync(directory, { recursive: true });
    await file.close();
  });

  it('comes to the same in whatever order steps are taken, and whichever way the clock goes', async () => {
    let app = 0;
    await fc.assert(
      fc.asyncProperty(sequences, async (sequence) => {
        app += 1;
        const twins = new Twins(`a${app}`);
        for (const [jumpMs, step] of sequence) {
          const [expected, found] = await twins.take([sqlite, postgres], jumpMs, step);
          expect(found, JSON.stringify(step)).toEqual(expected);
        }
        expect(await twins.remains(postgres)).toEqual(await twins.remains(sqlite));
      }),
      { numRuns: RUNS, interruptAfterTimeLimit: 240_000, markInterruptAsFailure: true, ...seedOf('TWIN_SEED') },
    );
  }, 300_000);

  it('counts events by the rules of the domain', async () => {
    const cases = fc.sample(fc.tuple(history, rules, fc.integer({ min: -MINUTE, max: 2 * DAY })), {
      numRuns: LOGS,
      ...seedOf('TWIN_SEED'),
    });
    const asked = cases.map(([gaps, given, later]) => {
      const { log, now } = played(gaps, given);
      return { log, rules: given, now: now + later };
    });
    const { rows } = await postgres.database.patientQuery(
      `SELECT to_jsonb(${stepsSchema}.append_event(log, moment, rules)) AS log,
              ${stepsSchema}.longest_wait(log, rules, moment)::float8 AS wait_ms
         FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS t (l, r, moment, place),
              LATERAL (SELECT l::bigint[] AS log, r::bigint[] AS rules) AS cast_to
        ORDER BY place`,
      [
        asked.map(({ log }) => `{${log.join(',')}}`),
        asked.map((each) => `{${each.rules.map(({ max, windowMs }) => `${max},${windowMs}`).join(',')}}`),
        asked.map(({ now }) => now),
      ],
    );
    const expected = asked.map(({ log, rules: given, now }) => ({
      log: append(log, now, given),
      wait_ms: Math.max(0, ...given.map(({ max, windowMs }) => waitFor(log, max, windowMs, now))),
    }));
    expect(rows).toEqual(expected);
    // Long logs too: these are the ones that are made coarser.
    expect(asked.filter(({ log }) => log.length > 60).length).toBeGreaterThan(100);
  });

  it('counts wrong guesses by the rules of the domain', async () => {
    const policy = fc.record({ max: fc.integer({ min: 1, max: 100 }), windowMs: fc.constantFrom(MINUTE, DAY) });
    const cases = fc.sample(fc.tuple(history, policy, fc.integer({ min: -MINUTE, max: 8 * DAY })), {
      numRuns: LOGS,
      ...seedOf('TWIN_SEED'),
    });
    const asked = cases.map(([gaps, given, later]) => {
      let now = T0;
      let guesses: Guesses = noGuesses;
      for (const gap of gaps) {
        now += gap;
        guesses = countGuess(guesses, given, now);
      }
      return { guesses, policy: given, now: now + later };
    });
    const { rows } = await postgres.database.patientQuery(
      `SELECT ${stepsSchema}.count_guess(c->'guesses', c->'policy', (c->>'now')::bigint) AS counted,
              ${stepsSchema}.uncount_guess(c->'guesses', c->'policy', (c->>'now')::bigint) AS uncounted,
              ${stepsSchema}.locked_for(c->'guesses', c->'policy', (c->>'now')::bigint)::float8 AS locked_ms
         FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS t (c, place) ORDER BY place`,
      [JSON.stringify(asked)],
    );
    const expected = asked.map(({ guesses, policy: given, now }) => ({
      counted: countGuess(guesses, given, now),
      uncounted: uncountGuess(guesses, given, now),
      locked_ms: lockedFor(guesses, given, now),
    }));
    expect(rows).toEqual(expected);
    expect(expected.filter(({ counted }) => counted.locks > 1).length).toBeGreaterThan(50);
  });
});

/** Milliseconds from each event to the next; a clock that is set back too. */
const history = fc.oneof(
  fc.array(fc.integer({ min: -1000, max: 40_000 }), { maxLength: 40 }),
  fc.array(fc.constantFrom(0, 1, 1, 700, 30_000, 3_600_000, -5000), { minLength: 40, maxLength: 140 }),
);
const rules = fc.array(
  fc.record({
    max: fc.constantFrom(0, 1, 3, 99, 100, 101, 500),
    windowMs: fc.constantFrom(1000, MINUTE, 61 * MINUTE, DAY),
  }),
  { minLength: 1, maxLength: 3 },
);

function played(gaps: readonly number[], given: readonly LimitRule[]): { log: EventLog; now: number } {
  let now = T0;
  let log: EventLog = [];
  for (const gap of gaps) {
    now += gap;
    log = append(log, now, given);
  }
  return { log, now };
}

function seedOf(name: string): { seed: number } | Record<string, never> {
  const seed = process.env[name];
  return seed === undefined ? {} : { seed: Number(seed) };
}
