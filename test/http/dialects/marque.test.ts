import { afterEach, describe, expect, it } from 'vitest';
import marque from '../../../examples/marque/countersign.config.ts';
import type { FileConfig } from '../../../src/config/load.ts';
import { faultNames } from '../../../src/simulators/simulator-kit.ts';
import { wrong } from '../running-server.ts';
import { djangoBadBodies } from './bad-bodies.ts';
import { answer, codeIn, codePattern, type DialectBench, seen, serveExample, startBench } from './dialect-bench.ts';

const SEND = '/api/v1/auth/send-verification';
const VERIFY = '/api/v1/auth/verify-code';
const kyrgyz = '+996555123456';
const american = '+12125551234';

const sentToKyrgyzstan = {
  success: true,
  message: 'Verification code sent to +996555123456',
  phone: '+996555123456',
  market: 'KG',
  language: 'ru',
  expires_in_minutes: 10,
};
const sentToUnitedStates = {
  success: true,
  message: 'Verification code sent to +12125551234',
  phone: '+12125551234',
  market: 'US',
  language: 'en',
  expires_in_minutes: 15,
};
const signedIn = {
  access_token: expect.stringMatching(/^[0-9a-f]{40}$/) as string,
  token_type: 'bearer',
  expires_in: 2_592_000,
  user: {
    id: '1',
    name: '555123456',
    phone: '+996555123456',
    full_name: '',
    is_active: true,
    is_verified: true,
  },
  market: 'KG',
  is_new_user: true,
};
const unavailable = { detail: 'SMS verification is temporarily unavailable. Please contact support.' };
const unavailableStart = { success: false, ...unavailable };
const notSent = { success: false, detail: 'The verification code could not be sent. Please try again.' };
const notTaken = { success: false, detail: 'The verification code could not be sent to this number.' };
const badPhone = { phone: ['Phone number must start with country code (e.g., +996 or +1)'] };
const badCode = { verification_code: ['Ensure this field has exactly 6 digits.'] };
const wrongCode = { detail: 'Invalid or expired verification code' };
const required = ['This field is required.'];

/** With which a process is waited for, on a busy machine too. */
const patience = { timeout: 10_000 };

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

type Setup = Omit<Parameters<typeof startBench>[0], 'config'> & { readonly config?: FileConfig };

async function shop(setup: Setup = {}): Promise<DialectBench> {
  const bench = await startBench({ config: marque, ...setup });
  open.push(bench);
  return bench;
}

async function send(bench: DialectBench, phone: unknown = kyrgyz, path = SEND) {
  return seen(await bench.post(path, { phone }));
}

async function verify(bench: DialectBench, code: string, phone = kyrgyz, path = VERIFY) {
  return seen(await bench.post(path, { phone, verification_code: code }));
}

const someSeconds = { retryAfter: expect.stringMatching(/^[1-9]\d*$/) as string };

