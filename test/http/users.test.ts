import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Ask, problem, problemOf } from './http-client.ts';
import { type RunningServer, startServer, wideLimits } from './running-server.ts';

let server: RunningServer;
let lastNumber = 0;
beforeAll(async () => {
  server = await startServer({
    file: { mode: 'production', apps: { default: { limits: wideLimits }, taxi: { limits: wideLimits } } },
  });
});
afterAll(() => server.close());

type Session = { readonly token: string; readonly id: string; readonly to: string };

/** Somebody who has just signed in to an app, under a new number unless told otherwise. */
async function signIn(app = 'default', number?: string): Promise<Session> {
  lastNumber += 1;
  const to = number ?? `+99890${String(lastNumber).padStart(7, '0')}`;
  const { verifications, users } = server.composed.countersign;
  const started = await verifications.start({ app, to });
  if (started.kind === 'refused') throw new Error(started.detail);
  const approved = await verifications.check({ app, id: started.verification.id, code: server.codeFor(to) });
  if (approved.kind === 'refused') throw new Error(approved.detail);
  const signedIn = await users.signIn({ app, approved });
  if (signedIn.kind === 'refused') throw new Error(signedIn.detail);
  return { token: signedIn.accessToken, id: signedIn.user.id, to };
}

/** With an access token: it travels as a key does. */
const me = (method: string, token: string, more: Ask = {}, path = '') =>
  server.call(method, `/v1/users/me${path}`, { key: token, ...more });

const noToken = problem(401, 'access-token-invalid');

describe('/v1/users/me', () => {
  it('says who is signed in, whatever app it is', async () => {
    for (const app of ['default', 'taxi']) {
      const { token, id, to } = await signIn(app);
      expect(await me('GET', token)).toMatchObject({
        status: 200,
        json: { id, name: to.slice(4), phone: to, full_name: '', is_active: true, is_verified: true },
      });
    }
  });

  it('changes the names, one or both', async () => {
    const { token, id, to } = await signIn();
    const body = { name: 'Ая 🚕', full_name: 'Айзада Усенова' };
    const user = { id, phone: to, is_active: true, is_verified: true };
    expect(await me('PATCH', token, { body })).toMatchObject({ status: 200, json: { ...user, ...body } });
    const answer = await me('PATCH', token, { body: { full_name: '' } });
    expect(answer).toMatchObject({ status: 200, json: { ...user, name: body.name, full_name: '' } });
    expect((await me('PATCH', token, { body: {} })).json).toEqual(answer.json);
    expect((await me('GET', token)).json).toEqual(answer.json);
  });

  it.each([
    [{ name: '' }, 'name'],
    [{ name: 'n'.repeat(101) }, 'name'],
    [{ name: 'a\r\nSet-Cookie: b' }, 'name'],
    [{ name: 'a\u0000' }, 'name'],
    [{ name: 7 }, 'name'],
    [{ name: null }, 'name'],
    [{ full_name: 'f'.repeat(201) }, 'full_name'],
    [{ full_name: 'a\u009b31m' }, 'full_name'],
    [{ full_name: '\ud83d' }, 'full_name'],
    [{ is_active: false }, 'is_active'],
    [{ phone: '+998901112233' }, 'phone'],
    [{ id: '1' }, 'id'],
  ])('refuses to take %j', async (body, field) => {
    const { token } = await signIn();
    const before = await me('GET', token);
    expect(problemOf(await me('PATCH', token, { body }))).toEqual(problem(400, 'request-invalid', field));
    expect((await me('GET', token)).text).toBe(before.text);
  });

  it('signs out with the token that was shown, and with no other', async () => {
    const here = await signIn();
    const there = await signIn('default', here.to);
    expect(there.id).toBe(here.id);
    expect(await me('DELETE', here.token, {}, '/token')).toMatchObject({ status: 204, text: '' });
    expect(problemOf(await me('GET', here.token))).toEqual(noToken);
    expect(problemOf(await me('DELETE', here.token, {}, '/token'))).toEqual(noToken);
    expect((await me('GET', there.token)).status).toBe(200);
  });

  it('erases whoever asks for it', async () => {
    const { token, to, id } = await signIn();
    const key = await server.keyOf();
    expect(await me('DELETE', token)).toMatchObject({ status: 204, text: '' });
    expect(problemOf(await me('GET', token))).toEqual(noToken);
    expect(problemOf(await server.call('GET', `/v1/users/${id}`, { key }))).toEqual(problem(404, 'user-unknown'));
    const messages = await server.call('GET', `/v1/messages?to=${encodeURIComponent(to)}`, { key });
    expect(messages.json).toEqual({ messages: [] });
    expect(Number((await signIn('default', to)).id)).toBeGreaterThan(Number(id));
  });

  it('is for access tokens alone: without one, with another scheme, with a key or with rubbish it is 401', async () => {
    const { token } = await signIn();
    const key = await server.keyOf();
    const headers: Record<string, string>[] = [
      {},
      ...[
        '',
        'Bearer',
        'Bearer ',
        `Bearer  ${token}`,
        `Bearer ${token} ${token}`,
        `Bearer ${token},`,
        `Bearer ${token.toUpperCase()}`,
        `Bearer ${'0'.repeat(40)}`,
        `Bearer ${'a'.repeat(10_000)}`,
        `Bearer ${key}`,
        `Token ${token}`,
        `Basic ${Buffer.from(`${token}:`).toString('base64')}`,
        token,
      ].map((authorization) => ({ authorization })),
    ];
    const routes = [
      ['GET', ''],
      ['PATCH', ''],
      ['DELETE', '/token'],
      ['DELETE', ''],
    ] as const;
    for (const given of headers) {
      for (const [method, path] of routes) {
        // Broken, so that a route which reads it first is found out.
        const body = method === 'PATCH' ? { body: '{"name":' } : {};
        const answer = await server.call(method, `/v1/users/me${path}`, { headers: given, ...body });
        expect(problemOf(answer), `${method} ${given['authorization']?.slice(0, 60)}`).toEqual(noToken);
        expect(answer.headers['www-authenticate']).toBe('Bearer');
        expect(answer.text).not.toContain(token);
      }
    }
    expect((await server.call('GET', '/v1/users/me', { headers: { authorization: `bearer ${token}` } })).status).toBe(
      200,
    );
    expect((await server.call('GET', `/v1/users/me?access_token=${token}`)).status).toBe(401);
  });

  it('ends 30 days after the sign-in, to the millisecond', async () => {
    const { token } = await signIn();
    const signedInAt = server.clock.now;
    server.clock.now = signedInAt + 30 * 86_400_000 - 1;
    expect((await me('GET', token)).status).toBe(200);
    server.clock.now += 1;
    expect(problemOf(await me('GET', token))).toEqual(noToken);
    server.clock.now = signedInAt;
  });
});

