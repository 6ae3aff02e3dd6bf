import { createLocalJWKSet, jwtVerify } from 'jose';
import { describe, expect, it } from 'vitest';
import { DAY, expectStarted, MINUTE, NUMBER, noLimits, openBench, wrongCode } from './service-bench.ts';

describe('a check', () => {
  it('approves the right code, in the digits and with the spaces that people type', async () => {
    for (const spell of [
      (code: string) => code,
      (code: string) => ` ${code.slice(0, 3)} ${code.slice(3)} `,
      (code: string) => [...code].map((digit) => String.fromCharCode(0x660 + Number(digit))).join(''),
    ]) {
      const { countersign, fake } = await openBench();
      const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
      expect(await countersign.verifications.check({ id, code: spell(fake.lastCode) })).toMatchObject({
        kind: 'approved',
        verification: { id, status: 'approved' },
      });
    }
  });

  it('approves exactly one of fifty right answers at once, by id or by number (invariant 1)', async () => {
    const { countersign, fake } = await openBench();
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    const code = fake.lastCode;
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        countersign.verifications.check(index % 2 === 0 ? { id, code } : { to: NUMBER, code }),
      ),
    );
    expect(answers.filter(({ kind }) => kind === 'approved')).toHaveLength(1);
  });

  it('compares five wrong codes of fifty at once, and then no more (invariant 2)', async () => {
    const { countersign, fake } = await openBench();
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    const code = wrongCode(fake.lastCode);
    const answers = await Promise.all(Array.from({ length: 50 }, () => countersign.verifications.check({ id, code })));
    const codes = answers.map((answer) => (answer.kind === 'refused' ? answer.code : answer.kind));
    expect(codes.filter((each) => each === 'code-wrong')).toHaveLength(5);
    expect(codes.filter((each) => each === 'attempts-exhausted')).toHaveLength(45);
    expect(await countersign.verifications.check({ id, code: fake.lastCode })).toMatchObject({
      code: 'attempts-exhausted',
    });
  });

  it('refuses the right code at the very millisecond of expiresAt, and takes it one before (invariant 5)', async () => {
    for (const by of ['id', 'number']) {
      const { countersign, clock, fake } = await openBench();
      const { id, expiresAt } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
      const check = () =>
        countersign.verifications.check(
          by === 'id' ? { id, code: fake.lastCode } : { to: NUMBER, code: fake.lastCode },
        );
      clock.now = expiresAt;
      expect(await check()).toMatchObject({ code: by === 'id' ? 'verification-expired' : 'code-wrong' });
      clock.now = expiresAt - 1;
      expect(await check()).toMatchObject({ kind: 'approved' });
    }
  });

  it('of what cannot be a code costs no attempt', async () => {
    const { countersign } = await openBench();
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    for (const code of ['', '12345', '1234567', 'abcdef', '12 34 5', '１２３４５'])
      expect(await countersign.verifications.check({ id, code })).toMatchObject({
        code: 'code-malformed',
        field: 'code',
      });
    expect(await countersign.verifications.get({ id })).toMatchObject({ verification: { attemptsLeft: 5 } });
  });

  it('is bound to purpose, subject and number (invariant 6)', async () => {
    const { countersign, fake } = await openBench();
    const start = { to: NUMBER, purpose: 'payment', subject: 'u1' };
    const { id } = expectStarted(await countersign.verifications.start(start)).verification;
    const code = fake.lastCode;
    for (const wrong of [
      { id, purpose: 'login' },
      { id, subject: 'u2' },
    ]) {
      expect(await countersign.verifications.check({ ...wrong, code })).toMatchObject({ code: 'verification-unknown' });
    }
    for (const wrong of [
      { to: NUMBER },
      { to: NUMBER, subject: 'u1' },
      { to: NUMBER, purpose: 'payment' },
      { to: '+998901234568', purpose: 'payment', subject: 'u1' },
    ]) {
      expect(await countersign.verifications.check({ ...wrong, code })).toMatchObject({ code: 'code-wrong' });
    }
    expect(await countersign.verifications.check({ ...start, code })).toMatchObject({ kind: 'approved' });
  });

  it('by number says the same of a wrong code, of an ended verification and of none (invariant 12)', async () => {
    const { countersign, clock, fake } = await openBench({ limits: noLimits });
    const numbers = [NUMBER, '+998901234561', '+998901234562', '+998901234563', '+998901234564'] as const;
    const [live, approved, canceled, expired, never] = numbers;
    expectStarted(await countersign.verifications.start({ to: expired }));
    const codeOfExpired = fake.lastCode;
    clock.advance(10 * MINUTE);
    expectStarted(await countersign.verifications.start({ to: approved }));
    const codeOfApproved = fake.lastCode;
    await countersign.verifications.check({ to: approved, code: codeOfApproved });
    const { id } = expectStarted(await countersign.verifications.start({ to: canceled })).verification;
    const codeOfCanceled = fake.lastCode;
    await countersign.verifications.cancel({ id });
    expectStarted(await countersign.verifications.start({ to: live }));

    const answers = [
      await countersign.verifications.check({ to: live, code: wrongCode(fake.lastCode) }),
      await countersign.verifications.check({ to: approved, code: codeOfApproved }),
      await countersign.verifications.check({ to: canceled, code: codeOfCanceled }),
      await countersign.verifications.check({ to: expired, code: codeOfExpired }),
      await countersign.verifications.check({ to: never, code: '123456' }),
    ];
    for (const answer of answers) {
      expect(answer).toEqual({ kind: 'refused', code: 'code-wrong', detail: expect.any(String), field: 'code' });
      expect(JSON.stringify(answer)).toBe(JSON.stringify(answers[0]));
    }
    for (const to of [live, never]) {
      for (let guess = 1; guess < 20; guess += 1) await countersign.verifications.check({ to, code: '000000' });
    }
    const locked = await Promise.all(
      [live, never].map((to) => countersign.verifications.check({ to, code: '000000' })),
    );
    expect(locked[0]).toEqual(locked[1]);
    expect(locked[0]).toMatchObject({ code: 'number-locked', retryAfterMs: DAY });
  });
});

