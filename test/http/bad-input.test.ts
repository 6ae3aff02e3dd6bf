import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Ask, problem, problemOf, speak } from './http-client.ts';
import { type RunningServer, startServer, wrong } from './running-server.ts';

/** How many starts the app may make in an hour: a refused request that took one would be missed at the end. */
const STARTS = 4;
const to = '+998901234567';

let server: RunningServer;
let starts = 0;
beforeAll(async () => {
  server = await startServer({
    file: {
      apps: {
        default: {
          allowedCountries: ['UZ', 'US', 'SA', 'GB', 'DE'],
          limits: { perApp: [{ max: STARTS, windowSeconds: 3600 }], perNumber: [{ max: STARTS, windowSeconds: 3600 }] },
        },
      },
    },
  });
});
afterAll(() => server.close());

// Whatever was refused has sent nothing.
let sentBefore = 0;
let startsBefore = 0;
beforeEach(() => {
  sentBefore = server.phone.sent.length;
  startsBefore = starts;
});
afterEach(() => expect(server.phone.sent.length - sentBefore).toBe(starts - startsBefore));

async function startOne(): Promise<{ id: string; code: string }> {
  const started = await server.start(to);
  starts += 1;
  return started;
}

const refusedStarts: [string, Ask, number, string, string | undefined][] = [
  ['a body that is no JSON', { body: '{"to":' }, 400, 'json-invalid', undefined],
  ['JSON with a comment', { body: '{"to":"+998901234567"} // me' }, 400, 'json-invalid', undefined],
  ['NaN', { body: '{"to":NaN}' }, 400, 'json-invalid', undefined],
  ['__proto__', { body: `{"to":"${to}","__proto__":{"channel":"voice"}}` }, 400, 'json-invalid', undefined],
  ['a hidden __proto__', { body: `{"to":"${to}","metadata":{"\\u005f_proto__":"x"}}` }, 400, 'json-invalid', undefined],
  [
    'constructor.prototype',
    { body: `{"to":"${to}","constructor":{"prototype":{"a":1}}}` },
    400,
    'json-invalid',
    undefined,
  ],
  [
    'bytes that are no UTF-8',
    { body: Buffer.from(`{"to":"${to}","subject":"a\xff"}`, 'latin1') },
    400,
    'json-invalid',
    undefined,
  ],
  ['UTF-16', { body: Buffer.from(`{"to":"${to}"}`, 'utf16le') }, 400, 'json-invalid', undefined],
  ['no body', {}, 400, 'request-invalid', undefined],
  [
    'an empty body',
    { headers: { 'content-type': 'application/json', 'content-length': '0' } },
    400,
    'request-invalid',
    undefined,
  ],
  ['null', { body: 'null' }, 400, 'request-invalid', undefined],
  ['a list', { body: [to] }, 400, 'request-invalid', undefined],
  ['a text', { body: JSON.stringify(to) }, 400, 'request-invalid', undefined],
  [
    'a form',
    { body: `to=${encodeURIComponent(to)}`, headers: { 'content-type': 'application/x-www-form-urlencoded' } },
    415,
    'media-type-unsupported',
    undefined,
  ],
  [
    'plain text that holds JSON',
    { body: JSON.stringify({ to }), headers: { 'content-type': 'text/plain' } },
    415,
    'media-type-unsupported',
    undefined,
  ],
  [
    'a simple content type with JSON behind it',
    { body: JSON.stringify({ to }), headers: { 'content-type': 'text/plain; application/json' } },
    415,
    'media-type-unsupported',
    undefined,
  ],
  [
    'a content type that begins like JSON',
    { body: JSON.stringify({ to }), headers: { 'content-type': 'application/jsonp' } },
    415,
    'media-type-unsupported',
    undefined,
  ],
  [
    'an empty content type',
    { body: JSON.stringify({ to }), headers: { 'content-type': '' } },
    415,
    'media-type-unsupported',
    undefined,
  ],
  [
    'a multipart body',
    { body: '--a--', headers: { 'content-type': 'multipart/form-data; boundary=a' } },
    415,
    'media-type-unsupported',
    undefined,
  ],
  ['a body over 16 KiB', { body: { to, subject: 'x'.repeat(16 * 1024) } }, 413, 'body-too-large', undefined],
  ['an unknown field', { body: { to, phone: to } }, 400, 'request-invalid', 'phone'],
  ['a misspelt field', { body: { To: to } }, 400, 'request-invalid', 'to'],
  ['no number', { body: { country: 'UZ' } }, 400, 'request-invalid', 'to'],
  ['a list for a number', { body: { to: [to] } }, 400, 'request-invalid', 'to'],
  ['an object for a number', { body: { to: { number: to } } }, 400, 'request-invalid', 'to'],
  ['a number for a number', { body: { to: 998901234567 } }, 400, 'request-invalid', 'to'],
  ['null for a number', { body: { to: null } }, 400, 'request-invalid', 'to'],
  ['a list for a purpose', { body: { to, purpose: ['login'] } }, 400, 'request-invalid', 'purpose'],
  ['a purpose with spaces', { body: { to, purpose: 'log in' } }, 400, 'request-invalid', 'purpose'],
  ['an empty subject', { body: { to, subject: '' } }, 400, 'request-invalid', 'subject'],
  ['a country of three letters', { body: { to: '901234567', country: 'UZB' } }, 400, 'request-invalid', 'country'],
  ['a channel that does not exist', { body: { to, channel: 'pigeon' } }, 400, 'request-invalid', 'channel'],
  ['metadata that is a list', { body: { to, metadata: ['a'] } }, 400, 'request-invalid', 'metadata'],
  ['metadata with an object', { body: { to, metadata: { a: { b: 'c' } } } }, 400, 'request-invalid', 'metadata.a'],
  [
    '17 metadata',
    { body: { to, metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, 'v'])) } },
    400,
    'request-invalid',
    'metadata',
  ],
  [
    'a metadata key of 65 characters',
    { body: { to, metadata: { ['k'.repeat(65)]: 'v' } } },
    400,
    'request-invalid',
    expect.stringContaining('metadata'),
  ],
  ['an empty number', { body: { to: '' } }, 400, 'number-invalid', 'to'],
  ['spaces', { body: { to: '   ' } }, 400, 'number-invalid', 'to'],
  ['garbage', { body: { to: 'garbage' } }, 400, 'number-invalid', 'to'],
  ['+1', { body: { to: '+1' } }, 400, 'number-invalid', 'to'],
  ['a plus', { body: { to: '+' } }, 400, 'number-invalid', 'to'],
  ['a number of no country', { body: { to: '+999123456789' } }, 400, 'number-invalid', 'to'],
  ['a national number without a country', { body: { to: '901234567' } }, 400, 'number-invalid', 'to'],
  ['a number with an extension', { body: { to: `${to};ext=5` } }, 400, 'number-invalid', 'to'],
  ['two numbers', { body: { to: `${to},${to}` } }, 400, 'number-invalid', 'to'],
  ['a number with a line break', { body: { to: `${to}\r\nBcc: x` } }, 400, 'number-invalid', 'to'],
  ['a landline by sms', { body: { to: '+442079460018' } }, 400, 'line-type-refused', 'to'],
  ['a premium number', { body: { to: '+449098790000' } }, 400, 'line-type-refused', 'to'],
  ['a premium number by voice', { body: { to: '+449098790000', channel: 'voice' } }, 400, 'line-type-refused', 'to'],
  ['a country that is not allowed', { body: { to: '+996555123456' } }, 403, 'country-not-allowed', 'to'],
  ['a number of no country, satellite', { body: { to: '+881612345678' } }, 403, 'country-not-allowed', 'to'],
  ['a channel that no provider has', { body: { to, channel: 'whatsapp' } }, 503, 'no-provider', undefined],
  ['an approval token that is none', { body: { to, approval_token: 'a.b.c' } }, 400, 'token-invalid', 'approval_token'],
  [
    'an empty Idempotency-Key',
    { body: { to }, headers: { 'idempotency-key': '' } },
    400,
    'idempotency-key-invalid',
    'Idempotency-Key',
  ],
  [
    'an Idempotency-Key with a space',
    { body: { to }, headers: { 'idempotency-key': 'a b' } },
    400,
    'idempotency-key-invalid',
    'Idempotency-Key',
  ],
  [
    'an Idempotency-Key that is not ASCII',
    { body: { to }, headers: { 'idempotency-key': 'caf\u00e9' } },
    400,
    'idempotency-key-invalid',
    'Idempotency-Key',
  ],
  [
    'two Idempotency-Keys',
    { body: { to }, headers: { 'idempotency-key': ['a', 'b'] } },
    400,
    'idempotency-key-invalid',
    'Idempotency-Key',
  ],
  [
    'an Idempotency-Key of 256 characters',
    { body: { to }, headers: { 'idempotency-key': 'k'.repeat(256) } },
    400,
    'idempotency-key-invalid',
    'Idempotency-Key',
  ],
];

