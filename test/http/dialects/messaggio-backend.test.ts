import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import messaggioBackend from '../../../examples/messaggio-backend/countersign.config.ts';
import { wrong } from '../running-server.ts';
import { djangoBadBodies } from './bad-bodies.ts';
import { codePattern, type DialectBench, startBench } from './dialect-bench.ts';

const SEND = '/send-otp/';
const VERIFY = '/verify-otp/';
const NUMBER = '+77088043414';
const MINUTE_MS = 60_000;

const wrongCode = { error: 'Неверный или просроченный код' };
const notSent = { error: 'Не удалось отправить SMS. Попробуйте позже' };
const tooMany = { error: 'Слишком много запросов. Попробуйте позже' };
const badNumber = { phone_number: ['Неверный номер телефона'] };
const badCode = { code: ['Код состоит из 6 цифр'] };

let bench: DialectBench;
const opened: DialectBench[] = [];
const open = async (setup: Omit<Parameters<typeof startBench>[0], 'config'>) => {
  bench = await startBench({ config: messaggioBackend, ...setup });
  opened.push(bench);
};
const inDevelopment = () => open({});
const inProduction = () => open({ mode: 'production', vendors: ['messaggio'] });
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});

/** Asks for a code as its app does. @returns the code */
async function send(phone_number = NUMBER): Promise<string> {
  expect(await bench.post(SEND, { phone_number })).toMatchObject({ status: 200 });
  return bench.codeFor(NUMBER);
}

/** What Messaggio was last asked for. */
function asked() {
  return bench.simulator('messaggio').requests.at(-1)?.json as {
    readonly recipients: readonly { readonly phone: string }[];
    readonly channels: readonly string[];
    readonly sms: { readonly from: string; readonly content: readonly { readonly text: string }[] };
  };
}

describe('messaggio-backend: the quoted exchanges', () => {
  it('in development: the code is in debug_code, is checked, and is good once', async () => {
    await inDevelopment();
    const sent = await bench.post(SEND, { phone_number: NUMBER });
    const code = bench.codeFor(NUMBER);
    expect(sent).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
    expect(sent.body).toEqual({ message: 'SMS код отправлен успешно', phone_number: NUMBER, debug_code: code });
    expect(bench.textTo(NUMBER)).toBe(`Ваш код подтверждения: ${code}`);

    const verified = await bench.post(VERIFY, { phone_number: NUMBER, code });
    expect(verified).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
    expect(verified.body).toEqual({ message: 'Номер телефона подтверждён', phone_number: NUMBER });
    const again = await bench.post(VERIFY, { phone_number: NUMBER, code });
    expect([again.status, again.body]).toEqual([400, wrongCode]);
  });

  it('in production: Messaggio gets the text and the sender, and no answer and no line of the log has the code', async () => {
    await inProduction();
    const sent = await bench.post(SEND, { phone_number: NUMBER });
    const code = bench.codeFor(NUMBER);
    expect([sent.status, sent.body]).toEqual([200, { message: 'SMS код отправлен успешно', phone_number: NUMBER }]);
    expect(asked()).toMatchObject({
      recipients: [{ phone: '77088043414' }],
      channels: ['sms'],
      sms: { from: 'test-sms-sender', content: [{ text: `Ваш код подтверждения: ${code}` }] },
    });
    expect(bench.textTo(NUMBER)).toBe(`Ваш код подтверждения: ${code}`);

    const refused = await bench.post(VERIFY, { phone_number: NUMBER, code: wrong(code) });
    expect([refused.status, refused.body]).toEqual([400, wrongCode]);
    const verified = await bench.post(VERIFY, { phone_number: NUMBER, code });
    expect([verified.status, verified.body]).toEqual([
      200,
      { message: 'Номер телефона подтверждён', phone_number: NUMBER },
    ]);
    expect(bench.said()).not.toMatch(codePattern(code));
    expect(bench.logged.join('\n')).not.toContain('7088043414');
  });

  it('by MESSAGGIO_API_KEY alone goes out from the sender of the old back end', async () => {
    await open({ vendors: ['messaggio'], mode: 'production', environment: { MESSAGGIO_FROM: '' } });
    expect((await bench.post(SEND, { phone_number: NUMBER })).status).toBe(200);
    expect(asked()).toMatchObject({ sms: { from: 'Саша Чурилов & Co' } });
  });

  it('in development with Messaggio: the text goes out and the code is not shown', async () => {
    await open({ vendors: ['messaggio'] });
    const sent = await bench.post(SEND, { phone_number: NUMBER });
    expect(sent.body).toEqual({ message: 'SMS код отправлен успешно', phone_number: NUMBER });
    expect(bench.simulator('messaggio').messages).toHaveLength(1);
    expect(bench.said()).not.toMatch(codePattern(bench.codeFor(NUMBER)));
  });

  it.each(['/send-otp', '/send-otp/'])('is served at %s', async (path) => {
    await inDevelopment();
    expect((await bench.post(path, { phone_number: NUMBER })).status).toBe(200);
    const code = bench.codeFor(NUMBER);
    const verify = path.replace('send', 'verify');
    expect((await bench.post(verify, { phone_number: NUMBER, code })).body).toEqual({
      message: 'Номер телефона подтверждён',
      phone_number: NUMBER,
    });
  });
});

