import { describe, expect, it } from 'vitest';
import { firstIdAt } from '../domain/id.ts';
import type { Message } from '../domain/message.ts';
import type { DeliveryReport, DeliveryState } from '../domain/provider.ts';
import type { MessageQuery, Store } from '../domain/store.ts';
import {
  atOnce,
  budgetTake,
  DAY_0,
  dispatchOf,
  dispatchStep,
  HOUR,
  idempotency,
  MINUTE,
  messageOf,
  messageStep,
  money,
  newId,
  phone,
  resend,
  SECOND,
  sentCode,
  started,
  startStep,
  T0,
  verificationOf,
} from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

/** Messages: kept before they are sent, taken over when a node dies, and what becomes of them. */
export function describeMessages(stores: () => OpenedStores): void {
  const orphanedAt = T0 + 15 * SECOND;

  async function claimedIds(store: Store, now: number, limit = 100, next = now + 15 * SECOND): Promise<string[]> {
    return (await store.claimDue(now, next, limit)).map(({ message }) => message.id);
  }

  describe('a message', () => {
    it('is kept in the step that starts its verification (invariant 8)', async () => {
      const { a, b } = stores();
      const step = startStep(verificationOf(), { idempotency: idempotency('k') });
      await a.start(step);
      expect(await b.getMessage('taxi', step.message.id)).toEqual(step.message);
      expect(await b.getMessage('bank', step.message.id)).toBeUndefined();
    });

    it('of a repeated start belongs to the live verification and carries its code (invariant 8)', async () => {
      const { a, b } = stores();
      const first = await started(a);
      await resend(a, first, first.resendAt, {
        code: { replaces: 0, codeNumber: 1, digests: first.digests },
      });
      const step = startStep(verificationOf({ createdAt: T0 + MINUTE }), { repeat: true });
      await b.start(step);
      expect(await a.getMessage('taxi', step.message.id)).toMatchObject({
        verificationId: first.id,
        codeNumber: 1,
        validUntil: first.expiresAt,
      });
    });

    it('of the caller’s own comes back as it was given', async () => {
      const { a, b } = stores();
      const step = messageStep({
        message: messageOf(undefined, { country: undefined, encoding: 'UCS-2', segments: 3 }),
      });
      expect(await a.addMessage(step)).toEqual({ kind: 'added' });
      const kept = await b.getMessage('taxi', step.message.id);
      expect({ ...kept, sealedText: undefined }).toEqual({ ...step.message, sealedText: undefined });
      expect(Buffer.from(kept?.sealedText ?? []).equals(step.message.sealedText ?? Buffer.of(1))).toBe(true);
    });
  });

  describe('an orphan (invariant 8)', () => {
    it('is nobody’s before orphanedAt, and claimed from that millisecond on', async () => {
      const { a, b } = stores();
      const step = startStep(verificationOf());
      await a.start(step);
      expect(await claimedIds(b, orphanedAt - 1)).toEqual([]);
      expect(await claimedIds(b, orphanedAt)).toEqual([step.message.id]);
    });

    it('comes with its verification, as it is now', async () => {
      const { a, b } = stores();
      const step = startStep(verificationOf());
      await a.start(step);
      await a.cancel('taxi', step.verification.id, T0);
      const custom = messageStep();
      await a.addMessage(custom);
      const claimed = await b.claimDue(orphanedAt, orphanedAt + MINUTE, 10);
      expect(claimed).toHaveLength(2);
      const ofCode = claimed.find(({ message }) => message.id === step.message.id);
      expect(ofCode?.verification).toMatchObject({ id: step.verification.id, state: 'canceled' });
      expect(Buffer.from(ofCode?.verification?.nonce ?? []).equals(step.verification.nonce)).toBe(true);
      const ofCaller = claimed.find(({ message }) => message.id === custom.message.id);
      expect(ofCaller?.verification).toBeUndefined();
      expect(ofCaller?.message.sealedText).toBeDefined();
    });

    it('is handed to exactly one of two nodes that claim at the same moment', async () => {
      const { a, b } = stores();
      const ids: string[] = [];
      for (let index = 0; index < 30; index += 1) {
        const step = messageStep();
        ids.push(step.message.id);
        await a.addMessage(step);
      }
      const claims = await atOnce(8, (i) => claimedIds(i % 2 === 0 ? a : b, orphanedAt, 7));
      expect(claims.every((claim) => claim.length <= 7)).toBe(true);
      expect(claims.flat().sort()).toEqual(ids.sort());
    });

    it('is claimed again when its second node dies too, and never before', async () => {
      const { a, b } = stores();
      const step = messageStep();
      await a.addMessage(step);
      expect(await claimedIds(a, orphanedAt, 10, orphanedAt + MINUTE)).toEqual([step.message.id]);
      expect(await claimedIds(b, orphanedAt + MINUTE - 1)).toEqual([]);
      expect(await claimedIds(b, orphanedAt + MINUTE)).toEqual([step.message.id]);
    });

    it('is none any more once its dispatch is recorded', async () => {
      const { a, b } = stores();
      const steps = [messageStep(), messageStep()] as const;
      for (const step of steps) await a.addMessage(step);
      await a.recordDispatch(dispatchStep(steps[0].message));
      await a.recordDispatch(dispatchStep(steps[1].message, { dispatches: [], state: 'failed' }));
      expect(await claimedIds(b, orphanedAt + HOUR)).toEqual([]);
    });
  });

  describe('a dispatch', () => {
    it('is kept in the order of the hand-overs, also over several steps', async () => {
      const { a, b } = stores();
      const step = messageStep();
      await a.addMessage(step);
      const refused = dispatchOf({
        provider: 'first',
        state: 'failed',
        providerMessageId: undefined,
        reason: 'account',
        errorCode: '21608',
      });
      const uncertain = dispatchOf({
        provider: 'second',
        state: 'unknown',
        providerMessageId: undefined,
        reason: 'uncertain',
        errorCode: 'timeout',
        at: T0 + 1,
      });
      const taken = dispatchOf({ provider: 'third', providerMessageId: 'C3', at: T0 + 2 });
      await a.recordDispatch(dispatchStep(step.message, { dispatches: [refused, uncertain], state: 'unknown' }));
      expect((await b.getMessage('taxi', step.message.id))?.state).toBe('unknown');
      await b.recordDispatch(dispatchStep(step.message, { dispatches: [taken] }));
      const kept = await a.getMessage('taxi', step.message.id);
      expect(kept?.dispatches).toEqual([refused, uncertain, taken]);
      expect(kept?.state).toBe('queued');
    });

    it('is recorded once by a step that comes again, whether the first one was carried out or not', async () => {
      const { a, b } = stores();
      const estimatedCost = money(7000);
      for (const wasCarriedOut of [true, false]) {
        const step = messageStep({ budget: budgetTake(9000, 1_000_000) });
        await a.addMessage(step);
        const dispatches = [dispatchOf({ providerMessageId: step.message.id, estimatedCost })];
        const recorded = dispatchStep(step.message, { dispatches, spent: { day: DAY_0, micros: -2000 } });
        if (wasCarriedOut) {
          await a.recordDispatch(recorded);
          await b.recordReport('acme', { providerMessageId: step.message.id, state: 'delivered' }, T0 + 1);
        }
        for (const store of [b, a]) await store.recordDispatch({ ...recorded, now: T0 + 2, isRepeated: true });
        const kept = await b.getMessage('taxi', step.message.id);
        expect(kept?.dispatches).toHaveLength(1);
        expect(kept?.state).toBe(wasCarriedOut ? 'delivered' : 'queued');
      }
      const [usage] = await a.readUsage({ app: 'taxi', from: DAY_0, to: DAY_0 });
      expect(usage?.counts).toMatchObject({ sent: 2, delivered: 1, costMicros: 14_000 });
      expect(await b.takeBudget('taxi', budgetTake(0, 1_000_000))).toMatchObject({ beforeMicros: 14_000 });
    });
  });

  describe('a delivery report', () => {
    async function sentMessage(): Promise<string> {
      return (await sent()).id;
    }

    async function sent(): Promise<Message> {
      const step = messageStep();
      await stores().a.addMessage(step);
      await stores().a.recordDispatch(dispatchStep(step.message));
      return step.message;
    }

    async function report(state: DeliveryState, more: Partial<DeliveryReport> = {}): Promise<boolean> {
      return (await stores().b.recordReport('acme', { providerMessageId: 'A1', state, ...more }, T0 + SECOND)).changed;
    }

    async function stateOf(id: string) {
      const message = await stores().a.getMessage('taxi', id);
      return [message?.state, ...(message?.dispatches.map(({ state }) => state) ?? [])];
    }

    it('moves message and dispatch forward', async () => {
      const id = await sentMessage();
      expect(await report('sent')).toBe(true);
      expect(await stateOf(id)).toEqual(['sent', 'sent']);
      expect(await report('delivered')).toBe(true);
      expect(await stateOf(id)).toEqual(['delivered', 'delivered']);
    });

    it('says why it failed', async () => {
      const id = await sentMessage();
      expect(await report('undelivered', { reason: 'recipient', code: '30003' })).toBe(true);
      expect((await stores().a.getMessage('taxi', id))?.dispatches[0]).toMatchObject({
        state: 'undelivered',
        reason: 'recipient',
        errorCode: '30003',
      });
    });

    it('changes nothing when it comes twice, late, or after a final one', async () => {
      const id = await sentMessage();
      expect(await report('queued')).toBe(false);
      expect(await report('delivered')).toBe(true);
      for (const state of ['delivered', 'sent', 'queued', 'unknown', 'failed', 'undelivered'] as const) {
        expect(await report(state)).toBe(false);
      }
      expect(await stateOf(id)).toEqual(['delivered', 'delivered']);
    });

    it('is one change when it comes 50 times at once', async () => {
      const id = await sentMessage();
      const { a, b } = stores();
      const changes = await atOnce(50, (i) =>
        (i % 2 === 0 ? a : b).recordReport('acme', { providerMessageId: 'A1', state: 'delivered' }, T0),
      );
      expect(changes.filter(({ changed }) => changed)).toHaveLength(1);
      expect(await stateOf(id)).toEqual(['delivered', 'delivered']);
    });

    it('of another provider with the same id changes nothing', async () => {
      const id = await sentMessage();
      const outcome = await stores().b.recordReport('other', { providerMessageId: 'A1', state: 'delivered' }, T0);
      expect(outcome).toEqual({ changed: false, due: false });
      expect(await stateOf(id)).toEqual(['queued', 'queued']);
    });

    it('that is early waits for its dispatch', async () => {
      expect(await report('undelivered', { reason: 'coverage', code: '5' })).toBe(false);
      const id = await sentMessage();
      expect(await stateOf(id)).toEqual(['undelivered', 'undelivered']);
      expect((await stores().a.getMessage('taxi', id))?.dispatches[0]).toMatchObject({
        reason: 'coverage',
        errorCode: '5',
      });
      expect(await report('delivered')).toBe(false);
    });

    it('that is early is not undone by an earlier one that is late', async () => {
      for (const state of ['delivered', 'sent', 'queued', 'unknown'] as const) expect(await report(state)).toBe(false);
      expect(await stateOf(await sentMessage())).toEqual(['delivered', 'delivered']);
    });

    it('that is early and of a hand-over that was not the last does not settle the message', async () => {
      const { a } = stores();
      expect(await report('sent')).toBe(false);
      const step = messageStep();
      await a.addMessage(step);
      const last = dispatchOf({ provider: 'other', state: 'failed', providerMessageId: undefined, reason: 'account' });
      await a.recordDispatch(dispatchStep(step.message, { dispatches: [dispatchOf(), last], state: 'failed' }));
      expect(await stateOf(step.message.id)).toEqual(['failed', 'sent', 'failed']);
    });

    it('of a hand-over that was followed by another leaves the message to that one', async () => {
      const message = await sent();
      const { id } = message;
      const second = dispatchOf({ provider: 'other', providerMessageId: 'B2' });
      await stores().a.recordDispatch(dispatchStep(message, { dispatches: [second] }));
      expect(await report('failed')).toBe(true);
      expect(await stateOf(id)).toEqual(['queued', 'failed', 'queued']);
      const outcome = await stores().b.recordReport('other', { providerMessageId: 'B2', state: 'delivered' }, T0);
      expect(outcome.changed).toBe(true);
      expect(await stateOf(id)).toEqual(['delivered', 'failed', 'delivered']);
    });
  });

  describe('the list of messages', () => {
    async function sentMessageAt(createdAt: number): Promise<string> {
      const step = messageStep({ now: createdAt });
      await stores().a.addMessage(step);
      return step.message.id;
    }

    it('is newest first, in pages, of one app (invariant 13), and of one number where asked', async () => {
      const { a, b } = stores();
      const ids: string[] = [];
      for (let index = 0; index < 7; index += 1) {
        const step = messageStep({
          now: T0 + index,
          message: messageOf(undefined, { createdAt: T0 + index, number: phone(index % 2) }),
        });
        ids.unshift(step.message.id);
        await a.addMessage(step);
        await a.addMessage(messageStep({ message: messageOf(undefined, { app: 'bank', createdAt: T0 + index }) }));
      }
      const list = async (query: Parameters<Store['listMessages']>[1]) =>
        (await b.listMessages('taxi', query)).map(({ id }) => id);
      expect(await list({ limit: 100 })).toEqual(ids);
      const first = await list({ limit: 3 });
      const second = await list({ limit: 3, before: first[2] as string });
      const third = await list({ limit: 3, before: second[2] as string });
      expect([...first, ...second, ...third]).toEqual(ids);
      expect(await list({ limit: 3, before: third[0] as string })).toEqual([]);
      expect(await list({ limit: 2, number: phone(1) })).toEqual([ids[1], ids[3]]);
      expect(await list({ limit: 2, number: phone(1), before: ids[3] as string })).toEqual([ids[5]]);
      expect(await list({ limit: 5, number: phone(9) })).toEqual([]);
    });

    it('is between two ids or moments, of what carries a code or a text, and of one verification', async () => {
      const { a, b } = stores();
      const { verification, message: first } = await sentCode(a);
      const second = messageOf(verification, { createdAt: T0 + MINUTE });
      await resend(a, verification, T0 + MINUTE, { message: second });
      const { message: other } = await sentCode(a, { number: phone(2), createdAt: T0 + 2 * MINUTE });
      const text = await sentMessageAt(T0 + 3 * MINUTE);
      const list = async (query: Partial<MessageQuery>, app = 'taxi') =>
        (await b.listMessages(app, { limit: 10, ...query })).map(({ id }) => id);
      expect(await list({})).toEqual([text, other.id, second.id, first.id]);
      expect(await list({ carries: 'code' })).toEqual([other.id, second.id, first.id]);
      expect(await list({ carries: 'text' })).toEqual([text]);
      expect(await list({ after: second.id })).toEqual([text, other.id]);
      expect(await list({ after: firstIdAt('msg', T0 + MINUTE), before: firstIdAt('msg', T0 + 3 * MINUTE) })).toEqual([
        other.id,
        second.id,
      ]);
      expect(await list({ after: firstIdAt('msg', T0 + MINUTE + 1) })).toEqual([text, other.id]);
      expect(await list({ after: first.id, carries: 'code', limit: 1 })).toEqual([other.id]);
      const of = { verificationId: verification.id };
      expect(await list(of)).toEqual([second.id, first.id]);
      expect(await list({ ...of, limit: 1 })).toEqual([second.id]);
      expect(await list({ ...of, before: second.id })).toEqual([first.id]);
      expect(await list({ ...of, after: first.id, carries: 'code' })).toEqual([second.id]);
      expect(await list({ ...of, carries: 'text' })).toEqual([]);
      expect(await list({ ...of, number: phone(2) })).toEqual([]);
      expect(await list(of, 'bank')).toEqual([]);
      expect(await list({ verificationId: newId('ver') })).toEqual([]);
    });

    it('shows dispatches, and the messages of verifications without anything sealed', async () => {
      const { a, b } = stores();
      const step = startStep(verificationOf());
      await a.start(step);
      await a.recordDispatch(dispatchStep(step.message));
      const [message] = await b.listMessages('taxi', { limit: 1 });
      expect(message).toMatchObject({ id: step.message.id, state: 'queued', sealedText: undefined });
      expect(message?.dispatches).toEqual([dispatchOf()]);
    });
  });
}
