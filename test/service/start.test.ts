import { describe, expect, it } from 'vitest';
import { expectStarted, FakeProvider, HOUR, MINUTE, NUMBER, noLimits, openBench, wrongCode } from './service-bench.ts';

describe('a start', () => {
  it('sends one text with a code, and says what was started but not the code', async () => {
    const { countersign, clock, fake } = await openBench();
    const answer = await countersign.verifications.start({ to: NUMBER, metadata: { ride: '7' } });
    expect(fake.texts).toEqual([`Royal Taxi: tasdiqlash kodi ${fake.lastCode}. 10 daqiqa amal qiladi.`]);
    expect(fake.lastCode).toMatch(/^\d{6}$/);
    expect(fake.received[0]).toMatchObject({ to: NUMBER, channel: 'sms', locale: 'uz', validitySeconds: 600 });
    expect(answer).toEqual({
      kind: 'started',
      verification: {
        id: expect.stringMatching(/^ver_\w{26}$/),
        status: 'pending',
        to: NUMBER,
        country: 'UZ',
        channel: 'sms',
        locale: 'uz',
        purpose: 'login',
        subject: undefined,
        createdAt: clock.now,
        expiresAt: clock.now + 10 * MINUTE,
        resendAt: clock.now + 30_000,
        attemptsLeft: 5,
        maxAttempts: 5,
        sends: 1,
        codeLength: 6,
        messageIds: [fake.received[0]?.messageId],
        metadata: { ride: '7' },
      },
      provider: 'fake',
    });
  });

  it('takes the language and the texts that it is told', async () => {
    const { countersign, fake } = await openBench({
      locale: 'ru',
      texts: { 'pt-BR': '{brand} {code} {minutes}', ru: 'Код {code}' },
      codeLength: 8,
      codeTtlSeconds: 90,
    });
    await countersign.verifications.start({ to: NUMBER });
    await countersign.verifications.start({ to: '+998901234568', locale: 'pt-br' });
    await countersign.verifications.start({ to: '+998901234569', locale: 'ar' });
    expect(fake.texts[0]).toMatch(/^Код \d{8}$/);
    expect(fake.texts[1]).toMatch(/^Royal Taxi \d{8} 2$/);
    expect(fake.texts[2]).toMatch(/^رمز/);
  });

  it.each([
    ['a landline', { to: '+998712345678' }, 'line-type-refused'],
    ['a premium number', { to: '+449098790879' }, 'line-type-refused'],
    ['a premium number, also by voice', { to: '+449098790879', channel: 'voice' }, 'line-type-refused'],
    ['a number of a country that is closed', { to: '+4915123456789' }, 'country-not-allowed'],
    ['what is no number', { to: '+998' }, 'number-invalid'],
    ['a channel that no provider knows', { to: NUMBER, channel: 'telegram' }, 'no-provider'],
    ['an address that is none', { to: NUMBER, clientIp: '192.0.2' }, 'request-invalid'],
    ['a token that proves nothing', { to: NUMBER, approvalToken: 'x.y.z' }, 'token-invalid'],
  ] as const)('refuses %s, sends nothing and counts nothing', async (_, request, code) => {
    const { countersign, fake } = await openBench({
      allowedCountries: ['UZ', 'GB'],
      limits: { ...noLimits, perApp: [{ max: 1, windowSeconds: 3600 }], perNumber: [{ max: 1, windowSeconds: 3600 }] },
    });
    for (let time = 0; time < 3; time += 1) {
      expect(await countersign.verifications.start(request)).toMatchObject({ kind: 'refused', code });
    }
    expect(fake.received).toEqual([]);
    expectStarted(await countersign.verifications.start({ to: NUMBER }));
  });

  it('calls a landline where voice is asked for', async () => {
    const { countersign, fake } = await openBench();
    expectStarted(await countersign.verifications.start({ to: '+998712345678', channel: 'voice' }));
    expect(fake.received[0]).toMatchObject({ channel: 'voice' });
  });

  it('of an app that is not configured is a mistake of the program', async () => {
    const { countersign } = await openBench();
    await expect(countersign.verifications.start({ app: 'taxi', to: NUMBER })).rejects.toThrow(
      /no app 'taxi'.*default/,
    );
  });
});

