import { describe, expect, it } from 'vitest';
import { isId } from '../../src/domain/id.ts';
import type { NamedLimit } from '../../src/service/request.ts';
import { openStoreOf } from './bare-store.ts';
import {
  expectStarted,
  FakeManaged,
  FakeProvider,
  HOUR,
  MINUTE,
  NUMBER,
  noLimits,
  openBench,
  routeOf,
  until,
  wrongCode,
} from './service-bench.ts';

describe('a code of the caller’s own', () => {
  it.each(['4711', '0000', '0123456789'])(
    '%s is sent, checked by id and by number, and approved once',
    async (code) => {
      const { countersign, fake } = await openBench({ limits: noLimits });
      const { verification, code: revealed } = expectStarted(
        await countersign.verifications.start({ to: NUMBER, code }),
      );
      expect(revealed).toBeUndefined();
      expect(verification.codeLength).toBe(code.length);
      expect(fake.lastCode).toBe(code);
      const byNumber = { to: NUMBER, codeLength: 'any' } as const;
      expect(await countersign.verifications.check({ ...byNumber, code: wrongCode(code) })).toMatchObject({
        code: 'code-wrong',
      });
      expect(await countersign.verifications.check({ id: verification.id, code: wrongCode(code) })).toMatchObject({
        attemptsLeft: 3,
      });
      expect(await countersign.verifications.check({ ...byNumber, code })).toMatchObject({ kind: 'approved' });
      expect(await countersign.verifications.check({ id: verification.id, code })).toMatchObject({
        code: 'verification-settled',
      });
    },
  );

  it.each(['', '123', '12345678901', '12a4', '12 34', '١٢٣٤', '-1234'])(
    'is refused as %j, and nothing is sent',
    async (code) => {
      const { countersign, fake } = await openBench();
      expect(await countersign.verifications.start({ to: NUMBER, code })).toMatchObject({
        code: 'request-invalid',
        field: 'code',
      });
      expect(fake.received).toEqual([]);
    },
  );

  it('is said again by a resend, also where the app replaces codes', async () => {
    for (const resend of ['repeat', 'replace'] as const) {
      const { countersign, clock, fake } = await openBench({ resend });
      const { verification } = expectStarted(await countersign.verifications.start({ to: NUMBER, code: '4711' }));
      clock.advance(MINUTE);
      expectStarted(await countersign.verifications.resend({ id: verification.id }));
      expect(fake.codes).toEqual(['4711', '4711']);
      expect(await countersign.verifications.check({ id: verification.id, code: '4711' })).toMatchObject({
        kind: 'approved',
      });
    }
  });

  it('takes the place of the one before in the same verification; a start without one says it again', async () => {
    const { countersign, fake } = await openBench();
    const first = expectStarted(await countersign.verifications.start({ to: NUMBER, code: '111111' })).verification;
    const second = expectStarted(await countersign.verifications.start({ to: NUMBER, code: '2222' })).verification;
    const third = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    expect([second.id, third.id]).toEqual([first.id, first.id]);
    expect(third).toMatchObject({ sends: 3, codeLength: 4 });
    expect(fake.codes).toEqual(['111111', '2222', '2222']);
    expect(await countersign.verifications.check({ id: first.id, code: '111111' })).toMatchObject({
      code: 'code-malformed',
    });
    expect(await countersign.verifications.check({ id: first.id, code: '2222' })).toMatchObject({ kind: 'approved' });
  });

  it('is one verification for many starts at once, and what was sent last is right', async () => {
    const { countersign } = await openBench({ limits: noLimits, maxSends: 10 });
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) => countersign.verifications.start({ to: NUMBER, code: `10${index}0` })),
    );
    const ids = new Set(answers.map((answer) => expectStarted(answer).verification.id));
    expect(ids.size).toBe(1);
  });

  it('goes to no provider that makes codes itself', async () => {
    const managed = new FakeManaged('verify');
    const fake = new FakeProvider('fake');
    const both = await openBench({ routes: { '*': routeOf(managed, fake) } }, { providers: [managed, fake] });
    expect(expectStarted(await both.countersign.verifications.start({ to: NUMBER, code: '4711' })).provider).toBe(
      'fake',
    );
    // Nor does a start that only repeats it.
    expect(expectStarted(await both.countersign.verifications.start({ to: NUMBER })).provider).toBe('fake');
    expect(managed.received).toEqual([]);
    const alone = await openBench({ routes: { '*': routeOf(managed) } }, { providers: [managed] });
    expect(await alone.countersign.verifications.start({ to: NUMBER, code: '4711' })).toMatchObject({
      code: 'no-provider',
    });
  });

  it('is taken up by another process after a crash, sealed until then and nowhere in the clear (invariants 4, 8)', async () => {
    const { again, clock, countersign, dataDir, fake, housekeep, log } = await openBench();
    let hang: (() => void) | undefined;
    const { answer } = fake;
    fake.answer = (message) =>
      new Promise((resolve) => {
        hang = () => resolve(answer(message, AbortSignal.timeout(1000)));
      });
    const dead = countersign.verifications.start({
      to: NUMBER,
      code: '73195',
      wording: { brand: 'Bank', text: 'TAN {code}, {brand}' },
    });
    await until(() => fake.received.length === 1);
    fake.answer = answer;
    clock.advance(MINUTE);
    await housekeep();
    expect(fake.texts).toEqual(['TAN 73195, Bank', 'TAN 73195, Bank']);
    expect(fake.received.map(({ brand }) => brand)).toEqual(['Bank', 'Bank']);
    const store = openStoreOf(dataDir);
    const [message] = await store.listMessages('default', { limit: 1 });
    const kept = await store.getVerification('default', message?.verificationId ?? '');
    expect(kept?.sealedCode).toBeDefined();
    expect(JSON.stringify([kept, message, log])).not.toContain('73195');
    await store.close();
    const answered = await (await again()).verifications.check({ id: kept?.id ?? '', code: '73195' });
    expect(answered).toMatchObject({ kind: 'approved' });
    hang?.();
    await dead;
  });

  it('is in the answer to a repeated request in development mode, as long as it is worth something', async () => {
    const { countersign } = await openBench({}, { config: { mode: 'development' } });
    const request = { to: NUMBER, code: '4711', idempotencyKey: 'k' };
    const first = expectStarted(await countersign.verifications.start(request));
    expect(first.code).toBe('4711');
    expect(await countersign.verifications.start(request)).toEqual(first);
    await countersign.verifications.check({ id: first.verification.id, code: '4711' });
    expect(expectStarted(await countersign.verifications.start(request)).code).toBeUndefined();
  });
});

