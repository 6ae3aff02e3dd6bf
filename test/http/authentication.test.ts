import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { problem, problemOf, speak } from './http-client.ts';
import { type RunningServer, startServer, wrong } from './running-server.ts';

const to = '+998901234567';

describe('API keys in production', () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer({ file: { mode: 'production', apps: { default: {}, taxi: {} } } });
  });
  afterAll(() => server.close());

  it.each([
    ['POST', '/v1/verifications'],
    ['POST', '/v1/check'],
    ['POST', '/v1/verifications/ver_00000000000000000000000000/check'],
    ['POST', '/v1/verifications/ver_00000000000000000000000000/resend'],
    ['GET', '/v1/verifications/ver_00000000000000000000000000'],
    ['DELETE', '/v1/verifications/ver_00000000000000000000000000'],
    ['POST', '/v1/messages'],
    ['GET', '/v1/messages'],
    ['GET', '/v1/messages/msg_00000000000000000000000000'],
    ['GET', '/v1/numbers/+998901234567'],
    ['HEAD', '/v1/numbers/+998901234567'],
  ])('are needed for %s %s, also from this machine', async (method, path) => {
    const answer = await server.call(method, path, method === 'POST' ? { body: { to, code: '123456' } } : {});
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Bearer');
    if (method !== 'HEAD') expect(problemOf(answer)).toEqual(problem(401, 'key-missing'));
  });

  it('are refused before anything of the request is read', async () => {
    const answer = await server.call('POST', '/v1/verifications', { body: '{"to":' });
    expect(problemOf(answer)).toEqual(problem(401, 'key-missing'));
  });

  it('are refused when unknown, changed, of another scheme, doubled or empty', async () => {
    const key = await server.keyOf();
    const changed = key.slice(0, -1) + (key.endsWith('A') ? 'B' : 'A');
    const basic = `Basic ${Buffer.from(`${key}:`).toString('base64')}`;
    for (const authorization of [
      'Bearer cs_unknown',
      `Bearer ${changed}`,
      `Bearer ${key}${key}`,
      `Bearer ${key.toUpperCase()}`,
      `Bearer, ${key}`,
      basic,
      key,
      'Bearer',
      'Bearer ',
      `Bearer  ${key}`,
      '',
      `Bearer ${'x'.repeat(8000)}`,
    ]) {
      const answer = await server.call('POST', '/v1/verifications', { body: { to }, headers: { authorization } });
      expect(answer.status, authorization.slice(0, 40)).toBe(401);
      expect(answer.headers['www-authenticate']).toBe('Bearer');
      expect(answer.text).not.toContain(key);
    }
    expect(server.phone.sent).toEqual([]);
    expect((await server.call('GET', `/v1/numbers/${to}?key=${key}`)).status).toBe(401);
    const small = { authorization: `bearer ${key}` };
    expect((await server.call('GET', `/v1/numbers/${to}`, { headers: small })).status).toBe(200);
  });

  it('are good for nothing two seconds after they were revoked', async () => {
    const { key, kept } = await server.composed.countersign.keys.create({ app: 'default', name: 'leaked' });
    expect((await server.call('GET', `/v1/numbers/${to}`, { key })).status).toBe(200);
    await server.composed.countersign.keys.revoke(kept.id);
    server.clock.now += 2000;
    expect(problemOf(await server.call('GET', `/v1/numbers/${to}`, { key }))).toEqual(problem(401, 'key-invalid'));
  });

  it('13. tenants are apart: a key of one app never sees, checks, counts or ends what another has', async () => {
    const [ours, theirs] = [await server.keyOf('default'), await server.keyOf('taxi')];
    const number = '+998901234500';
    const started = await server.call('POST', '/v1/verifications', { body: { to: number }, key: ours });
    const id = String(started.json['id']);
    const code = server.codeFor(number);
    const sentBefore = server.phone.sent.length;
    server.clock.now += 60_000;
    for (const [method, path, body] of [
      ['GET', `/v1/verifications/${id}`, undefined],
      ['DELETE', `/v1/verifications/${id}`, undefined],
      ['POST', `/v1/verifications/${id}/resend`, {}],
      ['POST', `/v1/verifications/${id}/check`, { code }],
    ] as const) {
      const foreign = await server.call(method, path, { body, key: theirs });
      const unknown = await server.call(method, path.replace(id, `ver_${'0'.repeat(26)}`), { body, key: theirs });
      expect(problemOf(foreign)).toEqual(problem(404, 'verification-unknown'));
      expect(foreign.text).toBe(unknown.text);
    }
    const [message] = (await server.call('GET', '/v1/messages', { key: ours })).json['messages'] as { id: string }[];
    expect(problemOf(await server.call('GET', `/v1/messages/${message?.id}`, { key: theirs }))).toEqual(
      problem(404, 'message-unknown'),
    );
    expect((await server.call('GET', `/v1/messages/${message?.id}`, { key: ours })).status).toBe(200);
    expect((await server.call('GET', '/v1/messages', { key: theirs })).json['messages']).toEqual([]);
    expect(server.phone.sent).toHaveLength(sentBefore);

    // Their guesses use up their own budget of that number, and neither our attempts nor our budget.
    for (let guess = 0; guess < 20; guess += 1) {
      const answer = await server.call('POST', '/v1/check', { body: { to: number, code: wrong(code) }, key: theirs });
      expect(problemOf(answer)).toEqual(problem(422, 'code-wrong', 'code'));
    }
    expect(problemOf(await server.call('POST', '/v1/check', { body: { to: number, code }, key: theirs }))).toEqual(
      problem(429, 'number-locked'),
    );
    expect((await server.call('GET', `/v1/verifications/${id}`, { key: ours })).json['attempts_left']).toBe(5);
    expect((await server.call('POST', `/v1/verifications/${id}/check`, { body: { code }, key: ours })).status).toBe(
      200,
    );
  });

  it('keep the idempotency keys of apps apart', async () => {
    const headers = { 'idempotency-key': 'the-same' };
    const body = { to: '+998901234510' };
    const [ours, theirs] = [await server.keyOf('default'), await server.keyOf('taxi')];
    const first = await server.call('POST', '/v1/verifications', { body, headers, key: ours });
    const second = await server.call('POST', '/v1/verifications', { body, headers, key: theirs });
    expect([first.status, second.status]).toEqual([201, 201]);
    expect(second.json['id']).not.toBe(first.json['id']);
  });

  it('are needed for metrics from elsewhere; health and keys of tokens are open', async () => {
    const headers = { host: 'verify.example' };
    expect((await server.call('GET', '/metrics', { headers })).status).toBe(401);
    expect((await server.call('GET', '/metrics', { headers, key: await server.keyOf() })).status).toBe(200);
    for (const path of ['/healthz', '/readyz', '/.well-known/jwks.json', '/openapi.json']) {
      expect((await server.call('GET', path, { headers })).status, path).toBe(200);
    }
  });

  it('find no inbox in production', async () => {
    for (const path of ['/', '/inbox', '/inbox/api/messages', '/inbox/api/events']) {
      expect((await server.call('GET', path, { key: await server.keyOf() })).status, path).toBe(404);
    }
  });
});

