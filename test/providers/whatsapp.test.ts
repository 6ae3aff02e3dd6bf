import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeliveryReport, OutgoingMessage, ReportRequest } from '../../src/domain/provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { whatsapp, whatsappFailureReasons } from '../../src/providers/whatsapp.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { signWhatsAppReport, whatsappSimulator } from '../../src/simulators/whatsapp.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';
import { startReportReceiver } from '../provider-kit/report-receiver.ts';

const ID = 'wamid.HBgMOTk4OTAxMjM0NTY3FQIAERgSQUJDREVGMDEyMzQ1Njc4OQA=';
const APP_SECRET = 'test-whatsapp-app-secret';
const VERIFY_TOKEN = 'test-whatsapp-verify-token';
const REPORT_URL = 'https://codes.example/v1/reports/whatsapp/c2VjcmV0';

const withoutReports = (baseUrl: string) => ({
  token: 'EAAtest-whatsapp-token',
  phoneNumberId: '106540352242922',
  template: 'verification_code',
  languages: 'en_US, ru,uz,ky_KG,pt_BR',
  baseUrl,
});
const settingsAt = (baseUrl: string) => ({
  ...withoutReports(baseUrl),
  appSecret: APP_SECRET,
  verifyToken: VERIFY_TOKEN,
});

function signed(body: unknown, secret = APP_SECRET): ReportRequest {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return {
    method: 'POST',
    url: REPORT_URL,
    headers: { 'x-hub-signature-256': signWhatsAppReport(secret, text) },
    rawBody: new TextEncoder().encode(text),
  };
}

const statusOf = (status: string, more: object = {}) => ({
  id: ID,
  status,
  timestamp: '1795000000',
  recipient_id: '998901234567',
  ...more,
});
const changeWith = (value: object) => ({ value: { messaging_product: 'whatsapp', ...value }, field: 'messages' });
const webhook = (...changes: object[]) => ({
  object: 'whatsapp_business_account',
  entry: [{ id: '102290129340398', changes }],
});
const reportOf = (status: object, secret?: string) => signed(webhook(changeWith({ statuses: [status] })), secret);
const state = (word: string, expected: Partial<DeliveryReport>, more: object = {}) => ({
  name: word,
  request: reportOf(statusOf(word, more)),
  expected: [{ providerMessageId: ID, ...expected }],
});

function handshake(query: Record<string, string>): ReportRequest {
  const url = `${REPORT_URL}?${new URLSearchParams(query)}`;
  return { method: 'GET', url, headers: {}, rawBody: new Uint8Array() };
}
const subscription = { 'hub.mode': 'subscribe', 'hub.verify_token': VERIFY_TOKEN, 'hub.challenge': '1158201444' };

describeProvider('whatsapp', {
  definition: whatsapp,
  open: async () => benchOf(await whatsappSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), token: 'EAAwrong-whatsapp-token' }),
  message: { channel: 'whatsapp' },
  cannot: { 'refuse-inside-2xx': 'Meta refuses with a status of 4xx or 5xx' },
  // That a number is not on WhatsApp says nothing about SMS.
  reasons: { 'bad-number': ['coverage'] },
  hasProbe: true,
  reports: {
    states: [
      state(
        'sent',
        { state: 'sent' },
        { pricing: { billable: true, pricing_model: 'PMP', category: 'authentication' } },
      ),
      state('delivered', { state: 'delivered' }),
      state('read', { state: 'delivered' }),
      state('failed', { state: 'failed', reason: 'coverage', code: '131026' }, { errors: [{ code: 131026 }] }),
      state('failed', { reason: 'account', code: '131042' }, { errors: [{ code: 131042 }, { code: 131026 }] }),
      state('failed', { reason: 'blocked', code: '131050', optOut: true }, { errors: [{ code: 131050 }] }),
      state('failed', { reason: 'unavailable', code: '131000' }, { errors: [{ code: 131000 }] }),
      state('failed', { reason: 'unavailable', code: '999999' }, { errors: [{ code: 999999 }] }),
      state('failed', { reason: 'unavailable' }),
      state('teleported', { state: 'unknown' }),
      {
        name: 'several statuses of one body',
        request: signed({
          object: 'whatsapp_business_account',
          entry: [
            { changes: [changeWith({ statuses: [statusOf('sent'), statusOf('read', { id: 'wamid.2' })] })] },
            { changes: [changeWith({ messages: [{ from: '1' }] }), changeWith({ statuses: [statusOf('delivered')] })] },
          ],
        }),
        expected: [
          { providerMessageId: ID, state: 'sent' },
          { providerMessageId: 'wamid.2', state: 'delivered' },
          { providerMessageId: ID, state: 'delivered' },
        ],
      },
      {
        name: 'what somebody wrote to the number, which is no report',
        request: signed(
          webhook(changeWith({ messages: [{ from: '998901234567', type: 'text', text: { body: 'hi' } }] })),
        ),
        expected: [],
      },
      { name: 'statuses without id, as none', request: reportOf({ status: 'sent' }), expected: [] },
    ],
    malformed: [
      signed(''),
      signed('<html>'),
      signed('[]'),
      signed({ object: 'page', entry: [] }),
      signed({ object: 'whatsapp_business_account' }),
      handshake({ 'hub.mode': 'subscribe', 'hub.verify_token': VERIFY_TOKEN }),
      handshake({ 'hub.verify_token': VERIFY_TOKEN, 'hub.challenge': '1' }),
      handshake({ ...subscription, 'hub.challenge': '<script>' }),
    ],
    forged: [
      { name: 'signed with another secret', request: reportOf(statusOf('delivered'), 'another') },
      {
        name: 'a changed body',
        request: { ...reportOf(statusOf('delivered')), rawBody: reportOf(statusOf('failed')).rawBody },
      },
      { name: 'no signature', request: { ...reportOf(statusOf('delivered')), headers: {} } },
      {
        name: 'a handshake with another token',
        request: handshake({ ...subscription, 'hub.verify_token': 'another' }),
      },
    ],
  },
});

