import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FileConfig } from '../../../src/config/load.ts';
import { isShadowApp, type ShadowEntry } from '../../../src/domain/shadow.ts';
import type { Store } from '../../../src/domain/store.ts';
import { openSqliteStore } from '../../../src/stores/sqlite/sqlite-store.ts';
import { type Answer, speak } from '../http-client.ts';
import { type RunningServer, startServer, wideLimits } from '../running-server.ts';
import { type OldBackEnd, type OldRequest, startOldBackEnd } from './old-back-end.ts';

const SEND = '/api/v1/auth/send-otp';
const VERIFY = '/api/v1/auth/verify-otp';
const phone = '+998901234567';
const rightCode = '482913';
const ever = { app: undefined, from: '2000-01-01', to: '9999-12-31' } as const;

const sent = { status: 200, body: { message: 'Kod yuborildi', expires_in: 300 } };
const approved = { status: 200, body: { message: 'Tasdiqlandi', access_token: 'abc.DEF.123', token_type: 'bearer' } };
const wrongCode = { status: 400, body: { detail: "Kod noto'g'ri" } };
const malformed = { status: 422, body: { detail: [{ loc: ['body', 'otp_code'], msg: 'wrong', type: 'value_error' }] } };

/** Royal Taxi's old back end, as far as these tests need it: one code is right. */
function royalTaxi({ url, json }: OldRequest) {
  if (url.startsWith(SEND)) return sent;
  if (!/^\d{6}$/.test(json['otp_code'] ?? '')) return malformed;
  return json['otp_code'] === rightCode ? approved : wrongCode;
}

let old: OldBackEnd;
let server: RunningServer;
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'countersign-shadow-'));
  old = await startOldBackEnd();
  old.behave(royalTaxi);
});
afterEach(async () => {
  await server?.close();
  await old.close();
  await rm(directory, { recursive: true, force: true });
});

type Given = {
  readonly mode?: 'development' | 'production';
  readonly app?: object;
  readonly dialect?: string;
  readonly prefix?: string;
  readonly upstream?: string;
  readonly store?: (store: Store) => Store;
  readonly upstreamDeadlineMs?: number;
};

/** An app in shadow mode, and a provider that would really send. */
async function startShadow(given: Given = {}): Promise<RunningServer> {
  const { mode = 'production', app, dialect = 'royal-taxi', prefix, upstream = old.url, store } = given;
  const taxi = {
    brand: 'Royal Taxi',
    country: 'UZ',
    limits: wideLimits,
    dialect: { dialect, shadow: { upstream }, ...(prefix === undefined ? {} : { prefix }) },
    ...app,
  };
  const file = { mode, apps: { taxi } } as FileConfig;
  const parts = store === undefined ? {} : { store: store(openSqliteStore(join(directory, 'countersign.db'))) };
  const { upstreamDeadlineMs } = given;
  server = await startServer({ file, parts, options: upstreamDeadlineMs === undefined ? {} : { upstreamDeadlineMs } });
  return server;
}

const send = (to = phone) => server.call('POST', SEND, { body: { phone: to } });
const verify = (otp_code: string, to = phone) => server.call('POST', VERIFY, { body: { phone: to, otp_code } });

/** What was recorded, once every comparison is over. */
async function recorded(): Promise<readonly ShadowEntry[]> {
  await server.composed.shadow.underWay.settled();
  return server.composed.countersign.shadow.read(ever);
}

async function tally(): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { route, outcome, difference, count } of await recorded()) {
    const name = `${route.split('/').at(-1)} ${outcome}${difference === '' ? '' : ` ${difference}`}`;
    counts[name] = (counts[name] ?? 0) + count;
  }
  return counts;
}

async function metric(dialect: string, outcome: string): Promise<number> {
  const { text } = await server.call('GET', '/metrics');
  const line = `countersign_shadow_comparisons_total{dialect="${dialect}",outcome="${outcome}"} `;
  const found = text.split('\n').find((each) => each.startsWith(line));
  return found === undefined ? 0 : Number(found.slice(line.length));
}