describe('a code length of one verification', () => {
  it('is that of its code; a code of another length costs no attempt by id', async () => {
    const { countersign, fake } = await openBench();
    const { verification } = expectStarted(await countersign.verifications.start({ to: NUMBER, codeLength: 9 }));
    expect(fake.lastCode).toMatch(/^\d{9}$/);
    for (const code of ['123456', '1234567890']) {
      expect(await countersign.verifications.check({ id: verification.id, code })).toMatchObject({
        code: 'code-malformed',
        detail: expect.stringContaining('9 digits'),
      });
    }
    expect(
      await countersign.verifications.check({ id: verification.id, code: wrongCode(fake.lastCode) }),
    ).toMatchObject({
      attemptsLeft: 4,
    });
    expect(await countersign.verifications.check({ to: NUMBER, code: fake.lastCode, codeLength: 9 })).toMatchObject({
      kind: 'approved',
    });
  });

  it('is 4 to 10', async () => {
    const { countersign } = await openBench();
    for (const codeLength of [3, 11, 5.5, Number.NaN, -6])
      expect(await countersign.verifications.start({ to: NUMBER, codeLength })).toMatchObject({ field: 'code_length' });
  });

  it('by number, is answered the same whether there is something to compare with or not (invariant 12)', async () => {
    const { countersign } = await openBench();
    const other = '+998901234568';
    expectStarted(await countersign.verifications.start({ to: NUMBER, codeLength: 4 }));
    for (const code of ['1234', '123456', '1234567890']) {
      for (const codeLength of [undefined, 4, 6, 'any'] as const) {
        const lengths = codeLength === undefined ? {} : { codeLength };
        expect(await countersign.verifications.check({ to: NUMBER, code, ...lengths })).toEqual(
          await countersign.verifications.check({ to: other, code, ...lengths }),
        );
      }
    }
  });
});

