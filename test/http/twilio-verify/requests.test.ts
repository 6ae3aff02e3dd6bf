import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failed } from '../../../src/provider-kit/define-provider.ts';
import { wrong } from '../running-server.ts';
import { MINUTE, OTHER, SHOP, startVerify, type VerifyBench } from './verify-bench.ts';

let bench: VerifyBench;
let service: string;
let newest = 0;

beforeAll(async () => {
  bench = await startVerify();
  service = String((await bench.raw('POST', '/v2/Services', { form: { FriendlyName: 'Shop' } })).json['sid']);
});
afterAll(() => bench.close());

/** A number that no other test uses. */
const newNumber = () => `+99890${String(7_000_000 + ++newest)}`;
const create = (form: Record<string, string> | string, of = service) =>
  bench.raw('POST', `/v2/Services/${of}/Verifications`, { form });
const check = (form: Record<string, string> | string) =>
  bench.raw('POST', `/v2/Services/${service}/VerificationCheck`, { form });
const errorBody = (status: number, code: number, message: unknown) => ({
  code,
  message,
  more_info: `https://www.twilio.com/docs/errors/${code}`,
  status,
});

describe('answers over the wire', () => {
  it('have every key that Twilio has, and no code', async () => {
    const to = newNumber();
    const started = await create({ To: to, Channel: 'sms', Locale: 'en', AppHash: 'FA+9qCX9VSu' });
    const { sid } = started.json;
    const date = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(started.status).toBe(201);
    expect(started.headers['content-type']).toMatch(/^application\/json/);
    const body = {
      sid: expect.stringMatching(/^VE[0-9a-f]{32}$/),
      service_sid: service,
      account_sid: SHOP.accountSid,
      to,
      channel: 'sms',
      status: 'pending',
      valid: false,
      lookup: {},
      amount: null,
      payee: null,
      send_code_attempts: [{ time: date, channel: 'SMS', attempt_sid: expect.stringMatching(/^VL[0-9a-f]{32}$/) }],
      sna: null,
      date_created: date,
      date_updated: date,
      url: `${bench.origin}/v2/Services/${service}/Verifications/${sid}`,
    };
    expect(started.json).toEqual(body);
    const code = bench.newestCode(to);
    expect(bench.sent.at(-1)?.text).toBe(`Shop: your code is ${code}. Valid for 10 min.\nFA+9qCX9VSu`);
    const withoutIds = (text: string) => text.replaceAll(/[0-9a-f]{32}/g, '').replaceAll(to, '');
    expect(withoutIds(started.text)).not.toContain(code);

    const path = `/v2/Services/${service}/Verifications`;
    for (const named of [sid, to, encodeURIComponent(to), String(sid).replace(/[a-f]/g, (each) => each.toUpperCase())])
      expect((await bench.raw('GET', `${path}/${named}`)).json, String(named)).toEqual(body);

    const approved = await check({ Code: code, To: to });
    expect(approved.status).toBe(200);
    expect(approved.json).toEqual({
      sid,
      service_sid: service,
      account_sid: SHOP.accountSid,
      to,
      channel: 'sms',
      status: 'approved',
      valid: true,
      amount: null,
      payee: null,
      sna_attempts_error_codes: [],
      date_created: date,
      date_updated: date,
    });
    const gone = await check({ Code: code, To: to });
    expect(gone.status).toBe(404);
    expect(gone.json).toEqual(
      errorBody(404, 20404, `The requested resource /Services/${service}/VerificationCheck was not found`),
    );
  });

  it('have no code in development mode either: Twilio never shows one', async () => {
    const open = await startVerify({}, { mode: 'development' });
    const { json } = await open.raw('POST', '/v2/Services', { form: { FriendlyName: 'Shop' } });
    const form = { To: '+998901230000', Channel: 'sms' };
    const started = await open.raw('POST', `/v2/Services/${json['sid']}/Verifications`, { form });
    await open.close();
    expect(started.status).toBe(201);
    expect(started.json).not.toHaveProperty('code');
  });

  it('say the wrong code with a 200', async () => {
    const to = newNumber();
    await create({ To: to, Channel: 'sms' });
    expect(await check({ Code: wrong(bench.newestCode(to)), To: to })).toMatchObject({
      status: 200,
      json: { status: 'pending', valid: false },
    });
  });
});

