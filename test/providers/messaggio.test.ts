import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeliveryReport, ReportRequest } from '../../src/domain/provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { messaggio } from '../../src/providers/messaggio.ts';
import { messaggioSimulator } from '../../src/simulators/messaggio.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

const ID = '0f8f1c3e-5a1c-4b0e-9d55-6f1f1f6b0a11';
const settingsAt = (baseUrl: string) => ({ apiKey: 'test-messaggio-login', from: 'test-sms-sender', baseUrl });
const withViber = { channels: 'viber,sms', viberFrom: 'test-viber-sender' };

function report(body: unknown): ReportRequest {
  const rawBody = new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body));
  return { method: 'POST', url: 'https://codes.example/v1/reports/messaggio/c2VjcmV0', headers: {}, rawBody };
}

const posted = (status: unknown, channel = 'sms') => ({
  type: 'status',
  message_id: ID,
  external_id: 'msg_00000000000000000000000001',
  timestamp: '2026-11-20T15:00:03Z',
  channel,
  recipient: { phone: '998901234567' },
  status,
});
const asked = (status: unknown, channel = 'sms', id = ID) => ({
  message_id: id,
  type: 'status',
  status: { channel, recipient: { phone: '998901234567' }, status },
});
const state = (status: number, expected: Partial<DeliveryReport>) => ({
  name: `status ${status}`,
  request: report(posted(status)),
  expected: [{ providerMessageId: ID, ...expected }],
});
const delivered = { providerMessageId: ID, state: 'delivered' } as const;

describeProvider('messaggio', {
  definition: messaggio,
  open: async () => benchOf(await messaggioSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), apiKey: 'wrong-messaggio-login' }),
  hasProbe: true,
  reports: {
    states: [
      state(200, { state: 'queued' }),
      state(100, { state: 'sent' }),
      ...[70, 69, 67].map((status) => state(status, { state: 'delivered' })),
      state(90, { state: 'undelivered', reason: 'unavailable', code: 'status 90' }),
      state(91, { state: 'undelivered', reason: 'coverage', code: 'status 91' }),
      state(92, { state: 'undelivered', reason: 'unavailable', code: 'status 92' }),
      ...[60, 65, 68, 85, 87, 89, 94, 95, 96, 97, 98, 196].map((status) =>
        state(status, { state: 'failed', reason: 'unavailable', code: `status ${status}` }),
      ),
      state(12_345, { state: 'unknown' }),
      { name: 'a status that is a text', request: report(posted('70')), expected: [delivered] },
      { name: 'the form of the answer to a question', request: report(asked(70)), expected: [delivered] },
      {
        name: 'a list',
        request: report([posted(100), posted(70)]),
        expected: [{ providerMessageId: ID, state: 'sent' as const }, delivered],
      },
      { name: '"statuses"', request: report({ statuses: [asked(70)] }), expected: [delivered] },
      { name: 'somebody’s reply', request: report({ type: 'message', message_id: ID, text: 'Hi' }), expected: [] },
    ],
    malformed: [
      report(''),
      report('<html>'),
      report('null'),
      report([]),
      report({}),
      report({ ...posted(70), message_id: '' }),
      report({ ...posted(70), message_id: 5 }),
      report(posted('')),
      report(posted('delivered')),
      report(posted(null)),
      // `Number` throws at this one; reports have no signature, so anybody could have sent it.
      report(posted({ toString: 1, valueOf: 1 })),
      report({ type: 'status', message_id: ID }),
    ],
    forged: 'unsigned',
  },
});