describe.each(['development', 'production'] as const)('Marque in %s', (mode) => {
  const setup = { mode, vendors: ['twilio-verify'] } as const;

  it('answers 503 on both routes when Verify is not configured', async () => {
    // Messaging alone is not Verify; nor is an inbox.
    for (const environment of [
      {},
      {
        TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
        TWILIO_AUTH_TOKEN: 'test-auth-token',
        TWILIO_PHONE_NUMBER: '+15005550006',
      },
    ]) {
      const bench = await shop({ mode, environment });
      expect(await send(bench)).toEqual(answer(503, unavailableStart, { retryAfter: '2' }));
      expect(await send(bench, american)).toEqual(answer(503, unavailableStart, { retryAfter: '2' }));
      expect(await verify(bench, '123456')).toEqual(answer(503, unavailable, { retryAfter: '2' }));
      expect(seen(await bench.post(VERIFY, { phone: american, code: '123456' }))).toEqual(
        answer(503, unavailable, { retryAfter: '2' }),
      );
      // What is wrong with a request is said first.
      expect(await send(bench, '0555123456')).toEqual(answer(400, badPhone));
      expect(await verify(bench, '12345')).toEqual(answer(400, badCode));
    }
  });

  it('sends through Verify, which makes and checks the code', async () => {
    const bench = await shop(setup);
    expect(await send(bench)).toEqual(answer(200, sentToKyrgyzstan));
    const code = bench.codeFor(kyrgyz);
    const [request] = bench.simulator('twilio-verify').requests;
    expect(request).toMatchObject({
      path: `/v2/Services/VA${'0'.repeat(32)}/Verifications`,
      form: { To: kyrgyz, Channel: 'sms', Locale: 'ru' },
    });
    expect(await verify(bench, wrong(code))).toEqual(answer(400, wrongCode));
    expect(await verify(bench, code)).toEqual(answer(200, signedIn));
    expect(await verify(bench, code)).toEqual(answer(400, wrongCode));
    expect(bench.said()).not.toMatch(codePattern(code));
    expect(bench.logged.join('\n')).not.toContain('555123456');
  });

  it('knows the market by its prefix: language and lifetime', async () => {
    const bench = await shop(setup);
    expect(await send(bench, american)).toEqual(answer(200, sentToUnitedStates));
    expect(bench.simulator('twilio-verify').requests[0]?.form).toMatchObject({ To: american, Locale: 'en' });
    const { body } = await bench.post(VERIFY, { phone: american, code: bench.codeFor(american) });
    expect(body).toEqual({
      ...signedIn,
      user: { ...signedIn.user, name: '2125551234', phone: american },
      market: 'US',
    });
    const canadian = '+16132345678';
    expect(await send(bench, canadian)).toMatchObject({ status: 200, body: { market: 'US', language: 'en' } });
    for (const phone of ['+998901234567', '+77011234567', '+442071838750', '+4915123456789', '+97455123456'])
      for (const path of [SEND, VERIFY])
        expect(seen(await bench.post(path, { phone, code: '123456' })), phone).toEqual(answer(400, badPhone));
    expect(
      bench.simulator('twilio-verify').requests.filter(({ path }) => path.endsWith('/Verifications')),
    ).toHaveLength(2);
  });

  it('finds the user again by phone, also by a number that was typed in another way', async () => {
    const bench = await shop(setup);
    const signIn = async (phone: string, to: string) => {
      await bench.post(SEND, { phone });
      return (await bench.post(VERIFY, { phone, code: bench.codeFor(to) })).body;
    };
    expect(await signIn(kyrgyz, kyrgyz)).toEqual(signedIn);
    expect(await signIn('+996 (555) 12-34-56', kyrgyz)).toEqual({ ...signedIn, is_new_user: false });
    expect(await signIn(american, american)).toMatchObject({
      user: { id: '2', name: '2125551234' },
      is_new_user: true,
    });
    expect(await signIn(kyrgyz, kyrgyz)).toEqual({ ...signedIn, is_new_user: false });
  });

  it('says the same of a number that was typed in another way', async () => {
    const bench = await shop(setup);
    expect(await send(bench, ' +996 555-12-34-56 ')).toEqual(answer(200, sentToKyrgyzstan));
    expect(await send(bench, '00996555123456')).toEqual(answer(200, sentToKyrgyzstan));
  });

  it('takes the code under either name, as a number and in Arabic digits', async () => {
    const bench = await shop(setup);
    const asTyped = [
      (code: string) => ({ verification_code: code }),
      (code: string) => ({ code }),
      (code: string) => ({ verification_code: code, code: wrong(code) }),
      (code: string) => ({ code: ` ${code} ` }),
      (code: string) => ({ code: [...code].map((digit) => String.fromCharCode(0x660 + Number(digit))).join('') }),
    ];
    for (const fields of asTyped) {
      await send(bench);
      const typed = fields(bench.codeFor(kyrgyz));
      expect(await bench.post(VERIFY, { phone: kyrgyz, ...typed }), JSON.stringify(typed)).toMatchObject({
        status: 200,
      });
      bench.clock.now += 3_600_000;
    }
    let code = '0';
    // A JSON number has no zero before it.
    while (code.startsWith('0')) {
      await send(bench);
      code = bench.codeFor(kyrgyz);
      if (code.startsWith('0')) bench.clock.now += 3_600_000;
    }
    expect(await bench.post(VERIFY, { phone: kyrgyz, code: Number(code) })).toMatchObject({ status: 200 });
  });

  it('repeats the code while it lives, and says what is left of its life', async () => {
    const bench = await shop(setup);
    await send(bench);
    const code = bench.codeFor(kyrgyz);
    bench.clock.now += 240_000;
    expect(await send(bench)).toEqual(answer(200, { ...sentToKyrgyzstan, expires_in_minutes: 6 }));
    expect(bench.codeFor(kyrgyz)).toBe(code);
    bench.clock.now += 170_000;
    expect(await send(bench)).toEqual(answer(200, { ...sentToKyrgyzstan, expires_in_minutes: 3 }));
    expect(await verify(bench, code)).toEqual(answer(200, signedIn));
  });

  it('never says that a code which it sends lives for no minute at all', async () => {
    const [app] = Object.values(marque.apps);
    const markets = { KG: { countries: ['+996'], locale: 'ru', codeTtlSeconds: 40 } };
    const bench = await shop({ ...setup, config: { apps: { marque: { ...app, markets } } } });
    expect(await send(bench)).toEqual(answer(200, { ...sentToKyrgyzstan, expires_in_minutes: 1 }));
    bench.clock.now += 20_000;
    expect(await send(bench)).toEqual(answer(200, { ...sentToKyrgyzstan, expires_in_minutes: 1 }));
  });

  it('refuses a code at the millisecond at which it expires', async () => {
    const bench = await shop(setup);
    await send(bench);
    bench.clock.now += 599_999;
    expect(await verify(bench, bench.codeFor(kyrgyz))).toEqual(answer(200, signedIn));
    await send(bench);
    bench.clock.now += 600_000;
    expect(await verify(bench, bench.codeFor(kyrgyz))).toEqual(answer(400, wrongCode));
  });

  it('goes on when Verify has forgotten a code before its market does', async () => {
    const bench = await shop(setup);
    await send(bench, american);
    const first = bench.codeFor(american);
    bench.clock.now += 12 * 60_000;
    expect(await verify(bench, first, american)).toEqual(answer(400, wrongCode));
    expect(await send(bench, american)).toEqual(answer(200, { ...sentToUnitedStates, expires_in_minutes: 3 }));
    const second = bench.codeFor(american);
    expect(second).not.toBe(first);
    expect(await verify(bench, second, american)).toMatchObject({ status: 200 });
  });

  it('knows no code of another number, and none of another app', async () => {
    const [app] = Object.values(marque.apps);
    const second = { ...app, dialect: { dialect: 'marque', prefix: '/second' } };
    const bench = await shop({ ...setup, config: { apps: { ...marque.apps, second } } });
    expect(await send(bench, kyrgyz, `/second${SEND}`)).toEqual(answer(200, sentToKyrgyzstan));
    const code = bench.codeFor(kyrgyz);
    expect(await verify(bench, code)).toEqual(answer(400, wrongCode));
    expect(await verify(bench, code, '+996555123457', `/second${VERIFY}`)).toEqual(answer(400, wrongCode));
    expect(await verify(bench, code, kyrgyz, `/second${VERIFY}`)).toEqual(answer(200, signedIn));
  });

  it('serves each path with a slash at its end too', async () => {
    const bench = await shop(setup);
    expect(await send(bench, kyrgyz, `${SEND}/`)).toEqual(answer(200, sentToKyrgyzstan));
    expect(await verify(bench, bench.codeFor(kyrgyz), kyrgyz, `${VERIFY}/`)).toEqual(answer(200, signedIn));
  });

  it('refuses the sixth request, and says for how long', async () => {
    const bench = await shop(setup);
    for (let time = 0; time < 5; time += 1) {
      expect((await send(bench)).status).toBe(200);
      bench.clock.now += 10_000;
    }
    const throttled = (seconds: string, unit = 'seconds') => ({
      detail: `Request was throttled. Expected available in ${seconds} ${unit}.`,
    });
    expect(await send(bench)).toEqual(answer(429, throttled('550'), { retryAfter: '550' }));
    bench.clock.now += 549_000;
    expect(await send(bench)).toEqual(answer(429, throttled('1', 'second'), { retryAfter: '1' }));
    bench.clock.now += 1000;
    expect((await send(bench)).status).toBe(200);
  });

  it('compares five codes and no more, and locks a number after twenty wrong ones', async () => {
    const bench = await shop(setup);
    const locked = { detail: expect.stringMatching(/^Request was throttled. Expected available in \d+ seconds.$/) };
    for (let wrongOnes = 0; wrongOnes < 20; wrongOnes += 1) {
      // Each verification of ours is one of Twilio's, whose five checks are used up with ours.
      if (wrongOnes % 5 === 0) {
        bench.clock.now += 700_000;
        await send(bench);
      }
      expect(await verify(bench, wrong(bench.codeFor(kyrgyz), 1 + (wrongOnes % 5)))).toEqual(answer(400, wrongCode));
    }
    expect(await verify(bench, bench.codeFor(kyrgyz))).toEqual(answer(429, locked, someSeconds));
    expect(await send(bench)).toEqual(answer(429, locked, someSeconds));
  });
});

