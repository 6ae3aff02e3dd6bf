import { describe, expect, it } from 'vitest';
import type { PhoneNumber } from '../domain/phone-number.ts';
import type { SignInOutcome, SignInStep, Store } from '../domain/store.ts';
import type { Verification } from '../domain/verification.ts';
import {
  atOnce,
  checkById,
  checkBySlot,
  DAY,
  dispatchOf,
  dispatchStep,
  HOUR,
  idempotency,
  messageOf,
  messageStep,
  perNumber,
  phone,
  resend,
  sentCode,
  started,
  startStep,
  T0,
  tally,
  verificationOf,
  wrongDigest,
} from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

const TOKEN_LIFE = 30 * DAY;

let tokens = 0;

function newHash(): string {
  tokens += 1;
  return `hash ${tokens}`;
}

async function approved(store: Store, given: Partial<Verification> = {}): Promise<Verification> {
  const verification = await started(store, given);
  const outcome = await checkById(store, verification, verification.digests.byId, verification.createdAt);
  if (outcome.kind !== 'approved') throw new Error(`the check was ${outcome.kind}`);
  return outcome.verification;
}

function signInStep({ id, app, number }: Verification, given: Partial<SignInStep> = {}): SignInStep {
  const now = given.now ?? T0;
  return {
    now,
    app,
    verificationId: id,
    number,
    name: number.slice(4),
    token: { hash: newHash(), expiresAt: now + TOKEN_LIFE },
    ...given,
  };
}

/** Signs the holder of a number in, and says who it is. */
async function signedIn(store: Store, number: PhoneNumber = phone(1), given: Partial<SignInStep> = {}) {
  const verification = await approved(store, { number, ...(given.app === undefined ? {} : { app: given.app }) });
  const step = signInStep(verification, given);
  const outcome = await store.signIn(step);
  if (outcome.kind !== 'signed-in') throw new Error(`the sign-in was ${outcome.kind}`);
  return { ...outcome, hash: step.token.hash };
}

/** Erases as the service does, step by step. */
async function eraseAll(store: Store, number: PhoneNumber = phone(1), app = 'taxi'): Promise<void> {
  let resumeAt: string | undefined;
  for (let step = 1; step < 1000; step += 1) {
    ({ resumeAt } = await store.eraseHistory({ app, number, answer: 'erased', resumeAt }));
    if (resumeAt !== undefined) continue;
    return store.eraseUser(app, number);
  }
  throw new Error('erasing never ends');
}