describe('POST /v1/verifications', () => {
  it.each(refusedStarts)('refuses %s', async (_name, ask, status, code, field) => {
    expect(problemOf(await server.call('POST', '/v1/verifications', ask))).toEqual(problem(status, code, field));
  });

  it('reads JSON that is nested 8000 deep, and refuses it by its shape', async () => {
    const deep = (open: string, close: string) => `{"to":${open.repeat(2700)}1${close.repeat(2700)}}`;
    for (const body of [deep('[', ']'), deep('{"a":', '}'), `${'['.repeat(8000)}${']'.repeat(8000)}`]) {
      const answer = await server.call('POST', '/v1/verifications', { body });
      expect(problemOf(answer)).toMatchObject({ status: 400, code: 'request-invalid' });
    }
    const withProto = `{"to":${'{"a":'.repeat(2000)}{"__proto__":1}${'}'.repeat(2001)}`;
    expect(problemOf(await server.call('POST', '/v1/verifications', { body: withProto }))).toEqual(
      problem(400, 'json-invalid'),
    );
  });

  it('refuses a thousand unknown fields, and changes nothing in the process', async () => {
    const body = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`f${index}`, 1]));
    expect(problemOf(await server.call('POST', '/v1/verifications', { body: { to, ...body } }))).toMatchObject({
      code: 'request-invalid',
    });
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  it('believes no client_ip of a caller without a key, and refuses one that is none', async () => {
    const key = await server.keyOf();
    for (const client_ip of ['garbage', '1.2.3', '1.2.3.4:80', '[2001:db8::1]', '1.2.3.4, 5.6.7.8', '999.1.1.1']) {
      const answer = await server.call('POST', '/v1/verifications', { body: { to, client_ip }, key });
      expect(problemOf(answer), client_ip).toEqual(problem(400, 'request-invalid', 'client_ip'));
    }
  });
});

