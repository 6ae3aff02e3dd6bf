import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eskizSimulator } from '../../src/simulators/eskiz.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { twilioSimulator } from '../../src/simulators/twilio.ts';
import { whatsappSimulator } from '../../src/simulators/whatsapp.ts';
import { type Answer, problem, problemOf } from '../http/http-client.ts';
import { type RunningServer, startServer, wideLimits } from '../http/running-server.ts';
import { freePort } from '../http/server-process.ts';

const to = '+998901234567';

let eskiz: Simulator;
let twilio: Simulator;
let whatsapp: Simulator;
let environment: Readonly<Record<string, string>>;
let server: RunningServer;
let key: string;

beforeEach(async () => {
  [eskiz, twilio, whatsapp] = [
    await eskizSimulator.start(),
    await twilioSimulator.start(),
    await whatsappSimulator.start(),
  ];
  environment = {
    ...eskizSimulator.environment(eskiz.url),
    ...twilioSimulator.environment(twilio.url),
    ...whatsappSimulator.environment(whatsapp.url),
  };
  const port = await freePort();
  server = await startServer({
    port,
    file: {
      mode: 'production',
      publicUrl: `http://127.0.0.1:${port}`,
      providers: {},
      apps: { default: { brand: 'Acme', limits: wideLimits } },
    },
    // As somebody has it who has no file.
    environment: { ...environment, COUNTERSIGN_ROUTE: 'eskiz, twilio' },
  });
  key = await server.keyOf();
});
afterEach(async () => {
  for (const simulator of [eskiz, twilio, whatsapp]) await simulator.settled();
  // Whatever happened: no credential in the log.
  const log = server.logged.join('\n');
  for (const [name, value] of Object.entries(environment)) {
    if (/TOKEN|PASSWORD|SECRET/.test(name)) expect(log, name).not.toContain(value);
  }
  expect(log).not.toContain(to);
  await server.close();
  for (const simulator of [eskiz, twilio, whatsapp]) await simulator.close();
});

const ask = (method: string, path: string, body?: object): Promise<Answer> => server.call(method, path, { body, key });
const codeIn = (simulator: Simulator) => /(?<!\d)\d{6}(?!\d)/.exec(simulator.messages.at(-1)?.text ?? '')?.[0];

async function newest() {
  const { json } = await ask('GET', '/v1/messages?limit=1');
  const { id } = (json['messages'] as { id: string }[])[0] ?? expect.unreachable('there is no message');
  return (await ask('GET', `/v1/messages/${id}`)).json;
}

describe('a code that Eskiz took and did not deliver', () => {
  it('goes through Twilio, the very same one, and both hand-overs are shown with their reasons and costs', async () => {
    eskiz.deliver({ status: 'ACCEPTED' }, { status: 'UNDELIV' });
    const started = await ask('POST', '/v1/verifications', { to });
    expect(started).toMatchObject({ status: 201, json: { status: 'pending', channel: 'sms', sends: 1 } });
    await expect.poll(newest).toMatchObject({ status: 'delivered' });
    expect(eskiz.reports.map(({ status, answer }) => [status, answer])).toEqual([
      ['ACCEPTED', 200],
      ['UNDELIV', 200],
    ]);
    expect(codeIn(twilio)).toBe(codeIn(eskiz));
    expect(await newest()).toMatchObject({
      verification_id: started.json['id'],
      dispatches: [
        {
          provider: 'eskiz',
          status: 'undelivered',
          provider_message_id: eskiz.messages[0]?.id,
          reason: 'unavailable',
          error_code: 'UNDELIV',
          cost: { amount: 50, currency: 'UZS' },
          cost_basis: 'estimated',
        },
        {
          provider: 'twilio',
          status: 'delivered',
          provider_message_id: twilio.messages[0]?.id,
          cost: { amount: 0.053, currency: 'USD' },
          cost_basis: 'estimated',
        },
      ],
    });
    const checked = await ask('POST', `/v1/verifications/${started.json['id']}/check`, { code: codeIn(eskiz) });
    expect(checked).toMatchObject({ status: 200, json: { status: 'approved' } });
    expect((await ask('GET', '/v1/usage')).json['usage']).toEqual([
      expect.objectContaining({ provider: 'eskiz', sent: 1, delivered: 0, failed: 1, approved: 0, conversion: 0 }),
      expect.objectContaining({ provider: 'twilio', sent: 1, delivered: 1, failed: 0, approved: 1, conversion: 1 }),
    ]);
    expect([eskiz.messages.length, twilio.messages.length]).toEqual([1, 1]);
  });

  it('is approved by the report of neither', async () => {
    eskiz.deliver({ status: 'UNDELIV' });
    const { json } = await ask('POST', '/v1/verifications', { to });
    await expect.poll(newest).toMatchObject({ status: 'delivered' });
    expect((await ask('GET', `/v1/verifications/${json['id']}`)).json).toMatchObject({
      status: 'pending',
      attempts_left: 5,
      sends: 1,
    });
  });
});

describe('an outage at Eskiz', () => {
  it('sends every code through Twilio, after five of them without asking Eskiz first', async () => {
    eskiz.behaveAlways('drop-before-reading');
    for (let index = 0; index < 8; index += 1) {
      const started = await ask('POST', '/v1/verifications', { to: `+99890123000${index}` });
      expect(started.status, started.text).toBe(201);
    }
    expect(twilio.messages).toHaveLength(8);
    expect((await ask('GET', '/v1/providers')).json['providers']).toMatchObject([
      { provider: 'eskiz', state: 'closed', countries: [{ country: 'UZ', state: 'open' }] },
      { provider: 'twilio', state: 'closed', countries: [] },
    ]);
    const { json } = await ask('POST', '/v1/routes/explain', { to });
    expect(json['tried']).toMatchObject([
      { provider: 'eskiz', state: 'open', price: { amount: 50, currency: 'UZS' } },
      { provider: 'twilio', state: 'closed', price: { amount: 0.053, currency: 'USD' } },
    ]);
  });

  it('is over when Eskiz answers a question; no message is spent on finding out', async () => {
    eskiz.behaveAlways('drop-before-reading');
    for (let index = 0; index < 5; index += 1) await ask('POST', '/v1/verifications', { to: `+99890123000${index}` });
    eskiz.behaveAlways(undefined);
    server.clock.now += 10_000;
    await expect
      .poll(async () => {
        await ask('POST', '/v1/messages', { to, text: 'Your driver is here.' });
        return eskiz.messages.length;
      })
      .toBe(1);
    expect(eskiz.requests.some(({ path }) => path === '/api/user/get-limit')).toBe(true);
    expect((await ask('GET', '/v1/providers')).json['providers']).toMatchObject([
      { provider: 'eskiz', countries: [] },
      {},
    ]);
  });
});

describe('Meta’s handshake', () => {
  it('is answered with the challenge where the address has its secret and the query our own token', async () => {
    const secret = server.composed.reportSecretOf('whatsapp');
    const token = environment['WHATSAPP_VERIFY_TOKEN'];
    const path = (parts: { secret?: string; token?: string | undefined }) =>
      `/v1/reports/whatsapp/${parts.secret ?? secret}?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=${parts.token ?? token}`;
    expect(await server.call('GET', path({}))).toMatchObject({ status: 200, text: '1158201444' });
    expect(problemOf(await server.call('GET', path({ token: 'guess' })))).toEqual(problem(400, 'report-refused'));
    expect(problemOf(await server.call('GET', path({ secret: 'guess' })))).toEqual(problem(404, 'not-found'));
  });
});
