import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import chaski from '../../../examples/chaski/countersign.config.ts';
import { wrong } from '../running-server.ts';
import { fastApiBadBodies } from './bad-bodies.ts';
import { codeIn, codePattern, type DialectBench, serveExample, startBench } from './dialect-bench.ts';

const SEND = '/api/auth/phone/send-code';
const VERIFY = '/api/auth/phone/verify';
const RESEND = '/api/auth/phone/resend-code';
const NUMBER = '+12125551234';
const MINUTE_MS = 60_000;
/** What its documents name; the second is a landline in London. */
const numbers = ['+12125551234', '+442071234567', '+33612345678'];

const sent = { success: true, message: 'Verification code sent', expires_in: 600 };
const verified = { success: true, message: 'Phone number verified', verified: true };
const wrongCode = { detail: 'Invalid or expired verification code' };
const tooMany = { detail: 'Too many requests. Please try again later.' };
const notSent = { detail: 'The verification code could not be sent. Please try again later.' };
const notChecked = { detail: 'The verification code could not be checked. Please try again later.' };
const valueError = (field: string, text: string) => ({
  detail: [{ loc: ['body', field], msg: `Value error, ${text}`, type: 'value_error' }],
});
const badNumber = valueError('phone_number', 'the phone number must be in E.164 format, e.g. +12125551234');
const deafNumber = valueError('phone_number', 'this phone number cannot receive verification codes');
const badCode = valueError('code', 'the code must have 6 digits');

let bench: DialectBench;
const opened: DialectBench[] = [];
const open = async (setup: Partial<Parameters<typeof startBench>[0]>) => {
  bench = await startBench({ config: chaski, ...setup });
  opened.push(bench);
};
const inDevelopment = () => open({});
const withMessaging = () => open({ mode: 'production', vendors: ['twilio'] });
const withVerify = () => open({ mode: 'production', vendors: ['twilio-verify'] });
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});

/** @returns the code */
async function send(phone_number = NUMBER): Promise<string> {
  const answer = await bench.post(SEND, { phone_number });
  expect([answer.status, answer.body]).toEqual([200, sent]);
  return bench.codeFor(phone_number);
}

async function expectRefused(path: string, body: unknown, status: number, refusal: object) {
  const answer = await bench.post(path, body);
  expect([answer.status, answer.body]).toEqual([status, refusal]);
  expect(answer.headers['content-type']).toBe('application/json');
  return answer;
}

