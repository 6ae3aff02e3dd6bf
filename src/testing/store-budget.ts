import { describe, expect, it } from 'vitest';
import type { Bucket, BudgetTake, BudgetTaken, Store } from '../domain/store.ts';
import type { Verification } from '../domain/verification.ts';
import {
  atOnce,
  budgetTake,
  checkBySlot,
  codeDigests,
  DAY_0,
  dispatchStep,
  HOUR,
  idempotency,
  MINUTE,
  messageOf,
  messageStep,
  perNumber,
  phone,
  readable,
  resend,
  sentMessage,
  started,
  startStep,
  T0,
  tally,
  verificationOf,
  wrongDigest,
} from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

const DAY_1 = '2025-11-21';

/** What an app may spend in a day. */
export function describeBudget(stores: () => OpenedStores): void {
  const node = (index: number) => (index % 2 === 0 ? stores().a : stores().b);

  /** What was taken of that day's budget so far. */
  async function spentOn(day = DAY_0, app = 'taxi', store: Store = stores().b): Promise<number> {
    const outcome = await store.takeBudget(app, budgetTake(0, Number.MAX_SAFE_INTEGER, day));
    return outcome.kind === 'taken' ? outcome.beforeMicros : Number.NaN;
  }

  function start(index: number, budget: BudgetTake | undefined, more: { buckets?: Bucket[]; app?: string } = {}) {
    const { buckets = [], app = 'taxi' } = more;
    return node(index).start(startStep(verificationOf({ app, number: phone(index) }), { budget, buckets }));
  }

  function takenBy(outcomes: readonly { readonly kind: string; readonly budget?: BudgetTaken }[]): BudgetTaken[] {
    return outcomes.flatMap(({ budget }) => (budget === undefined ? [] : [budget]));
  }

  describe('the budget of a day', () => {
    it('lets exactly as many of 200 starts at once through as it has money for (invariant 7)', async () => {
      // 7 × 5000, and 4999 that are not enough for an eighth.
      const outcomes = await atOnce(200, (i) => start(i, budgetTake(5000, 39_999)));
      expect(tally(outcomes)).toEqual({ started: 7, 'over-budget': 193 });
      expect(await spentOn()).toBe(35_000);
      const taken = takenBy(outcomes).sort((x, y) => x.beforeMicros - y.beforeMicros);
      expect(taken).toEqual(
        Array.from({ length: 7 }, (_, i) => ({ beforeMicros: i * 5000, afterMicros: (i + 1) * 5000 })),
      );
    });

    it('may be spent to the last micro', async () => {
      expect(await start(0, budgetTake(5000, 10_000))).toMatchObject({ kind: 'started' });
      expect(await start(1, budgetTake(5001, 10_000))).toEqual({ kind: 'over-budget' });
      expect(await start(2, budgetTake(5000, 10_000))).toMatchObject({
        kind: 'started',
        budget: { beforeMicros: 5000, afterMicros: 10_000 },
      });
      expect(await start(3, budgetTake(1, 10_000))).toEqual({ kind: 'over-budget' });
    });

    it('that is spent counts what it refuses in no bucket, and keeps nothing of it', async () => {
      const { a, b } = stores();
      const buckets: Bucket[] = [
        perNumber(10, HOUR),
        { scope: 'address', value: '192.0.2.1', rules: [{ max: 10, windowMs: HOUR }] },
        { scope: 'prefix', value: '+99890', rules: [{ max: 10, windowMs: HOUR }] },
        { scope: 'app', value: '', rules: [{ max: 10, windowMs: HOUR }] },
      ];
      const steps = Array.from({ length: 200 }, (_, i) =>
        startStep(verificationOf(), { buckets, budget: budgetTake(100, 300), idempotency: idempotency(`k${i}`) }),
      );
      const outcomes = await atOnce(200, (i) => node(i).start(steps[i] as (typeof steps)[number]));
      expect(tally(outcomes)).toEqual({ started: 3, 'over-budget': 197 });
      expect(await a.listMessages('taxi', { limit: 1000 })).toHaveLength(3);
      const refused = outcomes.findIndex(({ kind }) => kind === 'over-budget');
      const step = steps[refused] as (typeof steps)[number];
      expect(await b.getVerification('taxi', step.verification.id)).toBeUndefined();
      expect(await b.getMessage('taxi', step.message.id)).toBeUndefined();
      expect(await b.claimDue(T0 + HOUR, T0 + 2 * HOUR, 1000)).toHaveLength(3);
      // Its key is free as well, and of the ten places in each bucket seven are left.
      expect(await b.start({ ...step, budget: undefined })).toMatchObject({ kind: 'started' });
      const rest = await atOnce(20, (i) => node(i).start(startStep(verificationOf(), { buckets })));
      expect(tally(rest)).toEqual({ started: 6, limited: 14 });
    });

    it('that is spent leaves the live verification as it is', async () => {
      const { a, b } = stores();
      const live = await started(a);
      for (const repeat of [true, false]) {
        const step = startStep(verificationOf(), { repeat, budget: budgetTake(2, 1) });
        expect(await b.start(step)).toEqual({ kind: 'over-budget' });
      }
      expect(readable(await a.getVerification('taxi', live.id))).toEqual(readable(live));
    });

    it('is not touched by what a bucket, a lock or the state refuses', async () => {
      const { a, b } = stores();
      const budget = budgetTake(100, 1_000_000);
      const address: Bucket = { scope: 'address', value: '192.0.2.1', rules: [{ max: 2, windowMs: HOUR }] };
      const outcomes = await atOnce(50, (i) => start(i, budget, { buckets: [address] }));
      expect(tally(outcomes)).toEqual({ started: 2, limited: 48 });
      expect(takenBy(outcomes)).toHaveLength(2);
      const messages = await atOnce(50, (i) =>
        node(i).addMessage(messageStep({ budget, buckets: [perNumber(1, HOUR)] })),
      );
      expect(tally(messages)).toEqual({ added: 1, limited: 49 });
      const verification = await started(a, { number: phone(500) });
      expect(await resend(b, verification, T0, { budget })).toMatchObject({ kind: 'too-early' });
      for (let guess = 0; guess < 20; guess += 1)
        await checkBySlot(a, wrongDigest, T0, { number: phone(500), purpose: 'x' });
      expect(await resend(b, verification, verification.resendAt, { budget })).toMatchObject({ kind: 'locked' });
      expect(await start(500, budget)).toMatchObject({ kind: 'locked' });
      expect(await resend(b, verification, verification.expiresAt, { budget })).toMatchObject({ kind: 'ended' });
      expect(await resend(b, verificationOf(), T0, { budget })).toEqual({ kind: 'unknown' });
      expect(await spentOn()).toBe(300);
    });

    it('pays for resends and custom messages too, and what they are refused changes nothing', async () => {
      const { a, b } = stores();
      const verification = await started(a, {}, { budget: budgetTake(100, 300) });
      const at = verification.resendAt;
      const budget = budgetTake(100, 300);
      expect(await resend(b, verification, at, { budget })).toMatchObject({
        kind: 'resent',
        budget: { beforeMicros: 100, afterMicros: 200 },
      });
      expect(await a.addMessage(messageStep({ budget }))).toEqual({
        kind: 'added',
        budget: { beforeMicros: 200, afterMicros: 300 },
      });
      const before = (await b.getVerification('taxi', verification.id)) as Verification;
      const message = messageOf(verification, { createdAt: at });
      const refused = await resend(a, verification, before.resendAt, {
        budget,
        message,
        channel: 'voice',
        buckets: [perNumber(1, HOUR)],
        code: { replaces: 0, codeNumber: 1, digests: codeDigests(verification.id, 1) },
      });
      expect(refused).toEqual({ kind: 'over-budget' });
      expect(readable(await b.getVerification('taxi', verification.id))).toEqual(readable(before));
      expect(await b.getMessage('taxi', message.id)).toBeUndefined();
      const step = messageStep({ budget, idempotency: idempotency('k'), buckets: [perNumber(1, HOUR)] });
      expect(await b.addMessage(step)).toEqual({ kind: 'over-budget' });
      expect(await a.getMessage('taxi', step.message.id)).toBeUndefined();
      expect(await a.addMessage({ ...step, budget: undefined })).toEqual({ kind: 'added' });
      expect(await resend(b, verification, before.resendAt, { buckets: [perNumber(1, HOUR)] })).toMatchObject({
        kind: 'resent',
      });
      expect(await spentOn()).toBe(300);
    });

    it('is one for starts, resends, custom messages and what is taken by itself, all at once', async () => {
      const live = await atOnce(50, (i) => started(node(i), { number: phone(1000 + i), resendAt: T0 }));
      const budget = budgetTake(10, 605);
      const outcomes = await atOnce(200, (i): Promise<{ kind: string }> => {
        const verification = live[i >> 2] as Verification;
        if (i % 4 === 0) return start(i, budget);
        if (i % 4 === 1) return resend(node(i >> 2), verification, T0, { budget });
        if (i % 4 === 2) return node(i >> 2).addMessage(messageStep({ budget }));
        return node(i >> 2).takeBudget('taxi', budget);
      });
      expect(tally(outcomes)['over-budget']).toBe(140);
      expect(await spentOn()).toBe(600);
    });

    it('is taken once for a request that is repeated, at once or later (invariant 9)', async () => {
      const { a, b } = stores();
      const budget = budgetTake(100, 150);
      const again = () => startStep(verificationOf(), { budget, idempotency: idempotency('k') });
      expect(tally(await atOnce(50, (i) => node(i).start(again())))).toEqual({ started: 1, replayed: 49 });
      expect(await a.start(again())).toEqual({ kind: 'replayed', answer: undefined });
      const message = () => messageStep({ budget: budgetTake(50, 150), idempotency: idempotency('m') });
      expect(tally(await atOnce(50, (i) => node(i).addMessage(message())))).toEqual({ added: 1, replayed: 49 });
      const verification = await started(b, { number: phone(2) });
      const resends = await atOnce(50, (i) =>
        resend(node(i), verification, verification.resendAt, {
          delaysSeconds: [0],
          budget: budgetTake(10, 160),
          idempotency: idempotency('r'),
        }),
      );
      expect(tally(resends)).toEqual({ resent: 1, replayed: 49 });
      expect(await spentOn()).toBe(160);
    });

    it('gets back what a hand-over did not cost, and is charged what it cost more', async () => {
      const { a, b } = stores();
      expect(await b.takeBudget('taxi', budgetTake(1000, 1000))).toMatchObject({ kind: 'taken' });
      expect(await start(0, budgetTake(300, 1000))).toEqual({ kind: 'over-budget' });
      await sentMessage(a, {}, { spent: { day: DAY_0, micros: -300 } });
      expect(await spentOn()).toBe(700);
      expect(await start(0, budgetTake(300, 1000))).toMatchObject({ kind: 'started' });
      await sentMessage(b, {}, { spent: { day: DAY_0, micros: 45 } });
      expect(await spentOn()).toBe(1045);
      // No word about it changes nothing.
      await sentMessage(b);
      expect(await spentOn()).toBe(1045);
    });

    it('gets back exactly what 200 hand-overs give back at once', async () => {
      const steps = Array.from({ length: 200 }, () => messageStep({ budget: budgetTake(100, 1_000_000) }));
      await atOnce(200, (i) => node(i).addMessage(steps[i] as (typeof steps)[number]));
      await atOnce(200, (i) =>
        node(i).recordDispatch(
          dispatchStep((steps[i] as (typeof steps)[number]).message, {
            dispatches: [],
            spent: { day: DAY_0, micros: -i },
          }),
        ),
      );
      expect(await spentOn()).toBe(200 * 100 - (199 * 200) / 2);
    });

    it('is passed at a mark by exactly one of many starts, so that one warns', async () => {
      const outcomes = await atOnce(200, (i) => start(i, budgetTake(7, 1200)));
      const warnAt = 1000;
      const crossing = takenBy(outcomes).filter((taken) => taken.beforeMicros < warnAt && taken.afterMicros >= warnAt);
      expect(crossing).toEqual([{ beforeMicros: 994, afterMicros: 1001 }]);
    });

    it('is each app’s own, and each day’s (invariant 13)', async () => {
      const { a, b } = stores();
      expect(await start(0, budgetTake(100, 100))).toMatchObject({ kind: 'started' });
      expect(await start(1, budgetTake(100, 100))).toEqual({ kind: 'over-budget' });
      expect(await start(1, budgetTake(100, 100), { app: 'bank' })).toMatchObject({
        kind: 'started',
        budget: { beforeMicros: 0, afterMicros: 100 },
      });
      expect(await start(2, budgetTake(100, 100, DAY_1))).toMatchObject({
        budget: { beforeMicros: 0, afterMicros: 100 },
      });
      await sentMessage(a, {}, { message: { app: 'bank' }, spent: { day: DAY_0, micros: -40 } });
      await sentMessage(b, {}, { spent: { day: DAY_1, micros: -30 } });
      expect([await spentOn(), await spentOn(DAY_0, 'bank'), await spentOn(DAY_1)]).toEqual([100, 60, 70]);
      expect([await spentOn(DAY_1, 'bank'), await spentOn('2025-11-19')]).toEqual([0, 0]);
    });

    it('is each app’s own, and each day’s, also at the same moment (invariants 7, 13)', async () => {
      const outcomes = await atOnce(200, (i) =>
        start(i, budgetTake(5, 50, i % 8 < 4 ? DAY_0 : DAY_1), { app: i % 4 < 2 ? 'taxi' : 'bank' }),
      );
      expect(tally(outcomes)).toEqual({ started: 40, 'over-budget': 160 });
      const spent = [
        await spentOn(DAY_0),
        await spentOn(DAY_0, 'bank'),
        await spentOn(DAY_1),
        await spentOn(DAY_1, 'bank'),
      ];
      expect(spent).toEqual([50, 50, 50, 50]);
    });

    it('is not spoken of where a request has none', async () => {
      const { a } = stores();
      const verification = verificationOf();
      const outcome = await a.start(startStep(verification));
      expect(Object.keys(outcome).sort()).toEqual(['kind', 'verification']);
      expect(await a.addMessage(messageStep())).toEqual({ kind: 'added' });
      const resent = await resend(a, verification, T0 + MINUTE);
      expect(Object.keys(resent).sort()).toEqual(['kind', 'verification']);
      expect(await spentOn()).toBe(0);
    });

    it('is not forgotten by a restart', async () => {
      await start(0, budgetTake(60, 100));
      await sentMessage(stores().b, {}, { spent: { day: DAY_0, micros: -10 } });
      const reopened = await stores().reopen();
      expect(await reopened.takeBudget('taxi', budgetTake(51, 100))).toEqual({ kind: 'over-budget' });
      expect(await spentOn(DAY_0, 'taxi', reopened)).toBe(50);
    });
  });

  describe('taking from the budget for what was not foreseen', () => {
    it('gives exactly what there is to 200 at once (invariant 7)', async () => {
      const outcomes = await atOnce(200, (i) => node(i).takeBudget('taxi', budgetTake(9, 100)));
      expect(tally(outcomes)).toEqual({ taken: 11, 'over-budget': 189 });
      const after = outcomes.flatMap((outcome) => (outcome.kind === 'taken' ? [outcome.afterMicros] : []));
      expect(after.sort((x, y) => x - y)).toEqual(Array.from({ length: 11 }, (_, i) => (i + 1) * 9));
    });

    it('takes nothing when it is refused: less may still fit', async () => {
      const { a, b } = stores();
      expect(await a.takeBudget('taxi', budgetTake(80, 100))).toEqual({
        kind: 'taken',
        beforeMicros: 0,
        afterMicros: 80,
      });
      expect(await b.takeBudget('taxi', budgetTake(21, 100))).toEqual({ kind: 'over-budget' });
      expect(await b.takeBudget('taxi', budgetTake(20, 100))).toEqual({
        kind: 'taken',
        beforeMicros: 80,
        afterMicros: 100,
      });
    });
  });
}
