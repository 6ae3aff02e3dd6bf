import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Dispatch } from '../../src/domain/message.ts';
import { reportedDispatch } from '../../src/domain/message.ts';
import type { DeliveryReport } from '../../src/domain/provider.ts';
import {
  addUsage,
  costOf,
  dayOf,
  endOfDay,
  noUsage,
  type UsageChange,
  type UsageCounts,
  usageOfApproval,
  usageOfDispatch,
  usageOfLateCost,
} from '../../src/domain/usage.ts';
import { DAY, dispatchOf, messageOf, money, T0, verificationOf } from '../../src/testing/store-steps.ts';

const code = messageOf(verificationOf());
const custom = messageOf(undefined);

/** The sums of changes by day, provider and currency, without those that are all 0. */
function sums(changes: readonly UsageChange[]): Record<string, UsageCounts> {
  const added: Record<string, UsageCounts> = {};
  for (const { key, counts } of changes) {
    const name = [key.day, key.app, key.provider, key.country, key.currency].join();
    added[name] = addUsage(added[name] ?? noUsage, counts);
  }
  return Object.fromEntries(Object.entries(added).filter(([, counts]) => Object.values(counts).some((n) => n !== 0)));
}

const cost = fc.option(
  fc.record({ micros: fc.integer({ min: 0, max: 100 }), currency: fc.constantFrom('USD', 'UZS') }),
  { nil: undefined },
);
const dispatch: fc.Arbitrary<Dispatch> = fc
  .record({
    provider: fc.constantFrom('a', 'b'),
    providerMessageId: fc.constantFrom('id', undefined),
    reason: fc.constantFrom('uncertain', 'account', undefined),
    estimatedCost: cost,
    reportedCost: cost,
  })
  .map((given) => dispatchOf({ ...given, state: given.providerMessageId === undefined ? 'failed' : 'queued' }));
const report: fc.Arbitrary<DeliveryReport> = fc
  .record({ state: fc.constantFrom('queued', 'sent', 'delivered', 'failed', 'undelivered', 'unknown'), cost })
  .map(({ state, cost: reported }) => ({
    providerMessageId: 'id',
    state,
    ...(reported === undefined ? {} : { cost: reported }),
  }));

describe('a day', () => {
  it('is the UTC day of an instant, in whichever order instants are asked for', () => {
    // The last one is remembered: instants before 1970 left a wrong day behind.
    const at = fc.oneof(
      fc.integer({ min: -3 * DAY, max: 3 * DAY }),
      fc.integer({ min: T0 - 3 * DAY, max: T0 + 3 * DAY }),
    );
    fc.assert(
      fc.property(fc.array(at), (instants) => {
        for (const each of instants) expect(dayOf(each)).toBe(new Date(each).toISOString().slice(0, 10));
      }),
    );
  });

  it('begins and ends at midnight, to the millisecond', () => {
    const midnight = Date.UTC(2025, 10, 21);
    expect(dayOf(midnight - 1)).toBe('2025-11-20');
    expect(dayOf(midnight)).toBe('2025-11-21');
    expect(endOfDay(midnight - 1)).toBe(midnight);
    expect(endOfDay(midnight)).toBe(midnight + DAY);
    expect(endOfDay(-1)).toBe(0);
  });
});

describe('what a dispatch costs', () => {
  it('is what the provider says, else what the price table does', () => {
    expect(costOf(dispatchOf())).toBeUndefined();
    expect(costOf(dispatchOf({ estimatedCost: money(5) }))).toEqual(money(5));
    expect(costOf(dispatchOf({ estimatedCost: money(5), reportedCost: money(0, 'EUR') }))).toEqual(money(0, 'EUR'));
  });
});

