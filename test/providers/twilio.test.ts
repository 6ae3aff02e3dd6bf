import { execFileSync } from 'node:child_process';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import sdk from 'twilio';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import type { FailureReason, MessagingProvider, OutgoingMessage, ReportRequest } from '../../src/domain/provider.ts';
import { createHttpClient } from '../../src/provider-kit/http-client.ts';
import { connectTwilio } from '../../src/providers/twilio/sdk.ts';
import { twilio, twilioFailureReasons } from '../../src/providers/twilio.ts';
import type { Fault, Simulator } from '../../src/simulators/simulator-kit.ts';
import {
  signTwilioJsonReport,
  signTwilioReport,
  twilioAccount,
  twilioError,
  twilioSimulator,
  twilioStatusFields,
} from '../../src/simulators/twilio.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

const ACCOUNT_SID = `AC${'0'.repeat(32)}`;
const SERVICE_SID = `MG${'0'.repeat(32)}`;
const KEY_SID = `SK${'0'.repeat(32)}`;
const TOKEN = 'test-auth-token';
const REPORT_URL = 'https://codes.example/v1/reports/twilio/c2VjcmV0?app=taxi';
const SID = 'SM0123456789abcdef0123456789abcdef';

const settingsAt = (url: string) => ({ accountSid: ACCOUNT_SID, authToken: TOKEN, from: '+15005550006', baseUrl: url });

/** What a provider is opened with; this one has a transport of its own and no use for ours. */
const context = { now: Date.now, http: createHttpClient(Date.now) };

const refuse = (status: number, code: number, more: Parameters<typeof twilioError>[2] = {}): Fault => ({
  kind: 'answer',
  answer: twilioError(status, code, more),
});
const answer = (status: number, body: unknown, type?: string): Fault => ({
  kind: 'answer',
  answer: { status, body, ...(type === undefined ? {} : { type }) },
});
const refuseInside = (code: number) => answer(201, { sid: SID, status: 'failed', error_code: code });

/** A genuine form report, or one with a field more or less. */
function report(status: string, errorCode?: number, more: Record<string, string> = {}): ReportRequest {
  return signTwilioReport(REPORT_URL, { ...twilioStatusFields(SID, status, { errorCode }), ...more }, TOKEN);
}

describeProvider('twilio', {
  definition: twilio,
  open: async () => benchOf(await twilioSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), authToken: 'wrong-auth-token' }),
  secrets: [Buffer.from(`${ACCOUNT_SID}:${TOKEN}`).toString('base64')],
  reports: {
    states: [
      ...['accepted', 'scheduled', 'queued'].map((status) => ({
        name: status,
        request: report(status),
        expected: [{ providerMessageId: SID, state: 'queued' as const }],
      })),
      ...['sending', 'sent'].map((status) => ({
        name: status,
        request: report(status),
        expected: [{ providerMessageId: SID, state: 'sent' as const }],
      })),
      ...['delivered', 'read'].map((status) => ({
        name: status,
        request: report(status),
        expected: [{ providerMessageId: SID, state: 'delivered' as const }],
      })),
      {
        name: 'undelivered, with its reason',
        request: report('undelivered', 30005),
        expected: [{ providerMessageId: SID, state: 'undelivered', reason: 'recipient', code: '30005' }],
      },
      {
        name: 'failed, with its reason',
        request: report('failed', 30007),
        expected: [{ providerMessageId: SID, state: 'failed', reason: 'content', code: '30007' }],
      },
      {
        name: 'failed without a code',
        request: report('failed'),
        expected: [{ providerMessageId: SID, state: 'failed', reason: 'unavailable' }],
      },
      {
        name: 'failed with a code that nobody knows yet',
        request: report('failed', 39999),
        expected: [{ providerMessageId: SID, state: 'failed', reason: 'unavailable', code: '39999' }],
      },
      {
        name: 'canceled as failed',
        request: report('canceled'),
        expected: [{ providerMessageId: SID, state: 'failed' }],
      },
      {
        name: 'a state that nobody knows yet as unknown',
        request: report('teleported'),
        expected: [{ providerMessageId: SID, state: 'unknown' }],
      },
      { name: 'an incoming message as no report', request: report('received'), expected: [] },
      {
        name: 'a report with a field that nobody knows yet',
        request: report('delivered', undefined, { RawDlrDoneDate: '2611201338', Zzz: 'ü%&+ ' }),
        expected: [{ providerMessageId: SID, state: 'delivered' }],
      },
    ],
    malformed: [
      signTwilioReport(REPORT_URL, {}, TOKEN),
      signTwilioReport(REPORT_URL, { MessageSid: SID }, TOKEN),
      signTwilioReport(REPORT_URL, { MessageStatus: 'sent' }, TOKEN),
      signTwilioJsonReport(REPORT_URL, ['sent'], TOKEN),
    ],
    forged: [
      { name: 'another token', request: signTwilioReport(REPORT_URL, twilioStatusFields(SID, 'sent'), 'other-token') },
      { name: 'no signature', request: { ...report('sent'), headers: {} } },
      { name: 'an empty signature', request: withSignature(report('sent'), '') },
      { name: 'a signature cut short', request: withSignature(report('sent'), 'c2hvcnQ=') },
      { name: 'two signatures', request: withSignature(report('sent'), [signatureOf(report('sent'))]) },
      { name: 'another body', request: { ...report('sent'), rawBody: report('delivered').rawBody } },
      { name: 'another address', request: { ...report('sent'), url: REPORT_URL.replace('taxi', 'mgask') } },
      { name: 'another scheme', request: { ...report('sent'), url: REPORT_URL.replace('https', 'http') } },
      {
        name: 'a JSON body that is not the one in the address',
        request: { ...signTwilioJsonReport(REPORT_URL, { MessageSid: SID }, TOKEN), rawBody: Buffer.from('{}') },
      },
    ],
  },
  hasProbe: true,
});