describe('development without a key', () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer();
  });
  afterAll(() => server.close());

  it.each(['localhost', 'LOCALHOST:8080', '127.0.0.1', '127.1.2.3:1', '[::1]:8080'])(
    'is open under %s',
    async (host) => {
      expect((await server.call('GET', `/v1/numbers/${to}`, { headers: { host } })).status).toBe(200);
    },
  );

  it.each([
    { host: 'evil.example' },
    { host: 'localhost.evil.example' },
    { host: '127.0.0.1.evil.example' },
    { host: 'evil.example:8080@localhost' },
    { host: 'localhost@evil.example' },
    { host: 'localhost ,evil.example' },
    { host: '0.0.0.0' },
    { host: 'evil.example', 'x-forwarded-host': 'localhost' },
  ])('is closed to $host', async (headers) => {
    const given = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined)) as Record<
      string,
      string
    >;
    for (const path of ['/v1/verifications', '/v1/check']) {
      const answer = await server.call('POST', path, { headers: given, body: { to, code: '123456' } });
      expect(problemOf(answer)).toEqual(problem(401, 'key-missing'));
    }
    expect((await server.call('GET', '/metrics', { headers: given })).status).toBe(401);
    expect(server.phone.sent).toEqual([]);
  });

  it('is closed to a request that names no host', async () => {
    const heard = await speak(server.origin, `GET /v1/numbers/${to} HTTP/1.0\r\n\r\n`);
    expect(heard).toMatch(/^HTTP\/1\.1 401 /);
    const empty = `GET /v1/numbers/${to} HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n`;
    expect(await speak(server.origin, empty)).toMatch(/^HTTP\/1\.1 401 /);
  });

  it('is closed to whom a trusted proxy forwards from elsewhere', async () => {
    const proxied = await startServer({ file: { trustedProxies: ['127.0.0.1'] } });
    const status = async (headers: Record<string, string>) =>
      (await proxied.call('GET', `/v1/numbers/${to}`, { headers: { host: 'localhost', ...headers } })).status;
    expect(await status({ 'x-forwarded-for': '203.0.113.7' })).toBe(401);
    expect(await status({ 'x-forwarded-for': '127.0.0.1' })).toBe(200);
    expect(await status({})).toBe(200);
    await proxied.close();
  });

  it('does not fall back to no key when a bad one is shown', async () => {
    expect(problemOf(await server.call('GET', `/v1/numbers/${to}`, { key: 'cs_bad' }))).toEqual(
      problem(401, 'key-invalid'),
    );
  });
});

