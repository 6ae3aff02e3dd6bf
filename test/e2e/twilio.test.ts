import { createRemoteJWKSet, jwtVerify } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Fault, Simulator } from '../../src/simulators/simulator-kit.ts';
import { signTwilioReport, twilioError, twilioSimulator, twilioStatusFields } from '../../src/simulators/twilio.ts';
import { type Answer, problem, problemOf } from '../http/http-client.ts';
import { type RunningServer, startServer, wideLimits } from '../http/running-server.ts';
import { freePort } from '../http/server-process.ts';

const to = '+998901234567';

let simulator: Simulator;
let credentials: Readonly<Record<string, string>>;
let server: RunningServer;
let publicUrl: string;
let key: string;
/** everything that the API answered */
let answered: string;

beforeEach(async () => {
  simulator = await twilioSimulator.start();
  credentials = twilioSimulator.environment(simulator.url);
  const port = await freePort();
  publicUrl = `http://127.0.0.1:${port}`;
  server = await startServer({
    port,
    file: { mode: 'production', publicUrl, providers: {}, apps: { default: { limits: wideLimits } } },
    // As it is copied: with a space at its end.
    environment: { ...credentials, TWILIO_AUTH_TOKEN: `${credentials['TWILIO_AUTH_TOKEN']} ` },
  });
  key = await server.keyOf();
  answered = '';
});

// Whatever happened: no credential and no code in an answer or in the log, and no number in the log.
afterEach(async () => {
  await simulator.settled();
  const log = server.logged.join('\n');
  const codes = simulator.requests.flatMap(({ form }) => /(?<!\d)\d{6}(?!\d)/.exec(form['Body'] ?? '')?.[0] ?? []);
  expect(codes.length).toBeGreaterThan(0);
  for (const text of [log, answered]) {
    for (const code of codes) expect(text).not.toMatch(new RegExp(`(?<![0-9])${code}(?![0-9])`));
    const { TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN } = credentials;
    expect(text).not.toContain(TWILIO_AUTH_TOKEN);
    expect(text).not.toContain(Buffer.from(`${TWILIO_ACCOUNT_SID}:${TWILIO_AUTH_TOKEN}`).toString('base64'));
  }
  expect(log).not.toContain(to);
  expect(log).not.toContain(to.slice(1));
  await server.close();
  await simulator.close();
});

async function ask(method: string, path: string, body?: object): Promise<Answer> {
  const answer = await server.call(method, path, { body, key });
  answered += `${JSON.stringify(answer.headers)} ${answer.text}\n`;
  return answer;
}

const codeSent = () => /(?<!\d)\d{6}(?!\d)/.exec(simulator.messages.at(-1)?.text ?? '')?.[0] ?? 'none';

async function newestMessage() {
  const { json } = await ask('GET', '/v1/messages?limit=1');
  return (json['messages'] as { id: string; status: string; dispatches: Record<string, unknown>[] }[])[0];
}