describe('limits (invariant 7)', () => {
  it('let exactly k of fifty starts at once through, and as many texts', async () => {
    const { countersign, fake } = await openBench({
      limits: { perNumber: [{ max: 7, windowSeconds: 3600 }] },
      maxSends: 10,
    });
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => countersign.verifications.start({ to: NUMBER })),
    );
    expect(answers.filter(({ kind }) => kind === 'started')).toHaveLength(7);
    expect(fake.received).toHaveLength(7);
    expect(answers.find(({ kind }) => kind === 'refused')).toEqual({
      kind: 'refused',
      code: 'rate-limited',
      detail: expect.stringContaining('this number'),
      scope: 'number',
      retryAfterMs: HOUR,
    });
  });

  it('are one bucket for every spelling of a number', async () => {
    const { countersign, fake } = await openBench({ limits: { perNumber: [{ max: 2, windowSeconds: 3600 }] } });
    for (const to of ['+998901234567', '90 123-45-67', '00998 (90) 1234567', '٩٠١٢٣٤٥٦٧', 'tel:+998-90-123-45-67']) {
      await countersign.verifications.start({ to });
    }
    expect(fake.received).toHaveLength(2);
  });

  it('are one bucket for a /64, and none without an address', async () => {
    const { countersign, fake } = await openBench({
      limits: { ...noLimits, perAddress: [{ max: 1, windowSeconds: 3600 }] },
    });
    const from = (clientIp: string | undefined, index: number) =>
      countersign.verifications.start({ to: `+99890123456${index}`, ...(clientIp === undefined ? {} : { clientIp }) });
    expect(await from('2001:db8::1', 0)).toMatchObject({ kind: 'started' });
    expect(await from('2001:db8::2', 1)).toMatchObject({ code: 'rate-limited' });
    expect(await from(undefined, 2)).toMatchObject({ kind: 'started' });
    expect(await from(undefined, 3)).toMatchObject({ kind: 'started' });
    expect(fake.received).toHaveLength(3);
  });

  it('stop whoever goes through a block of numbers, each once', async () => {
    const { countersign, fake } = await openBench({
      limits: { ...noLimits, perPrefix: [{ max: 5, windowSeconds: 3600 }] },
    });
    for (let index = 0; index < 9; index += 1)
      await countersign.verifications.start({ to: `+9989012345${60 + index}` });
    expect(fake.received).toHaveLength(5);
  });

  it('end exactly when they say', async () => {
    const { countersign, clock } = await openBench({ limits: { perNumber: [{ max: 1, windowSeconds: 60 }] } });
    await countersign.verifications.start({ to: NUMBER });
    clock.advance(MINUTE - 1);
    expect(await countersign.verifications.start({ to: NUMBER })).toMatchObject({ retryAfterMs: 1 });
    clock.advance(1);
    expectStarted(await countersign.verifications.start({ to: NUMBER }));
  });
});

describe('a second start', () => {
  it('repeats the code where the app says so: both texts work, in whichever order they arrive', async () => {
    for (const which of [0, 1]) {
      const { countersign, clock, fake } = await openBench({ resend: 'repeat' });
      const first = expectStarted(await countersign.verifications.start({ to: NUMBER }));
      clock.advance(MINUTE);
      const second = expectStarted(await countersign.verifications.start({ to: NUMBER }));
      expect(second.verification).toMatchObject({ id: first.verification.id, sends: 2 });
      expect(fake.texts[1]).toContain(' 9 daqiqa');
      const code = fake.codes[which] ?? '';
      expect(await countersign.verifications.check({ to: NUMBER, code })).toMatchObject({ kind: 'approved' });
    }
  });

  it('replaces the code where the app says so: the older one is worth nothing', async () => {
    const { countersign, fake } = await openBench({ resend: 'replace' });
    const first = expectStarted(await countersign.verifications.start({ to: NUMBER }));
    const second = expectStarted(await countersign.verifications.start({ to: NUMBER }));
    const [older = '', newer = ''] = fake.codes;
    expect(older).not.toBe(newer);
    expect(await countersign.verifications.check({ id: first.verification.id, code: older })).toMatchObject({
      code: 'verification-settled',
      status: 'canceled',
    });
    expect(await countersign.verifications.check({ to: NUMBER, code: older })).toMatchObject({ code: 'code-wrong' });
    expect(await countersign.verifications.check({ id: second.verification.id, code: newer })).toMatchObject({
      kind: 'approved',
    });
  });
});