describe('chaski with TWILIO_PHONE_NUMBER', () => {
  it.each(numbers)(
    'sends our text to %s and checks its code, which no answer and no line of the log has',
    async (to) => {
      await withMessaging();
      const answer = await bench.post(SEND, { phone_number: to });
      expect([answer.status, answer.body]).toEqual([200, sent]);
      expect(answer.headers['content-type']).toBe('application/json');
      const code = bench.codeFor(to);
      expect(bench.simulator('twilio').messages).toMatchObject([
        { to, text: `Chaski: your code is ${code}. Valid for 10 min.` },
      ]);
      await expectRefused(VERIFY, { phone_number: to, code: wrong(code) }, 400, wrongCode);
      const right = await bench.post(VERIFY, { phone_number: to, code });
      expect([right.status, right.body]).toEqual([200, verified]);
      await expectRefused(VERIFY, { phone_number: to, code }, 400, wrongCode);
      expect(bench.said()).not.toMatch(codePattern(code));
      expect(bench.logged.join('\n')).not.toContain(to.slice(3));
    },
  );

  it('is served with a slash at the end as well', async () => {
    await withMessaging();
    expect((await bench.post(`${SEND}/`, { phone_number: NUMBER })).body).toEqual(sent);
    expect((await bench.post(`${RESEND}/`, { phone_number: NUMBER })).body).toEqual(sent);
    const code = bench.codeFor(NUMBER);
    expect((await bench.post(`${VERIFY}/`, { phone_number: NUMBER, code })).body).toEqual(verified);
  });

  it('repeats the same code, which lives no longer for it', async () => {
    await withMessaging();
    const code = await send();
    bench.clock.now += 3 * MINUTE_MS;
    const again = await bench.post(RESEND, { phone_number: NUMBER });
    expect([again.status, again.body]).toEqual([200, { ...sent, expires_in: 420 }]);
    expect(bench.simulator('twilio').messages.map(({ text }) => codeIn(text))).toEqual([code, code]);
    bench.clock.now += 7 * MINUTE_MS - 1;
    expect((await bench.post(VERIFY, { phone_number: NUMBER, code })).body).toEqual(verified);
  });

  it('sends a code when none was asked for before', async () => {
    await withMessaging();
    const answer = await bench.post(RESEND, { phone_number: NUMBER });
    expect([answer.status, answer.body]).toEqual([200, sent]);
    expect((await bench.post(VERIFY, { phone_number: NUMBER, code: bench.codeFor(NUMBER) })).body).toEqual(verified);
  });

  it('refuses a code at its end, to the millisecond', async () => {
    await withMessaging();
    const code = await send();
    bench.clock.now += 10 * MINUTE_MS;
    await expectRefused(VERIFY, { phone_number: NUMBER, code }, 400, wrongCode);
    bench.clock.now -= 1;
    expect((await bench.post(VERIFY, { phone_number: NUMBER, code })).body).toEqual(verified);
  });

  it('refuses the right code after five wrong ones, and one of another number', async () => {
    await withMessaging();
    const code = await send();
    await expectRefused(VERIFY, { phone_number: '+33612345678', code }, 400, wrongCode);
    for (let by = 1; by <= 5; by += 1)
      await expectRefused(VERIFY, { phone_number: NUMBER, code: wrong(code, by) }, 400, wrongCode);
    await expectRefused(VERIFY, { phone_number: NUMBER, code }, 400, wrongCode);
  });

  it('refuses the sixth text in ten minutes, resends among them, with Retry-After', async () => {
    await withMessaging();
    for (const path of [SEND, RESEND, RESEND, SEND, RESEND])
      expect((await bench.post(path, { phone_number: NUMBER })).status).toBe(200);
    bench.clock.now += MINUTE_MS;
    for (const path of [SEND, RESEND]) {
      const refused = await expectRefused(path, { phone_number: NUMBER }, 429, tooMany);
      expect(refused.headers['retry-after']).toBe('540');
    }
    expect(bench.simulator('twilio').messages).toHaveLength(5);
  });

  it('refuses every code of a number that was guessed at twenty times', async () => {
    await withMessaging();
    for (let round = 0; round < 4; round += 1) {
      const code = await send();
      for (let by = 1; by <= 5; by += 1) await bench.post(VERIFY, { phone_number: NUMBER, code: wrong(code, by) });
    }
    const refused = await expectRefused(VERIFY, { phone_number: NUMBER, code: '123456' }, 429, tooMany);
    expect(refused.headers['retry-after']).toMatch(/^[1-9]\d*$/);
  });

  it.each(['server-error', 'credentials', 'throttle', 'garbage', 'content'] as const)(
    'is 502 with Retry-After after %s, and the code is nowhere',
    async (fault) => {
      await withMessaging();
      bench.simulator('twilio').behaveAlways(fault);
      const refused = await expectRefused(SEND, { phone_number: NUMBER }, 502, notSent);
      expect(refused.headers['retry-after']).toMatch(/^[1-9]\d*$/);
      const code = codeIn(bench.simulator('twilio').requests[0]?.form['Body'] ?? '');
      expect(bench.said()).not.toMatch(codePattern(code));
    },
  );

  it('is 503 with Retry-After while Twilio is out of order', async () => {
    await withMessaging();
    bench.simulator('twilio').behaveAlways('credentials');
    await expectRefused(SEND, { phone_number: NUMBER }, 502, notSent);
    const refused = await expectRefused(RESEND, { phone_number: NUMBER }, 503, notSent);
    expect(refused.headers['retry-after']).toMatch(/^[1-9]\d*$/);
    expect(bench.simulator('twilio').requests).toHaveLength(1);
  });

  it('says of a number that Twilio finds wrong that it takes no codes', async () => {
    await withMessaging();
    bench.simulator('twilio').behave('bad-number');
    await expectRefused(SEND, { phone_number: NUMBER }, 422, deafNumber);
  });
});

