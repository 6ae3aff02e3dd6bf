import { createHmac } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Type } from 'typebox';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import chaski from '../../../examples/chaski/countersign.config.ts';
import fiveSystems from '../../../examples/five-systems/countersign.config.ts';
import marque from '../../../examples/marque/countersign.config.ts';
import { bazaar } from '../../../examples/own-dialect/bazaar.ts';
import type { FileConfig } from '../../../src/config/load.ts';
import { accepted, defineDialect, dialectRoute, failed, ok } from '../../../src/index.ts';
import type { Answer } from '../http-client.ts';
import { createPhone, type RunningServer, startServer, wideLimits, wrong } from '../running-server.ts';
import { codePattern, type DialectBench, startBench } from './dialect-bench.ts';

type AppConfig = NonNullable<FileConfig['apps']>[string];
type Request = { readonly path: string; readonly body: object; readonly headers?: Record<string, string> };
type Verdict = 'sent' | 'approved' | 'wrong' | 'limited' | 'unavailable' | 'failed' | 'other';

/** How an app that speaks a dialect asks, and how it reads the answers. */
type Speaker = {
  readonly app: string;
  readonly config: AppConfig;
  /** it checks by the signed-in user alone, and not by number */
  readonly bySubject?: true;
  /** a number of its country, in E.164 */
  number(index: number): string;
  /** other ways to write it; empty where E.164 alone is taken */
  spellings(number: string): readonly string[];
  /** @param as in place of the number, where another person is signed in */
  start(number: string, as?: string): Request;
  check(number: string, code: string, as?: string): Request;
  readonly sent: object;
  readonly approved: object;
  readonly wrong: { readonly status: number; readonly body: object };
  readonly limited: object;
  /** what its framework says when the store is down */
  readonly down: object;
};

const HOST_SECRET = 'the-host-system-signs-with-this-one-0123456789';
const DOWN = { detail: 'The store cannot be reached just now. Try again in a moment.' };
const throttled = { detail: expect.stringMatching(/^Request was throttled\. Expected available in \d+ seconds?\.$/) };

