import { SignJWT } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import mgask from '../../../examples/mgask/countersign.config.ts';
import royalTaxi from '../../../examples/royal-taxi/countersign.config.ts';
import type { FileConfig } from '../../../src/config/load.ts';
import type { Fault } from '../../../src/simulators/simulator-kit.ts';
import { twilioError } from '../../../src/simulators/twilio.ts';
import { wrong } from '../running-server.ts';
import { djangoBadBodies } from './bad-bodies.ts';
import { codeIn, codePattern, type DialectBench, startBench } from './dialect-bench.ts';

const HOST_JWT_SECRET = 'a1b2c3d4e5f60718293a4b5c6d7e8f90';
const roles = ['core', 'riders'] as const;
type Role = (typeof roles)[number];
const send = (role: Role) => `/api/${role}/send-otp/`;
const verify = (role: Role) => `/api/${role}/verify-otp/`;
const paths = roles.flatMap((role) => [send(role), verify(role)]);

const TYPED = '0501234567';
const NUMBER = '+966501234567';
const SECOND_MS = 1000;
const LIFE_MS = 300 * SECOND_MS;

const sentTo = (typed: string) => ({ success: true, message: `OTP sent to ${typed}` });
const verified = { success: true, message: 'Phone verified successfully!' };
const wrongCode = { success: false, message: 'Invalid or expired OTP' };
const tooMany = { detail: 'Too many OTP requests. Please try again later.' };
const badNumber = { phone_number: ['Enter a valid phone number.'] };

let bench: DialectBench;
const opened: DialectBench[] = [];
const open = async ({ config = mgask, ...setup }: Partial<Parameters<typeof startBench>[0]> = {}) => {
  const environment = { HOST_JWT_SECRET, ...setup.environment };
  bench = await startBench({ config, ...setup, environment });
  opened.push(bench);
};
const inProduction = () => open({ mode: 'production', vendors: ['twilio'] });
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});

type Claims = Readonly<Record<string, unknown>>;

/** An access token as Django's SimpleJWT makes it, for an hour unless told otherwise. */
function tokenOf(claims: Claims = {}, secret = HOST_JWT_SECRET, { clock } = bench): Promise<string> {
  const seconds = Math.floor(clock.now / 1000);
  return new SignJWT({ token_type: 'access', exp: seconds + 3600, iat: seconds, jti: 'j', user_id: 42, ...claims })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .sign(new TextEncoder().encode(secret));
}

type Headers = Readonly<Record<string, string>>;

/** As the signed-in user of those claims. */
async function post(path: string, body: unknown, claims: Claims = {}, headers: Headers = {}) {
  return bench.post(path, body, { ...headers, authorization: `Bearer ${await tokenOf(claims)}` });
}

async function expectAnswer(answer: ReturnType<typeof post>, status: number, body: object) {
  const { status: actual, body: actualBody, headers } = await answer;
  expect([actual, actualBody]).toEqual([status, body]);
  expect(headers['content-type']).toBe('application/json');
  return headers;
}

/** Asks for a code, and is told that all is well. @returns the code */
async function start({ role = 'core' as Role, typed = TYPED, claims = {} as Claims } = {}): Promise<string> {
  await expectAnswer(post(send(role), { phone_number: typed }, claims), 200, sentTo(typed));
  return bench.codeFor(NUMBER);
}

const check = (otp_code: string, role: Role = 'core', claims: Claims = {}) => post(verify(role), { otp_code }, claims);

/** Time passes, and somebody looks what is due. */
async function pass(ms: number): Promise<void> {
  bench.clock.now += ms;
  await bench.housekeep();
}

function twilioTexts(): string[] {
  return bench.simulator('twilio').requests.map(({ form }) => form['Body'] ?? '');
}