describe('7. the address limit', () => {
  const limited = {
    default: {
      limits: { perAddress: [{ max: 2, windowSeconds: 3600 }], perNumber: [{ max: 100, windowSeconds: 60 }] },
    },
  };
  let last = 0;
  const nextNumber = () => `+99890${String(3_000_000 + ++last)}`;
  const tryTimes = async (
    server: RunningServer,
    times: number,
    ask: (turn: number) => object,
    headers = (_turn: number): Record<string, string> => ({}),
    key?: string,
  ) => {
    const statuses: number[] = [];
    for (let turn = 0; turn < times; turn += 1) {
      const given = { body: { to: nextNumber(), ...ask(turn) }, headers: headers(turn) };
      statuses.push(
        (await server.call('POST', '/v1/verifications', key === undefined ? given : { ...given, key })).status,
      );
    }
    return statuses;
  };

  it('counts the client_ip that a key names, whatever X-Forwarded-For says, each address for itself', async () => {
    for (const trustedProxies of [[], ['127.0.0.1']]) {
      const server = await startServer({ file: { apps: limited, trustedProxies } });
      const key = await server.keyOf();
      const rotate = (turn: number) => ({ 'x-forwarded-for': `203.0.113.${turn}` });
      expect(await tryTimes(server, 4, () => ({ client_ip: '198.51.100.7' }), rotate, key)).toEqual([
        201, 201, 429, 429,
      ]);
      expect(await tryTimes(server, 2, () => ({ client_ip: '::ffff:198.51.100.7' }), rotate, key)).toEqual([429, 429]);
      expect(await tryTimes(server, 2, () => ({ client_ip: '198.51.100.8' }), rotate, key)).toEqual([201, 201]);
      await server.close();
    }
  });

  it('counts the /64 of an IPv6 address', async () => {
    const server = await startServer({ file: { apps: limited } });
    const key = await server.keyOf();
    const ip = (turn: number) => ({ client_ip: `2001:db8:1:2:${turn + 1}::${turn}` });
    expect(await tryTimes(server, 4, ip, undefined, key)).toEqual([201, 201, 429, 429]);
    expect(await tryTimes(server, 1, () => ({ client_ip: '2001:db8:1:3::1' }), undefined, key)).toEqual([201]);
    await server.close();
  });

  it('counts none for a key that names no client_ip: the socket is the back end’s', async () => {
    const server = await startServer({ file: { apps: limited } });
    const rotate = (turn: number) => ({ 'x-forwarded-for': `203.0.113.${turn % 2}` });
    expect(await tryTimes(server, 5, () => ({}), rotate, await server.keyOf())).toEqual([201, 201, 201, 201, 201]);
    await server.close();
  });

  it('counts the socket of a caller without a key, who cannot name another address by any header or field', async () => {
    const server = await startServer({ file: { apps: limited } });
    expect(await tryTimes(server, 2, () => ({}))).toEqual([201, 201]);
    for (const name of [
      'forwarded',
      'x-real-ip',
      'x-client-ip',
      'cf-connecting-ip',
      'true-client-ip',
      'x-forwarded-for',
    ]) {
      const named = (turn: number) => ({ client_ip: `203.0.113.${turn}` });
      const statuses = await tryTimes(server, 3, named, (turn) => ({ [name]: `203.0.113.${turn}` }));
      expect(statuses, name).toEqual([429, 429, 429]);
    }
    expect(server.phone.sent).toHaveLength(2);
    await server.close();
  });
});