describe('a wording of one verification', () => {
  it('is said by resends and other starts’ failover too, with what is the app’s where it says nothing', async () => {
    const { countersign, clock, fake } = await openBench();
    const wording = { text: '{brand}: «{code}»' };
    const { verification } = expectStarted(await countersign.verifications.start({ to: NUMBER, wording }));
    clock.advance(MINUTE);
    await countersign.verifications.resend({ id: verification.id });
    const text = `Royal Taxi: "${fake.lastCode}"`;
    expect(fake.texts).toEqual([text, text]);
    clock.advance(MINUTE);
    // The second start says how it wants to be said.
    await countersign.verifications.start({ to: NUMBER, wording: { brand: 'Bank' } });
    expect(fake.texts.at(-1)).toMatch(/^Bank: tasdiqlash kodi \d{6}\./);
    expect(fake.received.at(-1)?.brand).toBe('Bank');
    await countersign.verifications.start({ to: NUMBER });
    expect(fake.received.at(-1)?.brand).toBe('Royal Taxi');
  });

  it('is measured as it is sent', async () => {
    const { clock, countersign, lastMessage } = await openBench();
    await countersign.verifications.start({ to: NUMBER, wording: { text: `Ж{code}${'.'.repeat(140)}` } });
    expect(await lastMessage()).toMatchObject({ encoding: 'UCS-2', segments: 3 });
    // The list is newest first, and of one millisecond nothing is newest.
    clock.advance(1);
    await countersign.verifications.start({ to: NUMBER, wording: { text: 'TAN {code}' } });
    expect(await lastMessage()).toMatchObject({ encoding: 'GSM-7', segments: 1 });
  });

  it.each([
    { text: 'no code' },
    { text: '' },
    { text: '{code} {name}' },
    { text: `{code}${'x'.repeat(1600)}` },
    { brand: '' },
    { brand: ' ' },
    { brand: 'x'.repeat(41) },
    { brand: 'a\nb' },
  ])('is refused as %j, and nothing is sent', async (wording) => {
    const { countersign, fake } = await openBench();
    expect(await countersign.verifications.start({ to: NUMBER, wording })).toMatchObject({
      code: 'text-invalid',
      field: 'wording',
    });
    expect(fake.received).toEqual([]);
  });
});

describe('limits of the caller’s own', () => {
  const perHour = (name: string, value: string, max: number): NamedLimit => ({
    name,
    value,
    rules: [{ max, windowMs: HOUR }],
  });

  it('are counted by name and value, refuse by name, and are kept as digests', async () => {
    const { countersign, dataDir } = await openBench({ limits: noLimits });
    const start = (...limits: NamedLimit[]) => countersign.verifications.start({ to: NUMBER, limits });
    expectStarted(await start(perHour('session', 'a b', 1)));
    expect(await start(perHour('session', 'a b', 1))).toMatchObject({
      code: 'rate-limited',
      limit: 'session',
      retryAfterMs: HOUR,
    });
    // No two pairs of a name and a value are one.
    expectStarted(await start(perHour('session a', 'b', 1)));
    expectStarted(await start(perHour('session', 'a', 1), perHour('address', 'a', 1)));
    expect(await start(perHour('other', 'x', 1), perHour('address', 'a', 1))).toMatchObject({ limit: 'address' });
    expectStarted(await start(perHour('other', 'x', 1)));
    const files = await import('node:fs').then(({ readFileSync }) =>
      ['countersign.db', 'countersign.db-wal'].map((name) => readFileSync(`${dataDir}/${name}`)),
    );
    expect(Buffer.concat(files).includes('a b')).toBe(false);
  });

  it('that name one value twice hold both rules', async () => {
    const { clock, countersign } = await openBench({ limits: noLimits });
    const twice = [
      { name: 'n', value: 'v', rules: [{ max: 2, windowMs: HOUR }] },
      { name: 'n', value: 'v', rules: [{ max: 1, windowMs: MINUTE }] },
    ];
    const start = () => countersign.verifications.start({ to: NUMBER, limits: twice });
    expectStarted(await start());
    expect(await start()).toMatchObject({ limit: 'n', retryAfterMs: MINUTE });
    clock.advance(MINUTE);
    expectStarted(await start());
    clock.advance(MINUTE);
    expect(await start()).toMatchObject({ limit: 'n', retryAfterMs: HOUR - 2 * MINUTE });
  });

  it('stand beside the app’s, of which the one per prefix can be left out for a known number', async () => {
    const { countersign } = await openBench({ limits: { ...noLimits, perPrefix: [{ max: 1, windowSeconds: 3600 }] } });
    expectStarted(await countersign.verifications.start({ to: NUMBER }));
    expect(await countersign.verifications.start({ to: NUMBER })).toMatchObject({ scope: 'prefix' });
    expectStarted(await countersign.verifications.start({ to: NUMBER, skipPrefixLimit: true }));
  });
});

