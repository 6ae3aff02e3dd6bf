import { createServer } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeliveryReport, OutgoingMessage, ReportOutcome, ReportRequest } from '../../src/domain/provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { plivo } from '../../src/providers/plivo.ts';
import { plivoSignature, plivoSimulator } from '../../src/simulators/plivo.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

const ID = 'db3ce55a-7f1d-11e1-8ea7-1231380bc196';
const TOKEN = 'test-plivo-auth-token';
const ADDRESS = 'https://codes.example/v1/reports/plivo/c2VjcmV0';
const settingsAt = (baseUrl: string) => ({
  authId: 'MATESTTESTTESTTESTTE',
  authToken: TOKEN,
  from: '15005550006',
  baseUrl,
});

type Form = Readonly<Record<string, string>>;

function report(form: Form, headers: ReportRequest['headers'] = plivoSignature(ADDRESS, form, TOKEN)): ReportRequest {
  const rawBody = new TextEncoder().encode(new URLSearchParams(form).toString());
  return { method: 'POST', url: ADDRESS, headers, rawBody };
}

const formOf = (status: string, more: Form = {}): Form => ({
  MessageUUID: ID,
  To: '998901234567',
  From: '15005550006',
  Status: status,
  ErrorCode: '000',
  ...more,
});

const state = (status: string, expected: Partial<DeliveryReport>, more: Form = {}) => ({
  name: status,
  request: report(formOf(status, more)),
  expected: [{ providerMessageId: ID, ...expected }],
});

const delivered = formOf('delivered');
const signed = plivoSignature(ADDRESS, delivered, TOKEN);

describeProvider('plivo', {
  definition: plivo,
  open: async () => benchOf(await plivoSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), authToken: 'wrong-plivo-auth-token' }),
  hasProbe: true,
  reports: {
    states: [
      state('queued', { state: 'queued' }),
      state('sent', { state: 'sent' }),
      state('delivered', { state: 'delivered' }),
      state('read', { state: 'delivered' }),
      state('undelivered', { state: 'undelivered', reason: 'coverage', code: '90' }, { ErrorCode: '90' }),
      state('failed', { state: 'failed', reason: 'account', code: '900' }, { ErrorCode: '900' }),
      state('failed', { state: 'failed', reason: 'unavailable', code: 'failed' }),
      state('rejected', { state: 'failed', reason: 'unavailable', code: '9999' }, { ErrorCode: '9999' }),
      state('teleported', { state: 'unknown' }),
    ],
    malformed: [report({}), report({ Status: 'sent' }), report({ MessageUUID: ID }), report({ hello: 'world' })],
    forged: [
      { name: 'no signature', request: report(delivered, {}) },
      { name: 'another token', request: report(delivered, plivoSignature(ADDRESS, delivered, 'other')) },
      { name: 'a changed body', request: report(formOf('failed'), signed) },
      { name: 'another address', request: { ...report(delivered), url: `${ADDRESS}x` } },
      { name: 'another nonce', request: report(delivered, { ...signed, 'x-plivo-signature-v3-nonce': '1' }) },
      { name: 'no nonce', request: report(delivered, { 'x-plivo-signature-v3': signed['x-plivo-signature-v3'] }) },
      {
        name: 'an empty signature',
        request: report(delivered, { ...signed, 'x-plivo-signature-v3': '', 'x-plivo-signature-ma-v3': '' }),
      },
      { name: 'no address', request: { ...report(delivered), url: 'not an address' } },
    ],
  },
});

