import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bazaar } from '../../examples/own-dialect/bazaar.ts';
import { type RunningServer, startServer, wrong } from '../http/running-server.ts';

describe('example: own-dialect', () => {
  let server: RunningServer;

  beforeAll(async () => {
    server = await startServer({
      file: { apps: { bazaar: { dialect: bazaar, country: 'KZ', codeTtlSeconds: 300 } } },
    });
  });

  afterAll(() => server.close());

  const post = (path: string, body: object) => server.call('POST', path, { body });

  it('signs a person in, and the same person again', async () => {
    for (const moment of ['first', 'second']) {
      const sent = await post('/otp/send', { mobile: '8 701 123 45 67' });
      expect(sent, moment).toMatchObject({ status: 200, json: { ok: true, ttl: 300 } });
      const answer = await post('/otp/check', { mobile: '+77011234567', pin: server.codeFor('+77011234567') });
      expect(answer, moment).toMatchObject({ status: 200 });
      expect(answer.json).toEqual({ ok: true, token: expect.stringMatching(/^[0-9a-f]{40}$/), id: 1 });
      server.clock.now += 60_000;
    }
  });

  it('says bad_pin to a wrong code, and to one that is no code', async () => {
    await post('/otp/send', { mobile: '+77011234568' });
    const pin = wrong(server.codeFor('+77011234568'));
    for (const each of [pin, '12', 'abc']) {
      const answer = await post('/otp/check', { mobile: '+77011234568', pin: each });
      expect([answer.status, answer.json]).toEqual([403, { ok: false, error: 'bad_pin' }]);
    }
  });

  it('says bad_mobile to a number that is none, and bad_request to a body that is none', async () => {
    const badNumber = await post('/otp/send', { mobile: '12' });
    expect([badNumber.status, badNumber.json]).toEqual([400, { ok: false, error: 'bad_mobile' }]);
    const badBody = await post('/otp/send', { phone: '+77011234567' });
    expect([badBody.status, badBody.json]).toEqual([400, { ok: false, error: 'bad_request' }]);
  });

  it('says sms_failed when no provider takes the message, and slow_down after too many', async () => {
    const mobile = '+77011234569';
    server.phone.behave(() => ({ kind: 'failed', reason: 'recipient', code: '1' }));
    expect((await post('/otp/send', { mobile })).json).toEqual({ ok: false, error: 'bad_mobile' });
    server.phone.behave(() => ({ kind: 'failed', reason: 'content', code: '2' }));
    expect((await post('/otp/send', { mobile })).json).toEqual({ ok: false, error: 'sms_failed' });
    const statuses: number[] = [];
    for (let count = 0; count < 5; count += 1) statuses.push((await post('/otp/send', { mobile })).status);
    expect(statuses.at(-1)).toBe(429);
    const refused = await post('/otp/send', { mobile });
    expect(refused.json).toEqual({ ok: false, error: 'slow_down' });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
  });
});