describe('whoever asks', () => {
  const ask = (authorization: string | undefined, path = `/v2/Services/${service}`) =>
    bench.call('GET', path, authorization === undefined ? {} : { headers: { authorization } });
  const basic = (login: string) => `Basic ${Buffer.from(login).toString('base64')}`;

  it.each([
    undefined,
    '',
    'Basic',
    'Basic !!!',
    basic(''),
    basic(':'),
    basic(SHOP.accountSid),
    basic(`${SHOP.accountSid}:`),
    basic(`${SHOP.accountSid}:${SHOP.authToken}x`),
    basic(`${SHOP.accountSid}:${OTHER.authToken}`),
    basic(`SK${'1'.repeat(32)}:${SHOP.authToken}`),
    `Bearer ${SHOP.authToken}`,
  ])('is not let in with %j', async (authorization) => {
    for (const path of [`/v2/Services/${service}`, '/v2/Services', '/v2/Nowhere', '/v2']) {
      const answer = await ask(authorization, path);
      expect(answer.status).toBe(401);
      expect(answer.json).toEqual(errorBody(401, 20003, 'Authenticate'));
    }
  });

  it('may show an API key of the app in the place of the token, but none of another app', async () => {
    expect(await ask(basic(`${SHOP.accountSid}:${await bench.keyOf('shop')}`))).toMatchObject({ status: 200 });
    expect(await ask(basic(`${SHOP.accountSid}:${await bench.keyOf('other')}`))).toMatchObject({ status: 401 });
  });

  it('is nobody where no app is called so', async () => {
    const none = await startVerify({}, { apps: { shop: { brand: 'Shop' } } });
    const answer = await none.raw('GET', '/v2/Services');
    await none.close();
    expect(answer).toMatchObject({ status: 404, json: { code: 'not-found' } });
  });
});

