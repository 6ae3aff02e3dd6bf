import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeliveryReport, ReportRequest } from '../../src/domain/provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { playmobile } from '../../src/providers/playmobile.ts';
import { playmobileSimulator } from '../../src/simulators/playmobile.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

const MESSAGE_ID = 'msg_01k9zzzzzz0123456789abcdef';
const ID = 'zzzz0123456789abcdef';
const settingsAt = (baseUrl: string) => ({ login: 'test-playmobile', password: 'test-playmobile-password', baseUrl });
const basicOf = (password: string) => Buffer.from(`test-playmobile:${password}`).toString('base64');

function report(body: unknown): ReportRequest {
  const rawBody = new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body));
  return { method: 'POST', url: 'https://codes.example/v1/reports/playmobile/c2VjcmV0', headers: {}, rawBody };
}

const entry = (status: string, id = ID) => ({
  'message-id': id,
  channel: 'sms',
  status,
  'status-date': '2026-11-20 15:00:03',
  description: status,
});
const state = (status: string, expected: Partial<DeliveryReport>) => ({
  name: status,
  request: report(entry(status)),
  expected: [{ providerMessageId: ID, ...expected }],
});
const delivered = { providerMessageId: ID, state: 'delivered' } as const;

describeProvider('playmobile', {
  definition: playmobile,
  open: async () => benchOf(await playmobileSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), password: 'wrong-playmobile-password' }),
  secrets: [basicOf('test-playmobile-password'), basicOf('wrong-playmobile-password')],
  cannot: {
    'refuse-inside-2xx': 'a 200 of the broker says in plain text that the request was received',
    'no-id': 'the id is ours, and is in no answer',
  },
  hasProbe: true,
  reports: {
    states: [
      state('Accepted', { state: 'queued' }),
      ...['Transmitted', 'Sent'].map((word) => state(word, { state: 'sent' })),
      ...['Delivered', 'DELIVERED', 'delivered'].map((word) => state(word, { state: 'delivered' })),
      ...['NotDelivered', 'not_delivered', 'Not Delivered'].map((word) =>
        state(word, { state: 'undelivered', reason: 'unavailable', code: 'notdelivered' }),
      ),
      state('Undelivered', { state: 'undelivered', reason: 'unavailable' }),
      state('Expired', { state: 'undelivered', reason: 'unavailable', code: 'expired' }),
      state('Rejected', { state: 'failed', reason: 'blocked', code: 'rejected' }),
      state('Failed', { state: 'failed', reason: 'unavailable' }),
      state('Deleted', { state: 'failed', reason: 'unavailable' }),
      state('Teleported', { state: 'unknown' }),
      { name: 'keys with _', request: report({ message_id: ID, status: 'Delivered' }), expected: [delivered] },
      {
        name: 'a list',
        request: report([entry('Delivered'), entry('Expired', 'other')]),
        expected: [delivered, { providerMessageId: 'other', state: 'undelivered' as const }],
      },
      { name: '"messages"', request: report({ messages: [entry('Delivered')] }), expected: [delivered] },
      {
        name: 'a list with something else in it',
        request: report([{ status: 'Delivered' }, entry('Delivered')]),
        expected: [delivered],
      },
    ],
    malformed: [
      report(''),
      report('<html>'),
      report('null'),
      report([]),
      report({ messages: [] }),
      report({ status: 'Delivered' }),
      report({ 'message-id': '', status: 'Delivered' }),
      report({ 'message-id': 5, status: 'Delivered' }),
      report({ 'message-id': ID }),
    ],
    forged: 'unsigned',
  },
});

