import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { failed } from '../../src/provider-kit/define-provider.ts';
import type { Answer } from './http-client.ts';
import { createPhone, type Phone, type RunningServer, startServer, wideLimits, wrong } from './running-server.ts';

const to = '+998901234567';

let server: RunningServer;
let first: Phone;
let second: Phone;
beforeEach(async () => {
  [first, second] = [createPhone('first'), createPhone('second')];
  server = await startServer({
    file: {
      providers: { first: { definition: first.definition, reportTimeoutSeconds: 30 }, second: second.definition },
      prices: [
        { provider: 'first', country: 'UZ', amount: 0.004 },
        { provider: 'second', country: 'UZ', amount: 0.05 },
      ],
      apps: { default: { limits: wideLimits, routes: { '*': ['first', 'second'] } } },
    },
  });
});
afterEach(() => server.close());

type Shown = { id: string; status: string; dispatches: Record<string, unknown>[] };

const codeIn = (phone: Phone) => /(?<!\d)\d{6}(?!\d)/.exec(phone.sent.at(-1)?.text ?? '')?.[0];
const newest = async () =>
  ((await server.call('GET', '/v1/messages?limit=1')).json['messages'] as Shown[])[0] ??
  expect.unreachable('there is no message');
const start = () => server.call('POST', '/v1/verifications', { body: { to } });
const check = (id: unknown, code: string | undefined) =>
  server.call('POST', `/v1/verifications/${id}/check`, { body: { code } });

/** A report of the newest message that was sent by that phone. */
function report(phone: Phone, state: string, more: object = {}): Promise<Answer> {
  const id = phone === first ? 'first' : 'second';
  const body = { providerMessageId: `${id}-${phone.sent.at(-1)?.messageId}`, state, ...more };
  const path = `/v1/reports/${id}/${server.composed.reportSecretOf(id)}`;
  return server.call('POST', path, { body, headers: { 'x-signature': 'good' } });
}

/**
 * Sends another message by the second phone, after a report that the first one lost it: whatever was due before has been
 * taken up by then as well.
 * @returns the numbers to which the second phone sent
 */
async function afterALaterFailover(): Promise<string[]> {
  server.clock.now += 1;
  const another = '+998901234568';
  expect((await server.call('POST', '/v1/messages', { body: { to: another, text: 'Hello' } })).status).toBe(201);
  await report(first, 'failed');
  await expect.poll(() => second.sent.map((message) => message.to)).toContain(another);
  return second.sent.map((message) => message.to);
}