describe('/v1/users/{id}', () => {
  it('shows an app its user, signs it out everywhere, and erases it', async () => {
    const { token, id, to } = await signIn();
    const key = await server.keyOf();
    const call = (method: string, path = '') => server.call(method, `/v1/users/${id}${path}`, { key });
    expect(await call('GET')).toMatchObject({ status: 200, json: { id, phone: to, is_active: true } });
    expect(await call('DELETE', '/tokens')).toMatchObject({ status: 204, text: '' });
    expect(problemOf(await me('GET', token))).toEqual(noToken);
    expect((await call('GET')).status).toBe(200);
    expect(await call('DELETE')).toMatchObject({ status: 204, text: '' });
    for (const [method, path] of [['GET'], ['DELETE', '/tokens'], ['DELETE']] as const)
      expect(problemOf(await call(method, path))).toEqual(problem(404, 'user-unknown'));
  });

  it('is nothing to another app, to a stranger, or under an id that is none (invariant 13)', async () => {
    const { token, id } = await signIn();
    // The other app has fewer users: the id is nobody's there.
    const theirs = await server.keyOf('taxi');
    const ours = await server.keyOf();
    const wrong = ['0', `0${id}`, `${id}.0`, '-1', '%20', `${id}%00`, '9'.repeat(60), "1'--", '..', 'you'];
    for (const [method, suffix] of [
      ['GET', ''],
      ['DELETE', '/tokens'],
      ['DELETE', ''],
    ] as const) {
      const unknown = problem(404, 'user-unknown');
      expect(problemOf(await server.call(method, `/v1/users/${id}${suffix}`, { key: theirs }))).toEqual(unknown);
      expect(problemOf(await server.call(method, `/v1/users/${id}${suffix}`))).toEqual(problem(401, 'key-missing'));
      expect(problemOf(await server.call(method, `/v1/users/${id}${suffix}`, { key: token }))).toEqual(
        problem(401, 'key-invalid'),
      );
      for (const bad of wrong) {
        const answer = await server.call(method, `/v1/users/${bad}${suffix}`, { key: ours });
        expect(answer.status, `${method} ${bad}`).toBe(404);
      }
    }
    expect((await me('GET', token)).json).toMatchObject({ id });
  });
});

describe('DELETE /v1/numbers/{number}', () => {
  it('erases a number, in any spelling, for apps with users of their own', async () => {
    const key = await server.keyOf('taxi');
    const to = '+998909999999';
    const { json } = await server.call('POST', '/v1/verifications', { key, body: { to } });
    const theirs = await signIn('default', to);
    const path = '/v1/numbers/909999999?country=uz';
    expect(await server.call('DELETE', path, { key })).toMatchObject({ status: 204, text: '' });
    expect(problemOf(await server.call('GET', `/v1/verifications/${json['id']}`, { key }))).toEqual(
      problem(404, 'verification-unknown'),
    );
    expect((await me('GET', theirs.token)).status).toBe(200);
    expect((await server.call('DELETE', path, { key })).status).toBe(204);
    expect(problemOf(await server.call('DELETE', '/v1/numbers/12', { key }))).toEqual(
      problem(400, 'number-invalid', 'number'),
    );
    expect(problemOf(await server.call('DELETE', path))).toEqual(problem(401, 'key-missing'));
    expect(problemOf(await server.call('DELETE', path, { key: theirs.token }))).toEqual(problem(401, 'key-invalid'));
  });

  it('tells nobody a number in full: not in a log line either', async () => {
    const { to, token, id } = await signIn();
    await me('GET', token);
    await server.call('DELETE', `/v1/users/${id}`, { key: await server.keyOf() });
    expect(server.logged.filter((line) => line.includes(to.slice(1)) || line.includes(token))).toEqual([]);
  });
});
