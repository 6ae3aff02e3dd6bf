import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import {
  boundToSlot,
  carriedBy,
  isWorthRepeating,
  resendDelayMs,
  type Slot,
  stateAt,
} from '../../src/domain/verification.ts';
import { CODE_LIFE, dispatchOf, managedCode, T0, verificationOf } from '../../src/testing/store-steps.ts';

describe('the state of a verification', () => {
  it('is expired from the very millisecond of expiresAt on (invariant 5)', () => {
    const verification = verificationOf();
    expect(stateAt(verification, verification.expiresAt - 1)).toBe('pending');
    expect(stateAt(verification, verification.expiresAt)).toBe('expired');
    expect(stateAt(verification, verification.expiresAt + 1)).toBe('expired');
  });

  it.each(['approved', 'canceled', 'exhausted'] as const)('stays %s', (state) => {
    const verification = verificationOf({ state });
    expect(stateAt(verification, T0)).toBe(state);
    expect(stateAt(verification, verification.expiresAt)).toBe(state);
  });
});

describe('the delay before the next send', () => {
  it('is the one after as many sends, and the last for all further ones', () => {
    expect([1, 2, 3, 4, 5, 50].map((sends) => resendDelayMs(sends, [30, 30, 60, 120]))).toEqual([
      30_000, 30_000, 60_000, 120_000, 120_000, 120_000,
    ]);
    expect(resendDelayMs(3, [7])).toBe(7000);
    expect(resendDelayMs(1, [])).toBe(0);
  });
});

describe('a code', () => {
  it('is worth repeating with two minutes or more to live', () => {
    const verification = verificationOf();
    expect(isWorthRepeating(verification, T0 + CODE_LIFE - 120_000)).toBe(true);
    expect(isWorthRepeating(verification, T0 + CODE_LIFE - 119_999)).toBe(false);
  });

  it('of a short life is worth repeating in its first half', () => {
    const verification = verificationOf({ expiresAt: T0 + 60_000 });
    expect(isWorthRepeating(verification, T0 + 30_000)).toBe(true);
    expect(isWorthRepeating(verification, T0 + 30_001)).toBe(false);
  });
});

describe('a hand-over that a managed provider took', () => {
  const byIt = { channel: 'sms', managed: managedCode } as const;
  const ours = dispatchOf();
  const theirs = dispatchOf(managedCode);

  it('leaves our own code out when nothing went out before', () => {
    expect(carriedBy(verificationOf(), byIt, [theirs])).toEqual({ ...byIt, ownCodeSent: false });
    const refused = dispatchOf({ providerMessageId: undefined, state: 'failed', reason: 'unavailable' });
    expect(carriedBy(verificationOf(), byIt, [refused, theirs]).ownCodeSent).toBe(false);
  });

  it('leaves our own code good when it went out, or may have', () => {
    expect(carriedBy(verificationOf({ sends: 2 }), byIt, [theirs]).ownCodeSent).toBe(true);
    expect(carriedBy(verificationOf(), byIt, [ours, theirs]).ownCodeSent).toBe(true);
    const uncertain = dispatchOf({ providerMessageId: undefined, state: 'unknown', reason: 'uncertain' });
    expect(carriedBy(verificationOf(), byIt, [uncertain, theirs]).ownCodeSent).toBe(true);
  });

  it('does not make it good when the managed one was all there was', () => {
    const before = verificationOf({ managed: managedCode, ownCodeSent: false, sends: 2 });
    expect(carriedBy(before, byIt, [theirs]).ownCodeSent).toBe(false);
    expect(carriedBy(verificationOf(), byIt, [theirs, theirs]).ownCodeSent).toBe(false);
  });

  it('is followed by one of ours: both codes are good', () => {
    const before = verificationOf({ managed: managedCode, ownCodeSent: false, sends: 2 });
    const voice = { channel: 'voice', managed: undefined } as const;
    expect(carriedBy(before, voice, [ours])).toEqual({ channel: 'voice', managed: managedCode, ownCodeSent: true });
  });
});

describe('what a code is bound to (invariant 6)', () => {
  const slot = fc.record({
    app: fc.constantFrom('a', 'b', 'a","b', '"'),
    purpose: fc.constantFrom('p', 'q', 'p","q', 'null', '\n', ''),
    subject: fc.constantFrom(undefined, 'null', 's', 's","+1', ''),
    number: fc.constantFrom('+1', '+12') as fc.Arbitrary<PhoneNumber>,
    lane: fc.constantFrom('open', 'trusted'),
  }) as fc.Arbitrary<Slot>;

  it('is the same for the same slot only, whatever its parts are called: a subject’s, whatever its number', () => {
    fc.assert(
      fc.property(slot, slot, (one, other) => {
        const isSame =
          one.app === other.app &&
          one.purpose === other.purpose &&
          one.subject === other.subject &&
          (one.subject !== undefined || one.number === other.number) &&
          one.lane === other.lane;
        expect(boundToSlot(one) === boundToSlot(other)).toBe(isSame);
      }),
      { numRuns: 1000 },
    );
  });

  it('holds nothing else of what is handed over', () => {
    const verification = verificationOf();
    const { app, purpose, subject, number, lane } = verification;
    expect(boundToSlot(verification)).toBe(boundToSlot({ app, purpose, subject, number, lane }));
  });
});