describe('mgask: the quoted exchanges', () => {
  it.each(roles.flatMap((role) => (['development', 'production'] as const).map((mode) => [role, mode] as const)))(
    '%s in %s: the code is sent, checked, good once, and in no answer',
    async (role, mode) => {
      await open({ mode, ...(mode === 'production' ? { vendors: ['twilio'] } : {}) });
      const code = await start({ role });
      expect(bench.textTo(NUMBER)).toBe(`Your Mgask verification code is: ${code}. Valid for 5 minutes.`);
      await expectAnswer(check(wrong(code), role), 400, wrongCode);
      await expectAnswer(check(code, role), 200, verified);
      await expectAnswer(check(code, role), 400, wrongCode);
      expect(bench.said()).not.toMatch(codePattern(code));
      expect(bench.logged.join('\n')).not.toContain('501234567');
    },
  );

  it('is served without the slash at the end as well', async () => {
    await inProduction();
    await expectAnswer(post('/api/core/send-otp', { phone_number: TYPED }), 200, sentTo(TYPED));
    await expectAnswer(post('/api/core/verify-otp', { otp_code: bench.codeFor(NUMBER) }), 200, verified);
    await expectAnswer(post('/api/riders/send-otp', { phone_number: TYPED }), 200, sentTo(TYPED));
    await expectAnswer(post('/api/riders/verify-otp', { otp_code: bench.codeFor(NUMBER) }), 200, verified);
  });
});