/** A token of the host system, as it signs them for its own users. */
function bearer(subject: string): Record<string, string> {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: subject })}`;
  return { authorization: `Bearer ${signed}.${createHmac('sha256', HOST_SECRET).update(signed).digest('base64url')}` };
}

function appOf(id: keyof typeof fiveSystems.apps): AppConfig {
  return fiveSystems.apps[id];
}

const digits = (index: number, length: number) => String(index).padStart(length, '0');

const speakers: readonly Speaker[] = [
  {
    app: 'royal-taxi',
    config: appOf('royal-taxi'),
    number: (index) => `+99890${digits(1_000_000 + index, 7)}`,
    spellings: (number) => [
      number.slice(4),
      `00${number.slice(1)}`,
      `${number.slice(0, 4)} (${number.slice(4, 6)}) ${number.slice(6)}`,
    ],
    start: (phone) => ({ path: '/api/v1/auth/send-otp', body: { phone } }),
    check: (phone, otp_code) => ({ path: '/api/v1/auth/verify-otp/', body: { phone, otp_code } }),
    sent: { message: expect.any(String), expires_in: 300 },
    approved: { message: expect.any(String), access_token: expect.any(String), token_type: 'bearer' },
    wrong: { status: 400, body: { detail: expect.any(String) } },
    limited: { detail: expect.any(String) },
    down: DOWN,
  },
  {
    app: 'marque',
    config: appOf('marque'),
    number: (index) => `+996555${digits(index, 6)}`,
    spellings: (number) => [`00${number.slice(1)}`, `+996 (555) ${number.slice(7)}`, `+996-555-${number.slice(7)}`],
    start: (phone) => ({ path: '/api/v1/auth/send-verification/', body: { phone } }),
    check: (phone, verification_code) => ({ path: '/api/v1/auth/verify-code', body: { phone, verification_code } }),
    sent: {
      success: true,
      message: expect.any(String),
      phone: expect.any(String),
      market: 'KG',
      language: 'ru',
      expires_in_minutes: 10,
    },
    approved: {
      access_token: expect.any(String),
      token_type: 'bearer',
      expires_in: 2_592_000,
      user: expect.objectContaining({ is_verified: true }),
      market: 'KG',
      is_new_user: expect.any(Boolean),
    },
    wrong: { status: 400, body: { detail: 'Invalid or expired verification code' } },
    limited: throttled,
    down: DOWN,
  },
  ...(['core', 'riders'] as const).map(
    (role): Speaker => ({
      app: 'mgask',
      config: appOf('mgask'),
      bySubject: true,
      number: (index) => `+96650${digits((role === 'core' ? 1_000_000 : 2_000_000) + index, 7)}`,
      spellings: (number) => [`0${number.slice(4)}`, number.slice(4), number.slice(1), `+966 50-${number.slice(6)}`],
      start: (phone_number, as = phone_number) => ({
        path: `/api/${role}/send-otp/`,
        body: { phone_number },
        headers: bearer(`user of ${as.replace(/\D/g, '').slice(-9)}`),
      }),
      check: (number, otp_code, as = number) => ({
        path: `/api/${role}/verify-otp/`,
        body: { otp_code },
        headers: bearer(`user of ${as.replace(/\D/g, '').slice(-9)}`),
      }),
      sent: { success: true, message: expect.stringMatching(/^OTP sent to /) },
      approved: { success: true, message: 'Phone verified successfully!' },
      wrong: { status: 400, body: { success: false, message: 'Invalid or expired OTP' } },
      limited: { detail: 'Too many OTP requests. Please try again later.' },
      down: DOWN,
    }),
  ),
  {
    app: 'chaski',
    config: appOf('chaski'),
    number: (index) => `+1212555${digits(index, 4)}`,
    spellings: () => [],
    start: (phone_number) => ({ path: '/api/auth/phone/send-code', body: { phone_number } }),
    check: (phone_number, code) => ({ path: '/api/auth/phone/verify', body: { phone_number, code } }),
    sent: { success: true, message: expect.any(String), expires_in: 600 },
    approved: { success: true, message: expect.any(String), verified: true },
    wrong: { status: 400, body: { detail: 'Invalid or expired verification code' } },
    limited: { detail: 'Too many requests. Please try again later.' },
    down: DOWN,
  },
  {
    app: 'messaggio-backend',
    config: appOf('messaggio-backend'),
    number: (index) => `+7708${digits(1_000_000 + index, 7)}`,
    spellings: (number) => [
      `8${number.slice(2)}`,
      number.slice(1),
      `8 (${number.slice(2, 5)}) ${number.slice(5)}`,
      `${number.slice(0, 5)}-${number.slice(5)}`,
    ],
    start: (phone_number) => ({ path: '/send-otp/', body: { phone_number } }),
    check: (phone_number, code) => ({ path: '/verify-otp/', body: { phone_number, code } }),
    sent: { message: 'SMS код отправлен успешно', phone_number: expect.any(String) },
    approved: { message: 'Номер телефона подтверждён', phone_number: expect.any(String) },
    wrong: { status: 400, body: { error: expect.any(String) } },
    limited: { error: expect.any(String) },
    down: DOWN,
  },
  {
    app: 'bazaar',
    config: { dialect: bazaar, brand: 'Bazaar', country: 'KZ', codeTtlSeconds: 300 },
    number: (index) => `+7701${digits(1_000_000 + index, 7)}`,
    spellings: (number) => [`8${number.slice(2)}`, number.slice(2), `+7 701 ${number.slice(5)}`],
    start: (mobile) => ({ path: '/otp/send', body: { mobile } }),
    check: (mobile, pin) => ({ path: '/otp/check', body: { mobile, pin } }),
    sent: { ok: true, ttl: 300 },
    approved: { ok: true, token: expect.any(String), id: expect.any(Number) },
    wrong: { status: 403, body: { ok: false, error: 'bad_pin' } },
    limited: { ok: false, error: 'slow_down' },
    down: { ok: false, error: 'unavailable' },
  },
];

/** Each with its name, as `describe.each` wants it. */
const named = speakers.map((speaker) => [speaker.start(speaker.number(1)).path, speaker] as const);

/** What an answer means to the app that asked; its whole body is looked at. */
function verdictOf(
  { sent, approved, wrong: refused, limited, down }: Speaker,
  { status, headers, json }: Answer,
): Verdict {
  const is = (body: object) => {
    try {
      expect(json).toEqual(body);
      return true;
    } catch {
      return false;
    }
  };
  const hasRetryAfter = Number(headers['retry-after']) > 0;
  if (status === 200 && is(approved)) return 'approved';
  if (status === 200 && is(sent)) return 'sent';
  if (status === refused.status && is(refused.body)) return 'wrong';
  if (status === 429 && is(limited) && hasRetryAfter) return 'limited';
  if (status === 503 && is(down) && hasRetryAfter) return 'unavailable';
  return status >= 500 ? 'failed' : 'other';
}

const opened: { close(): Promise<void> }[] = [];
let index = 0;
const nextNumber = (speaker: Speaker) => speaker.number(++index);
const times = <Result>(count: number, make: (index: number) => Promise<Result>) =>
  Promise.all(Array.from({ length: count }, (_, each) => make(each)));

/** All of the apps on one server, in production, with a phone for every message. */
async function serve(
  more: AppConfig = { limits: wideLimits },
  given: { file?: FileConfig; environment?: Record<string, string> } = {},
): Promise<RunningServer> {
  const apps = Object.fromEntries(
    speakers.map(({ app, config }) => [app, { ...config, routes: { '*': ['phone'] }, ...more }]),
  );
  const server = await startServer({
    file: { mode: 'production', apps, ...given.file },
    environment: { HOST_JWT_SECRET: HOST_SECRET, ...given.environment },
  });
  opened.push(server);
  return server;
}

function ask(server: Pick<RunningServer, 'call'>, { path, body, headers = {} }: Request): Promise<Answer> {
  return server.call('POST', path, { body, headers });
}

/** @returns the code that was sent */
async function started(server: RunningServer, speaker: Speaker, number: string): Promise<string> {
  const answer = await ask(server, speaker.start(number));
  expect(verdictOf(speaker, answer), answer.text).toBe('sent');
  return server.codeFor(number);
}

async function verdictsOf(server: RunningServer, speaker: Speaker, requests: readonly Request[]) {
  const answers = await Promise.all(requests.map((request) => ask(server, request)));
  const counted: Partial<Record<Verdict, number>> = {};
  for (const answer of answers) {
    const verdict = verdictOf(speaker, answer);
    counted[verdict] = (counted[verdict] ?? 0) + 1;
  }
  return counted;
}

const closeAll = async () => {
  for (const each of opened.splice(0)) await each.close();
};

describe.each(named)('through %s', (_, speaker) => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await serve();
  });
  afterAll(closeAll);

  /** The verification of the message that was asked for last. */
  async function newestOf(number: string) {
    const { messages, verifications } = server.composed.countersign;
    const listed = await messages.list({ app: speaker.app, to: number, limit: 1 });
    const id = listed.kind === 'found' ? listed.messages[0]?.verificationId : undefined;
    const found = await verifications.get({ app: speaker.app, id: id ?? 'none' });
    if (found.kind === 'refused') throw new Error(found.detail);
    return found.verification;
  }

  // Asked by number, whatever is no code of a live verification is a wrong guess, and twenty of them lock the number.
  const of200 = (comparable: number) =>
    speaker.bySubject ? { wrong: 200 - comparable } : { wrong: 20, limited: 180 - comparable };

  it('1. approves one of 200 right answers at once', async () => {
    const number = nextNumber(speaker);
    const code = await started(server, speaker, number);
    const requests = Array.from({ length: 200 }, () => speaker.check(number, code));
    expect(await verdictsOf(server, speaker, requests)).toEqual({ approved: 1, ...of200(1) });
  });

  it('1. approves one of 200 answers at once of which four are wrong', async () => {
    const number = nextNumber(speaker);
    const code = await started(server, speaker, number);
    const requests = Array.from({ length: 200 }, (_, each) =>
      speaker.check(number, each < 4 ? wrong(code, each + 1) : code),
    );
    const { approved = 0 } = await verdictsOf(server, speaker, requests);
    expect(approved).toBe(1);
  });

  it('2. compares five of 200 wrong codes at once, and then not even the right one', async () => {
    const number = nextNumber(speaker);
    const code = await started(server, speaker, number);
    const requests = Array.from({ length: 200 }, (_, each) => speaker.check(number, wrong(code, each + 1)));
    expect(await verdictsOf(server, speaker, requests)).toEqual(of200(0));
    expect(await newestOf(number)).toMatchObject({ status: 'exhausted', attemptsLeft: 0, maxAttempts: 5 });
    expect(verdictOf(speaker, await ask(server, speaker.check(number, code)))).not.toBe('approved');
  });

  it('2. gives no new attempts with another send', async () => {
    const number = nextNumber(speaker);
    const first = await started(server, speaker, number);
    for (let guess = 0; guess < 4; guess += 1) await ask(server, speaker.check(number, wrong(first, guess + 1)));
    const { id } = await newestOf(number);
    // Of two messages of one millisecond neither is the newer one.
    server.clock.now += 1;
    const second = await started(server, speaker, number);
    const newest = await newestOf(number);
    // The same verification, or where a send replaces the code a new one: its old code is worth nothing then.
    expect(newest).toMatchObject(newest.id === id ? { sends: 2, attemptsLeft: 1 } : { sends: 1, attemptsLeft: 5 });
    expect(newest.id === id).toBe(speaker.config.resend !== 'replace');
    expect(verdictOf(speaker, await ask(server, speaker.check(number, wrong(second))))).toBe('wrong');
    expect(verdictOf(speaker, await ask(server, speaker.check(number, first)))).toBe('wrong');
    const last = verdictOf(speaker, await ask(server, speaker.check(number, second)));
    expect(last).toBe(newest.id === id ? 'wrong' : 'approved');
  });

  it('3. locks the number after twenty wrong codes, whatever is sent in between, and for a day', async () => {
    const number = nextNumber(speaker);
    let code = '';
    for (let round = 0; round < 4; round += 1) {
      code = await started(server, speaker, number);
      const requests = Array.from({ length: 5 }, (_, each) => speaker.check(number, wrong(code, each + 1)));
      expect(await verdictsOf(server, speaker, requests)).toEqual({ wrong: 5 });
    }
    const refused = await ask(server, speaker.start(number));
    expect(verdictOf(speaker, refused), refused.text).toBe('limited');
    expect(verdictOf(speaker, await ask(server, speaker.check(number, code)))).not.toBe('approved');
    expect(refused.headers['retry-after']).toBe('86400');
    server.clock.now += 86_400_000 - 1;
    expect(verdictOf(speaker, await ask(server, speaker.start(number)))).toBe('limited');
    server.clock.now += 1;
    const last = await started(server, speaker, number);
    expect(verdictOf(speaker, await ask(server, speaker.check(number, last)))).toBe('approved');
  });

  it('5. takes a code in the last millisecond of its life, and none at the very moment of its end', async () => {
    const lifeMs = (speaker.config.codeTtlSeconds ?? 600) * 1000;
    const [inTime, tooLate] = [nextNumber(speaker), nextNumber(speaker)];
    const [first, second] = [await started(server, speaker, inTime), await started(server, speaker, tooLate)];
    server.clock.now += lifeMs - 1;
    expect(verdictOf(speaker, await ask(server, speaker.check(inTime, first)))).toBe('approved');
    server.clock.now += 1;
    expect(verdictOf(speaker, await ask(server, speaker.check(tooLate, second)))).toBe('wrong');
  });

  it('6. takes the code of a number however either of the two requests writes it', async () => {
    for (const spelling of [undefined, ...speaker.spellings(nextNumber(speaker))].keys()) {
      const number = nextNumber(speaker);
      const ways = [number, ...speaker.spellings(number)];
      const [asked = number, checked = number] = [ways.at(spelling), ways.at(spelling - 1)];
      const code = await started(server, speaker, number);
      expect(verdictOf(speaker, await ask(server, speaker.start(asked)))).toBe('sent');
      expect(server.phone.sent.at(-1)?.to).toBe(number);
      const right = speaker.config.resend === 'replace' ? server.codeFor(number) : code;
      expect(verdictOf(speaker, await ask(server, speaker.check(checked, right)))).toBe('approved');
    }
  });

  it('6. takes no code of another number', async () => {
    const [mine, other] = [nextNumber(speaker), nextNumber(speaker)];
    const [code, otherCode] = [await started(server, speaker, mine), await started(server, speaker, other)];
    expect(otherCode).not.toBe(code);
    expect(verdictOf(speaker, await ask(server, speaker.check(mine, otherCode)))).toBe('wrong');
    expect(verdictOf(speaker, await ask(server, speaker.check(mine, code)))).toBe('approved');
  });

  it('12. says the same of a wrong code as of a number that nothing was sent to', async () => {
    const [pending, none] = [nextNumber(speaker), nextNumber(speaker)];
    const code = await started(server, speaker, pending);
    const bare = async (request: Request) => {
      const { status, headers, text } = await ask(server, request);
      return { status, text, headers: { ...headers, date: undefined } };
    };
    expect(await bare(speaker.check(pending, wrong(code)))).toEqual(await bare(speaker.check(none, '123456')));
  });
});

describe.each(named)('limits through %s', (_, speaker) => {
  afterEach(closeAll);

  it('7. lets five of 50 starts at once through, however the number is written', async () => {
    const server = await serve({ limits: { ...wideLimits, perNumber: [{ max: 5, windowSeconds: 300 }] } });
    const number = nextNumber(speaker);
    const ways = [number, ...speaker.spellings(number)];
    const requests = Array.from({ length: 50 }, (_, each) => speaker.start(ways[each % ways.length] ?? number));
    expect(await verdictsOf(server, speaker, requests)).toEqual({ sent: 5, limited: 45 });
    expect(server.phone.sent.map(({ to }) => to)).toEqual(Array(5).fill(number));
    server.clock.now += 300_000;
    expect(verdictOf(speaker, await ask(server, speaker.start(number)))).toBe('sent');
  });

  it('7. counts the address of the socket, whatever a client says that its address is', async () => {
    const server = await serve({ limits: { ...wideLimits, perAddress: [{ max: 3, windowSeconds: 3600 }] } });
    const verdicts: Verdict[] = [];
    for (const headers of [
      {},
      { 'x-forwarded-for': '203.0.113.1' },
      { 'x-real-ip': '203.0.113.2', 'true-client-ip': '203.0.113.2' },
      { forwarded: 'for=203.0.113.3', 'x-client-ip': '203.0.113.3' },
      { 'cf-connecting-ip': '203.0.113.4', 'x-forwarded-for': '203.0.113.4, 127.0.0.1' },
    ] as Record<string, string>[]) {
      const { path, body, headers: own } = speaker.start(nextNumber(speaker));
      const said = { ...body, client_ip: '203.0.113.9', clientIp: '203.0.113.9', ip: '203.0.113.9' };
      const answer = await ask(server, { path, body: said, headers: { ...own, ...headers } });
      verdicts.push(verdictOf(speaker, answer));
    }
    expect(verdicts).toEqual(['sent', 'sent', 'sent', 'limited', 'limited']);
  });

  it('7. behind a proxy of ours counts the address that the proxy wrote, and not what the client wrote before it', async () => {
    const server = await serve(
      { limits: { ...wideLimits, perAddress: [{ max: 2, windowSeconds: 3600 }] } },
      { environment: { TRUSTED_PROXIES: '127.0.0.1' } },
    );
    const from = async (forwarded: string) => {
      const { headers, ...request } = speaker.start(nextNumber(speaker));
      const answer = await ask(server, { ...request, headers: { ...headers, 'x-forwarded-for': forwarded } });
      return verdictOf(speaker, answer);
    };
    expect([await from('203.0.113.1'), await from('198.51.100.7, 203.0.113.1')]).toEqual(['sent', 'sent']);
    expect(await from('198.51.100.8, 203.0.113.1')).toBe('limited');
    expect(await from('::ffff:203.0.113.1')).toBe('limited');
    expect(await from('203.0.113.1:4711')).toBe('limited');
    expect(await from('203.0.113.1, 203.0.113.2')).toBe('sent');
    // A household has all of its /64.
    expect([await from('2001:db8::1'), await from('[2001:db8::2]:4711'), await from('2001:db8::3')]).toEqual([
      'sent',
      'sent',
      'limited',
    ]);
  });
});

describe.each(named)('a store that cannot be written, through %s', (_, speaker) => {
  afterEach(closeAll);

  it('15. is 503 with Retry-After in its own shape, sends nothing, approves nothing, and is good again', async () => {
    const server = await serve();
    const number = nextNumber(speaker);
    const code = await started(server, speaker, number);
    const sentBefore = server.phone.sent.length;
    const blocker = new DatabaseSync(join(server.dataDir, 'countersign.db'));
    blocker.exec('BEGIN IMMEDIATE');
    const answers = await Promise.all([
      ask(server, speaker.start(nextNumber(speaker))),
      ask(server, speaker.check(number, code)),
      ask(server, speaker.check(number, wrong(code))),
    ]);
    expect(answers.map((answer) => verdictOf(speaker, answer))).toEqual(Array(3).fill('unavailable'));
    for (const { text } of answers) expect(text).not.toMatch(/sqlite|countersign\.db|is locked/i);
    expect(server.phone.sent).toHaveLength(sentBefore);
    blocker.exec('ROLLBACK');
    blocker.close();
    expect(verdictOf(speaker, await ask(server, speaker.check(number, code)))).toBe('approved');
  });
});

describe('4. no code in the clear', () => {
  afterEach(closeAll);

  /** Every answer that the server gave, and every line of its log. */
  async function exchange(server: RunningServer, speaker: Speaker, number: string): Promise<string> {
    const heard: string[] = [];
    const say = async (request: Request) => {
      const { status, headers, text } = await ask(server, request);
      heard.push(JSON.stringify({ status, headers, text }));
    };
    await say(speaker.start(number));
    const code = server.phone.sent.find(({ to }) => to === number)?.code;
    if (code === undefined) throw new Error('nothing was handed over');
    await say(speaker.start(number));
    await say(speaker.check(number, wrong(code)));
    await say(speaker.check(number, code));
    await say(speaker.check(number, code));
    const said = [...heard, ...server.logged].join('\n');
    for (const each of server.phone.sent) {
      expect(each.code).toMatch(/^\d{6}$/);
      expect(said).not.toMatch(codePattern(String(each.code)));
    }
    expect(server.logged.join('\n')).not.toContain(number.slice(1));
    return said;
  }

  it.each(named)('through %s when the provider takes it', async (_, speaker) => {
    const server = await serve();
    await exchange(server, speaker, nextNumber(speaker));
  });

  it.each(named)(
    'through %s when the provider refuses, quoting the text, and whatever its reason',
    async (_, speaker) => {
      for (const reason of [
        'content',
        'account',
        'throttled',
        'unavailable',
        'uncertain',
        'coverage',
        'recipient',
      ] as const) {
        const server = await serve();
        server.phone.behave(
          ...Array.from(
            { length: 6 },
            () =>
              ({ text }: { readonly text: string }) =>
                failed(reason, `refused: ${text}`),
          ),
        );
        const said = await exchange(server, speaker, nextNumber(speaker));
        expect(said).toContain('"errorCode":"withheld"');
        await server.close();
        opened.splice(0);
      }
    },
  );

  it.each(named)(
    'through %s when the provider quotes code and number in its id, or throws them',
    async (_, speaker) => {
      const server = await serve();
      server.phone.behave(
        ({ code, to }) => accepted(`${to}.${code}`),
        ({ text }) => Promise.reject(new Error(text)),
      );
      await exchange(server, speaker, nextNumber(speaker));
      const throwing = await serve();
      throwing.phone.behave(({ text }) => {
        throw Object.assign(new Error(text), { name: text });
      });
      expect(await exchange(throwing, speaker, nextNumber(speaker))).toContain('"errorCode":"withheld"');
    },
  );

  it('through all of them when the provider never answers, or answers too late', async () => {
    const phone = createPhone();
    const server = await serve(undefined, {
      file: { providers: { phone: { definition: phone.definition, deadlineSeconds: 0.5 } } },
    });
    const { promise: late, resolve: answerLate } = Promise.withResolvers<void>();
    phone.behave(
      ...speakers.map(() => async ({ text }: { readonly text: string }) => {
        await late;
        return failed('content', text);
      }),
    );
    const answers = await Promise.all(speakers.map((speaker) => ask(server, speaker.start(nextNumber(speaker)))));
    answerLate();
    const statuses = answers.map(({ status }, index) => [speakers[index]?.app, status]);
    // Mgask is told nothing of it.
    expect(statuses).toEqual(speakers.map(({ app }) => [app, app === 'mgask' ? 200 : 502]));
    const said = [...answers.map(({ headers, text }) => JSON.stringify({ headers, text })), ...server.logged].join(
      '\n',
    );
    expect(phone.sent).toHaveLength(speakers.length);
    for (const { code, to } of phone.sent) {
      expect(said).not.toMatch(codePattern(String(code)));
      expect(server.logged.join('\n')).not.toContain(to.slice(1));
    }
  });
});

describe('4. codes in development', () => {
  afterEach(closeAll);
  const showing = speakers.filter(({ app }) => ['royal-taxi', 'messaggio-backend'].includes(app));
  const silent = speakers.filter((speaker) => !showing.includes(speaker));
  const serveInDevelopment = async (route: string[]) => {
    const apps = Object.fromEntries(speakers.map(({ app, config }) => [app, { ...config, routes: { '*': route } }]));
    const server = await startServer({ file: { apps }, environment: { HOST_JWT_SECRET: HOST_SECRET } });
    opened.push(server);
    return server;
  };

  it('are in the answer of those that showed them, when the inbox took the message', async () => {
    const server = await serveInDevelopment(['inbox']);
    for (const speaker of showing) {
      const number = nextNumber(speaker);
      const answer = await ask(server, speaker.start(number));
      expect(Object.values(answer.json)).toContain(server.codeFor(number));
    }
    for (const speaker of silent) {
      const number = nextNumber(speaker);
      const answer = await ask(server, speaker.start(number));
      expect(verdictOf(speaker, answer), answer.text).toBe('sent');
      expect(answer.text).not.toMatch(codePattern(server.codeFor(number)));
    }
  });

  it('are in no answer when a real provider took it, nor when it may have', async () => {
    for (const route of [['phone'], ['phone', 'inbox']]) {
      const server = await serveInDevelopment(route);
      for (const speaker of speakers) {
        const number = nextNumber(speaker);
        const answer = await ask(server, speaker.start(number));
        expect(verdictOf(speaker, answer), answer.text).toBe('sent');
        expect(`${answer.text}${JSON.stringify(answer.headers)}`).not.toMatch(codePattern(server.codeFor(number)));
      }
    }
  });

  it('are in no answer when nobody took it', async () => {
    const server = await serveInDevelopment(['phone']);
    for (const speaker of speakers) {
      server.phone.behave(() => failed('content', '1'));
      const number = nextNumber(speaker);
      const answer = await ask(server, speaker.start(number));
      expect(server.phone.sent.at(-1)?.to).toBe(number);
      expect(answer.text).not.toMatch(codePattern(server.codeFor(number)));
    }
  });
});

describe('3. one budget of guesses', () => {
  const ACCOUNT = { accountSid: `AC${'3'.repeat(32)}`, authToken: 'one-budget-token-0123' };
  const to = '+998901234567';
  let server: RunningServer;
  let key: string;
  let service: string;

  /** How each surface of one app asks; `locked` is the status that a locked number has there. */
  const surfaces: readonly {
    readonly name: string;
    start(): Promise<Answer>;
    check(code: string): Promise<Answer>;
  }[] = [
    {
      name: 'royal-taxi',
      start: () => server.call('POST', '/api/v1/auth/send-otp', { body: { phone: to } }),
      check: (otp_code) => server.call('POST', '/api/v1/auth/verify-otp', { body: { phone: to, otp_code } }),
    },
    {
      name: 'chaski',
      start: () => server.call('POST', '/api/auth/phone/send-code', { body: { phone_number: to } }),
      check: (code) => server.call('POST', '/api/auth/phone/verify', { body: { phone_number: to, code } }),
    },
    {
      name: 'bazaar',
      start: () => server.call('POST', '/second/otp/send', { body: { mobile: '90 123 45 67' } }),
      check: (pin) => server.call('POST', '/second/otp/check', { body: { mobile: '90 123-45-67', pin } }),
    },
    {
      name: '/v1',
      start: () => server.call('POST', '/v1/verifications', { key, body: { to, purpose: 'payment' } }),
      check: (code) => server.call('POST', '/v1/check', { key, body: { to, code, purpose: 'payment' } }),
    },
    {
      name: 'Twilio Verify',
      start: () => form(`/v2/Services/${service}/Verifications`, { To: to, Channel: 'sms' }),
      check: (Code) => form(`/v2/Services/${service}/VerificationCheck`, { To: to, Code }),
    },
  ];
  const form = (path: string, fields: Record<string, string>) =>
    server.call('POST', path, {
      body: new URLSearchParams(fields).toString(),
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        authorization: `Basic ${Buffer.from(`${ACCOUNT.accountSid}:${ACCOUNT.authToken}`).toString('base64')}`,
      },
    });

  beforeAll(async () => {
    const app: AppConfig = {
      country: 'UZ',
      limits: wideLimits,
      resendAfterSeconds: [0],
      dialect: [
        'royal-taxi',
        'chaski',
        { dialect: bazaar, prefix: '/second' },
        { dialect: 'twilio-verify', ...ACCOUNT },
      ],
    };
    server = await startServer({ file: { mode: 'production', apps: { shop: app } } });
    key = await server.keyOf('shop');
    service = String((await form('/v2/Services', { FriendlyName: 'shop' })).json['sid']);
  });
  afterAll(() => server.close());
  // The last one ends the lock: a day later everything is as it was.
  afterEach(() => {
    server.clock.now += 20 * 86_400_000;
  });

  it.each(surfaces)('spent through $name, it is spent through all of them', async ({ start, check }) => {
    const codes: string[] = [];
    for (let round = 0; round < 4; round += 1) {
      const sent = await start();
      expect(sent.status, sent.text).toBeLessThan(300);
      codes.push(server.codeFor(to));
      for (let guess = 0; guess < 5; guess += 1) await check(wrong(server.codeFor(to), guess + 1));
      // Twilio refuses to send again while the verification lives whose checks are used up.
      server.clock.now += 600_000;
    }
    for (const surface of surfaces) {
      const sentBefore = server.phone.sent.length;
      const refused = await surface.start();
      expect([surface.name, refused.status]).toEqual([surface.name, 429]);
      expect(server.phone.sent).toHaveLength(sentBefore);
      for (const code of codes) expect((await surface.check(code)).json).not.toMatchObject({ status: 'approved' });
      expect((await surface.check(codes.at(-1) ?? '')).status).not.toBe(200);
    }
  });

  it('is spent in common: four guesses through each of the five lock them all, and no send gives any back', async () => {
    for (const { start, check } of surfaces) {
      expect((await start()).status).toBeLessThan(300);
      const code = server.codeFor(to);
      for (let guess = 0; guess < 2; guess += 1) await check(wrong(code, guess + 1));
      // A resend, or a repeated start.
      expect((await start()).status).toBeLessThan(300);
      for (let guess = 2; guess < 4; guess += 1) await check(wrong(server.codeFor(to), guess + 1));
    }
    for (const { name, start } of surfaces) expect([name, (await start()).status]).toEqual([name, 429]);
  });

  it('is one guess short of a lock after nineteen, and an approval gives all of them back', async () => {
    const [taxi, ...others] = surfaces;
    if (taxi === undefined) throw new Error('there is no surface');
    for (let guess = 0; guess < 19; guess += 1) {
      const { start, check } = surfaces[guess % 4] ?? taxi;
      expect((await start()).status).toBeLessThan(300);
      await check(wrong(server.codeFor(to)));
    }
    expect((await taxi.start()).status).toBe(200);
    expect((await taxi.check(server.codeFor(to))).status).toBe(200);
    for (const { start, check } of others.slice(0, 3)) {
      expect((await start()).status).toBeLessThan(300);
      expect((await check(wrong(server.codeFor(to)))).status).not.toBe(429);
    }
  });
});

describe('6. bound', () => {
  afterEach(closeAll);

  it('no code of one app is good for another that speaks the same dialect', async () => {
    const taxi = { ...appOf('royal-taxi'), routes: { '*': ['phone'] }, limits: wideLimits };
    const server = await startServer({
      file: {
        mode: 'production',
        apps: { one: taxi, two: { ...taxi, dialect: { dialect: 'royal-taxi', prefix: '/two' } } },
      },
    });
    opened.push(server);
    const phone = '+998901234567';
    const start = (prefix: string) => server.call('POST', `${prefix}/api/v1/auth/send-otp`, { body: { phone } });
    const check = async (prefix: string, otp_code: string) =>
      (await server.call('POST', `${prefix}/api/v1/auth/verify-otp`, { body: { phone, otp_code } })).status;
    await start('');
    const first = server.codeFor(phone);
    expect(await check('/two', first)).toBe(400);
    await start('/two');
    const second = server.codeFor(phone);
    expect(second).not.toBe(first);
    expect([await check('', second), await check('/two', first)]).toEqual([400, 400]);
    // Wrong guesses of one app do not count against the other.
    for (let guess = 0; guess < 25; guess += 1) await check('/two', wrong(second));
    expect([await check('', first), await check('/two', second)]).toEqual([200, 429]);
  });

  it('no code of one user or role of Mgask is good for another, nor one of /v1', async () => {
    const server = await serve();
    const [customer, rider] = speakers.filter(({ app }) => app === 'mgask') as [Speaker, Speaker];
    const number = nextNumber(customer);
    const other = nextNumber(customer);
    const code = await started(server, customer, number);
    const verdict = async (speaker: Speaker, request: Request) => verdictOf(speaker, await ask(server, request));
    expect(await verdict(rider, rider.check(number, code))).toBe('wrong');
    expect(await verdict(customer, customer.check(number, code, other))).toBe('wrong');
    const key = await server.keyOf('mgask');
    for (const more of [{}, { purpose: 'customer' }, { purpose: 'rider' }, { purpose: 'customer', subject: 'x' }]) {
      const answer = await server.call('POST', '/v1/check', { key, body: { to: number, code, ...more } });
      expect(answer.status, answer.text).toBe(422);
    }
    // The same number at another user's: a verification of its own.
    expect(await verdict(customer, customer.start(number, other))).toBe('sent');
    const theirs = server.codeFor(number);
    expect(theirs).not.toBe(code);
    expect(await verdict(customer, customer.check(number, theirs))).toBe('wrong');
    expect(await verdict(customer, customer.check(number, code))).toBe('approved');
    expect(await verdict(customer, customer.check(number, theirs, other))).toBe('approved');
  });

  it('no code of another purpose is good for a dialect', async () => {
    const server = await serve();
    for (const speaker of speakers.filter(({ app }) => app !== 'mgask')) {
      const number = nextNumber(speaker);
      const key = await server.keyOf(speaker.app);
      const started = await server.call('POST', '/v1/verifications', { key, body: { to: number, purpose: 'payment' } });
      expect(started.status, started.text).toBe(201);
      expect(verdictOf(speaker, await ask(server, speaker.check(number, server.codeFor(number))))).toBe('wrong');
    }
  });
});

describe('users', () => {
  afterEach(closeAll);

  it('are one for a number, however many of its verifications are approved at the same moment', async () => {
    const door = defineDialect({
      ...bazaar,
      id: 'door',
      routes: [
        dialectRoute({
          path: '/door/open',
          body: Type.Object({ to: Type.String(), purpose: Type.String(), code: Type.Optional(Type.String()) }),
          async handle({ body: { to, purpose, code }, service }) {
            if (code === undefined) {
              const sent = await service.start({ to, purpose });
              return sent.kind === 'refused' ? sent : ok({});
            }
            const approved = await service.check({ to, purpose, code });
            if (approved.kind === 'refused') return approved;
            const signedIn = await service.signIn(approved);
            return signedIn.kind === 'refused' ? signedIn : ok({ id: signedIn.user.id, isNew: signedIn.isNew });
          },
        }),
      ],
    });
    const server = await startServer({
      file: { mode: 'production', apps: { house: { dialect: door, limits: wideLimits } } },
    });
    opened.push(server);
    const to = '+998901234567';
    const purposes = Array.from({ length: 40 }, (_, each) => `door-${each}`);
    const codes: string[] = [];
    for (const purpose of purposes) {
      expect((await server.call('POST', '/door/open', { body: { to, purpose } })).status).toBe(200);
      codes.push(server.codeFor(to));
    }
    const answers = await times(purposes.length * 3, (each) => {
      const at = each % purposes.length;
      return server.call('POST', '/door/open', { body: { to, purpose: purposes[at], code: codes[at] } });
    });
    const good = answers.filter(({ status }) => status === 200);
    expect(good).toHaveLength(purposes.length);
    expect(new Set(good.map(({ json }) => json['id']))).toEqual(new Set(['1']));
    expect(good.filter(({ json }) => json['isNew'] === true)).toHaveLength(1);
  });
});

describe('codes that Twilio Verify makes', () => {
  let bench: DialectBench | undefined;
  afterEach(() => bench?.close());

  it.each([
    [
      'marque',
      marque,
      '+996555123456',
      (phone: string): [string, object] => ['/api/v1/auth/send-verification', { phone }],
      (phone: string, code: string): [string, object] => ['/api/v1/auth/verify-code', { phone, code }],
    ],
    [
      'chaski',
      chaski,
      '+442071234567',
      (phone_number: string): [string, object] => ['/api/auth/phone/send-code', { phone_number }],
      (phone_number: string, code: string): [string, object] => ['/api/auth/phone/verify', { phone_number, code }],
    ],
  ])(
    'are approved once of 200 times, and at most five wrong ones are compared: %s',
    async (_, config, number, start, check) => {
      const opened = await startBench({ config, mode: 'production', vendors: ['twilio-verify'] });
      bench = opened;
      const { post, codeFor, simulator, clock, said } = opened;
      const counted = async (codes: readonly string[]) => {
        const asked = () =>
          simulator('twilio-verify').requests.filter(({ path }) => path.endsWith('/VerificationCheck'));
        const askedBefore = asked().length;
        const answers = await Promise.all(codes.map((code) => post(...check(number, code))));
        const having = (wanted: number) => answers.filter(({ status }) => status === wanted).length;
        return { approved: having(200), wrong: having(400), limited: having(429), asked: asked().length - askedBefore };
      };
      expect((await post(...start(number))).status).toBe(200);
      const code = codeFor(number);
      const once = await counted(Array<string>(200).fill(code));
      // The approval comes while others are judged already, and forgives the guesses before it.
      expect(once.approved).toBe(1);
      expect(once.wrong + once.limited).toBe(199);
      expect(once.wrong).toBeLessThanOrEqual(39);
      expect(once.asked).toBeLessThanOrEqual(5);
      // The lock is over.
      clock.now += 86_400_000;
      expect((await post(...start(number))).status).toBe(200);
      const other = codeFor(number);
      const guesses = Array.from({ length: 200 }, (_each, index) => wrong(other, index + 1));
      expect(await counted(guesses)).toEqual({ approved: 0, wrong: 20, limited: 180, asked: 5 });
      expect(await counted([other])).toEqual({ approved: 0, wrong: 0, limited: 1, asked: 0 });
      expect(said()).not.toMatch(codePattern(code));
      expect(said()).not.toMatch(codePattern(other));
    },
  );
});