function signatureOf(request: ReportRequest): string {
  return String(request.headers['x-twilio-signature']);
}

function withSignature(request: ReportRequest, signature: string | string[]): ReportRequest {
  return { ...request, headers: { ...request.headers, 'x-twilio-signature': signature } };
}

describe('twilio', () => {
  let simulator: Simulator;
  const opened: MessagingProvider[] = [];

  beforeEach(async () => {
    simulator = await twilioSimulator.start();
  });
  afterEach(async () => {
    for (const provider of opened.splice(0)) await provider.close?.();
    await simulator.close();
  });

  async function open(over: Partial<Parameters<typeof twilio.create>[0]> = {}) {
    const provider = await twilio.create({ ...settingsAt(simulator.url), ...over }, context);
    opened.push(provider);
    return provider;
  }

  async function send(provider: MessagingProvider, over: Partial<OutgoingMessage> = {}) {
    return provider.send(outgoingMessage(over), AbortSignal.timeout(10_000));
  }

  describe('the request', () => {
    it('carries number, text, sender, lifetime and report address', async () => {
      await send(await open(), { reportUrl: 'http://127.0.0.1:1/reports', validitySeconds: 287 });
      expect(simulator.requests[0]).toMatchObject({
        method: 'POST',
        path: `/2010-04-01/Accounts/${ACCOUNT_SID}/Messages.json`,
        form: {
          To: '+998901234567',
          From: '+15005550006',
          Body: 'Your code is 830417',
          ValidityPeriod: '287',
          StatusCallback: 'http://127.0.0.1:1/reports',
        },
      });
      expect(simulator.requests[0]?.form).not.toHaveProperty('MessagingServiceSid');
    });

    it('asks for no report when there is no address for one', async () => {
      await send(await open());
      expect(simulator.requests[0]?.form).not.toHaveProperty('StatusCallback');
    });

    it('lets a messaging service choose the sender, also when a number is set as well', async () => {
      const outcome = await send(await open({ messagingServiceSid: SERVICE_SID }));
      expect(simulator.requests[0]?.form).toMatchObject({ MessagingServiceSid: SERVICE_SID });
      expect(simulator.requests[0]?.form).not.toHaveProperty('From');
      // The segments are not known before the service has chosen a sender: Twilio says "0".
      expect(outcome).toEqual({ kind: 'accepted', providerMessageId: simulator.messages[0]?.id });
    });

    it('says how many segments Twilio counted', async () => {
      expect(await send(await open(), { text: 'x'.repeat(161) })).toMatchObject({ segments: 2 });
      expect(await send(await open(), { text: 'Код: 830417' })).toMatchObject({ segments: 1 });
    });

    it('carries every script unharmed', async () => {
      const text = 'Ваш код: 830417 & 100% + ünï 你好 🔑 رمزك';
      await send(await open(), { text });
      expect(simulator.messages[0]?.text).toBe(text);
    });

    it.each([
      [0, '1'],
      [1, '1'],
      [59.9, '59'],
      [36_000, '36000'],
      [36_001, '36000'],
    ])('turns a lifetime of %d s into a ValidityPeriod of %s', async (validitySeconds, expected) => {
      expect(await send(await open(), { validitySeconds })).toMatchObject({ kind: 'accepted' });
      expect(simulator.requests[0]?.form['ValidityPeriod']).toBe(expected);
    });

    it('logs in with an API key where one is given', async () => {
      const provider = await open({ apiKey: KEY_SID, apiSecret: 'test-api-secret' });
      expect(await send(provider)).toMatchObject({ kind: 'accepted' });
      const login = Buffer.from(`${KEY_SID}:test-api-secret`).toString('base64');
      expect(simulator.requests[0]?.headers.authorization).toBe(`Basic ${login}`);
    });

    it('asks for no reports that it could not verify: with an API key and no auth token', async () => {
      const { authToken: _, ...rest } = settingsAt(simulator.url);
      const provider = await twilio.create({ ...rest, apiKey: KEY_SID, apiSecret: 'test-api-secret' }, context);
      opened.push(provider);
      await send(provider, { reportUrl: 'http://127.0.0.1:1/reports' });
      expect(simulator.requests[0]?.form).not.toHaveProperty('StatusCallback');
      expect(provider.parseReport).toBeUndefined();
    });

    it('keeps a path in TWILIO_BASE_URL, and does not mind a slash at its end', async () => {
      await send(await open({ baseUrl: `${simulator.url}/gateway/` }));
      expect(simulator.requests[0]?.path).toBe(`/gateway/2010-04-01/Accounts/${ACCOUNT_SID}/Messages.json`);
    });

    it('puts edge and region into no other host than Twilio’s own', async () => {
      expect(await send(await open({ edge: 'dublin', region: 'ie1' }))).toMatchObject({ kind: 'accepted' });
    });

    // Seen in a shop's `.env`: `TWILIO_AUTH_TOKEN= 0123… ` gave 20003 for a day.
    it('does not mind spaces around the values', async () => {
      const provider = await open({
        accountSid: ` ${ACCOUNT_SID} `,
        authToken: `\t${TOKEN}\n`,
        from: ' +15005550006 ',
      });
      expect(await send(provider)).toMatchObject({ kind: 'accepted' });
    });
  });

  describe('errors', () => {
    // One line per row of Twilio's error pages (https://www.twilio.com/docs/api/errors, read 2026-11-20), with its own status.
    const rows: readonly (readonly [status: number, reason: FailureReason, ...codes: number[]])[] = [
      [401, 'account', 20003, 20005],
      [403, 'account', 20008, 10001],
      [404, 'account', 20404],
      [400, 'account', 21603, 21604, 21606, 21607, 21212, 21659, 21660, 21701, 21703, 21704, 21705, 30002],
      [400, 'recipient', 21211, 21401, 21217, 30005],
      [400, 'coverage', 21214, 21612, 21614, 21635, 30006, 63003, 63024],
      [400, 'blocked', 21408, 21608, 21610, 30004, 30450, 30453, 30454, 572002, 572005],
      [400, 'content', 21602, 21617, 21619, 21620, 21656, 21657, 30007, 30032, 30034, 30035, 30042, 63016],
      [429, 'throttled', 20429, 21611, 30001, 30022, 30023, 30027, 63038],
      [500, 'uncertain', 20500],
      [503, 'unavailable', 20503, 30003, 30008, 30036],
    ];
    const cases = rows.flatMap(([status, reason, ...codes]) => codes.map((code) => ({ status, reason, code })));

    it.each(cases)('takes $code for $reason, in either shape', async ({ status, reason, code }) => {
      simulator.behave(refuse(status, code), refuse(status, code, { shape: 'problem' }), refuseInside(code));
      const provider = await open();
      const expected = { kind: 'failed', reason, code: String(code), ...(code === 21610 ? { optOut: true } : {}) };
      expect(await send(provider)).toEqual(expected);
      expect(await send(provider)).toEqual(expected);
      expect(await send(provider)).toEqual(expected);
      const fields = twilioStatusFields(SID, 'undelivered', { errorCode: code });
      expect(provider.parseReport?.(signTwilioReport(REPORT_URL, fields, TOKEN))).toEqual({
        kind: 'reports',
        reports: [{ ...expected, kind: undefined, providerMessageId: SID, state: 'undelivered' }],
      });
    });

    it('has no code in its table that this test does not know', () => {
      expect(cases.map(({ code }) => code).sort()).toEqual([...twilioFailureReasons.keys()].sort());
    });

    it.each([
      [400, 'content'],
      [401, 'account'],
      [403, 'account'],
      [404, 'account'],
      [429, 'throttled'],
      [500, 'uncertain'],
      [502, 'uncertain'],
      [503, 'unavailable'],
      [504, 'uncertain'],
    ])('goes by the status %d where the code is new or missing', async (status, reason) => {
      const provider = await open();
      simulator.behave(refuse(status, 999_999), answer(status, '<html>', 'text/html'));
      expect(await send(provider)).toMatchObject({ reason, code: '999999' });
      expect(await send(provider)).toMatchObject({ reason, code: String(status) });
    });

    it.each(['null', '[]', '"text"', '5', 'true', '{"code":{"a":1}}', '{"code":"<script>"}'])(
      'is not led astray by %s, as an error or as an answer',
      async (body) => {
        const provider = await open();
        simulator.behave(answer(400, body, 'application/json'), answer(201, body, 'application/json'));
        expect(await send(provider)).toMatchObject({ reason: 'content', code: '400' });
        expect(await send(provider)).toMatchObject({ reason: 'uncertain', code: 'unreadable' });
      },
    );

    it('passes on how long Twilio asks it to wait', async () => {
      const provider = await open();
      simulator.behave(refuse(429, 20429, { retryAfterSeconds: 7 }));
      expect(await send(provider)).toMatchObject({ reason: 'throttled', retryAfterMs: 7000 });
      simulator.behave(refuse(400, 21211, { retryAfterSeconds: 7 }));
      expect(await send(provider)).toEqual({ kind: 'failed', reason: 'recipient', code: '21211' });
    });

    // The SDK keeps its last request, with the credentials and the code in it, for whoever debugs.
    it('keeps nothing of what it sent', async () => {
      const connection = await connectTwilio(settingsAt(simulator.url), Date.now);
      const message = { to: '+998901234567', from: '+15005550006', body: 'Your code is 830417' };
      const reply = await connection.ask(AbortSignal.timeout(10_000), () => connection.client.messages.create(message));
      expect(reply).toMatchObject({ kind: 'reply', status: 201 });
      expect(inspect(connection.client.httpClient, { depth: null })).not.toContain('830417');
      connection.close();
    });

    it('tries nothing again by itself', async () => {
      const provider = await open();
      simulator.behave(...Array.from({ length: 3 }, () => 'throttle' as const));
      await send(provider);
      expect(simulator.requests).toHaveLength(1);
    });

    it('knows that nothing was sent when TLS fails', async () => {
      const provider = await open({ baseUrl: simulator.url.replace('http:', 'https:') });
      expect(await send(provider)).toMatchObject({ reason: 'unavailable' });
      expect(simulator.requests).toHaveLength(0);
    });

    it('knows that nothing was sent when a TLS handshake never ends', async () => {
      const deaf = createTcpServer();
      await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
      const connected = new Promise<Socket>((resolve) => deaf.once('connection', resolve));
      const provider = await open({ baseUrl: `https://127.0.0.1:${(deaf.address() as AddressInfo).port}` });
      const attempt = new AbortController();
      const outcome = provider.send(outgoingMessage(), attempt.signal);
      const socket = await connected;
      attempt.abort();
      expect(await outcome).toEqual({ kind: 'failed', reason: 'unavailable', code: 'aborted' });
      socket.destroy();
      deaf.close();
    });

    it('calls a message uncertain that Twilio took and did not confirm', async () => {
      const provider = await open();
      simulator.behave('drop-after-reading');
      expect(await send(provider)).toMatchObject({ reason: 'uncertain' });
      expect(simulator.messages).toHaveLength(1);
    });

    it('calls it uncertain too on a connection that was used before', async () => {
      const provider = await open();
      await send(provider);
      const attempt = new AbortController();
      simulator.behave('stall');
      const outcome = provider.send(outgoingMessage(), attempt.signal);
      await simulator.received(2);
      attempt.abort();
      expect(await outcome).toEqual({ kind: 'failed', reason: 'uncertain', code: 'aborted' });
    });
  });

  describe('asked what became of a message', () => {
    const asked = async (provider: MessagingProvider, sid: string) =>
      provider.fetchReport?.(sid, AbortSignal.timeout(10_000));

    it('tells its state, and its price once there is one', async () => {
      const provider = await open();
      simulator.deliver({ status: 'delivered' });
      await send(provider);
      await simulator.settled();
      const { id = '' } = simulator.messages[0] ?? {};
      expect(await asked(provider, id)).toEqual({
        providerMessageId: id,
        state: 'delivered',
        cost: { micros: 53_000, currency: 'USD' },
      });
    });

    it('tells why it failed, and no price before it is known', async () => {
      const provider = await open();
      simulator.behave(
        answer(200, { sid: SID, status: 'failed', error_code: 30007, price: null, price_unit: 'USD' }),
        answer(200, { sid: SID, status: 'queued', error_code: null, price: '0', price_unit: 'USD' }),
      );
      expect(await asked(provider, SID)).toEqual({
        providerMessageId: SID,
        state: 'failed',
        reason: 'content',
        code: '30007',
      });
      expect(await asked(provider, SID)).toEqual({ providerMessageId: SID, state: 'queued' });
    });

    it('knows nothing of a message that Twilio does not know, and nothing when it gets no answer', async () => {
      const provider = await open();
      expect(await asked(provider, SID)).toBeUndefined();
      simulator.behave('drop-after-reading', answer(200, '<html>', 'text/html'));
      expect(await asked(provider, SID)).toBeUndefined();
      expect(await asked(provider, SID)).toBeUndefined();
    });
  });

  describe('test numbers of Twilio', () => {
    it.each([
      ['+15005550001', 'recipient', '21211'],
      ['+15005550002', 'coverage', '21612'],
      ['+15005550003', 'blocked', '21408'],
      ['+15005550004', 'blocked', '21610'],
      ['+15005550009', 'coverage', '21614'],
    ])('to %s: %s', async (to, reason, code) => {
      expect(await send(await open(), { to: to as PhoneNumber })).toMatchObject({ kind: 'failed', reason, code });
    });

    it.each([
      ['+15005550001', 'account', '21212'],
      ['+15005550007', 'account', '21606'],
      ['+15005550008', 'throttled', '21611'],
    ])('from %s: %s', async (from, reason, code) => {
      expect(await send(await open({ from }))).toMatchObject({ kind: 'failed', reason, code });
    });

    it.each([
      ['text', { text: '' }, '21602'],
      ['a short enough text', { text: 'x'.repeat(1601) }, '21617'],
      ['a recipient', { to: '' as PhoneNumber }, '21604'],
    ])('a message needs %s', async (_, over, code) => {
      expect(await send(await open(), over)).toMatchObject({ kind: 'failed', code });
    });
  });

  describe('signatures', () => {
    const fields = { ...twilioStatusFields(SID, 'delivered'), Zzz: 'ü & + %', empty: '' };
    const urls = [
      'https://codes.example/r',
      'https://codes.example:443/r',
      'https://codes.example:8443/r?a=1&b=%20',
      'http://codes.example/r',
      'http://codes.example:80/r',
      'https://user:pass@codes.example/r',
      'https://codes.example',
      'https://[::1]:443/r',
      "https://codes.example/r?quote=it's",
    ];

    it.each(urls)('agree both ways with the SDK: %s', async (url) => {
      const provider = await open();
      const ours = signTwilioReport(url, fields, TOKEN);
      expect(signatureOf(ours)).toBe(sdk.getExpectedTwilioSignature(TOKEN, url, fields));
      for (const signedFor of [url, url.replace(/:443|:80(?!\d)/, ''), url.replace(/codes\.example(?!:)/, '$&:443')]) {
        const request = { ...signTwilioReport(signedFor, fields, TOKEN), url };
        const isGoodForSdk = sdk.validateRequest(TOKEN, signatureOf(request), url, fields);
        expect(provider.parseReport?.(request)?.kind === 'reports', signedFor).toBe(isGoodForSdk);
      }
    });

    it.each([
      ['https://codes.example/r', 'https://codes.example:443/r'],
      ['https://codes.example:443/r', 'https://codes.example/r'],
      ['http://codes.example/r', 'http://codes.example:80/r'],
      ['http://codes.example:80/r', 'http://codes.example/r'],
    ])('made for %s are good for %s', async (signedFor, url) => {
      const request = { ...signTwilioReport(signedFor, fields, TOKEN), url };
      expect((await open()).parseReport?.(request)).toMatchObject({ kind: 'reports' });
    });

    it('made with the token before the last rotation are good while it is configured', async () => {
      const request = signTwilioReport(REPORT_URL, fields, 'old-auth-token');
      expect((await open()).parseReport?.(request)).toMatchObject({ kind: 'refused', why: 'forged' });
      const provider = await open({ previousAuthToken: 'old-auth-token' });
      expect(provider.parseReport?.(request)).toMatchObject({ kind: 'reports' });
      expect(provider.parseReport?.(report('sent'))).toMatchObject({ kind: 'reports' });
    });

    it('cover each different value of a repeated field once', async () => {
      const body = new URLSearchParams([['Tag', 'b'], ['Tag', 'a'], ['Tag', 'b'], ...Object.entries(fields)]);
      const signature = sdk.getExpectedTwilioSignature(TOKEN, REPORT_URL, { ...fields, Tag: ['b', 'a', 'b'] });
      const request = { ...report('sent'), rawBody: Buffer.from(body.toString()) };
      expect((await open()).parseReport?.(withSignature(request, signature))).toMatchObject({ kind: 'reports' });
    });

    it('of JSON bodies agree with the SDK', async () => {
      const body = { MessageSid: SID, MessageStatus: 'undelivered', ErrorCode: 30003 };
      for (const base of ['https://codes.example/r', REPORT_URL]) {
        const request = signTwilioJsonReport(base, body, TOKEN);
        const text = Buffer.from(request.rawBody).toString();
        expect(sdk.validateRequestWithBody(TOKEN, signatureOf(request), request.url, text)).toBe(true);
        expect((await open()).parseReport?.(request)).toEqual({
          kind: 'reports',
          reports: [{ providerMessageId: SID, state: 'undelivered', reason: 'unavailable', code: '30003' }],
        });
      }
    });

    it('of an address that carries no hash do not cover a JSON body', async () => {
      const signature = sdk.getExpectedTwilioSignature(TOKEN, REPORT_URL, {});
      const request = { ...report('sent'), rawBody: Buffer.from(JSON.stringify(fields)) };
      expect((await open()).parseReport?.(withSignature(request, signature))).toMatchObject({
        kind: 'refused',
        why: 'forged',
      });
    });
  });

  describe('probe', () => {
    const probe = async (provider: MessagingProvider) => provider.probe?.(AbortSignal.timeout(10_000));

    it('tells the balance, and sends nothing', async () => {
      expect(await probe(await open())).toEqual({ kind: 'ready', detail: 'balance 12.30 USD' });
      expect(simulator.messages).toEqual([]);
      expect(simulator.requests.map(({ method }) => method)).toEqual(['GET', 'GET']);
    });

    it('warns of a trial account', async () => {
      simulator.behave(answer(200, twilioAccount('active', 'Trial')));
      expect(await probe(await open())).toMatchObject({ kind: 'ready', detail: expect.stringContaining('trial') });
    });

    it.each(['suspended', 'closed'] as const)('is not content with a %s account', async (accountStatus) => {
      simulator.behave(answer(200, twilioAccount(accountStatus)));
      expect(await probe(await open())).toMatchObject({ kind: 'failed', reason: 'account', code: accountStatus });
    });

    it('does not take a Standard API key for a wrong one', async () => {
      expect(await probe(await open({ apiKey: KEY_SID, apiSecret: 'test-api-secret' }))).toMatchObject({
        kind: 'ready',
      });
      const outcome = await probe(await open({ apiKey: KEY_SID, apiSecret: 'wrong' }));
      expect(outcome).toMatchObject({
        reason: 'account',
        code: '20003',
        fix: expect.stringContaining('TWILIO_API_SECRET'),
      });
    });

    it('is ready even where the balance may not be read', async () => {
      simulator.behave(answer(200, twilioAccount()), refuse(403, 20003));
      expect(await probe(await open())).toEqual({ kind: 'ready' });
    });

    // The SDK takes a 3xx for a good answer to a fetch, and a page for an account without a name.
    it.each([
      ['302', 'redirect'],
      ['302', answer(302, { sid: 'AC0' })],
      ['unreadable', 'html'],
      ['unreadable', answer(200, {})],
    ] as const)('sees that what answers is not Twilio: %s', async (code, behaviour) => {
      simulator.behave(behaviour);
      const fix = expect.stringContaining('TWILIO_BASE_URL');
      expect(await probe(await open())).toEqual({ kind: 'failed', reason: 'unavailable', code, fix });
    });

    it.each([
      [401, 20003, 'TWILIO_AUTH_TOKEN'],
      [401, 20003, 'TWILIO_REGION'],
      [403, 20008, 'test credentials'],
      [403, 20005, 'not active'],
      [403, 10001, 'not active'],
      [404, 20404, 'TWILIO_ACCOUNT_SID'],
      [429, 20429, 'Too many'],
      [500, 20500, 'status.twilio.com'],
    ])('has a word of advice for %d with %d: %s', async (status, code, advice) => {
      simulator.behave(refuse(status, code));
      const outcome = await probe(await open());
      expect(outcome).toMatchObject({ kind: 'failed', code: String(code), fix: expect.stringContaining(advice) });
    });
  });

  describe('settings', () => {
    const good = settingsAt('http://127.0.0.1:1');
    const { authToken: _, ...noToken } = good;
    const { from: __, ...noSender } = good;

    it.each([
      ['a number', good],
      ['spaces around the values', { ...good, accountSid: ` ${ACCOUNT_SID}\n`, from: ' +15005550006' }],
      ['a short code', { ...good, from: '54321' }],
      ['an alphanumeric sender ID', { ...good, from: 'Royal Taxi' }],
      ['a messaging service', { ...noSender, messagingServiceSid: SERVICE_SID }],
      ['an empty line of the .env', { ...good, apiKey: '', messagingServiceSid: ' ' }],
      ['an API key', { ...noToken, apiKey: KEY_SID, apiSecret: 'secret' }],
      ['a region with a known edge', { ...good, region: 'ie1' }],
    ])('are good with %s', (_name, settings) => {
      expect(twilio.faults?.(settings, 'providers.twilio')).toEqual([]);
    });

    it.each([
      ['TWILIO_ACCOUNT_SID', { ...good, accountSid: '' }],
      ['TWILIO_ACCOUNT_SID', { ...good, accountSid: `AC${'0'.repeat(31)}` }],
      ['TWILIO_API_KEY', { ...good, accountSid: KEY_SID }],
      ['TWILIO_AUTH_TOKEN', noToken],
      ['TWILIO_API_SECRET', { ...noToken, apiKey: KEY_SID }],
      ['TWILIO_API_KEY', { ...noToken, apiSecret: 'secret' }],
      ['TWILIO_MESSAGING_SERVICE_SID', noSender],
      ['TWILIO_MESSAGING_SERVICE_SID', { ...good, messagingServiceSid: 'VA0' }],
      ['TWILIO_PHONE_NUMBER', { ...good, from: '15005550006' }],
      ['TWILIO_PHONE_NUMBER', { ...good, from: '+1 500 555 0006' }],
      ['TWILIO_PHONE_NUMBER', { ...good, from: 'TwelveLetter' }],
      ['TWILIO_EDGE', { ...good, region: 'br1' }],
      ['TWILIO_BASE_URL', { ...good, baseUrl: 'api.twilio.com' }],
    ])('have one fault, which names %s', (name, settings) => {
      expect(twilio.faults?.(settings, 'providers.twilio')).toEqual([expect.stringContaining(name)]);
    });

    it('repeat no credential in a fault', () => {
      const faults = twilio.faults?.(
        {
          accountSid: 'sec-1',
          authToken: 'sec-2',
          apiKey: 'sec-3',
          from: 'sec sec sec sec',
        },
        'providers.twilio',
      );
      expect(faults).toHaveLength(3 + 1);
      expect(faults?.join()).not.toContain('sec-');
    });
  });

  describe('hosts', () => {
    // A process of its own, with a transport that notes the host and never opens a connection.
    const hostFor = (settings: Record<string, string>, environment: Record<string, string> = {}) =>
      runNode(
        `import https from 'node:https';
         https.request = (options) => { console.log(options.hostname); throw new Error('no network in tests'); };
         const { twilio } = await import('./src/providers/twilio.ts');
         const provider = await twilio.create(${JSON.stringify({ accountSid: ACCOUNT_SID, authToken: TOKEN, from: 'Acme', ...settings })}, { now: Date.now });
         await provider.send(${JSON.stringify(outgoingMessage())}, new AbortController().signal);`,
        environment,
      );

    it('are those of edge and region', () => {
      expect(hostFor({})).toBe('api.twilio.com');
      expect(hostFor({ region: 'ie1' })).toBe('api.dublin.ie1.twilio.com');
      expect(hostFor({ edge: 'frankfurt' })).toBe('api.frankfurt.us1.twilio.com');
    });

    it('do not follow variables behind the back of the configuration', () => {
      expect(hostFor({}, { TWILIO_REGION: 'au1', TWILIO_EDGE: 'sydney' })).toBe('api.twilio.com');
    });

    // The SDK takes labels of a long name for edge and region, and drops one.
    it('of TWILIO_BASE_URL are taken as they are', () => {
      const host = 'a.b.c.d.gateway.example';
      expect(hostFor({ baseUrl: `https://${host}`, region: 'ie1', edge: 'dublin' })).toBe(host);
    });
  });

  it('loads the SDK only when it is opened', () => {
    const output = runNode(
      `import { createRequire } from 'node:module';
       const { cache } = createRequire(import.meta.url);
       const loaded = () => Object.keys(cache).some((path) => path.includes('/node_modules/twilio/'));
       const { twilio } = await import('./src/providers/twilio.ts');
       const before = loaded();
       await twilio.create(${JSON.stringify(settingsAt('http://127.0.0.1:1'))}, { now: Date.now });
       console.log(before, loaded());`,
    );
    expect(output).toBe('false true');
  });
});