describe('a verification that is kept until it expires', () => {
  const request = { to: NUMBER, keepUntilExpiry: true } as const;

  it('is sent five times, and not a sixth time before it expires', async () => {
    const { clock, countersign, fake } = await openBench({ limits: noLimits });
    const { verification } = expectStarted(await countersign.verifications.start(request));
    for (let sends = 2; sends <= 5; sends += 1) {
      clock.advance(2 * MINUTE - 1);
      expect(expectStarted(await countersign.verifications.start(request)).verification).toMatchObject({
        id: verification.id,
        sends,
        expiresAt: verification.expiresAt,
      });
    }
    expect(new Set(fake.codes).size).toBe(1);
    expect(await countersign.verifications.start(request)).toMatchObject({
      code: 'sends-exhausted',
      retryAfterMs: verification.expiresAt - clock.now,
    });
    clock.now = verification.expiresAt;
    expect(expectStarted(await countersign.verifications.start(request)).verification.id).not.toBe(verification.id);
  });

  it('is not replaced after five wrong codes', async () => {
    const { clock, countersign, fake } = await openBench({ limits: noLimits });
    const { verification } = expectStarted(await countersign.verifications.start(request));
    for (let guess = 0; guess < 5; guess += 1)
      await countersign.verifications.check({ id: verification.id, code: wrongCode(fake.lastCode) });
    clock.advance(MINUTE);
    expect(await countersign.verifications.start(request)).toMatchObject({
      code: 'attempts-exhausted',
      retryAfterMs: 9 * MINUTE,
    });
    expect(await countersign.verifications.find({ to: NUMBER })).toMatchObject({
      verification: { id: verification.id, status: 'exhausted', maxAttempts: 5, attemptsLeft: 0 },
    });
  });
});

describe('the caller’s word for a code', () => {
  it('approves once, and never what has ended', async () => {
    const { clock, countersign } = await openBench({ limits: noLimits });
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    const answers = await Promise.all(Array.from({ length: 20 }, () => countersign.verifications.approve({ id })));
    expect(answers.filter(({ kind }) => kind === 'found')).toHaveLength(1);
    expect(answers.find(({ kind }) => kind === 'found')).toMatchObject({ verification: { id, status: 'approved' } });
    expect(answers.find(({ kind }) => kind === 'refused')).toMatchObject({ code: 'verification-settled' });
    expect(await countersign.verifications.approve({ id: 'ver_nonsense' })).toMatchObject({
      code: 'verification-unknown',
    });
    const late = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    clock.now = late.expiresAt;
    expect(await countersign.verifications.approve({ id: late.id })).toMatchObject({ code: 'verification-expired' });
  });

  it('is another app’s for none of ours (invariant 13)', async () => {
    const { countersign } = await openBench({}, { config: { apps: { default: { country: 'UZ' }, bank: {} } } });
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    expect(await countersign.verifications.approve({ app: 'bank', id })).toMatchObject({
      code: 'verification-unknown',
    });
    expect(await countersign.verifications.find({ app: 'bank', to: NUMBER })).toMatchObject({
      code: 'verification-unknown',
    });
    expect(await countersign.verifications.find({ to: '90 123-45-67' })).toMatchObject({ verification: { id } });
  });
});

