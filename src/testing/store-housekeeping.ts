import { describe, expect, it } from 'vitest';
import { CountersignError } from '../domain/problem.ts';
import type { ApiKey, SigningKey, Store } from '../domain/store.ts';
import {
  atOnce,
  checkById,
  checkBySlot,
  DAY,
  digestOf,
  dispatchOf,
  dispatchStep,
  HOUR,
  idempotency,
  MINUTE,
  managedCode,
  messageStep,
  newId,
  perNumber,
  phone,
  readable,
  resend,
  started,
  startStep,
  T0,
  verificationOf,
  wrongDigest,
} from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

/** What outlives a verification: keys, a restart, and the deletion of what has ended. */
export function describeHousekeeping(stores: () => OpenedStores): void {
  function apiKey(name: string): ApiKey {
    return { id: newId('key'), app: 'taxi', name, hash: `hash of ${name}`, createdAt: T0, revokedAt: undefined };
  }

  function signingKey(id: string, createdAt = T0): SigningKey {
    return { id, sealedPrivateKey: digestOf(id), publicJwk: `{"kid":"${id}"}`, createdAt };
  }

  /** Sweeps as housekeeping does, again and again, until nothing is left to delete. */
  async function sweepAll(store: Store, now: number, historyBefore = now - 30 * DAY): Promise<number> {
    let total = 0;
    let idleRounds = 0;
    for (let round = 0; round < 1000; round += 1) {
      const { deleted } = await store.sweep(now, historyBefore);
      total += deleted;
      // A store may walk its counters piece by piece: one round without a find is not yet the end.
      idleRounds = deleted === 0 ? idleRounds + 1 : 0;
      if (idleRounds === 5) return total;
    }
    throw new Error('the sweep never ends');
  }

  describe('a verification', () => {
    it('comes back from the store as it was given', async () => {
      const { a, b } = stores();
      for (const given of [
        { metadata: { ride: '7', note: 'ü "quoted"' }, subject: 'u1', locale: 'uz-Cyrl', codeLength: 8 },
        { country: undefined, number: phone(2) },
        {
          ending: { kind: 'web-otp', domain: 'taxi.example' } as const,
          email: 'somebody@taxi.example',
          number: phone(3),
        },
        { managed: managedCode, ownCodeSent: false, number: phone(4) },
      ]) {
        const step = startStep(verificationOf(given));
        await a.start(step);
        const wanted = { ...step.verification, messageIds: [step.message.id] };
        expect(readable(await b.getVerification('taxi', wanted.id))).toEqual(readable(wanted));
      }
      expect(await a.getVerification('taxi', newId('ver'))).toBeUndefined();
    });
  });

  describe('API keys', () => {
    it('are found by their hash until they are revoked, and listed for ever', async () => {
      const { a, b } = stores();
      const [one, two] = [apiKey('one'), apiKey('two')];
      await a.addApiKey(one);
      await b.addApiKey(two);
      expect(await b.findApiKey(one.hash)).toEqual(one);
      expect(await b.findApiKey('hash of nothing')).toBeUndefined();
      expect(await b.revokeApiKey(one.id, T0 + 5)).toBe(true);
      expect(await a.findApiKey(one.hash)).toEqual({ ...one, revokedAt: T0 + 5 });
      expect(await a.revokeApiKey(newId('key'), T0)).toBe(false);
      // The moment of the first revocation is the one that an inquiry asks for.
      await a.revokeApiKey(one.id, T0 + 9);
      const listed = [...(await b.listApiKeys())].sort((x, y) => x.name.localeCompare(y.name));
      expect(listed).toEqual([{ ...one, revokedAt: T0 + 5 }, two]);
    });
  });

  describe('signing keys', () => {
    it('are one when twenty nodes start together', async () => {
      const { a, b } = stores();
      await atOnce(20, (i) => (i % 2 === 0 ? a : b).addSigningKey(signingKey(`k${i}`), true));
      const [ofA, ofB] = [await a.listSigningKeys(), await b.listSigningKeys()];
      expect(ofA).toHaveLength(1);
      expect(ofA.map(({ id }) => id)).toEqual(ofB.map(({ id }) => id));
    });

    it('are listed newest first, sealed as they were given', async () => {
      const { a, b } = stores();
      await a.addSigningKey(signingKey('old', T0), true);
      await a.addSigningKey(signingKey('newest', T0 + 2), false);
      await b.addSigningKey(signingKey('new', T0 + 1), false);
      const keys = await b.listSigningKeys();
      expect(keys.map(({ id }) => id)).toEqual(['newest', 'new', 'old']);
      expect(keys[0]).toMatchObject({ publicJwk: '{"kid":"newest"}', createdAt: T0 + 2 });
      expect(Buffer.from(keys[0]?.sealedPrivateKey ?? []).equals(digestOf('newest'))).toBe(true);
    });
  });

  describe('a sweep', () => {
    it('deletes verifications, messages and dispatches made before the history begins, and none made since', async () => {
      const { a, b } = stores();
      const old = startStep(verificationOf());
      const young = startStep(verificationOf({ createdAt: T0 + DAY, number: phone(2) }));
      for (const step of [old, young]) {
        await a.start(step);
        await a.recordDispatch(dispatchStep(step.message));
      }
      expect(await sweepAll(b, T0 + 31 * DAY, T0 + DAY)).toBeGreaterThanOrEqual(2);
      expect(await a.getVerification('taxi', old.verification.id)).toBeUndefined();
      expect(await a.getMessage('taxi', old.message.id)).toBeUndefined();
      expect(await a.getVerification('taxi', young.verification.id)).toBeDefined();
      expect((await a.getMessage('taxi', young.message.id))?.dispatches).toHaveLength(1);
      expect(await sweepAll(b, T0 + 31 * DAY, T0 + DAY)).toBe(0);
    });

    it('leaves live verifications alone, also those that were started without any limit', async () => {
      const { a, b } = stores();
      const buckets = [perNumber(5, MINUTE)];
      const limited = await started(a, {}, { buckets });
      const free = await started(a, { number: phone(2) });
      const ofSubject = await started(a, { number: phone(3), subject: 'u1' });
      await sweepAll(b, T0 + 5 * MINUTE);
      const now = T0 + 5 * MINUTE;
      expect(await checkBySlot(a, limited.digests.bySlot, now)).toMatchObject({ kind: 'approved' });
      expect(await checkBySlot(a, free.digests.bySlot, now, { number: phone(2) })).toMatchObject({ kind: 'approved' });
      expect(await checkBySlot(b, ofSubject.digests.bySlot, now, { number: phone(3), subject: 'u1' })).toMatchObject({
        kind: 'approved',
      });
    });

    it('forgets no limit that still holds (invariant 7)', async () => {
      const { a, b } = stores();
      const address = { scope: 'address', value: '192.0.2.1', rules: [{ max: 1, windowMs: 7 * DAY }] } as const;
      const step = (createdAt: number, number: number, bucket: Parameters<typeof startStep>[1]) =>
        startStep(verificationOf({ createdAt, number: phone(number) }), bucket);
      await a.start(step(T0, 1, { buckets: [perNumber(1, 7 * DAY)] }));
      await a.start(step(T0, 2, { buckets: [address] }));
      const late = T0 + 7 * DAY - 1;
      await sweepAll(b, late);
      expect(await b.start(step(late, 1, { buckets: [perNumber(1, 7 * DAY)] }))).toMatchObject({ retryAfterMs: 1 });
      expect(await b.start(step(late, 3, { buckets: [address] }))).toMatchObject({ retryAfterMs: 1 });
    });

    it('forgets no guess and no lock that still holds (invariant 3)', async () => {
      const { a, b } = stores();
      for (let guess = 0; guess < 19; guess += 1) await checkBySlot(a, wrongDigest, T0);
      const late = T0 + DAY - 1;
      await sweepAll(b, late);
      expect(await checkBySlot(b, wrongDigest, late)).toMatchObject({ kind: 'wrong' });
      await sweepAll(b, late + DAY - 1);
      expect(await checkBySlot(a, wrongDigest, late + DAY - 1)).toEqual({ kind: 'locked', retryAfterMs: 1 });
    });

    it('deletes idempotency keys that have expired, and no others (invariant 9)', async () => {
      const { a, b } = stores();
      for (const [key, expiresAt] of [
        ['short', T0 + HOUR],
        ['long', T0 + DAY],
      ] as const) {
        const step = messageStep({ idempotency: idempotency(key, { expiresAt }) });
        await a.addMessage(step);
        await a.recordDispatch(dispatchStep(step.message, { dispatches: [], answer: { app: 'taxi', key, text: key } }));
      }
      await sweepAll(b, T0 + HOUR + 1);
      expect(await a.getAnswer('taxi', 'short')).toBeUndefined();
      expect(await a.getAnswer('taxi', 'long')).toBe('long');
    });

    it('keeps API keys, signing keys and messages that are not sent yet', async () => {
      const { a, b } = stores();
      await a.addApiKey(apiKey('one'));
      await a.addSigningKey(signingKey('old'), true);
      const step = messageStep();
      await a.addMessage(step);
      await sweepAll(b, T0 + HOUR);
      expect(await b.claimDue(T0 + HOUR, T0 + 2 * HOUR, 10)).toHaveLength(1);
      await sweepAll(b, T0 + 400 * DAY);
      expect(await a.listApiKeys()).toHaveLength(1);
      expect(await a.listSigningKeys()).toHaveLength(1);
    });

    it('while starts go on loses none of them', async () => {
      const { a, b } = stores();
      const outcomes = await atOnce(100, async (i) => {
        if (i % 10 === 0) await b.sweep(T0 + MINUTE, T0 - DAY);
        const bucket = { scope: 'app', value: '', rules: [{ max: 60, windowMs: HOUR }] } as const;
        const verification = verificationOf({ number: phone(i), createdAt: T0 + MINUTE });
        return (i % 2 === 0 ? a : b).start(startStep(verification, { buckets: [bucket] }));
      });
      expect(outcomes.filter(({ kind }) => kind === 'started')).toHaveLength(60);
    });
  });

  describe('a restart', () => {
    it('loses nothing: attempts, guesses, limits, keys, answers, messages (invariants 2, 3, 7, 8, 9)', async () => {
      const { a, b } = stores();
      const buckets = [perNumber(2, HOUR)];
      const verification = await started(a, {}, { buckets });
      for (let attempt = 0; attempt < 3; attempt += 1) await checkById(b, verification, wrongDigest, T0);
      for (let guess = 0; guess < 16; guess += 1) await checkBySlot(b, wrongDigest, T0, { purpose: 'other' });
      const answered = messageStep({ idempotency: idempotency('k') });
      await a.addMessage(answered);
      await a.recordDispatch(dispatchStep(answered.message, { answer: { app: 'taxi', key: 'k', text: '{}' } }));
      const orphan = messageStep();
      await b.addMessage(orphan);
      await b.recordReport('acme', { providerMessageId: 'early', state: 'delivered' }, T0);
      await a.addApiKey(apiKey('one'));
      await a.addSigningKey(signingKey('k1'), true);

      const reopened = await stores().reopen();
      expect(await reopened.getVerification('taxi', verification.id)).toMatchObject({ attempts: 3, state: 'pending' });
      expect(await reopened.addMessage(messageStep({ idempotency: idempotency('k') }))).toEqual({
        kind: 'replayed',
        answer: '{}',
      });
      expect(await resend(reopened, verification, verification.resendAt, { buckets })).toMatchObject({
        kind: 'resent',
      });
      expect(await resend(reopened, verification, T0 + 2 * MINUTE, { buckets })).toMatchObject({ kind: 'limited' });
      expect(await checkById(reopened, verification, wrongDigest, T0)).toMatchObject({
        kind: 'wrong',
        attemptsLeft: 1,
      });
      expect(await checkById(reopened, verification, verification.digests.byId, T0)).toMatchObject({ kind: 'locked' });
      const orphans = await reopened.claimDue(T0 + MINUTE, T0 + HOUR, 10);
      expect(orphans.map(({ message }) => message.id)).toContain(orphan.message.id);
      await reopened.recordDispatch(
        dispatchStep(orphan.message, {
          dispatches: [dispatchOf({ providerMessageId: 'early' })],
        }),
      );
      expect((await reopened.getMessage('taxi', orphan.message.id))?.state).toBe('delivered');
      expect(await reopened.findApiKey('hash of one')).toMatchObject({ name: 'one' });
      expect(await reopened.listSigningKeys()).toHaveLength(1);
    });
  });

  describe('readiness (invariant 15)', () => {
    it('is probed without leaving a trace that anybody notices', async () => {
      const { a, b } = stores();
      await atOnce(10, (i) => (i % 2 === 0 ? a : b).probe(T0 + i));
      expect(await a.listMessages('taxi', { limit: 10 })).toEqual([]);
    });

    it('ends with the connection: whatever is asked then is answered with store-unavailable', async () => {
      const verification = await started(stores().a);
      const closed = stores().a;
      await closed.close();
      const calls: (() => Promise<unknown>)[] = [
        () => closed.probe(T0),
        () => closed.start(startStep(verificationOf())),
        () => checkById(closed, verification, verification.digests.byId, T0),
        () => closed.getVerification('taxi', verification.id),
        () => closed.listMessages('taxi', { limit: 1 }),
        () => closed.getAnswer('taxi', 'k'),
        () => closed.findApiKey('hash'),
        () => closed.listSigningKeys(),
      ];
      for (const call of calls) {
        const error = await call().then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        expect(error).toBeInstanceOf(CountersignError);
        expect(error).toMatchObject({ code: 'store-unavailable' });
      }
      // Closing twice is no fault.
      await closed.close();
    });
  });
}