describe('whatsapp', () => {
  let simulator: Simulator;
  let http: HttpClient;

  beforeEach(async () => {
    [simulator, http] = [await whatsappSimulator.start(), createHttpClient(Date.now)];
  });
  afterEach(async () => {
    http.close();
    await simulator.close();
  });

  const open = (over: object = {}) =>
    whatsapp.create({ ...settingsAt(simulator.url), ...over }, { now: Date.now, http });
  const send = async (over: Partial<OutgoingMessage> = {}, settings = {}) =>
    (await open(settings)).send(outgoingMessage({ channel: 'whatsapp', ...over }), AbortSignal.timeout(5000));
  const refuse = (status: number, error: object, headers: Record<string, string> = {}) =>
    simulator.behave({ kind: 'answer', answer: { status, body: { error }, headers } });

  it('fills the code into the template and its button', async () => {
    expect(await send()).toMatchObject({ kind: 'accepted', providerMessageId: expect.stringMatching(/^wamid\./) });
    const parameters = [{ type: 'text', text: '830417' }];
    expect(simulator.requests).toMatchObject([{ method: 'POST', path: '/v24.0/106540352242922/messages' }]);
    expect(simulator.requests[0]?.json).toEqual({
      messaging_product: 'whatsapp',
      recipient_type: 'individual',
      to: '998901234567',
      type: 'template',
      template: {
        name: 'verification_code',
        language: { code: 'en_US' },
        components: [
          { type: 'body', parameters },
          { type: 'button', sub_type: 'url', index: '0', parameters },
        ],
      },
      biz_opaque_callback_data: 'msg_00000000000000000000000001',
    });
  });

  it.each([
    ['ru', 'ru'],
    ['ky', 'ky_KG'],
    ['pt-BR', 'pt_BR'],
    ['uz-Cyrl', 'uz'],
    ['en-GB', 'en_US'],
    ['de', 'en_US'],
    ['e', 'en_US'],
  ])('speaks %s as the template does: %s', async (locale, code) => {
    expect(await send({ locale })).toMatchObject({ kind: 'accepted' });
    expect(simulator.requests[0]?.json).toMatchObject({ template: { language: { code } } });
  });

  it('prefers the language itself to that of a country', async () => {
    await send({ locale: 'en-IE' }, { languages: 'ru,en_US,en' });
    expect(simulator.requests[0]?.json).toMatchObject({ template: { language: { code: 'en' } } });
  });

  it('speaks English where no language is set, and takes another version of the API', async () => {
    const { languages: _, ...settings } = settingsAt(simulator.url);
    const provider = await whatsapp.create({ ...settings, apiVersion: 'v30.1' }, { now: Date.now, http });
    await provider.send(outgoingMessage({ locale: 'ru' }), AbortSignal.timeout(5000));
    expect(simulator.requests[0]).toMatchObject({
      path: '/v30.1/106540352242922/messages',
      json: { template: { language: { code: 'en' } } },
    });
  });

  it('sends nothing where there is no code', async () => {
    const { code: _, ...message } = outgoingMessage();
    expect(await (await open()).send(message, AbortSignal.timeout(5000))).toMatchObject({ reason: 'content' });
    expect(simulator.requests).toHaveLength(0);
  });

  it.each([...whatsappFailureReasons])('reads the error %i as %s', async (code, reason) => {
    refuse(400, { code });
    expect(await send()).toMatchObject({ kind: 'failed', reason, code: String(code) });
  });

  it('ends the search for a number at no error: whoever is not on WhatsApp may have SMS', () => {
    expect([...whatsappFailureReasons.values()]).not.toContain('recipient');
  });

  it('never goes round somebody who wants no messages', async () => {
    refuse(400, { code: 131050 });
    expect(await send()).toMatchObject({ reason: 'blocked', optOut: true });
    refuse(400, { code: 131049 });
    expect(await send()).not.toHaveProperty('optOut');
  });

  it.each([
    [{ code: 100, error_subcode: 33 }, 400, 'account', '100'],
    [{ code: 299 }, 400, 'account', '299'],
    [{ code: 999_999 }, 400, 'content', '999999'],
    [{ code: 999_999 }, 500, 'uncertain', '999999'],
    [{ message: 'Code 830417 is wrong' }, 400, 'content', '400'],
    [{ code: '830417' }, 400, 'content', '400'],
  ])('reads %j in a %i as %s', async (error, status, reason, code) => {
    refuse(status, error);
    expect(await send()).toMatchObject({ reason, code });
  });

  it('waits as long as it is told', async () => {
    refuse(429, { code: 130429 }, { 'Retry-After': '7' });
    expect(await send()).toMatchObject({ reason: 'throttled', retryAfterMs: 7000 });
  });

  it('believes what Meta posts, and nobody else', async () => {
    const receiver = await startReportReceiver();
    await simulator.close();
    simulator = await whatsappSimulator.start({ reportUrl: receiver.url });
    const provider = await open();
    simulator.deliver(
      { status: 'sent', isEarly: true },
      { status: 'delivered', isForged: true },
      { status: 'failed', errorCode: 131049 },
    );
    await provider.send(outgoingMessage(), AbortSignal.timeout(5000));
    await simulator.settled();
    const providerMessageId = simulator.messages[0]?.id;
    expect(receiver.requests.map((request) => provider.parseReport?.(request))).toEqual([
      { kind: 'reports', reports: [{ providerMessageId, state: 'sent' }] },
      { kind: 'refused', why: 'forged' },
      { kind: 'reports', reports: [{ providerMessageId, state: 'failed', reason: 'blocked', code: '131049' }] },
    ]);
    await receiver.close();
  });

  it('answers the handshake with the challenge', async () => {
    expect((await open()).parseReport?.(handshake(subscription))).toEqual({ kind: 'handshake', answer: '1158201444' });
  });

  it('reads no reports without the secret that they are signed with', async () => {
    const provider = await whatsapp.create(withoutReports(simulator.url), { now: Date.now, http });
    expect(provider.parseReport).toBeUndefined();
  });

  it('sends nothing to see whether the token is right', async () => {
    expect(await (await open()).probe?.(AbortSignal.timeout(5000))).toEqual({
      kind: 'ready',
      detail: 'quality of the number: GREEN',
    });
    expect(simulator.requests.map(({ method, path }) => [method, path])).toEqual([['GET', '/v24.0/106540352242922']]);
  });

  it.each([
    [401, { code: 190 }, 'account', 'WHATSAPP_TOKEN'],
    [400, { code: 100, error_subcode: 33 }, 'account', 'WHATSAPP_PHONE_NUMBER_ID'],
    [403, { code: 200 }, 'account', 'whatsapp_business_messaging'],
    [400, { code: 368 }, 'account', 'restricted'],
    [400, { code: 80007 }, 'throttled', 'later'],
    [400, { code: 2635 }, 'unavailable', 'WHATSAPP_API_VERSION'],
  ])('says what to do about a %i with %j', async (status, error, reason, fix) => {
    refuse(status, error);
    const outcome = await (await open()).probe?.(AbortSignal.timeout(5000));
    expect(outcome).toMatchObject({ kind: 'failed', reason, fix: expect.stringContaining(fix) });
  });

  it('finds the faults of settings', () => {
    const faults = whatsapp.faults?.({
      token: 'EAAtest-whatsapp-token',
      phoneNumberId: '+1 555-078-3881',
      template: 'Verification Code',
      languages: 'en-US',
      verifyToken: VERIFY_TOKEN,
      apiVersion: '24',
      baseUrl: 'graph.facebook.com',
    });
    expect(faults).toEqual([
      expect.stringMatching(/^WHATSAPP_PHONE_NUMBER_ID/),
      expect.stringMatching(/^WHATSAPP_TEMPLATE/),
      expect.stringMatching(/^WHATSAPP_LANGUAGES/),
      expect.stringMatching(/^WHATSAPP_APP_SECRET and WHATSAPP_VERIFY_TOKEN/),
      expect.stringMatching(/^WHATSAPP_API_VERSION/),
      expect.stringMatching(/^WHATSAPP_BASE_URL/),
    ]);
  });
});
