import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { append, type EventLog, type LimitRule, takeFrom, waitFor } from '../../src/domain/rate-limit.ts';

const T0 = Date.UTC(2025, 10, 20);

function momentsOf(gaps: readonly number[]): number[] {
  let at = T0;
  return gaps.map((gap) => {
    at += gap;
    return at;
  });
}

/** Offers an event at each of these moments, and says which were taken. */
function takeAll(times: readonly number[], rules: readonly LimitRule[]): { taken: number[]; log: EventLog } {
  let log: EventLog = [];
  const taken: number[] = [];
  for (const now of times) {
    const outcome = takeFrom(log, rules, now);
    if (outcome.kind === 'refused') continue;
    log = outcome.log;
    taken.push(now);
  }
  return { taken, log };
}

/** The most events in any window: a fullest one can always be moved until it begins with an event. */
function mostInAnyWindow(times: readonly number[], windowMs: number): number {
  return Math.max(0, ...times.map((from) => times.filter((at) => at >= from && at < from + windowMs).length));
}

const rule = fc.record({ max: fc.integer({ min: 1, max: 12 }), windowMs: fc.integer({ min: 1, max: 5000 }) });
const rules = fc.array(rule, { minLength: 1, maxLength: 4 });
const times = fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 120 }).map((gaps) => momentsOf(gaps));

describe('a limit (invariant 7)', () => {
  it('never lets more than max events into any window, wherever it is laid', () => {
    fc.assert(
      fc.property(times, rules, (at, limits) => {
        const { taken } = takeAll(at, limits);
        for (const { max, windowMs } of limits) expect(mostInAnyWindow(taken, windowMs)).toBeLessThanOrEqual(max);
      }),
    );
  });

  it('refuses nothing that fits: up to a hundred events it is exact', () => {
    fc.assert(
      fc.property(times, rules, (at, limits) => {
        // As slow and as plain as can be: all events are remembered, and each window counted.
        const plain: number[] = [];
        for (const now of at) {
          const fits = limits.every(({ max, windowMs }) => plain.filter((t) => t > now - windowMs).length < max);
          if (fits) plain.push(now);
        }
        expect(takeAll(at, limits).taken).toEqual(plain);
      }),
    );
  });

  it('says exactly when the next one fits: a millisecond earlier is refused still', () => {
    fc.assert(
      fc.property(times, rules, fc.integer({ min: 0, max: 400 }), (at, limits, gap) => {
        const { log } = takeAll(at, limits);
        const now = (at.at(-1) ?? T0) + gap;
        const outcome = takeFrom(log, limits, now);
        if (outcome.kind === 'taken') return;
        expect(takeFrom(log, limits, now + outcome.retryAfterMs - 1).kind).toBe('refused');
        expect(takeFrom(log, limits, now + outcome.retryAfterMs).kind).toBe('taken');
      }),
    );
  });

  it('leaves the log as it was, whether it takes or refuses', () => {
    const log: EventLog = Object.freeze([T0, 1, T0 + 1, 1]);
    expect(takeFrom(log, [{ max: 2, windowMs: 10 }], T0 + 5)).toEqual({ kind: 'refused', retryAfterMs: 5 });
    expect(takeFrom(log, [{ max: 3, windowMs: 10 }], T0 + 5)).toEqual({
      kind: 'taken',
      log: [T0, 1, T0 + 1, 1, T0 + 5, 1],
    });
    expect(log).toEqual([T0, 1, T0 + 1, 1]);
  });

  it('forgets what no rule looks at any more', () => {
    const { log } = takeAll([T0, T0 + 1, T0 + 1000, T0 + 2000], [{ max: 2, windowMs: 1000 }]);
    expect(log).toEqual([T0 + 2000, 1]);
  });

  it('of nothing refuses everything, for as long as its window', () => {
    expect(waitFor([], 0, 5000, T0)).toBe(5000);
  });

  it('that was lowered holds for the events of before', () => {
    const { log } = takeAll([T0, T0, T0, T0 + 10], [{ max: 10, windowMs: 1000 }]);
    expect(takeFrom(log, [{ max: 2, windowMs: 1000 }], T0 + 20)).toEqual({ kind: 'refused', retryAfterMs: 980 });
  });

  it('holds when the clock is set back: what was counted is not counted earlier', () => {
    const limits = [{ max: 3, windowMs: 1000 }];
    const { log, taken } = takeAll([T0, T0 - 5000, T0 - 5000, T0 - 4000], limits);
    expect(taken).toHaveLength(3);
    expect(log).toEqual([T0, 3]);
    expect(takeFrom(log, limits, T0 - 3000)).toEqual({ kind: 'refused', retryAfterMs: 4000 });
    expect(takeFrom(log, limits, T0 + 1000).kind).toBe('taken');
  });
});