describe('a resend', () => {
  it('repeats the code by default: the first text works after the second, and the second as well', async () => {
    const { countersign, clock, fake } = await openBench();
    const { id, resendAt } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    expect(await countersign.verifications.resend({ id })).toMatchObject({
      code: 'resend-too-early',
      retryAfterMs: 30_000,
    });
    clock.now = resendAt;
    const again = expectStarted(await countersign.verifications.resend({ id, channel: 'voice' }));
    expect(again.verification).toMatchObject({ id, sends: 2, channel: 'voice', resendAt: clock.now + 30_000 });
    expect(fake.received.map(({ channel }) => channel)).toEqual(['sms', 'voice']);
    expect(fake.codes[0]).toBe(fake.codes[1]);
    expect(await countersign.verifications.check({ id, code: fake.lastCode })).toMatchObject({ kind: 'approved' });
  });

  it('replaces the code where the app says so', async () => {
    const { countersign, clock, fake } = await openBench({ resend: 'replace' });
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    for (let send = 2; send <= 4; send += 1) {
      clock.advance(MINUTE);
      expectStarted(await countersign.verifications.resend({ id }));
    }
    expect(new Set(fake.codes).size).toBe(4);
    for (const older of fake.codes.slice(0, 3)) {
      expect(await countersign.verifications.check({ id, code: older })).toMatchObject({ code: 'code-wrong' });
    }
    expect(await countersign.verifications.check({ id, code: fake.lastCode })).toMatchObject({ kind: 'approved' });
  });

  it('that replaces is one for twenty at once, where nothing has to be waited for', async () => {
    const { countersign, fake } = await openBench({
      resend: 'replace',
      resendAfterSeconds: [0],
      maxSends: 4,
      limits: noLimits,
    });
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    const answers = await Promise.all(Array.from({ length: 20 }, () => countersign.verifications.resend({ id })));
    expect(answers.filter(({ kind }) => kind === 'started')).toHaveLength(3);
    expect(fake.received).toHaveLength(4);
    expect(new Set(fake.codes).size).toBe(4);
    // All were handed over at once, so the newest code is not the last that was recorded: one of the four it is.
    const approvals = [];
    for (const code of fake.codes) approvals.push(await countersign.verifications.check({ id, code }));
    expect(approvals.filter(({ kind }) => kind === 'approved')).toHaveLength(1);
  });

  it('stops after maxSends', async () => {
    const { countersign, clock, fake } = await openBench({ maxSends: 2 });
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    clock.advance(2 * MINUTE);
    await countersign.verifications.resend({ id });
    clock.advance(2 * MINUTE);
    expect(await countersign.verifications.resend({ id })).toMatchObject({
      code: 'sends-exhausted',
      retryAfterMs: 6 * MINUTE,
    });
    expect(fake.received).toHaveLength(2);
  });

  it('says what has ended, and knows nothing of what never was', async () => {
    const { countersign, clock, fake } = await openBench({ limits: noLimits });
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    await countersign.verifications.check({ id, code: fake.lastCode });
    expect(await countersign.verifications.resend({ id })).toMatchObject({
      code: 'verification-settled',
      status: 'approved',
    });
    const other = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    clock.now = other.expiresAt;
    expect(await countersign.verifications.resend({ id: other.id })).toMatchObject({ code: 'verification-expired' });
    expect(await countersign.verifications.resend({ id: 'ver_00000000000000000000000000' })).toMatchObject({
      code: 'verification-unknown',
    });
    expect(await countersign.verifications.resend({ id: "' OR 1=1" })).toMatchObject({ code: 'verification-unknown' });
  });

  it('by a channel that the line does not take is refused, as a start is', async () => {
    const { countersign, clock, fake } = await openBench();
    const request = { to: '+998712345678', channel: 'voice' } as const;
    const { id } = expectStarted(await countersign.verifications.start(request)).verification;
    clock.advance(MINUTE);
    // A landline that was called first was then sent a text.
    expect(await countersign.verifications.resend({ id, channel: 'sms' })).toMatchObject({ code: 'line-type-refused' });
    expect(fake.received).toHaveLength(1);
  });
});

