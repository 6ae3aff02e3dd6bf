import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { twilioSimulator } from '../../src/simulators/twilio.ts';
import { codeIn, eventually, type Installation, makeInstallation, productionEnvironment, type Server } from './cli.ts';

describe('keys beside a running server', () => {
  let twilio: Simulator;
  let installation: Installation;
  let server: Server;
  beforeAll(async () => {
    twilio = await twilioSimulator.start();
    installation = await makeInstallation(productionEnvironment(twilio));
    server = await installation.serve();
  });
  afterAll(async () => {
    await installation[Symbol.asyncDispose]();
    await twilio.close();
  });

  const lookUp = (key: string) =>
    fetch(`${server.url}/v1/numbers/+998901234567`, { headers: { authorization: `Bearer ${key}` } });
  const readJwks = async () => (await (await fetch(`${server.url}/.well-known/jwks.json`)).json()) as JSONWebKeySet;
  const approve = async (to: string) => {
    const { body } = await installation.json(['send', to]);
    const approved = await installation.json(['check', body.id, codeIn(twilio.messages.at(-1)?.text)]);
    return approved.body.token as string;
  };
  const options = { issuer: 'https://verify.example.com', audience: 'default', algorithms: ['EdDSA'] };

  it('makes a key that works at once and stops working within seconds of being revoked', async () => {
    const { code, body } = await installation.json(['keys', 'create', '--app', 'default', '--name', 'backend']);
    expect(code).toBe(0);
    expect(body).toEqual({
      id: expect.stringMatching(/^key_[0-9a-z]{26}$/),
      key: expect.stringMatching(/^cs_[\w-]{32}$/),
      app: 'default',
      name: 'backend',
    });
    expect((await lookUp(body.key)).status).toBe(200);

    const revoked = await installation.run(['keys', 'revoke', body.id]);
    expect(revoked).toMatchObject({ code: 0, stdout: expect.stringContaining(`Revoked ${body.id}`) });
    await eventually(async () => (await lookUp(body.key)).status === 401 || undefined, 4000);
    expect((await installation.run(['keys', 'revoke', body.id])).code).toBe(0);

    const { body: list, stdout } = await installation.json(['keys', 'list']);
    const found = (list.keys as { id: string }[]).find(({ id }) => id === body.id);
    expect(found).toMatchObject({ app: 'default', name: 'backend', revoked_at: expect.any(String) });
    expect(stdout).not.toContain(body.key);
  });

  it('prints the key alone on stdout, for a script', async () => {
    const { stdout, stderr } = await installation.run(['keys', 'create']);
    expect(stdout).toMatch(/^cs_[\w-]{32}\n$/);
    expect((await lookUp(stdout.trim())).status).toBe(200);
    const id = /key_\w+/.exec(stderr)?.[0] ?? '';
    expect(stderr).not.toContain(stdout.trim());
    const list = await installation.run(['keys', 'list', '--app', 'default']);
    expect(list.stdout).toMatch(new RegExp(`^${id} +default +– +\\S+ +good$`, 'm'));
    expect((await installation.run(['keys', 'list', '--app', 'nobody'])).stdout).toBe(
      "There are no keys of app 'nobody'.\n",
    );
  });

  it('exits with 3 for the id of no key, and with 2 for an app that is not configured', async () => {
    const none = await installation.json(['keys', 'revoke', 'key_01jd3n8v4kq2xw7c9r5t6y0abz']);
    expect(none).toMatchObject({ code: 3, body: { code: 'not-found' } });
    expect(await installation.run(['keys', 'create', '--app', 'taxi'])).toMatchObject({ code: 2, stdout: '' });
  });

  it('rotates the signing key: the server serves both within ten seconds, signs with it in twenty, and tokens from before stay valid', async () => {
    const before = await approve('+998901234501');
    const [old] = (await readJwks()).keys;
    const { code, body } = await installation.json(['keys', 'rotate-signing']);
    expect(code).toBe(0);
    expect(body.kid).toMatch(/^[\w-]{43}$/);

    const jwks = await eventually(async () => {
      const served = await readJwks();
      return served.keys.length === 2 ? served : undefined;
    }, 12_000);
    expect(jwks.keys.map(({ kid }) => kid)).toEqual([body.kid, old?.kid]);
    const keys = createLocalJWKSet(jwks);
    const verifiedBefore = await jwtVerify(before, keys, options);
    expect(verifiedBefore.protectedHeader.kid).toBe(old?.kid);
    expect(verifiedBefore.payload['phone_number']).toBe('+998901234501');

    const { body: apiKey } = await installation.json(['keys', 'create']);
    const post = async (path: string, fields: object) => {
      const headers = { authorization: `Bearer ${apiKey.key}`, 'content-type': 'application/json' };
      const response = await fetch(server.url + path, { method: 'POST', headers, body: JSON.stringify(fields) });
      return (await response.json()) as { id: string; token: string };
    };
    let number = 998_901_234_502;
    await eventually(async () => {
      number += 1;
      const { id } = await post('/v1/verifications', { to: `+${number}` });
      const { token } = await post(`/v1/verifications/${id}/check`, { code: codeIn(twilio.messages.at(-1)?.text) });
      return (await jwtVerify(token, keys, options)).protectedHeader.kid === body.kid ? true : undefined;
    }, 25_000);
  }, 40_000);
});