describe('chaski with TWILIO_VERIFY_SERVICE_SID', () => {
  it.each(numbers)('leaves the code for %s to Twilio, which makes and checks its own', async (to) => {
    await withVerify();
    const answer = await bench.post(SEND, { phone_number: to });
    expect([answer.status, answer.body]).toEqual([200, sent]);
    const { form } = bench.simulator('twilio-verify').requests[0] ?? {};
    expect(form).toMatchObject({ To: to, Channel: 'sms' });
    expect(form).not.toHaveProperty('CustomCode');
    const code = bench.codeFor(to);
    await expectRefused(VERIFY, { phone_number: to, code: wrong(code) }, 400, wrongCode);
    const right = await bench.post(VERIFY, { phone_number: to, code });
    expect([right.status, right.body]).toEqual([200, verified]);
    await expectRefused(VERIFY, { phone_number: to, code }, 400, wrongCode);
    expect(bench.said()).not.toMatch(codePattern(code));
  });

  it('repeats Twilio’s code', async () => {
    await withVerify();
    const code = await send();
    bench.clock.now += MINUTE_MS;
    const again = await bench.post(RESEND, { phone_number: NUMBER });
    expect([again.status, again.body]).toEqual([200, { ...sent, expires_in: 540 }]);
    expect(bench.codeFor(NUMBER)).toBe(code);
    expect(bench.simulator('twilio-verify').messages).toHaveLength(2);
    expect((await bench.post(VERIFY, { phone_number: NUMBER, code })).body).toEqual(verified);
  });

  it('refuses Twilio’s code after five wrong ones, and at its end', async () => {
    await withVerify();
    const code = await send();
    for (let by = 1; by <= 5; by += 1)
      await expectRefused(VERIFY, { phone_number: NUMBER, code: wrong(code, by) }, 400, wrongCode);
    await expectRefused(VERIFY, { phone_number: NUMBER, code }, 400, wrongCode);
    const other = await send('+33612345678');
    bench.clock.now += 10 * MINUTE_MS;
    await expectRefused(VERIFY, { phone_number: '+33612345678', code: other }, 400, wrongCode);
  });

  it('does not say that a code is wrong when Twilio cannot tell', async () => {
    await withVerify();
    const code = await send();
    bench.simulator('twilio-verify').behave('credentials');
    const refused = await expectRefused(VERIFY, { phone_number: NUMBER, code }, 502, notChecked);
    expect(refused.headers['retry-after']).toMatch(/^[1-9]\d*$/);
    expect((await bench.post(VERIFY, { phone_number: NUMBER, code })).body).toEqual(verified);
  });

  it('is 502 when Twilio does not take it', async () => {
    await withVerify();
    bench.simulator('twilio-verify').behaveAlways('credentials');
    const refused = await expectRefused(SEND, { phone_number: NUMBER }, 502, notSent);
    expect(refused.headers['retry-after']).toMatch(/^[1-9]\d*$/);
  });

  it('comes before Messaging when both are set, which stands behind it', async () => {
    await open({ mode: 'production', vendors: ['twilio-verify', 'twilio'] });
    await send();
    expect(bench.simulator('twilio-verify').messages).toHaveLength(1);
    expect(bench.simulator('twilio').messages).toEqual([]);
    bench.simulator('twilio-verify').behaveAlways('credentials');
    const code = await send('+33612345678');
    expect(bench.simulator('twilio').messages).toMatchObject([{ to: '+33612345678' }]);
    expect((await bench.post(VERIFY, { phone_number: '+33612345678', code })).body).toEqual(verified);
  });

  it('is used in development too, and its code is not shown', async () => {
    await open({ vendors: ['twilio-verify'] });
    const code = await send();
    expect(bench.composed.inbox?.list()).toEqual([]);
    expect(bench.said()).not.toMatch(codePattern(code));
  });
});

describe('chaski with neither', () => {
  it('in development every send succeeds, the message is on the console in a frame, and its code is good', async () => {
    const example = await serveExample('chaski');
    try {
      for (const [index, to] of numbers.entries()) {
        const path = index === 1 ? RESEND : SEND;
        const answer = await example.call('POST', path, { body: { phone_number: to } });
        expect([answer.status, answer.json]).toEqual([200, sent]);
        const shown = new RegExp(
          String.raw`\n┌─{72}\n│ sms to [+]${to.slice(1)}\n│ \n│ Chaski: your code is (\d{6})\. Valid for 10 min\.\n└─{72}\n`,
        );
        await expect.poll(example.output).toMatch(shown);
        const code = shown.exec(example.output())?.[1] ?? '';
        const body = { phone_number: to, code };
        expect((await example.call('POST', VERIFY, { body: { ...body, code: wrong(code) } })).status).toBe(400);
        const right = await example.call('POST', VERIFY, { body });
        expect([right.status, right.json]).toEqual([200, verified]);
      }
    } finally {
      await example.close();
    }
  }, 30_000);

  it('shows no code in an answer', async () => {
    await inDevelopment();
    const code = await send();
    expect(bench.said()).not.toMatch(codePattern(code));
  });

  it('in production is 503: there is no console that anybody reads', async () => {
    await open({ mode: 'production' });
    for (const path of [SEND, RESEND]) {
      const refused = await expectRefused(path, { phone_number: NUMBER }, 503, notSent);
      expect(refused.headers['retry-after']).toBe('2');
    }
  });
});