describe('a code that did not arrive', () => {
  it.each(['failed', 'undelivered'])('by a report `%s`, goes by the next way: the same one, once', async (state) => {
    const started = await start();
    const code = codeIn(first);
    for (let time = 0; time < 3; time += 1) {
      const { status, text } = await report(first, state, { reason: 'unavailable', code: '30003' });
      expect([status, text]).toEqual([200, 'OK']);
    }
    await expect.poll(newest).toMatchObject({ status: 'queued' });
    expect([first.sent.length, second.sent.length]).toEqual([1, 1]);
    expect(codeIn(second)).toBe(code);
    expect(second.sent[0]?.messageId).toBe(first.sent[0]?.messageId);
    const { id } = await newest();
    expect((await server.call('GET', `/v1/messages/${id}`)).json).toMatchObject({
      id,
      status: 'queued',
      verification_id: started.json['id'],
      dispatches: [
        {
          provider: 'first',
          channel: 'sms',
          status: state,
          reason: 'unavailable',
          error_code: '30003',
          cost: { amount: 0.004, currency: 'USD' },
          cost_basis: 'estimated',
        },
        {
          provider: 'second',
          channel: 'sms',
          status: 'queued',
          provider_message_id: `second-${id}`,
          cost: { amount: 0.05, currency: 'USD' },
          cost_basis: 'estimated',
        },
      ],
    });
    expect((await check(started.json['id'], code)).status).toBe(200);
  });

  it('for all that a report says, costs neither an attempt nor a send, nor gives one', async () => {
    const { json } = await start();
    expect((await check(json['id'], wrong(codeIn(first) ?? ''))).status).toBe(422);
    await report(first, 'failed');
    await expect.poll(() => second.sent.length).toBe(1);
    expect((await server.call('GET', `/v1/verifications/${json['id']}`)).json).toMatchObject({
      attempts_left: 4,
      sends: 1,
      expires_at: json['expires_at'],
    });
  });

  it('is sent nowhere else when no way is left, and the message says so', async () => {
    await start();
    await report(first, 'failed');
    await expect.poll(() => second.sent.length).toBe(1);
    await expect.poll(newest).toMatchObject({ status: 'queued' });
    await report(second, 'undelivered');
    await expect.poll(newest).toMatchObject({ dispatches: [{ status: 'failed' }, { status: 'undelivered' }] });
    await expect.poll(() => server.logged.some((line) => line.includes('no other way'))).toBe(true);
    expect([first.sent.length, second.sent.length]).toEqual([1, 1]);
  });

  it.each([
    ['the number is none', { reason: 'recipient' }],
    ['the person said STOP', { reason: 'blocked', optOut: true }],
  ])('is not sent by another way where %s', async (_name, more) => {
    await start();
    await report(first, 'failed', more);
    expect(await newest()).toMatchObject({ status: 'failed', dispatches: [{ provider: 'first', status: 'failed' }] });
    expect(await afterALaterFailover()).not.toContain(to);
  });

  it('is not sent again once it was approved, or its verification canceled', async () => {
    const approved = await start();
    expect((await check(approved.json['id'], codeIn(first))).status).toBe(200);
    await report(first, 'failed');
    const canceled = await start();
    expect((await server.call('DELETE', `/v1/verifications/${canceled.json['id']}`)).status).toBe(200);
    await report(first, 'failed');
    expect(await afterALaterFailover()).not.toContain(to);
  });

  it('is not sent again after its last millisecond', async () => {
    await start();
    server.clock.now += 600_000;
    await report(first, 'failed');
    expect(await afterALaterFailover()).not.toContain(to);
  });

  it('has the cost that the provider says, in place of the estimate', async () => {
    await start();
    await report(first, 'delivered', { cost: { micros: 4321, currency: 'USD' } });
    expect((await newest()).dispatches).toMatchObject([
      { status: 'delivered', cost: { amount: 0.004321, currency: 'USD' }, cost_basis: 'reported' },
    ]);
    expect((await server.call('GET', '/v1/usage')).json['usage']).toMatchObject([{ cost: { amount: 0.004321 } }]);
  });

  it('has no cost where nobody took it', async () => {
    first.behave(() => failed('unavailable', '503'));
    await start();
    const [refused, taken] = (await newest()).dispatches;
    expect(refused).toMatchObject({ provider: 'first', status: 'failed', reason: 'unavailable', error_code: '503' });
    expect(Object.keys(refused ?? {})).not.toEqual(expect.arrayContaining(['cost', 'cost_basis']));
    expect(taken).toMatchObject({ provider: 'second', status: 'queued', cost: { amount: 0.05 } });
  });
});

describe('a code without a report', () => {
  it('goes by the next way when reportTimeoutSeconds are over, and not before', { timeout: 20_000 }, async () => {
    const { json } = await start();
    server.clock.now += 29_999;
    server.clock.now -= 1;
    expect(await afterALaterFailover()).not.toContain(to);
    server.clock.now += 1;
    // Housekeeping looks every five seconds.
    await expect.poll(() => second.sent.map((message) => message.to), { timeout: 12_000 }).toContain(to);
    expect(second.sent.at(-1)?.code).toBe(first.sent[0]?.code);
    expect((await check(json['id'], first.sent[0]?.code)).status).toBe(200);
  });

  it('stays where it is when a report says that it arrived', async () => {
    await start();
    await report(first, 'delivered');
    server.clock.now += 60_000;
    expect(await afterALaterFailover()).not.toContain(to);
  });
});