describe('checking a code', () => {
  it.each([
    ['letters', 'abcdef', 'code-malformed'],
    ['five digits', '12345', 'code-malformed'],
    ['seven digits', '1234567', 'code-malformed'],
    ['nothing', '', 'code-malformed'],
    ['a sign', '-12345', 'code-malformed'],
    ['an exponent', '1e5000', 'code-malformed'],
    ['superscripts', '¹²³⁴⁵⁶', 'code-malformed'],
    ['a long text', '1'.repeat(41), 'request-invalid'],
    ['a number instead of a text', 123456, 'request-invalid'],
    ['a list', ['123456'], 'request-invalid'],
    ['a pattern of SQL', "%' --", 'code-malformed'],
  ])('spends no attempt on %s', async (_name, code, expected) => {
    const { id } = await verification();
    const byId = await server.call('POST', `/v1/verifications/${id}/check`, { body: { code } });
    expect(problemOf(byId)).toEqual(problem(400, expected, 'code'));
    const byNumber = await server.call('POST', '/v1/check', { body: { to, code } });
    expect(problemOf(byNumber)).toEqual(problem(400, expected, 'code'));
    expect((await server.call('GET', `/v1/verifications/${id}`)).json['attempts_left']).toBe(5);
  });

  it.each([
    ['an id that was never given', 'ver_00000000000000000000000000'],
    ['a message’s id', 'msg_00000000000000000000000000'],
    ['an id of another alphabet', 'ver_iloUILOU000000000000000000'],
    ['SQL', encodeURIComponent("' OR 1=1 --")],
    ['a path', '..%2F..%2Fsecret'],
    ['__proto__', '__proto__'],
  ])('knows no verification under %s', async (_name, id) => {
    for (const [method, path, body] of [
      ['POST', `/v1/verifications/${id}/check`, { code: '123456' }],
      ['POST', `/v1/verifications/${id}/resend`, {}],
      ['DELETE', `/v1/verifications/${id}`, undefined],
      ['GET', `/v1/verifications/${id}`, undefined],
    ] as const) {
      expect(problemOf(await server.call(method, path, { body })), `${method} ${path}`).toEqual(
        problem(404, 'verification-unknown'),
      );
    }
    expect(problemOf(await server.call('GET', `/v1/messages/${id}`))).toEqual(problem(404, 'message-unknown'));
  });

  it('refuses an id that is too long to be one', async () => {
    for (const length of [65, 199, 2000]) {
      const answer = await server.call('GET', `/v1/verifications/${'a'.repeat(length)}`);
      expect(answer.status, String(length)).toBeGreaterThanOrEqual(400);
      expect(answer.status).toBeLessThan(500);
      expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
    }
  });

  it('refuses a second cancel', async () => {
    const { id } = await verification();
    expect((await server.call('DELETE', `/v1/verifications/${id}`)).status).toBe(200);
    expect(problemOf(await server.call('DELETE', `/v1/verifications/${id}`))).toEqual(
      problem(410, 'verification-settled'),
    );
    current = undefined;
  });
});