/** Users that sign in by an approval, their access tokens, and what is left of them in the end. */
export function describeUsers(stores: () => OpenedStores): void {
  /** Two nodes take turns. */
  const node = (index: number) => (index % 2 === 0 ? stores().a : stores().b);

  const idsOf = (outcomes: readonly SignInOutcome[]) =>
    outcomes.flatMap((outcome) => (outcome.kind === 'signed-in' ? [outcome.user.id] : []));

  describe('signing in', () => {
    it('makes a user of the number, and finds it again', async () => {
      const { a, b } = stores();
      const first = await signedIn(a, phone(1), { now: T0 + 5 });
      expect(first).toMatchObject({ isNew: true });
      const user = { app: 'taxi', id: '1', number: phone(1), name: phone(1).slice(4), fullName: '', createdAt: T0 + 5 };
      expect(first.user).toEqual(user);
      const again = await signedIn(b, phone(1), { now: T0 + DAY, name: 'another' });
      expect(again).toMatchObject({ isNew: false, user });
      expect(await b.getUser('taxi', '1')).toEqual(user);
      expect(await a.getUser('taxi', '2')).toBeUndefined();
    });

    it('makes one user for a hundred callers at once, and tells one of them that it is new', async () => {
      const verifications = [await approved(stores().a), await approved(stores().b)];
      const outcomes = await atOnce(100, (i) =>
        node(i).signIn(signInStep(verifications[i % 3 === 0 ? 0 : 1] as Verification)),
      );
      expect(new Set(idsOf(outcomes))).toEqual(new Set(['1']));
      expect(outcomes.filter((outcome) => outcome.kind === 'signed-in' && outcome.isNew)).toHaveLength(1);
    });

    it('gives each of many numbers an id of its own, without a gap, whoever races', async () => {
      const verifications = await atOnce(40, (i) => approved(node(i), { number: phone(i) }));
      const outcomes = await atOnce(120, (i) => node(i).signIn(signInStep(verifications[i % 40] as Verification)));
      const ids = [...new Set(idsOf(outcomes))].sort((x, y) => Number(x) - Number(y));
      expect(ids).toEqual(Array.from({ length: 40 }, (_, i) => String(i + 1)));
      expect(outcomes.filter((outcome) => outcome.kind === 'signed-in' && outcome.isNew)).toHaveLength(40);
    });

    it('counts ids for each app, and keeps its users from others (invariant 13)', async () => {
      const { a, b } = stores();
      await signedIn(a, phone(1));
      const { user } = await signedIn(b, phone(1), { app: 'bank' });
      expect(user).toMatchObject({ app: 'bank', id: '1' });
      await signedIn(b, phone(2));
      expect(await a.getUser('bank', '2')).toBeUndefined();
      expect(await a.updateUser('bank', '2', { name: 'theirs', fullName: undefined })).toBeUndefined();
      expect(await b.revokeTokens('bank', '2')).toBe(false);
      await eraseAll(b, phone(2), 'bank');
      expect(await a.getUser('taxi', '2')).toMatchObject({ number: phone(2) });
    });

    it('takes nothing but an approval of this app that proves this number', async () => {
      const { a, b } = stores();
      const pending = await started(a, { number: phone(2) });
      const good = await approved(a);
      const byMail = await started(a, { number: phone(3), sentByEmail: true });
      await checkById(a, byMail, byMail.digests.byId, T0);
      for (const step of [
        signInStep(pending),
        signInStep(good, { number: phone(4) }),
        signInStep(good, { app: 'bank' }),
        signInStep(good, { verificationId: verificationOf().id }),
        signInStep(byMail),
      ]) {
        expect(await b.signIn(step)).toEqual({ kind: 'unproven' });
        expect(await b.findUserByToken(step.token.hash, T0)).toBeUndefined();
      }
      // None of them took an id.
      expect(await b.signIn(signInStep(good))).toMatchObject({ kind: 'signed-in', user: { id: '1' } });
    });

    it('outlives a restart: user, token and the ids that were given', async () => {
      const { hash } = await signedIn(stores().a);
      await signedIn(stores().b, phone(2));
      await eraseAll(stores().a, phone(2));
      const reopened = await stores().reopen();
      expect(await reopened.findUserByToken(hash, T0)).toMatchObject({ id: '1', number: phone(1) });
      expect((await signedIn(reopened, phone(3))).user.id).toBe('3');
    });
  });

  describe('a user', () => {
    it('changes what is named, and nothing else', async () => {
      const { a, b } = stores();
      await signedIn(a);
      await signedIn(a, phone(2));
      expect(await b.updateUser('taxi', '1', { name: undefined, fullName: 'Айзада 🚕' })).toMatchObject({
        name: phone(1).slice(4),
        fullName: 'Айзада 🚕',
      });
      expect(await a.updateUser('taxi', '1', { name: 'A', fullName: undefined })).toMatchObject({ name: 'A' });
      await a.updateUser('taxi', '1', { name: undefined, fullName: '' });
      expect(await b.getUser('taxi', '1')).toMatchObject({ name: 'A', fullName: '', number: phone(1) });
      expect(await b.getUser('taxi', '2')).toMatchObject({ name: phone(2).slice(4), fullName: '' });
      expect(await b.updateUser('taxi', '3', { name: 'B', fullName: undefined })).toBeUndefined();
    });
  });

  describe('an access token', () => {
    it('is good up to the last millisecond before expiresAt', async () => {
      const { hash } = await signedIn(stores().a);
      const { b } = stores();
      expect(await b.findUserByToken(hash, T0 + TOKEN_LIFE - 1)).toMatchObject({ id: '1' });
      expect(await b.findUserByToken(hash, T0 + TOKEN_LIFE)).toBeUndefined();
      expect(await b.findUserByToken('hash of nothing', T0)).toBeUndefined();
    });

    it('is revoked once, at once, and alone', async () => {
      const { a, b } = stores();
      const [one, two] = [await signedIn(a), await signedIn(b)];
      const outcomes = await atOnce(20, (i) => node(i).revokeToken(one.hash, T0));
      expect(outcomes.filter((isRevoked) => isRevoked)).toHaveLength(1);
      for (const store of [a, b]) {
        expect(await store.findUserByToken(one.hash, T0)).toBeUndefined();
        expect(await store.findUserByToken(two.hash, T0)).toMatchObject({ id: '1' });
      }
      for (const late of [0, 1]) expect(await a.revokeToken(two.hash, T0 + TOKEN_LIFE + late)).toBe(false);
    });

    it('is revoked with all others of its user, and with none of anybody else', async () => {
      const { a, b } = stores();
      const theirs = [await signedIn(a), await signedIn(b)];
      const others = [await signedIn(a, phone(2)), await signedIn(a, phone(1), { app: 'bank' })];
      expect(await b.revokeTokens('taxi', '1')).toBe(true);
      for (const { hash } of theirs) expect(await a.findUserByToken(hash, T0)).toBeUndefined();
      for (const { hash, user } of others) expect(await a.findUserByToken(hash, T0)).toEqual(user);
      expect((await signedIn(a)).user.id).toBe('1');
    });

    it('is swept when it has expired, and not before', async () => {
      const { a, b } = stores();
      const old = await signedIn(a);
      const young = await signedIn(a, phone(1), { now: T0 + HOUR });
      await b.sweep(T0 + TOKEN_LIFE, T0 - DAY);
      expect(await a.findUserByToken(old.hash, T0 + TOKEN_LIFE - 1)).toMatchObject({ id: '1' });
      await b.sweep(T0 + TOKEN_LIFE + 1, T0 - DAY);
      // Asked for a time at which it was good still: it is gone.
      expect(await a.findUserByToken(old.hash, T0)).toBeUndefined();
      expect(await a.findUserByToken(young.hash, T0 + TOKEN_LIFE)).toMatchObject({ id: '1' });
    });
  });

  describe('erasing a number', () => {
    it('leaves neither user nor token, verification nor message of it, and nobody else’s is touched', async () => {
      const { a, b } = stores();
      const kept = [await sentCode(a, { number: phone(2), purpose: 'pay' }), await sentCode(a, { app: 'bank' })];
      const theirs = [await sentCode(a), await sentCode(a, { subject: 'u1', createdAt: T0 + HOUR })];
      const { hash } = await signedIn(a);
      const other = await signedIn(b, phone(2));
      await eraseAll(b);
      for (const { verification, message } of theirs) {
        expect(await a.getVerification('taxi', verification.id)).toBeUndefined();
        expect(await a.getMessage('taxi', message.id)).toBeUndefined();
      }
      expect(await a.listMessages('taxi', { limit: 100, number: phone(1) })).toEqual([]);
      expect(await a.getUser('taxi', '1')).toBeUndefined();
      expect(await a.findUserByToken(hash, T0)).toBeUndefined();
      for (const { verification, message } of kept) {
        expect(await b.getVerification(verification.app, verification.id)).toMatchObject({ state: 'pending' });
        expect(await b.getMessage(message.app, message.id)).toBeDefined();
      }
      expect(await b.findUserByToken(other.hash, T0)).toMatchObject({ id: '2' });
      // Once more changes nothing.
      await eraseAll(a);
    });

    it('ends what is pending with its first step: the code is worth nothing', async () => {
      const { a, b } = stores();
      const verification = await started(a);
      const ofSubject = await started(a, { subject: 'u1' });
      await b.eraseHistory({ app: 'taxi', number: phone(1), answer: '', resumeAt: undefined });
      for (const each of [verification, ofSubject]) {
        const { kind } = await checkById(a, each, each.digests.byId, T0);
        expect(['unknown', 'ended']).toContain(kind);
        const { subject } = each;
        expect(await checkBySlot(a, each.digests.bySlot, T0, { subject })).toMatchObject({ kind: 'wrong' });
      }
      expect(await resend(a, verification, verification.resendAt)).not.toMatchObject({ kind: 'resent' });
    });

    it('never gives an id again, whoever was erased', async () => {
      const { a, b } = stores();
      for (let i = 1; i <= 3; i += 1) await signedIn(a, phone(i));
      for (const i of [3, 2]) await eraseAll(b, phone(i));
      expect((await signedIn(b, phone(3))).user.id).toBe('4');
      for (const i of [1, 3]) await eraseAll(a, phone(i));
      expect((await signedIn(a, phone(1))).user.id).toBe('5');
    });

    it('is no way to guess or to start anew (invariants 3, 7)', async () => {
      const { a, b } = stores();
      const buckets = [perNumber(2, HOUR)];
      await started(a, {}, { buckets });
      for (let guess = 0; guess < 19; guess += 1) await checkBySlot(a, wrongDigest, T0);
      await eraseAll(b);
      await started(b, {}, { buckets });
      expect(await b.start(startStep(verificationOf(), { buckets }))).toMatchObject({ kind: 'limited' });
      expect(await checkBySlot(a, wrongDigest, T0)).toMatchObject({ kind: 'wrong' });
      expect(await checkBySlot(a, wrongDigest, T0)).toMatchObject({ kind: 'locked' });
    });

    it('forgets no start of a number that nobody guessed at (invariant 7)', async () => {
      const { a, b } = stores();
      const buckets = [perNumber(1, HOUR)];
      await started(a, {}, { buckets });
      await eraseAll(b);
      expect(await b.start(startStep(verificationOf(), { buckets }))).toMatchObject({ kind: 'limited' });
    });

    it('undoes no approval that was used, and lets none be used afterwards', async () => {
      const { a, b } = stores();
      const verification = await approved(a);
      await eraseAll(b);
      expect(await a.signIn(signInStep(verification))).toEqual({ kind: 'unproven' });
    });

    it('that races with sign-ins leaves no user behind, and no token that is good', async () => {
      const verifications = await atOnce(30, (i) => approved(node(i), { purpose: `p${i}` }));
      const steps = verifications.map((verification) => signInStep(verification));
      const outcomes = await atOnce(31, async (i) => {
        const step = steps[i];
        // Each comes a commit later than the one before, so that some meet every step of the erasing.
        for (let commit = 0; commit < i && step !== undefined; commit += 1) await node(i).revokeToken('none', T0);
        if (step !== undefined) return node(i).signIn(step);
        await eraseAll(stores().b);
        return { kind: 'erased' as const };
      });
      const kinds = tally(outcomes);
      expect(kinds).toMatchObject({ erased: 1, 'signed-in': expect.any(Number), unproven: expect.any(Number) });
      for (const { token } of steps) expect(await stores().a.findUserByToken(token.hash, T0)).toBeUndefined();
      const ids = outcomes.flatMap((outcome) => (outcome.kind === 'signed-in' ? [outcome.user.id] : []));
      for (const id of ids) expect(await stores().a.getUser('taxi', id)).toBeUndefined();
    });

    it('replaces the answers that are kept for repeated requests (invariant 9)', async () => {
      const { a, b } = stores();
      const step = messageStep({ idempotency: idempotency('k') });
      const message = messageOf(undefined, { idempotencyKey: 'k' });
      await a.addMessage({ ...step, message });
      await a.recordDispatch(dispatchStep(message, { answer: { app: 'taxi', key: 'k', text: `to ${phone(1)}` } }));
      const other = messageOf(undefined, { idempotencyKey: 'other', number: phone(2) });
      await a.addMessage({ ...messageStep({ idempotency: idempotency('other') }), message: other });
      await a.recordDispatch(dispatchStep(other, { answer: { app: 'taxi', key: 'other', text: 'theirs' } }));
      await eraseAll(b);
      expect(await a.getAnswer('taxi', 'k')).toBe('erased');
      expect(await b.addMessage(messageStep({ idempotency: idempotency('k') }))).toEqual({
        kind: 'replayed',
        answer: 'erased',
      });
      expect(await a.getAnswer('taxi', 'other')).toBe('theirs');
    });

    it('leaves the answer of a later request with the same key', async () => {
      const { a, b } = stores();
      const first = messageOf(undefined, { idempotencyKey: 'k' });
      await a.addMessage({ ...messageStep({ idempotency: idempotency('k') }), message: first });
      const later = T0 + 25 * HOUR;
      const second = messageOf(undefined, { idempotencyKey: 'k', number: phone(2), createdAt: later });
      const again = idempotency('k', { expiresAt: later + DAY });
      await a.addMessage({ ...messageStep({ idempotency: again }), message: second, now: later });
      await a.recordDispatch(
        dispatchStep(second, { now: later, answer: { app: 'taxi', key: 'k', text: `to ${phone(2)}` } }),
      );
      await eraseAll(b);
      expect(await a.getAnswer('taxi', 'k')).toBe(`to ${phone(2)}`);
    });

    it('while a message is handed over: what becomes of it brings nothing back', async () => {
      const { a, b } = stores();
      const message = messageOf(undefined, { idempotencyKey: 'k' });
      await a.addMessage({ ...messageStep({ idempotency: idempotency('k') }), message });
      await eraseAll(b);
      const dispatches = [dispatchOf({ providerMessageId: 'late' })];
      const answer = { app: 'taxi', key: 'k', text: `to ${phone(1)}` };
      await a.recordDispatch(dispatchStep(message, { dispatches, answer }));
      expect(await b.getAnswer('taxi', 'k')).toBe('erased');
      expect(await b.getMessage('taxi', message.id)).toBeUndefined();
      expect(await a.claimDue(T0 + DAY, T0 + 2 * DAY, 10)).toEqual([]);
    });

    it('makes delivery reports on its messages belong to nothing', async () => {
      const { a, b } = stores();
      const { message } = await sentCode(a);
      await eraseAll(b);
      const report = { providerMessageId: message.id, state: 'undelivered' } as const;
      expect(await a.recordReport('acme', report, T0)).toEqual({ changed: false, due: false });
      expect(await a.claimDue(T0 + DAY, T0 + 2 * DAY, 10)).toEqual([]);
    });

    it('finds messages behind as many verifications as there are in a step', async () => {
      const { a, b } = stores();
      // Whoever guesses at numbers that have no code leaves traces in some stores, which are nobody's history.
      await atOnce(40, (i) => checkBySlot(a, wrongDigest, T0, { number: phone(900 + i) }));
      await sentCode(a);
      await atOnce(998, (i) => started(a, { number: phone(2), createdAt: T0 + i }));
      await eraseAll(b);
      expect(await b.listMessages('taxi', { limit: 10, number: phone(1) })).toEqual([]);
    });

    it('walks a long history in steps, with room for others in between', async () => {
      const { a, b } = stores();
      await atOnce(1500, (i) => started(a, { number: phone(1 + (i % 2)), createdAt: T0 + i }));
      let steps = 0;
      let resumeAt: string | undefined;
      do {
        ({ resumeAt } = await a.eraseHistory({ app: 'taxi', number: phone(1), answer: '', resumeAt }));
        steps += 1;
        const createdAt = T0 + HOUR + steps;
        await started(b, { number: phone(3), createdAt });
      } while (resumeAt !== undefined && steps < 1000);
      expect(await b.listMessages('taxi', { limit: 2000, number: phone(1) })).toEqual([]);
      expect(await b.listMessages('taxi', { limit: 2000, number: phone(2) })).toHaveLength(750);
      expect(await b.listMessages('taxi', { limit: 2000, number: phone(3) })).toHaveLength(steps);
    });
  });
}
