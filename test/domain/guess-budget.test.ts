import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countGuess, type Guesses, lockedFor, noGuesses, worseOf } from '../../src/domain/guess-budget.ts';

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

  it('is the worse of two: locked for longer, or else with more guesses', () => {
    const [few, many] = [
      { ...noGuesses, log: [T0, 2] },
      { ...noGuesses, log: [T0, 3] },
    ];
    const locked = { ...noGuesses, lockedUntil: T0 };
    for (const [worse, other] of [
      [many, few],
      [locked, many],
      [{ ...locked, lockedUntil: T0 + 1 }, locked],
    ] as const) {
      expect(worseOf(worse, other)).toBe(worse);
      expect(worseOf(other, worse)).toBe(worse);
    }
  });
});
