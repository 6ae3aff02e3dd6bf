import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { problem, problemOf } from './http-client.ts';
import { type RunningServer, startServer, wrong } from './running-server.ts';

let server: RunningServer;
beforeAll(async () => {
  server = await startServer({ file: { providers: {} } });
});
afterAll(() => server.close());

describe('an e-mail address in the place of a number', () => {
  const to = 'Ann.Lee@Example.com';
  const address = 'ann.lee@example.com';
  const start = (body: object) => server.call('POST', '/v1/verifications', { body });
  const check = (body: object) => server.call('POST', '/v1/check', { body });

  it('is verified by e-mail, and its token says an address and no number', async () => {
    const started = await start({ to, channel: 'email' });
    expect(started.status).toBe(201);
    expect(started.json).toMatchObject({ to: address, channel: 'email', sends: 1 });
    expect(started.json).not.toHaveProperty('country');
    const code = String(started.json['code']);
    expect(problemOf(await check({ to, code: wrong(code) }))).toEqual(problem(422, 'code-wrong', 'code'));
    const checked = await check({ to: to.toUpperCase(), code });
    expect(checked.status).toBe(200);
    expect(decodeJwt(String(checked.json['token']))).toMatchObject({
      sub: address,
      email: address,
      email_verified: true,
    });
    expect(problemOf(await check({ to, code }))).toEqual(problem(422, 'code-wrong', 'code'));
  });

  it('is refused by any other channel, and where it is none', async () => {
    expect(problemOf(await start({ to }))).toEqual(problem(400, 'request-invalid', 'channel'));
    expect(problemOf(await start({ to, channel: 'sms' }))).toEqual(problem(400, 'request-invalid', 'channel'));
    for (const bad of ['a@b@c', '@', `${'a'.repeat(100)}@example.com`]) {
      expect(problemOf(await start({ to: bad, channel: 'email' }))).toEqual(problem(400, 'number-invalid', 'to'));
    }
    expect((await start({ to: `${'a'.repeat(300)}@b.c`, channel: 'email' })).status).toBe(400);
  });

  it('is what is new here: nothing of a caller’s own code, length, wording or limits is taken', async () => {
    for (const field of [
      'code',
      'code_length',
      'wording',
      'limits',
      'keep_until_expiry',
      'skip_prefix_limit',
      'codeLength',
    ]) {
      expect(problemOf(await start({ to: '+998901234567', [field]: '1234' })), field).toMatchObject({
        code: 'request-invalid',
      });
    }
  });
});
