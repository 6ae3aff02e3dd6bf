import { describe, expect, it } from 'vitest';
import type { Message, MessageState } from '../domain/message.ts';
import type { DeliveryReport } from '../domain/provider.ts';
import type { ReportOutcome, Store } from '../domain/store.ts';
import {
  atOnce,
  CODE_LIFE,
  DAY,
  dispatchOf,
  dispatchStep,
  HOUR,
  MINUTE,
  messageStep,
  money,
  SECOND,
  sentCode,
  sentMessage,
  T0,
} from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

/** When a message that was handed over is to be looked at again, and what delivery reports change of that. */
export function describeDue(stores: () => OpenedStores): void {
  const node = (index: number) => (index % 2 === 0 ? stores().a : stores().b);
  const dueAt = T0 + 20 * SECOND;
  const reportedAt = T0 + 5 * SECOND;
  const LATE = T0 + 400 * DAY;

  async function claimed(store: Store, now: number, leaseUntil = now + MINUTE, limit = 1000): Promise<string[]> {
    return (await store.claimDue(now, leaseUntil, limit)).map(({ message }) => message.id);
  }

  /** Of a message whose id at the provider is its id here. */
  function report(
    { id }: Message,
    state: DeliveryReport['state'],
    more: Partial<DeliveryReport> & { provider?: string; now?: number } = {},
  ): Promise<ReportOutcome> {
    const { provider = 'acme', now = reportedAt, ...rest } = more;
    return stores().b.recordReport(provider, { providerMessageId: id, state, ...rest }, now);
  }

  async function stateOf({ id, app }: Message): Promise<MessageState | undefined> {
    return (await stores().b.getMessage(app, id))?.state;
  }

  describe('a message whose report is awaited', () => {
    it('is handed out from the very millisecond of dueAt on, with its verification', async () => {
      const { a, b } = stores();
      const { verification, message } = await sentCode(a, {}, [{}], { dueAt });
      expect(await claimed(b, dueAt - 1)).toEqual([]);
      const [due, ...others] = await b.claimDue(dueAt, dueAt + MINUTE, 10);
      expect(others).toEqual([]);
      expect(due?.message).toMatchObject({
        id: message.id,
        state: 'queued',
        dispatches: [dispatchOf({ providerMessageId: message.id })],
      });
      expect(due?.verification).toMatchObject({ id: verification.id, state: 'pending' });
    });

    it('is leased: to nobody else before leaseUntil, to one more from then on, under a lease of its own', async () => {
      const { a, b } = stores();
      const { id } = await sentMessage(a, {}, { dueAt });
      expect(await claimed(a, dueAt, dueAt + 10)).toEqual([id]);
      expect(await claimed(b, dueAt + 9)).toEqual([]);
      expect(await claimed(b, dueAt + 10, dueAt + 30)).toEqual([id]);
      expect(await claimed(a, dueAt + 29)).toEqual([]);
      expect(await claimed(a, dueAt + 30)).toEqual([id]);
    });

    it('is handed to exactly one of two nodes: 200 messages, claimed in pieces at the same moment, and again after the lease', async () => {
      const messages = await atOnce(200, (i) => sentMessage(node(i), {}, { dueAt: dueAt - i }));
      const wanted = messages.map(({ id }) => id).sort();
      for (const now of [dueAt, dueAt + MINUTE]) {
        const claims = await atOnce(24, (i) => claimed(node(i), now, now + MINUTE, 17));
        expect(claims.every((claim) => claim.length <= 17)).toBe(true);
        expect(claims.flat().sort()).toEqual(wanted);
      }
    });

    it('says how often it was claimed since the last step that was recorded, also after a restart', async () => {
      const { a, b } = stores();
      const message = await sentMessage(a, {}, { dueAt });
      const claims = async (store: Store, now: number) =>
        (await store.claimDue(now, now + SECOND, 10)).map((due) => due.claims);
      expect(await claims(a, dueAt)).toEqual([1]);
      expect(await claims(b, dueAt + SECOND)).toEqual([2]);
      const reopened = await stores().reopen();
      expect(await claims(reopened, dueAt + MINUTE)).toEqual([3]);
      await reopened.recordDispatch(dispatchStep(message, { dispatches: [], state: undefined, dueAt: dueAt + HOUR }));
      expect(await claims(reopened, dueAt + HOUR)).toEqual([1]);
    });

    it('is due when the last step that was recorded says so, whatever the lease was', async () => {
      const { a, b } = stores();
      const message = await sentMessage(a, {}, { dueAt });
      await claimed(a, dueAt, dueAt + MINUTE);
      const second = dispatchOf({ provider: 'other', providerMessageId: 'B2' });
      await a.recordDispatch(dispatchStep(message, { dispatches: [second], dueAt: dueAt + HOUR }));
      expect(await claimed(b, dueAt + HOUR - 1)).toEqual([]);
      expect(await claimed(b, dueAt + HOUR)).toEqual([message.id]);
      await b.recordDispatch(dispatchStep(message, { dispatches: [], state: undefined, dueAt: undefined }));
      expect(await claimed(a, LATE)).toEqual([]);
    });

    it('is nobody’s when no report is awaited', async () => {
      await sentMessage(stores().a, {}, { dueAt: undefined });
      expect(await claimed(stores().b, LATE)).toEqual([]);
    });

    it('is not forgotten by a restart, nor is its lease', async () => {
      const { a, b } = stores();
      const waiting = await sentMessage(a, {}, { dueAt });
      const leased = await sentMessage(b, {}, { dueAt: T0 + SECOND });
      expect(await claimed(a, T0 + SECOND, T0 + HOUR)).toEqual([leased.id]);
      const reopened = await stores().reopen();
      expect(await claimed(reopened, dueAt - 1)).toEqual([]);
      expect(await claimed(reopened, dueAt, LATE)).toEqual([waiting.id]);
      expect(await claimed(reopened, T0 + HOUR)).toEqual([leased.id]);
    });
  });

  it('a code that went out by e-mail says so from then on, whatever is recorded afterwards', async () => {
    const { a, b } = stores();
    const { verification, message } = await sentCode(a, {}, []);
    expect(verification.sentByEmail).toBe(false);
    await b.recordEmail('bank', verification.id, T0);
    expect(await a.getVerification(verification.app, verification.id)).toMatchObject({ sentByEmail: false });
    await a.recordEmail(verification.app, verification.id, T0);
    await b.recordDispatch(dispatchStep(message, { carried: { channel: 'sms', managed: undefined } }));
    const reopened = await stores().reopen();
    expect(await reopened.getVerification(verification.app, verification.id)).toMatchObject({
      channel: 'sms',
      sentByEmail: true,
    });
  });

  describe('a report', () => {
    it.each(['failed', 'undelivered'] as const)(
      'that says %s makes the message due at once, and once',
      async (state) => {
        const message = await sentMessage(stores().a, {}, { dueAt });
        expect(await claimed(stores().a, reportedAt)).toEqual([]);
        expect(await report(message, state)).toEqual({ changed: true, due: true });
        expect(await claimed(stores().a, reportedAt, reportedAt + MINUTE)).toEqual([message.id]);
        expect(await claimed(stores().b, reportedAt + MINUTE - 1)).toEqual([]);
      },
    );

    it('that comes while somebody is at it makes nothing due before the lease is over', async () => {
      const message = await sentMessage(stores().a, {}, { dueAt: reportedAt });
      expect(await claimed(stores().a, reportedAt, reportedAt + MINUTE)).toEqual([message.id]);
      expect(await report(message, 'failed')).toEqual({ changed: true, due: false });
      expect(await claimed(stores().b, reportedAt + MINUTE - 1)).toEqual([]);
      expect(await claimed(stores().b, reportedAt + MINUTE)).toEqual([message.id]);
    });

    it('that says failed makes a message due for which no report was awaited', async () => {
      const message = await sentMessage(stores().a, {}, { dueAt: undefined });
      expect(await report(message, 'failed')).toEqual({ changed: true, due: true });
      expect(await claimed(stores().a, reportedAt)).toEqual([message.id]);
    });

    it.each(['blocked', 'content', 'coverage', 'account', 'throttled', 'unavailable'] as const)(
      'that failed for the reason %s leaves it worth another way',
      async (reason) => {
        const message = await sentMessage(stores().a, {}, { dueAt });
        expect(await report(message, 'failed', { reason })).toEqual({ changed: true, due: true });
      },
    );

    it('makes nothing due when nobody could do better: no such number', async () => {
      const message = await sentMessage(stores().a, {}, { dueAt });
      expect(await report(message, 'undelivered', { reason: 'recipient' })).toEqual({ changed: true, due: false });
      expect(await stateOf(message)).toBe('undelivered');
      expect(await claimed(stores().a, LATE)).toEqual([]);
    });

    it('makes nothing due when the person said STOP: never to be sent by another way', async () => {
      const message = await sentMessage(stores().a, {}, { dueAt });
      const outcome = await report(message, 'failed', { reason: 'blocked', optOut: true });
      expect(outcome).toEqual({ changed: true, due: false });
      expect(await claimed(stores().a, LATE)).toEqual([]);
    });

    it('makes nothing due from the very millisecond of validUntil on', async () => {
      const [inTime, late] = [await sentCode(stores().a), await sentCode(stores().a)];
      const over = T0 + CODE_LIFE;
      expect(await report(inTime.message, 'failed', { now: over - 1 })).toEqual({ changed: true, due: true });
      expect(await report(late.message, 'failed', { now: over })).toEqual({ changed: true, due: false });
      expect(await claimed(stores().a, LATE)).toEqual([inTime.message.id]);
    });

    it('that says delivered ends the waiting', async () => {
      const message = await sentMessage(stores().a, {}, { dueAt });
      expect(await report(message, 'delivered')).toEqual({ changed: true, due: false });
      expect(await claimed(stores().a, LATE)).toEqual([]);
    });

    it('that says sent changes nothing of the waiting', async () => {
      const message = await sentMessage(stores().a, {}, { dueAt });
      expect(await report(message, 'sent')).toEqual({ changed: true, due: false });
      expect(await claimed(stores().a, dueAt - 1)).toEqual([]);
      expect(await claimed(stores().a, dueAt)).toEqual([message.id]);
    });

    it.each(['failed', 'delivered'] as const)(
      'that says %s of a hand-over which was followed by another changes nothing of the waiting',
      async (state) => {
        const { a, b } = stores();
        const message = await sentMessage(a);
        const second = dispatchOf({ provider: 'other', providerMessageId: 'B2' });
        await a.recordDispatch(dispatchStep(message, { dispatches: [second], dueAt }));
        expect(await report(message, state)).toEqual({ changed: true, due: false });
        expect(await stateOf(message)).toBe('queued');
        expect(await claimed(b, dueAt - 1)).toEqual([]);
        expect(await claimed(b, dueAt)).toEqual([message.id]);
      },
    );

    it('makes a message due once when it comes 50 times at once', async () => {
      const message = await sentMessage(stores().a, {}, { dueAt });
      const outcomes = await atOnce(50, (i) =>
        node(i).recordReport('acme', { providerMessageId: message.id, state: 'failed' }, reportedAt),
      );
      expect(outcomes.filter(({ due }) => due)).toHaveLength(1);
      expect(outcomes.filter(({ changed }) => changed)).toHaveLength(1);
    });

    it('that comes again when the message was looked at does not make it due again', async () => {
      const { a, b } = stores();
      const message = await sentMessage(a, {}, { dueAt });
      await report(message, 'failed');
      await claimed(a, reportedAt);
      await a.recordDispatch(dispatchStep(message, { dispatches: [], state: undefined, noReports: true }));
      expect(await report(message, 'undelivered')).toEqual({ changed: false, due: false });
      expect(await claimed(b, LATE)).toEqual([]);
      expect(await stateOf(message)).toBe('failed');
    });

    it('of the price alone changes neither state nor waiting', async () => {
      const message = await sentMessage(stores().a, {}, { dueAt });
      expect(await report(message, 'queued', { cost: money(7900) })).toEqual({ changed: true, due: false });
      expect(await report(message, 'queued', { cost: money(7900) })).toEqual({ changed: false, due: false });
      const kept = await stores().a.getMessage('taxi', message.id);
      expect(kept?.state).toBe('queued');
      expect(kept?.dispatches).toEqual([dispatchOf({ providerMessageId: message.id, reportedCost: money(7900) })]);
      expect(await claimed(stores().a, dueAt - 1)).toEqual([]);
      expect(await claimed(stores().a, dueAt)).toEqual([message.id]);
    });

    it('of the price comes when the state is final, and is kept; so is one in another currency', async () => {
      const message = await sentMessage(stores().a, {}, { dueAt });
      await report(message, 'failed');
      await claimed(stores().a, reportedAt);
      await stores().a.recordDispatch(dispatchStep(message, { dispatches: [], state: undefined }));
      for (const cost of [money(5000), money(5000, 'EUR')]) {
        expect(await report(message, 'failed', { cost })).toEqual({ changed: true, due: false });
        expect((await stores().a.getMessage('taxi', message.id))?.dispatches[0]).toMatchObject({
          state: 'failed',
          reportedCost: cost,
        });
      }
      expect(await claimed(stores().a, LATE)).toEqual([]);
    });

    it('is not undone by a step that leaves the state as it is', async () => {
      const { a } = stores();
      const message = await sentMessage(a, {}, { dueAt });
      await claimed(a, dueAt);
      await report(message, 'delivered');
      await a.recordDispatch(dispatchStep(message, { dispatches: [], state: undefined, noReports: true }));
      expect(await stateOf(message)).toBe('delivered');
      expect((await a.getMessage('taxi', message.id))?.dispatches).toHaveLength(1);
    });
  });

  describe('a report that is early', () => {
    /** Reports that came before their dispatch, which is recorded now. */
    async function sentAfter(...reports: Omit<DeliveryReport, 'providerMessageId'>[]): Promise<Message> {
      const { message } = messageStep();
      for (const each of reports)
        expect(await report(message, each.state, each)).toEqual({ changed: false, due: false });
      return sentMessage(stores().a, {}, { message, dueAt, now: reportedAt });
    }

    it('and says failed makes the message due when its dispatch is recorded', async () => {
      const message = await sentAfter({ state: 'failed', reason: 'coverage', code: '5' });
      expect(await stateOf(message)).toBe('failed');
      expect(await claimed(stores().b, reportedAt - 1)).toEqual([]);
      expect(await claimed(stores().b, reportedAt)).toEqual([message.id]);
    });

    it('and says delivered leaves nothing to wait for', async () => {
      const message = await sentAfter({ state: 'delivered' });
      expect(await stateOf(message)).toBe('delivered');
      expect(await claimed(stores().b, LATE)).toEqual([]);
    });

    it('and says sent leaves the waiting as it is', async () => {
      const message = await sentAfter({ state: 'sent' });
      expect(await stateOf(message)).toBe('sent');
      expect(await claimed(stores().b, dueAt - 1)).toEqual([]);
      expect(await claimed(stores().b, dueAt)).toEqual([message.id]);
    });

    it('is kept whole: what it cost, why it failed, and that the person said STOP', async () => {
      const message = await sentAfter({
        state: 'failed',
        reason: 'blocked',
        code: '21610',
        optOut: true,
        cost: money(7900),
      });
      expect((await stores().b.getMessage('taxi', message.id))?.dispatches).toEqual([
        dispatchOf({
          providerMessageId: message.id,
          state: 'failed',
          reason: 'blocked',
          errorCode: '21610',
          reportedCost: money(7900),
        }),
      ]);
      expect(await claimed(stores().b, LATE)).toEqual([]);
    });

    it('and knows the price alone settles nothing', async () => {
      const message = await sentAfter({ state: 'queued', cost: money(7900) });
      expect(await stateOf(message)).toBe('queued');
      expect(await claimed(stores().b, dueAt)).toEqual([message.id]);
      expect((await stores().b.getMessage('taxi', message.id))?.dispatches[0]?.reportedCost).toEqual(money(7900));
    });

    // What it cost may be known before what became of it, or after: the second of two early reports took the first one's
    // place, or was dropped, with the price in it.
    it.each([
      ['before', [{ state: 'sent', cost: money(7900) }, { state: 'delivered' }]],
      ['after', [{ state: 'delivered' }, { state: 'delivered', cost: money(7900) }]],
      ['long after', [{ state: 'delivered' }, { state: 'queued', cost: money(7900) }]],
    ] as const)('is joined with one that knew the price %s', async (_, reports) => {
      const message = await sentAfter(...reports);
      expect((await stores().b.getMessage('taxi', message.id))?.dispatches[0]).toMatchObject({
        state: 'delivered',
        reportedCost: money(7900),
      });
    });

    it('of a hand-over that was followed by another makes nothing due', async () => {
      const { a, b } = stores();
      const step = messageStep();
      await b.recordReport('first', { providerMessageId: 'F1', state: 'failed' }, reportedAt);
      await a.addMessage(step);
      const dispatches = [
        dispatchOf({ provider: 'first', providerMessageId: 'F1' }),
        dispatchOf({ provider: 'second', providerMessageId: 'S2' }),
      ];
      await a.recordDispatch(dispatchStep(step.message, { now: reportedAt, dispatches, dueAt }));
      expect(await stateOf(step.message)).toBe('queued');
      expect(await claimed(b, dueAt - 1)).toEqual([]);
      expect(await claimed(b, dueAt)).toEqual([step.message.id]);
    });

    it('is used once, and outlives a restart', async () => {
      const { message } = messageStep();
      await report(message, 'failed', { cost: money(1) });
      const reopened = await stores().reopen();
      const step = { message, now: reportedAt };
      await sentMessage(reopened, {}, step);
      expect(await claimed(reopened, reportedAt)).toEqual([message.id]);
      const other = await sentMessage(reopened, { providerMessageId: message.id });
      expect((await reopened.getMessage('taxi', other.id))?.state).toBe('queued');
    });
  });
}