describe('a check by the subject alone', () => {
  it('needs no number, and is the same answer for a wrong code and for no verification', async () => {
    const { countersign, fake } = await openBench();
    const { verification } = expectStarted(await countersign.verifications.start({ to: NUMBER, subject: 'u1' }));
    const code = fake.lastCode;
    const check = (given: object) => countersign.verifications.check({ subject: 'u1', code, ...given });
    const wrong = await check({ code: wrongCode(code) });
    expect(wrong).toMatchObject({ kind: 'refused', code: 'code-wrong' });
    expect(await check({ subject: 'u2' })).toEqual(wrong);
    expect(await check({ purpose: 'payment' })).toEqual(wrong);
    expect(await check({ code: '12345' })).toMatchObject({ code: 'code-malformed' });
    expect(await check({})).toMatchObject({ kind: 'approved', verification: { id: verification.id, to: NUMBER } });
    expect(await check({})).toEqual(wrong);
  });

  it('says whom it approved: an earlier number’s code is worth nothing once the subject has another', async () => {
    const { countersign, fake } = await openBench();
    await countersign.verifications.start({ to: NUMBER, subject: 'u1' });
    const first = fake.lastCode;
    await countersign.verifications.start({ to: '+998901234568', subject: 'u1' });
    expect(await countersign.verifications.check({ subject: 'u1', code: first })).toMatchObject({ code: 'code-wrong' });
    expect(await countersign.verifications.check({ to: NUMBER, subject: 'u1', code: fake.lastCode })).toMatchObject({
      code: 'code-wrong',
    });
    expect(await countersign.verifications.check({ subject: 'u1', code: fake.lastCode })).toMatchObject({
      verification: { to: '+998901234568' },
      provesNumber: true,
    });
  });
});

describe('what is said of a verification and its messages', () => {
  it('names the messages and the provider that took the last one', async () => {
    const fakes = [new FakeProvider('one'), new FakeProvider('two')] as const;
    const { clock, countersign } = await openBench({ routes: { '*': routeOf(...fakes) } }, { providers: fakes });
    fakes[0].answer = async () => ({ kind: 'failed', reason: 'account', code: '401' });
    const first = expectStarted(await countersign.verifications.start({ to: NUMBER }));
    expect(first.provider).toBe('two');
    clock.advance(MINUTE);
    const { verification } = expectStarted(await countersign.verifications.resend({ id: first.verification.id }));
    expect(verification.messageIds).toHaveLength(2);
    expect(verification.messageIds.every((id) => isId('msg', id))).toBe(true);
    const listed = await countersign.messages.list({ verification: verification.id });
    expect(listed.kind === 'found' && listed.messages.map(({ id }) => id)).toEqual(
      verification.messageIds.toReversed(),
    );
  });

  it('lists messages between moments, and of what they carry', async () => {
    const { clock, countersign } = await openBench({ limits: noLimits });
    await countersign.verifications.start({ to: NUMBER });
    clock.advance(MINUTE);
    const at = clock.now;
    await countersign.messages.send({ to: NUMBER, text: 'Your driver is here.' });
    clock.advance(MINUTE);
    await countersign.verifications.start({ to: '+998901234568' });
    const list = async (query: Parameters<typeof countersign.messages.list>[0]) => {
      const answer = await countersign.messages.list(query);
      return answer.kind === 'found' ? answer.messages.map(({ createdAt }) => (createdAt - at) / MINUTE) : answer;
    };
    expect(await list({})).toEqual([1, 0, -1]);
    expect(await list({ carries: 'code' })).toEqual([1, -1]);
    expect(await list({ carries: 'text' })).toEqual([0]);
    expect(await list({ after: at })).toEqual([1, 0]);
    expect(await list({ before: at })).toEqual([-1]);
    expect(await list({ after: at, before: at + 1 })).toEqual([0]);
    expect(await list({ after: at + 1, to: NUMBER })).toEqual([]);
  });
});