describe('messaggio', () => {
  let simulator: Simulator;
  let http: HttpClient;

  beforeEach(async () => {
    [simulator, http] = [await messaggioSimulator.start(), createHttpClient(Date.now)];
  });
  afterEach(async () => {
    http.close();
    await simulator.close();
  });

  const open = (more: object = {}) =>
    messaggio.create({ ...settingsAt(simulator.url), ...more }, { now: Date.now, http });
  const send = async (more: object = {}, message: object = {}) =>
    (await open(more)).send(outgoingMessage(message), AbortSignal.timeout(5000));
  const fetchReport = async (more: object = {}) => (await open(more)).fetchReport?.(ID, AbortSignal.timeout(5000));
  const probe = async () => (await open()).probe?.(AbortSignal.timeout(5000));
  const answerNext = (status: number, body: unknown) => simulator.behave({ kind: 'answer', answer: { status, body } });
  const rejection = (error: unknown) => ({ accepted_at: 'now', messages: [{ recipient: {}, error }] });

  it('sends digits, the sender’s code, the time that is left, our id, and where reports go', async () => {
    const reportUrl = 'http://127.0.0.1:1/report';
    expect(await send({}, { reportUrl })).toEqual({
      kind: 'accepted',
      providerMessageId: simulator.messages[0]?.id,
    });
    const [request] = simulator.requests;
    expect(request).toMatchObject({ method: 'POST', path: '/api/v1/send' });
    expect(request?.headers['messaggio-login']).toBe('test-messaggio-login');
    expect(request?.json).toEqual({
      recipients: [{ phone: '998901234567' }],
      channels: ['sms'],
      options: { ttl: 300, external_id: 'msg_00000000000000000000000001', dlr_callback_url: reportUrl },
      sms: { from: 'test-sms-sender', content: [{ type: 'text', text: 'Your code is 830417' }] },
    });
  });

  it('reads the reports of a message under the id that the sending gave', async () => {
    // Another simulator will do as our own address.
    const receiver = await messaggioSimulator.start();
    const outcome = await send({}, { reportUrl: `${receiver.url}/report` });
    await simulator.settled();
    await receiver.close();
    const { parseReport } = await open();
    const providerMessageId = outcome.kind === 'accepted' ? outcome.providerMessageId : undefined;
    expect(receiver.requests.map(({ body }) => parseReport?.(report(body)))).toEqual([
      { kind: 'reports', reports: [{ providerMessageId, state: 'sent' }] },
      { kind: 'reports', reports: [{ providerMessageId, state: 'delivered' }] },
    ]);
  });

  it('gives the brand as the sender where there is no code of one, and then asks nothing about the message', async () => {
    await send({ from: undefined }, { brand: 'Саша Чурилов & Co' });
    expect(simulator.requests[0]?.json).toMatchObject({ sms: { from: 'Саша Чурилов & Co' } });
    expect(await fetchReport({ from: undefined })).toBeUndefined();
    expect(simulator.requests).toHaveLength(1);
  });

  it('asks for no reports where there is no address for them', async () => {
    await send();
    expect(simulator.requests[0]?.json).toHaveProperty('options', {
      ttl: 300,
      external_id: 'msg_00000000000000000000000001',
    });
  });

  it('tries Viber first where it is told to, each channel for half of the time', async () => {
    expect(await send(withViber)).toMatchObject({ kind: 'accepted' });
    expect(simulator.requests[0]?.json).toMatchObject({
      channels: ['viber', 'sms'],
      options: { ttl: 150 },
      viber: {
        from: 'test-viber-sender',
        label: 'transaction',
        content: [{ type: 'text', text: 'Your code is 830417' }],
      },
      sms: { from: 'test-sms-sender', content: [{ type: 'text', text: 'Your code is 830417' }] },
    });
  });

  it('never asks for less than a minute', async () => {
    await send(withViber, { validitySeconds: 61 });
    expect(simulator.requests[0]?.json).toMatchObject({ options: { ttl: 60 } });
  });

  const refusals: [string, string, string][] = [
    ['Insufficient balance', 'account', 'balance'],
    ['На балансе недостаточно средств', 'account', 'balance'],
    ['Unknown login', 'account', 'login'],
    ['Project is disabled', 'account', 'project'],
    ['Requests from this IP are not allowed', 'account', 'login'],
    ['Sender is not in this project', 'content', 'sender'],
    ['Too many messages to this phone', 'throttled', 'throttled'],
    ['Phone number is in the black list', 'blocked', 'blacklist'],
    ['Sender of this phone number is not activated', 'content', 'sender'],
    ['sms: from: cannot be blank', 'content', 'sender'],
    ['The country of this phone number is not served', 'coverage', 'coverage'],
    ['Template is not approved', 'content', 'content'],
    ['Invalid phone number', 'recipient', 'number'],
    ['Неверный номер', 'recipient', 'number'],
    ['Wrong number of parts', 'content', 'refused'],
    ['The stars are not right', 'content', 'refused'],
  ];

  it.each(refusals)('reads the rejection "%s" inside a 200 as %s', async (detail, reason, code) => {
    answerNext(200, rejection({ title: 'Message rejected', detail }));
    expect(await send()).toEqual({ kind: 'failed', reason, code });
  });

  it.each(refusals.slice(0, -2))('reads the rejection "%s" with a 422 as %s', async (detail, reason, code) => {
    answerNext(422, { title: 'Validation error', detail });
    expect(await send()).toEqual({ kind: 'failed', reason, code });
  });

  it('never goes round somebody who wants no messages', async () => {
    answerNext(200, rejection({ title: 'Message rejected', detail: 'Recipient has opted out' }));
    expect(await send()).toEqual({ kind: 'failed', reason: 'blocked', code: 'opt-out', optOut: true });
  });

  it('reads the title where the detail says nothing', async () => {
    answerNext(200, rejection({ title: 'Invalid phone number', detail: '' }));
    expect(await send()).toMatchObject({ reason: 'recipient' });
  });

  it('reads an error that is a mere text', async () => {
    answerNext(200, rejection('Invalid phone number'));
    expect(await send()).toMatchObject({ reason: 'recipient' });
  });

  it.each([
    [400, 'The stars are not right', 'content', '400'],
    [401, 'Wrong phone', 'account', '401'],
    [402, 'Pay first', 'account', '402'],
    [403, 'Wrong phone', 'account', '403'],
    [404, 'Wrong phone', 'account', '404'],
    [500, 'Invalid phone number', 'uncertain', '500'],
    [503, 'Invalid phone number', 'unavailable', '503'],
  ])('reads HTTP %i with "%s" as %s', async (status, detail, reason, code) => {
    answerNext(status, { title: 'Error', detail });
    expect(await send()).toEqual({ kind: 'failed', reason, code });
  });

  it('waits as long as a 429 says', async () => {
    simulator.behave('throttle');
    expect(await send()).toEqual({ kind: 'failed', reason: 'throttled', code: '429', retryAfterMs: 2000 });
  });

  describe('with Viber before SMS', () => {
    const parse = async (body: unknown) => (await open(withViber)).parseReport?.(report(body));

    it('takes no failure of Viber for the end', async () => {
      expect(await parse(posted(91, 'viber'))).toEqual({
        kind: 'reports',
        reports: [{ providerMessageId: ID, state: 'sent' }],
      });
    });

    it('takes a failure of SMS for the end, and a delivery by Viber too', async () => {
      expect(await parse(posted(90, 'sms'))).toMatchObject({ reports: [{ state: 'undelivered' }] });
      expect(await parse(posted(70, 'viber'))).toMatchObject({ reports: [{ state: 'delivered' }] });
    });
  });

  describe('asked what became of a message', () => {
    it('says what Messaggio says', async () => {
      const outcome = await send();
      const id = outcome.kind === 'accepted' ? outcome.providerMessageId : '';
      await simulator.settled();
      const provider = await open();
      expect(await provider.fetchReport?.(id, AbortSignal.timeout(5000))).toEqual({
        providerMessageId: id,
        state: 'delivered',
      });
    });

    it('names the message, its channels and their senders', async () => {
      await fetchReport(withViber);
      expect(simulator.requests[0]).toMatchObject({
        path: '/api/v1/statuses',
        headers: { 'messaggio-login': 'test-messaggio-login' },
      });
      expect(simulator.requests[0]?.json).toEqual({
        recipients: [{ id: ID }],
        channels: ['viber', 'sms'],
        viber: [{ from: 'test-viber-sender' }],
        sms: [{ from: 'test-sms-sender' }],
      });
    });

    it('prefers the channel that delivered, else takes the last', async () => {
      answerNext(200, { statuses: [asked(70, 'viber'), asked(90, 'sms')] });
      expect(await fetchReport(withViber)).toEqual(delivered);
      answerNext(200, { statuses: [asked(91, 'viber'), asked(90, 'sms')] });
      expect(await fetchReport(withViber)).toMatchObject({ state: 'undelivered', code: 'status 90' });
    });

    it.each([
      ['another message', 200, { statuses: [asked(70, 'sms', 'other')] }],
      ['none', 200, { statuses: [] }],
      ['an error', 400, { statuses: [asked(70)] }],
      ['no JSON', 200, 'delivered'],
    ])('says nothing after an answer about %s', async (_, status, body) => {
      answerNext(status, body);
      expect(await fetchReport()).toBeUndefined();
    });
  });

  describe('probe', () => {
    it('asks about a message that does not exist, and sends none', async () => {
      expect(await probe()).toEqual({ kind: 'ready' });
      expect(simulator.requests.map(({ path }) => path)).toEqual(['/api/v1/statuses']);
    });

    it.each([
      [401, 'Unauthorized'],
      [403, 'Forbidden'],
      [400, 'Unknown login'],
    ])('names the Project Login after HTTP %i', async (status, detail) => {
      answerNext(status, { title: 'Error', detail });
      expect(await probe()).toEqual({
        kind: 'failed',
        reason: 'account',
        code: String(status),
        fix: expect.stringMatching(/MESSAGGIO_API_KEY is the Project Login/),
      });
    });

    it.each([400, 422])('is ready where HTTP %i minds the message alone', async (status) => {
      answerNext(status, { title: 'Validation error', detail: 'recipients: id: not found' });
      expect(await probe()).toMatchObject({ kind: 'ready', detail: expect.stringMatching(/login/) });
    });

    it.each([
      ['other JSON', 200, { hello: 'world' }],
      ['a 404', 404, { title: 'Not Found', detail: 'Not Found' }],
      ['a 500', 500, { title: 'Error', detail: 'Unknown login' }],
    ])('is not ready after %s', async (_, status, body) => {
      answerNext(status, body);
      expect(await probe()).toMatchObject({
        reason: 'unavailable',
        fix: expect.stringContaining('MESSAGGIO_BASE_URL'),
      });
    });
  });

  it.each([
    [{ channels: 'sms, viber', viberFrom: 'v' }, []],
    [{ channels: 'telegram' }, [/MESSAGGIO_CHANNELS/]],
    [{ channels: ',' }, [/MESSAGGIO_CHANNELS/]],
    [{ channels: 'viber,sms' }, [/MESSAGGIO_VIBER_FROM is missing/]],
    [{ from: 'Саша Чурилов & Co' }, [/MESSAGGIO_FROM must be the sender's API code/]],
    [{ viberFrom: 'Acme Ltd' }, [/MESSAGGIO_VIBER_FROM must be the sender's API code/]],
    [{ baseUrl: 'msg.messaggio.com' }, [/MESSAGGIO_BASE_URL/]],
  ])('finds the faults of %o', (more, faults) => {
    expect(messaggio.faults?.({ ...settingsAt('https://msg.example'), ...more })).toEqual(
      faults.map((fault) => expect.stringMatching(fault)),
    );
  });
});
