import { createRemoteJWKSet, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { problem, problemOf } from './http-client.ts';
import { type RunningServer, startServer, wideLimits, wrong } from './running-server.ts';

let server: RunningServer;
beforeAll(async () => {
  // No provider of its own: development mode, and the inbox.
  server = await startServer({ file: { providers: {} } });
});
afterAll(() => server.close());

describe('a verification from start to token', () => {
  it.each([
    ['+998901234567', undefined, '+998901234567', 'UZ', 'uz'],
    ['+996555123456', undefined, '+996555123456', 'KG', 'ru'],
    ['0501234567', 'SA', '+966501234567', 'SA', 'ar'],
    ['+77088043414', undefined, '+77088043414', 'KZ', 'ru'],
    ['8 705 804-34-15', 'KZ', '+77058043415', 'KZ', 'ru'],
    ['+12125551234', undefined, '+12125551234', 'US', 'en'],
    ['8 (912) 345-67-89', 'ru', '+79123456789', 'RU', 'ru'],
    ['07400 123456', 'GB', '+447400123456', 'GB', 'en'],
    ['06 12 34 56 78', 'FR', '+33612345678', 'FR', 'fr'],
    ['0049 1512 3456789', undefined, '+4915123456789', 'DE', 'de'],
    ['٠٥٠١٢٣٤٥٦٨', 'SA', '+966501234568', 'SA', 'ar'],
  ])('approves %s (%s)', async (to, country, number, itsCountry, locale) => {
    const started = await server.call('POST', '/v1/verifications', {
      body: { to, ...(country === undefined ? {} : { country }), subject: 'user-7', metadata: { order: '42' } },
    });
    expect(started.status).toBe(201);
    const code = server.codeFor(number);
    expect(started.json).toEqual({
      id: expect.stringMatching(/^ver_[0-9a-hjkmnp-tv-z]{26}$/),
      status: 'pending',
      to: number,
      country: itsCountry,
      channel: 'sms',
      locale,
      purpose: 'login',
      subject: 'user-7',
      created_at: new Date(server.clock.now).toISOString(),
      expires_at: new Date(server.clock.now + 600_000).toISOString(),
      resend_at: new Date(server.clock.now + 30_000).toISOString(),
      attempts_left: 5,
      sends: 1,
      metadata: { order: '42' },
      code,
    });
    const checked = await server.call('POST', `/v1/verifications/${started.json['id']}/check`, { body: { code } });
    expect(checked.status).toBe(200);
    expect(checked.json).toMatchObject({ id: started.json['id'], status: 'approved', to: number });

    const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', server.origin));
    const { payload, protectedHeader } = await jwtVerify(String(checked.json['token']), keys, {
      issuer: 'countersign',
      audience: 'default',
      algorithms: ['EdDSA'],
    });
    expect(protectedHeader).toMatchObject({ alg: 'EdDSA', typ: 'JWT' });
    expect(payload).toMatchObject({
      sub: 'user-7',
      phone_number: number,
      phone_number_verified: true,
      purpose: 'login',
      channel: 'sms',
      jti: started.json['id'],
    });
    expect(await problemOfCheck(String(started.json['id']), code)).toEqual(problem(410, 'verification-settled'));
  });

  it('approves by number, however the number and the code are written', async () => {
    const { code } = await server.start('+998901110001');
    const typed = `${code.slice(0, 3)} ${code.slice(3)}`;
    const body = { to: '90 111 00 01', country: 'uz', code: typed };
    const answer = await server.call('POST', '/v1/check', { body });
    expect(answer.status).toBe(200);
    expect(answer.json).toMatchObject({ status: 'approved', to: '+998901110001', token: expect.any(String) });
  });

  it('names what a token was changed in: a token of another key or with another number is refused', async () => {
    const { id, code } = await server.start('+998901110002');
    const checked = await server.call('POST', `/v1/verifications/${id}/check`, { body: { code } });
    const [header, payload = '', signature] = String(checked.json['token']).split('.');
    const forged = Buffer.from(payload, 'base64url').toString().replace('+998901110002', '+998901110003');
    const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', server.origin));
    const token = [header, Buffer.from(forged).toString('base64url'), signature].join('.');
    await expect(jwtVerify(token, keys)).rejects.toThrow(/signature/);
  });

  it('publishes public keys alone', async () => {
    const { json, headers } = await server.call('GET', '/.well-known/jwks.json');
    const [key] = json['keys'] as Record<string, string>[];
    expect(Object.keys(key ?? {}).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x']);
    expect(headers['cache-control']).toBe('public, max-age=10');
  });
});

describe('resend, look-up and cancel', () => {
  it('sends the same code again once resend_at has come, and both texts approve', async () => {
    const { id, code } = await server.start('+998901110010');
    const early = await server.call('POST', `/v1/verifications/${id}/resend`, { body: {} });
    expect(problemOf(early)).toEqual(problem(429, 'resend-too-early'));
    expect(early.headers['retry-after']).toBe('30');
    server.clock.now += 30_000;
    const resent = await server.call('POST', `/v1/verifications/${id}/resend`);
    expect(resent).toMatchObject({ status: 200, json: { id, sends: 2, code } });
    expect(server.codeFor('+998901110010')).toBe(code);
    expect((await server.call('POST', `/v1/verifications/${id}/check`, { body: { code } })).status).toBe(200);
  });

  it.each(['POST', 'DELETE'])('takes a %s that says JSON and has no body, as many clients send it', async (method) => {
    const { id } = await server.start('+998901110011');
    server.clock.now += 60_000;
    const headers = { 'content-type': 'application/json', 'content-length': '0' };
    const path = method === 'POST' ? `/v1/verifications/${id}/resend` : `/v1/verifications/${id}`;
    const answer = await server.call(method, path, { headers });
    expect(answer, answer.text).toMatchObject({ status: 200 });
  });

  it('cancels once; the second time and a check say that it has ended', async () => {
    const { id, code } = await server.start('+998901110012');
    const canceled = await server.call('DELETE', `/v1/verifications/${id}`);
    expect(canceled).toMatchObject({ status: 200, json: { status: 'canceled' } });
    const again = await server.call('DELETE', `/v1/verifications/${id}`);
    expect(problemOf(again)).toEqual(problem(410, 'verification-settled'));
    expect(again.json['verification_status']).toBe('canceled');
    expect(await problemOfCheck(id, code)).toEqual(problem(410, 'verification-settled'));
    expect(await server.call('GET', `/v1/verifications/${id}`)).toMatchObject({
      status: 200,
      json: { status: 'canceled', attempts_left: 5 },
    });
  });

  it('shows a code in the answer of a start and nowhere else', async () => {
    const { id, code } = await server.start('+998901110013');
    for (const path of [`/v1/verifications/${id}`, '/v1/messages?to=%2B998901110013']) {
      const answer = await server.call('GET', path);
      expect(answer.status).toBe(200);
      expect(answer.text).not.toContain(code);
    }
  });
});

describe('texts that phones fill in by themselves', () => {
  const hash = 'FA+9qCX9VSu';
  let fills: RunningServer;
  beforeAll(async () => {
    const autofill = { domain: 'acme.example', appHashes: [hash] };
    fills = await startServer({
      file: { providers: {}, apps: { default: { limits: wideLimits, autofill }, plain: { limits: wideLimits } } },
    });
  });
  afterAll(() => fills.close());

  const to = '+998901110050';
  const textAfter = async (body: object, path = '/v1/verifications', key?: string) => {
    const { status, text } = await fills.call('POST', path, { body, ...(key === undefined ? {} : { key }) });
    expect([200, 201], text).toContain(status);
    // The newest stands first.
    return fills.composed.inbox?.list()[0]?.text ?? '';
  };

  it.each([
    ['a page', { platform: 'web' }, (code: string) => `\n@acme.example #${code}`],
    ['iOS', { platform: 'ios' }, (code: string) => `\n@acme.example #${code}`],
    ['Android', { platform: 'android' }, () => `\n${hash}`],
    ['an Android app that names its hash', { app_hash: hash }, () => `\n${hash}`],
    ['nobody in particular', {}, () => ' 10 daqiqa amal qiladi.'],
    ['a call', { platform: 'web', channel: 'voice' }, () => ' 10 daqiqa amal qiladi.'],
  ])('end as %s wants it', async (_name, more, ending) => {
    const text = await textAfter({ to, ...more });
    const [code = 'none'] = /(?<!\d)\d{6}(?!\d)/.exec(text) ?? [];
    expect(text.endsWith(ending(code)), text).toBe(true);
    expect(text).toContain(`tasdiqlash kodi ${code}.`);
  });

  it('end the same in a resend, or as the resend says', async () => {
    const started = await fills.call('POST', '/v1/verifications', { body: { to: '+998901110051', platform: 'web' } });
    const path = `/v1/verifications/${started.json['id']}/resend`;
    fills.clock.now += 60_000;
    expect(await textAfter({}, path)).toContain('\n@acme.example #');
    fills.clock.now += 60_000;
    expect(await textAfter({ platform: 'android' }, path)).toMatch(/\nFA\+9qCX9VSu$/);
  });

  it('end with nothing where the app has no such setting', async () => {
    const key = await fills.keyOf('plain');
    for (const platform of ['web', 'ios', 'android'])
      expect(await textAfter({ to, platform }, '/v1/verifications', key)).not.toContain('\n');
  });

  it.each([
    ['a hash that is not configured', { app_hash: 'AAAAAAAAAAA' }, 'app_hash'],
    ['a platform that does not exist', { platform: 'windows' }, 'platform'],
    ['an address that is none', { email: 'nobody' }, 'email'],
    ['two addresses', { email: 'a@acme.example,b@acme.example' }, 'email'],
    ['a header', { email: 'a@acme.example\r\nBcc: b@acme.example' }, 'email'],
  ])('are not sent for %s', async (_name, more, field) => {
    const sentBefore = fills.composed.inbox?.list().length;
    const answer = await fills.call('POST', '/v1/verifications', { body: { to, ...more } });
    expect(problemOf(answer)).toEqual(problem(400, 'request-invalid', field));
    expect(fills.composed.inbox?.list().length).toBe(sentBefore);
  });
});

describe('messages and numbers', () => {
  it('sends a text of the caller’s own, and lists it page by page', async () => {
    for (const text of ['one', 'two', 'three']) {
      server.clock.now += 1;
      const sent = await server.call('POST', '/v1/messages', { body: { to: '+998901110020', text } });
      expect(sent).toMatchObject({ status: 201, json: { status: 'queued', text, segments: 1, encoding: 'GSM-7' } });
      const found = await server.call('GET', `/v1/messages/${sent.json['id']}`);
      expect(found).toMatchObject({
        status: 200,
        json: { text, dispatches: [{ provider: 'inbox', status: 'queued' }] },
      });
    }
    const texts: unknown[] = [];
    let before = '';
    do {
      const page = await server.call('GET', `/v1/messages?to=%2B998901110020&limit=1${before}`);
      expect(page.status).toBe(200);
      texts.push(...(page.json['messages'] as { text: string }[]).map(({ text }) => text));
      before = page.json['next'] === undefined ? '' : `&before=${page.json['next']}`;
    } while (before !== '');
    expect(texts).toEqual(['three', 'two', 'one']);
  });

  it('understands a + in a query that nobody has escaped', async () => {
    await server.call('POST', '/v1/messages', { body: { to: '+998901110021', text: 'here' } });
    const { status, json } = await server.call('GET', '/v1/messages?to=+998901110021');
    expect([status, (json['messages'] as unknown[]).length]).toEqual([200, 1]);
  });

  it('says what a number is', async () => {
    expect((await server.call('GET', '/v1/numbers/+998901234567')).json).toEqual({
      number: '+998901234567',
      country: 'UZ',
      line_type: 'mobile',
      national: '90 123 45 67',
      locale: 'uz',
    });
    expect((await server.call('GET', '/v1/numbers/0501234567?country=sa')).json).toMatchObject({
      number: '+966501234567',
    });
    expect(problemOf(await server.call('GET', '/v1/numbers/12'))).toEqual(problem(400, 'number-invalid', 'number'));
  });
});

describe('5. ten minutes at most', () => {
  it('approves in the last millisecond and refuses at the very millisecond of expires_at', async () => {
    const inTime = await server.start('+998901110030');
    server.clock.now += 599_999;
    expect(
      (await server.call('POST', `/v1/verifications/${inTime.id}/check`, { body: { code: inTime.code } })).status,
    ).toBe(200);
    const late = await server.start('+998901110031');
    server.clock.now += 600_000;
    expect(await problemOfCheck(late.id, late.code)).toEqual(problem(410, 'verification-expired'));
    const byNumber = await server.call('POST', '/v1/check', { body: { to: '+998901110031', code: late.code } });
    expect(problemOf(byNumber)).toEqual(problem(422, 'code-wrong', 'code'));
    expect((await server.call('GET', `/v1/verifications/${late.id}`)).json['status']).toBe('expired');
  });
});

describe('6. bound', () => {
  it('approves no other purpose, subject, number or verification with a right code', async () => {
    const to = '+998901110040';
    const { id, code } = await server.start(to, { purpose: 'rider', subject: 'user-1' });
    const other = await server.start('+998901110041');
    expect(await problemOfCheck(id, code, { purpose: 'customer' })).toEqual(problem(404, 'verification-unknown'));
    expect(await problemOfCheck(id, code, { subject: 'user-2' })).toEqual(problem(404, 'verification-unknown'));
    expect(await problemOfCheck(other.id, code === other.code ? wrong(code) : code)).toMatchObject({ status: 422 });
    for (const more of [
      { purpose: 'customer', subject: 'user-1' },
      { purpose: 'rider', subject: 'user-2' },
      { purpose: 'rider' },
      { subject: 'user-1' },
      { purpose: 'rider', subject: 'user-1', to: '+998901110042' },
    ]) {
      const answer = await server.call('POST', '/v1/check', { body: { to, code, ...more } });
      expect(problemOf(answer), JSON.stringify(more)).toEqual(problem(422, 'code-wrong', 'code'));
    }
    const right = await server.call('POST', '/v1/check', { body: { to, code, purpose: 'rider', subject: 'user-1' } });
    expect(right.status).toBe(200);
  });

  it('keeps apart subjects that only differ in characters which no store can hold', async () => {
    for (const subject of ['a\ud800', 'a\u0000', 'a\nb']) {
      const answer = await server.call('POST', '/v1/verifications', { body: { to: '+998901110043', subject } });
      expect(problemOf(answer), JSON.stringify(subject)).toEqual(problem(400, 'request-invalid', 'subject'));
    }
    expect(
      (await server.call('POST', '/v1/verifications', { body: { to: '+998901110043', subject: 'Фёдор 🚕' } })).status,
    ).toBe(201);
  });
});

async function problemOfCheck(id: string, code: string, more: object = {}) {
  return problemOf(await server.call('POST', `/v1/verifications/${id}/check`, { body: { code, ...more } }));
}