describe('Marque through messaging', () => {
  const [app] = Object.values(marque.apps);
  const routes = { '*': ['twilio-verify?', 'twilio?'] };
  const config = { apps: { marque: { ...app, routes } } };

  it.each(['development', 'production'] as const)('answers the same in %s, with a text of its own', async (mode) => {
    const bench = await shop({ mode, config, vendors: ['twilio'] });
    expect(await send(bench)).toEqual(answer(200, sentToKyrgyzstan));
    const code = bench.codeFor(kyrgyz);
    expect(bench.textTo(kyrgyz)).toBe(`Marque: ваш код ${code}. Действует 10 мин.`);
    expect(await verify(bench, code)).toEqual(answer(200, signedIn));
    expect(await send(bench, american)).toEqual(answer(200, sentToUnitedStates));
    expect(bench.textTo(american)).toBe(`Marque: your code is ${bench.codeFor(american)}. Valid for 15 min.`);
    expect(bench.said()).not.toMatch(codePattern(code));
    // Ours lives as long as the market says.
    bench.clock.now += 899_999;
    expect(await verify(bench, bench.codeFor(american), american)).toMatchObject({
      status: 200,
      body: { market: 'US' },
    });
    await send(bench, american);
    bench.clock.now += 900_000;
    expect(await verify(bench, bench.codeFor(american), american)).toEqual(answer(400, wrongCode));
  });

  it('goes on to messaging when Verify fails', async () => {
    const bench = await shop({ mode: 'production', config, vendors: ['twilio', 'twilio-verify'] });
    bench.simulator('twilio-verify').behaveAlways('balance');
    expect(await send(bench)).toEqual(answer(200, sentToKyrgyzstan));
    expect(bench.simulator('twilio').messages.map(({ to }) => to)).toEqual([kyrgyz]);
    expect(await verify(bench, bench.codeFor(kyrgyz))).toEqual(answer(200, signedIn));
  });
});