/** Runs a module in a fresh process of the same Node, at the root of the repository. */
function runNode(source: string, environment: Record<string, string> = {}): string {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', source], {
    cwd: root,
    env: { PATH: process.env['PATH'], ...environment },
    encoding: 'utf8',
  });
  return output.trim();
}

describe('twilio simulator', () => {
  it('posts what it is told to, signed so that the provider believes exactly the genuine ones', async () => {
    const seen: ReportRequest[] = [];
    let url = '';
    const receiver = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      seen.push({ method: 'POST', url, headers: request.headers, rawBody: Buffer.concat(chunks) });
      response.writeHead(204).end();
    });
    await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/reports?secret=1`;
    const simulator = await twilioSimulator.start();
    const provider = await twilio.create(settingsAt(simulator.url), context);
    const send = async () => {
      await provider.send(outgoingMessage({ reportUrl: url }), AbortSignal.timeout(10_000));
      await simulator.settled();
      return seen.splice(0).map((request) => {
        const outcome = provider.parseReport?.(request);
        return outcome?.kind === 'reports' ? outcome.reports[0] : outcome?.kind;
      });
    };
    try {
      const first = await send();
      const providerMessageId = simulator.messages[0]?.id;
      expect(first).toEqual([
        { providerMessageId, state: 'sent' },
        { providerMessageId, state: 'delivered' },
      ]);
      simulator.deliver(
        { status: 'undelivered', errorCode: 30003, times: 2 },
        { status: 'sent' },
        { status: 'delivered', isForged: true },
      );
      const lost = { state: 'undelivered', code: '30003' };
      expect(await send()).toMatchObject([lost, lost, { state: 'sent' }, 'refused']);
    } finally {
      await provider.close?.();
      await simulator.close();
      receiver.closeAllConnections();
      receiver.close();
    }
  });

  it('answers a message as Twilio does, with numbers written as strings', async () => {
    const simulator = await twilioSimulator.start();
    const login = `Basic ${Buffer.from(`${ACCOUNT_SID}:${TOKEN}`).toString('base64')}`;
    const path = `${simulator.url}/2010-04-01/Accounts/${ACCOUNT_SID}/Messages.json`;
    const post = (fields: Record<string, string>, authorization = login) =>
      fetch(path, { method: 'POST', headers: { authorization }, body: new URLSearchParams(fields) });
    try {
      const taken = await post({ To: '+998901234567', From: '+15005550006', Body: 'Hi' });
      expect(taken.status).toBe(201);
      expect(await taken.json()).toMatchObject({
        sid: expect.stringMatching(/^SM[0-9a-f]{32}$/),
        account_sid: ACCOUNT_SID,
        status: 'queued',
        num_segments: '1',
        price: null,
        error_code: null,
      });
      const missing = await post({ To: '+998901234567', Body: 'Hi' });
      expect([missing.status, await missing.json()]).toEqual([
        400,
        {
          code: 21603,
          message: "A 'From' phone number is required.",
          more_info: 'https://www.twilio.com/docs/errors/21603',
          status: 400,
        },
      ]);
      const stranger = await post({}, 'Basic bm9ib2R5Om5vbmU=');
      expect([stranger.status, await stranger.json()]).toMatchObject([401, { code: 20003, message: 'Authenticate' }]);
    } finally {
      await simulator.close();
    }
  });
});