describe('the answer of the old back end', () => {
  it('reaches the client byte for byte, with the headers that belong to it', async () => {
    await startShadow();
    const body = '{ "detail" :"Juda ko\'p ✓",\n "n": 1.0 }';
    old.behave(() => ({
      status: 429,
      headers: {
        'content-type': 'application/problem+json; charset=UTF-8',
        'retry-after': '17',
        'www-authenticate': 'Bearer realm="old"',
        'set-cookie': ['a=1; Path=/', 'b=2'],
        'x-ratelimit-remaining': '0',
        'alt-svc': 'h3=":443"',
        'keep-alive': 'timeout=77',
      },
      body,
    }));
    const { status, headers, text } = await send();
    expect({ status, text }).toEqual({ status: 429, text: body });
    expect(headers).toMatchObject({
      'content-type': 'application/problem+json; charset=UTF-8',
      'retry-after': '17',
      'www-authenticate': 'Bearer realm="old"',
      'set-cookie': ['a=1; Path=/', 'b=2'],
      'x-ratelimit-remaining': '0',
      'content-length': String(Buffer.byteLength(body)),
    });
    expect(headers['alt-svc']).toBeUndefined();
    expect(headers['keep-alive']).not.toBe('timeout=77');
  });

  it('needs neither a type nor a body', async () => {
    await startShadow();
    old.behave(() => ({ status: 200, body: 'plain' }));
    const untyped = await send();
    expect([untyped.text, untyped.headers['content-type'], untyped.headers['content-length']]).toEqual([
      'plain',
      undefined,
      '5',
    ]);
    old.behave(() => ({ status: 204 }));
    const empty = await send();
    expect([empty.status, empty.text, empty.headers['content-type']]).toEqual([204, '', undefined]);
    expect(await tally()).toEqual({
      'send-otp different body: text, ours object': 1,
      'send-otp different status: 204, ours 200; body: nothing, ours object': 1,
    });
  });

  it('is passed on where it is a redirect, which nobody follows', async () => {
    await startShadow();
    const { url } = old;
    old.behave(() => ({ status: 307, headers: { location: `${url}/elsewhere` } }));
    const { status, headers } = await send();
    expect([status, headers['location']]).toEqual([307, `${url}/elsewhere`]);
    expect(old.asked).toHaveLength(1);
  });

  it('is one: what we would have said is never sent, nor any message', async () => {
    await startShadow();
    const answers = [await send(), await verify('000000'), await verify('1'), await verify(rightCode)];
    expect(answers.map(({ status, json }) => [status, json])).toEqual(
      [sent, wrongCode, malformed, approved].map(({ status, body }) => [status, body]),
    );
    expect(await tally()).toEqual({ 'send-otp same': 1, 'verify-otp same': 3 });
    expect(server.phone.sent).toEqual([]);
    expect(old.asked).toHaveLength(4);
  });
});