describe('plivo', () => {
  let simulator: Simulator;
  let http: HttpClient;

  beforeEach(async () => {
    [simulator, http] = [await plivoSimulator.start(), createHttpClient(Date.now)];
  });
  afterEach(async () => {
    http.close();
    await simulator.close();
  });

  const open = (over: Partial<Parameters<typeof plivo.create>[0]> = {}) =>
    plivo.create({ ...settingsAt(simulator.url), ...over }, { now: Date.now, http });
  const send = async (over: Partial<OutgoingMessage> = {}) =>
    (await open()).send(outgoingMessage(over), AbortSignal.timeout(5000));
  const answer = (body: unknown, status = 200) => simulator.behave({ kind: 'answer', answer: { status, body } });
  const parse = async (request: ReportRequest) => (await open()).parseReport?.(request);
  const probe = async () => (await open()).probe?.(AbortSignal.timeout(5000));
  const isBelieved = (outcome: ReportOutcome | undefined) => outcome?.kind === 'reports';

  it('sends the number as digits, the text, the sender, how long it may wait, and where reports go', async () => {
    await send({ reportUrl: 'http://127.0.0.1:1/report', validitySeconds: 299 });
    const request = simulator.requests.at(-1);
    expect(request).toMatchObject({ method: 'POST', path: '/v1/Account/MATESTTESTTESTTESTTE/Message/' });
    expect(request?.headers.authorization).toBe(`Basic ${btoa(`MATESTTESTTESTTESTTE:${TOKEN}`)}`);
    expect(request?.json).toEqual({
      src: '15005550006',
      dst: '998901234567',
      text: 'Your code is 830417',
      message_expiry: 299,
      url: 'http://127.0.0.1:1/report',
      method: 'POST',
    });
  });

  it.each([
    [1, 60],
    [60, 60],
    [10_800, 10_800],
    [86_400, 10_800],
  ])('keeps an expiry of %i s within what Plivo takes: %i', async (validitySeconds, expected) => {
    await send({ validitySeconds });
    expect(simulator.requests.at(-1)?.json).toMatchObject({ message_expiry: expected });
  });

  it('lets a Powerpack choose the sender, and then names no other', async () => {
    const provider = await open({ powerpackUuid: '86bbb125-97bb-4d72-89fd-81d5c515b015' });
    await provider.send(outgoingMessage(), AbortSignal.timeout(5000));
    expect(simulator.requests.at(-1)?.json).toEqual({
      powerpack_uuid: '86bbb125-97bb-4d72-89fd-81d5c515b015',
      dst: '998901234567',
      text: 'Your code is 830417',
      message_expiry: 300,
    });
  });

  it.each([
    [400, "'998901234567' is not a valid phone number.", 'recipient', 'dst'],
    [400, 'dst parameter not present', 'content', '400'],
    [403, 'no route to this destination', 'account', '403'],
    [400, "'15005550006' is not a valid phone number.", 'content', 'src'],
    [400, 'src and dst cannot be the same', 'content', 'src'],
    [400, 'invalid powerpack_uuid', 'content', 'src'],
    [400, 'text parameter not present', 'content', '400'],
    [400, 'trial accounts may only send to sandbox numbers', 'blocked', 'trial'],
    [403, 'the destination country is not enabled in your geo permissions', 'blocked', 'geo-permission'],
    [400, 'insufficient credit', 'account', 'credit'],
    [401, 'not authorized for this dst', 'account', '401'],
    [402, 'insufficient credit', 'account', '402'],
    [403, 'forbidden', 'account', '403'],
    [404, 'not found', 'account', '404'],
    [429, 'too many requests', 'throttled', '429'],
    [500, 'no dst', 'uncertain', '500'],
    [503, '', 'unavailable', '503'],
    [202, 'insufficient credit', 'account', 'credit'],
    [202, 'something new', 'content', 'refused'],
  ])('reads HTTP %i with “%s” as %s', async (status, error, reason, code) => {
    answer({ api_id: '1', error }, status);
    expect(await send()).toEqual({ kind: 'failed', reason, code });
  });

  it.each([
    [10, 'content'],
    [20, 'unavailable'],
    [30, 'content'],
    [40, 'content'],
    [50, 'coverage'],
    [60, 'unavailable'],
    [70, 'recipient'],
    [80, 'unavailable'],
    [90, 'coverage'],
    [100, 'coverage'],
    [110, 'content'],
    [201, 'coverage'],
    [300, 'unavailable'],
    [420, 'unavailable'],
    [450, 'blocked'],
    [900, 'account'],
    [910, 'account'],
    [1000, 'unavailable'],
  ])('reads error %i of a report as %s', async (code, reason) => {
    expect(await parse(report(formOf('undelivered', { ErrorCode: String(code) })))).toEqual({
      kind: 'reports',
      reports: [{ providerMessageId: ID, state: 'undelivered', reason, code: String(code) }],
    });
  });

  it('never goes round a person who said STOP', async () => {
    const outcome = await parse(report(formOf('failed', { ErrorCode: '200' })));
    expect(outcome).toMatchObject({ reports: [{ reason: 'blocked', code: '200', optOut: true }] });
  });

  it.each([
    [{ TotalRate: '0.0055', TotalAmount: '0.0120', Units: '2' }, 12_000],
    [{ TotalRate: '0.0055', Units: '2' }, 11_000],
    [{ TotalRate: '0.0055' }, 5500],
    [{ TotalRate: '0', TotalAmount: '0', Units: '1' }, undefined],
    [{ TotalRate: 'n/a' }, undefined],
  ] as [Form, number | undefined][])('reads the cost of the whole message from %o: %i', async (money, micros) => {
    const cost = micros === undefined ? {} : { cost: { micros, currency: 'USD' } };
    expect(await parse(report(formOf('delivered', money)))).toEqual({
      kind: 'reports',
      reports: [{ providerMessageId: ID, state: 'delivered', ...cost }],
    });
  });

  describe('signatures', () => {
    const NONCE = '12345678901234567890';
    const form: Form = { MessageUUID: ID, Status: 'delivered', To: '998901234567', Units: '1', ErrorCode: '' };
    const v3 = (signature: string) => ({
      'x-plivo-signature-v3': signature,
      'x-plivo-signature-v3-nonce': NONCE,
    });

    // Computed in Python, by the steps of the vendor's own library (plivo/utils/signature_v3.py).
    it('takes what the steps of the vendor make', async () => {
      const [plain, questioned] = [
        'jnChwqNmWW+zVxaKpjI8vOTsLoBtpRpx27f4pNFx4p0=',
        'rlOQvGd0GuAGK+KZR9AiN+M/BKqOkHSCuBAm2BxGcNw=',
      ];
      expect(isBelieved(await parse(report(form, v3(plain))))).toBe(true);
      const withQuery = { ...report(form, v3(questioned)), url: `${ADDRESS}?b=2&a=1&b=1` };
      expect(isBelieved(await parse(withQuery))).toBe(true);
      expect(await parse({ ...withQuery, url: ADDRESS })).toEqual({ kind: 'refused', why: 'forged' });
    });

    it('takes the signature of the main account for a message of a subaccount, and the other way round', async () => {
      const other = plivoSignature(ADDRESS, delivered, 'token-of-subaccount', TOKEN);
      expect(isBelieved(await parse(report(delivered, other)))).toBe(true);
      const mine = plivoSignature(ADDRESS, delivered, TOKEN, 'token-of-main-account');
      expect(isBelieved(await parse(report(delivered, mine)))).toBe(true);
    });

    it('takes one of several signatures, as an account with two tokens has them', async () => {
      const list = { ...signed, 'x-plivo-signature-v3': `AAAA, ${signed['x-plivo-signature-v3']}` };
      expect(isBelieved(await parse(report(delivered, { ...list, 'x-plivo-signature-ma-v3': 'AAAA' })))).toBe(true);
    });

    it('takes the older signature only where there is no newer one', async () => {
      const older = {
        'x-plivo-signature-v2': 'IWuWJQUdJVLnPuMVgB0baOBJm/0JCI+jIZfvsYeo75w=',
        'x-plivo-signature-v2-nonce': NONCE,
      };
      expect(isBelieved(await parse(report(form, older)))).toBe(true);
      expect(await parse(report(form, { ...older, ...v3('AAAA') }))).toEqual({ kind: 'refused', why: 'forged' });
      expect(await parse({ ...report(form, older), url: `${ADDRESS}x` })).toEqual({ kind: 'refused', why: 'forged' });
    });

    it('takes the reports that the simulator posts, but for a forged one', async () => {
      const provider = await open();
      const outcomes: (ReportOutcome | undefined)[] = [];
      let origin = '';
      const server = createServer(async (request, response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk as Buffer);
        const { headers, url } = request;
        const rawBody = Buffer.concat(chunks);
        outcomes.push(provider.parseReport?.({ method: 'POST', url: `${origin}${url}`, headers, rawBody }));
        response.writeHead(204).end();
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      origin = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
      simulator.deliver({ status: 'sent', isForged: true }, { status: 'delivered', times: 2 });
      await provider.send(outgoingMessage({ reportUrl: `${origin}/report` }), AbortSignal.timeout(5000));
      await simulator.settled();
      server.closeAllConnections();
      server.close();
      const good = {
        providerMessageId: simulator.messages[0]?.id,
        state: 'delivered',
        cost: { micros: 5500, currency: 'USD' },
      };
      expect(outcomes).toEqual([
        { kind: 'refused', why: 'forged' },
        { kind: 'reports', reports: [good] },
        { kind: 'reports', reports: [good] },
      ]);
    });
  });

  it('asks what became of a message, and what it cost', async () => {
    const provider = await open();
    answer({
      message_state: 'undelivered',
      error_code: '80',
      total_amount: '0.01100',
      total_rate: '0.00550',
      units: 2,
    });
    expect(await provider.fetchReport?.(ID, AbortSignal.timeout(5000))).toEqual({
      providerMessageId: ID,
      state: 'undelivered',
      reason: 'unavailable',
      code: '80',
      cost: { micros: 11_000, currency: 'USD' },
    });
    expect(simulator.requests.at(-1)?.path).toBe(`/v1/Account/MATESTTESTTESTTESTTE/Message/${ID}/`);
    expect(await provider.fetchReport?.('unknown', AbortSignal.timeout(5000))).toBeUndefined();
  });

  it('shows the credits when it is ready', async () => {
    expect(await probe()).toEqual({ kind: 'ready', detail: 'balance 12.345 USD' });
  });

  it('says to add credits when a prepaid account has none, and not of others', async () => {
    const empty = { cash_credits: '0.00000', billing_mode: 'prepaid', auto_recharge: false };
    answer(empty);
    expect(await probe()).toMatchObject({ kind: 'failed', reason: 'account', code: 'credit' });
    answer({ ...empty, auto_recharge: true });
    expect(await probe()).toMatchObject({ kind: 'ready' });
    answer({ ...empty, billing_mode: 'postpaid' });
    expect(await probe()).toMatchObject({ kind: 'ready' });
  });

  it.each([
    [401, 'account', /PLIVO_AUTH_ID and PLIVO_AUTH_TOKEN/],
    [404, 'account', /PLIVO_AUTH_ID and PLIVO_AUTH_TOKEN/],
    [429, 'throttled', /again in a moment/],
    [502, 'unavailable', /PLIVO_BASE_URL/],
  ])('says what to do about HTTP %i of a probe', async (status, reason, fix) => {
    answer('', status);
    expect(await probe()).toMatchObject({ kind: 'failed', reason, fix: expect.stringMatching(fix) });
  });

  it('needs a sender or a Powerpack', () => {
    const { from: _, ...settings } = settingsAt('https://api.plivo.com');
    expect(plivo.faults?.(settings)).toEqual([expect.stringMatching(/^PLIVO_FROM or PLIVO_POWERPACK_UUID/)]);
    expect(plivo.faults?.({ ...settings, powerpackUuid: '86bbb125' })).toEqual([]);
    expect(plivo.faults?.({ ...settings, from: 'Acme', baseUrl: 'ftp://x' })).toEqual([
      expect.stringContaining('PLIVO_BASE_URL'),
    ]);
  });
});