describe('mgask: bearer tokens', () => {
  const refusesAll = async (authorization: string | undefined, detail: string) => {
    for (const path of paths) {
      const body = { phone_number: TYPED, otp_code: '123456' };
      const answer = await bench.post(path, body, authorization === undefined ? {} : { authorization });
      expect([answer.status, answer.body]).toEqual([401, { detail }]);
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="api"');
      expect(answer.headers['content-type']).toBe('application/json');
    }
    expect(bench.simulator('twilio').requests).toEqual([]);
  };
  const MISSING = 'Authentication credentials were not provided.';
  const INVALID = 'Invalid token.';
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');

  it.each([
    ['no header', undefined, MISSING],
    ['an empty header', '', MISSING],
    ['the word alone', 'Bearer', MISSING],
    ['another scheme', 'Basic dXNlcjpwYXNzd29yZA==', MISSING],
    ['Django’s own scheme', 'Token 9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b', MISSING],
    ['what is no JWT', 'Bearer 9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b', INVALID],
    ['three empty parts', 'Bearer ..', INVALID],
    ['a JWT of nothing', 'Bearer e30.e30.e30', INVALID],
    ['9 000 bytes', `Bearer ${'a'.repeat(9000)}`, INVALID],
  ])('%s is 401', async (_, authorization, detail) => {
    await inProduction();
    await refusesAll(authorization, detail);
  });

  it('a token of another secret is 401, one whose subject was changed too', async () => {
    await inProduction();
    await refusesAll(`Bearer ${await tokenOf({}, HOST_JWT_SECRET.replace('a', 'b'))}`, INVALID);
    const [header, , signature] = (await tokenOf()).split('.');
    const payload = encode({ token_type: 'access', exp: Math.floor(bench.clock.now / 1000) + 3600, user_id: 43 });
    await refusesAll(`Bearer ${header}.${payload}.${signature}`, INVALID);
  });

  it('a token that says alg none is 401, with and without a signature', async () => {
    await inProduction();
    const payload = encode({ token_type: 'access', exp: Math.floor(bench.clock.now / 1000) + 3600, user_id: 42 });
    for (const alg of ['none', 'None', 'NONE']) {
      await refusesAll(`Bearer ${encode({ alg, typ: 'JWT' })}.${payload}.`, INVALID);
      await refusesAll(`Bearer ${encode({ alg, typ: 'JWT' })}.${payload}.c2lnbmF0dXJl`, INVALID);
    }
  });

  it('a refresh token is 401, and one without a user', async () => {
    await inProduction();
    await refusesAll(`Bearer ${await tokenOf({ token_type: 'refresh' })}`, INVALID);
    await refusesAll(`Bearer ${await tokenOf({ user_id: undefined })}`, INVALID);
    await refusesAll(`Bearer ${await tokenOf({ user_id: '' })}`, INVALID);
  });

  it('an expired token is 401 from its very second on, and says so', async () => {
    await inProduction();
    const token = await tokenOf({ exp: Math.floor(bench.clock.now / 1000) + 60 });
    bench.clock.now = (Math.floor(bench.clock.now / 1000) + 60) * 1000;
    await refusesAll(`Bearer ${token}`, 'Token has expired.');
    bench.clock.now -= 1;
    const headers = { authorization: `bearer ${token}` };
    await expectAnswer(bench.post(send('core'), { phone_number: TYPED }, headers), 200, sentTo(TYPED));
  });

  it('a token of another app’s users is 401', async () => {
    const { mgask: app } = mgask.apps;
    const other = {
      ...app,
      dialect: { dialect: 'mgask', prefix: '/other' },
      bearer: { secret: '${' + 'OTHER_SECRET}' },
    };
    const config: FileConfig = { apps: { mgask: app, other, ...royalTaxi.apps } };
    const OTHER_SECRET = HOST_JWT_SECRET.replace('a', 'c');
    await open({ config, environment: { OTHER_SECRET }, vendors: ['twilio'] });
    const ofOther = await tokenOf({}, OTHER_SECRET);
    await refusesAll(`Bearer ${ofOther}`, INVALID);
    const phone = '+998901234567';
    await bench.post('/api/v1/auth/send-otp', { phone });
    const otp_code = bench.codeFor(phone);
    const signedIn = await bench.post('/api/v1/auth/verify-otp', { phone, otp_code });
    expect(signedIn.status).toBe(200);
    const { access_token } = signedIn.body as { access_token: string };
    const answer = await bench.post(send('core'), { phone_number: TYPED }, { authorization: `Bearer ${access_token}` });
    expect([answer.status, answer.body]).toEqual([401, { detail: INVALID }]);

    // At their own place they are good, and what they ask for there is not good here.
    const there = await bench.post(
      `/other${send('core')}`,
      { phone_number: TYPED },
      { authorization: `Bearer ${ofOther}` },
    );
    expect(there.body).toEqual(sentTo(TYPED));
    await expectAnswer(check(bench.codeFor(NUMBER)), 400, wrongCode);
  });

  it('does not start without the host system’s secret, nor in production with a short one', async () => {
    await expect(open({ environment: { HOST_JWT_SECRET: '' } })).rejects.toThrow(/names HOST_JWT_SECRET/);
    const short = { HOST_JWT_SECRET: 'short-secret' };
    await expect(open({ mode: 'production', vendors: ['twilio'], environment: short })).rejects.toThrow(
      /apps\.mgask\.bearer\.secret is too short/,
    );
  });
});