describe('a verification through Twilio', () => {
  it('goes from start to token, and its message to delivered', async () => {
    const started = await ask('POST', '/v1/verifications', { to });
    expect(started).toMatchObject({ status: 201, json: { status: 'pending', to, channel: 'sms' } });
    expect(started.json).not.toHaveProperty('code');
    expect(simulator.messages).toMatchObject([
      {
        to,
        text: `Countersign: tasdiqlash kodi ${codeSent()}. 10 daqiqa amal qiladi.`,
        fields: { From: '+15005550006', ValidityPeriod: '600' },
        reportUrl: `${publicUrl}/v1/reports/twilio/${server.composed.reportSecretOf('twilio')}`,
      },
    ]);
    await simulator.settled();
    expect(simulator.reports.map(({ status, answer }) => [status, answer])).toEqual([
      ['sent', 200],
      ['delivered', 200],
    ]);
    expect(await newestMessage()).toMatchObject({
      status: 'delivered',
      dispatches: [{ provider: 'twilio', status: 'delivered', provider_message_id: simulator.messages[0]?.id }],
    });
    const checked = await ask('POST', `/v1/verifications/${started.json['id']}/check`, { code: codeSent() });
    expect(checked.status).toBe(200);
    const keys = createRemoteJWKSet(new URL(`${publicUrl}/.well-known/jwks.json`));
    const { payload } = await jwtVerify(String(checked.json['token']), keys, {
      issuer: publicUrl,
      audience: 'default',
    });
    expect(payload).toMatchObject({ phone_number: to, phone_number_verified: true });
  });

  it('asks Twilio to deliver for no longer than what is left of the code’s life', async () => {
    const started = await ask('POST', '/v1/verifications', { to });
    const code = codeSent();
    server.clock.now += 125_500;
    expect((await ask('POST', `/v1/verifications/${started.json['id']}/resend`)).status).toBe(200);
    expect(simulator.messages.map(({ fields }) => fields['ValidityPeriod'])).toEqual(['600', '474']);
    expect(simulator.messages[1]?.text).toBe(`Countersign: tasdiqlash kodi ${code}. 8 daqiqa amal qiladi.`);
  });

  it('believes no report with a forged signature', async () => {
    simulator.deliver({ status: 'delivered', isForged: true });
    await ask('POST', '/v1/verifications', { to });
    await simulator.settled();
    expect(simulator.reports).toMatchObject([{ status: 'delivered', answer: 400 }]);
    expect(await newestMessage()).toMatchObject({ status: 'queued' });
  });

  it('believes no signature that was made for another address', async () => {
    simulator.deliver();
    await ask('POST', '/v1/verifications', { to });
    const [message] = simulator.messages;
    const fields = twilioStatusFields(message?.id ?? '', 'delivered');
    const path = new URL(message?.reportUrl ?? '').pathname;
    for (const [signed, status] of [
      [`http://evil.example${path}`, 400],
      [`${publicUrl}${path}?extra=1`, 400],
      [`${publicUrl}${path}`, 200],
    ] as const) {
      const { headers, rawBody } = signTwilioReport(signed, fields);
      expect((await server.call('POST', path, { body: rawBody, headers })).status, signed).toBe(status);
    }
    expect(await newestMessage()).toMatchObject({ status: 'delivered' });
  });

  it('keeps the word of a report that a text was not delivered, with Twilio’s code', async () => {
    simulator.deliver(
      { status: 'sent' },
      { status: 'undelivered', errorCode: 30003, times: 2 },
      { status: 'delivered' },
    );
    await ask('POST', '/v1/verifications', { to });
    await simulator.settled();
    expect(await newestMessage()).toMatchObject({
      status: 'undelivered',
      dispatches: [{ status: 'undelivered', reason: 'unavailable', error_code: '30003' }],
    });
  });
});

