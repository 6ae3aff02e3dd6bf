import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeliveryReport, OutgoingMessage, ReportRequest } from '../../src/domain/provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { vonage, vonageFailureReasons, vonageReportReasons } from '../../src/providers/vonage.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { signVonageReport, vonageSimulator } from '../../src/simulators/vonage.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';
import { startReportReceiver } from '../provider-kit/report-receiver.ts';

const ID = '0A0000001234567B';
const SIGNATURE_SECRET = 'test-vonage-signature-secret';
const REPORT_URL = 'https://codes.example/v1/reports/vonage/c2VjcmV0';
const second = () => Math.floor(Date.now() / 1000);
const EUR = (micros: number) => ({ micros, currency: 'EUR' });

const unsignedAt = (baseUrl: string) => ({
  apiKey: 'abcd1234',
  apiSecret: 'test-vonage-secret',
  from: 'Acme',
  signatureMethod: 'sha256' as const,
  baseUrl,
});
const settingsAt = (baseUrl: string) => ({ ...unsignedAt(baseUrl), signatureSecret: SIGNATURE_SECRET });

type Receipt = Readonly<Record<string, string>>;
const receiptOf = (status: string, more: Receipt = {}): Receipt => ({
  msisdn: '998901234567',
  to: 'Acme & Sons = us',
  'network-code': '43404',
  messageId: ID,
  price: '0.03330000',
  status,
  scts: '2611201500',
  'err-code': '0',
  'message-timestamp': '2026-11-20 15:00:03',
  timestamp: String(second()),
  nonce: '1f0c52-3d1e',
  ...more,
});
const signed = (receipt: Receipt, secret = SIGNATURE_SECRET): Receipt => ({
  ...receipt,
  sig: signVonageReport('sha256', secret, receipt),
});

function post(body: string): ReportRequest {
  return { method: 'POST', url: REPORT_URL, headers: {}, rawBody: new TextEncoder().encode(body) };
}
const asJson = (receipt: Receipt) => post(JSON.stringify(receipt));
const asForm = (receipt: Receipt) => post(new URLSearchParams(receipt).toString());
const asQuery = (receipt: Receipt): ReportRequest => ({
  ...post(''),
  method: 'GET',
  url: `${REPORT_URL}?${new URLSearchParams(receipt)}`,
});

const state = (status: string, errorCode: string, expected: Partial<DeliveryReport>) => ({
  name: `${status} with ${errorCode}`,
  request: asJson(signed(receiptOf(status, { 'err-code': errorCode }))),
  expected: [{ providerMessageId: ID, cost: EUR(33_300), ...expected }],
});
const delivered = [{ providerMessageId: ID, state: 'delivered' as const, cost: EUR(33_300) }];
const without = (name: string) => {
  const { [name]: _, ...rest } = receiptOf('delivered');
  return asJson(signed(rest));
};

describeProvider('vonage', {
  definition: vonage,
  open: async () => benchOf(await vonageSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), apiSecret: 'wrong-vonage-secret' }),
  secrets: [Buffer.from('abcd1234:test-vonage-secret').toString('base64')],
  hasProbe: true,
  reports: {
    states: [
      state('accepted', '0', { state: 'sent' }),
      state('buffered', '0', { state: 'sent' }),
      state('delivered', '0', { state: 'delivered' }),
      state('expired', '2', { state: 'undelivered', reason: 'unavailable', code: '2' }),
      state('unknown', '1', { state: 'undelivered', reason: 'unavailable', code: '1' }),
      state('failed', '3', { state: 'failed', reason: 'recipient', code: '3' }),
      state('rejected', '9', { state: 'failed', reason: 'blocked', code: '9', optOut: true }),
      state('rejected', '6', { state: 'failed', reason: 'content' }),
      state('failed', '777', { state: 'failed', reason: 'unavailable', code: '777' }),
      state('failed', '0', { state: 'failed', reason: 'unavailable' }),
      state('teleported', '0', { state: 'unknown' }),
      { name: 'a form', request: asForm(signed(receiptOf('delivered'))), expected: delivered },
      { name: 'a query', request: asQuery(signed(receiptOf('delivered'))), expected: delivered },
      {
        name: 'a POST whose fields are in the query',
        request: { ...asQuery(signed(receiptOf('delivered'))), method: 'POST' },
        expected: delivered,
      },
    ],
    malformed: [without('messageId'), without('status')],
    forged: [
      { name: 'signed with another secret', request: asJson(signed(receiptOf('delivered'), 'another')) },
      { name: 'another state', request: asJson({ ...signed(receiptOf('failed')), status: 'delivered' }) },
      { name: 'no signature', request: asJson(receiptOf('delivered')) },
      { name: 'no signature in a query', request: asQuery(receiptOf('delivered')) },
      { name: 'no time', request: without('timestamp') },
      {
        name: 'of two days ago',
        request: asJson(signed(receiptOf('delivered', { timestamp: `${second() - 172_800}` }))),
      },
      { name: 'of tomorrow', request: asJson(signed(receiptOf('delivered', { timestamp: `${second() + 86_400}` }))) },
      { name: 'no receipt at all', request: post('<html>') },
      { name: 'nothing', request: post('') },
    ],
  },
});