describe('mgask: whose code it is', () => {
  it('refuses another user’s code, for the same number too', async () => {
    await inProduction();
    const code = await start();
    await expectAnswer(check(code, 'core', { user_id: 43 }), 400, wrongCode);
    const theirs = await start({ claims: { user_id: 43 } });
    expect(theirs).not.toBe(code);
    await expectAnswer(check(theirs), 400, wrongCode);
    await expectAnswer(check(code, 'core', { user_id: 43 }), 400, wrongCode);
    await expectAnswer(check(theirs, 'core', { user_id: 43 }), 200, verified);
    await expectAnswer(check(code), 200, verified);
  });

  it('refuses a customer’s code from a rider, and a rider’s from a customer', async () => {
    await inProduction();
    const ofCustomer = await start({ role: 'core' });
    const ofRider = await start({ role: 'riders' });
    expect(ofRider).not.toBe(ofCustomer);
    await expectAnswer(check(ofCustomer, 'riders'), 400, wrongCode);
    await expectAnswer(check(ofRider, 'core'), 400, wrongCode);
    await expectAnswer(check(ofCustomer, 'core'), 200, verified);
    await expectAnswer(check(ofRider, 'riders'), 200, verified);
  });

  it('refuses the code of the number before, once another number was asked for', async () => {
    await inProduction();
    const before = await start();
    await expectAnswer(post(send('core'), { phone_number: '0551234567' }), 200, sentTo('0551234567'));
    const code = bench.codeFor('+966551234567');
    await expectAnswer(check(before), 400, wrongCode);
    await expectAnswer(check(code), 200, verified);
    await expectAnswer(check(before), 400, wrongCode);
  });

  it('knows a user by sub as well, and tells text and number of an id as one', async () => {
    await inProduction();
    const code = await start({ claims: { sub: 'user-7', user_id: undefined } });
    await expectAnswer(check(code, 'core', { sub: 'user-8', user_id: undefined }), 400, wrongCode);
    await expectAnswer(check(code, 'core', { sub: 'user-7', user_id: undefined }), 200, verified);
    await expectAnswer(check(await start(), 'core', { user_id: '42' }), 200, verified);
  });

  it('refuses without a code, for which nothing was ever sent', async () => {
    await inProduction();
    await expectAnswer(check('123456'), 400, wrongCode);
  });

  it('refuses the right code after five wrong ones', async () => {
    await inProduction();
    const code = await start();
    for (let by = 1; by <= 5; by += 1) await expectAnswer(check(wrong(code, by)), 400, wrongCode);
    await expectAnswer(check(code), 400, wrongCode);
  });

  it('refuses a code at the end of its five minutes, to the millisecond', async () => {
    await inProduction();
    const code = await start();
    bench.clock.now += LIFE_MS;
    await expectAnswer(check(code), 400, wrongCode);
    bench.clock.now -= 1;
    await expectAnswer(check(code), 200, verified);
  });

  it.each([
    ['too short', '12345'],
    ['too long', '1234567'],
    ['letters', 'abcdef'],
    ['10 000 digits', '1'.repeat(10_000)],
  ])('refuses a code that is %s, and counts no attempt', async (_, otp_code) => {
    await inProduction();
    const code = await start();
    for (let time = 0; time < 6; time += 1) await expectAnswer(check(otp_code), 400, wrongCode);
    await expectAnswer(check(code), 200, verified);
  });

  it('takes a code in Arabic digits, with a space in it, and as a JSON number', async () => {
    await inProduction();
    const arabic = (text: string) => text.replace(/\d/g, (digit) => '٠١٢٣٤٥٦٧٨٩'[Number(digit)] ?? '');
    await expectAnswer(check(arabic(await start())), 200, verified);
    const code = await start();
    await expectAnswer(check(` ${code.slice(0, 3)} ${code.slice(3)} `), 200, verified);
    const third = await start();
    // A JSON number has no zero in front.
    const otp_code = third.startsWith('0') ? third : Number(third);
    await expectAnswer(post(verify('core'), { otp_code }), 200, verified);
  });
});