describe('a limit above a hundred', () => {
  const big = fc.record({ max: fc.integer({ min: 101, max: 400 }), windowMs: fc.integer({ min: 100, max: 60_000 }) });
  const rush = fc
    .array(fc.integer({ min: 0, max: 200 }), { minLength: 300, maxLength: 900 })
    .map((gaps) => momentsOf(gaps));

  it('never lets more than max events into any window', () => {
    fc.assert(
      fc.property(rush, big, fc.option(rule), (at, limit, small) => {
        const limits = small === null ? [limit] : [limit, small];
        const { taken } = takeAll(at, limits);
        for (const { max, windowMs } of limits) expect(mostInAnyWindow(taken, windowMs)).toBeLessThanOrEqual(max);
      }),
      { numRuns: 50 },
    );
  });

  it('is exact when all come at once', () => {
    const { taken } = takeAll(Array(1000).fill(T0), [{ max: 777, windowMs: 3_600_000 }]);
    expect(taken).toHaveLength(777);
  });

  it('has room again at most a 32nd of the window late', () => {
    fc.assert(
      fc.property(rush, big, (at, limit) => {
        const { taken, log } = takeAll(at, [limit]);
        const now = at.at(-1) ?? T0;
        const exact = waitFor(
          taken.flatMap((t) => [t, 1]),
          limit.max,
          limit.windowMs,
          now,
        );
        const coarse = waitFor(log, limit.max, limit.windowMs, now);
        expect(coarse).toBeGreaterThanOrEqual(exact);
        expect(coarse - exact).toBeLessThanOrEqual(Math.ceil(limit.windowMs / 32));
      }),
      { numRuns: 50 },
    );
  });

  it('remembers some hundred entries at most, however many events there are', () => {
    const day = 86_400_000;
    const hour = 3_600_000;
    // Each start reads and writes the log. A minute's limit beside a day's once kept every event of the day.
    for (const limits of [
      [{ max: 100_000, windowMs: hour }],
      [
        { max: 60, windowMs: 60_000 },
        { max: 100_000, windowMs: day },
      ],
      [
        { max: 100_000, windowMs: day },
        { max: 5000, windowMs: hour },
        { max: 300, windowMs: 60_000 },
        { max: 30, windowMs: 1000 },
      ],
    ]) {
      let log: EventLog = [];
      let longest = 0;
      let taken = 0;
      for (let now = T0; now < T0 + 2 * day; now += 4000) {
        const outcome = takeFrom(log, limits, now);
        if (outcome.kind === 'refused') continue;
        taken += 1;
        log = outcome.log;
        longest = Math.max(longest, log.length / 2);
      }
      expect(taken).toBeGreaterThan(40_000);
      expect(longest).toBeLessThanOrEqual(limits.length * 102);
    }
  });
});

describe('appending', () => {
  it('keeps moments in order and loses no event that is kept', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: T0, max: T0 + 1000 }), { maxLength: 50 }), (at) => {
        let log: EventLog = [];
        for (const now of at) log = append(log, now, [{ max: 1000, windowMs: 100_000 }]);
        const moments = log.filter((_, index) => index % 2 === 0);
        const counts = log.filter((_, index) => index % 2 === 1);
        expect(moments).toEqual(moments.toSorted((x, y) => x - y));
        expect(counts.reduce((sum, count) => sum + count, 0)).toBe(at.length);
      }),
    );
  });
});
