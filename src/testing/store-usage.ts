import { describe, expect, it } from 'vitest';
import type { Dispatch } from '../domain/message.ts';
import type { DeliveryReport } from '../domain/provider.ts';
import type { Store } from '../domain/store.ts';
import { noUsage, type UsageChange, type UsageCounts, type UsageKey } from '../domain/usage.ts';
import type { Verification } from '../domain/verification.ts';
import {
  atOnce,
  checkById,
  checkBySlot,
  DAY,
  DAY_0,
  dispatchOf,
  dispatchStep,
  messageOf,
  messageStep,
  money,
  phone,
  resend,
  sentCode,
  sentMessage,
  settleCheck,
  startedManaged,
  T0,
  wrongDigest,
} from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

/** What was sent, what became of it, and what it cost: added up by day, app, provider, country and currency. */
export function describeUsage(stores: () => OpenedStores): void {
  const node = (index: number) => (index % 2 === 0 ? stores().a : stores().b);
  const uzs = (micros: number) => money(micros, 'UZS');

  async function usage(
    query: Partial<Parameters<Store['readUsage']>[0]> = {},
    store: Store = stores().b,
  ): Promise<readonly UsageChange[]> {
    const rows = await store.readUsage({ app: 'taxi', from: '2025-01-01', to: '2026-12-31', ...query });
    const nameOf = ({ key }: UsageChange) => [key.day, key.app, key.provider, key.country, key.currency].join();
    return [...rows].sort((x, y) => (nameOf(x) < nameOf(y) ? -1 : 1));
  }

  function row(key: Partial<UsageKey>, counts: Partial<UsageCounts>): UsageChange {
    return {
      key: { day: DAY_0, app: 'taxi', provider: 'acme', country: 'UZ', currency: '', ...key },
      counts: { ...noUsage, ...counts },
    };
  }

  function report(providerMessageId: string, state: DeliveryReport['state'], more: Partial<DeliveryReport> = {}) {
    return stores().b.recordReport('acme', { providerMessageId, state, ...more }, T0);
  }

  const refused: Partial<Dispatch> = { state: 'failed', providerMessageId: undefined, reason: 'account' };
  const uncertain: Partial<Dispatch> = { state: 'unknown', providerMessageId: undefined, reason: 'uncertain' };

  describe('the usage', () => {
    it('is nothing before anything was handed over', async () => {
      await stores().a.addMessage(messageStep());
      expect(await usage()).toEqual([]);
    });

    it('counts what a provider took, with its estimated cost; custom messages do not count as codes', async () => {
      const { a } = stores();
      await sentCode(a, {}, [{ estimatedCost: uzs(50) }]);
      await sentMessage(a, { estimatedCost: uzs(70) });
      expect(await usage()).toEqual([
        row({ currency: 'UZS' }, { sent: 2, codes: 1, costMicros: 120, codeCostMicros: 50 }),
      ]);
    });

    it('counts what a provider refused as failed, which costs nothing', async () => {
      await sentCode(stores().a, {}, [{ ...refused, estimatedCost: uzs(50) }], { state: 'failed' });
      expect(await usage()).toEqual([row({}, { failed: 1 })]);
    });

    it('counts what may have been taken as sent, with its estimated cost', async () => {
      await sentCode(stores().a, {}, [{ ...uncertain, estimatedCost: uzs(50) }], { state: 'unknown' });
      expect(await usage()).toEqual([
        row({ currency: 'UZS' }, { sent: 1, codes: 1, costMicros: 50, codeCostMicros: 50 }),
      ]);
    });

    it('counts each hand-over of a message, and those of later steps', async () => {
      const { a, b } = stores();
      const { message } = await sentCode(a, {}, [
        { provider: 'first', ...refused },
        { provider: 'second', ...uncertain, estimatedCost: money(9) },
        { provider: 'third', estimatedCost: money(7) },
      ]);
      const fourth = dispatchOf({ provider: 'fourth', providerMessageId: 'D4', reportedCost: money(8) });
      await b.recordDispatch(dispatchStep(message, { dispatches: [fourth] }));
      expect(await usage()).toEqual([
        row({ provider: 'first' }, { failed: 1 }),
        row({ provider: 'fourth', currency: 'USD' }, { sent: 1, codes: 1, costMicros: 8, codeCostMicros: 8 }),
        row({ provider: 'second', currency: 'USD' }, { sent: 1, codes: 1, costMicros: 9, codeCostMicros: 9 }),
        row({ provider: 'third', currency: 'USD' }, { sent: 1, codes: 1, costMicros: 7, codeCostMicros: 7 }),
      ]);
    });

    it('is added up by day, app, provider, country and currency, also at the same moment', async () => {
      const late = Date.UTC(2025, 10, 20, 23, 59, 59, 999);
      const cost = { estimatedCost: money(10) };
      const given: Parameters<typeof sentMessage>[] = [
        [stores().a, cost],
        [stores().b, { ...cost, at: late }],
        [stores().a, { ...cost, at: late + 1 }],
        [stores().a, { ...cost, provider: 'other' }],
        [stores().a, cost, { message: { country: 'KZ' } }],
        [stores().a, cost, { message: { country: undefined } }],
        [stores().a, { estimatedCost: money(10, 'EUR') }],
        [stores().a, { estimatedCost: undefined }],
        [stores().a, cost, { message: { app: 'bank' } }],
      ];
      await atOnce(given.length, (i) => sentMessage(...(given[i] as (typeof given)[number])));
      const one = { sent: 1, costMicros: 10 };
      expect(await usage()).toEqual([
        row({ country: '', currency: 'USD' }, one),
        row({ country: 'KZ', currency: 'USD' }, one),
        row({}, { sent: 1 }),
        row({ currency: 'EUR' }, one),
        row({ currency: 'USD' }, { sent: 2, costMicros: 20 }),
        row({ provider: 'other', currency: 'USD' }, one),
        row({ day: '2025-11-21', currency: 'USD' }, one),
      ]);
    });

    it('is read for the days that are asked for, both included', async () => {
      for (let day = 0; day < 5; day += 1) await sentMessage(stores().a, { at: T0 + day * DAY });
      const days = async (from: string, to: string) => (await usage({ from, to })).map(({ key }) => key.day);
      expect(await days('2025-11-21', '2025-11-23')).toEqual(['2025-11-21', '2025-11-22', '2025-11-23']);
      expect(await days('2025-11-24', '2025-11-24')).toEqual(['2025-11-24']);
      expect(await days('2025-11-25', '2025-12-25')).toEqual([]);
    });

    it('shows an app nothing of another one’s, and whoever asks for all of them everything (invariant 13)', async () => {
      const { a } = stores();
      await sentMessage(a);
      await sentMessage(a, {}, { message: { app: 'bank' } });
      expect((await usage()).map(({ key }) => key.app)).toEqual(['taxi']);
      expect((await usage({ app: 'bank' })).map(({ key }) => key.app)).toEqual(['bank']);
      expect(await usage({ app: 'nobody' })).toEqual([]);
      expect((await usage({ app: undefined })).map(({ key }) => key.app)).toEqual(['bank', 'taxi']);
    });

    it('adds 200 hand-overs up that are recorded at once over two connections', async () => {
      const steps = Array.from({ length: 200 }, () => messageStep());
      await atOnce(200, (i) => node(i).addMessage(steps[i] as (typeof steps)[number]));
      await atOnce(200, (i) => {
        const given = { providerMessageId: `A${i}`, provider: i % 4 < 2 ? 'acme' : 'other', estimatedCost: money(i) };
        const { message } = steps[i] as (typeof steps)[number];
        return node(i).recordDispatch(dispatchStep(message, { dispatches: [dispatchOf(given)] }));
      });
      const sum = (wanted: (i: number) => boolean) =>
        Array.from({ length: 200 }, (_, i) => i)
          .filter(wanted)
          .reduce((total, i) => total + i, 0);
      expect(await usage()).toEqual([
        row({ currency: 'USD' }, { sent: 100, costMicros: sum((i) => i % 4 < 2) }),
        row({ provider: 'other', currency: 'USD' }, { sent: 100, costMicros: sum((i) => i % 4 >= 2) }),
      ]);
      const outcomes = await atOnce(200, (i) =>
        node(i).recordReport(
          i % 4 < 2 ? 'acme' : 'other',
          { providerMessageId: `A${i}`, state: 'delivered', cost: money(1) },
          T0,
        ),
      );
      expect(outcomes.filter(({ changed }) => changed)).toHaveLength(200);
      expect(await usage()).toEqual([
        row({ currency: 'USD' }, { sent: 100, delivered: 100, costMicros: 100 }),
        row({ provider: 'other', currency: 'USD' }, { sent: 100, delivered: 100, costMicros: 100 }),
      ]);
    });

    it('is not forgotten by a restart, and goes on from there', async () => {
      await sentMessage(stores().a, { estimatedCost: money(10) });
      const reopened = await stores().reopen();
      await sentMessage(reopened, { estimatedCost: money(5) });
      expect(await usage({}, reopened)).toEqual([row({ currency: 'USD' }, { sent: 2, costMicros: 15 })]);
    });
  });

  describe('the usage after a report', () => {
    it.each([
      ['delivered', { delivered: 1 }],
      ['failed', { failed: 1 }],
      ['undelivered', { failed: 1 }],
    ] as const)('counts what is %s, once, and it is paid for all the same', async (state, counted) => {
      const { message } = await sentCode(stores().a, {}, [{ estimatedCost: money(10) }]);
      await atOnce(20, (i) => node(i).recordReport('acme', { providerMessageId: message.id, state }, T0));
      await report(message.id, 'sent');
      const counts = { sent: 1, codes: 1, costMicros: 10, codeCostMicros: 10, ...counted };
      expect(await usage()).toEqual([row({ currency: 'USD' }, counts)]);
    });

    it('of the sending alone is as before', async () => {
      const message = await sentMessage(stores().a, { estimatedCost: money(10) });
      await report(message.id, 'sent');
      expect(await usage()).toEqual([row({ currency: 'USD' }, { sent: 1, costMicros: 10 })]);
    });

    it('has the reported cost in the place of the estimated one, and the corrected in the place of that', async () => {
      const { message } = await sentCode(stores().a, {}, [{ estimatedCost: money(10) }]);
      await report(message.id, 'delivered', { cost: money(12) });
      await report(message.id, 'delivered', { cost: money(8) });
      const counts = { sent: 1, codes: 1, delivered: 1, costMicros: 8, codeCostMicros: 8 };
      expect(await usage()).toEqual([row({ currency: 'USD' }, counts)]);
    });

    it.each([
      ['another currency', uzs(50)],
      ['no known price', undefined],
    ])('moves what had %s to the currency that is charged, and leaves no empty row', async (_, estimatedCost) => {
      const { message } = await sentCode(stores().a, {}, [{ estimatedCost }]);
      await report(message.id, 'delivered', { cost: money(8) });
      const counts = { sent: 1, codes: 1, delivered: 1, costMicros: 8, codeCostMicros: 8 };
      expect(await usage()).toEqual([row({ currency: 'USD' }, counts)]);
    });

    it('moves what is charged in another currency than it was, the amount being the same', async () => {
      const message = await sentMessage(stores().a, { estimatedCost: money(8) });
      await report(message.id, 'delivered', { cost: money(8) });
      await report(message.id, 'delivered', { cost: money(8, 'EUR') });
      expect(await usage()).toEqual([row({ currency: 'EUR' }, { sent: 1, delivered: 1, costMicros: 8 })]);
    });

    it('counts on the day of the hand-over', async () => {
      const message = await sentMessage(stores().a);
      await stores().b.recordReport('acme', { providerMessageId: message.id, state: 'delivered' }, T0 + 3 * DAY);
      expect(await usage()).toEqual([row({}, { sent: 1, delivered: 1 })]);
    });

    it('counts a report of an older hand-over for the provider of that one', async () => {
      const { a } = stores();
      const message = await sentMessage(a, { estimatedCost: money(3) });
      const second = dispatchOf({ provider: 'other', providerMessageId: 'B2' });
      await a.recordDispatch(dispatchStep(message, { dispatches: [second] }));
      await report(message.id, 'undelivered', { cost: money(4) });
      expect(await usage()).toEqual([
        row({ currency: 'USD' }, { sent: 1, failed: 1, costMicros: 4 }),
        row({ provider: 'other' }, { sent: 1 }),
      ]);
    });

    it('that was early is counted with the hand-over', async () => {
      const { message } = messageStep();
      await report(message.id, 'failed', { cost: money(4) });
      expect(await usage()).toEqual([]);
      await sentMessage(stores().a, { estimatedCost: uzs(50) }, { message });
      expect(await usage()).toEqual([row({ currency: 'USD' }, { sent: 1, failed: 1, costMicros: 4 })]);
    });
  });

  describe('the usage after an approval', () => {
    const code = { sent: 1, codes: 1 };

    function approve(verification: Verification, now = T0) {
      return checkById(stores().b, verification, verification.digests.byId, now);
    }

    it('counts it for the provider that took the code last, and the cost of all that took it', async () => {
      const { verification } = await sentCode(stores().a, {}, [
        { provider: 'first', ...uncertain, estimatedCost: money(9) },
        { provider: 'second', estimatedCost: money(7) },
      ]);
      expect(await approve(verification)).toMatchObject({ kind: 'approved' });
      expect(await usage()).toEqual([
        row(
          { provider: 'first', currency: 'USD' },
          { ...code, costMicros: 9, codeCostMicros: 9, approvedCostMicros: 9 },
        ),
        row(
          { provider: 'second', currency: 'USD' },
          { ...code, approved: 1, costMicros: 7, codeCostMicros: 7, approvedCostMicros: 7 },
        ),
      ]);
    });

    it('counts it for the one that took it, not for one that refused it afterwards', async () => {
      const { verification } = await sentCode(stores().a, {}, [
        { provider: 'first', ...uncertain },
        { provider: 'second', ...refused },
      ]);
      await approve(verification);
      expect(await usage()).toEqual([
        row({ provider: 'first' }, { ...code, approved: 1 }),
        row({ provider: 'second' }, { failed: 1 }),
      ]);
    });

    it('is counted once of 50 at once, by id and by slot, and not for a wrong code', async () => {
      const { verification } = await sentCode(stores().a, {}, [{ estimatedCost: money(7) }]);
      await checkById(stores().a, verification, wrongDigest, T0);
      await atOnce(50, (i) =>
        i % 3 === 0 ? approve(verification) : checkBySlot(node(i), verification.digests.bySlot, T0),
      );
      expect(await usage()).toEqual([
        row({ currency: 'USD' }, { ...code, approved: 1, costMicros: 7, codeCostMicros: 7, approvedCostMicros: 7 }),
      ]);
    });

    it('is counted for the message that was asked for last', async () => {
      const { a, b } = stores();
      const { verification } = await sentCode(a, {}, [{ provider: 'first', estimatedCost: money(3) }]);
      const at = verification.resendAt;
      const message = messageOf(verification, { createdAt: at });
      await resend(b, verification, at, { message });
      const second = dispatchOf({ provider: 'second', providerMessageId: 'B2', estimatedCost: money(5), at });
      await a.recordDispatch(dispatchStep(message, { dispatches: [second] }));
      await approve(verification, at);
      expect(await usage()).toEqual([
        row({ provider: 'first', currency: 'USD' }, { ...code, costMicros: 3, codeCostMicros: 3 }),
        row(
          { provider: 'second', currency: 'USD' },
          { ...code, approved: 1, costMicros: 5, codeCostMicros: 5, approvedCostMicros: 5 },
        ),
      ]);
    });

    it('by a managed provider’s word is counted once as well', async () => {
      const verification = await startedManaged(stores().a);
      for (let ask = 0; ask < 2; ask += 1) await checkById(stores().a, verification, wrongDigest, T0);
      await atOnce(2, (i) => settleCheck(node(i), verification, 'approved'));
      const [counted] = await usage();
      expect(counted?.counts.approved).toBe(1);
    });

    it('counts the cost that was reported by then', async () => {
      const { verification, message } = await sentCode(stores().a, {}, [{ estimatedCost: money(7) }]);
      await report(message.id, 'delivered', { cost: money(6) });
      await approve(verification);
      const counts = { ...code, delivered: 1, approved: 1, costMicros: 6, codeCostMicros: 6, approvedCostMicros: 6 };
      expect(await usage()).toEqual([row({ currency: 'USD' }, counts)]);
    });

    // The price came after the approval, in another currency: one row had an approval and no code, the other less than
    // nothing that was spent in vain.
    it.each([
      ['the same currency', money(7)],
      ['another currency', uzs(50)],
      ['no known price before', undefined],
    ])('has a cost that is reported only then on both sides: %s', async (_, estimatedCost) => {
      const { verification, message } = await sentCode(stores().a, {}, [{ estimatedCost }]);
      await approve(verification);
      await report(message.id, 'delivered', { cost: money(6) });
      const counts = { ...code, delivered: 1, approved: 1, costMicros: 6, codeCostMicros: 6, approvedCostMicros: 6 };
      expect(await usage()).toEqual([row({ currency: 'USD' }, counts)]);
    });

    it('has a cost that is reported for an older message where it was spent in vain', async () => {
      const { a, b } = stores();
      const { verification, message } = await sentCode(a);
      const at = verification.resendAt;
      const second = messageOf(verification, { createdAt: at });
      await resend(b, verification, at, { message: second });
      await a.recordDispatch(
        dispatchStep(second, { dispatches: [dispatchOf({ provider: 'other', providerMessageId: 'B2' })] }),
      );
      await approve(verification, at);
      await report(message.id, 'delivered', { cost: money(6) });
      expect(await usage()).toEqual([
        row({ currency: 'USD' }, { ...code, delivered: 1, costMicros: 6, codeCostMicros: 6 }),
        row({ provider: 'other' }, { ...code, approved: 1 }),
      ]);
    });

    it('is nobody’s when no provider took the code', async () => {
      const { verification } = await sentCode(stores().a, { number: phone(3) }, [refused], { state: 'failed' });
      await approve(verification);
      expect(await usage()).toEqual([row({}, { failed: 1 })]);
    });

    it('is the app’s whose verification it is (invariant 13)', async () => {
      const theirs = await sentCode(stores().a, { app: 'bank' });
      await sentCode(stores().a);
      await approve(theirs.verification);
      expect(await usage()).toEqual([row({}, code)]);
      expect(await usage({ app: 'bank' })).toEqual([row({ app: 'bank' }, { ...code, approved: 1 })]);
    });
  });
}
