import { afterEach, describe, expect, it, vi } from 'vitest';
import { accepted, failed, type StartRequest } from '../../src/index.ts';
import {
  DAY,
  expectStarted,
  FakeManaged,
  FakeProvider,
  MINUTE,
  NUMBER,
  noLimits,
  openBench,
  report,
  until,
  wrongCode,
} from './service-bench.ts';

afterEach(() => {
  vi.useRealTimers();
});

async function openManaged(app: Parameters<typeof openBench>[0] = {}, config = {}) {
  const managed = new FakeManaged('managed').withReports();
  const texts = new FakeProvider('texts').withReports();
  const bench = await openBench(
    { routes: { '*': ['managed', 'texts'] }, limits: noLimits, ...app },
    { providers: [managed, texts], config },
  );
  const { verifications } = bench.countersign;
  const start = async (request: Partial<StartRequest> = {}) =>
    expectStarted(await verifications.start({ to: NUMBER, ...request })).verification;
  return { ...bench, managed, texts, verifications, start };
}

describe('a code that a managed provider makes', () => {
  it('is started, sent again, and approved there, by id or by number', async () => {
    for (const by of ['id', 'number']) {
      const { managed, texts, verifications, start, clock } = await openManaged();
      const { id } = await start();
      expect(managed.received[0]).toMatchObject({
        to: NUMBER,
        channel: 'sms',
        brand: 'Royal Taxi',
        validitySeconds: 600,
      });
      for (const secret of ['text', 'code']) expect(managed.received[0]).not.toHaveProperty(secret);
      clock.advance(MINUTE);
      expectStarted(await verifications.resend({ id }));
      const code = managed.lastCode;
      expect(
        await verifications.check(by === 'id' ? { id, code: wrongCode(code) } : { to: NUMBER, code: wrongCode(code) }),
      ).toMatchObject({ code: 'code-wrong' });
      const answer = await verifications.check(by === 'id' ? { id, code } : { to: NUMBER, code });
      expect(answer).toMatchObject({
        kind: 'approved',
        token: expect.any(String),
        verification: { id, attemptsLeft: 3 },
      });
      expect(managed.asked.map(({ providerMessageId }) => providerMessageId)).toEqual(['managed 1', 'managed 1']);
      expect(texts.received).toEqual([]);
      expect(await verifications.check({ id, code })).toMatchObject({ code: 'verification-settled' });
    }
  });

  it('names what it was before when it is sent again, and nothing of another verification', async () => {
    const { managed, verifications, start, clock } = await openManaged();
    const { id } = await start();
    clock.advance(MINUTE);
    await start();
    clock.advance(MINUTE);
    expectStarted(await verifications.resend({ id }));
    await start({ purpose: 'payment' });
    await start({ subject: 'u1' });
    expect(managed.received.map(({ previousId }) => previousId)).toEqual([
      undefined,
      'managed 1',
      'managed 1',
      undefined,
      undefined,
    ]);
  });

  it('names nothing of before where the first text was one of ours', async () => {
    const { managed, texts, verifications, start, clock } = await openManaged({
      routes: { '*': ['texts', 'managed'] },
    });
    const { id } = await start();
    clock.advance(MINUTE);
    texts.answer = async () => failed('unavailable', '503');
    expectStarted(await verifications.resend({ id }));
    expect(managed.received).toHaveLength(1);
    expect(managed.received[0]).not.toHaveProperty('previousId');
  });

  it('that the provider holds no more is wrong, and an attempt', async () => {
    const { managed, verifications, start } = await openManaged();
    const { id } = await start();
    const code = managed.lastCode;
    managed.live.clear();
    expect(await verifications.check({ id, code })).toMatchObject({ code: 'code-wrong', attemptsLeft: 4 });
  });

  it.each(['unavailable', 'throttled', 'account'] as const)(
    'whose check is not answered (%s) costs no attempt, and says so',
    async (reason) => {
      const { managed, verifications, start, log } = await openManaged();
      const { id } = await start();
      managed.verdict = async () => failed(reason, '503');
      const code = managed.lastCode;
      for (let time = 0; time < 7; time += 1) {
        const request = time % 2 === 0 ? { id, code } : { to: NUMBER, code };
        expect(await verifications.check(request)).toMatchObject({
          kind: 'refused',
          code: 'check-unanswered',
          retryAfterMs: 5000,
        });
      }
      expect(log).toContainEqual(
        expect.objectContaining({ message: 'check not answered', provider: 'managed', reason }),
      );
      expect(JSON.stringify(log)).not.toContain(code);
      managed.verdict = async (request) => managed.compare(request.providerMessageId, request.code);
      expect(await verifications.check({ id, code })).toMatchObject({ kind: 'approved' });
    },
  );

  it.each([
    ['uncertain', async () => failed('uncertain', '500')],
    ['thrown', () => Promise.reject(new TypeError('fetch failed'))],
    [
      'thrown at once',
      () => {
        throw new TypeError('undefined is not a function');
      },
    ],
  ] as const)('that may have been compared (%s) costs the attempt', async (_, verdict) => {
    const { managed, verifications, start } = await openManaged();
    const { id } = await start();
    managed.verdict = verdict;
    // It said `code-wrong` of the right code.
    expect(await verifications.check({ id, code: managed.lastCode })).toMatchObject({ code: 'check-unanswered' });
    expect(await verifications.get({ id })).toMatchObject({ verification: { attemptsLeft: 4, status: 'pending' } });
  });

  it('is not waited for longer than five seconds, whatever the provider makes of its signal', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { managed, verifications, start } = await openManaged();
    const { id } = await start();
    managed.verdict = () => new Promise(() => {});
    const answer = verifications.check({ id, code: managed.lastCode });
    await until(() => managed.asked.length === 1);
    await vi.advanceTimersByTimeAsync(5000);
    // It hung for as long as the provider did (invariant 15).
    expect(await answer).toMatchObject({ code: 'check-unanswered' });
  });

  it('cannot be checked when its provider is not configured any more', async () => {
    const { dataDir, managed, start, log } = await openManaged();
    const { id } = await start();
    const without = await openBench({}, { config: { dataDir } });
    expect(await without.countersign.verifications.check({ id, code: managed.lastCode })).toMatchObject({
      code: 'check-unanswered',
    });
    expect(without.log).toContainEqual(expect.objectContaining({ level: 'error', provider: 'managed' }));
    expect(log).toHaveLength(1);
  });

  it('is not revealed in development mode: ours is worth nothing then, and theirs nobody knows', async () => {
    const app = { country: 'UZ', routes: { '*': ['managed', 'texts'] }, limits: noLimits };
    const { managed, texts, verifications } = await openManaged({}, { mode: 'development', apps: { default: app } });
    const request = { to: NUMBER, idempotencyKey: 'k' };
    for (let time = 0; time < 2; time += 1)
      expect(expectStarted(await verifications.start(request))).not.toHaveProperty('code');
    managed.answer = async () => failed('unavailable', '503');
    const ours = expectStarted(await verifications.start({ to: '+998901234568' }));
    expect(ours.code).toBe(texts.lastCode);
  });
});