describe('vonage', () => {
  let simulator: Simulator;
  let http: HttpClient;

  beforeEach(async () => {
    [simulator, http] = [await vonageSimulator.start(), createHttpClient(Date.now)];
  });
  afterEach(async () => {
    http.close();
    await simulator.close();
  });

  const open = (over: object = {}, now = Date.now) =>
    vonage.create({ ...settingsAt(simulator.url), ...over }, { now, http });
  const send = async (over: Partial<OutgoingMessage> = {}, settings = {}) =>
    (await open(settings)).send(outgoingMessage(over), AbortSignal.timeout(5000));
  const sent = () => simulator.requests.at(-1)?.form;
  const answer = (body: unknown, status = 200, headers: Record<string, string> = {}) =>
    simulator.behave({ kind: 'answer', answer: { status, body, headers } });
  const messages = (...statuses: unknown[]) => ({
    'message-count': String(statuses.length),
    messages: statuses.map((status) => ({ status, 'message-id': ID, 'error-text': 'no code 830417 here' })),
  });

  it('sends what the SMS API takes, the secret in the header alone', async () => {
    expect(await send({ reportUrl: 'http://127.0.0.1:1/report' }, { from: '+14155550100' })).toMatchObject({
      kind: 'accepted',
      segments: 1,
      cost: EUR(33_300),
    });
    expect(simulator.requests).toMatchObject([{ method: 'POST', path: '/sms/json' }]);
    expect(sent()).toEqual({
      from: '14155550100',
      to: '998901234567',
      text: 'Your code is 830417',
      type: 'text',
      ttl: '300000',
      'client-ref': 'msg_00000000000000000000000001',
      callback: 'http://127.0.0.1:1/report',
    });
    const login = Buffer.from('abcd1234:test-vonage-secret').toString('base64');
    expect(simulator.requests[0]?.headers.authorization).toBe(`Basic ${login}`);
  });

  it.each([
    ['ваш код 830417', 'unicode'],
    ['Ğ 830417', 'unicode'],
    ['{830417} für 5 €', 'text'],
  ])('announces the alphabet of %s: %s', async (text, type) => {
    await send({ text });
    expect(sent()?.['type']).toBe(type);
  });

  it('counts segments and adds up their prices', async () => {
    expect(await send({ text: `Your code is 830417${'.'.repeat(160)}` })).toMatchObject({
      kind: 'accepted',
      providerMessageId: simulator.messages[0]?.id,
      segments: 2,
      cost: EUR(66_600),
    });
  });

  it('names no cost where a price is missing', async () => {
    answer({ messages: [{ status: '0', 'message-id': ID, 'message-price': '0.01' }, { status: '0' }] });
    expect(await send()).toEqual({ kind: 'accepted', providerMessageId: ID, segments: 2 });
  });

  it.each([
    [1, '20000'],
    [20, '20000'],
    [600, '600000'],
    [1_000_000, '604800000'],
  ])('keeps a life of %i s within what Vonage takes: %s ms', async (validitySeconds, ttl) => {
    await send({ validitySeconds });
    expect(sent()?.['ttl']).toBe(ttl);
  });

  it('asks for no receipts at an address that is too long, rather than have the message refused', async () => {
    const address = (length: number) => 'http://127.0.0.1:1/'.padEnd(length, 'x');
    await send({ reportUrl: address(100) });
    expect(sent()).toHaveProperty('callback');
    expect(await send({ reportUrl: address(101) })).toMatchObject({ kind: 'accepted' });
    expect(sent()).not.toHaveProperty('callback');
  });

  it.each([...vonageFailureReasons])('reads the status %s as %s', async (status, reason) => {
    answer(messages(status));
    expect(await send()).toEqual({ kind: 'failed', reason, code: status });
  });

  it('ends the search for a number only when it is out of service', () => {
    const final = [...vonageFailureReasons].filter(([, reason]) => reason === 'recipient').map(([status]) => status);
    expect(final).toEqual(['33']);
  });

  it.each([
    ['a status as a number', messages(4), 'account', '4'],
    ['a status that is new', messages('77'), 'unavailable', '77'],
    ['a second segment that is refused', messages('0', '9'), 'uncertain', '9'],
    ['two segments that are refused', messages('9', '9'), 'account', '9'],
    ['no messages', { 'message-count': '0', messages: [] }, 'uncertain', 'unreadable'],
    ['a status that is none', messages('830417'), 'uncertain', 'unreadable'],
  ])('reads %s', async (_, body, reason, code) => {
    answer(body);
    expect(await send()).toEqual({ kind: 'failed', reason, code });
  });

  it.each([
    [401, 'account', {}],
    [429, 'throttled', { retryAfterMs: 4000 }],
    [503, 'unavailable', { retryAfterMs: 4000 }],
  ])('reads a bare %i as %s', async (status, reason, more) => {
    answer({ title: 'No' }, status, { 'Retry-After': '4' });
    expect(await send()).toEqual({ kind: 'failed', reason, code: String(status), ...more });
  });

  it('believes what Vonage posts, and nobody else', async () => {
    const receiver = await startReportReceiver();
    const provider = await open();
    simulator.deliver(
      { status: 'buffered', isEarly: true },
      { status: 'delivered', isForged: true },
      { status: 'failed', errorCode: 11 },
    );
    await provider.send(outgoingMessage({ reportUrl: receiver.url }), AbortSignal.timeout(5000));
    await simulator.settled();
    const providerMessageId = simulator.messages[0]?.id;
    const cost = EUR(33_300);
    expect(receiver.requests.map((request) => provider.parseReport?.(request))).toEqual([
      { kind: 'reports', reports: [{ providerMessageId, state: 'sent', cost }] },
      { kind: 'refused', why: 'forged' },
      { kind: 'reports', reports: [{ providerMessageId, state: 'failed', reason: 'coverage', code: '11', cost }] },
    ]);
    await receiver.close();
  });

  it.each([...vonageReportReasons])('reads the err-code %s of a receipt as %s', async (errorCode, reason) => {
    const request = asForm(signed(receiptOf('failed', { 'err-code': errorCode })));
    expect((await open()).parseReport?.(request)).toMatchObject({ reports: [{ reason, code: errorCode }] });
  });

  // Signatures of the vendor's own tests: https://github.com/Vonage/vonage-node-sdk, packages/sms (read 2026-11-20).
  it.each([
    ['md5hash', 'd2e7b1dc968737c5998ad624e02f90b7'],
    ['md5', 'DDEBD46008C2D4E93CCE578A332A52D5'],
    ['sha1', '27D0D05C2876C7CB1720DBCDBA4D492E1E55C09A'],
    ['sha256', 'DDB8397C2B90AAC7F3882D306475C9A5058C92322EEF43C92B298B6E0FC0D330'],
    [
      'sha512',
      'E0D3C650F8C9D1A5C174D10DDDBFB003E561F59B265616208B0487C5D819481CD3C311D59CF6165ECD1139622D5BA3A256C0D763AC4A9AD9144B5A426B94FE82',
    ],
  ] as const)('checks a signature of the kind %s', async (signatureMethod, sig) => {
    const parameters = {
      'message-timestamp': '2013-11-21 15:27:30',
      messageId: '020000001B0FE827',
      msisdn: '14843472194',
      text: 'Test again',
      timestamp: '1385047698',
      to: '13239877404',
      type: 'text',
    };
    const signatureSecret = 'my_secret_key_for_testing';
    expect(signVonageReport(signatureMethod, signatureSecret, parameters)).toBe(sig);
    const provider = await open({ signatureMethod, signatureSecret }, () => 1_385_047_700_000);
    // It is believed, and then no receipt but a message that somebody sent.
    expect(provider.parseReport?.(asForm({ ...parameters, sig }))).toEqual({ kind: 'refused', why: 'malformed' });
    expect(provider.parseReport?.(asForm({ ...parameters, sig, to: '1' }))).toEqual({ kind: 'refused', why: 'forged' });
  });

  it('takes unsigned receipts where no secret to sign them is set', async () => {
    const provider = await vonage.create(unsignedAt(simulator.url), { now: Date.now, http });
    expect(provider.parseReport?.(asQuery(receiptOf('delivered')))).toEqual({ kind: 'reports', reports: delivered });
    for (const request of [
      post(''),
      post('<html>'),
      post('[]'),
      asJson({ messageId: ID }),
      asForm({ status: 'failed' }),
    ])
      expect(provider.parseReport?.(request)).toEqual({ kind: 'refused', why: 'malformed' });
  });

  it('tells the balance', async () => {
    expect(await (await open()).probe?.(AbortSignal.timeout(5000))).toEqual({
      kind: 'ready',
      detail: 'balance 10.28 EUR',
    });
    expect(simulator.requests.map(({ method, path }) => [method, path])).toEqual([['GET', '/account/get-balance']]);
  });

  it.each([
    [401, 'account', 'VONAGE_API_SECRET'],
    [429, 'throttled', 'VONAGE_API_KEY'],
    [404, 'unavailable', 'VONAGE_BASE_URL'],
  ])('says what to do about a %i', async (status, reason, fix) => {
    answer({ title: 'No' }, status);
    const outcome = await (await open()).probe?.(AbortSignal.timeout(5000));
    expect(outcome).toMatchObject({ kind: 'failed', reason, code: String(status), fix: expect.stringContaining(fix) });
  });

  it.each([
    ['Acme', 0],
    ['14155550100', 0],
    ['+14155550100', 0],
    ['Acme Taxi Ltd', 1],
    ['Ünal', 1],
    ['12', 1],
  ])('takes the sender %s or not: %i faults', (from, count) => {
    const faults = vonage.faults?.({ ...unsignedAt('https://rest.nexmo.com'), from }) ?? [];
    expect(faults).toHaveLength(count);
    for (const fault of faults) expect(fault).toMatch(/^VONAGE_FROM/);
  });
});
