import { describe, expect, it } from 'vitest';
import type { Bucket, StartStep } from '../domain/store.ts';
import type { Verification } from '../domain/verification.ts';
import {
  atOnce,
  checkById,
  checkBySlot,
  DAY,
  digestOf,
  dispatchOf,
  dispatchStep,
  guesses,
  HOUR,
  MINUTE,
  managedCode,
  messageOf,
  perNumber,
  phone,
  readable,
  resend,
  SECOND,
  sentCode,
  started,
  startedManaged,
  startStep,
  T0,
  tally,
  verificationOf,
  wrongDigest,
} from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

/** What callers bring: codes of their own, limits of their own, one verification for its whole life, their word for it. */
export function describeOwnCodes(stores: () => OpenedStores): void {
  const node = (index: number) => (index % 2 === 0 ? stores().a : stores().b);

  /** The digests of a caller's code, as the service makes them: for that id, and for the slot. */
  function ownCode(id: string, code: string) {
    return {
      digests: { byId: digestOf(`${id} ${code}`), bySlot: digestOf(`slot ${code}`) },
      sealedCode: digestOf(`sealed ${id} ${code}`),
    };
  }

  function withOwnCode(code: string, given: Partial<Verification> = {}): Verification {
    const verification = verificationOf(given);
    return { ...verification, ...ownCode(verification.id, code) };
  }

  /** As the service does: comes again with the code for the verification that it is told of. */
  async function startWith(
    index: number,
    code: string,
    given: Partial<StartStep> = {},
    of: Partial<Verification> = {},
  ) {
    const step = startStep(withOwnCode(code, of), { repeat: true, ...given });
    let outcome = await node(index).start(step);
    for (let race = 0; race < 5 && outcome.kind === 'changed'; race += 1) {
      outcome = await node(index).start({ ...step, recode: { id: outcome.id, ...ownCode(outcome.id, code) } });
    }
    return outcome;
  }

  describe('a code of the caller’s own', () => {
    it('comes back sealed, with the wording, while it may have to be sent again', async () => {
      const wanted = withOwnCode('4711', { codeLength: 4, wording: { brand: 'Bank', text: 'TAN {code}' } });
      const step = startStep(wanted);
      await stores().a.start(step);
      const kept = await stores().b.getVerification('taxi', wanted.id);
      expect(readable(kept)).toEqual(readable({ ...wanted, messageIds: [step.message.id] }));
    });

    it.each<readonly [string, (verification: Verification) => Promise<unknown>]>([
      ['approved', (verification) => checkById(stores().b, verification, verification.digests.byId, T0)],
      ['vouched for', ({ id }) => stores().b.approve('taxi', id, T0)],
      ['canceled', ({ id }) => stores().b.cancel('taxi', id, T0)],
      ['exhausted', (verification) => checkById(stores().b, verification, wrongDigest, T0)],
      ['replaced', () => stores().b.start(startStep(verificationOf()))],
    ])('is kept no longer once it is %s', async (_, end) => {
      const wanted = withOwnCode('4711', { maxAttempts: 1 });
      await stores().a.start(startStep(wanted));
      await end(wanted);
      const kept = await stores().a.getVerification('taxi', wanted.id);
      expect(kept?.state).not.toBe('pending');
      expect(kept?.sealedCode).toBeUndefined();
    });

    it('is repeated as it is by a start with the same one, or with none', async () => {
      const first = await started(stores().a, withOwnCode('4711'));
      expect(await startWith(1, '4711')).toMatchObject({
        kind: 'started',
        verification: { id: first.id, sends: 2, codeNumber: 0 },
      });
      const third = await started(stores().b, {}, { repeat: true });
      expect(third).toMatchObject({ id: first.id, sends: 3, codeNumber: 0 });
      expect(Buffer.from(third.sealedCode ?? []).equals(first.sealedCode ?? Buffer.of(1))).toBe(true);
      expect(await checkById(stores().a, first, first.digests.byId, T0)).toMatchObject({ kind: 'approved' });
    });

    it('is not known to the first step of a start that replaces it: nothing is counted or stored then', async () => {
      const { a, b } = stores();
      const first = await started(a, withOwnCode('4711'));
      const buckets = [perNumber(1, HOUR)];
      const step = startStep(withOwnCode('0815'), { repeat: true, buckets });
      const other = { id: step.verification.id, ...ownCode(step.verification.id, '0815') };
      for (const recode of [undefined, other]) {
        expect(await b.start({ ...step, recode })).toEqual({ kind: 'changed', id: first.id });
      }
      expect(await a.getVerification('taxi', first.id)).toMatchObject({ sends: 1 });
      expect(await a.getMessage('taxi', step.message.id)).toBeUndefined();
      expect(await startWith(0, '0815', { buckets })).toMatchObject({ kind: 'started' });
      expect(await startWith(0, '0816', { buckets })).toMatchObject({ kind: 'limited' });
    });

    it.each([
      ['another one', (at: Partial<Verification>) => started(stores().a, withOwnCode('123456', at))],
      ['one of ours', (at: Partial<Verification>) => started(stores().a, at)],
      ['a managed provider’s', (at: Partial<Verification>) => startedManaged(stores().a, at)],
    ])('takes the place of %s in the same verification, by id and by slot', async (_, begin) => {
      for (const by of ['id', 'slot'] as const) {
        const number = phone(by === 'id' ? 1 : 2);
        const first = await begin({ number });
        const outcome = await startWith(1, '0815', {}, { number, codeLength: 4 });
        if (outcome.kind !== 'started') throw new Error(outcome.kind);
        const { verification } = outcome;
        expect(verification).toMatchObject({ id: first.id, sends: 2, codeLength: 4, codeNumber: 1, ownCodeSent: true });
        expect(verification.managed).toBeUndefined();
        expect(verification.messageIds).toHaveLength(2);
        expect(await stores().a.getMessage('taxi', verification.messageIds[1] ?? '')).toMatchObject({ codeNumber: 1 });
        const { byId, bySlot } = ownCode(first.id, '0815').digests;
        const check = (id: Uint8Array, slot: Uint8Array) =>
          by === 'id' ? checkById(stores().a, verification, id, T0) : checkBySlot(stores().a, slot, T0, { number });
        expect(await check(first.digests.byId, first.digests.bySlot)).toMatchObject({ kind: 'wrong' });
        expect(await check(byId, bySlot)).toMatchObject({ kind: 'approved' });
      }
    });

    it('of many that come at once is one in the end, and the only one that is right (invariant 1)', async () => {
      const codes = Array.from({ length: 40 }, (_, index) => String(1000 + index));
      const outcomes = await atOnce(40, (i) => startWith(i, codes[i] ?? '', {}, { maxSends: 1000, maxAttempts: 100 }));
      const begun = outcomes.flatMap((outcome) => (outcome.kind === 'started' ? [outcome.verification] : []));
      expect(begun).toHaveLength(40);
      expect(new Set(begun.map(({ id }) => id)).size).toBe(1);
      const [verification] = begun as [Verification];
      const roomy = { guesses: { max: 100, windowMs: DAY } };
      const checks = [];
      for (const code of codes) {
        const { digests } = ownCode(verification.id, code);
        const step = { by: 'id', now: T0, app: 'taxi', id: verification.id, digest: digests.byId } as const;
        checks.push(
          await stores().b.check({
            ...step,
            ...roomy,
            buckets: [],
            codeLength: 6,
            purpose: undefined,
            subject: undefined,
          }),
        );
      }
      expect(checks.filter(({ kind }) => kind === 'approved')).toHaveLength(1);
    });

    it('is not joined by that of a managed provider, whose hand-over began before it came (invariant 6)', async () => {
      const { a, b } = stores();
      const step = startStep(verificationOf());
      await a.start(step);
      await startWith(1, '4711', {}, { createdAt: T0 + SECOND });
      const dispatches = [dispatchOf({ provider: 'verify', providerMessageId: 'VE1' })];
      const carried = { channel: 'sms', managed: managedCode } as const;
      await a.recordDispatch(dispatchStep(step.message, { dispatches, carried }));
      const { id, digests } = { id: step.verification.id, ...ownCode(step.verification.id, '4711') };
      expect(await b.getVerification('taxi', id)).toMatchObject({ managed: undefined, ownCodeSent: true });
      expect(await checkById(a, step.verification, wrongDigest, T0)).toMatchObject({ kind: 'wrong' });
      expect(await checkById(b, step.verification, digests.byId, T0)).toMatchObject({ kind: 'approved' });
    });

    it('does not make attempts of the one before forgotten (invariant 2)', async () => {
      const first = await started(stores().a, withOwnCode('4711'));
      for (let attempt = 0; attempt < 3; attempt += 1) await checkById(stores().a, first, wrongDigest, T0);
      await startWith(1, '0815');
      const outcomes = await atOnce(20, (i) => checkById(node(i), first, wrongDigest, T0));
      expect(tally(outcomes)).toEqual({ wrong: 2, ended: 18 });
    });

    it('begins a new verification where the app replaces, or the number is another', async () => {
      const first = await started(stores().a, withOwnCode('4711', { subject: 'u1' }));
      const other = await startWith(1, '4711', {}, { subject: 'u1', number: phone(2) });
      if (other.kind !== 'started') throw new Error(other.kind);
      expect(other.verification.id).not.toBe(first.id);
      const third = await startWith(1, '0815', { repeat: false }, { subject: 'u1', number: phone(2) });
      if (third.kind !== 'started') throw new Error(third.kind);
      expect(third.verification.id).not.toBe(other.verification.id);
    });
  });

  describe('a code of another length', () => {
    it('costs no attempt and no guess by id, and says how long the right one is', async () => {
      const { a, b } = stores();
      const verification = await started(a, { codeLength: 8 });
      const outcomes = await atOnce(50, (i) => checkById(node(i), verification, wrongDigest, T0, { codeLength: 6 }));
      expect(tally(outcomes)).toEqual({ malformed: 50 });
      expect(outcomes[0]).toEqual({ kind: 'malformed', codeLength: 8 });
      expect(await b.getVerification('taxi', verification.id)).toMatchObject({ attempts: 0 });
      expect(await checkBySlot(b, wrongDigest, T0)).toMatchObject({ attemptsLeft: 4 });
    });

    it('says nothing of what is unknown or has ended', async () => {
      const { a } = stores();
      expect(await checkById(a, verificationOf(), wrongDigest, T0, { codeLength: 4 })).toEqual({ kind: 'unknown' });
      const verification = await started(a);
      await a.cancel('taxi', verification.id, T0);
      expect(await checkById(a, verification, wrongDigest, T0, { codeLength: 4 })).toMatchObject({ kind: 'ended' });
    });
  });

  describe('a verification that is kept until it expires', () => {
    const keep = { keep: true } as const;

    it('is sent exactly maxSends times for 100 starts at once, and then refused until it expires', async () => {
      const outcomes = await atOnce(100, (i) => node(i).start(startStep(verificationOf(), keep)));
      expect(tally(outcomes)).toEqual({ started: 5, 'used-up': 95 });
      expect(outcomes).toContainEqual({ kind: 'used-up', what: 'sends', retryAfterMs: 10 * MINUTE });
      const begun = outcomes.flatMap((outcome) => (outcome.kind === 'started' ? [outcome.verification.id] : []));
      expect(new Set(begun).size).toBe(1);
      const at = (createdAt: number) => stores().a.start(startStep(verificationOf({ createdAt }), keep));
      expect(await at(T0 + 10 * MINUTE - 1)).toEqual({ kind: 'used-up', what: 'sends', retryAfterMs: 1 });
      expect(await at(T0 + 10 * MINUTE)).toMatchObject({ kind: 'started', verification: { sends: 1 } });
    });

    it('holds its place when it is exhausted, whatever else is started for the number, and nothing is counted', async () => {
      const { a, b } = stores();
      const first = await started(a, {}, keep);
      await atOnce(5, (i) => checkById(node(i), first, wrongDigest, T0));
      for (let index = 0; index < 30; index += 1) await started(b, { purpose: `order-${index}` });
      const buckets = [perNumber(1, HOUR)];
      const step = startStep(verificationOf({ createdAt: T0 + SECOND }), { ...keep, buckets });
      const refused = { kind: 'used-up', what: 'attempts', retryAfterMs: 10 * MINUTE - SECOND };
      expect(await a.start(step)).toEqual(refused);
      expect(await b.start(step)).toEqual(refused);
      expect(await a.getMessage('taxi', step.message.id)).toBeUndefined();
      const later = startStep(verificationOf({ createdAt: T0 + 10 * MINUTE }), { ...keep, buckets });
      expect(await a.start(later)).toMatchObject({ kind: 'started' });
    });

    it('is repeated with its last millisecond, also where the app replaces', async () => {
      const first = await started(stores().a, {}, keep);
      const at = (createdAt: number) => started(stores().b, { createdAt }, keep);
      expect(await at(first.expiresAt - 1)).toMatchObject({ id: first.id, sends: 2, expiresAt: first.expiresAt });
      expect((await at(first.expiresAt)).id).not.toBe(first.id);
    });

    it('makes room when it is canceled or approved', async () => {
      const { a, b } = stores();
      const first = await started(a, { maxSends: 1 }, keep);
      await b.cancel('taxi', first.id, T0);
      const second = await started(a, { maxSends: 1 }, keep);
      expect(second.id).not.toBe(first.id);
      await b.approve('taxi', second.id, T0);
      expect((await started(a, { maxSends: 1 }, keep)).id).not.toBe(second.id);
    });
  });

  describe('a limit of the caller’s own', () => {
    const named = (name: string, max: number, value = name): Bucket => ({
      scope: 'named',
      value,
      name,
      rules: [{ max, windowMs: HOUR }],
    });

    it('lets exactly so many through, and its refusal says its name (invariant 7)', async () => {
      const outcomes = await atOnce(100, (i) =>
        node(i).start(startStep(verificationOf({ number: phone(i) }), { buckets: [named('session', 7)] })),
      );
      expect(tally(outcomes)).toEqual({ started: 7, limited: 93 });
      expect(outcomes).toContainEqual({ kind: 'limited', scope: 'named', limit: 'session', retryAfterMs: HOUR });
    });

    it('is taken with all others or not at all (invariant 7)', async () => {
      const { a, b } = stores();
      await a.start(startStep(verificationOf(), { buckets: [named('full', 1)] }));
      const buckets = [named('free', 1), perNumber(1, HOUR), named('full', 1)];
      for (const store of [a, b]) {
        expect(await store.start(startStep(verificationOf(), { buckets }))).toMatchObject({ limit: 'full' });
      }
      expect(await a.start(startStep(verificationOf(), { buckets: buckets.slice(0, 2) }))).toMatchObject({
        kind: 'started',
      });
    });
  });

  describe('the caller’s word that the code was right', () => {
    it('approves exactly once, of 100 callers and right codes at once (invariant 1)', async () => {
      const verification = await started(stores().a);
      const { byId, bySlot } = verification.digests;
      const outcomes = await atOnce(100, (i) =>
        i % 3 === 0
          ? node(i).approve('taxi', verification.id, T0)
          : i % 3 === 1
            ? checkById(node(i), verification, byId, T0)
            : checkBySlot(node(i), bySlot, T0),
      );
      expect(outcomes.filter(({ kind }) => kind === 'approved')).toHaveLength(1);
      expect(await stores().b.getVerification('taxi', verification.id)).toMatchObject({ state: 'approved' });
    });

    it('is taken for what is pending alone, of that app, before the very millisecond at which it expires', async () => {
      const { a, b } = stores();
      const verification = await started(a);
      expect(await b.approve('bank', verification.id, T0)).toEqual({ kind: 'unknown' });
      expect(await b.approve('taxi', verification.id, verification.expiresAt)).toEqual({
        kind: 'ended',
        state: 'expired',
      });
      expect(await b.approve('taxi', verification.id, verification.expiresAt - 1)).toMatchObject({
        kind: 'approved',
        verification: { state: 'approved', attempts: 0 },
      });
      expect(await a.approve('taxi', verification.id, T0)).toEqual({ kind: 'ended', state: 'approved' });
      const canceled = await started(a);
      await a.cancel('taxi', canceled.id, T0);
      expect(await b.approve('taxi', canceled.id, T0)).toEqual({ kind: 'ended', state: 'canceled' });
      const exhausted = await started(a, { maxAttempts: 1 });
      await checkById(a, exhausted, wrongDigest, T0);
      expect(await b.approve('taxi', exhausted.id, T0)).toEqual({ kind: 'ended', state: 'exhausted' });
    });

    it('is counted as an approval is, and takes no wrong guess back (invariant 3)', async () => {
      const { a, b } = stores();
      for (let guess = 0; guess < 19; guess += 1) await checkBySlot(a, wrongDigest, T0, { purpose: 'other' });
      const { verification } = await sentCode(a);
      await b.approve('taxi', verification.id, T0);
      const [row] = await a.readUsage({ app: 'taxi', from: '2025-11-20', to: '2025-11-20' });
      expect(row?.counts).toMatchObject({ codes: 1, approved: 1 });
      expect(await checkBySlot(b, wrongDigest, T0)).toMatchObject({ kind: 'wrong' });
      expect(await checkBySlot(b, wrongDigest, T0)).toMatchObject({ kind: 'locked' });
    });
  });

  describe('the newest verification of a slot', () => {
    it('is found live and ended, in either lane, and by nobody else’s slot (invariant 13)', async () => {
      const { a, b } = stores();
      const slot = { app: 'taxi', purpose: 'login', subject: undefined, number: phone(1) };
      expect(await b.findVerification(slot)).toBeUndefined();
      const first = await started(a);
      expect(await b.findVerification(slot)).toMatchObject({ id: first.id, state: 'pending' });
      await a.cancel('taxi', first.id, T0);
      expect(await b.findVerification(slot)).toMatchObject({ id: first.id, state: 'canceled' });
      const trusted = await started(a, { lane: 'trusted', createdAt: T0 + 1 });
      expect(await b.findVerification(slot)).toMatchObject({ id: trusted.id });
      const third = await started(a, { createdAt: T0 + 2 });
      expect(await b.findVerification(slot)).toMatchObject({ id: third.id });
      for (const other of [{ app: 'bank' }, { purpose: 'payment' }, { subject: 'u1' }, { number: phone(2) }]) {
        expect(await b.findVerification({ ...slot, ...other })).toBeUndefined();
      }
    });

    it('of a subject is found by its own number alone', async () => {
      const { a, b } = stores();
      const { id } = await started(a, { subject: 'u1' });
      const slot = { app: 'taxi', purpose: 'login', subject: 'u1' };
      expect(await b.findVerification({ ...slot, number: phone(1) })).toMatchObject({ id });
      expect(await b.findVerification({ ...slot, number: phone(2) })).toBeUndefined();
    });
  });

  describe('a check by the subject alone', () => {
    const mine = { subject: 'u1', number: undefined } as const;

    it('approves the subject’s live verification, whatever its number, exactly once (invariant 1)', async () => {
      const verification = await started(stores().a, { subject: 'u1', number: phone(3) });
      const outcomes = await atOnce(100, (i) => checkBySlot(node(i), verification.digests.bySlot, T0, mine));
      expect(tally(outcomes)).toEqual({ approved: 1, wrong: 99 });
      expect(outcomes).toContainEqual(
        expect.objectContaining({ verification: expect.objectContaining({ id: verification.id, state: 'approved' }) }),
      );
    });

    it('compares maxAttempts codes, and counts them against the number of that verification (invariants 2, 3)', async () => {
      const { a, b } = stores();
      await started(a, { subject: 'u1', number: phone(3) });
      const outcomes = await atOnce(50, (i) => checkBySlot(node(i), wrongDigest, T0, mine));
      expect(outcomes.filter((o) => o.kind === 'wrong' && o.verification !== undefined)).toHaveLength(5);
      for (let guess = 0; guess < 15; guess += 1) await checkBySlot(a, wrongDigest, T0, { number: phone(3) });
      await started(b, { subject: 'u1', number: phone(1) });
      expect(await checkBySlot(a, wrongDigest, T0, { number: phone(3) })).toMatchObject({ kind: 'locked' });
      expect(await checkBySlot(b, wrongDigest, T0, mine)).toMatchObject({ kind: 'wrong', attemptsLeft: 4 });
    });

    it('is locked with the number', async () => {
      const { a, b } = stores();
      const verification = await started(a, { subject: 'u1' });
      for (let guess = 0; guess < 20; guess += 1) await checkBySlot(a, wrongDigest, T0, { purpose: 'other' });
      expect(await checkBySlot(b, verification.digests.bySlot, T0, mine)).toEqual({
        kind: 'locked',
        retryAfterMs: DAY,
      });
    });

    it('finds nobody else’s, nothing of another purpose, app or lane, and nothing that has ended (invariants 6, 13)', async () => {
      const { a, b } = stores();
      const verification = await started(a, { subject: 'u1' });
      const { bySlot } = verification.digests;
      const none = { kind: 'wrong', verification: undefined, attemptsLeft: 0 };
      for (const other of [{ subject: 'u2' }, { purpose: 'payment' }, { app: 'bank' }, { lane: 'trusted' }] as const) {
        expect(await checkBySlot(b, bySlot, T0, { ...mine, ...other })).toEqual(none);
      }
      expect(await checkBySlot(b, bySlot, verification.expiresAt, mine)).toEqual(none);
      expect(await checkBySlot(b, bySlot, verification.expiresAt - 1, mine)).toMatchObject({ kind: 'approved' });
    });

    it('with a number said approves for that number alone, though the code is the subject’s (invariant 6)', async () => {
      const { a, b } = stores();
      const verification = await started(a, { subject: 'u1' });
      const { bySlot } = verification.digests;
      expect(await checkBySlot(b, bySlot, T0, { subject: 'u1', number: phone(2) })).toEqual({
        kind: 'wrong',
        verification: undefined,
        attemptsLeft: 0,
      });
      expect(await checkBySlot(b, bySlot, T0, { subject: 'u1', number: phone(1) })).toMatchObject({ kind: 'approved' });
    });
  });

  describe('the messages of a verification', () => {
    it('are those of its sends, oldest first', async () => {
      const { a, b } = stores();
      const { verification, message } = await sentCode(a);
      const second = messageOf(verification, { createdAt: T0 + MINUTE });
      await resend(b, verification, T0 + MINUTE, { message: second, guesses });
      await a.recordDispatch(dispatchStep(second));
      const third = startStep(verificationOf({ createdAt: T0 + 2 * MINUTE }), { repeat: true });
      await a.start(third);
      expect((await b.getVerification('taxi', verification.id))?.messageIds).toEqual([
        message.id,
        second.id,
        third.message.id,
      ]);
    });
  });
}