describe('mgask: numbers', () => {
  it.each([
    '0501234567',
    '501234567',
    '966501234567',
    '+966501234567',
    '00966501234567',
    '050 123-45-67',
    '+966 (50) 123 4567',
    'tel. 050.123.4567',
    '٠٥٠١٢٣٤٥٦٧',
    '+٩٦٦٥٠١٢٣٤٥٦٧',
  ])('%j is one number, and is echoed as it was typed', async (typed) => {
    await inProduction();
    const code = await start({ typed });
    expect(bench.simulator('twilio').messages).toMatchObject([{ to: NUMBER }]);
    await expectAnswer(check(code), 200, verified);
  });

  it('goes abroad where the number says so by its sign', async () => {
    await inProduction();
    await expectAnswer(post(send('core'), { phone_number: '+44 7911 123456' }), 200, sentTo('+44 7911 123456'));
    expect(bench.simulator('twilio').messages).toMatchObject([{ to: '+447911123456' }]);
    await expectAnswer(check(bench.codeFor('+447911123456')), 200, verified);
  });

  it('is one bucket in every spelling, for customers and riders: the sixth in 300 s is 429', async () => {
    await inProduction();
    const spellings = ['0501234567', '501234567', '966501234567', '+966501234567', '٠٥٠١٢٣٤٥٦٧'];
    for (const [index, typed] of spellings.entries())
      await start({ typed, role: roles[index % 2] as Role, claims: { user_id: index } });
    for (const [role, typed] of [
      ['core', '0501234567'],
      ['riders', '050-123-4567'],
    ] as const) {
      const headers = await expectAnswer(post(send(role), { phone_number: typed }), 429, tooMany);
      expect(headers['retry-after']).toBe('300');
    }
    // Another number has a bucket of its own.
    await expectAnswer(post(send('core'), { phone_number: '0551234567' }), 200, sentTo('0551234567'));
    bench.clock.now += LIFE_MS - 1;
    const headers = await expectAnswer(post(send('core'), { phone_number: TYPED }), 429, tooMany);
    expect(headers['retry-after']).toBe('1');
    bench.clock.now += 1;
    await start();
    expect(bench.simulator('twilio').messages.filter(({ to }) => to === NUMBER)).toHaveLength(6);
  });

  it('lets five follow each other at once, and repeats the code', async () => {
    await inProduction();
    const codes = new Set<string>();
    for (let time = 0; time < 5; time += 1) codes.add(await start());
    expect(codes.size).toBe(1);
  });

  it('sends no more codes to a number that was guessed at twenty times', async () => {
    await inProduction();
    for (let round = 0; round < 4; round += 1) {
      const code = await start();
      for (let by = 1; by <= 5; by += 1) await check(wrong(code, by));
    }
    await expectAnswer(check('123456'), 400, wrongCode);
    const headers = await expectAnswer(post(send('core'), { phone_number: TYPED }), 429, tooMany);
    expect(headers['retry-after']).toMatch(/^[1-9]\d*$/);
  });

  it.each([
    ['letters', 'abc'],
    ['too few digits', '050123'],
    ['10 000 digits', '5'.repeat(10_000)],
    ['a landline', '0112345678'],
    ['a sign alone', '+'],
  ])('refuses %s in the field’s name, and sends nothing', async (_, phone_number) => {
    await inProduction();
    await expectAnswer(post(send('core'), { phone_number }), 400, badNumber);
    await expectAnswer(post(send('riders'), { phone_number }), 400, badNumber);
    expect(bench.simulator('twilio').requests).toEqual([]);
  });

  it('takes a JSON number for its digits, as a CharField does', async () => {
    await inProduction();
    await expectAnswer(post(send('core'), { phone_number: 501234567 }), 200, sentTo('501234567'));
    expect(bench.simulator('twilio').messages).toMatchObject([{ to: NUMBER }]);
  });
});

describe('mgask: the language of the text', () => {
  const arabic = (code: string) => `رمز التحقق الخاص بك هو: ${code}. صالح لمدة 5 دقائق.`;
  const english = (code: string) => `Your Mgask verification code is: ${code}. Valid for 5 minutes.`;

  it.each([
    ['the claim ar', { locale: 'ar' }, {}, arabic],
    ['the claim ar-SA', { locale: 'ar-SA' }, {}, arabic],
    ['the claim language', { language: 'ar' }, {}, arabic],
    ['the header ar', {}, { 'accept-language': 'ar' }, arabic],
    ['a browser’s header', {}, { 'accept-language': 'ar-SA,ar;q=0.9,en-US;q=0.8' }, arabic],
    ['the claim before the header', { locale: 'en' }, { 'accept-language': 'ar' }, english],
    ['the claim ar before the header', { locale: 'ar' }, { 'accept-language': 'en' }, arabic],
    ['nothing', {}, {}, english],
    ['a header that says nothing', {}, { 'accept-language': '*' }, english],
    ['a header that is none', {}, { 'accept-language': '../../etc/passwd' }, english],
    ['a claim that is none', { locale: { a: 1 } }, {}, english],
  ] as const)('by %s', async (_, claims, headers, text) => {
    await inProduction();
    await expectAnswer(post(send('core'), { phone_number: TYPED }, claims, headers), 200, sentTo(TYPED));
    const [message] = bench.simulator('twilio').messages;
    expect(message?.text).toBe(text(codeIn(message?.text ?? '')));
  });
});