describe('what is read back', () => {
  it('is the verification as it stands, expired without anybody having touched it', async () => {
    const { countersign, clock, fake } = await openBench();
    const { id, expiresAt } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    await countersign.verifications.check({ id, code: wrongCode(fake.lastCode) });
    const status = async () => {
      const answer = await countersign.verifications.get({ id });
      return answer.kind === 'found' ? [answer.verification.status, answer.verification.attemptsLeft] : answer.code;
    };
    expect(await status()).toEqual(['pending', 4]);
    clock.now = expiresAt - 1;
    expect(await status()).toEqual(['pending', 4]);
    clock.now = expiresAt;
    expect(await status()).toEqual(['expired', 4]);
    expect(await countersign.verifications.get({ id: 'nothing' })).toMatchObject({ code: 'verification-unknown' });
  });

  it('is canceled once', async () => {
    const { countersign, fake } = await openBench();
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    expect(await countersign.verifications.cancel({ id })).toMatchObject({ verification: { status: 'canceled' } });
    expect(await countersign.verifications.cancel({ id })).toMatchObject({ code: 'verification-settled' });
    expect(await countersign.verifications.check({ id, code: fake.lastCode })).toMatchObject({
      code: 'verification-settled',
    });
    expect(await countersign.verifications.cancel({ id: 'ver_x' })).toMatchObject({ code: 'verification-unknown' });
  });
});

describe('apps (invariant 13)', () => {
  it('have verifications, limits and guesses of their own', async () => {
    const fake = new FakeProvider('fake');
    const limits = { perNumber: [{ max: 1, windowSeconds: 3600 }] };
    const { countersign } = await openBench(
      {},
      { providers: [fake], config: { apps: { taxi: { limits }, bank: { limits } } } },
    );
    const ours = expectStarted(await countersign.verifications.start({ app: 'taxi', to: NUMBER })).verification;
    expectStarted(await countersign.verifications.start({ app: 'bank', to: NUMBER }));
    const [code = '', theirs = ''] = fake.codes;
    const { verifications } = countersign;
    expect(await verifications.get({ app: 'bank', id: ours.id })).toMatchObject({ code: 'verification-unknown' });
    expect(await verifications.cancel({ app: 'bank', id: ours.id })).toMatchObject({ code: 'verification-unknown' });
    expect(await verifications.resend({ app: 'bank', id: ours.id })).toMatchObject({ code: 'verification-unknown' });
    expect(await verifications.check({ app: 'bank', id: ours.id, code })).toMatchObject({
      code: 'verification-unknown',
    });
    expect(await verifications.check({ app: 'taxi', to: NUMBER, code: theirs })).toMatchObject({ code: 'code-wrong' });
    for (let guess = 0; guess < 21; guess += 1) {
      await verifications.check({ app: 'bank', to: NUMBER, code: wrongCode(theirs) });
    }
    expect(await verifications.check({ app: 'bank', to: NUMBER, code: theirs })).toMatchObject({
      code: 'number-locked',
    });
    expect(await verifications.check({ app: 'taxi', to: NUMBER, code })).toMatchObject({ kind: 'approved' });
  });
});
