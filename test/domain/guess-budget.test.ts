import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  countGuess,
  type Guesses,
  type GuessPolicy,
  joinGuesses,
  lockedFor,
  noGuesses,
} from '../../src/domain/guess-budget.ts';

const T0 = Date.UTC(2025, 10, 20);
const DAY = 86_400_000;
const policy = { max: 20, windowMs: DAY };

/** Guesses at these moments, where none is made while it is locked. */
function guessAll(times: readonly number[], limit = policy): { guesses: Guesses; made: number[] } {
  let guesses = noGuesses;
  const made: number[] = [];
  for (const now of times) {
    if (lockedFor(guesses, limit, now) > 0) continue;
    guesses = countGuess(guesses, limit, now);
    made.push(now);
  }
  return { guesses, made };
}

describe('the budget of wrong guesses (invariant 3)', () => {
  it('allows twenty and locks with the twentieth', () => {
    const { guesses } = guessAll(Array(19).fill(T0));
    expect(lockedFor(guesses, policy, T0)).toBe(0);
    const locked = countGuess(guesses, policy, T0);
    expect(lockedFor(locked, policy, T0)).toBe(DAY);
    expect(lockedFor(locked, policy, T0 + DAY - 1)).toBe(1);
    expect(lockedFor(locked, policy, T0 + DAY)).toBe(0);
  });

  it('locks for one window, then two, four, and seven at most', () => {
    let guesses = noGuesses;
    let now = T0;
    const windows: number[] = [];
    for (let lock = 0; lock < 6; lock += 1) {
      while (lockedFor(guesses, policy, now) === 0) guesses = countGuess(guesses, policy, now);
      windows.push(lockedFor(guesses, policy, now) / DAY);
      now += lockedFor(guesses, policy, now);
    }
    expect(windows).toEqual([1, 2, 4, 7, 7, 7]);
  });

  it('never lets more than the budget through in any window, whenever the guesses come', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 2 * 3_600_000 }), { maxLength: 300 }),
        fc.integer({ min: 1, max: 100 }),
        (gaps, max) => {
          let at = T0;
          const times = gaps.map((gap) => {
            at += gap;
            return at;
          });
          const { made } = guessAll(times, { max, windowMs: DAY });
          for (const [index, moment] of made.entries()) {
            const later = made[index + max];
            if (later !== undefined) expect(later - moment).toBeGreaterThanOrEqual(DAY);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  it('holds with a budget that was lowered meanwhile', () => {
    const { guesses } = guessAll(Array(10).fill(T0));
    expect(lockedFor(guesses, { max: 5, windowMs: DAY }, T0 + 1000)).toBe(DAY - 1000);
  });

  it('stays locked when the clock is set back', () => {
    const { guesses } = guessAll(Array(20).fill(T0));
    expect(lockedFor(guesses, policy, T0 - DAY)).toBe(2 * DAY);
  });

  // It was a choice of the longer log: eighteen guesses of yesterday won over seventeen fresh ones, which were then forgotten.
  it('joins what two servers know of a number: it waits as long as with the one that waits longer', () => {
    const gaps = fc.array(fc.constantFrom(0, 1, 1000, DAY / 20, DAY / 3, DAY - 1, DAY), { maxLength: 40 });
    const budget = fc.record({ max: fc.constantFrom(1, 2, 5, 40, 100), windowMs: fc.constant(DAY) });
    const guessOn = (known: Guesses, given: readonly number[], limit: GuessPolicy, from: number) => {
      let [guesses, now] = [known, from];
      for (const gap of given) {
        now += gap;
        if (lockedFor(guesses, limit, now) === 0) guesses = countGuess(guesses, limit, now);
      }
      return { guesses, now };
    };
    fc.assert(
      fc.property(gaps, gaps, gaps, budget, fc.integer({ min: 1, max: 100 }), (common, ofA, ofB, given, otherMax) => {
        const before = guessOn(noGuesses, common, given, T0);
        const a = guessOn(before.guesses, ofA, given, before.now);
        const b = guessOn(before.guesses, ofB, given, before.now);
        const joined = joinGuesses(a.guesses, b.guesses);
        expect(joinGuesses(b.guesses, a.guesses)).toEqual(joined);
        expect(joined.log.length).toBeLessThanOrEqual(2 * given.max);
        for (const limit of [given, { max: otherMax, windowMs: DAY }]) {
          for (const now of [before.now, ...[a.now, b.now].flatMap((at) => [at, at + 1, at + DAY / 2, at + 2 * DAY])]) {
            const wanted = Math.max(lockedFor(a.guesses, limit, now), lockedFor(b.guesses, limit, now));
            expect(lockedFor(joined, limit, now)).toBe(wanted);
          }
        }
        // Whatever is guessed after that locks it no later, and for no less.
        let [known, alone, now] = [joined, [a.guesses, b.guesses], Math.max(a.now, b.now)];
        for (const gap of common) {
          now += gap;
          known = countGuess(known, given, now);
          alone = alone.map((guesses) => countGuess(guesses, given, now));
          const longest = Math.max(...alone.map((guesses) => lockedFor(guesses, given, now)));
          expect(lockedFor(known, given, now)).toBeGreaterThanOrEqual(longest);
        }
      }),
      { numRuns: 200 },
    );
  });
});