describe('mgask: when the text cannot be sent', () => {
  const faults: readonly (readonly [string, Fault, string])[] = [
    ['an unverified number on a trial account', { kind: 'answer', answer: twilioError(400, 21608) }, '21608'],
    ['out of credit', 'balance', '30002'],
    ['a suspended account', { kind: 'answer', answer: twilioError(403, 20005) }, '20005'],
    ['a failed authentication', 'credentials', '20003'],
    ['too many requests', 'throttle', '20429'],
    ['an outage', { kind: 'answer', answer: twilioError(503, 20503) }, '20503'],
  ];

  it.each(faults)(
    '%s is a success, is logged, and is tried again until Twilio takes it',
    async (_, fault, errorCode) => {
      await inProduction();
      const twilio = bench.simulator('twilio');
      twilio.behaveAlways(fault);
      await expectAnswer(post(send('core'), { phone_number: TYPED }), 200, sentTo(TYPED));
      // Whoever looks knows that the account was refused, and leaves it alone for ten seconds and one.
      await pass(12 * SECOND_MS);
      await pass(20 * SECOND_MS);
      const codes = new Set(twilioTexts().map(codeIn));
      expect(twilioTexts().length).toBeGreaterThanOrEqual(3);
      expect(codes.size).toBe(1);
      expect(twilio.messages).toEqual([]);

      twilio.behaveAlways(undefined);
      await pass(70 * SECOND_MS);
      const code = bench.codeFor(NUMBER);
      expect(codes).toEqual(new Set([code]));
      // What is left of it, in whole minutes.
      expect(bench.textTo(NUMBER)).toBe(`Your Mgask verification code is: ${code}. Valid for 4 minutes.`);
      await pass(60 * SECOND_MS);
      expect(twilio.messages).toHaveLength(1);
      await expectAnswer(check(code), 200, verified);

      const failures = bench.logged.filter((line) => line.includes('dispatch failed'));
      expect(failures.length).toBeGreaterThanOrEqual(3);
      for (const line of failures) expect(line).toContain(`"errorCode":"${errorCode}"`);
      expect(bench.said()).not.toMatch(codePattern(code));
      expect(bench.logged.join('\n')).not.toContain('501234567');
    },
  );

  it('is tried again as long as the code lives, and not longer; then somebody is told', async () => {
    await inProduction();
    const twilio = bench.simulator('twilio');
    twilio.behaveAlways('balance');
    await expectAnswer(post(send('core'), { phone_number: TYPED }), 200, sentTo(TYPED));
    for (let rounds = 0; rounds < 29; rounds += 1) await pass(10 * SECOND_MS);
    const tries = twilio.requests.length;
    expect(tries).toBeGreaterThanOrEqual(6);
    const code = codeIn(twilioTexts()[0] ?? '');
    expect(bench.logged.filter((line) => line.includes('not tried again'))).toHaveLength(1);
    twilio.behaveAlways(undefined);
    await pass(10 * SECOND_MS);
    await pass(LIFE_MS);
    expect(twilio.requests).toHaveLength(tries);
    await expectAnswer(check(code), 400, wrongCode);
  });

  it('a number that Twilio finds wrong is a success too, and is not tried again', async () => {
    await inProduction();
    const twilio = bench.simulator('twilio');
    twilio.behave('bad-number');
    await expectAnswer(post(send('core'), { phone_number: TYPED }), 200, sentTo(TYPED));
    for (let round = 0; round < 5; round += 1) await pass(30 * SECOND_MS);
    expect(twilio.requests).toHaveLength(1);
    const line = bench.logged.find((each) => each.includes('dispatch failed'));
    expect(line).toContain('"errorCode":"21211"');
    const code = codeIn(twilioTexts()[0] ?? '');
    expect(bench.said()).not.toMatch(codePattern(code));
    expect(bench.logged.join('\n')).not.toContain('501234567');
    // The code is there, whoever knows it.
    await expectAnswer(check(code), 200, verified);
  });

  it.each(['server-error', 'garbage', 'drop-before-reading', 'drop-after-reading', 'stall'] as const)(
    'after %s it is a success too, and is handed over once more at most: it may have gone out',
    async (fault) => {
      await open({ mode: 'production', vendors: ['twilio'], environment: { TWILIO_DEADLINE_SECONDS: '0.5' } });
      const twilio = bench.simulator('twilio');
      twilio.behave(fault);
      await expectAnswer(post(send('core'), { phone_number: TYPED }), 200, sentTo(TYPED));
      for (let round = 0; round < 4; round += 1) await pass(60 * SECOND_MS);
      const code = bench.codeFor(NUMBER);
      expect(twilio.requests.length).toBeLessThanOrEqual(2);
      expect(new Set(twilioTexts().map(codeIn))).toEqual(new Set([code]));
      await expectAnswer(check(code), 200, verified);
      expect(bench.said()).not.toMatch(codePattern(code));
      expect(bench.logged.join('\n')).not.toContain('501234567');
    },
  );

  it('counts a request that nobody took: the sixth is 429 all the same', async () => {
    await inProduction();
    bench.simulator('twilio').behaveAlways('credentials');
    for (let time = 0; time < 5; time += 1)
      await expectAnswer(post(send('core'), { phone_number: TYPED }), 200, sentTo(TYPED));
    await expectAnswer(post(send('core'), { phone_number: TYPED }), 429, tooMany);
  });

  it('sends one text, and not one for each request that failed', async () => {
    await inProduction();
    const twilio = bench.simulator('twilio');
    twilio.behaveAlways('balance');
    for (let time = 0; time < 3; time += 1)
      await expectAnswer(post(send('core'), { phone_number: TYPED }), 200, sentTo(TYPED));
    twilio.behaveAlways(undefined);
    for (let round = 0; round < 5; round += 1) await pass(30 * SECOND_MS);
    expect(twilio.messages).toHaveLength(1);
    await expectAnswer(check(bench.codeFor(NUMBER)), 200, verified);
  });

  it.each(['production', 'development'] as const)('without any provider in %s it succeeds', async (mode) => {
    await open({ mode, config: { ...mgask, apps: { mgask: { ...mgask.apps.mgask, routes: { '*': ['twilio?'] } } } } });
    await expectAnswer(post(send('core'), { phone_number: TYPED }), 200, sentTo(TYPED));
    await expectAnswer(check('123456'), 400, wrongCode);
    const errors = bench.logged.filter((line) => line.includes('"level":"error"'));
    expect(errors).toHaveLength(1);
    expect(errors[0]).toContain('no configured provider sends this code');
    expect(errors[0]).not.toContain('501234567');
  });
});