describe('the request', () => {
  it('is passed on as it came: path, query, body, and what it says of its caller', async () => {
    await startShadow();
    const body = '{"phone" : "+998901234567" }';
    await server.call('POST', `${SEND}/?lang=uz&x=%2F`, {
      body,
      headers: {
        'content-type': 'application/json',
        authorization: 'Bearer theirs',
        'accept-language': 'uz',
        'x-forwarded-for': '203.0.113.9',
        'x-app-version': '4.2',
        connection: 'keep-alive, x-hop',
        'x-hop': 'for the next one alone',
        te: 'trailers',
        'proxy-authorization': 'Basic abc',
      },
    });
    const [asked] = old.asked;
    expect(asked).toMatchObject({ method: 'POST', url: `${SEND}/?lang=uz&x=%2F`, body });
    expect(asked?.headers).toMatchObject({
      host: new URL(old.url).host,
      'content-type': 'application/json',
      'content-length': String(body.length),
      authorization: 'Bearer theirs',
      'accept-language': 'uz',
      'accept-encoding': 'identity',
      'x-forwarded-for': '203.0.113.9, 127.0.0.1',
      'x-app-version': '4.2',
    });
    for (const name of ['x-hop', 'te', 'proxy-authorization']) expect(asked?.headers).not.toHaveProperty(name);
  });

  it('goes to the path of the old back end, without our prefix', async () => {
    await startShadow({ prefix: '/taxi', upstream: `${old.url}/v2/` });
    await server.call('POST', `/taxi${SEND}?a=1`, { body: { phone } });
    expect(old.asked[0]?.url).toBe(`/v2${SEND}?a=1`);
  });

  it('never names the host: an address in the request line is only a path', async () => {
    await startShadow();
    const body = JSON.stringify({ phone });
    const heard = await speak(
      server.origin,
      `POST http://attacker.example${SEND}?x=@evil.example/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    expect(heard).toMatch(/^HTTP\/1\.1 200 /);
    expect(old.asked.map(({ url }) => url)).toEqual([`${SEND}?x=@evil.example/`]);
  });

  it('may be larger than ours may be, up to a megabyte, and then ours says so', async () => {
    await startShadow();
    const large = await server.call('POST', SEND, { body: { phone, note: 'x'.repeat(100_000) } });
    expect(large.status).toBe(200);
    expect(Object.keys(await tally())).toEqual([expect.stringContaining('send-otp different status: 200, ours 413')]);
    expect((await server.call('POST', SEND, { body: { phone, note: 'x'.repeat(1_100_000) } })).status).toBe(413);
    expect(old.asked).toHaveLength(1);
  });

  it.each([
    ['GET', SEND, 405],
    ['DELETE', VERIFY, 405],
    ['POST', '/api/v1/auth/other', 404],
    ['POST', `${SEND}/more`, 404],
  ])('%s %s is not for the old back end', async (method, path, status) => {
    await startShadow();
    expect((await server.call(method, path)).status).toBe(status);
    expect(old.asked).toEqual([]);
    expect(await recorded()).toEqual([]);
  });
});

describe('an old back end that does not answer', () => {
  const failures = async () => (await recorded()).map(({ outcome, difference, count }) => [outcome, difference, count]);

  it('is a 502 in its own shape when it is dead, with a line in the log', async () => {
    const dead = await startOldBackEnd();
    await dead.close();
    await startShadow({ upstream: dead.url });
    const { status, json, headers } = await send();
    expect([status, Object.keys(json), headers['retry-after']]).toEqual([502, ['detail'], '5']);
    expect(await failures()).toEqual([['upstream-failed', 'ECONNREFUSED', 1]]);
    const lines = server.logged.filter((line) => line.includes('did not answer'));
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 'warn', app: 'taxi', reason: 'ECONNREFUSED' });
    expect(await metric('royal-taxi', 'upstream-failed')).toBe(1);
  });

  it('is a 504 when it is late, and is not asked again', async () => {
    old.behave(() => undefined);
    await startShadow({ dialect: 'marque', upstreamDeadlineMs: 60 });
    const { status, json } = await server.call('POST', '/api/v1/auth/send-verification', { body: { phone } });
    expect([status, Object.keys(json)]).toEqual([504, ['detail']]);
    expect(await failures()).toEqual([['upstream-failed', 'timeout', 1]]);
    expect(old.asked).toHaveLength(1);
  });

  it('is late as well when it stops in the middle of its answer', async () => {
    old.behave((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write('{"message":');
      return undefined;
    });
    await startShadow({ upstreamDeadlineMs: 60 });
    expect((await send()).status).toBe(504);
    expect(await failures()).toEqual([['upstream-failed', 'timeout', 1]]);
  });

  it('is a 502 when it hangs up', async () => {
    old.behave((_request, response) => void response.socket?.destroy());
    await startShadow();
    expect((await send()).status).toBe(502);
    expect(await failures()).toEqual([['upstream-failed', expect.stringMatching(/^(UND_ERR_SOCKET|ECONNRESET)$/), 1]]);
  });

  it('is a 502 when its status is none', async () => {
    await startShadow();
    old.behave(() => ({ status: 799, body: {} }));
    expect((await send()).status).toBe(502);
    expect(await failures()).toEqual([['upstream-failed', 'bad-status', 1]]);
  });

  it('is a 502 when it answers with more than a megabyte', async () => {
    await startShadow();
    old.behave(() => ({ body: 'x'.repeat(1024 * 1024 + 1) }));
    expect((await send()).status).toBe(502);
    expect(await failures()).toEqual([['upstream-failed', 'too-large', 1]]);
    old.behave(() => ({ body: 'x'.repeat(1024 * 1024) }));
    expect((await send()).text).toHaveLength(1024 * 1024);
  });
});

describe('the comparison of a check', () => {
  const differs = (to: string) => ({ [`verify-otp different status: 200, ours ${to}`]: 1 });
  const refused =
    'access_token: string, ours absent; detail: absent, ours string; message: string, ours absent; token_type: string, ours absent';

  it('takes any code for right that the old back end took', async () => {
    await startShadow();
    old.behave((request) => (request.url === SEND ? sent : approved));
    await send();
    await verify('736251');
    expect(await tally()).toEqual({ 'send-otp same': 1, 'verify-otp same': 1 });
  });

  it('shows a verification that is unknown on our side', async () => {
    await startShadow();
    await verify(rightCode);
    expect(await tally()).toEqual(differs(`400; ${refused}`));
  });

  it('shows one that is approved already', async () => {
    await startShadow();
    await send();
    await verify(rightCode);
    await verify(rightCode);
    expect(await tally()).toEqual({ 'send-otp same': 1, 'verify-otp same': 1, ...differs(`400; ${refused}`) });
  });

  it('shows one that has expired, at the very millisecond', async () => {
    await startShadow({ app: { codeTtlSeconds: 300 } });
    await send();
    await recorded();
    server.clock.now += 300_000;
    await verify(rightCode);
    expect(await tally()).toEqual({ 'send-otp same': 1, ...differs(`400; ${refused}`) });
  });

  it('shows one whose attempts are used up', async () => {
    await startShadow({ app: { maxAttempts: 2 } });
    await send();
    await verify('000000');
    await verify('000001');
    await verify(rightCode);
    expect(await tally()).toEqual({ 'send-otp same': 1, 'verify-otp same': 2, ...differs(`400; ${refused}`) });
  });

  it('shows a number that is locked', async () => {
    await startShadow({ app: { guesses: { max: 1 } } });
    await send();
    await verify('000000');
    await verify(rightCode);
    expect(await tally()).toEqual({ 'send-otp same': 1, 'verify-otp same': 1, ...differs(`429; ${refused}`) });
  });

  it('never takes a code that the old back end refused, whichever it is', async () => {
    await startShadow();
    old.behave((request) => (request.url === SEND ? sent : wrongCode));
    await send();
    for (const code of ['111111', '222222', '000000', '999999']) await verify(code);
    expect(await tally()).toEqual({ 'send-otp same': 1, 'verify-otp same': 4 });
  });

  it('takes what is no code for us as it is, also where the old back end took it', async () => {
    await startShadow();
    old.behave((request) => (request.url === SEND ? sent : approved));
    await send();
    await verify('4829');
    expect(Object.keys(await tally())).toEqual([
      'send-otp same',
      expect.stringContaining('verify-otp different status: 200, ours 422; '),
    ]);
  });

  it('asks for the signed-in user where no number is given', async () => {
    const secret = 'the old back end signs its tokens with this one';
    await startShadow({ dialect: 'mgask', app: { country: 'SA', bearer: { secret } } });
    const tokenOf = (user_id: number) =>
      new SignJWT({ user_id }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h').sign(Buffer.from(secret));
    old.behave(({ url, json }) =>
      url === '/api/core/send-otp' || json['otp_code'] === rightCode
        ? { body: { success: true, message: 'done' } }
        : { status: 400, body: { success: false, message: 'Invalid or expired OTP' } },
    );
    const call = async (path: string, user: number, body: object) =>
      server.call('POST', path, { body, headers: { authorization: `Bearer ${await tokenOf(user)}` } });
    await call('/api/core/send-otp', 7, { phone_number: '+966501234567' });
    await call('/api/core/verify-otp', 7, { otp_code: '000000' });
    await call('/api/core/verify-otp', 7, { otp_code: rightCode });
    expect(await tally()).toEqual({ 'send-otp same': 1, 'verify-otp same': 2 });
    await call('/api/core/verify-otp', 8, { otp_code: rightCode });
    await server.call('POST', '/api/core/verify-otp', { body: { otp_code: rightCode } });
    const [forOther, withoutToken] = Object.entries(await tally()).filter(([name]) => name.includes('different'));
    expect(forOther).toEqual(['verify-otp different status: 200, ours 400', 1]);
    expect(withoutToken?.[0]).toMatch(/^verify-otp different status: 200, ours 401; detail: absent/);
  });

  it('goes on to sign the person in', async () => {
    await startShadow({ dialect: 'marque' });
    const user = { id: '1', name: 'A', phone, full_name: null, is_active: true, is_verified: true };
    const body = { access_token: 't', token_type: 'bearer', expires_in: 1, user, market: null, is_new_user: true };
    old.behave(({ url }) =>
      url.includes('verify') && url.includes('code')
        ? { body }
        : {
            body: { success: true, message: 'm', phone, market: null, language: 'uz', expires_in_minutes: 5 },
          },
    );
    await server.call('POST', '/api/v1/auth/send-verification', { body: { phone } });
    await server.call('POST', '/api/v1/auth/verify-code', { body: { phone, code: rightCode } });
    expect(await tally()).toEqual({
      'send-verification same': 1,
      'verify-code different user.full_name: null, ours string': 1,
    });
  });
});

describe('what ours would have been', () => {
  it('knows the limits of the app, and takes none of its own buckets', async () => {
    const limits = { ...wideLimits, perNumber: [{ max: 2, windowSeconds: 600 }] };
    await startShadow({ app: { limits } });
    for (let i = 0; i < 4; i += 1) await send();
    const counts = await tally();
    expect(counts['send-otp same']).toBe(2);
    expect(Object.keys(counts).find((name) => name.includes('different'))).toContain('status: 200, ours 429');
    const key = await server.keyOf('taxi');
    const start = () => server.call('POST', '/v1/verifications', { body: { to: phone }, key });
    expect([await start(), await start(), await start()].map(({ status }) => status)).toEqual([201, 201, 429]);
    expect(server.phone.sent).toHaveLength(2);
  });

  it('knows which numbers no route covers', async () => {
    await startShadow({ app: { routes: { UZ: ['phone'], '*': ['twilio?'] } } });
    await send();
    await send('+77011234567');
    const counts = await tally();
    expect(counts['send-otp same']).toBe(1);
    expect(Object.keys(counts).find((name) => name.includes('different'))).toContain('status: 200, ours 503');
  });

  it('is nowhere else: no list, sum, health, key or user of the real app knows of it', async () => {
    await startShadow();
    await send();
    await verify('000000');
    await verify(rightCode);
    expect(await tally()).toEqual({ 'send-otp same': 1, 'verify-otp same': 2 });
    const { countersign, config } = server.composed;
    const key = await server.keyOf('taxi');
    const get = async (path: string) => (await server.call('GET', path, { key })).json;
    expect(await get('/v1/messages')).toMatchObject({ messages: [] });
    expect(await countersign.usage.read({ app: undefined })).toMatchObject({ rows: [] });
    expect(await countersign.usage.read({ app: 'taxi' })).toMatchObject({ rows: [] });
    expect(countersign.providers.list()).toEqual(['phone']);
    expect(JSON.stringify([countersign.providers.health(), await get('/v1/providers')])).not.toContain('nobody');
    expect((await server.call('GET', '/metrics')).text).not.toMatch(/nobody|~shadow/);
    expect([...config.apps.keys()].filter(isShadowApp)).toEqual([]);
    for (const app of ['taxi~shadow', '~shadow']) {
      await expect(async () => countersign.keys.create({ app, name: '' })).rejects.toThrow(/no app .*: taxi$/);
      await expect(async () => countersign.verifications.start({ app, to: phone })).rejects.toThrow(/no app/);
    }
    expect(await countersign.verifications.find({ app: 'taxi', to: phone })).toMatchObject({ kind: 'refused' });
    expect(await countersign.users.get({ app: 'taxi', id: '1' })).toMatchObject({ kind: 'refused' });
  });

  it('goes with the number when that is erased', async () => {
    await startShadow();
    await send();
    await recorded();
    await server.composed.countersign.numbers.erase({ app: 'taxi', to: phone });
    await verify(rightCode);
    expect(Object.keys(await tally())).toEqual([
      'send-otp same',
      expect.stringContaining('verify-otp different status: 200, ours 400'),
    ]);
  });

  it('shows a code in development, where the message would have gone to the inbox', async () => {
    await startShadow({ mode: 'development', app: { routes: { '*': ['inbox'] } } });
    old.behave(() => ({ body: { ...sent.body, otp_code: rightCode } }));
    await send();
    expect(await tally()).toEqual({ 'send-otp same': 1 });
    expect(server.composed.inbox?.list()).toEqual([]);
  });

  it('is a 500 where it is a bug, and only the log knows more', async () => {
    await startShadow({
      store: (real) => altered(real, { start: () => Promise.reject(new TypeError('a bug')) }),
    });
    expect((await send()).status).toBe(200);
    expect(Object.keys(await tally())).toEqual([expect.stringContaining('send-otp different status: 200, ours 500')]);
    expect(server.logged.filter((line) => line.includes('"bug"'))).toHaveLength(1);
  });
});

describe('what is kept', () => {
  it('has neither code nor number nor token, of either side', async () => {
    await startShadow({ mode: 'development', app: { routes: { '*': ['inbox'] } } });
    old.behave(() => ({
      body: {
        message: `Your code is ${rightCode}, ${phone}`,
        otp_code: Number(rightCode),
        [phone]: 'x',
        access_token: 'plainlettersonly',
        user: { full_name: 'Ali Karimov' },
      },
    }));
    await send();
    const [entry, ...more] = await recorded();
    expect(more).toEqual([]);
    expect(entry).toMatchObject({ outcome: 'different', upstreamStatus: 200, ourStatus: 200, app: 'taxi' });
    expect(entry?.upstreamExample).toContain('Your code is •••');
    expect(entry?.ourExample).toContain('"otp_code":"•••"');
    const kept = JSON.stringify([entry?.difference, entry?.upstreamExample, entry?.ourExample]);
    for (const secret of [rightCode, '111111', '998', '4567', 'plainletters', 'Karimov'])
      expect(kept).not.toContain(secret);
    expect(server.logged.join('\n')).not.toMatch(/482913|901234567|plainletters/);
  });

  it('has no example of answers that are the same', async () => {
    await startShadow();
    await send();
    expect(await recorded()).toEqual([
      expect.objectContaining({ outcome: 'same', count: 1, upstreamExample: '', ourExample: '' }),
    ]);
  });

  it('is counted exactly, of fifty at once', async () => {
    await startShadow();
    const numbers = Array.from({ length: 50 }, (_, i) => `+99890123${String(i).padStart(4, '0')}`);
    const answers = await Promise.all(numbers.map((to) => send(to)));
    expect(answers.every(({ status, json }) => status === 200 && json['expires_in'] === 300)).toBe(true);
    await recorded();
    await Promise.all(numbers.map((to, i) => verify(i % 2 === 0 ? rightCode : '000000', to)));
    expect(await tally()).toEqual({ 'send-otp same': 50, 'verify-otp same': 50 });
    expect(await metric('royal-taxi', 'same')).toBe(100);
    expect(server.phone.sent).toEqual([]);
    expect(old.asked).toHaveLength(100);
  });

  it('counts differences as well', async () => {
    await startShadow();
    old.behave(() => ({ status: 201, body: { ...sent.body, expires_in: '300' } }));
    await send();
    await send();
    expect(await tally()).toEqual({ 'send-otp different status: 201, ours 200; expires_in: string, ours number': 2 });
    expect(await metric('royal-taxi', 'different')).toBe(2);
  });
});

describe('the client', () => {
  /** A store in which a shadow's starts wait until the gate is open. */
  function gated() {
    const { promise, resolve: open } = Promise.withResolvers<void>();
    const store = (real: Store) =>
      altered(real, {
        async start(step) {
          if (isShadowApp(step.verification.app)) await promise;
          return real.start(step);
        },
      });
    return { store, open };
  }

  it('never waits for ours; a close does', async () => {
    const { promise, resolve: open } = Promise.withResolvers<void>();
    const { promise: isAtTheGate, resolve: atTheGate } = Promise.withResolvers<void>();
    await startShadow({
      store: (real) =>
        altered(real, {
          recordShadow(entry) {
            atTheGate();
            return promise.then(() => real.recordShadow(entry));
          },
        }),
    });
    expect((await send()).json).toEqual(sent.body);
    await isAtTheGate;
    let isSettled = false;
    void server.composed.shadow.underWay.settled().then(() => {
      isSettled = true;
    });
    for (let turns = 0; turns < 10; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(isSettled).toBe(false);
    const closing = server.composed.countersign.close();
    open();
    await closing;
    const reopened = openSqliteStore(join(directory, 'countersign.db'));
    expect(await reopened.readShadow(ever)).toEqual([expect.objectContaining({ outcome: 'same', count: 1 })]);
    await reopened.close();
  });

  it('is answered as well while a hundred comparisons are under way; what comes then is counted as not compared', async () => {
    const { store, open } = gated();
    await startShadow({ store });
    const answers: Answer[] = [];
    for (let i = 0; i < 130; i += 1) answers.push(await send());
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(130);
    expect(await metric('royal-taxi', 'not-compared')).toBe(30);
    open();
    expect(await tally()).toMatchObject({ 'send-otp not-compared': 30, 'send-otp same': 100 });
    await send();
    await recorded();
    expect(await metric('royal-taxi', 'same')).toBe(101);
  });

  it('may be gone before the old back end has answered', async () => {
    const { promise, resolve: answer } = Promise.withResolvers<typeof sent>();
    const { promise: isAsked, resolve: wasAsked } = Promise.withResolvers<void>();
    old.behave(() => {
      wasAsked();
      return promise;
    });
    await startShadow();
    const { hostname, port } = new URL(server.origin);
    const socket = connect(Number(port), hostname);
    const body = JSON.stringify({ phone });
    socket.write(
      `POST ${SEND} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await isAsked;
    socket.destroy();
    answer(sent);
    // The server is told of either in its own time.
    await expect.poll(tally).toEqual({ 'send-otp same': 1 });
  });

  it('has its answer before ours is looked for', async () => {
    const order: string[] = [];
    await startShadow({
      store: (real) =>
        altered(real, {
          start(step) {
            order.push('ours');
            return real.start(step);
          },
        }),
    });
    server.server.server.on('request', (_request, response) => response.on('finish', () => order.push('answered')));
    await Promise.all([send(), send()]);
    await recorded();
    expect(order.slice(0, 1).concat(order.toSorted())).toEqual(['answered', 'answered', 'answered', 'ours', 'ours']);
  });

  it('is judged in the order of its requests', async () => {
    const slow = (real: Store) =>
      altered(real, {
        async start(step) {
          for (let turns = 0; turns < 200; turns += 1) await new Promise((resolve) => setImmediate(resolve));
          return real.start(step);
        },
      });
    await startShadow({ store: slow });
    await send();
    await verify(rightCode);
    expect(await tally()).toEqual({ 'send-otp same': 1, 'verify-otp same': 1 });
  });

  it('hears nothing of a store that takes no comparison', async () => {
    const recordShadow = () => Promise.reject(new Error('full'));
    await startShadow({ store: (real) => altered(real, { recordShadow }) });
    expect((await send()).status).toBe(200);
    await recorded();
    expect(server.logged.filter((line) => line.includes('comparison not stored'))).toHaveLength(1);
  });
});

/** A store with steps of a test's own in the place of some. */
function altered(store: Store, steps: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, name: keyof Store) {
      const step = steps[name] ?? target[name];
      return typeof step === 'function' ? step.bind(target) : step;
    },
  });
}
