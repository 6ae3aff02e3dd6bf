import { readFileSync } from 'node:fs';
import type { TObject } from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveConfig } from '../../src/config/load.ts';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import type { FailureReason, MessagingProvider, OutgoingMessage, ReportRequest } from '../../src/domain/provider.ts';
import type { ProviderDefinition } from '../../src/provider-kit/define-provider.ts';
import { createHttpClient } from '../../src/provider-kit/http-client.ts';
import { twilio } from '../../src/providers/twilio.ts';
import { twilioVoice, twilioVoiceReasons } from '../../src/providers/twilio-voice.ts';
import type { Fault, Simulator } from '../../src/simulators/simulator-kit.ts';
import {
  signTwilioJsonReport,
  signTwilioReport,
  twilioCallFields,
  twilioError,
  twilioSimulator,
  twilioVoiceSimulator,
} from '../../src/simulators/twilio.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

const ACCOUNT_SID = `AC${'0'.repeat(32)}`;
const CALL_SID = 'CA0123456789abcdef0123456789abcdef';
const REPORT_URL = 'https://codes.example/v1/reports/twilio-voice/c2VjcmV0';
const settingsAt = (baseUrl: string) => ({
  accountSid: ACCOUNT_SID,
  authToken: 'test-auth-token',
  from: '+15005550006',
  baseUrl,
});
const context = { now: Date.now, http: createHttpClient(Date.now) };

const report = (status: string, more: Record<string, string> = {}): ReportRequest =>
  signTwilioReport(REPORT_URL, twilioCallFields(CALL_SID, status, more));
const state = (name: string, status: string, expected: object, more: Record<string, string> = {}) => ({
  name,
  request: report(status, more),
  expected: [{ providerMessageId: CALL_SID, ...expected }],
});

describeProvider('twilio-voice', {
  definition: twilioVoice,
  open: async () => benchOf(await twilioVoiceSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), authToken: 'wrong-auth-token' }),
  secrets: [Buffer.from(`${ACCOUNT_SID}:test-auth-token`).toString('base64')],
  message: { channel: 'voice' },
  cannot: {
    content: 'Twilio finds out what is to be said when the call is answered',
    balance: 'an empty account is suspended, and refuses the credentials',
  },
  hasProbe: true,
  reports: {
    states: [
      ...['queued', 'initiated'].map((status) => state(status, status, { state: 'queued' })),
      ...['ringing', 'in-progress'].map((status) => state(status, status, { state: 'sent' })),
      state('completed', 'completed', { state: 'delivered' }),
      state(
        'completed without a word',
        'completed',
        { state: 'undelivered', code: 'completed' },
        { CallDuration: '0' },
      ),
      ...['busy', 'no-answer'].map((status) =>
        state(status, status, { state: 'undelivered', reason: 'unavailable', code: status }),
      ),
      state('canceled', 'canceled', { state: 'failed', reason: 'unavailable', code: 'canceled' }),
      state('failed', 'failed', { state: 'failed', code: 'sip 404' }, { SipResponseCode: '404' }),
      state('failed, with its reason', 'failed', { reason: 'coverage', code: '13224' }, { ErrorCode: '13224' }),
      state('a state that nobody knows yet', 'teleported', { state: 'unknown' }),
    ],
    malformed: [
      signTwilioReport(REPORT_URL, {}),
      signTwilioReport(REPORT_URL, { CallSid: CALL_SID }),
      signTwilioReport(REPORT_URL, { CallStatus: 'completed' }),
      signTwilioJsonReport(REPORT_URL, ['completed']),
    ],
    forged: [
      {
        name: 'another token',
        request: signTwilioReport(REPORT_URL, twilioCallFields(CALL_SID, 'completed'), 'other-token'),
      },
      { name: 'no signature', request: { ...report('completed'), headers: {} } },
      { name: 'another body', request: { ...report('busy'), rawBody: report('completed').rawBody } },
    ],
  },
});

