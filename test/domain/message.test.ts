import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dueAfter, isForward, joinReports, reportedDispatch, wasTaken } from '../../src/domain/message.ts';
import type { DeliveryReport, DeliveryState } from '../../src/domain/provider.ts';
import { dispatchOf, HOUR, messageOf, money, SECOND, T0 } from '../../src/testing/store-steps.ts';

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

describe('a dispatch after a report', () => {
  const dispatch = dispatchOf({ estimatedCost: money(9), reason: 'uncertain', errorCode: 'timeout' });
  const report = (state: DeliveryState, more: Partial<DeliveryReport> = {}): DeliveryReport => ({
    providerMessageId: 'A1',
    state,
    ...more,
  });

  it('is itself when the report says nothing new, or there is none', () => {
    expect(reportedDispatch(dispatch, undefined)).toBe(dispatch);
    expect(reportedDispatch(dispatch, report('queued', { reason: 'content', code: '7' }))).toBe(dispatch);
    const priced = { ...dispatch, reportedCost: money(5) };
    expect(reportedDispatch(priced, report('unknown', { cost: money(5) }))).toBe(priced);
  });

  it('has the state, the reason and the error code of a report that is further on', () => {
    expect(reportedDispatch(dispatch, report('failed', { reason: 'content', code: '7' }))).toEqual({
      ...dispatch,
      state: 'failed',
      reason: 'content',
      errorCode: '7',
    });
  });

  it('keeps what a report does not speak of', () => {
    expect(reportedDispatch(dispatch, report('sent'))).toEqual({ ...dispatch, state: 'sent' });
  });

  it('has the price of a report, be its state old or final, and nothing else of an old one', () => {
    const delivered = { ...dispatch, state: 'delivered' } as const;
    const late = report('failed', { cost: money(5), reason: 'content', code: '7' });
    expect(reportedDispatch(delivered, late)).toEqual({ ...delivered, reportedCost: money(5) });
  });

  // The amount alone was compared.
  it('has the price in the currency that was said last', () => {
    const priced = { ...dispatch, reportedCost: money(5) };
    expect(reportedDispatch(priced, report('queued', { cost: money(5, 'EUR') })).reportedCost).toEqual(money(5, 'EUR'));
    expect(reportedDispatch(priced, report('queued', { cost: money(0) })).reportedCost).toEqual(money(0));
  });
});

describe('a hand-over', () => {
  it.each([
    ['took it', { providerMessageId: 'A1' }, true],
    ['may have taken it', { providerMessageId: undefined, reason: 'uncertain' }, true],
    ['refused it', { providerMessageId: undefined, reason: 'unavailable' }, false],
    ['took it, and it failed later', { providerMessageId: 'A1', state: 'failed', reason: 'content' }, true],
  ] as const)('whose provider %s', (_, given, isTaken) => {
    expect(wasTaken(dispatchOf(given))).toBe(isTaken);
  });
});

describe('two early reports', () => {
  const report = (state: DeliveryState, more: Partial<DeliveryReport> = {}): DeliveryReport => ({
    providerMessageId: 'A1',
    state,
    ...more,
  });

  it('are one: that of the state that is further on, whichever came first', () => {
    const failed = report('failed', { reason: 'blocked', code: '21610', optOut: true });
    expect(joinReports(report('sent', { code: '0' }), failed)).toEqual(failed);
    expect(joinReports(failed, report('sent', { code: '0' }))).toEqual(failed);
    expect(joinReports(failed, report('delivered'))).toEqual(failed);
  });

  it('have the cost that either knows, of two the later one', () => {
    const delivered = report('delivered');
    expect(joinReports(report('sent', { cost: money(5) }), delivered)).toEqual({ ...delivered, cost: money(5) });
    expect(joinReports(delivered, report('sent', { cost: money(5) }))).toEqual({ ...delivered, cost: money(5) });
    const [first, later] = [report('sent', { cost: money(5) }), report('delivered', { cost: money(4) })];
    expect(joinReports(first, later).cost).toEqual(money(4));
    expect(joinReports(later, first).cost).toEqual(money(5));
  });

  it('say of a dispatch what both say of it one after the other', () => {
    const anyReport = fc
      .record({ state: fc.constantFrom(...states), cost: fc.constantFrom(undefined, money(1), money(2)) })
      .map(({ state, cost }) => report(state, cost === undefined ? {} : { cost }));
    fc.assert(
      fc.property(anyReport, anyReport, (one, two) => {
        const inTurn = reportedDispatch(reportedDispatch(dispatchOf(), one), two);
        expect(reportedDispatch(dispatchOf(), joinReports(one, two))).toEqual(inTurn);
      }),
    );
  });
});

describe('when a message is looked at again', () => {
  const message = messageOf(undefined, { validUntil: T0 + HOUR });
  const dueBefore = T0 + 20 * SECOND;
  const report = { providerMessageId: 'A1', state: 'failed' } as const;

  it.each(['failed', 'undelivered'] as const)('is at once when it %s', (state) => {
    expect(dueAfter(message, dispatchOf({ state }), report, T0, dueBefore)).toBe(T0);
    expect(dueAfter(message, dispatchOf({ state }), undefined, T0, undefined)).toBe(T0);
  });

  it('is never when it was delivered', () => {
    expect(dueAfter(message, dispatchOf({ state: 'delivered' }), report, T0, dueBefore)).toBeUndefined();
  });

  it.each(['queued', 'sent', 'unknown'] as const)('is as before while it is %s', (state) => {
    expect(dueAfter(message, dispatchOf({ state }), report, T0, dueBefore)).toBe(dueBefore);
    expect(dueAfter(message, dispatchOf({ state }), report, T0, undefined)).toBeUndefined();
  });

  it('is never when no way can do better', () => {
    const failed = dispatchOf({ state: 'failed' });
    expect(dueAfter(message, { ...failed, reason: 'recipient' }, report, T0, dueBefore)).toBeUndefined();
    expect(dueAfter(message, failed, { ...report, optOut: true }, T0, dueBefore)).toBeUndefined();
    expect(dueAfter(message, failed, report, message.validUntil, dueBefore)).toBeUndefined();
    expect(dueAfter(message, failed, report, message.validUntil - 1, dueBefore)).toBe(message.validUntil - 1);
  });
});