describe('checks of a managed code', () => {
  it('approve one of two hundred right ones at once, on two nodes (invariant 1)', async () => {
    const { managed, verifications, start, again } = await openManaged({ maxAttempts: 10 });
    const other = await again();
    const { id } = await start();
    const code = managed.lastCode;
    // The worst of providers: it says yes each time.
    managed.verdict = async () => ({ kind: 'approved' });
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        (index % 2 === 0 ? verifications : other.verifications).check(
          index % 3 === 0 ? { id, code } : { to: NUMBER, code },
        ),
      ),
    );
    expect(answers.filter(({ kind }) => kind === 'approved')).toHaveLength(1);
    expect(managed.asked.length).toBeLessThanOrEqual(10);
  });

  it('ask maxAttempts times at most, of two hundred at once and after (invariant 2)', async () => {
    const { managed, verifications, start } = await openManaged();
    const { id } = await start();
    const code = managed.lastCode;
    const together = Promise.withResolvers<void>();
    managed.verdict = async () => {
      if (managed.asked.length === 5) together.resolve();
      await together.promise;
      return { kind: 'wrong' };
    };
    const answers = await Promise.all(
      Array.from({ length: 200 }, () => verifications.check({ id, code: wrongCode(code) })),
    );
    const codes = answers.map((answer) => (answer.kind === 'refused' ? answer.code : answer.kind));
    expect(codes.filter((each) => each === 'code-wrong')).toHaveLength(5);
    expect(codes.filter((each) => each === 'attempts-exhausted')).toHaveLength(195);
    expect(await verifications.check({ id, code })).toMatchObject({ code: 'attempts-exhausted' });
    expect(managed.asked).toHaveLength(5);
  });

  it('count against the guess budget of the number, which an approval clears (invariant 3)', async () => {
    const { managed, verifications, start } = await openManaged({
      guesses: { max: 7 },
      resend: 'replace',
      maxAttempts: 5,
    });
    for (let guess = 0; guess < 7; guess += 1) {
      if (guess % 3 === 0) await start();
      expect(await verifications.check({ to: NUMBER, code: '000000' })).toMatchObject({ code: 'code-wrong' });
    }
    expect(await verifications.check({ to: NUMBER, code: managed.lastCode })).toMatchObject({
      code: 'number-locked',
      retryAfterMs: DAY,
    });
    expect(managed.asked).toHaveLength(7);
  });

  it('end at the very millisecond of expiresAt, and who asked in time is approved (invariant 5)', async () => {
    const { managed, verifications, start, clock } = await openManaged();
    const { id, expiresAt } = await start();
    const code = managed.lastCode;
    clock.now = expiresAt;
    expect(await verifications.check({ id, code })).toMatchObject({ code: 'verification-expired' });
    expect(await verifications.check({ to: NUMBER, code })).toMatchObject({ code: 'code-wrong' });
    expect(managed.asked).toEqual([]);
    clock.now = expiresAt - 1;
    managed.verdict = async () => {
      clock.now = expiresAt + 2000;
      return { kind: 'approved' };
    };
    expect(await verifications.check({ id, code })).toMatchObject({
      kind: 'approved',
      verification: { status: 'approved' },
    });
  });

  it('ask nobody for another app, purpose, subject or number (invariant 6)', async () => {
    const limits = noLimits;
    const { managed, verifications, start } = await openManaged(
      {},
      { apps: { default: { limits }, bank: { limits } } },
    );
    const who = { purpose: 'payment', subject: 'u1' };
    const { id } = await start(who);
    const code = managed.lastCode;
    for (const request of [
      { id, app: 'bank' },
      { id, purpose: 'login' },
      { id, subject: 'u2' },
    ])
      expect(await verifications.check({ ...request, code })).toMatchObject({ code: 'verification-unknown' });
    for (const request of [
      { to: NUMBER },
      { to: NUMBER, app: 'bank', ...who },
      { to: NUMBER, ...who, subject: 'u2' },
      { to: NUMBER, ...who, purpose: 'login' },
      { to: '+998901234568', ...who },
    ])
      expect(await verifications.check({ ...request, code })).toMatchObject({ code: 'code-wrong' });
    expect(managed.asked).toEqual([]);
    expect(await verifications.check({ to: NUMBER, ...who, code })).toMatchObject({ kind: 'approved' });
  });

  it('that ended while the provider was asked stay ended: no approval after a cancellation', async () => {
    const { managed, verifications, start } = await openManaged();
    const { id } = await start();
    managed.verdict = async () => {
      await verifications.cancel({ id });
      return { kind: 'approved' };
    };
    expect(await verifications.check({ id, code: managed.lastCode })).toMatchObject({
      code: 'verification-settled',
      status: 'canceled',
    });
  });

  it('never take a code of ours that nobody was sent', async () => {
    // The same bytes make the same code: one service gives away what the other one never sent.
    const parts = { randomBytes: (length: number) => Buffer.alloc(length, 7) };
    const telling = await openBench({}, { parts });
    expectStarted(await telling.countersign.verifications.start({ to: NUMBER }));
    const managed = new FakeManaged('managed');
    const { verifications } = (await openBench({}, { parts, providers: [managed] })).countersign;
    expectStarted(await verifications.start({ to: NUMBER }));
    expect(await verifications.check({ to: NUMBER, code: telling.fake.lastCode })).toMatchObject({
      code: 'code-wrong',
    });
    expect(managed.asked).toHaveLength(1);
  });
});

