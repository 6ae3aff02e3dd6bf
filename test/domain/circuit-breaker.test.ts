import { describe, expect, it } from 'vitest';
import {
  afterOutcome,
  afterWord,
  type Breaker,
  beginTrial,
  closedBreaker,
  concernsAllCountries,
  stateOf,
} from '../../src/domain/circuit-breaker.ts';
import type { FailureReason } from '../../src/domain/provider.ts';
import { MINUTE, SECOND, T0 } from '../../src/testing/store-steps.ts';

/** One hand-over after another, a second apart; undefined is one that was taken. */
function inTurn(reasons: readonly (FailureReason | undefined)[], from: Breaker = closedBreaker, at = T0): Breaker {
  return reasons.reduce((breaker, reason, index) => afterOutcome(breaker, reason, at + index * SECOND), from);
}

function times<Value>(count: number, value: Value): Value[] {
  return Array.from({ length: count }, () => value);
}

/** Opened by an outage at T0; its cool-off of ten seconds begins then. */
function opened(reason: 'account' | 'unavailable' = 'unavailable'): Breaker {
  if (reason === 'account') return afterOutcome(closedBreaker, 'account', T0);
  return times(5, reason).reduce((breaker: Breaker, each) => afterOutcome(breaker, each, T0), closedBreaker);
}

describe('a breaker that is closed', () => {
  it.each(['unavailable', 'uncertain'] as const)('opens at the fifth of ten that is %s', (reason) => {
    const four = inTurn(times(4, reason));
    expect(stateOf(four, T0 + 4 * SECOND)).toBe('closed');
    const five = afterOutcome(four, reason, T0 + 4 * SECOND);
    expect(stateOf(five, T0 + 4 * SECOND)).toBe('open');
    expect(five.reason).toBe(reason);
  });

  it('opens at five failures of ten with five that were taken between them, and not at four', () => {
    const half = times(5, ['unavailable', undefined] as const).flat();
    expect(stateOf(inTurn(half.slice(0, -1)), T0 + 9 * SECOND)).toBe('open');
    const fewer = [...times(4, ['unavailable', undefined] as const).flat(), undefined, undefined];
    expect(stateOf(inTurn(fewer), T0 + 10 * SECOND)).toBe('closed');
  });

  it('looks at the last ten hand-overs alone', () => {
    const old = inTurn([...times(4, 'unavailable' as const), ...times(9, undefined)]);
    expect(old.outcomes).toHaveLength(10);
    expect(stateOf(afterOutcome(old, 'unavailable', T0 + 13 * SECOND), T0 + 13 * SECOND)).toBe('closed');
  });

  it('looks at one minute alone, to the millisecond', () => {
    const four = times(4, 'unavailable' as const).reduce(
      (breaker: Breaker, reason) => afterOutcome(breaker, reason, T0),
      closedBreaker,
    );
    expect(stateOf(afterOutcome(four, 'unavailable', T0 + MINUTE - 1), T0 + MINUTE - 1)).toBe('open');
    expect(stateOf(afterOutcome(four, 'unavailable', T0 + MINUTE), T0 + MINUTE)).toBe('closed');
  });

  it('stays closed, and the very same, while all is well: nothing is kept of a healthy provider', () => {
    expect(inTurn(times(20, undefined))).toBe(closedBreaker);
  });

  it.each(['recipient', 'blocked', 'content', 'coverage'] as const)(
    'takes %s for an answer: that says nothing against the provider',
    (reason) => {
      expect(inTurn(times(20, reason))).toBe(closedBreaker);
      const mixed = [...times(4, 'unavailable' as const), ...times(6, reason)];
      expect(stateOf(inTurn(mixed), T0 + 10 * SECOND)).toBe('closed');
    },
  );

  it('opens at once when the account is refused', () => {
    const breaker = opened('account');
    expect(stateOf(breaker, T0 + 10 * SECOND - 1)).toBe('open');
    expect(stateOf(breaker, T0 + 10 * SECOND)).toBe('trial');
    expect(breaker.reason).toBe('account');
  });

  it.each([
    ['for as long as the provider says', 7000, 7000],
    ['for a second when it does not say', undefined, 1000],
    ['for a minute at most', 3_600_000, MINUTE],
  ])('opens when it is throttled, %s', (_, retryAfterMs, openMs) => {
    const breaker = afterOutcome(closedBreaker, 'throttled', T0, retryAfterMs);
    expect(stateOf(breaker, T0 + openMs - 1)).toBe('open');
    expect(stateOf(breaker, T0 + openMs)).toBe('trial');
    // That it is busy makes no later wait longer.
    expect(breaker.coolOffMs).toBe(closedBreaker.coolOffMs);
  });
});