describe('messages and their list', () => {
  it.each([
    ['an empty text', { to, text: '  ' }, 400, 'text-invalid', 'text'],
    ['1601 characters', { to, text: 'x'.repeat(1601) }, 400, 'text-invalid', 'text'],
    ['no text', { to }, 400, 'request-invalid', 'text'],
    ['a text that is a list', { to, text: ['a'] }, 400, 'request-invalid', 'text'],
    ['a bad number', { to: 'garbage', text: 'a' }, 400, 'number-invalid', 'to'],
    ['a landline', { to: '+442079460018', text: 'a' }, 400, 'line-type-refused', 'to'],
    ['a country that is not allowed', { to: '+996555123456', text: 'a' }, 403, 'country-not-allowed', 'to'],
  ])('refuses %s', async (_name, body, status, code, field) => {
    expect(problemOf(await server.call('POST', '/v1/messages', { body }))).toEqual(problem(status, code, field));
  });

  it.each(['limit=0', 'limit=101', 'limit=-1', 'limit=1e1', 'limit=1&limit=2', 'unknown=1'])(
    'refuses the query %s',
    async (query) => {
      expect(problemOf(await server.call('GET', `/v1/messages?${query}`))).toMatchObject({
        status: 400,
        code: 'request-invalid',
      });
    },
  );
});