describe('mgask: by e-mail', () => {
  const withMail = () => open({ mode: 'production', vendors: ['twilio', 'smtp'] });
  const email = 'user@example.com';

  it('follows when Twilio does not take the text and the token names an address', async () => {
    await withMail();
    bench.simulator('twilio').behaveAlways('credentials');
    await expectAnswer(post(send('core'), { phone_number: TYPED }, { email }), 200, sentTo(TYPED));
    const [mail] = bench.simulator('smtp').messages;
    const code = codeIn(twilioTexts()[0] ?? '');
    expect(mail).toMatchObject({
      to: email,
      text: `Your Mgask verification code is: ${code}. Valid for 5 minutes.`,
    });
    expect(bench.said()).not.toMatch(codePattern(code));
    expect(bench.logged.join('\n')).not.toContain(email);
    await expectAnswer(check(code), 200, verified);
  });

  it('is in Arabic for whoever reads Arabic', async () => {
    await withMail();
    bench.simulator('twilio').behaveAlways('credentials');
    await expectAnswer(post(send('core'), { phone_number: TYPED }, { email, locale: 'ar' }), 200, sentTo(TYPED));
    const code = codeIn(twilioTexts()[0] ?? '');
    expect(bench.simulator('smtp').messages).toMatchObject([
      { text: `رمز التحقق الخاص بك هو: ${code}. صالح لمدة 5 دقائق.`, fields: { subject: 'Mgask: رمز التحقق' } },
    ]);
  });

  it('is not sent when Twilio takes the text', async () => {
    await withMail();
    await expectAnswer(post(send('core'), { phone_number: TYPED }, { email }), 200, sentTo(TYPED));
    expect(bench.simulator('twilio').messages).toHaveLength(1);
    expect(bench.simulator('smtp').requests).toEqual([]);
  });

  it.each([
    ['no address', {}],
    ['one that is none', { email: 'user' }],
    ['one that is not verified', { email, email_verified: false }],
  ])('is not sent when the token has %s; the text is tried again', async (_, claims) => {
    await withMail();
    bench.simulator('twilio').behaveAlways('credentials');
    await expectAnswer(post(send('core'), { phone_number: TYPED }, claims), 200, sentTo(TYPED));
    await pass(6 * SECOND_MS);
    bench.simulator('twilio').behaveAlways(undefined);
    await pass(60 * SECOND_MS);
    expect(bench.simulator('smtp').requests).toEqual([]);
    expect(bench.simulator('twilio').messages).toHaveLength(1);
    await expectAnswer(check(bench.codeFor(NUMBER)), 200, verified);
  });

  it('succeeds where there is a mail server alone, and the token has no address', async () => {
    await open({ mode: 'production', vendors: ['smtp'] });
    await expectAnswer(post(send('core'), { phone_number: TYPED }), 200, sentTo(TYPED));
    expect(bench.simulator('smtp').requests).toEqual([]);
    await expectAnswer(post(send('core'), { phone_number: TYPED }, { email }), 200, sentTo(TYPED));
    expect(bench.simulator('smtp').messages).toMatchObject([{ to: email }]);
  });
});

