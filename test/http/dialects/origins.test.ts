import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningServer, startServer } from '../running-server.ts';

const PATH = '/api/auth/phone/send-code';
const PAGE = 'https://chaski.example';

describe('pages of other origins', () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer({
      file: {
        providers: {},
        apps: {
          chaski: { dialect: { dialect: 'chaski', allowedOrigins: [PAGE] } },
          taxi: { dialect: { dialect: 'royal-taxi', allowedOrigins: ['*'] } },
          shop: { dialect: { dialect: 'messaggio-backend' } },
        },
      },
    });
  });
  afterAll(() => server.close());

  const ask = (path: string, origin: string, init: RequestInit = {}) =>
    fetch(server.origin + path, { ...init, headers: { ...init.headers, origin } });
  const preflight = (path: string, origin: string) =>
    ask(path, origin, {
      method: 'OPTIONS',
      headers: { 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' },
    });
  const post = (path: string, origin: string, body: object) =>
    ask(path, origin, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });

  it('may call when they are named, and read the answer, a refusal too', async () => {
    const asked = await preflight(PATH, PAGE);
    expect(asked.status).toBe(204);
    expect(Object.fromEntries(asked.headers)).toMatchObject({
      'access-control-allow-origin': PAGE,
      'access-control-allow-methods': expect.stringContaining('POST'),
      'access-control-allow-headers': expect.stringMatching(/content-type.*authorization/i),
      vary: 'Origin',
    });
    expect(asked.headers.has('access-control-allow-credentials')).toBe(false);
    for (const [number, status] of [
      ['+12125551234', 200],
      ['12', 422],
    ] as const) {
      const answer = await post(PATH, PAGE, { phone_number: number });
      expect(answer.status).toBe(status);
      expect(answer.headers.get('access-control-allow-origin')).toBe(PAGE);
      expect(answer.headers.get('access-control-expose-headers')).toBe('Retry-After');
    }
  });

  it.each(['https://evil.example', `${PAGE}.evil.example`, 'http://chaski.example', 'null', `${PAGE}:8443`])(
    'may not when they are not: %s',
    async (origin) => {
      expect((await preflight(PATH, origin)).headers.has('access-control-allow-origin')).toBe(false);
      const answer = await post(PATH, origin, { phone_number: '12' });
      expect(answer.headers.has('access-control-allow-origin')).toBe(false);
      expect(answer.headers.get('vary')).toBe('Origin');
    },
  );

  it('may all where all are allowed, and none where nothing is said', async () => {
    const taxi = await preflight('/api/v1/auth/send-otp/', 'https://any.example');
    expect([taxi.status, taxi.headers.get('access-control-allow-origin')]).toEqual([204, '*']);
    const shop = await preflight('/send-otp', PAGE);
    expect([shop.status, shop.headers.has('access-control-allow-origin')]).toEqual([405, false]);
  });

  it('do not come near the API with their permission', async () => {
    const answer = await preflight('/v1/verifications', PAGE);
    expect(answer.headers.has('access-control-allow-origin')).toBe(false);
  });
});