describe('messaggio-backend: numbers', () => {
  it.each([
    ['8 (708) 804-34-14', '+77088043414'],
    ['+7 708 804 34 14', '+77088043414'],
    ['87088043414', '+77088043414'],
    ['8-708-804-34-14', '+77088043414'],
    ['77088043414', '+77088043414'],
    ['тел. +7 (708) 804 34 14', '+77088043414'],
    ['8 708 804-34-14 (моб.)', '+77088043414'],
    [' +77088043414\n', '+77088043414'],
    ['8 (912) 345-67-89', '+79123456789'],
    ['+79123456789', '+79123456789'],
    ['9123456789', '+79123456789'],
  ])('%j is %s, when it is sent to and when it is checked', async (phone_number, number) => {
    await inProduction();
    const sent = await bench.post(SEND, { phone_number });
    expect([sent.status, sent.body]).toEqual([200, { message: 'SMS код отправлен успешно', phone_number: number }]);
    expect(asked().recipients).toEqual([{ phone: number.slice(1) }]);
    const verified = await bench.post(VERIFY, { phone_number, code: bench.codeFor(number) });
    expect([verified.status, verified.body]).toEqual([
      200,
      { message: 'Номер телефона подтверждён', phone_number: number },
    ]);
  });

  it('takes a JSON number for its digits, as a CharField does', async () => {
    await inDevelopment();
    const sent = await bench.post(SEND, { phone_number: 87088043414 });
    expect(sent).toMatchObject({ status: 200, body: { phone_number: NUMBER } });
    const code = bench.codeFor(NUMBER);
    const isWhole = !code.startsWith('0');
    const verified = await bench.post(VERIFY, { phone_number: 77088043414, code: isWhole ? Number(code) : code });
    expect(verified).toMatchObject({ status: 200, body: { phone_number: NUMBER } });
  });

  it('counts every spelling in one bucket', async () => {
    await inProduction();
    for (const spelling of ['8 (708) 804-34-14', '+77088043414', '87088043414', '+7 708 8043414', '77088043414'])
      await send(spelling);
    const refused = await bench.post(SEND, { phone_number: '+7-708-804-34-14' });
    expect(refused.status).toBe(429);
    expect(bench.simulator('messaggio').messages).toHaveLength(5);
  });

  it.each([
    ['letters', 'номер', badNumber],
    ['too few digits', '+7708', badNumber],
    ['10 000 characters', '7'.repeat(10_000), badNumber],
    ['two signs', '++77088043414', badNumber],
    // These exist, and who asks about them learns as much as of any number that has no code.
    ['a landline', '+74951234567', wrongCode],
    ['a toll-free number', '8 800 555 35 35', wrongCode],
    ['a number of another country', '+12125551234', wrongCode],
    ['a number of a neighbour', '+998901234567', wrongCode],
  ])('sends nothing to %s', async (_, phone_number, verifyAnswer) => {
    await inProduction();
    const sent = await bench.post(SEND, { phone_number });
    expect([sent.status, sent.body]).toEqual([400, badNumber]);
    expect(bench.simulator('messaggio').requests).toEqual([]);
    const verified = await bench.post(VERIFY, { phone_number, code: '123456' });
    expect([verified.status, verified.body]).toEqual([400, verifyAnswer]);
  });
});