describe('mgask: bad input, in the shape of Django REST Framework', () => {
  let shared: DialectBench;
  let authorization: string;
  beforeAll(async () => {
    shared = await startBench({
      config: mgask,
      mode: 'production',
      vendors: ['twilio'],
      environment: { HOST_JWT_SECRET },
    });
    authorization = `Bearer ${await tokenOf({}, HOST_JWT_SECRET, shared)}`;
  });
  afterAll(async () => {
    expect(shared.simulator('twilio').requests).toEqual([]);
    await shared.close();
  });

  it.each(djangoBadBodies('phone_number'))('$what at send-otp', async ({ body, headers, status, answer }) => {
    for (const role of roles)
      await expectAnswer(shared.post(send(role), body, { ...headers, authorization }), status, answer);
  });

  it.each(djangoBadBodies('otp_code'))('$what at verify-otp', async ({ body, headers, status, answer }) => {
    for (const role of roles)
      await expectAnswer(shared.post(verify(role), body, { ...headers, authorization }), status, answer);
  });

  it('whoever is not signed in learns nothing of the body', async () => {
    const detail = 'Authentication credentials were not provided.';
    for (const path of paths)
      for (const body of [undefined, {}, '{', { phone_number: null }])
        await expectAnswer(shared.post(path, body), 401, { detail });
  });

  it.each(['GET', 'PUT', 'PATCH', 'DELETE'])('%s is a method that is not allowed', async (method) => {
    for (const path of paths.flatMap((each) => [each, each.slice(0, -1)])) {
      const answer = shared.request(method, path, undefined, { authorization });
      const headers = await expectAnswer(answer, 405, { detail: `Method "${method}" not allowed.` });
      expect(headers['allow']).toBe('POST');
    }
  });
});