describe('the usage of a dispatch', () => {
  it('of a code counts it, and its cost, on the day of the hand-over', () => {
    const at = T0 + 2 * DAY;
    expect(usageOfDispatch(code, undefined, dispatchOf({ at, estimatedCost: money(5) }))).toEqual([
      {
        key: { day: '2025-11-22', app: 'taxi', provider: 'acme', country: 'UZ', currency: 'USD' },
        counts: { ...noUsage, sent: 1, codes: 1, costMicros: 5, codeCostMicros: 5 },
      },
    ]);
  });

  it('of a custom message counts no code; a number of no country has none', () => {
    const [change] = usageOfDispatch(
      { ...custom, country: undefined },
      undefined,
      dispatchOf({ estimatedCost: money(5) }),
    );
    expect(change?.key.country).toBe('');
    expect(change?.counts).toEqual({ ...noUsage, sent: 1, costMicros: 5 });
  });

  it.each([
    ['refused', { state: 'failed', providerMessageId: undefined, reason: 'unavailable' }, { failed: 1 }],
    [
      'perhaps taken',
      { state: 'unknown', providerMessageId: undefined, reason: 'uncertain' },
      { sent: 1, costMicros: 5 },
    ],
    ['taken, delivered', { state: 'delivered' }, { sent: 1, delivered: 1, costMicros: 5 }],
    ['taken, not delivered', { state: 'undelivered' }, { sent: 1, failed: 1, costMicros: 5 }],
    ['taken, failed', { state: 'failed' }, { sent: 1, failed: 1, costMicros: 5 }],
    ['taken', { state: 'sent' }, { sent: 1, costMicros: 5 }],
  ] as const)('that was %s', (_, given, counts) => {
    const [change] = usageOfDispatch(custom, undefined, dispatchOf({ estimatedCost: money(5), ...given }));
    expect(change?.counts).toEqual({ ...noUsage, ...counts });
    expect(change?.key.currency).toBe('costMicros' in counts ? 'USD' : '');
  });

  it('that reports have changed is, added up, that of the dispatch as it is in the end', () => {
    fc.assert(
      fc.property(dispatch, fc.array(report, { maxLength: 6 }), fc.boolean(), (first, reports, isCode) => {
        const message = isCode ? code : custom;
        const changes = [...usageOfDispatch(message, undefined, first)];
        let now = first;
        for (const each of first.providerMessageId === undefined ? [] : reports) {
          const after = reportedDispatch(now, each);
          if (after === now) continue;
          changes.push(...usageOfDispatch(message, now, after));
          now = after;
        }
        expect(sums(changes)).toEqual(sums(usageOfDispatch(message, undefined, now)));
      }),
      { numRuns: 1000 },
    );
  });
});

describe('the usage of an approval', () => {
  const refused = dispatchOf({ provider: 'r', state: 'failed', providerMessageId: undefined, reason: 'account' });
  const first = dispatchOf({ provider: 'f', estimatedCost: money(3) });
  const second = dispatchOf({ provider: 's', estimatedCost: money(3), reportedCost: money(4, 'UZS') });

  it('is one for the last that took the code, and the cost of each that did', () => {
    const counted = usageOfApproval(verificationOf(), [refused, first, second, refused]);
    expect(counted.map(({ key, counts }) => [key.provider, key.currency, counts])).toEqual([
      ['f', 'USD', { ...noUsage, approvedCostMicros: 3 }],
      ['s', 'UZS', { ...noUsage, approved: 1, approvedCostMicros: 4 }],
    ]);
  });

  it('is nothing when nobody took it', () => {
    expect(usageOfApproval(verificationOf(), [])).toEqual([]);
    expect(usageOfApproval(verificationOf(), [refused])).toEqual([]);
  });

  it('is, with a cost that is known only then, what it had been with the cost known before', () => {
    fc.assert(
      fc.property(fc.array(dispatch, { minLength: 1, maxLength: 4 }), fc.nat(), report, (before, place, late) => {
        const index = place % before.length;
        const one = before[index] as Dispatch;
        const after = before.with(index, reportedDispatch(one, late));
        const changes = [...usageOfApproval(code, before), ...usageOfLateCost(code, before, after)];
        expect(sums(changes)).toEqual(sums(usageOfApproval(code, after)));
      }),
      { numRuns: 500 },
    );
  });
});