describe('a managed provider that is down', () => {
  it('is followed by one that carries our code, and that code is good', async () => {
    const { managed, texts, verifications, start } = await openManaged();
    managed.answer = async () => failed('unavailable', '503');
    const { id } = await start();
    expect(await verifications.check({ id, code: wrongCode(texts.lastCode) })).toMatchObject({ attemptsLeft: 4 });
    expect(await verifications.check({ id, code: texts.lastCode })).toMatchObject({ kind: 'approved' });
    expect(managed.asked).toEqual([]);
  });

  it('after its code had been sent leaves two codes that are good', async () => {
    for (const which of ['theirs', 'ours']) {
      const { managed, texts, verifications, start, clock } = await openManaged();
      const { id } = await start();
      const theirs = managed.lastCode;
      managed.answer = async () => failed('unavailable', '503');
      clock.advance(MINUTE);
      expectStarted(await verifications.resend({ id }));
      const code = which === 'theirs' ? theirs : texts.lastCode;
      expect(await verifications.check({ id, code })).toMatchObject({ kind: 'approved', verification: { id } });
      expect(managed.asked).toHaveLength(which === 'theirs' ? 1 : 0);
    }
  });

  it('before ours was followed by theirs leaves two codes that are good', async () => {
    for (const which of ['theirs', 'ours']) {
      const { managed, texts, verifications, start, clock } = await openManaged({
        routes: { '*': ['texts', 'managed'] },
      });
      const { id } = await start();
      texts.answer = async () => failed('unavailable', '503');
      clock.advance(MINUTE);
      expectStarted(await verifications.resend({ id }));
      const code = which === 'theirs' ? managed.lastCode : (texts.codes[0] ?? '');
      expect(await verifications.check({ to: NUMBER, code })).toMatchObject({ kind: 'approved', verification: { id } });
    }
  });

  it.each(['uncertain', 'undelivered'] as const)(
    'takes over from one whose text of ours was %s, and may arrive all the same: both codes are good',
    async (what) => {
      for (const which of ['theirs', 'ours']) {
        const { managed, texts, verifications, start, countersign } = await openManaged({
          routes: { '*': ['texts', 'managed'] },
        });
        if (what === 'uncertain') texts.answer = async () => failed('uncertain', '500');
        else texts.answer = async () => accepted('texts 1');
        await start();
        if (what === 'undelivered') {
          await report(countersign, texts, { providerMessageId: 'texts 1', state: 'undelivered' });
          await until(() => managed.received.length === 1);
          await until(async () => {
            const listed = await countersign.messages.list();
            return listed.kind === 'found' && listed.messages[0]?.dispatches.length === 2;
          });
        }
        const code = which === 'theirs' ? managed.lastCode : texts.lastCode;
        // Ours was forgotten with the first hand-over to the other one.
        expect(await verifications.check({ to: NUMBER, code })).toMatchObject({ kind: 'approved' });
      }
    },
  );
});