describe('playmobile', () => {
  let simulator: Simulator;
  let http: HttpClient;

  beforeEach(async () => {
    [simulator, http] = [await playmobileSimulator.start(), createHttpClient(Date.now)];
  });
  afterEach(async () => {
    http.close();
    await simulator.close();
  });

  const open = (more: object = {}) =>
    playmobile.create({ ...settingsAt(simulator.url), ...more }, { now: Date.now, http });
  const send = async (more: object = {}) =>
    (await open(more)).send(outgoingMessage({ messageId: MESSAGE_ID }), AbortSignal.timeout(5000));
  const probe = async () => (await open()).probe?.(AbortSignal.timeout(5000));
  const answerNext = (status: number, body: unknown) => simulator.behave({ kind: 'answer', answer: { status, body } });

  it('sends exactly what is set, as JSON with a Basic login', async () => {
    await send();
    const [request] = simulator.requests;
    expect(request).toMatchObject({ method: 'POST', path: '/broker-api/send' });
    expect(request?.headers).toMatchObject({
      authorization: `Basic ${basicOf('test-playmobile-password')}`,
      'content-type': 'application/json; charset=UTF-8',
    });
    expect(request?.json).toEqual({
      sms: { originator: '3700', ttl: 300, content: { text: 'Your code is 830417' } },
      messages: [{ recipient: '998901234567', 'message-id': ID }],
    });
  });

  it('sends the priority and the originator of the settings', async () => {
    expect(await send({ priority: 'realtime', originator: 'Acme' })).toMatchObject({ kind: 'accepted' });
    expect(simulator.requests[0]?.json).toMatchObject({ priority: 'realtime', sms: { originator: 'Acme' } });
  });

  it('names the message by the last 20 characters of our id', async () => {
    expect(await send()).toEqual({ kind: 'accepted', providerMessageId: ID });
    expect(simulator.messages[0]?.id).toBe(ID);
  });

  it('reads the report of a message under the id that the sending gave', async () => {
    // Another simulator will do as the address that the vendor's support was told.
    const receiver = await playmobileSimulator.start();
    const vendor = await playmobileSimulator.start({ reportUrl: `${receiver.url}/report` });
    expect(await send({ baseUrl: vendor.url })).toMatchObject({ providerMessageId: ID });
    await vendor.settled();
    await Promise.all([vendor.close(), receiver.close()]);
    const { parseReport } = await open();
    expect(receiver.requests.map(({ body }) => parseReport?.(report(body)))).toEqual([
      { kind: 'reports', reports: [{ providerMessageId: ID, state: 'sent' }] },
      { kind: 'reports', reports: [delivered] },
    ]);
  });

  it.each([
    ['100', 'uncertain'],
    ...['101', '102', '103', '104', '105', '204', '205', '206'].map((code) => [code, 'account']),
    ...['301', '302', '303', '304', '305', '306'].map((code) => [code, 'account']),
    ...['402', '408', '410', '411'].map((code) => [code, 'account']),
    ['202', 'recipient'],
    ...['401', '403', '404', '405', '406', '407'].map((code) => [code, 'content']),
    ['999', 'content'],
  ])('reads error %s as %s', async (code, reason) => {
    answerNext(400, { 'error-code': Number(code), 'error-description': 'Refused' });
    expect(await send()).toEqual({ kind: 'failed', reason, code: `error ${code}` });
  });

  it.each([
    ['a text', { 'error-code': '202' }],
    ['written with _', { error_code: 202, error_description: 'Empty recipient' }],
  ])('reads an error code that is %s', async (_, body) => {
    answerNext(400, body);
    expect(await send()).toMatchObject({ reason: 'recipient', code: 'error 202' });
  });

  it.each([
    [401, 'account'],
    [403, 'account'],
    [404, 'account'],
    [400, 'content'],
    [503, 'unavailable'],
    [502, 'uncertain'],
  ])('reads a bare HTTP %i as %s', async (status, reason) => {
    answerNext(status, 'Refused');
    expect(await send()).toMatchObject({ kind: 'failed', reason, code: String(status) });
  });

  it('takes no other 200 for a receipt', async () => {
    answerNext(200, '<p>Your request is received by the proxy</p>');
    expect(await send()).toMatchObject({ kind: 'failed', reason: 'uncertain' });
  });

  it('takes a 200 with an error code for a refusal', async () => {
    answerNext(200, { 'error-code': 102, 'error-description': 'Account lock' });
    expect(await send()).toMatchObject({ kind: 'failed', reason: 'account', code: 'error 102' });
  });

  it('waits as long as a 429 says', async () => {
    simulator.behave('throttle');
    expect(await send()).toEqual({ kind: 'failed', reason: 'throttled', code: '429', retryAfterMs: 2000 });
  });

  describe('probe', () => {
    it('asks without a message', async () => {
      expect(await probe()).toMatchObject({ kind: 'ready' });
      expect(simulator.requests[0]?.json).toEqual({ messages: [] });
      expect(simulator.messages).toEqual([]);
    });

    it('is ready too where a request without messages is received', async () => {
      answerNext(200, 'Request is received');
      expect(await probe()).toMatchObject({ kind: 'ready' });
    });

    it.each([401, 403])('names the login and the list of addresses after HTTP %i', async (status) => {
      answerNext(status, 'Refused');
      expect(await probe()).toMatchObject({
        reason: 'account',
        code: String(status),
        fix: expect.stringMatching(/PLAYMOBILE_LOGIN and PLAYMOBILE_PASSWORD.*address/),
      });
    });

    it('says that the account is locked', async () => {
      simulator.behave('balance');
      expect(await probe()).toMatchObject({
        reason: 'account',
        code: 'error 102',
        fix: expect.stringMatching(/locked/),
      });
    });

    it('is not ready after an internal error of theirs', async () => {
      answerNext(400, { 'error-code': 100, 'error-description': 'Internal server error' });
      expect(await probe()).toMatchObject({ kind: 'failed', reason: 'unavailable' });
    });
  });

  it('refuses a login that HTTP Basic cannot carry', () => {
    expect(playmobile.faults?.({ ...settingsAt('https://a.example'), login: 'a:b' })).toEqual([
      expect.stringContaining('PLAYMOBILE_LOGIN'),
    ]);
  });

  it('refuses a base address that is none', () => {
    expect(playmobile.faults?.(settingsAt('send.smsxabar.uz'))).toEqual([
      expect.stringContaining('PLAYMOBILE_BASE_URL'),
    ]);
  });
});