describe('HTTP itself', () => {
  it.each(['PUT', 'PATCH', 'GET', 'DELETE', 'OPTIONS', 'PROPFIND', 'TRACE'])(
    'knows no %s /v1/verifications',
    async (method) => {
      const answer = await server.call(method, '/v1/verifications');
      expect(problemOf(answer)).toEqual(problem(404, 'not-found'));
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
    },
  );

  it('answers HEAD like GET, without a body', async () => {
    for (const path of ['/healthz', '/.well-known/jwks.json', `/v1/numbers/${to}`]) {
      const get = await server.call('GET', path);
      const head = await server.call('HEAD', path);
      expect([head.status, head.text], path).toEqual([200, '']);
      expect(head.headers['content-length']).toBe(get.headers['content-length']);
    }
    expect(await server.call('HEAD', '/v1/verifications')).toMatchObject({ status: 404, text: '' });
  });

  it.each([
    '/%',
    '/v1/%zz',
    '/v1/numbers/%c0%80',
    '/v1//check',
    '/v1/check/',
    '/../../etc/passwd',
    `/${'a'.repeat(8000)}`,
  ])('refuses a path that leads nowhere: %s', async (path) => {
    const answer = await server.call('GET', path);
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.status).toBeLessThan(500);
    expect(answer.text.length).toBeLessThan(500);
  });

  it('says 431 to headers over Node’s limit, as a problem', async () => {
    const heard = await speak(
      server.origin,
      `GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
    );
    expect(heard).toMatch(/^HTTP\/1\.1 431 /);
    expect(heard).toContain('Content-Type: application/problem+json\r\n');
    expect(JSON.parse(heard.split('\r\n\r\n')[1] ?? '')).toMatchObject({
      status: 431,
      code: 'headers-too-large',
      type: '/problems/headers-too-large',
    });
  });

  it.each([
    ['a line that is no request', 'BREW coffee\r\n\r\n'],
    ['TLS', Buffer.from('1603010200010001fc0303', 'hex')],
    [
      'two lengths',
      'POST /v1/verifications HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}',
    ],
    [
      'a length and chunks',
      'POST /v1/verifications HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    [
      'a broken chunk',
      'POST /v1/verifications HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    ],
    ['a header with a line feed alone', 'GET /healthz HTTP/1.1\nHost: localhost\nX: y\n\n\n'],
  ])('closes a connection that speaks %s', async (_name, bytes) => {
    const heard = await speak(server.origin, bytes);
    expect(heard).toMatch(/^HTTP\/1\.1 400 /);
    expect(heard).toContain('"code":"request-invalid"');
  });

  it('keeps the connection in step after errors: each pipelined request has its own answer', async () => {
    const post = (path: string, type: string, body: string) =>
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
    const heard = await speak(
      server.origin,
      post('/nowhere', 'application/json', JSON.stringify({ to })),
      post('/v1/verifications', 'application/json', JSON.stringify({ to: 'garbage' })),
      post('/v1/verifications', 'application/json', JSON.stringify({ phone: to })),
      post('/v1/check', 'application/json', JSON.stringify({ to, code: 'abc' })),
      'GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n',
    );
    const statuses = heard.match(/HTTP\/1\.1 \d{3}/g);
    expect(statuses).toEqual(['404', '400', '400', '400', '200'].map((status) => `HTTP/1.1 ${status}`));
  });

  it.each([
    ['is no JSON', 'application/json', '{"to":', 400],
    ['has another type', 'text/xml', 'GET /smuggled HTTP/1.1', 415],
  ])('answers a body that %s, and takes nothing of it for a request', async (_name, type, body, status) => {
    const head = `POST /v1/verifications HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\n`;
    const heard = await speak(
      server.origin,
      `${head}Content-Length: ${body.length}\r\n\r\n${body}`,
      'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    );
    const [first, ...others] = heard.match(/HTTP\/1\.1 \d{3}/g) ?? [];
    expect(first).toBe(`HTTP/1.1 ${status}`);
    // Fastify closes after a body that it could not read; a client then asks anew.
    expect(others.length === 0 ? /\r\nconnection: close\r\n/i.test(heard) : others[0] === 'HTTP/1.1 200').toBe(true);
  });

  it('does not take what follows a body that was too large for a request', async () => {
    const inner = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n';
    const body = inner.repeat(1000);
    const heard = await speak(
      server.origin,
      `POST /v1/verifications HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`,
      body,
      'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    );
    const statuses = heard.match(/HTTP\/1\.1 \d{3}/g) ?? [];
    expect(statuses[0]).toBe('HTTP/1.1 413');
    expect(statuses.length).toBeLessThanOrEqual(2);
  });

  it('refuses a chunked body over 16 KiB before it has come whole', async () => {
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
    const heard = await speak(
      server.origin,
      'POST /v1/verifications HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
      chunk,
      chunk,
      '0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    );
    expect(heard).toMatch(/^HTTP\/1\.1 413 /);
  });

  it('gives up a request that comes too slowly, and says so', async () => {
    const hasty = await startServer({ options: { requestTimeoutMs: 200 } });
    const startedAt = performance.now();
    const heard = await Promise.all([
      speak(hasty.origin, 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: '),
      speak(
        hasty.origin,
        'POST /v1/verifications HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"to":',
      ),
    ]);
    expect(performance.now() - startedAt).toBeLessThan(5000);
    for (const answer of heard) {
      expect(answer).toMatch(/^HTTP\/1\.1 408 /);
      expect(answer).toContain('"code":"request-timeout"');
    }
    await hasty.close();
    // The real limit, which no test waits for.
    expect(server.server.server.requestTimeout).toBe(15_000);
  });
});

describe('what was refused', () => {
  it('used no limit: the app still has exactly as many starts as it may make', async () => {
    if (starts === 0) await startOne();
    while (starts < STARTS) await startOne();
    const answer = await server.call('POST', '/v1/verifications', { body: { to } });
    expect(problemOf(answer)).toEqual(problem(429, 'rate-limited'));
  });

  it('tried no wrong code: the number is not locked, and its code is good', async () => {
    const code = server.codeFor(to);
    const answer = await server.call('POST', '/v1/check', { body: { to, code: wrong(code) } });
    expect(problemOf(answer)).toEqual(problem(422, 'code-wrong', 'code'));
    expect((await server.call('POST', '/v1/check', { body: { to, code } })).status).toBe(200);
  });

  it('left no trace of a bug in the log', () => {
    expect(server.logged.filter((line) => line.includes('"bug"'))).toEqual([]);
  });
});

let current: Promise<{ id: string; code: string }> | undefined;
function verification() {
  current ??= startOne();
  return current;
}