describe.each(['development', 'production'] as const)('bad input to Marque in %s', (mode) => {
  it('refuses a body that is none of its own', async () => {
    const bench = await shop({ mode, vendors: ['twilio-verify'] });
    for (const path of [SEND, VERIFY])
      for (const { what, body, headers, status, answer: expected } of djangoBadBodies('phone'))
        expect(seen(await bench.post(path, body, headers)), `${path} ${what}`).toEqual(answer(status, expected));
    expect(seen(await bench.post(SEND, { phone_number: kyrgyz }))).toEqual(answer(400, { phone: required }));
    for (const body of [{ phone: kyrgyz }, { phone: kyrgyz, otp_code: '123456' }])
      expect(seen(await bench.post(VERIFY, body))).toEqual(answer(400, { verification_code: required }));
    expect(bench.simulator('twilio-verify').requests).toEqual([]);
  });

  it('refuses what is no number of its markets', async () => {
    const bench = await shop({ mode, vendors: ['twilio-verify'] });
    const numbers = [
      996555123456,
      '9'.repeat(10_000),
      '996555123456',
      '0555123456',
      'telephone',
      '+99655512345',
      '+10000000000',
      `${kyrgyz}, ${american}`,
      `${kyrgyz}\r\nTo: ${american}`,
      `${kyrgyz}\u0000`,
      'shop@example.com',
    ];
    for (const path of [SEND, VERIFY])
      for (const phone of numbers)
        expect(seen(await bench.post(path, { phone, code: '123456' })), `${path} ${phone}`).toEqual(
          answer(400, badPhone),
        );
    expect(bench.simulator('twilio-verify').requests).toEqual([]);
    expect(bench.logged.filter((line) => line.includes('"bug"'))).toEqual([]);
  });

  it('refuses what is no code, and counts no attempt for it', async () => {
    const bench = await shop({ mode, vendors: ['twilio-verify'] });
    await send(bench);
    const code = bench.codeFor(kyrgyz);
    const typed = [
      [code.slice(1), badCode],
      [`${code}0`, badCode],
      ['abcdef', badCode],
      ['½½½½½½', badCode],
      ['9'.repeat(10_000), badCode],
      [12345, badCode],
      [12345.6, badCode],
      ['', { verification_code: ['This field may not be blank.'] }],
      ['  ', { verification_code: ['This field may not be blank.'] }],
      [null, { verification_code: ['This field may not be null.'] }],
      [{}, { verification_code: ['Not a valid string.'] }],
      [[code], { verification_code: ['Not a valid string.'] }],
    ] as const;
    for (const [verification_code, expected] of typed)
      expect(seen(await bench.post(VERIFY, { phone: kyrgyz, verification_code })), String(verification_code)).toEqual(
        answer(400, expected),
      );
    expect(seen(await bench.post(VERIFY, { phone: kyrgyz, code: '' }))).toEqual(
      answer(400, { code: ['This field may not be blank.'] }),
    );
    expect(await verify(bench, code)).toEqual(answer(200, signedIn));
  });

  it('knows POST alone', async () => {
    const bench = await shop({ mode });
    for (const path of [SEND, `${SEND}/`, VERIFY, `${VERIFY}/`])
      for (const method of ['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
        expect(seen(await bench.request(method, path)), `${method} ${path}`).toEqual(
          answer(405, { detail: `Method "${method}" not allowed.` }, { allow: 'POST' }),
        );
  });
});

describe('a Verify that fails', () => {
  const faults = faultNames.filter((name) => name !== 'refuse-inside-2xx');

  it.each(faults)('by `%s` when a code is asked for: 502, and no code', async (fault) => {
    const environment = fault.startsWith('stall') ? { TWILIO_VERIFY_DEADLINE_SECONDS: '0.5' } : {};
    const bench = await shop({ mode: 'production', vendors: ['twilio-verify'], environment });
    bench.simulator('twilio-verify').behaveAlways(fault);
    const expected = fault === 'bad-number' ? answer(502, notTaken) : answer(502, notSent, someSeconds);
    expect(await send(bench)).toEqual(expected);
    expect(bench.logged.filter((line) => line.includes('"dispatch failed"'))).toHaveLength(1);
    const message = bench.simulator('twilio-verify').messages[0];
    if (message !== undefined) expect(bench.said()).not.toMatch(codePattern(codeIn(message.text)));
  });

  // One stall is enough: it takes the whole time that a check may take.
  const faultsOfChecks = faults.filter((name) => name !== 'stall-in-body');

  it.each(faultsOfChecks)('by `%s` when a code is checked: 503, and nobody is let in', async (fault) => {
    const bench = await shop({ mode: 'production', vendors: ['twilio-verify'] });
    await send(bench);
    const code = bench.codeFor(kyrgyz);
    bench.simulator('twilio-verify').behaveAlways(fault);
    expect(await verify(bench, wrong(code))).toEqual(answer(503, unavailable, { retryAfter: '5' }));
    bench.simulator('twilio-verify').behaveAlways(undefined);
    expect(await verify(bench, code)).toEqual(answer(200, signedIn));
    expect(bench.said()).not.toMatch(codePattern(code));
  });

  it('is not there at all: 502', async () => {
    const environment = { TWILIO_VERIFY_BASE_URL: 'http://127.0.0.1:1' };
    const bench = await shop({ mode: 'production', vendors: ['twilio-verify'], environment });
    expect(await send(bench)).toEqual(answer(502, notSent, someSeconds));
    expect(bench.simulator('twilio-verify').requests).toEqual([]);
  });

  it('is 503 while it is out of its route, and is asked again later', async () => {
    const bench = await shop({ mode: 'production', vendors: ['twilio-verify'] });
    bench.simulator('twilio-verify').behaveAlways('credentials');
    expect(await send(bench)).toEqual(answer(502, notSent, someSeconds));
    expect(await send(bench)).toEqual(answer(503, unavailableStart, someSeconds));
    expect(bench.simulator('twilio-verify').requests).toHaveLength(1);
    expect(await verify(bench, '123456')).toEqual(answer(400, wrongCode));
    bench.simulator('twilio-verify').behaveAlways(undefined);
    bench.clock.now += 60_000;
    await expect.poll(async () => (await send(bench)).status, { timeout: 5000, interval: 250 }).toBe(200);
  });
});

describe('what Marque signs in', () => {
  it('has a token of 30 days that GET /v1/users/me takes, until it is revoked', async () => {
    const bench = await shop({ mode: 'production', vendors: ['twilio-verify'] });
    const signIn = async () => {
      await send(bench);
      const { body } = await verify(bench, bench.codeFor(kyrgyz));
      return (body as typeof signedIn).access_token;
    };
    const me = async (token: string) => {
      const { status, json } = await bench.call('GET', '/v1/users/me', { key: token });
      return status === 200 ? json : status;
    };
    const [first, second] = [await signIn(), await signIn()];
    expect([await me(first), await me(second)]).toEqual([signedIn.user, signedIn.user]);
    expect((await bench.call('DELETE', '/v1/users/me/token', { key: first })).status).toBe(204);
    expect([await me(first), await me(second)]).toEqual([401, signedIn.user]);
    bench.clock.now += signedIn.expires_in * 1000 - 1;
    expect(await me(second)).toEqual(signedIn.user);
    bench.clock.now += 1;
    expect(await me(second)).toBe(401);
  });

  it('is a user of its own app alone', async () => {
    const [app] = Object.values(marque.apps);
    const second = { ...app, dialect: { dialect: 'marque', prefix: '/second' } };
    const bench = await shop({ vendors: ['twilio-verify'], config: { apps: { ...marque.apps, second } } });
    await send(bench);
    expect(await verify(bench, bench.codeFor(kyrgyz))).toEqual(answer(200, signedIn));
    await send(bench, kyrgyz, `/second${SEND}`);
    const there = await verify(bench, bench.codeFor(kyrgyz), kyrgyz, `/second${VERIFY}`);
    expect(there).toEqual(answer(200, signedIn));
  });
});

describe('a served Marque', () => {
  it('logs that Verify is ready, what went through it and what failed, and never a code', async () => {
    const example = await serveExample('marque', { mode: 'production', vendors: ['twilio-verify'] });
    open.push(example);
    const start = await example.call('POST', SEND, { body: { phone: kyrgyz } });
    expect([start.status, start.json]).toEqual([200, sentToKyrgyzstan]);
    const simulator = example.simulator('twilio-verify');
    const code = codeIn(simulator?.messages[0]?.text ?? '');
    const check = await example.call('POST', VERIFY, { body: { phone: kyrgyz, verification_code: code } });
    expect([check.status, check.json]).toEqual([200, signedIn]);
    simulator?.behaveAlways('credentials');
    const failed = await example.call('POST', SEND, { body: { phone: american } });
    expect([failed.status, failed.json]).toEqual([502, notSent]);
    const lineWith = (text: string) =>
      example
        .output()
        .split('\n')
        .find((line) => line.includes(`"msg":"${text}"`)) ?? '{}';
    await expect
      .poll(() => JSON.parse(lineWith('dispatch failed')) as unknown, patience)
      .toMatchObject({
        provider: 'twilio-verify',
        number: '+1•••••1234',
        errorCode: '20003',
      });
    expect(JSON.parse(lineWith('provider ready'))).toMatchObject({ provider: 'twilio-verify', kind: 'managed' });
    expect(JSON.parse(lineWith('dispatch accepted'))).toMatchObject({
      provider: 'twilio-verify',
      number: '+996•••••3456',
      providerMessageId: expect.stringMatching(/^VE[0-9a-f]{32}$/),
    });
    const { access_token: token } = check.json as typeof signedIn;
    for (const secret of [code, token, kyrgyz, american]) expect(example.output()).not.toContain(secret);
  });
});