describe('requests of the wrong form', () => {
  it('are refused when they are JSON, or too large', async () => {
    const path = `/v2/Services/${service}/Verifications`;
    const json = await bench.raw('POST', path, {
      form: JSON.stringify({ To: newNumber(), Channel: 'sms' }),
      headers: { 'content-type': 'application/json' },
    });
    expect(json).toMatchObject({ status: 415, json: { code: 19056, status: 415 } });
    const large = await create(`To=${'1'.repeat(20_000)}`);
    expect(large).toMatchObject({ status: 400, json: { code: 60200 } });
  });

  it.each([
    ['Channel=sms', 'Invalid parameter `To`: '],
    ['To=&Channel=sms', 'Invalid parameter `To`: '],
    ['To=%2B998901234599', 'Invalid parameter `Channel`: '],
    ['To=%2B998901234599&Channel=SMS', 'Invalid parameter `Channel`: '],
    ['To=%2B998901234599&Channel=pigeon', 'Invalid parameter `Channel`: '],
    ['To=%2B998901234599&Channel=constructor', 'Invalid parameter `Channel`: '],
    ['To=%2B99890&Channel=sms', 'Invalid parameter `To`: '],
    ['To=901234599&Channel=sms', 'Invalid parameter `To`: '],
    ['To=hello&Channel=sms', 'Invalid parameter `To`: '],
    ['To=a%40example.com&Channel=sms', 'Invalid parameter `To`: '],
    ['To=%2B998901234599&Channel=email', 'Invalid parameter `To`: '],
    ['To=a%40b%40c&Channel=email', 'Invalid parameter `To`: '],
    ['To=%2B998901234599&To=%2B998901234598&Channel=sms', 'Invalid parameter `To`: '],
    ['To=%2B998901234599&Channel=sms&Locale=%FF', 'Invalid parameter: '],
    ['To=%2B998901234599&Channel=sms&Locale=%zz', 'Invalid parameter: '],
    ['To=%2B998901234599&Channel=sms&Tags=[]', 'Invalid parameter `Tags`: '],
    ['To=%2B998901234599&Channel=sms&Tags={', 'Invalid parameter `Tags`: '],
    [`To=%2B998901234599&Channel=sms&Tags={"a":"${'x'.repeat(129)}"}`, 'Invalid parameter `Tags`: '],
    [
      `To=%2B998901234599&Channel=sms&Tags=${JSON.stringify(Object.fromEntries([...'abcdefghijk'].map((each) => [each, ''])))}`,
      'Invalid parameter `Tags`: ',
    ],
    ['To=%2B998901234599&Channel=sms&RateLimits=1', 'Invalid parameter `RateLimits`: '],
    ['To=%2B998901234599&Channel=sms&AppHash=short', 'Invalid parameter `AppHash`: '],
    ['To=%2B998901234599&Channel=sms&RiskCheck=maybe', 'Invalid parameter `RiskCheck`: '],
    ['To=%2B998901234599&Channel=sms&DeviceIp=here', 'Invalid parameter `DeviceIp`: '],
    ['To=%2B998901234599&Channel=call&SendDigits=1', 'Invalid parameter `SendDigits`: '],
    ['To=%2B998901234599&Channel=sms&CustomFriendlyName=12345', 'Invalid parameter `CustomFriendlyName`: '],
  ])('are refused as Twilio does: %s', async (form, message) => {
    const sentBefore = bench.sent.length;
    const { status, json } = await create(form);
    expect(json).toEqual(errorBody(400, 60200, expect.stringMatching(`^${message}`)));
    expect(status).toBe(400);
    expect(bench.sent.length).toBe(sentBefore);
  });

  it('do not hold bytes that are no text', async () => {
    const answer = await bench.call('POST', `/v2/Services/${service}/Verifications`, {
      body: Buffer.from([0x54, 0x6f, 0x3d, 0xff]),
      headers: {
        authorization: `Basic ${Buffer.from(`${SHOP.accountSid}:${SHOP.authToken}`).toString('base64')}`,
        'content-type': 'application/x-www-form-urlencoded',
      },
    });
    expect(answer.json).toEqual(errorBody(400, 60200, 'Invalid parameter: the request is not form-encoded UTF-8'));
  });

  it.each([
    ['sna', 403, 60223],
    ['push', 403, 60223],
    ['rcs', 403, 60223],
    ['totp', 403, 60223],
  ])('are told that %s is off', async (channel, status, code) => {
    expect(await create({ To: newNumber(), Channel: channel })).toMatchObject({ status, json: { code, status } });
  });

  it('need payments that nobody has switched on', async () => {
    for (const more of [{ Amount: '€39.99', Payee: 'Acme' }, { Amount: '1' }, { Payee: 'Acme' }])
      expect((await create({ To: newNumber(), Channel: 'sms', ...more })).json).toMatchObject({
        code: 60206,
        status: 400,
      });
  });

  it('are told with a 404 that there is no text in their language', async () => {
    const answer = await create({ To: newNumber(), Channel: 'sms', Locale: 'tlh' });
    expect(answer.json).toEqual(
      errorBody(404, 20404, `The requested resource /Services/${service}/Verifications was not found`),
    );
    expect(await create({ To: newNumber(), Channel: 'sms', Locale: 'en-GB' })).toMatchObject({ status: 201 });
  });

  it.each([
    ['', 'Code'],
    ['To=%2B998901234599', 'Code'],
    ['Code=123456', 'To'],
  ])('check nothing: %j', async (form, parameter) => {
    expect((await check(form)).json).toEqual(
      errorBody(400, 60200, expect.stringMatching(`^Invalid parameter \`${parameter}\`: `)),
    );
  });

  it('cost no attempt when what they hold is no code', async () => {
    const to = newNumber();
    await create({ To: to, Channel: 'sms' });
    const code = bench.newestCode(to);
    for (const typed of ['abcdef', '12345', '1234567', `${code}0`]) {
      const { status, json } = await check({ To: to, Code: typed });
      expect({ status, said: json['status'], valid: json['valid'] }, typed).toEqual({
        status: 200,
        said: 'pending',
        valid: false,
      });
    }
    for (const typed of ['１２', '123', '12345678901']) {
      const { status, json } = await check({ To: to, Code: typed });
      expect({ status, code: json['code'] }, typed).toEqual({ status: 400, code: 60200 });
    }
    for (let by = 1; by <= 4; by += 1) await check({ To: to, Code: wrong(code, by) });
    expect((await check({ To: to, Code: code })).json).toMatchObject({ status: 'approved' });
  });

  it('understand a plus that nobody encoded', async () => {
    const to = newNumber();
    expect((await create(`To=${to}&Channel=sms`)).json).toMatchObject({ to });
  });

  it('may end a verification by no other word than Twilio has', async () => {
    const to = newNumber();
    const { json } = await create({ To: to, Channel: 'sms' });
    const path = `/v2/Services/${service}/Verifications/${json['sid']}`;
    for (const form of ['', 'Status=', 'Status=expired', 'Status=Approved'])
      expect((await bench.raw('POST', path, { form })).json, form).toMatchObject({ code: 60200 });
    expect((await bench.raw('POST', path, { form: 'Status=approved' })).json).toMatchObject({
      status: 'approved',
      valid: true,
    });
  });
});

