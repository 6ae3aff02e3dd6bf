import { describe, expect, it } from 'vitest';
import type { CheckOutcome } from '../domain/store.ts';
import type { Verification } from '../domain/verification.ts';
import {
  atOnce,
  checkById,
  checkBySlot,
  codeDigests,
  DAY,
  dispatchOf,
  dispatchStep,
  managedCode,
  messageOf,
  phone,
  readable,
  resend,
  SECOND,
  sentCode,
  settleCheck,
  started,
  startedManaged,
  startStep,
  T0,
  tally,
  verificationOf,
  wrongDigest,
} from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

/** Codes that a provider makes and compares, while attempts, guesses and states stay ours. */
export function describeManaged(stores: () => OpenedStores): void {
  const node = (index: number) => (index % 2 === 0 ? stores().a : stores().b);

  const ways = ['id', 'slot'] as const;

  function ask(by: (typeof ways)[number], index: number, verification: Verification, digest = wrongDigest, now = T0) {
    const { number } = verification;
    return by === 'id'
      ? checkById(node(index), verification, digest, now)
      : checkBySlot(node(index), digest, now, { number });
  }

  function kept(verification: Verification): Promise<Verification | undefined> {
    return stores().b.getVerification(verification.app, verification.id);
  }

  /** A managed verification, with so many checks on their way to the provider. */
  async function asked(count: number, given: Partial<Verification> = {}): Promise<Verification> {
    const verification = await startedManaged(stores().a, given);
    const outcomes = await atOnce(count, (i) => checkById(node(i), verification, wrongDigest, T0));
    expect(tally(outcomes)).toEqual({ ask: count });
    return verification;
  }

  /** The next send of a verification, by our own code or by the managed provider's. */
  async function sentAgain(verification: Verification, managed: typeof managedCode | undefined): Promise<void> {
    const at = (await kept(verification))?.resendAt ?? T0;
    const message = messageOf(verification, { createdAt: at });
    const outcome = await resend(stores().b, verification, at, { message });
    if (outcome.kind !== 'resent') throw new Error(`the resend was refused: ${outcome.kind}`);
    const dispatches = [dispatchOf({ provider: managed?.provider ?? 'acme', providerMessageId: message.id })];
    await stores().a.recordDispatch(dispatchStep(message, { dispatches, carried: { channel: 'sms', managed } }));
  }

  describe('a check of a code that a provider made', () => {
    it.each(ways)('by %s has to ask it; the attempt is counted before', async (by) => {
      const verification = await startedManaged(stores().a);
      const outcome = await ask(by, 1, verification);
      expect(outcome).toMatchObject({
        kind: 'ask',
        managed: managedCode,
        verification: { id: verification.id, attempts: 1, state: 'pending', number: verification.number },
      });
      expect(await kept(verification)).toMatchObject({ attempts: 1, state: 'pending' });
    });

    it.each(ways)('by %s asks at most maxAttempts times for 50 callers at once (invariant 2)', async (by) => {
      const verification = await startedManaged(stores().a);
      const outcomes = await atOnce(50, (i) => ask(by, i, verification));
      expect(outcomes.filter(({ kind }) => kind === 'ask')).toHaveLength(5);
      expect(await kept(verification)).toMatchObject({ attempts: 5 });
    });

    it('by id says of those beyond that no attempt is left', async () => {
      const verification = await asked(5);
      expect(await ask('id', 1, verification)).toEqual({ kind: 'ended', state: 'exhausted' });
    });

    it('by slot says of those beyond what it says where there is nothing to compare, and counts them (invariant 12)', async () => {
      const verification = await asked(5);
      const outcomes = await atOnce(30, (i) => ask('slot', i, verification));
      expect(tally(outcomes)).toEqual({ wrong: 15, locked: 15 });
      expect(outcomes).toContainEqual({ kind: 'wrong', verification: undefined, attemptsLeft: 0 });
    });

    it('counts against the number’s guesses, over all its verifications (invariant 3)', async () => {
      let asks = 0;
      for (let round = 0; round < 5; round += 1) {
        const started = await stores().a.start(startStep(verificationOf({ purpose: `purpose-${round}` })));
        if (started.kind === 'locked') break;
        const verification = await startedManaged(stores().a, { purpose: `purpose-${round}` });
        const outcomes = await atOnce(6, (i) => checkById(node(i), verification, wrongDigest, T0));
        asks += tally(outcomes)['ask'] ?? 0;
      }
      expect(asks).toBe(20);
      expect(await checkBySlot(stores().b, wrongDigest, T0)).toEqual({ kind: 'locked', retryAfterMs: DAY });
      expect(await stores().b.start(startStep(verificationOf()))).toEqual({ kind: 'locked', retryAfterMs: DAY });
    });

    it('asks nobody while the number is locked, and counts nothing', async () => {
      const verification = await startedManaged(stores().a);
      for (let guess = 0; guess < 20; guess += 1) await checkBySlot(stores().a, wrongDigest, T0, { purpose: 'other' });
      for (const by of ways) expect(await ask(by, 0, verification)).toEqual({ kind: 'locked', retryAfterMs: DAY });
      expect(await kept(verification)).toMatchObject({ attempts: 0 });
    });

    it('asks nobody when it has ended, or belongs to another app, purpose or subject (invariants 5, 6, 13)', async () => {
      const verification = await startedManaged(stores().a);
      const { expiresAt } = verification;
      for (const given of [{ app: 'bank' }, { purpose: 'payment' }, { subject: 'u1' }]) {
        expect(await checkById(stores().b, verification, wrongDigest, T0, given)).toEqual({ kind: 'unknown' });
      }
      expect(await ask('id', 0, verification, wrongDigest, expiresAt)).toEqual({ kind: 'ended', state: 'expired' });
      expect(await ask('slot', 0, verification, wrongDigest, expiresAt)).toMatchObject({ verification: undefined });
      await stores().a.cancel('taxi', verification.id, T0);
      expect(await ask('id', 0, verification)).toEqual({ kind: 'ended', state: 'canceled' });
      expect(await kept(verification)).toMatchObject({ attempts: 0 });
    });
  });

  describe('what a hand-over tells the verification', () => {
    it('is the channel it took, and nothing else when the code is ours', async () => {
      const carried = { channel: 'whatsapp', managed: undefined } as const;
      const { verification } = await sentCode(stores().a, {}, [{}], { carried });
      expect(readable(await kept(verification))).toEqual(readable({ ...verification, channel: 'whatsapp' }));
    });

    it('is nothing where nothing is said', async () => {
      const { verification } = await sentCode(stores().a);
      expect(readable(await kept(verification))).toEqual(readable(verification));
    });

    it('is of a managed provider: whose code it is, and that ours did not go out', async () => {
      const verification = await startedManaged(stores().a, { channel: 'voice' });
      const wanted = readable({ ...verification, channel: 'voice', managed: managedCode, ownCodeSent: false });
      expect(readable(await kept(verification))).toEqual(wanted);
      const reopened = await stores().reopen();
      expect(readable(await reopened.getVerification('taxi', verification.id))).toEqual(wanted);
    });

    it('stays through a resend and a repeated start', async () => {
      const { a, b } = stores();
      const verification = await startedManaged(a);
      await resend(b, verification, verification.resendAt);
      expect(await kept(verification)).toMatchObject({ managed: managedCode, ownCodeSent: false, sends: 2 });
      await started(b, { createdAt: verification.resendAt + SECOND }, { repeat: true });
      expect(await kept(verification)).toMatchObject({ managed: managedCode, ownCodeSent: false, sends: 3 });
    });

    it('is another name of the code when the provider made a new one', async () => {
      const verification = await startedManaged(stores().a);
      const renewed = { provider: 'verify', providerMessageId: 'VE2' };
      await sentAgain(verification, renewed);
      expect(await kept(verification)).toMatchObject({ managed: renewed, ownCodeSent: false });
      expect(await ask('id', 0, verification)).toMatchObject({ kind: 'ask', managed: renewed });
    });

    it('of a message of another app’s changes nothing (invariant 13)', async () => {
      const { a } = stores();
      const { verification, message } = await sentCode(a);
      const carried = { channel: 'voice', managed: managedCode } as const;
      await a.recordDispatch(dispatchStep({ ...message, app: 'bank' }, { dispatches: [], carried }));
      expect(readable(await kept(verification))).toEqual(readable(verification));
    });
  });

  describe('our own code', () => {
    it.each(ways)('is not taken by %s while it never went out, though it be right', async (by) => {
      const verification = await startedManaged(stores().a);
      const { byId, bySlot } = verification.digests;
      expect(await ask(by, 0, verification, by === 'id' ? byId : bySlot)).toMatchObject({ kind: 'ask' });
      expect(await kept(verification)).toMatchObject({ state: 'pending', attempts: 1 });
    });

    it.each(ways)('is taken by %s once it was sent as well, and the provider’s still is', async (by) => {
      for (const isOurs of [true, false]) {
        const number = phone(isOurs ? 1 : 2);
        const verification = await startedManaged(stores().a, { number });
        await sentAgain(verification, undefined);
        expect(await kept(verification)).toMatchObject({ managed: managedCode, ownCodeSent: true });
        const { byId, bySlot } = verification.digests;
        if (isOurs) {
          const outcome = await ask(by, 0, verification, by === 'id' ? byId : bySlot);
          expect(outcome).toMatchObject({ kind: 'approved', verification: { attempts: 1, state: 'approved' } });
        } else {
          expect(await ask(by, 0, verification)).toMatchObject({ kind: 'ask', managed: managedCode });
          expect(await settleCheck(stores().a, verification, 'approved')).toMatchObject({ kind: 'approved' });
        }
      }
    });

    it('stays good when a later send goes by a managed provider', async () => {
      const { verification } = await sentCode(stores().a);
      await sentAgain(verification, managedCode);
      expect(await kept(verification)).toMatchObject({ managed: managedCode, ownCodeSent: true });
      expect(await ask('id', 0, verification, verification.digests.byId)).toMatchObject({ kind: 'approved' });
    });

    // It was forgotten as if the managed provider's were the first: a text that came late carried a code that was worth
    // nothing any more.
    it.each(ways)(
      'stays good by %s when the message goes on to a managed provider for want of a report',
      async (by) => {
        const { verification, message } = await sentCode(stores().a);
        const second = dispatchOf({ provider: 'verify', providerMessageId: 'VE1' });
        const carried = { channel: 'sms', managed: managedCode } as const;
        await stores().b.recordDispatch(dispatchStep(message, { dispatches: [second], carried, noReports: true }));
        expect(await kept(verification)).toMatchObject({ managed: managedCode, ownCodeSent: true });
        expect(await ask(by, 1, verification)).toMatchObject({ kind: 'ask' });
        const { byId, bySlot } = verification.digests;
        expect(await ask(by, 1, verification, by === 'id' ? byId : bySlot)).toMatchObject({ kind: 'approved' });
      },
    );

    it('stays good when its own hand-over may have been taken, and not when it was refused', async () => {
      const carried = { channel: 'sms', managed: managedCode } as const;
      for (const reason of ['uncertain', 'unavailable'] as const) {
        const first = dispatchOf({ providerMessageId: undefined, state: 'failed', reason });
        const second = dispatchOf({ provider: 'verify', providerMessageId: 'VE1' });
        const { verification } = await sentCode(stores().a, {}, [first, second], { carried, noReports: true });
        expect(await kept(verification)).toMatchObject({ ownCodeSent: reason === 'uncertain' });
      }
    });

    it.each(ways)(
      'is not compared by %s once maxAttempts checks are on their way to the provider (invariant 2)',
      async (by) => {
        const verification = await startedManaged(stores().a);
        await sentAgain(verification, undefined);
        await atOnce(5, (i) => ask(by, i, verification));
        const { byId, bySlot } = verification.digests;
        const outcome = await ask(by, 0, verification, by === 'id' ? byId : bySlot);
        expect(outcome).toEqual(
          by === 'id'
            ? { kind: 'ended', state: 'exhausted' }
            : { kind: 'wrong', verification: undefined, attemptsLeft: 0 },
        );
        expect(await kept(verification)).toMatchObject({ state: 'pending', attempts: 5 });
      },
    );

    it('that was replaced is not taken, the new one is', async () => {
      const { a, b } = stores();
      const verification = await startedManaged(a);
      const at = verification.resendAt;
      const code = { replaces: 0, codeNumber: 1, digests: codeDigests(verification.id, 1) };
      const message = messageOf(verification, { createdAt: at, codeNumber: 1 });
      await resend(b, verification, at, { message, code });
      await a.recordDispatch(dispatchStep(message, { carried: { channel: 'sms', managed: undefined } }));
      // Neither our older code nor the provider's: the new one ended both.
      expect(await ask('id', 0, verification, verification.digests.byId, at)).toMatchObject({ kind: 'wrong' });
      expect(await ask('id', 0, verification, code.digests.byId, at)).toMatchObject({ kind: 'approved' });
    });
  });

  describe('the provider’s answer', () => {
    it('approves exactly one of 50 approvals at once (invariant 1)', async () => {
      const verification = await asked(5);
      const outcomes = await atOnce(50, (i) => settleCheck(node(i), verification, 'approved'));
      expect(tally(outcomes)).toEqual({ approved: 1, ended: 49 });
      expect(outcomes).toContainEqual({ kind: 'ended', state: 'approved' });
      expect(outcomes.find(({ kind }) => kind === 'approved')).toMatchObject({
        verification: { id: verification.id, state: 'approved', attempts: 5, managed: managedCode },
      });
      expect(await kept(verification)).toMatchObject({ state: 'approved', attempts: 5 });
    });

    it('and our own code at once approve once (invariant 1)', async () => {
      for (let round = 0; round < 5; round += 1) {
        const verification = await startedManaged(stores().a, { number: phone(round) });
        await sentAgain(verification, undefined);
        await ask('id', round, verification);
        const outcomes = await atOnce(
          20,
          (i): Promise<CheckOutcome> =>
            (i + round) % 2 === 0
              ? settleCheck(node(i >> 1), verification, 'approved')
              : ask('id', i >> 1, verification, verification.digests.byId),
        );
        expect(tally(outcomes)['approved']).toBe(1);
      }
    });

    it('does not approve by a code that another one has replaced meanwhile', async () => {
      const verification = await asked(1);
      const at = verification.resendAt;
      const code = { replaces: 0, codeNumber: 1, digests: codeDigests(verification.id, 1) };
      await resend(stores().b, verification, at, {
        message: messageOf(verification, { createdAt: at, codeNumber: 1 }),
        code,
      });
      expect(await settleCheck(stores().a, verification, 'approved', at)).toMatchObject({
        kind: 'wrong',
        attemptsLeft: 4,
      });
      expect(await kept(verification)).toMatchObject({ state: 'pending', attempts: 1 });
    });

    it('that the code is wrong leaves the attempts that are not used', async () => {
      const verification = await asked(2);
      expect(await settleCheck(stores().b, verification, 'wrong')).toMatchObject({
        kind: 'wrong',
        attemptsLeft: 3,
        verification: { id: verification.id, attempts: 2, state: 'pending' },
      });
      expect(await settleCheck(stores().b, verification, 'wrong')).toMatchObject({ kind: 'wrong', attemptsLeft: 3 });
    });

    it('that the code is wrong exhausts the verification at the last attempt (invariant 2)', async () => {
      const verification = await startedManaged(stores().a, { maxAttempts: 2 });
      await ask('id', 0, verification);
      expect(await settleCheck(stores().b, verification, 'wrong')).toMatchObject({ kind: 'wrong', attemptsLeft: 1 });
      await ask('id', 0, verification);
      expect(await settleCheck(stores().b, verification, 'wrong')).toMatchObject({
        kind: 'wrong',
        attemptsLeft: 0,
        verification: { state: 'exhausted', attempts: 2 },
      });
      expect(await ask('id', 1, verification)).toEqual({ kind: 'ended', state: 'exhausted' });
      expect(await kept(verification)).toMatchObject({ state: 'exhausted', attempts: 2 });
    });

    it('that did not come gives the attempt back', async () => {
      const verification = await asked(5);
      expect(await ask('id', 0, verification)).toMatchObject({ kind: 'ended' });
      expect(await settleCheck(stores().b, verification, 'unanswered')).toMatchObject({
        kind: 'wrong',
        attemptsLeft: 1,
        verification: { attempts: 4, state: 'pending' },
      });
      expect(await kept(verification)).toMatchObject({ attempts: 4, state: 'pending' });
      const outcomes = await atOnce(10, (i) => ask('id', i, verification));
      expect(tally(outcomes)).toEqual({ ask: 1, ended: 9 });
    });

    it('that did not come, 50 times at once, gives no more back than was taken', async () => {
      const verification = await asked(3);
      await atOnce(50, (i) => settleCheck(node(i), verification, 'unanswered'));
      expect(await kept(verification)).toMatchObject({ attempts: 0, state: 'pending' });
    });

    it('that did not come gives the guess back, and undoes the lock that it brought about (invariant 15)', async () => {
      const made: Verification[] = [];
      for (const purpose of ['a', 'b', 'c', 'd']) made.push(await asked(5, { purpose }));
      const fifth = await startedManaged(stores().a, { purpose: 'e', createdAt: T0 - SECOND }).catch(() => undefined);
      expect(fifth, 'the number is locked').toBeUndefined();
      for (const verification of made) {
        await atOnce(5, (i) => settleCheck(node(i), verification, 'unanswered'));
      }
      const outcomes = await atOnce(10, (i) => ask('id', i, made[i % 4] as Verification));
      expect(tally(outcomes)).toEqual({ ask: 10 });
    });

    it('that did not come does not open what a wrong one has exhausted', async () => {
      const verification = await asked(5);
      expect(await settleCheck(stores().a, verification, 'wrong')).toMatchObject({
        verification: { state: 'exhausted' },
      });
      await settleCheck(stores().b, verification, 'unanswered');
      expect(await kept(verification)).toMatchObject({ state: 'exhausted' });
      expect(await ask('id', 0, verification)).toEqual({ kind: 'ended', state: 'exhausted' });
    });

    it('that approves still counts when a wrong one, answered sooner, has exhausted it', async () => {
      const verification = await asked(5);
      for (let answer = 0; answer < 4; answer += 1) await settleCheck(node(answer), verification, 'wrong');
      expect(await kept(verification)).toMatchObject({ state: 'exhausted' });
      expect(await settleCheck(stores().b, verification, 'approved')).toMatchObject({
        kind: 'approved',
        verification: { state: 'approved' },
      });
      expect(await settleCheck(stores().a, verification, 'wrong')).toEqual({ kind: 'ended', state: 'approved' });
      expect(await kept(verification)).toMatchObject({ state: 'approved' });
    });

    it('that comes after the end of the code counts: it was asked for in time (invariant 5)', async () => {
      const [right, wrong] = [await asked(1), await asked(1, { number: phone(2) })];
      const { expiresAt } = right;
      expect(await settleCheck(stores().b, wrong, 'wrong', expiresAt)).toMatchObject({ kind: 'wrong' });
      expect(await settleCheck(stores().b, right, 'approved', expiresAt)).toMatchObject({ kind: 'approved' });
      expect(await ask('id', 0, wrong, wrongDigest, expiresAt)).toEqual({ kind: 'ended', state: 'expired' });
    });

    it('is of no use when it was canceled or replaced meanwhile', async () => {
      const { a, b } = stores();
      const canceled = await asked(1);
      await a.cancel('taxi', canceled.id, T0);
      const replaced = await asked(1, { number: phone(2) });
      await started(b, { number: phone(2) });
      for (const verification of [canceled, replaced]) {
        for (const verdict of ['approved', 'wrong', 'unanswered'] as const)
          expect(await settleCheck(b, verification, verdict)).toEqual({ kind: 'ended', state: 'canceled' });
        expect(await kept(verification)).toMatchObject({ state: 'canceled', attempts: 1 });
      }
    });

    it('is unknown for what there never was, and for another app (invariant 13)', async () => {
      const verification = await asked(1);
      expect(await settleCheck(stores().a, verificationOf(), 'approved')).toEqual({ kind: 'unknown' });
      expect(await settleCheck(stores().b, { ...verification, app: 'bank' }, 'approved')).toEqual({ kind: 'unknown' });
      expect(await kept(verification)).toMatchObject({ state: 'pending' });
    });

    it('clears the number’s guesses when it approves, in its lane alone (invariant 3)', async () => {
      const { a, b } = stores();
      for (let guess = 0; guess < 18; guess += 1) await checkBySlot(a, wrongDigest, T0, { purpose: 'other' });
      for (let guess = 0; guess < 20; guess += 1)
        await checkBySlot(a, wrongDigest, T0, { purpose: 'other', lane: 'trusted' });
      const verification = await asked(1);
      await settleCheck(b, verification, 'wrong');
      await ask('id', 1, verification);
      expect(await checkBySlot(b, wrongDigest, T0, { purpose: 'other' })).toMatchObject({ kind: 'locked' });
      expect(await settleCheck(a, verification, 'approved')).toMatchObject({ kind: 'approved' });
      const outcomes = await atOnce(30, (i) => checkBySlot(node(i), wrongDigest, T0, { purpose: 'other' }));
      expect(tally(outcomes)).toEqual({ wrong: 20, locked: 10 });
      expect(outcomes).toContainEqual({ kind: 'locked', retryAfterMs: DAY });
      expect(await checkBySlot(b, wrongDigest, T0, { lane: 'trusted' })).toMatchObject({ kind: 'locked' });
    });

    it('does not clear the guesses when it is wrong', async () => {
      for (let guess = 0; guess < 19; guess += 1) await checkBySlot(stores().a, wrongDigest, T0, { purpose: 'other' });
      const verification = await asked(1);
      await settleCheck(stores().b, verification, 'wrong');
      expect(await checkBySlot(stores().a, wrongDigest, T0)).toEqual({ kind: 'locked', retryAfterMs: DAY });
    });

    it('may be awaited over a restart', async () => {
      const verification = await asked(5);
      const reopened = await stores().reopen();
      expect(await checkById(reopened, verification, wrongDigest, T0)).toEqual({ kind: 'ended', state: 'exhausted' });
      expect(await settleCheck(reopened, verification, 'approved')).toMatchObject({ kind: 'approved' });
    });
  });
}