describe('messaggio-backend: when Messaggio does not take it', () => {
  it.each([
    'credentials',
    'balance',
    'content',
    'throttle',
    'server-error',
    'garbage',
    'refuse-inside-2xx',
    'drop-after-reading',
  ] as const)('%s in production is 502, and the code is nowhere', async (fault) => {
    await inProduction();
    bench.simulator('messaggio').behaveAlways(fault);
    const refused = await bench.post(SEND, { phone_number: NUMBER });
    expect([refused.status, refused.body]).toEqual([502, notSent]);
    expect(refused.headers['retry-after']).toMatch(/^[1-9]\d*$/);
    const code = /\d{6}/.exec(asked().sms.content[0]?.text ?? '')?.[0] ?? '';
    expect(code).toMatch(/^\d{6}$/);
    expect(bench.said()).not.toMatch(codePattern(code));
    expect(bench.logged.join('\n')).not.toContain('7088043414');
    expect(bench.logged.join('\n')).toContain('dispatch failed');
  });

  it('says that a number is wrong when Messaggio says so', async () => {
    await inProduction();
    bench.simulator('messaggio').behave('bad-number');
    const refused = await bench.post(SEND, { phone_number: NUMBER });
    expect([refused.status, refused.body]).toEqual([400, badNumber]);
  });

  it('is 503 with Retry-After while Messaggio is out of order', async () => {
    await inProduction();
    bench.simulator('messaggio').behaveAlways('credentials');
    expect((await bench.post(SEND, { phone_number: NUMBER })).status).toBe(502);
    const refused = await bench.post(SEND, { phone_number: NUMBER });
    expect([refused.status, refused.body]).toEqual([503, notSent]);
    expect(refused.headers['retry-after']).toMatch(/^[1-9]\d*$/);
    expect(bench.simulator('messaggio').requests).toHaveLength(1);
  });

  it('in development goes to the inbox and shows the code, as the old one did', async () => {
    await open({ vendors: ['messaggio'] });
    bench.simulator('messaggio').behaveAlways('credentials');
    const sent = await bench.post(SEND, { phone_number: NUMBER });
    expect([sent.status, sent.body]).toEqual([
      200,
      { message: 'SMS код отправлен успешно', phone_number: NUMBER, debug_code: bench.codeFor(NUMBER) },
    ]);
  });
});