describe('the guess budget of a number (invariant 3)', () => {
  it('is used up after 20 wrong codes, over fifty rounds of resends and starts with three guesses each', async () => {
    const { countersign, clock, fake } = await openBench({ limits: noLimits, maxSends: 10, maxAttempts: 5 });
    let { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    let wrong = 0;
    for (let round = 0; round < 50; round += 1) {
      clock.advance(2 * MINUTE);
      const resent = await countersign.verifications.resend({ id });
      if (resent.kind === 'refused') {
        const started = await countersign.verifications.start({ to: NUMBER, purpose: `purpose-${round}` });
        if (started.kind === 'started') id = started.verification.id;
      }
      for (let guess = 0; guess < 3; guess += 1) {
        const answer = await countersign.verifications.check({ id, code: wrongCode(fake.lastCode) });
        expect(answer.kind).toBe('refused');
        if (answer.kind === 'refused' && answer.code === 'code-wrong') wrong += 1;
      }
    }
    expect(wrong).toBe(20);
    expect(await countersign.verifications.start({ to: NUMBER })).toMatchObject({ code: 'number-locked' });
    expect(await countersign.verifications.check({ to: NUMBER, code: fake.lastCode })).toMatchObject({
      code: 'number-locked',
    });
  });

  it('locks the number for the right code as well', async () => {
    const { countersign, fake } = await openBench();
    const { id } = expectStarted(await countersign.verifications.start({ to: NUMBER })).verification;
    for (let guess = 0; guess < 20; guess += 1) {
      await countersign.verifications.check({ to: NUMBER, purpose: 'other', code: '000000' });
    }
    expect(await countersign.verifications.check({ id, code: fake.lastCode })).toMatchObject({
      code: 'number-locked',
      retryAfterMs: DAY,
    });
    expect(await countersign.verifications.get({ id })).toMatchObject({ verification: { status: 'pending' } });
  });

  it('is what the app says', async () => {
    const { countersign } = await openBench({ guesses: { max: 3 } });
    const check = () => countersign.verifications.check({ to: NUMBER, code: '000000' });
    for (let guess = 0; guess < 3; guess += 1) expect(await check()).toMatchObject({ code: 'code-wrong' });
    expect(await check()).toMatchObject({ code: 'number-locked' });
  });

  it('of who shows an approval of before is apart: an attacker cannot lock the owner out', async () => {
    const { countersign, clock, fake } = await openBench({ limits: noLimits });
    expectStarted(await countersign.verifications.start({ to: NUMBER }));
    const approval = await countersign.verifications.check({ to: NUMBER, code: fake.lastCode });
    if (approval.kind !== 'approved') throw new Error('not approved');
    const approvalToken = approval.token;
    clock.advance(30 * DAY);
    for (let guess = 0; guess < 20; guess += 1) {
      await countersign.verifications.check({ to: NUMBER, code: '000000' });
    }
    expect(await countersign.verifications.start({ to: NUMBER })).toMatchObject({ code: 'number-locked' });

    const owner = expectStarted(await countersign.verifications.start({ to: NUMBER, approvalToken })).verification;
    const code = fake.lastCode;
    expect(await countersign.verifications.check({ to: NUMBER, code })).toMatchObject({ code: 'number-locked' });
    expect(await countersign.verifications.check({ to: NUMBER, code: wrongCode(code), approvalToken })).toMatchObject({
      code: 'code-wrong',
    });
    expect(await countersign.verifications.check({ to: NUMBER, code, approvalToken })).toMatchObject({
      kind: 'approved',
      verification: { id: owner.id },
    });
    expect(await countersign.verifications.check({ to: NUMBER, code: '000000' })).toMatchObject({
      code: 'number-locked',
    });
  });

  it('is shared by whoever shows a token that proves nothing', async () => {
    const { countersign, clock, fake } = await openBench(
      {},
      { config: { apps: { default: { limits: noLimits }, bank: { limits: noLimits } } } },
    );
    const tokenOf = async (to: string, app = 'default') => {
      expectStarted(await countersign.verifications.start({ app, to }));
      const answer = await countersign.verifications.check({ app, to, code: fake.lastCode });
      return answer.kind === 'approved' ? answer.token : '';
    };
    const good = await tokenOf(NUMBER);
    const [header = '', payload = '', signature = ''] = good.split('.');
    const unsigned = Buffer.from('{"alg":"none"}').toString('base64url');
    for (const approvalToken of [
      await tokenOf('+998901234568'),
      await tokenOf(NUMBER, 'bank'),
      `${header}.${payload}.${signature.slice(0, -4)}AAAA`,
      `${unsigned}.${payload}.`,
      '',
    ]) {
      expect(await countersign.verifications.start({ to: NUMBER, approvalToken })).toMatchObject({
        code: 'token-invalid',
      });
    }
    clock.advance(180 * DAY);
    expectStarted(await countersign.verifications.start({ to: NUMBER, approvalToken: good }));
    clock.advance(MINUTE * 16);
    expect(await countersign.verifications.start({ to: NUMBER, approvalToken: good })).toMatchObject({
      code: 'token-invalid',
    });
  });
});

describe('the token of an approval', () => {
  it('can be checked by anybody with the public keys, also after a rotation', async () => {
    const { countersign, clock, fake, again } = await openBench({ limits: noLimits });
    const approve = async () => {
      const { id } = expectStarted(
        await countersign.verifications.start({ to: NUMBER, purpose: 'payment' }),
      ).verification;
      const answer = await countersign.verifications.check({ id, code: fake.lastCode });
      if (answer.kind !== 'approved') throw new Error('not approved');
      return answer;
    };
    const before = { ...(await approve()), at: clock.now };
    const newKey = await countersign.tokens.rotate();
    clock.advance(20_000);
    const after = { ...(await approve()), at: clock.now };
    const other = await again();
    for (const { token, verification, at } of [before, after]) {
      const { payload } = await jwtVerify(token, createLocalJWKSet(await other.tokens.jwks()), {
        currentDate: new Date(clock.now),
      });
      expect(payload).toEqual({
        iss: 'countersign',
        aud: 'default',
        sub: NUMBER,
        jti: verification.id,
        iat: at / 1000,
        exp: at / 1000 + 900,
        phone_number: NUMBER,
        phone_number_verified: true,
        purpose: 'payment',
        channel: 'sms',
      });
    }
    expect((await other.tokens.jwks()).keys.map(({ kid }) => kid)).toContain(newKey);
    expect(JSON.stringify(await other.tokens.jwks())).not.toContain('"d"');
  });

  it('is known to a process that did not rotate after ten seconds', async () => {
    const { countersign, clock, again } = await openBench();
    const other = await again();
    clock.advance(1);
    const id = await countersign.tokens.rotate();
    clock.advance(10_000);
    expect((await other.tokens.jwks()).keys[0]?.kid).toBe(id);
  });

  it('cannot be made with another secret: the start says which one is wrong', async () => {
    const { dataDir } = await openBench();
    await expect(
      openBench({}, { config: { dataDir, secret: 'another secret, of thirty-two bytes or more' } }),
    ).rejects.toMatchObject({ name: 'CountersignError', code: 'config-invalid' });
  });
});

describe('API keys', () => {
  it('name their app until they are revoked, two seconds later at the latest', async () => {
    const { countersign, clock } = await openBench();
    const { key, kept } = await countersign.keys.create({ app: 'default', name: 'back end' });
    expect(key).toMatch(/^cs_[\w-]{32}$/);
    expect(JSON.stringify(await countersign.keys.list())).not.toContain(key);
    expect(await countersign.keys.verify(key)).toBe('default');
    expect(await countersign.keys.verify(`${key}x`)).toBeUndefined();
    expect(await countersign.keys.revoke(kept.id)).toBe(true);
    clock.advance(2000);
    expect(await countersign.keys.verify(key)).toBeUndefined();
    expect(await countersign.keys.revoke('key_nothing')).toBe(false);
  });

  it('that are made or revoked on one node are good or refused on all: at once, and within two seconds', async () => {
    const { countersign: a, clock, again } = await openBench();
    const nodes = [a, await again(), await again()];
    const verify = (key: string) => Promise.all(nodes.map((node) => node.keys.verify(key)));
    const { key, kept } = await a.keys.create({ app: 'default', name: 'back end' });
    expect(await verify(key)).toEqual(['default', 'default', 'default']);
    clock.advance(500);
    await nodes[1]?.keys.revoke(kept.id);
    // What a node was asked just before, it may still believe.
    await verify(key);
    clock.advance(1500);
    expect(await verify(key)).toEqual([undefined, undefined, undefined]);
  });

  it('are not remembered for longer where the clock of the machine was set back', async () => {
    const { countersign, clock } = await openBench();
    const { key, kept } = await countersign.keys.create({ app: 'default', name: 'back end' });
    expect(await countersign.keys.verify(key)).toBe('default');
    await countersign.keys.revoke(kept.id);
    clock.advance(-60_000);
    expect(await countersign.keys.verify(key)).toBeUndefined();
  });
});