describe('paths', () => {
  it('of products that are not here are not found', async () => {
    for (const path of [
      `/Services/${service}/Webhooks`,
      `/Services/${service}/Entities`,
      `/Services/${service}/AccessTokens`,
      `/Services/${service}/Passkeys/Factors`,
      '/Forms/form-push',
      '/Services/',
      '',
    ]) {
      for (const method of ['GET', 'POST', 'DELETE'] as const) {
        const answer = await bench.raw(method, `/v2${path}?x=1`, method === 'POST' ? { form: 'a=b' } : {});
        expect(answer.status, `${method} ${path}`).toBe(404);
        expect(answer.json).toEqual(errorBody(404, 20404, `The requested resource ${path} was not found`));
      }
    }
  });

  it('have their methods', async () => {
    for (const [method, path, allowed] of [
      ['DELETE', '/Services', 'GET, POST'],
      ['PUT', `/Services/${service}`, 'GET, POST, DELETE'],
      ['GET', `/Services/${service}/VerificationCheck`, 'POST'],
      ['PATCH', '/Templates', 'GET'],
      ['POST', '/Attempts', 'GET'],
    ] as const) {
      const answer = await bench.raw(method, `/v2${path}`, method === 'POST' ? { form: 'a=b' } : {});
      expect(answer.status, `${method} ${path}`).toBe(405);
      expect(answer.json).toMatchObject({ code: 20004, status: 405 });
      expect(answer.headers['allow']).toBe(allowed);
    }
  });
});