describe('chaski: bad input, in the shape of FastAPI', () => {
  let shared: DialectBench;
  beforeAll(async () => {
    shared = await startBench({ config: chaski, mode: 'production', vendors: ['twilio'] });
  });
  afterAll(async () => {
    expect(shared.simulator('twilio').requests).toEqual([]);
    await shared.close();
  });
  const refuses = async (path: string, body: unknown, status: number, refusal: object, headers = {}) => {
    const answer = await shared.post(path, body, headers);
    expect([answer.status, answer.body]).toEqual([status, refusal]);
    expect(answer.headers['content-type']).toBe('application/json');
  };

  it.each(fastApiBadBodies('phone_number'))('$what at send-code and resend-code', async (bad) => {
    for (const path of [SEND, RESEND]) await refuses(path, bad.body, bad.status, bad.answer, bad.headers);
  });

  it.each([
    ...fastApiBadBodies('phone_number', { code: '123456' }),
    ...fastApiBadBodies('code', { phone_number: NUMBER }).map((bad) =>
      // The order of the fields is the schema's, whichever of them is asked about.
      bad.what === 'an empty object' ? { ...bad, answer: { detail: bothMissing } } : bad,
    ),
  ])('$what at verify', async ({ body, status, answer, headers }) => {
    await refuses(VERIFY, body, status, answer, headers);
  });

  it.each([
    ['a national number', '2125551234'],
    ['spaces', '+1 212 555 1234'],
    ['dashes and brackets', '+1(212)555-1234'],
    ['00 in place of the sign', '00442071234567'],
    ['a sign without a country', '+02125551234'],
    ['a line break behind it', '+12125551234\n'],
    ['digits of another script', '+١٢١٢٥٥٥١٢٣٤'],
    ['too few digits', '+12125'],
    ['sixteen digits', '+1212555123412345'],
    ['10 000 digits', `+1${'2'.repeat(10_000)}`],
    ['an empty text', ''],
    ['letters', 'not-a-number'],
    ['a number that no network has', '+12125551'],
  ])('%s is no E.164', async (_, phone_number) => {
    for (const path of [SEND, RESEND]) await refuses(path, { phone_number }, 422, badNumber);
    await refuses(VERIFY, { phone_number, code: '123456' }, 422, badNumber);
  });

  it('takes E.164 alone where the app has a country too', async () => {
    await open({ config: { apps: { chaski: { ...chaski.apps.chaski, country: 'US' } } } });
    for (const phone_number of ['2125551234', '12125551234', '0012125551234', '(212) 555-1234'])
      for (const path of [SEND, RESEND, VERIFY])
        await expectRefused(path, { phone_number, code: '123456' }, 422, badNumber);
    await send();
  });

  it.each([
    ['a premium number', '+19005551234'],
    ['a toll-free number', '+18005551234'],
  ])('%s takes no codes', async (_, phone_number) => {
    for (const path of [SEND, RESEND]) await refuses(path, { phone_number }, 422, deafNumber);
  });

  it.each([
    ['too short', '12345'],
    ['too long', '1234567'],
    ['empty', ''],
    ['letters', 'abcdef'],
    ['10 000 digits', '1'.repeat(10_000)],
  ])('a code that is %s is told as such', async (_, code) => {
    await refuses(VERIFY, { phone_number: NUMBER, code }, 422, badCode);
  });

  it.each(['GET', 'PUT', 'PATCH', 'DELETE'])('%s is a method that is not allowed', async (method) => {
    for (const path of [SEND, VERIFY, RESEND, `${SEND}/`, `${VERIFY}/`, `${RESEND}/`]) {
      const answer = await shared.request(method, path);
      expect([answer.status, answer.body]).toEqual([405, { detail: 'Method Not Allowed' }]);
      expect(answer.headers['allow']).toBe('POST');
    }
  });
});

const bothMissing = ['phone_number', 'code'].map((field) => ({
  loc: ['body', field],
  msg: 'Field required',
  type: 'missing',
}));
