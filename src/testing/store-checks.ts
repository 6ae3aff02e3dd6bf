import { describe, expect, it } from 'vitest';
import type { PhoneNumber } from '../domain/phone-number.ts';
import type { Bucket } from '../domain/store.ts';
import type { Verification } from '../domain/verification.ts';
import {
  atOnce,
  CODE_LIFE,
  checkById,
  checkBySlot,
  codeDigests,
  DAY,
  HOUR,
  MINUTE,
  messageOf,
  perNumber,
  phone,
  resend,
  SECOND,
  started,
  startedManaged,
  startStep,
  T0,
  tally,
  verificationOf,
  wrongDigest,
} from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

/** Checks of a code, and what they are counted against. */
export function describeChecks(stores: () => OpenedStores): void {
  /** Two nodes take turns. */
  const node = (index: number) => (index % 2 === 0 ? stores().a : stores().b);

  /** Wrong codes against a number, without a verification to waste them on. */
  async function guessWrong(count: number, now: number, given: Parameters<typeof checkBySlot>[3] = {}): Promise<void> {
    for (let guess = 0; guess < count; guess += 1) {
      const outcome = await checkBySlot(stores().a, wrongDigest, now, given);
      if (outcome.kind !== 'wrong') throw new Error(`guess ${guess + 1} of ${count} was ${outcome.kind}`);
    }
  }

  describe('a right code', () => {
    it('approves exactly one of 200 callers at once, by id (invariant 1)', async () => {
      const verification = await started(stores().a);
      const outcomes = await atOnce(200, (i) => checkById(node(i), verification, verification.digests.byId, T0));
      expect(tally(outcomes)).toEqual({ approved: 1, ended: 199 });
      expect(outcomes.filter((outcome) => outcome.kind === 'ended' && outcome.state === 'approved')).toHaveLength(199);
    });

    it('approves exactly one of 200 callers at once, by slot (invariant 1)', async () => {
      const verification = await started(stores().a);
      const outcomes = await atOnce(200, (i) => checkBySlot(node(i), verification.digests.bySlot, T0));
      expect(outcomes.filter(({ kind }) => kind === 'approved')).toHaveLength(1);
    });

    it('approves once when it is asked by id and by slot at once (invariant 1)', async () => {
      const verification = await started(stores().a);
      const { byId, bySlot } = verification.digests;
      const outcomes = await atOnce(100, (i) =>
        i % 3 === 0 ? checkById(node(i), verification, byId, T0) : checkBySlot(node(i), bySlot, T0),
      );
      expect(outcomes.filter(({ kind }) => kind === 'approved')).toHaveLength(1);
    });

    it('says whom it approved', async () => {
      const verification = await started(stores().a, { subject: 'u1', metadata: { ride: '7' } });
      const outcome = await checkById(stores().b, verification, verification.digests.byId, T0);
      expect(outcome).toMatchObject({
        kind: 'approved',
        verification: {
          id: verification.id,
          number: phone(1),
          subject: 'u1',
          state: 'approved',
          attempts: 1,
          metadata: { ride: '7' },
        },
      });
      expect(await stores().a.getVerification('taxi', verification.id)).toMatchObject({
        state: 'approved',
        attempts: 1,
      });
    });

    it('approves at the last attempt too', async () => {
      const verification = await started(stores().a);
      for (let attempt = 0; attempt < 4; attempt += 1) await checkById(stores().a, verification, wrongDigest, T0);
      expect(await checkById(stores().b, verification, verification.digests.byId, T0)).toMatchObject({
        kind: 'approved',
      });
    });
  });

  describe('wrong codes', () => {
    it('are compared exactly maxAttempts times for 200 callers at once (invariant 2)', async () => {
      const verification = await started(stores().a);
      const outcomes = await atOnce(200, (i) => checkById(node(i), verification, wrongDigest, T0));
      expect(tally(outcomes)).toEqual({ wrong: 5, ended: 195 });
      const left = outcomes.flatMap((outcome) => (outcome.kind === 'wrong' ? [outcome.attemptsLeft] : []));
      expect(left.sort()).toEqual([0, 1, 2, 3, 4]);
      expect(await stores().b.getVerification('taxi', verification.id)).toMatchObject({
        state: 'exhausted',
        attempts: 5,
      });
    });

    it('are compared maxAttempts times by slot; what follows is compared with nothing (invariant 2)', async () => {
      await started(stores().a);
      const outcomes = await atOnce(200, (i) => checkBySlot(node(i), wrongDigest, T0));
      expect(outcomes.filter((o) => o.kind === 'wrong' && o.verification !== undefined)).toHaveLength(5);
    });

    it('exhaust a verification for the right code as well (invariant 2)', async () => {
      const verification = await started(stores().a, { maxAttempts: 3 });
      const last = await atOnce(3, (i) => checkById(node(i), verification, wrongDigest, T0));
      expect(tally(last)).toEqual({ wrong: 3 });
      expect(await checkById(stores().b, verification, verification.digests.byId, T0)).toEqual({
        kind: 'ended',
        state: 'exhausted',
      });
      expect(await checkBySlot(stores().b, verification.digests.bySlot, T0)).toMatchObject({ kind: 'wrong' });
    });

    it('are not forgotten by a resend, whether it repeats the code or replaces it (invariant 2)', async () => {
      for (const codeNumber of [undefined, 1]) {
        const verification = await started(stores().a, { number: phone(codeNumber ?? 0) });
        for (let attempt = 0; attempt < 3; attempt += 1) await checkById(stores().a, verification, wrongDigest, T0);
        const code =
          codeNumber === undefined
            ? undefined
            : { replaces: 0, codeNumber, digests: codeDigests(verification.id, codeNumber) };
        const later = verification.resendAt;
        expect(await resend(stores().b, verification, later, { code })).toMatchObject({
          kind: 'resent',
          verification: { attempts: 3 },
        });
        const outcomes = await atOnce(50, (i) => checkById(node(i), verification, wrongDigest, later));
        expect(tally(outcomes)).toEqual({ wrong: 2, ended: 48 });
      }
    });

    it('are compared maxAttempts times while resends come in between (invariant 2)', async () => {
      const verification = await started(stores().a, { resendAt: T0 });
      const checks: string[] = [];
      await atOnce(200, async (i) => {
        if (i % 40 === 7) await resend(node(i), verification, T0, { delaysSeconds: [0] });
        else checks.push((await checkById(node(i), verification, wrongDigest, T0)).kind);
      });
      expect(checks.filter((kind) => kind === 'wrong')).toHaveLength(5);
    });

    it('and right ones at once: never more than maxAttempts compared, never more than one approved (invariants 1, 2)', async () => {
      for (let round = 0; round < 10; round += 1) {
        const verification = await started(stores().a, { number: phone(round) });
        const outcomes = await atOnce(40, (i) =>
          checkById(
            node(Math.floor(i / 2)),
            verification,
            (i + round) % 9 === 0 ? verification.digests.byId : wrongDigest,
            T0,
          ),
        );
        const { approved = 0, wrong = 0 } = tally(outcomes);
        expect(approved).toBeLessThanOrEqual(1);
        expect(approved + wrong).toBeLessThanOrEqual(5);
        expect(approved === 1 || wrong === 5).toBe(true);
      }
    });
  });

  describe('the budget of wrong guesses (invariant 3)', () => {
    it('is one for all verifications of a number: 20 guesses, then nothing is compared', async () => {
      for (let round = 0; round < 4; round += 1) {
        const verification = await started(stores().a);
        const outcomes = await atOnce(6, (i) => checkById(node(i), verification, wrongDigest, T0));
        expect(tally(outcomes)).toEqual({ wrong: 5, ended: 1 });
      }
      expect(await stores().b.start(startStep(verificationOf()))).toEqual({ kind: 'locked', retryAfterMs: DAY });
      expect(await checkBySlot(stores().a, wrongDigest, T0)).toEqual({ kind: 'locked', retryAfterMs: DAY });
    });

    it('is one for all purposes and subjects, also when they are guessed at at once', async () => {
      const verifications: Verification[] = [];
      for (let index = 0; index < 10; index += 1) {
        const subject = index % 2 === 0 ? undefined : `u${index}`;
        verifications.push(await started(stores().a, { purpose: `purpose-${index}`, subject }));
      }
      const outcomes = await atOnce(200, (i) =>
        checkById(node(i), verifications[i % 10] as Verification, wrongDigest, T0),
      );
      expect(outcomes.filter(({ kind }) => kind === 'wrong')).toHaveLength(20);
    });

    it('is not refilled by resends', async () => {
      for (let round = 0; round < 4; round += 1) {
        const verification = await started(stores().a, { maxAttempts: 10 });
        for (let attempt = 0; attempt < 3; attempt += 1) await checkById(stores().a, verification, wrongDigest, T0);
        await resend(stores().b, verification, verification.resendAt);
        for (let attempt = 0; attempt < 2; attempt += 1)
          await checkById(stores().b, verification, wrongDigest, verification.resendAt);
      }
      expect(await checkBySlot(stores().a, wrongDigest, T0 + 31 * SECOND)).toMatchObject({ kind: 'locked' });
    });

    it('locks the number for the right code too, and for starts and resends, which count in no bucket then', async () => {
      const buckets = [perNumber(2, DAY * 3)];
      const verification = await started(stores().a, { expiresAt: T0 + 3 * DAY }, { buckets });
      await guessWrong(20, T0, { purpose: 'other' });
      expect(await checkById(stores().b, verification, verification.digests.byId, T0)).toEqual({
        kind: 'locked',
        retryAfterMs: DAY,
      });
      expect(await checkBySlot(stores().b, verification.digests.bySlot, T0 + SECOND)).toEqual({
        kind: 'locked',
        retryAfterMs: DAY - SECOND,
      });
      for (let round = 0; round < 3; round += 1) {
        expect(await stores().b.start(startStep(verificationOf(), { buckets }))).toEqual({
          kind: 'locked',
          retryAfterMs: DAY,
        });
        expect(await resend(stores().a, verification, verification.resendAt, { buckets })).toMatchObject({
          kind: 'locked',
        });
      }
      expect(await stores().b.start(startStep(verificationOf({ createdAt: T0 + DAY }), { buckets }))).toMatchObject({
        kind: 'started',
      });
    });

    it('is free again at the very millisecond at which the lock ends', async () => {
      await guessWrong(20, T0);
      expect(await checkBySlot(stores().b, wrongDigest, T0 + DAY - 1)).toEqual({ kind: 'locked', retryAfterMs: 1 });
      expect(await checkBySlot(stores().b, wrongDigest, T0 + DAY)).toMatchObject({ kind: 'wrong' });
    });

    it('slides: a guess is forgotten a day after it was made', async () => {
      await guessWrong(19, T0);
      await guessWrong(19, T0 + DAY);
      expect(await checkBySlot(stores().a, wrongDigest, T0 + DAY)).toMatchObject({ kind: 'wrong' });
      expect(await checkBySlot(stores().a, wrongDigest, T0 + DAY)).toMatchObject({ kind: 'locked' });
    });

    it('locks longer each time: one day, two, four, seven, seven', async () => {
      let now = T0;
      for (const days of [1, 2, 4, 7, 7]) {
        await guessWrong(20, now);
        expect(await checkBySlot(stores().b, wrongDigest, now)).toEqual({ kind: 'locked', retryAfterMs: days * DAY });
        now += days * DAY;
      }
    });

    it('is full again after an approval, and the next lock is short again', async () => {
      await guessWrong(20, T0);
      const later = T0 + DAY;
      await guessWrong(19, later);
      const verification = await started(stores().a, { createdAt: later });
      expect(await checkById(stores().b, verification, verification.digests.byId, later)).toMatchObject({
        kind: 'approved',
      });
      await guessWrong(20, later);
      expect(await checkBySlot(stores().b, wrongDigest, later)).toEqual({ kind: 'locked', retryAfterMs: DAY });
    });

    it('is not touched by an approval through a mailbox, which shows nothing of the number', async () => {
      const { a, b } = stores();
      await guessWrong(19, T0);
      const byMail = await started(a, { purpose: 'other', sentByEmail: true });
      expect(await checkById(b, byMail, byMail.digests.byId, T0)).toMatchObject({ kind: 'approved' });
      await guessWrong(1, T0);
      expect(await checkBySlot(a, wrongDigest, T0)).toEqual({ kind: 'locked', retryAfterMs: DAY });
    });

    it('of a mailbox is full again after an approval through it', async () => {
      const { a, b } = stores();
      const number = 'ann@example.com' as PhoneNumber;
      await guessWrong(19, T0, { number });
      const verification = await started(a, { number, email: number, sentByEmail: true });
      expect(await checkById(b, verification, verification.digests.byId, T0)).toMatchObject({ kind: 'approved' });
      await guessWrong(20, T0, { number });
    });

    it('of who held the number before is apart: neither lane locks the other, nor clears it', async () => {
      await guessWrong(20, T0);
      const trusted = await started(stores().a, { lane: 'trusted' });
      await guessWrong(3, T0, { lane: 'trusted', purpose: 'other' });
      expect(await checkBySlot(stores().b, trusted.digests.bySlot, T0, { lane: 'trusted' })).toMatchObject({
        kind: 'approved',
      });
      expect(await checkBySlot(stores().b, wrongDigest, T0)).toMatchObject({ kind: 'locked' });
      await guessWrong(20, T0, { lane: 'trusted' });
      expect(await checkBySlot(stores().a, wrongDigest, T0, { lane: 'trusted' })).toMatchObject({ kind: 'locked' });
    });

    it('of another number or app is not touched', async () => {
      await guessWrong(20, T0);
      await guessWrong(1, T0, { number: phone(2) });
      await guessWrong(1, T0, { app: 'bank' });
    });
  });

  describe('a limit of wrong codes', () => {
    const buckets: Bucket[] = [{ scope: 'guesses', value: '203.0.113.1', rules: [{ max: 3, windowMs: HOUR }] }];

    it('lets exactly so many through, whichever number they are for, and then not even a right one (invariant 7)', async () => {
      const verification = await started(stores().a, { number: phone(7) });
      const { bySlot } = verification.digests;
      const right = (now: number) => checkBySlot(stores().a, bySlot, now, { number: phone(7), buckets });
      const outcomes = await atOnce(50, (i) =>
        checkBySlot(node(i), wrongDigest, T0, { number: phone(i % 7), buckets }),
      );
      expect(tally(outcomes)).toEqual({ wrong: 3, limited: 47 });
      const limited = { kind: 'limited', scope: 'guesses', retryAfterMs: HOUR };
      expect(outcomes).toContainEqual(limited);
      expect(await right(T0)).toEqual(limited);
      expect(await checkById(stores().b, verification, wrongDigest, T0, { buckets })).toEqual(limited);
      expect(await stores().b.getVerification('taxi', verification.id)).toMatchObject({
        attempts: 0,
        state: 'pending',
      });
      expect(await checkBySlot(stores().b, bySlot, T0, { number: phone(7) })).toMatchObject({ kind: 'approved' });
    });

    it('counts a code that a provider has to be asked for', async () => {
      const verification = await startedManaged(stores().a);
      const outcomes = await atOnce(5, (i) => checkById(node(i), verification, wrongDigest, T0, { buckets }));
      expect(tally(outcomes)).toEqual({ ask: 3, limited: 2 });
    });

    it('counts no right code', async () => {
      for (let index = 1; index <= 5; index += 1) {
        const { digests, number } = await started(stores().a, { number: phone(index) });
        const outcome = await checkBySlot(stores().b, digests.bySlot, T0, { number, buckets });
        expect(outcome).toMatchObject({ kind: 'approved' });
      }
    });
  });

  describe('the end of a code', () => {
    it('comes at the very millisecond of expiresAt; one before, it is good (invariant 5)', async () => {
      for (const [by, number] of [
        ['id', phone(1)],
        ['slot', phone(2)],
      ] as const) {
        const verification = await started(stores().a, { number });
        const check = (now: number) =>
          by === 'id'
            ? checkById(stores().b, verification, verification.digests.byId, now)
            : checkBySlot(stores().b, verification.digests.bySlot, now, { number });
        expect(await check(verification.expiresAt)).toMatchObject(
          by === 'id' ? { kind: 'ended', state: 'expired' } : { kind: 'wrong', verification: undefined },
        );
        expect(await check(verification.expiresAt - 1)).toMatchObject({ kind: 'approved' });
      }
    });

    it('is not put off by a resend or a repeated start (invariant 5)', async () => {
      const verification = await started(stores().a);
      await resend(stores().a, verification, T0 + MINUTE);
      await started(stores().b, { createdAt: T0 + 2 * MINUTE }, { repeat: true });
      expect(await checkById(stores().a, verification, verification.digests.byId, T0 + CODE_LIFE)).toEqual({
        kind: 'ended',
        state: 'expired',
      });
    });

    it('comes by cancelling: once, and not of what has ended', async () => {
      const { a, b } = stores();
      const verification = await started(a);
      const outcomes = await atOnce(20, (i) => node(i).cancel('taxi', verification.id, T0));
      expect(tally(outcomes)).toEqual({ canceled: 1, ended: 19 });
      expect(outcomes).toContainEqual({ kind: 'ended', state: 'canceled' });
      expect(await checkById(b, verification, verification.digests.byId, T0)).toEqual({
        kind: 'ended',
        state: 'canceled',
      });
      expect(await checkBySlot(b, verification.digests.bySlot, T0)).toMatchObject({ kind: 'wrong' });

      const expired = await started(a);
      expect(await b.cancel('taxi', expired.id, expired.expiresAt)).toEqual({ kind: 'ended', state: 'expired' });
      const approved = await started(a);
      await checkById(a, approved, approved.digests.byId, T0);
      expect(await b.cancel('taxi', approved.id, T0)).toEqual({ kind: 'ended', state: 'approved' });
      expect(await b.cancel('taxi', verificationOf().id, T0)).toEqual({ kind: 'unknown' });
    });

    it('is canceling or approving, never both', async () => {
      for (let round = 0; round < 10; round += 1) {
        const verification = await started(stores().a, { number: phone(round) });
        const [check, cancel] = await Promise.all([
          checkById(node(round), verification, verification.digests.byId, T0),
          node(round + 1).cancel('taxi', verification.id, T0),
        ]);
        expect([check.kind, cancel.kind].filter((kind) => kind !== 'ended')).toHaveLength(1);
      }
    });
  });

  describe('what a code is bound to (invariant 6)', () => {
    it('by id: app, purpose and subject, where they are asked for; a refusal costs no attempt', async () => {
      const { a, b } = stores();
      const verification = await started(a, { subject: 'u1' });
      const right = verification.digests.byId;
      for (const given of [{ app: 'bank' }, { purpose: 'payment' }, { subject: 'u2' }]) {
        expect(await checkById(b, verification, right, T0, given)).toEqual({ kind: 'unknown' });
      }
      const withoutSubject = await started(a, { number: phone(2) });
      expect(await checkById(b, withoutSubject, withoutSubject.digests.byId, T0, { subject: 'u1' })).toEqual({
        kind: 'unknown',
      });
      expect(await checkById(b, verification, right, T0, { purpose: 'login', subject: 'u1' })).toMatchObject({
        kind: 'approved',
        verification: { attempts: 1 },
      });
    });

    it('by slot: app, purpose, subject, number and lane', async () => {
      const { a, b } = stores();
      const verification = await started(a, { subject: 'u1' });
      const right = verification.digests.bySlot;
      const elsewhere = [
        { app: 'bank', subject: 'u1' },
        { purpose: 'payment', subject: 'u1' },
        { subject: 'u2' },
        { subject: undefined },
        { number: phone(2), subject: 'u1' },
        { lane: 'trusted', subject: 'u1' },
      ] as const;
      for (const given of elsewhere) {
        expect(await checkBySlot(b, right, T0, given)).toMatchObject({ kind: 'wrong', verification: undefined });
      }
      expect(await checkBySlot(b, right, T0, { subject: 'u1' })).toMatchObject({
        kind: 'approved',
        verification: { attempts: 1 },
      });
    });

    it('the digest by id is not taken by slot, nor the other way round', async () => {
      const verification = await started(stores().a);
      const { byId, bySlot } = verification.digests;
      expect(await checkBySlot(stores().a, byId, T0)).toMatchObject({ kind: 'wrong' });
      expect(await checkById(stores().a, verification, bySlot, T0)).toMatchObject({ kind: 'wrong' });
    });

    it('a purpose may have any name, and none is taken for another', async () => {
      const { a, b } = stores();
      const purposes = [
        'login',
        'login trusted',
        'open login',
        'constructor',
        '__proto__',
        'toString',
        "o'clock",
        '" "',
      ];
      const slots = purposes.flatMap((purpose) => [
        { purpose, lane: 'open' } as const,
        { purpose, lane: 'trusted' } as const,
      ]);
      const verifications: Verification[] = [];
      for (const slot of slots) verifications.push(await started(a, slot, { repeat: true }));
      for (const [index, slot] of slots.entries()) {
        const verification = verifications[index] as Verification;
        expect(verification).toMatchObject(slot);
        expect(await checkBySlot(b, verification.digests.bySlot, T0, slot)).toMatchObject({
          kind: 'approved',
          verification: { id: verification.id, ...slot },
        });
      }
    });
  });

  describe('a check by slot', () => {
    it('has one outcome for a wrong code, for none, and for one that has ended; each is counted (invariant 12)', async () => {
      const { a, b } = stores();
      await started(a, { number: phone(1), maxAttempts: 30 });
      const canceled = await started(a, { number: phone(2) });
      await a.cancel('taxi', canceled.id, T0);
      for (const number of [phone(1), phone(2), phone(3)]) {
        const outcomes = await atOnce(25, (i) => checkBySlot(i % 2 === 0 ? a : b, wrongDigest, T0, { number }));
        expect(tally(outcomes)).toEqual({ wrong: 20, locked: 5 });
        expect(outcomes).toContainEqual({ kind: 'locked', retryAfterMs: DAY });
      }
    });
  });

  describe('apps', () => {
    it('neither see nor settle what is another one’s (invariant 13)', async () => {
      const { a, b } = stores();
      const ours = await started(a);
      const theirs = await started(b, { app: 'bank' });
      expect(await a.getVerification('bank', ours.id)).toBeUndefined();
      expect(await a.cancel('bank', ours.id, T0)).toEqual({ kind: 'unknown' });
      expect(await resend(a, ours, ours.resendAt, { app: 'bank', message: messageOf(theirs) })).toEqual({
        kind: 'unknown',
      });
      expect(await checkById(a, ours, ours.digests.byId, T0, { app: 'bank' })).toEqual({ kind: 'unknown' });
      expect(await checkBySlot(b, ours.digests.bySlot, T0)).toMatchObject({ kind: 'approved' });
      expect(await checkBySlot(b, theirs.digests.bySlot, T0, { app: 'bank' })).toMatchObject({ kind: 'approved' });
    });
  });
}