describe('what stops a code', () => {
  it('is answered in Twilio’s numbers', async () => {
    for (const [outcome, status, code] of [
      [failed('recipient', 'X1'), 400, 21211],
      [failed('account', 'X2'), 503, 20503],
      [failed('unavailable', 'X3'), 503, 20503],
    ] as const) {
      // For each its own: a provider that fails is passed by for a while.
      const failing = await startVerify();
      const { json } = await failing.raw('POST', '/v2/Services', { form: { FriendlyName: 'Shop' } });
      failing.behave(outcome);
      const path = `/v2/Services/${json['sid']}/Verifications`;
      const answer = await failing.raw('POST', path, { form: { To: newNumber(), Channel: 'sms' } });
      await failing.close();
      expect(answer.json, String(code)).toMatchObject({ code, status });
      expect(answer.status).toBe(status);
    }
    for (const to of ['+18005550100', '+998712345678'])
      expect(await create({ To: to, Channel: 'sms' }), to).toMatchObject({ status: 403, json: { code: 60205 } });
  });

  it('may be a country, a limit of the app, or what it may spend', async () => {
    const strict = await startVerify({
      allowedCountries: ['UZ'],
      limits: {
        perNumber: [{ max: 1, windowSeconds: 600 }],
        perAddress: [{ max: 2, windowSeconds: 60 }],
        perPrefix: [{ max: 100, windowSeconds: 60 }],
        perApp: [{ max: 3, windowSeconds: 60 }],
      },
    });
    try {
      const { json } = await strict.raw('POST', '/v2/Services', { form: { FriendlyName: 'Shop' } });
      const ask = (to: string, ip = '') =>
        strict.raw('POST', `/v2/Services/${json['sid']}/Verifications`, {
          form: { To: to, Channel: 'sms', DeviceIp: ip },
        });
      expect(await ask('+79161234567')).toMatchObject({ status: 403, json: { code: 60605 } });
      expect(await ask('+998901236001', '203.0.113.1')).toMatchObject({ status: 201 });
      expect(await ask('+998901236001')).toMatchObject({
        status: 429,
        headers: { 'retry-after': '600' },
        json: { code: 60203, message: 'Max send attempts reached' },
      });
      expect(await ask('+998901236002', '203.0.113.1')).toMatchObject({ status: 201 });
      const byAddress = await ask('+998901236003', '203.0.113.1');
      expect(byAddress).toMatchObject({ status: 429, headers: { 'retry-after': '60' }, json: { code: 20429 } });
      expect(byAddress.headers).not.toHaveProperty('twilio-reached-rate-limit');
      expect(await ask('+998901236003')).toMatchObject({ status: 201 });
      expect(await ask('+998901236004')).toMatchObject({ status: 429, json: { code: 20429 } });
    } finally {
      await strict.close();
    }
  });

  it('is a lock after too many guesses over many verifications, also for a new code', async () => {
    const to = newNumber();
    for (let round = 0; round < 4; round += 1) {
      await create({ To: to, Channel: 'sms' });
      const code = bench.newestCode(to);
      for (let by = 1; by <= 5; by += 1) await check({ To: to, Code: wrong(code, by) });
      bench.clock.now += 10 * MINUTE;
    }
    const locked = await create({ To: to, Channel: 'sms' });
    expect(locked).toMatchObject({ status: 429, json: { code: 60202, message: 'Max check attempts reached' } });
    expect(Number(locked.headers['retry-after'])).toBeGreaterThan(0);
  });
});

describe('under attack', () => {
  it('approves exactly one of 200 right checks at once', async () => {
    const to = newNumber();
    await create({ To: to, Channel: 'sms' });
    const code = bench.newestCode(to);
    const answers = await Promise.all(Array.from({ length: 200 }, () => check({ To: to, Code: code })));
    expect(answers.filter(({ json }) => json['status'] === 'approved')).toHaveLength(1);
    expect(answers.filter(({ status, json }) => status === 404 && json['code'] === 20404)).toHaveLength(199);
  });

  it('compares five of 200 wrong codes at once', async () => {
    const to = newNumber();
    await create({ To: to, Channel: 'sms' });
    const code = bench.newestCode(to);
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) => check({ To: to, Code: wrong(code, index + 1) })),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(5);
    expect(answers.filter(({ status, json }) => status === 429 && json['code'] === 60202)).toHaveLength(195);
    expect(await check({ To: to, Code: code })).toMatchObject({ status: 429 });
  });

  it('sends five of 200 at once', async () => {
    const to = newNumber();
    const answers = await Promise.all(Array.from({ length: 200 }, () => create({ To: to, Channel: 'sms' })));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(5);
    expect(answers.filter(({ status, json }) => status === 429 && json['code'] === 60203)).toHaveLength(195);
    expect(new Set(answers.flatMap(({ json }) => json['sid'] ?? [])).size).toBe(1);
  });

  it('logs no code, no token and no whole number', async () => {
    const to = newNumber();
    await create({ To: to, Channel: 'sms' });
    const code = bench.newestCode(to);
    await check({ To: to, Code: code });
    const lines = bench.logged.join('\n');
    expect(lines).toContain('"route":"/v2/Services/:service/VerificationCheck"');
    for (const secret of [to, to.slice(1), SHOP.authToken]) expect(lines).not.toContain(secret);
    expect(lines).not.toMatch(new RegExp(`"${code}"`));
  });
});