describe('messaggio-backend: codes and limits', () => {
  it.each([
    ['too short', '12345'],
    ['too long', '1234567'],
    ['letters', 'abcdef'],
    ['10 000 digits', '1'.repeat(10_000)],
  ])('refuses a code that is %s in the field’s name, and counts no attempt', async (_, code) => {
    await inProduction();
    const right = await send();
    for (let time = 0; time < 6; time += 1) {
      const refused = await bench.post(VERIFY, { phone_number: NUMBER, code });
      expect([refused.status, refused.body]).toEqual([400, badCode]);
    }
    expect((await bench.post(VERIFY, { phone_number: NUMBER, code: right })).status).toBe(200);
  });

  it('refuses the right code after five wrong ones, and one of another number', async () => {
    await inProduction();
    const code = await send();
    const other = await bench.post(VERIFY, { phone_number: '+79123456789', code });
    expect([other.status, other.body]).toEqual([400, wrongCode]);
    for (let by = 1; by <= 5; by += 1) {
      const refused = await bench.post(VERIFY, { phone_number: NUMBER, code: wrong(code, by) });
      expect([refused.status, refused.body]).toEqual([400, wrongCode]);
    }
    const refused = await bench.post(VERIFY, { phone_number: NUMBER, code });
    expect([refused.status, refused.body]).toEqual([400, wrongCode]);
  });

  it('is good for ten minutes, and refused at their end to the millisecond', async () => {
    await inProduction();
    const code = await send();
    bench.clock.now += 10 * MINUTE_MS;
    const refused = await bench.post(VERIFY, { phone_number: NUMBER, code });
    expect([refused.status, refused.body]).toEqual([400, wrongCode]);
    bench.clock.now -= 1;
    expect((await bench.post(VERIFY, { phone_number: NUMBER, code })).status).toBe(200);
  });

  it('repeats the code while it lives', async () => {
    await inProduction();
    const code = await send();
    bench.clock.now += MINUTE_MS;
    expect(await send()).toBe(code);
    expect(bench.simulator('messaggio').messages).toHaveLength(2);
  });

  it('refuses the sixth text to a number in ten minutes, in its own words and with Retry-After', async () => {
    await inProduction();
    for (let time = 0; time < 5; time += 1) await send();
    bench.clock.now += MINUTE_MS;
    const refused = await bench.post(SEND, { phone_number: NUMBER });
    expect([refused.status, refused.body]).toEqual([429, tooMany]);
    expect(refused.headers['retry-after']).toBe('540');
    bench.clock.now += 9 * MINUTE_MS;
    await send();
  });

  it('refuses every code of a number that was guessed at twenty times', async () => {
    await inProduction();
    for (let round = 0; round < 4; round += 1) {
      const code = await send();
      for (let by = 1; by <= 5; by += 1) await bench.post(VERIFY, { phone_number: NUMBER, code: wrong(code, by) });
    }
    const refused = await bench.post(VERIFY, { phone_number: NUMBER, code: '123456' });
    expect([refused.status, refused.body]).toEqual([429, tooMany]);
    expect(refused.headers['retry-after']).toMatch(/^[1-9]\d*$/);
  });
});

describe('messaggio-backend: bad input, in the shape of Django REST Framework', () => {
  let shared: DialectBench;
  beforeAll(async () => {
    shared = await startBench({ config: messaggioBackend, mode: 'production', vendors: ['messaggio'] });
  });
  afterAll(async () => {
    expect(shared.simulator('messaggio').requests).toEqual([]);
    await shared.close();
  });

  it.each(djangoBadBodies('phone_number'))('$what at send-otp', async ({ body, headers, status, answer }) => {
    const refused = await shared.post(SEND, body, headers);
    expect([refused.status, refused.body]).toEqual([status, answer]);
    expect(refused.headers['content-type']).toBe('application/json');
  });

  it.each([
    ...djangoBadBodies('phone_number', { code: '123456' }),
    ...djangoBadBodies('code', { phone_number: NUMBER }),
  ])('$what at verify-otp', async ({ body, headers, status, answer }) => {
    const refused = await shared.post(VERIFY, body, headers);
    expect([refused.status, refused.body]).toEqual([status, answer]);
    expect(refused.headers['content-type']).toBe('application/json');
  });

  it.each(['GET', 'PUT', 'PATCH', 'DELETE'])('%s is a method that is not allowed', async (method) => {
    for (const path of [SEND, VERIFY, '/send-otp', '/verify-otp']) {
      const refused = await shared.request(method, path);
      expect([refused.status, refused.body]).toEqual([405, { detail: `Method "${method}" not allowed.` }]);
      expect(refused.headers['allow']).toBe('POST');
    }
  });
});

it('messaggio-backend: reads JSON whose charset is named, and passes over fields that it does not know', async () => {
  await inDevelopment();
  const body = { phone_number: NUMBER, country: 'US', code: '111111', client_ip: '8.8.8.8', channel: 'voice' };
  const sent = await bench.post(SEND, body, { 'content-type': 'application/json; charset=utf-8' });
  const debug_code = bench.codeFor(NUMBER);
  expect([sent.status, sent.body]).toEqual([
    200,
    { message: 'SMS код отправлен успешно', phone_number: NUMBER, debug_code },
  ]);
});
