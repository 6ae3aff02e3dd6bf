import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isForward } from '../../src/domain/message.ts';
import type { DeliveryState } from '../../src/domain/provider.ts';

const states = ['queued', 'sent', 'delivered', 'undelivered', 'failed', 'unknown'] as const;
const finals = ['delivered', 'undelivered', 'failed'] as const;

describe('the state of a dispatch', () => {
  it.each([
    ['queued', 'sent'],
    ['queued', 'delivered'],
    ['queued', 'failed'],
    ['sent', 'delivered'],
    ['sent', 'undelivered'],
    ['unknown', 'queued'],
    ['unknown', 'delivered'],
  ] as const)('goes from %s to %s', (from, to) => {
    expect(isForward(from, to)).toBe(true);
    expect(isForward(to, from)).toBe(false);
  });

  it.each(finals)('stays %s, whatever is reported later', (final) => {
    for (const state of states) expect(isForward(final, state)).toBe(false);
  });

  it('changes by no report that comes twice, and never to unknown', () => {
    for (const state of states) {
      expect(isForward(state, state)).toBe(false);
      expect(isForward(state, 'unknown')).toBe(false);
    }
  });

  it('is the same in the end, in whichever order the reports of one course come', () => {
    const course: DeliveryState[] = ['queued', 'sent', 'delivered', 'unknown'];
    fc.assert(
      fc.property(fc.shuffledSubarray(course, { minLength: 4 }), (reports) => {
        let state: DeliveryState = 'queued';
        for (const report of reports) if (isForward(state, report)) state = report;
        expect(state).toBe('delivered');
      }),
    );
  });
});
