import { describe, expect, it } from 'vitest';
import type { Bucket } from '../domain/store.ts';
import type { Verification } from '../domain/verification.ts';
import {
  atOnce,
  checkById,
  checkBySlot,
  codeDigests,
  DAY,
  dispatchStep,
  guesses,
  HOUR,
  idempotency,
  MINUTE,
  messageOf,
  messageStep,
  perNumber,
  phone,
  resend,
  SECOND,
  started,
  startStep,
  T0,
  tally,
  verificationOf,
  wrongDigest,
} from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

/** Starts and resends: limits, idempotency keys, and which verification a request gets. */
export function describeStarts(stores: () => OpenedStores): void {
  const node = (index: number) => (index % 2 === 0 ? stores().a : stores().b);

  function start(index: number, now: number, buckets: readonly Bucket[], given: Partial<Verification> = {}) {
    return node(index).start(startStep(verificationOf({ createdAt: now, ...given }), { buckets }));
  }

  function perAddress(max: number, windowMs: number, value = '192.0.2.1'): Bucket {
    return { scope: 'address', value, rules: [{ max, windowMs }] };
  }

  describe('limits (invariant 7)', () => {
    it.each([1, 7, 150])('let exactly %i of 200 starts at once through', async (max) => {
      const outcomes = await atOnce(200, (i) => start(i, T0, [perNumber(max, HOUR)]));
      expect(tally(outcomes)).toEqual({ started: max, limited: 200 - max });
    });

    it.each(['address', 'prefix', 'app'] as const)('count by %s over all numbers', async (scope) => {
      const buckets: Bucket[] = [{ scope, value: 'x', rules: [{ max: 9, windowMs: HOUR }] }];
      const outcomes = await atOnce(100, (i) => start(i, T0, buckets, { number: phone(i) }));
      expect(tally(outcomes)).toEqual({ started: 9, limited: 91 });
      expect(outcomes.find(({ kind }) => kind === 'limited')).toEqual({ kind: 'limited', scope, retryAfterMs: HOUR });
    });

    it('take all buckets of a request or none, whichever refuses', async () => {
      const full = perAddress(1, HOUR, '192.0.2.9');
      await start(0, T0, [full], { number: phone(9) });
      const number = perNumber(3, HOUR);
      const other = perAddress(3, HOUR);
      for (const buckets of [
        [full, number, other],
        [number, full, other],
        [other, number, full],
      ]) {
        expect(await start(1, T0, buckets)).toEqual({ kind: 'limited', scope: 'address', retryAfterMs: HOUR });
      }
      const outcomes = await atOnce(20, (i) => start(i, T0, [number, other]));
      expect(tally(outcomes)).toEqual({ started: 3, limited: 17 });
    });

    it('take all or none at once: a full address uses nothing of the number up', async () => {
      const outcomes = await atOnce(100, (i) =>
        start(Math.floor(i / 4), T0, [perNumber(10, HOUR), perAddress(3, HOUR, `192.0.2.${i % 2}`)]),
      );
      expect(tally(outcomes)).toEqual({ started: 6, limited: 94 });
      const rest = await atOnce(20, (i) => start(i, T0, [perNumber(10, HOUR)]));
      expect(tally(rest)).toEqual({ started: 4, limited: 16 });
    });

    it('name the bucket that has to be waited for longest', async () => {
      const buckets = [perAddress(1, MINUTE), perNumber(1, DAY), { ...perAddress(1, HOUR), scope: 'prefix' } as const];
      await start(0, T0, buckets);
      expect(await start(1, T0 + SECOND, buckets)).toEqual({
        kind: 'limited',
        scope: 'number',
        retryAfterMs: DAY - SECOND,
      });
    });

    it('slide: a send leaves the window exactly when it is as old as the window', async () => {
      const buckets = [perNumber(2, 10 * SECOND)];
      const at = (ms: number) => start(ms, T0 + ms, buckets);
      expect(await at(0)).toMatchObject({ kind: 'started' });
      expect(await at(9000)).toMatchObject({ kind: 'started' });
      expect(await at(9999)).toEqual({ kind: 'limited', scope: 'number', retryAfterMs: 1 });
      expect(await at(10_000)).toMatchObject({ kind: 'started' });
      expect(await at(10_001)).toEqual({ kind: 'limited', scope: 'number', retryAfterMs: 8999 });
      expect(await at(18_999)).toEqual({ kind: 'limited', scope: 'number', retryAfterMs: 1 });
      expect(await at(19_000)).toMatchObject({ kind: 'started' });
    });

    it('hold in each of several windows', async () => {
      const buckets: Bucket[] = [
        {
          scope: 'number',
          value: phone(1),
          rules: [
            { max: 2, windowMs: 10 * SECOND },
            { max: 3, windowMs: MINUTE },
          ],
        },
      ];
      const at = (seconds: number) => start(seconds, T0 + seconds * SECOND, buckets);
      expect((await at(0)).kind).toBe('started');
      expect((await at(1)).kind).toBe('started');
      expect(await at(2)).toEqual({ kind: 'limited', scope: 'number', retryAfterMs: 8 * SECOND });
      expect((await at(11)).kind).toBe('started');
      expect(await at(21)).toEqual({ kind: 'limited', scope: 'number', retryAfterMs: 39 * SECOND });
      expect((await at(60)).kind).toBe('started');
    });

    it('do not count what they refuse', async () => {
      await start(0, T0, [perNumber(1, HOUR)]);
      for (let minute = 1; minute < 60; minute += 1) {
        const now = T0 + minute * MINUTE;
        expect(await start(minute, now, [perNumber(1, HOUR)])).toMatchObject({ retryAfterMs: T0 + HOUR - now });
      }
      expect(await start(0, T0 + HOUR, [perNumber(1, HOUR)])).toMatchObject({ kind: 'started' });
    });

    it('count resends in the buckets of the starts', async () => {
      const buckets = [perNumber(2, HOUR)];
      const verification = await started(stores().a, {}, { buckets });
      expect(await resend(stores().b, verification, T0 + MINUTE, { buckets })).toMatchObject({ kind: 'resent' });
      expect(await start(0, T0 + MINUTE, buckets)).toMatchObject({ kind: 'limited' });
      expect(await resend(stores().a, verification, T0 + 2 * MINUTE, { buckets })).toEqual({
        kind: 'limited',
        scope: 'number',
        retryAfterMs: 58 * MINUTE,
      });
      expect(await stores().a.getVerification('taxi', verification.id)).toMatchObject({ sends: 2 });
    });

    it('count custom messages to a number apart from its codes: whoever got five texts still gets a code', async () => {
      const buckets = [perNumber(5, HOUR)];
      const outcomes = await atOnce(50, (i) => node(i).addMessage(messageStep({ buckets })));
      expect(tally(outcomes)).toEqual({ added: 5, limited: 45 });
      expect(tally(await atOnce(50, (i) => start(i, T0, buckets)))).toEqual({ started: 5, limited: 45 });
    });

    it('are each app’s own (invariant 13)', async () => {
      const buckets = [perNumber(1, HOUR), perAddress(1, HOUR)];
      expect(await start(0, T0, buckets)).toMatchObject({ kind: 'started' });
      expect(await start(1, T0, buckets, { app: 'bank' })).toMatchObject({ kind: 'started' });
    });

    it('keep nothing of what they refuse: no verification, no message, no key', async () => {
      const { a, b } = stores();
      await start(0, T0, [perNumber(1, HOUR)]);
      const verification = verificationOf();
      const step = startStep(verification, { buckets: [perNumber(1, HOUR)], idempotency: idempotency('k') });
      expect(await a.start(step)).toMatchObject({ kind: 'limited' });
      expect(await b.getVerification('taxi', verification.id)).toBeUndefined();
      expect(await b.getMessage('taxi', step.message.id)).toBeUndefined();
      expect(await b.start({ ...step, buckets: [] })).toMatchObject({ kind: 'started' });
    });
  });

  describe('an idempotency key (invariant 9)', () => {
    it('starts once for 200 requests at the same moment, and the others are replays', async () => {
      const buckets = [perNumber(2, HOUR)];
      const outcomes = await atOnce(200, (i) =>
        node(i).start(startStep(verificationOf(), { buckets, idempotency: idempotency('k') })),
      );
      expect(tally(outcomes)).toEqual({ started: 1, replayed: 199 });
      expect(outcomes.filter((o) => o.kind === 'replayed' && o.answer !== undefined)).toHaveLength(0);
      expect(await stores().a.listMessages('taxi', { limit: 10 })).toHaveLength(1);
      // Counted once: one more fits.
      expect(tally(await atOnce(10, (i) => start(i, T0, buckets)))).toEqual({ started: 1, limited: 9 });
    });

    it('resends once, and adds one custom message, at the same moment', async () => {
      const { a } = stores();
      const verification = await started(a);
      const resends = await atOnce(50, (i) =>
        resend(node(i), verification, T0 + MINUTE, { delaysSeconds: [0], idempotency: idempotency('resend') }),
      );
      expect(tally(resends)).toEqual({ resent: 1, replayed: 49 });
      const messages = await atOnce(50, (i) =>
        node(i).addMessage(messageStep({ idempotency: idempotency('message') })),
      );
      expect(tally(messages)).toEqual({ added: 1, replayed: 49 });
    });

    it('gives the answer that was kept with the outcome of the dispatch', async () => {
      const { a, b } = stores();
      const step = startStep(verificationOf(), { idempotency: idempotency('k') });
      await a.start(step);
      expect(await b.getAnswer('taxi', 'k')).toBeUndefined();
      await a.recordDispatch(
        dispatchStep(step.message, { answer: { app: 'taxi', key: 'k', text: '{"kind":"started"}' } }),
      );
      expect(await b.getAnswer('taxi', 'k')).toBe('{"kind":"started"}');
      expect(await b.getAnswer('bank', 'k')).toBeUndefined();
      expect(await b.start(startStep(verificationOf(), { idempotency: idempotency('k') }))).toEqual({
        kind: 'replayed',
        answer: '{"kind":"started"}',
      });
    });

    it('is refused for another request', async () => {
      const { a, b } = stores();
      const other = idempotency('k', { fingerprint: 'other' });
      const verification = await started(a, {}, { idempotency: idempotency('k') });
      expect(await b.start(startStep(verificationOf(), { idempotency: other }))).toEqual({ kind: 'conflict' });
      expect(await b.addMessage(messageStep({ idempotency: other }))).toEqual({ kind: 'conflict' });
      expect(await resend(b, verification, T0 + MINUTE, { idempotency: other })).toEqual({ kind: 'conflict' });
    });

    it('is each app’s own (invariant 13)', async () => {
      await started(stores().a, {}, { idempotency: idempotency('k') });
      await started(stores().b, { app: 'bank' }, { idempotency: idempotency('k', { fingerprint: 'other' }) });
    });

    it('is asked before limit and lock: a repeated request gets its answer even when no more fit', async () => {
      const buckets = [perNumber(1, HOUR)];
      const step = () => startStep(verificationOf(), { buckets, idempotency: idempotency('k') });
      await stores().a.start(step());
      expect(await stores().b.start(step())).toMatchObject({ kind: 'replayed' });
    });

    it('is free again from its expiresAt on, swept or not', async () => {
      const { a, b } = stores();
      const at = (createdAt: number) =>
        startStep(verificationOf({ createdAt }), { idempotency: idempotency('k', { expiresAt: createdAt + DAY }) });
      await a.start(at(T0));
      expect(await b.start(at(T0 + DAY - 1))).toMatchObject({ kind: 'replayed' });
      expect(await b.start(at(T0 + DAY))).toMatchObject({ kind: 'started' });
      expect(await a.start(at(T0 + DAY))).toEqual({ kind: 'replayed', answer: undefined });
    });
  });

  describe('a second start', () => {
    it('repeats the live verification where the app says so: one more send, the same code, the same end', async () => {
      const { a, b } = stores();
      const first = await started(a, { metadata: { ride: '7' } });
      const second = await started(b, { createdAt: T0 + MINUTE, channel: 'voice' }, { repeat: true });
      expect(second).toMatchObject({ id: first.id, sends: 2, channel: 'voice', expiresAt: first.expiresAt });
      expect(second.resendAt).toBe(T0 + MINUTE + 30 * SECOND);
      // The longer waits of later sends hold for starts as well: a third text puts the next resend a minute off.
      const third = await started(a, { createdAt: T0 + 2 * MINUTE }, { repeat: true });
      expect(third.resendAt).toBe(T0 + 3 * MINUTE);
      expect(await checkById(a, first, first.digests.byId, T0 + MINUTE)).toMatchObject({ kind: 'approved' });
    });

    it('replaces it where the app says so: the older code is worth nothing', async () => {
      const { a, b } = stores();
      const first = await started(a);
      const second = await started(b, { createdAt: T0 + MINUTE });
      expect(second.id).not.toBe(first.id);
      expect(await checkById(a, first, first.digests.byId, T0 + MINUTE)).toEqual({ kind: 'ended', state: 'canceled' });
      expect(await checkBySlot(a, first.digests.bySlot, T0 + MINUTE)).toMatchObject({ kind: 'wrong' });
      expect(await checkBySlot(a, second.digests.bySlot, T0 + MINUTE)).toMatchObject({ kind: 'approved' });
    });

    it.each([true, false])('leaves one live verification, however many come at once (repeat: %s)', async (repeat) => {
      const wanted = Array.from({ length: 100 }, () => verificationOf({ maxSends: 1000 }));
      const outcomes = await atOnce(100, (i) => node(i).start(startStep(wanted[i] as Verification, { repeat })));
      expect(tally(outcomes)).toEqual({ started: 100 });
      const kept = await Promise.all(wanted.map(({ id }) => stores().a.getVerification('taxi', id)));
      const live = kept.filter((verification) => verification?.state === 'pending');
      expect(live).toHaveLength(1);
      expect(live[0]?.sends).toBe(repeat ? 100 : 1);
    });

    it('does not repeat beyond maxSends, nor what has ended', async () => {
      const { a, b } = stores();
      const first = await started(a, { maxSends: 2 });
      expect((await started(b, {}, { repeat: true })).id).toBe(first.id);
      const third = await started(a, {}, { repeat: true });
      expect(third.id).not.toBe(first.id);
      await checkById(b, third, third.digests.byId, T0);
      expect((await started(a, {}, { repeat: true })).id).not.toBe(third.id);
    });

    it('does not repeat a code with less than two minutes to live', async () => {
      const { a, b } = stores();
      const first = await started(a);
      const repeatAt = (createdAt: number) => started(b, { createdAt }, { repeat: true });
      expect((await repeatAt(first.expiresAt - 2 * MINUTE)).id).toBe(first.id);
      expect((await repeatAt(first.expiresAt - 2 * MINUTE + 1)).id).not.toBe(first.id);
    });

    it('of another purpose or lane leaves the first alone', async () => {
      const { a, b } = stores();
      const first = await started(a);
      await started(b, { purpose: 'payment' });
      await started(b, { lane: 'trusted' });
      await started(b, { subject: 'u1' });
      expect(await checkBySlot(a, first.digests.bySlot, T0)).toMatchObject({ kind: 'approved' });
    });

    it('of a subject replaces its first, whatever the number: a subject has one', async () => {
      const { a, b } = stores();
      const first = await started(a, { subject: 'u1' });
      const other = await started(a, { subject: 'u2' });
      const second = await started(b, { subject: 'u1', number: phone(2) }, { repeat: true });
      expect(second).toMatchObject({ number: phone(2), sends: 1 });
      expect(await checkById(a, first, first.digests.byId, T0)).toEqual({ kind: 'ended', state: 'canceled' });
      expect(await checkBySlot(a, other.digests.bySlot, T0, { subject: 'u2' })).toMatchObject({ kind: 'approved' });
    });
  });

  describe('a resend', () => {
    const replacing = (verification: Verification, replaces: number) => ({
      replaces,
      codeNumber: replaces + 1,
      digests: codeDigests(verification.id, replaces + 1),
    });

    it('is refused until the very millisecond of resendAt, and says how long', async () => {
      const { a, b } = stores();
      const verification = await started(a);
      expect(await resend(b, verification, T0)).toEqual({ kind: 'too-early', retryAfterMs: 30 * SECOND });
      expect(await resend(b, verification, verification.resendAt - 1)).toEqual({ kind: 'too-early', retryAfterMs: 1 });
      expect(await resend(b, verification, verification.resendAt)).toMatchObject({
        kind: 'resent',
        verification: { sends: 2, resendAt: verification.resendAt + 30 * SECOND },
      });
    });

    it('has to wait longer each time, and comes maxSends times at most', async () => {
      const { a, b } = stores();
      const verification = await started(a);
      let now = verification.resendAt;
      for (const [index, seconds] of [30, 60, 120, 120].entries()) {
        const outcome = await resend(node(index), verification, now);
        expect(outcome).toMatchObject({
          kind: 'resent',
          verification: { sends: index + 2, resendAt: now + seconds * SECOND },
        });
        now += seconds * SECOND;
      }
      expect(await resend(b, verification, now)).toEqual({ kind: 'sends-exhausted' });
      expect(await checkById(a, verification, verification.digests.byId, now)).toMatchObject({ kind: 'approved' });
    });

    it('is one for 200 at once', async () => {
      const verification = await started(stores().a);
      const outcomes = await atOnce(200, (i) => resend(node(i), verification, verification.resendAt));
      expect(tally(outcomes)).toEqual({ resent: 1, 'too-early': 199 });
    });

    it('never goes beyond maxSends, without any delay and at once', async () => {
      const verification = await started(stores().a);
      const outcomes = await atOnce(200, (i) =>
        resend(node(i), verification, verification.resendAt, { delaysSeconds: [0] }),
      );
      expect(tally(outcomes)).toEqual({ resent: 4, 'sends-exhausted': 196 });
    });

    it('repeats the code: it is the same after any number of sends', async () => {
      const { a, b } = stores();
      const verification = await started(a);
      await resend(b, verification, verification.resendAt, { channel: 'voice' });
      const outcome = await checkBySlot(a, verification.digests.bySlot, verification.resendAt);
      expect(outcome).toMatchObject({ kind: 'approved', verification: { channel: 'voice', codeNumber: 0 } });
    });

    it('replaces the code: only the newest is right, by id and by slot', async () => {
      const { a, b } = stores();
      const verification = await started(a);
      const code = replacing(verification, 0);
      const outcome = await resend(b, verification, verification.resendAt, { code });
      expect(outcome).toMatchObject({ kind: 'resent', verification: { codeNumber: 1 } });
      const now = verification.resendAt;
      expect(await checkById(a, verification, verification.digests.byId, now)).toMatchObject({ kind: 'wrong' });
      expect(await checkBySlot(a, verification.digests.bySlot, now)).toMatchObject({ kind: 'wrong' });
      expect(await checkBySlot(a, code.digests.bySlot, now)).toMatchObject({ kind: 'approved' });
    });

    it('that replaces a code which is not the newest any more is told so, and sends nothing', async () => {
      const verification = await started(stores().a);
      const given = { delaysSeconds: [0], code: replacing(verification, 0), buckets: [perNumber(2, HOUR)] };
      const outcomes = await atOnce(50, (i) => resend(node(i), verification, verification.resendAt, given));
      expect(tally(outcomes)).toEqual({ resent: 1, changed: 49 });
      const next = { ...given, code: replacing(verification, 1) };
      expect(await resend(stores().b, verification, verification.resendAt, next)).toMatchObject({ kind: 'resent' });
    });

    it('of what has ended or never was says so', async () => {
      const { a, b } = stores();
      const now = T0 + MINUTE;
      expect(await resend(a, verificationOf(), now)).toEqual({ kind: 'unknown' });
      const expired = await started(a);
      expect(await resend(b, expired, expired.expiresAt)).toEqual({ kind: 'ended', state: 'expired' });
      expect(await resend(b, expired, expired.expiresAt - 1)).toMatchObject({ kind: 'resent' });
      const canceled = await started(a);
      await a.cancel('taxi', canceled.id, T0);
      expect(await resend(b, canceled, now)).toEqual({ kind: 'ended', state: 'canceled' });
      const approved = await started(a);
      await checkById(a, approved, approved.digests.byId, T0);
      expect(await resend(b, approved, now)).toEqual({ kind: 'ended', state: 'approved' });
      const exhausted = await started(a, { maxAttempts: 1 });
      await checkById(a, exhausted, wrongDigest, T0);
      expect(await resend(b, exhausted, now)).toEqual({ kind: 'ended', state: 'exhausted' });
    });

    it('keeps a message that carries the newest code and lives as long as the verification', async () => {
      const { a, b } = stores();
      const verification = await started(a);
      const message = messageOf(verification, { createdAt: verification.resendAt });
      await resend(a, verification, verification.resendAt, { message, guesses, code: replacing(verification, 0) });
      expect(await b.getMessage('taxi', message.id)).toMatchObject({
        verificationId: verification.id,
        codeNumber: 1,
        validUntil: verification.expiresAt,
        state: 'pending',
      });
    });
  });
}
