import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import {
  countGuess,
  type Guesses,
  type GuessPolicy,
  joinGuesses,
  lockedFor,
  noGuesses,
  uncountGuess,
} from '../../src/domain/guess-budget.ts';
import { dueAfter, joinReports, reportedDispatch } from '../../src/domain/message.ts';
import type { DeliveryReport } from '../../src/domain/provider.ts';
import { append, type EventLog, type LimitRule, takeFrom } from '../../src/domain/rate-limit.ts';
import { pieceOf } from '../../src/stores/redis/scripts.ts';
import { dispatchOf, T0 } from '../../src/testing/store-steps.ts';
import { type TestRedis, useRedis } from '../servers/index.ts';

/** The rules that Lua has a second time are held against the first. */
describe.skipIf(inject('redisUrl') === null)('rules in Lua', () => {
  let server: TestRedis;
  let redis: Redis;
  beforeAll(async () => {
    server = await useRedis();
    redis = new Redis(server.url);
  });
  afterAll(async () => {
    redis.disconnect();
    await server.close();
  });

  /** Runs a piece of Lua behind the shared ones, and returns the JSON that it makes. */
  async function run(pieces: readonly Parameters<typeof pieceOf>[0][], body: string, step: object): Promise<unknown> {
    const text = [...pieces.map(pieceOf), body].join('\n');
    return JSON.parse(String(await redis.eval(text, 1, 'cs:{rules}:warm', JSON.stringify(step))));
  }

  const windows = [1000, 60_000, 3_600_000, 86_400_000];
  const rules = fc.array(
    fc.record({ max: fc.constantFrom(0, 1, 2, 5, 99, 100, 101, 1000), windowMs: fc.constantFrom(...windows) }),
    { minLength: 1, maxLength: 3 },
  );
  const steps = fc.array(fc.oneof(fc.nat(20), fc.nat(5000), fc.nat(4_000_000), fc.integer({ min: -500, max: 0 })), {
    minLength: 1,
    maxLength: 60,
  });

  const take = `
    local results = {}
    local log = {}
    for i, at in ipairs(step.at) do
      now = at
      local wait = 0
      for _, rule in ipairs(step.rules) do wait = math.max(wait, wait_for(log, rule.max, rule.windowMs)) end
      if wait == 0 then log = append(log, step.rules) end
      results[i] = '[' .. whole(wait) .. ',' .. log_text(log) .. ']'
    end
    return '[' .. table.concat(results, ',') .. ']'`;

  it('take from buckets as the domain does, whatever the rules and the clock', async () => {
    await fc.assert(
      fc.asyncProperty(rules, steps, async (given: LimitRule[], gaps) => {
        const at = momentsOf(gaps);
        let log: EventLog = [];
        const wanted = at.map((now) => {
          const outcome = takeFrom(log, given, now);
          if (outcome.kind === 'taken') log = outcome.log;
          return [outcome.kind === 'taken' ? 0 : outcome.retryAfterMs, log];
        });
        expect(await run(['app', 'limits'], take, { rules: given, at })).toEqual(wanted);
      }),
      { numRuns: 150 },
    );
  });

  const money = fc.record({ micros: fc.nat(1e9), currency: fc.constantFrom('USD', 'EUR') });
  const states = fc.constantFrom('queued', 'sent', 'delivered', 'undelivered', 'failed', 'unknown' as const);
  const optional = { nil: undefined };
  const report: fc.Arbitrary<DeliveryReport> = fc
    .record({
      providerMessageId: fc.constant('A1'),
      state: states,
      reason: fc.option(fc.constantFrom('recipient', 'coverage' as const), optional),
      code: fc.option(fc.constantFrom('5', 'E1'), optional),
      optOut: fc.option(fc.constant(true as const), optional),
      cost: fc.option(money, optional),
    })
    .map((given) => plain(given) as DeliveryReport);

  const apply = `
    local report = step.reports[1]
    for i = 2, #step.reports do report = join_reports(report, step.reports[i]) end
    local is_new = apply_report(step.dispatch, report)
    local due = due_after(step.message, step.dispatch, report, step.now, step.dueBefore)
    return cjson.encode({ dispatch = step.dispatch, isNew = is_new, due = due })`;

  it('take reports as the domain does: joined, forward only, and whether another way is worth it', async () => {
    await fc.assert(
      fc.asyncProperty(
        states,
        fc.option(money, optional),
        fc.array(report, { minLength: 1, maxLength: 4 }),
        fc.constantFrom(T0 - 1, T0, T0 + 1),
        async (state, reportedCost, reports, validUntil) => {
          const dispatch = dispatchOf({ state, reportedCost });
          const [first, ...rest] = reports as [DeliveryReport, ...DeliveryReport[]];
          const joined = rest.reduce(joinReports, first);
          const reported = reportedDispatch(dispatch, joined);
          const message = { validUntil };
          const wanted = {
            dispatch: reported,
            isNew: reported !== dispatch,
            due: dueAfter(message, reported, joined, T0, T0 + 9) ?? null,
          };
          const step = { now: T0, reports, dispatch, message: { valid_until: validUntil }, dueBefore: T0 + 9 };
          expect(await run(['app', 'reports'], apply, step)).toEqual(plain(wanted));
        },
      ),
      { numRuns: 300 },
    );
  });

  const guess = `
    local results = {}
    for i, each in ipairs(step.steps) do
      now = each.at
      if each.kind == 'count' then count_guess('n', 'open', step.policy) else uncount_guess('n', 'open', step.policy) end
      local guesses = read_guesses('n', 'open')
      results[i] = '[' .. whole(locked_for(guesses, step.policy)) .. ',' .. guesses_text(guesses) .. ']'
    end
    redis.call('DEL', number_key_of('n'))
    return '[' .. table.concat(results, ',') .. ']'`;

  it('count and uncount guesses as the domain does', async () => {
    const policy = fc.record({ max: fc.integer({ min: 1, max: 8 }), windowMs: fc.constantFrom(...windows) });
    const kinds = fc.array(fc.constantFrom('count' as const, 'count' as const, 'uncount' as const), {
      minLength: 60,
      maxLength: 60,
    });
    await fc.assert(
      fc.asyncProperty(policy, steps, kinds, async (given: GuessPolicy, gaps, wanted) => {
        const each = momentsOf(gaps).map((at, index) => ({ at, kind: wanted[index] ?? 'count' }));
        let guesses: Guesses = noGuesses;
        const expected = each.map(({ at, kind }) => {
          guesses = kind === 'count' ? countGuess(guesses, given, at) : uncountGuess(guesses, given, at);
          return [lockedFor(guesses, given, at), guesses];
        });
        expect(await run(['app', 'limits', 'guesses'], guess, { policy: given, steps: each })).toEqual(expected);
      }),
      { numRuns: 150 },
    );
  });

  it('join two logs of guesses as the domain does', async () => {
    const join = 'return guesses_text(join_guesses(step.a, step.b))';
    const guesses: fc.Arbitrary<Guesses> = fc.record({
      log: fc
        .array(fc.integer({ min: T0 - 9, max: T0 }), { maxLength: 9 })
        .map((moments) =>
          moments.sort().reduce<EventLog>((log, at) => append(log, at, [{ max: 9, windowMs: 99 }]), []),
        ),
      lockedUntil: fc.constantFrom(0, T0, T0 + 1),
      locks: fc.nat(3),
    });
    await fc.assert(
      fc.asyncProperty(guesses, guesses, async (a, b) => {
        expect(await run(['app', 'limits', 'guesses'], join, { a, b })).toEqual(joinGuesses(a, b));
      }),
      { numRuns: 150 },
    );
  });
});

/** As JSON has it, which leaves out what is undefined. */
function plain(value: object): unknown {
  return JSON.parse(JSON.stringify(value));
}

/** Gaps may be less than nothing: clocks are set back. */
function momentsOf(gaps: readonly number[]): number[] {
  let at = T0;
  return gaps.map((gap) => {
    at += gap;
    return at;
  });
}