const refused = (status: number, code: number, retryAfterSeconds?: number): Fault => ({
  kind: 'answer',
  answer: twilioError(status, code, retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
});

describe('a failure at Twilio', () => {
  it.each<[string, Fault, ReturnType<typeof problem>, string, string, RegExp]>([
    [
      'a number that is none',
      refused(400, 21211),
      problem(422, 'recipient-refused', 'to'),
      'recipient',
      '21211',
      /cannot receive/,
    ],
    [
      'a person who said STOP',
      refused(400, 21610),
      problem(422, 'recipient-refused', 'to'),
      'blocked',
      '21610',
      /no more messages/,
    ],
    [
      'a country that the account has closed',
      refused(400, 21408),
      problem(502, 'delivery-failed'),
      'blocked',
      '21408',
      /No provider took/,
    ],
    ['a trial account', refused(400, 21608), problem(502, 'delivery-failed'), 'blocked', '21608', /No provider took/],
    ['a refused text', refused(400, 30007), problem(502, 'delivery-failed'), 'content', '30007', /No provider took/],
    [
      'a place that it does not reach',
      refused(400, 21612),
      problem(502, 'delivery-failed'),
      'coverage',
      '21612',
      /No provider took/,
    ],
    ['bad credentials', 'credentials', problem(502, 'delivery-failed'), 'account', '20003', /No provider took/],
    [
      'too many requests',
      refused(429, 20429, 7),
      problem(502, 'delivery-failed'),
      'throttled',
      '20429',
      /No provider took/,
    ],
    ['an outage', refused(503, 20503), problem(502, 'delivery-failed'), 'unavailable', '20503', /No provider took/],
    [
      'an error of its own',
      refused(500, 20500),
      problem(502, 'delivery-failed'),
      'uncertain',
      '20500',
      /may still arrive/,
    ],
    ['half an answer', 'garbage', problem(502, 'delivery-failed'), 'uncertain', 'unreadable', /may still arrive/],
    ['a page of HTML', 'html', problem(502, 'delivery-failed'), 'uncertain', 'unreadable', /may still arrive/],
    [
      'a dropped connection',
      'drop-after-reading',
      problem(502, 'delivery-failed'),
      'uncertain',
      'ECONNRESET',
      /may still arrive/,
    ],
  ])(
    '%s has its own answer and is kept with the message',
    async (_name, behaviour, expected, reason, errorCode, detail) => {
      simulator.behave(behaviour);
      const answer = await ask('POST', '/v1/verifications', { to });
      expect(problemOf(answer)).toEqual(expected);
      expect(answer.json['detail']).toMatch(detail);
      if (expected.status === 502) {
        const wait = reason === 'throttled' ? '7' : '5';
        expect(answer.headers['retry-after']).toBe(wait);
      }
      // Nothing of what Twilio said reaches the caller.
      expect(answer.text).not.toMatch(/twilio|authenticate|credential|AC0000/i);
      await simulator.settled();
      const { status, dispatches } = (await newestMessage()) ?? {};
      expect(status).toBe(reason === 'uncertain' ? 'unknown' : 'failed');
      expect(dispatches).toMatchObject([{ provider: 'twilio', reason, error_code: errorCode }]);
      expect(simulator.requests).toHaveLength(1);
      const isOurs = ['account', 'content', 'coverage'].includes(reason);
      const line = server.logged.find((logged) => logged.includes('dispatch failed'));
      expect(JSON.parse(line ?? '{}')).toMatchObject({
        level: isOurs ? 'error' : 'warn',
        provider: 'twilio',
        reason,
        errorCode,
        number: '+998•••••4567',
      });
      // After an uncertain outcome the text may arrive: then its code approves.
      const code = /(?<!\d)\d{6}(?!\d)/.exec(simulator.requests[0]?.form['Body'] ?? '')?.[0];
      expect((await ask('POST', '/v1/check', { to, code })).status).toBe(200);
    },
  );

  it('that is no answer at all ends after three seconds, and the code of a text that arrives after all approves', async () => {
    simulator.behave('stall');
    const startedAt = performance.now();
    const answer = await ask('POST', '/v1/verifications', { to });
    const tookMs = performance.now() - startedAt;
    expect(problemOf(answer)).toEqual(problem(502, 'delivery-failed'));
    expect(answer.json['detail']).toMatch(/may still arrive/);
    expect(tookMs).toBeGreaterThan(2900);
    expect(tookMs).toBeLessThan(4000);
    expect((await newestMessage())?.dispatches).toMatchObject([
      { status: 'unknown', reason: 'uncertain', error_code: 'timeout' },
    ]);
    expect((await ask('POST', '/v1/check', { to, code: codeSent() })).status).toBe(200);
  });

  it('is surely not taken when nobody listens', async () => {
    await ask('POST', '/v1/verifications', { to });
    await simulator.close();
    server.clock.now += 60_000;
    const answer = await ask('POST', '/v1/messages', { to, text: 'Your driver is here' });
    expect(problemOf(answer)).toEqual(problem(502, 'delivery-failed'));
    expect((await newestMessage())?.dispatches).toMatchObject([
      { status: 'failed', reason: 'unavailable', error_code: 'ECONNREFUSED' },
    ]);
    // For the closing after each test.
    simulator = { ...simulator, close: async () => {} };
  });
});
