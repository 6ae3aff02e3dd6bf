import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accepted } from '../../src/provider-kit/define-provider.ts';
import { problem, problemOf } from './http-client.ts';
import { type RunningServer, startServer, wrong } from './running-server.ts';

const to = '+998901234567';

let server: RunningServer;
let secret: string;
beforeAll(async () => {
  server = await startServer();
  secret = server.composed.reportSecretOf('phone');
});
afterAll(() => server.close());

async function sent() {
  server.clock.now += 120_000;
  const { json } = await server.call('POST', '/v1/messages', { body: { to, text: 'Your driver is here' } });
  return { id: String(json['id']), providerMessageId: `phone-${json['id']}` };
}

const stateOf = async (id: string) => (await server.call('GET', `/v1/messages/${id}`)).json['status'];
const report = (
  body: unknown,
  path = `/v1/reports/phone/${secret}`,
  headers: Record<string, string> = { 'x-signature': 'good' },
) =>
  server.call('POST', path, {
    body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
    headers,
  });

describe('a delivery report', () => {
  it('moves the message forward, to sent and then to delivered', async () => {
    const { id, providerMessageId } = await sent();
    expect(await stateOf(id)).toBe('queued');
    expect(await report({ providerMessageId, state: 'sent' })).toMatchObject({ status: 200, text: 'OK' });
    expect(await stateOf(id)).toBe('sent');
    expect((await report({ providerMessageId, state: 'delivered' })).status).toBe(200);
    expect(await stateOf(id)).toBe('delivered');
  });

  it('moves nothing back, and harms nothing twice', async () => {
    const { id, providerMessageId } = await sent();
    for (const state of ['delivered', 'sent', 'delivered', 'failed', 'queued', 'unknown']) {
      expect((await report({ providerMessageId, state })).status).toBe(200);
    }
    expect(await stateOf(id)).toBe('delivered');
  });

  it('is kept when it comes before the answer to the send', async () => {
    server.phone.behave(async ({ messageId }) => {
      expect((await report({ providerMessageId: `early-${messageId}`, state: 'delivered' })).status).toBe(200);
      return accepted(`early-${messageId}`);
    });
    const { id } = await sent();
    expect(await stateOf(id)).toBe('delivered');
  });

  it('is taken with any content type, and asks for no API key', async () => {
    const { id, providerMessageId } = await sent();
    const body = JSON.stringify({ providerMessageId, state: 'delivered' });
    for (const type of ['application/x-www-form-urlencoded', 'text/xml', 'application/octet-stream']) {
      const headers = {
        'x-signature': 'good',
        'content-type': type,
        'x-forwarded-for': '203.0.113.7',
        host: 'verify.example',
      };
      expect((await report(body, undefined, headers)).status, type).toBe(200);
    }
    expect(await stateOf(id)).toBe('delivered');
  });

  it.each([
    ['a wrong secret', '/v1/reports/phone/guess', 404, 'not-found'],
    ['a secret of the right length', `/v1/reports/phone/${'a'.repeat(32)}`, 404, 'not-found'],
    ['no secret', '/v1/reports/phone/', 404, 'not-found'],
    ['a provider that is not there', '/v1/reports/acme/guess', 404, 'not-found'],
    ['__proto__', '/v1/reports/__proto__/guess', 404, 'not-found'],
  ])('is refused with %s', async (_name, path, status, code) => {
    const { id, providerMessageId } = await sent();
    expect(problemOf(await report({ providerMessageId, state: 'delivered' }, path))).toEqual(problem(status, code));
    expect(await stateOf(id)).toBe('queued');
  });

  it('is refused for a provider that takes none, or is not configured, though the secret is right', async () => {
    const { id, providerMessageId } = await sent();
    for (const provider of ['inbox', 'acme', 'twilio']) {
      const path = `/v1/reports/${provider}/${server.composed.reportSecretOf(provider)}`;
      expect(problemOf(await report({ providerMessageId, state: 'delivered' }, path)), provider).toEqual(
        problem(404, 'not-found'),
      );
    }
    expect(server.composed.reportSecretOf('phone')).not.toBe(server.composed.reportSecretOf('inbox'));
    expect(await stateOf(id)).toBe('queued');
  });

  it.each([
    ['a forged signature', { 'x-signature': 'bad' }],
    ['no signature', {}],
    ['two signatures', { 'x-signature': ['good', 'good'] }],
  ])('is refused with %s', async (_name, headers) => {
    const { id, providerMessageId } = await sent();
    const answer = await report(
      { providerMessageId, state: 'delivered' },
      undefined,
      headers as Record<string, string>,
    );
    expect(problemOf(answer)).toEqual(problem(400, 'report-refused'));
    expect(await stateOf(id)).toBe('queued');
  });

  it('is refused when it is malformed, empty or too large, and changes nothing', async () => {
    const { id, providerMessageId } = await sent();
    expect(problemOf(await report('{"providerMessageId":'))).toEqual(problem(400, 'report-refused'));
    expect(problemOf(await report(''))).toEqual(problem(400, 'report-refused'));
    expect(problemOf(await report(Buffer.alloc(100, 0xff)))).toEqual(problem(400, 'report-refused'));
    const large = { providerMessageId, state: 'delivered', padding: 'x'.repeat(1024 * 1024) };
    expect(problemOf(await report(large))).toEqual(problem(413, 'body-too-large'));
    expect(await stateOf(id)).toBe('queued');
  });

  it('of a message that nobody knows is taken, and changes nothing', async () => {
    const { id } = await sent();
    expect((await report({ providerMessageId: 'phone-of-nobody', state: 'delivered' })).status).toBe(200);
    expect(await stateOf(id)).toBe('queued');
  });

  it('may be many at once, far above what other requests may have', async () => {
    const { id, providerMessageId } = await sent();
    const others = Array.from({ length: 100 }, (_, index) => ({
      providerMessageId: `phone-of-nobody-${index}`,
      state: 'delivered',
      padding: 'x'.repeat(500),
    }));
    const answer = await report([...others, { providerMessageId, state: 'delivered' }]);
    expect(answer).toMatchObject({ status: 200, text: 'OK' });
    expect(await stateOf(id)).toBe('delivered');
  });

  it('is not even read without the right secret', async () => {
    const { host, hostname, port } = new URL(server.origin);
    const socket = connect(Number(port), hostname);
    // Of the body nothing ever comes: whoever waited for it would not answer.
    socket.write(`POST /v1/reports/phone/guess HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1000000\r\n\r\n`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    socket.destroy();
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 404 /);
  });

  it('may come in the query of a GET, where a provider does it so, under the same rules', async () => {
    const { id, providerMessageId } = await sent();
    const query = `?report=${encodeURIComponent(JSON.stringify({ providerMessageId, state: 'delivered' }))}`;
    const get = (path: string, headers: Record<string, string> = { 'x-signature': 'good' }) =>
      server.call('GET', path, { headers });
    expect(problemOf(await get(`/v1/reports/phone/guess${query}`))).toEqual(problem(404, 'not-found'));
    expect(problemOf(await get(`/v1/reports/phone/${secret}${query}`, {}))).toEqual(problem(400, 'report-refused'));
    expect(problemOf(await get(`/v1/reports/phone/${secret}`))).toEqual(problem(400, 'report-refused'));
    expect(await stateOf(id)).toBe('queued');
    expect(await get(`/v1/reports/phone/${secret}${query}`)).toMatchObject({ status: 200, text: 'OK' });
    expect(await stateOf(id)).toBe('delivered');
  });

  it.each(['PUT', 'PATCH', 'DELETE', 'HEAD'])('is not taken by %s', async (method) => {
    const answer = await server.call(method, `/v1/reports/phone/${secret}`, { headers: { 'x-signature': 'good' } });
    expect(answer.status).toBe(404);
  });

  it('approves nobody, whatever it says', async () => {
    server.clock.now += 120_000;
    const started = await server.start('+998901234599');
    const [message] = (await server.call('GET', '/v1/messages?to=%2B998901234599')).json['messages'] as {
      id: string;
      verification_id: string;
    }[];
    expect(message?.verification_id).toBe(started.id);
    for (const state of ['approved', 'delivered', 'read']) {
      const body = {
        providerMessageId: `phone-${message?.id}`,
        state,
        status: 'approved',
        verification_id: started.id,
      };
      expect((await report(body)).status).toBeLessThan(500);
    }
    expect((await server.call('GET', `/v1/verifications/${started.id}`)).json).toMatchObject({
      status: 'pending',
      attempts_left: 5,
    });
    const wrongCode = await server.call('POST', `/v1/verifications/${started.id}/check`, {
      body: { code: wrong(started.code) },
    });
    expect(wrongCode.status).toBe(422);
  });

  it('leaves neither its secret nor a number in the log', () => {
    expect(server.logged.length).toBeGreaterThan(0);
    const log = server.logged.join('\n');
    expect(log).not.toContain(secret);
    expect(log).not.toContain(to);
  });
});

describe('a handshake', () => {
  const ask = (path: string, headers: Record<string, string> = { 'x-signature': 'good' }) =>
    server.call('GET', path, { headers });

  it('is answered with its own text, as text', async () => {
    const answer = await ask(`/v1/reports/phone/${secret}?challenge=1158201444`);
    expect(answer).toMatchObject({ status: 200, text: '1158201444' });
    expect(answer.headers['content-type']).toMatch(/^text\/plain/);
  });

  it('is no page, whatever somebody asks to have written back', async () => {
    const answer = await ask(`/v1/reports/phone/${secret}?challenge=${encodeURIComponent('<script>1</script>')}`);
    expect(answer.headers['content-type']).toMatch(/^text\/plain/);
  });

  it('is answered to nobody without the secret, and without the signature', async () => {
    expect(problemOf(await ask('/v1/reports/phone/guess?challenge=1'))).toEqual(problem(404, 'not-found'));
    expect(problemOf(await ask(`/v1/reports/phone/${secret}?challenge=1`, {}))).toEqual(problem(400, 'report-refused'));
  });
});