describe('twilio-voice', () => {
  let simulator: Simulator;
  const opened: MessagingProvider[] = [];

  beforeEach(async () => {
    simulator = await twilioVoiceSimulator.start();
  });
  afterEach(async () => {
    for (const provider of opened.splice(0)) await provider.close?.();
    await simulator.close();
  });

  async function open(over: Partial<Parameters<typeof twilioVoice.create>[0]> = {}) {
    const provider = await twilioVoice.create({ ...settingsAt(simulator.url), ...over }, context);
    opened.push(provider);
    return provider;
  }

  async function call(over: Partial<OutgoingMessage> = {}, provider?: MessagingProvider) {
    const message = outgoingMessage({ channel: 'voice', ...over });
    return (provider ?? (await open())).send(message, AbortSignal.timeout(10_000));
  }

  const twiml = () => simulator.requests.at(-1)?.form['Twiml'] ?? '';
  /** What is said, one line for each `<Say>`. */
  const spoken = () => [...twiml().matchAll(/<Say [^>]*>([^<]*)<\/Say>/g)].map(([, words]) => words);
  const answer = (status: number, body: unknown): Fault => ({ kind: 'answer', answer: { status, body } });

  it('reads the code digit by digit, twice, with a pause after each', async () => {
    await call({ reportUrl: 'http://127.0.0.1:1/reports' });
    const digits = ['8', '3', '0', '4', '1', '7'];
    expect(spoken()).toEqual(['This is Acme. Your code is:', ...digits, 'Once more:', ...digits]);
    const say = '<Say voice="Google.en-US-Standard-A" language="en-US">[^<]+</Say><Pause length="1"/>';
    expect(twiml()).toMatch(new RegExp(`^<Response><Pause length="1"/>(${say}){14}</Response>$`));
    expect(simulator.messages[0]?.text).toBe('This is Acme. Your code is: 8 3 0 4 1 7 Once more: 8 3 0 4 1 7');
  });

  it('says to Twilio whom to call, from where, for how long, and where to report', async () => {
    await call({ reportUrl: 'http://127.0.0.1:1/reports' });
    const [request] = simulator.requests;
    expect(request).toMatchObject({
      method: 'POST',
      path: `/2010-04-01/Accounts/${ACCOUNT_SID}/Calls.json`,
      form: {
        To: '+998901234567',
        From: '+15005550006',
        Timeout: '60',
        TimeLimit: '120',
        StatusCallback: 'http://127.0.0.1:1/reports',
      },
    });
    expect(new URLSearchParams(request?.body).getAll('StatusCallbackEvent')).toEqual(['answered', 'completed']);
    // In no address: the code would stand in logs.
    expect(request?.form).not.toHaveProperty('Url');
    expect(request?.path).not.toContain('830417');
    expect(request?.form['StatusCallback']).not.toContain('830417');
  });

  it.each([
    [1, '5'],
    [30, '30'],
    [300, '60'],
  ])('lets it ring no longer than the code lives: %d s', async (validitySeconds, timeout) => {
    await call({ validitySeconds });
    expect(simulator.requests[0]?.form['Timeout']).toBe(timeout);
  });

  it('asks for no report without an address, and for none that could not be believed', async () => {
    await call();
    const { authToken: _, ...rest } = settingsAt(simulator.url);
    const provider = await twilioVoice.create(
      { ...rest, apiKey: `SK${'0'.repeat(32)}`, apiSecret: 'test-api-secret' },
      context,
    );
    opened.push(provider);
    expect(await call({ reportUrl: 'http://127.0.0.1:1/reports' }, provider)).toMatchObject({ kind: 'accepted' });
    for (const { form } of simulator.requests) expect(form).not.toHaveProperty('StatusCallback');
    expect(provider.parseReport).toBeUndefined();
  });

  describe('languages', () => {
    it.each<[locale: string, voice: string, words: RegExp]>([
      ['en-GB', 'en-US', /Your code is/],
      ['ru', 'ru-RU', /Ваш код/],
      ['ar', 'ar-XA', /رمزك/],
      ['tr', 'tr-TR', /Kodunuz/],
      ['de-AT', 'de-DE', /Ihr Code/],
      ['fr', 'fr-FR', /Votre code/],
      ['es-MX', 'es-ES', /Su código/],
      ['it', 'it-IT', /Il suo codice/],
      ['pt-BR', 'pt-BR', /Seu código/],
      ['pl', 'pl-PL', /Twój kod/],
      ['uk', 'uk-UA', /Ваш код/],
      ['hi', 'hi-IN', /आपका कोड/],
      ['ko', 'ko-KR', /인증 코드/],
      ['zh-Hans-CN', 'cmn-CN', /验证码/],
      ['uz', 'ru-RU', /Ваш код/],
      ['uz-Cyrl', 'ru-RU', /Ваш код/],
      ['kk', 'ru-RU', /Ваш код/],
      ['KY', 'ru-RU', /Ваш код/],
      ['tg', 'ru-RU', /Ваш код/],
      ['tk', 'ru-RU', /Ваш код/],
      ['ka', 'en-US', /Your code is/],
      ['az', 'en-US', /Your code is/],
      ['constructor', 'en-US', /Your code is/],
    ])('speaks to %s with the voice of %s', async (locale, voice, words) => {
      await call({ locale });
      expect(spoken()[0]).toMatch(words);
      expect(spoken()[0]).toContain('Acme');
      const voices = [...twiml().matchAll(/voice="([^"]+)" language="([^"]+)"/g)].map(([, ...pair]) => pair.join());
      expect(new Set(voices)).toEqual(new Set([`Google.${voice}-Standard-A,${voice}`]));
      // Twilio's own list of what it can say.
      const known = readFileSync('node_modules/twilio/lib/twiml/VoiceResponse.d.ts', 'utf8');
      expect(known).toContain(`"Google.${voice}-Standard-A"`);
      expect(known).toContain(`"${voice}"`);
    });
  });

  it('reads a message without a code as it is, twice', async () => {
    const { code: _, ...custom } = outgoingMessage({ channel: 'voice', text: 'Your driver is here.', locale: 'en' });
    await (await open()).send(custom, AbortSignal.timeout(10_000));
    expect(spoken()).toEqual(['Your driver is here.', 'Your driver is here.']);
  });

  it('says what could be taken for XML, and drops what XML cannot write', async () => {
    await call({ brand: 'A & B <Hangup/> "C"\u0000\u001b😀\ufffe' });
    expect(spoken()[0]).toBe('This is A &amp; B &lt;Hangup/&gt; "C"😀. Your code is:');
    expect(simulator.messages[0]?.text).toContain('A & B <Hangup/> "C"😀.');
  });

  it('asks for no call with more words than Twilio takes', async () => {
    const { code: _, ...custom } = outgoingMessage({ channel: 'voice', text: 'x'.repeat(2000) });
    const outcome = await (await open()).send(custom, AbortSignal.timeout(10_000));
    expect(outcome).toEqual({ kind: 'failed', reason: 'content', code: 'too-long' });
    expect(simulator.requests).toEqual([]);
  });

  it('has room for a code of ten digits in the longest of its languages', async () => {
    for (const locale of ['en', 'ru', 'ko']) {
      const outcome = await call({ code: '0123456789', brand: 'x'.repeat(60), locale });
      expect(outcome).toMatchObject({ kind: 'accepted' });
    }
  });

  // One line per row of Twilio's error pages (https://www.twilio.com/docs/api/errors, read 2026-11-20).
  const rows: readonly (readonly [status: number, reason: FailureReason, ...codes: number[]])[] = [
    [401, 'account', 20003, 20005, 20008, 10001, 10002, 10005],
    [404, 'account', 20404],
    [400, 'account', 21210, 21212, 21213],
    [400, 'recipient', 21211, 21217],
    [400, 'coverage', 13224, 21214],
    [400, 'blocked', 13225, 13227, 21215, 21216, 21219, 573005],
    [400, 'content', 21200, 21205],
    [429, 'throttled', 20429, 10004],
    [500, 'uncertain', 20500],
    [503, 'unavailable', 20503],
  ];
  const cases = rows.flatMap(([status, reason, ...codes]) => codes.map((code) => ({ status, reason, code })));

  it.each(cases)('takes $code for $reason', async ({ status, reason, code }) => {
    simulator.behave({ kind: 'answer', answer: twilioError(status, code) });
    expect(await call()).toEqual({ kind: 'failed', reason, code: String(code) });
  });

  it('has no code in its table that this test does not know', () => {
    expect(cases.map(({ code }) => code).sort()).toEqual([...twilioVoiceReasons.keys()].sort());
  });

  it('refuses Twilio’s test numbers as Twilio does', async () => {
    expect(await call({ to: '+15005550001' as PhoneNumber })).toMatchObject({ reason: 'recipient', code: '21211' });
    expect(await call({}, await open({ from: '+15005550001' }))).toMatchObject({ reason: 'account', code: '21212' });
  });

  it('tells what became of a call, and its price', async () => {
    const provider = await open();
    const asked = (sid: string) => provider.fetchReport?.(sid, AbortSignal.timeout(10_000));
    await call({}, provider);
    await simulator.settled();
    const providerMessageId = simulator.messages[0]?.id ?? '';
    const cost = { micros: 53_000, currency: 'USD' };
    expect(await asked(providerMessageId)).toEqual({ providerMessageId, state: 'delivered', cost });
    simulator.behave(
      answer(200, { sid: CALL_SID, status: 'no-answer', duration: '0', price: null }),
      answer(200, { sid: CALL_SID, status: 'completed', duration: '0', price: null }),
      answer(200, {}),
    );
    const lost = { providerMessageId: CALL_SID, state: 'undelivered', reason: 'unavailable' };
    expect(await asked(CALL_SID)).toEqual({ ...lost, code: 'no-answer' });
    expect(await asked(CALL_SID)).toEqual({ ...lost, code: 'completed' });
    expect(await asked(CALL_SID)).toBeUndefined();
    expect(await asked(CALL_SID)).toBeUndefined();
  });

  it('names its own variables when something else answers', async () => {
    simulator.behave('html');
    const outcome = await (await open()).probe?.(AbortSignal.timeout(10_000));
    expect(outcome).toMatchObject({ kind: 'failed', fix: expect.stringContaining('TWILIO_VOICE_BASE_URL') });
  });

  it.each([
    ['TWILIO_VOICE_FROM', { from: 'Acme' }],
    ['TWILIO_VOICE_FROM', { from: '15005550006' }],
    ['TWILIO_ACCOUNT_SID', { accountSid: 'AC1' }],
    ['TWILIO_VOICE_BASE_URL', { baseUrl: 'api.twilio.com' }],
  ])('has one fault, which names %s', (name, over) => {
    const settings = { ...settingsAt('http://127.0.0.1:1'), ...over };
    expect(twilioVoice.faults?.(settings, 'providers.twilio-voice')).toEqual([expect.stringContaining(name)]);
  });

  it('is opened by TWILIO_VOICE_FROM alone, with or without SMS through Twilio', () => {
    const { TWILIO_VOICE_FROM = '', ...account } = twilioVoiceSimulator.environment('http://127.0.0.1:1');
    const { TWILIO_PHONE_NUMBER = '' } = twilioSimulator.environment('http://127.0.0.1:1');
    const definitions = [twilio, twilioVoice] as unknown as ProviderDefinition<TObject>[];
    const opened = (own: Readonly<Record<string, string>>) =>
      resolveConfig({}, { ...account, ...own }, definitions, '/').providers.map(({ id }) => id);
    expect(opened({ TWILIO_PHONE_NUMBER })).toEqual(['twilio']);
    expect(opened({ TWILIO_PHONE_NUMBER, TWILIO_VOICE_FROM: ' ' })).toEqual(['twilio']);
    expect(opened({ TWILIO_PHONE_NUMBER, TWILIO_VOICE_FROM })).toEqual(['twilio', 'twilio-voice']);
    expect(opened({ TWILIO_VOICE_FROM })).toEqual(['twilio-voice']);
    expect(opened({ TWILIO_PHONE_NUMBER, TWILIO_VOICE_FROM, TWILIO_VOICE_ENABLED: 'false' })).toEqual(['twilio']);
  });
});