describe('a breaker that is open', () => {
  it('is tried at the very millisecond at which its cool-off ends', () => {
    expect(stateOf(opened(), T0 + 10 * SECOND - 1)).toBe('open');
    expect(stateOf(opened(), T0 + 10 * SECOND)).toBe('trial');
  });

  it('lets one through: while the trial is on its way everybody else goes elsewhere', () => {
    const trial = beginTrial(opened(), T0 + 10 * SECOND);
    expect(stateOf(trial, T0 + 10 * SECOND)).toBe('open');
    expect(stateOf(trial, T0 + 25 * SECOND - 1)).toBe('open');
  });

  it('is tried anew when nobody reports back from a trial', () => {
    expect(stateOf(beginTrial(opened(), T0 + 10 * SECOND), T0 + 25 * SECOND)).toBe('trial');
  });

  it.each([undefined, 'recipient', 'content'] as const)(
    'closes when its trial ends with %s, and forgets all',
    (reason) => {
      for (const breaker of [opened(), opened('account')])
        expect(afterOutcome(beginTrial(breaker, T0 + 10 * SECOND), reason, T0 + 11 * SECOND)).toEqual(closedBreaker);
    },
  );

  it.each(['unavailable', 'account'] as const)('opens for longer from one failed trial (%s) to the next', (reason) => {
    let breaker = opened(reason);
    const waits: number[] = [];
    for (let trial = 0; trial < 5; trial += 1) {
      const at = breaker.openUntil ?? 0;
      breaker = afterOutcome(beginTrial(breaker, at), reason, at);
      expect(stateOf(breaker, at)).toBe('open');
      waits.push(((breaker.openUntil ?? 0) - at) / SECOND);
    }
    expect(waits).toEqual([20, 40, 60, 60, 60]);
  });

  it('learns nothing from hand-overs that began before it opened, and failed', () => {
    expect(inTurn(times(20, 'unavailable' as const), opened(), T0 + SECOND)).toEqual(opened());
  });

  // Fifty that were under way when the credentials were revoked made it a minute at once.
  it('learns nothing from hand-overs that began before the account was refused, and were refused too', () => {
    expect(inTurn(times(20, 'account' as const), opened('account'), T0 + 10)).toEqual(opened('account'));
  });

  // One that was under way and went well, or timed out in some country, closed it: the next messages met the outage again.
  it.each([undefined, 'recipient'] as const)(
    'is not closed by hand-overs that began before it opened: %s',
    (reason) => {
      for (const breaker of [opened(), opened('account'), afterOutcome(closedBreaker, 'throttled', T0, 5000)])
        expect(afterOutcome(breaker, reason, T0 + SECOND)).toEqual(breaker);
    },
  );

  // A throttled one that was under way let it be tried after a second, and gave "throttled" as the cause.
  it('for the account’s sake is not opened for less by one that was throttled', () => {
    const breaker = afterOutcome(opened('account'), 'throttled', T0 + SECOND, 1000);
    expect(breaker.openUntil).toBe(T0 + 10 * SECOND);
    expect(breaker.reason).toBe('account');
  });

  it('for throttling waits for the longest that was asked for', () => {
    const breaker = afterOutcome(closedBreaker, 'throttled', T0, 5000);
    expect(afterOutcome(breaker, 'throttled', T0 + 1, 1000).openUntil).toBe(T0 + 5000);
    expect(afterOutcome(breaker, 'throttled', T0 + 1, 9000).openUntil).toBe(T0 + 9001);
  });

  it('for throttling opens for the account’s sake all the same', () => {
    const breaker = afterOutcome(afterOutcome(closedBreaker, 'throttled', T0, 1000), 'account', T0 + 500);
    expect(breaker).toMatchObject({ openUntil: T0 + 500 + 10 * SECOND, reason: 'account' });
  });

  it('whose trial is throttled waits and is tried again', () => {
    const breaker = afterOutcome(beginTrial(opened('account'), T0 + 10 * SECOND), 'throttled', T0 + 11 * SECOND, 3000);
    expect(breaker).toMatchObject({ reason: 'throttled', coolOffMs: 20_000 });
    expect(stateOf(breaker, T0 + 14 * SECOND - 1)).toBe('open');
    expect(stateOf(breaker, T0 + 14 * SECOND)).toBe('trial');
  });
});

describe('the word of another node', () => {
  it('opens the breaker for a second longer than there, so that the one that found it out tries first', () => {
    const heard = afterWord(closedBreaker, opened(), T0 + SECOND);
    expect(stateOf(heard, T0 + 11 * SECOND - 1)).toBe('open');
    expect(stateOf(heard, T0 + 11 * SECOND)).toBe('trial');
    // Its minute is the longest that there is, and a second more must not read like a clock that was set back.
    const longest = times(6, 'account' as const).reduce(
      (breaker: Breaker) => afterOutcome(beginTrial(breaker, T0), 'account', T0),
      closedBreaker,
    );
    expect(stateOf(afterWord(closedBreaker, longest, T0), T0)).toBe('open');
    // Nor one that comes from a node whose clock is a little ahead.
    expect(stateOf(afterWord(closedBreaker, longest, T0 - 500), T0 - 500)).toBe('open');
  });

  it('that a trial has begun keeps the others away until that is lost', () => {
    const heard = afterWord(opened(), beginTrial(opened(), T0 + 10 * SECOND), T0 + 12 * SECOND);
    expect(stateOf(heard, T0 + 25 * SECOND - 1)).toBe('open');
    expect(stateOf(heard, T0 + 25 * SECOND)).toBe('trial');
  });

  it('that it is well closes it, and leaves alone what was counted of one that is well here', () => {
    expect(afterWord(opened(), closedBreaker, T0)).toBe(closedBreaker);
    const counting = inTurn(['unavailable', 'unavailable']);
    expect(afterWord(counting, closedBreaker, T0)).toBe(counting);
  });

  it('that is old says nothing to one that is well here: it is to be tried again anyway', () => {
    const counting = inTurn(['unavailable', 'unavailable']);
    expect(afterWord(counting, opened(), T0 + 11 * SECOND)).toBe(counting);
    expect(afterWord(counting, opened(), T0 + 11 * SECOND - 1)).not.toBe(counting);
  });
});

describe('a failure', () => {
  it('concerns all countries when the account or the rate is at fault, else the one', () => {
    const reasons = [
      'recipient',
      'blocked',
      'content',
      'coverage',
      'account',
      'throttled',
      'unavailable',
      'uncertain',
    ] as const;
    expect(reasons.filter(concernsAllCountries)).toEqual(['account', 'throttled']);
  });
});
