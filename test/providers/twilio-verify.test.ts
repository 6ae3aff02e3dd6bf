import sdk from 'twilio';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PhoneNumber } from '../../src/domain/phone-number.ts';
import type { FailureReason, ManagedProvider, ManagedStart } from '../../src/domain/provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { twilioVerify } from '../../src/providers/twilio-verify.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { twilioError } from '../../src/simulators/twilio.ts';
import { startTwilioVerify, twilioVerifyRules, twilioVerifySimulator } from '../../src/simulators/twilio-verify.ts';
import { describeManagedProvider, managedBenchOf, managedStart, wrongCodeFor } from '../provider-kit/managed-suite.ts';

const ACCOUNT_SID = `AC${'0'.repeat(32)}`;
const SERVICE_SID = `VA${'0'.repeat(32)}`;
const TOKEN = 'test-auth-token';
const TO = '+998901234567';
const VERIFICATIONS = `/v2/Services/${SERVICE_SID}/Verifications`;

const settingsAt = (baseUrl: string) => ({
  accountSid: ACCOUNT_SID,
  authToken: TOKEN,
  serviceSid: SERVICE_SID,
  baseUrl,
});

describeManagedProvider('twilio-verify', {
  definition: twilioVerify,
  open: async () => {
    let offset = 0;
    const simulator = await startTwilioVerify({ now: () => Date.now() + offset });
    return managedBenchOf(simulator, (ms) => {
      offset += ms;
    });
  },
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), authToken: 'wrong-auth-token' }),
  secrets: [Buffer.from(`${ACCOUNT_SID}:${TOKEN}`).toString('base64')],
  cannot: { 'refuse-inside-2xx': 'a 201 is a code on its way' },
  ...twilioVerifyRules,
  hasProbe: true,
  reports: 'none',
});

describe('twilio-verify', () => {
  let simulator: Simulator;
  let http: HttpClient;
  let provider: ManagedProvider;
  let time: number;

  beforeEach(async () => {
    time = Date.UTC(2026, 10, 20, 10);
    simulator = await startTwilioVerify({ now: () => time });
    http = createHttpClient(Date.now);
    provider = await twilioVerify.create(settingsAt(simulator.url), { now: Date.now, http });
  });
  afterEach(async () => {
    await provider.close?.();
    http.close();
    await simulator.close();
  });

  const signal = () => AbortSignal.timeout(5000);
  const start = (over: Partial<ManagedStart> = {}) => provider.start(managedStart(over), signal());
  const started = async (over: Partial<ManagedStart> = {}) => {
    const outcome = await start(over);
    expect(outcome).toMatchObject({ kind: 'accepted' });
    return { id: outcome.kind === 'accepted' ? outcome.providerMessageId : '', code: lastCode() };
  };
  const lastCode = () => /\d{6}$/.exec(simulator.messages.at(-1)?.text ?? '')?.[0] ?? '';
  const check = (id: string, code: string) =>
    provider.check({ providerMessageId: id, to: TO as PhoneNumber, code }, signal());
  const calls = () => simulator.requests.map(({ method, path }) => `${method} ${path}`);
  const answer = (status: number, body: unknown) => simulator.behave({ kind: 'answer', answer: { status, body } });
  const refuse = (status: number, code: number, message = 'Refused') =>
    simulator.behave({ kind: 'answer', answer: twilioError(status, code, { message }) });

  describe('a start', () => {
    it('sends what Twilio wants, and nothing else', async () => {
      await start();
      expect(simulator.requests).toHaveLength(1);
      const { method, path, form, headers } = simulator.requests[0] ?? {};
      expect({ method, path, form }).toEqual({
        method: 'POST',
        path: VERIFICATIONS,
        form: { To: TO, Channel: 'sms', Locale: 'en' },
      });
      expect(headers?.['user-agent']).toMatch(/^twilio-node\//);
    });

    it.each([
      ['sms', { Channel: 'sms', To: TO }],
      ['voice', { Channel: 'call', To: TO }],
      ['whatsapp', { Channel: 'whatsapp', To: TO }],
      ['email', { Channel: 'email', To: 'someone@example.com' }],
    ] as const)('goes by %s', async (channel, form) => {
      const outcome = await start({ channel, email: 'someone@example.com' });
      expect(outcome).toMatchObject({ kind: 'accepted', providerMessageId: expect.stringMatching(/^VE[0-9a-f]{32}$/) });
      expect(simulator.requests[0]?.form).toMatchObject(form);
    });

    it('logs in with an API key where there is one', async () => {
      const keyed = await twilioVerify.create(
        { ...settingsAt(simulator.url), apiKey: `SK${'0'.repeat(32)}`, apiSecret: 'test-api-secret' },
        { now: Date.now, http },
      );
      expect(await keyed.start(managedStart(), signal())).toMatchObject({ kind: 'accepted' });
      const login = Buffer.from(`SK${'0'.repeat(32)}:test-api-secret`).toString('base64');
      expect(simulator.requests[0]?.headers.authorization).toBe(`Basic ${login}`);
      await keyed.close?.();
    });

    it('repeats the code of the same verification', async () => {
      const first = await started();
      expect(await started({ previousId: first.id })).toEqual(first);
      expect(await started({ previousId: first.id, channel: 'voice' })).toEqual(first);
      expect(calls()).toEqual(Array.from({ length: 3 }, () => `POST ${VERIFICATIONS}`));
    });

    it('says throttled after the fifth send', async () => {
      const { id: previousId } = await started();
      for (let send = 2; send <= 5; send += 1) await started({ previousId });
      expect(await start({ previousId })).toMatchObject({ reason: 'throttled', code: '60203' });
    });

    it.each<[number, number, FailureReason]>([
      [401, 20003, 'account'],
      [403, 20005, 'account'],
      [403, 20008, 'account'],
      [429, 20429, 'throttled'],
      [500, 20500, 'uncertain'],
      [503, 20503, 'unavailable'],
      [400, 60006, 'recipient'],
      [400, 60201, 'content'],
      [429, 60202, 'throttled'],
      [429, 60203, 'throttled'],
      [400, 60204, 'account'],
      [403, 60205, 'coverage'],
      [400, 60206, 'account'],
      [429, 60212, 'throttled'],
      [400, 60214, 'coverage'],
      [400, 60217, 'content'],
      [400, 60218, 'content'],
      [400, 60219, 'content'],
      [400, 60220, 'coverage'],
      [400, 60222, 'content'],
      [403, 60223, 'coverage'],
      [400, 60228, 'content'],
      [400, 60229, 'content'],
      [403, 60238, 'blocked'],
      [400, 60401, 'uncertain'],
      [403, 60410, 'blocked'],
      [400, 60441, 'uncertain'],
      [403, 60605, 'blocked'],
      [400, 68008, 'content'],
      [400, 21211, 'recipient'],
      [400, 21408, 'blocked'],
      [400, 21608, 'blocked'],
      [400, 21614, 'coverage'],
      [429, 69999, 'throttled'],
      [400, 69999, 'content'],
    ])('reads %i %i as %s', async (status, code, reason) => {
      refuse(status, code);
      // Not the first one, as that would first ask what is in the way.
      expect(await start({ previousId: `VE${'1'.repeat(32)}` })).toEqual({
        kind: 'failed',
        reason,
        code: String(code),
      });
    });

    it.each<[string, FailureReason]>([
      ['Invalid parameter `To`: +998901234567', 'recipient'],
      ['Invalid parameter: To', 'recipient'],
      ['Invalid parameter `Channel`: whatsapp', 'coverage'],
      ['Invalid parameter `Locale`: To', 'content'],
      ['Something else', 'content'],
    ])('reads 60200 by what it names: %s', async (message, reason) => {
      refuse(400, 60200, message);
      expect(await start()).toEqual({ kind: 'failed', reason, code: '60200' });
    });

    it('never goes round a STOP', async () => {
      refuse(400, 21610);
      expect(await start()).toEqual({ kind: 'failed', reason: 'blocked', code: '21610', optOut: true });
    });

    it('passes on how long to wait', async () => {
      simulator.behave('throttle');
      expect(await start()).toMatchObject({ reason: 'throttled', retryAfterMs: 2000 });
    });

    it('takes no 201 for a code on its way that says it is none', async () => {
      answer(201, { sid: `VE${'1'.repeat(32)}`, status: 'failed', send_code_attempts: [{}] });
      expect(await start()).toEqual({ kind: 'failed', reason: 'unavailable', code: 'failed' });
      answer(201, { sid: 'VE1', status: 'pending', send_code_attempts: [{}] });
      expect(await start()).toMatchObject({ reason: 'uncertain' });
    });
  });

  describe('a language', () => {
    it.each([
      ['ru', TO, 'ru'],
      ['ru-KZ', TO, 'ru'],
      ['en-GB', TO, 'en-GB'],
      ['en-US', TO, 'en'],
      ['pt-br', TO, 'pt-BR'],
      ['zh-Hant-HK', TO, 'zh'],
      ['no', TO, 'nb'],
      ['nn-NO', TO, 'nb'],
      ['fil', TO, 'tl'],
      ['uz', TO, 'ru'],
      ['uz-Cyrl', TO, 'ru'],
      ['kk', '+77011234567', 'ru'],
      ['ky', '+996555123456', 'ru'],
      ['tg', '+992917123456', 'ru'],
      ['uz', '+905301234567', undefined],
      ['ka', '+995555123456', undefined],
    ])('%s for %s is %s at Twilio', async (locale, to, expected) => {
      await started({ locale, to: to as PhoneNumber });
      expect(simulator.requests).toHaveLength(1);
      expect(simulator.requests[0]?.form['Locale']).toBe(expected);
    });

    it('is left out of an e-mail, which has none', async () => {
      await started({ channel: 'email', email: 'someone@example.com', locale: 'ru' });
      expect(simulator.requests[0]?.form).not.toHaveProperty('Locale');
    });

    it.each([
      [404, 20404],
      [400, 60331],
    ])('that Twilio does not have after all (%i %i) is left to Twilio', async (status, code) => {
      refuse(status, code);
      await started();
      expect(simulator.requests.map(({ form }) => form['Locale'])).toEqual(['en', undefined]);
    });

    it('is not blamed for a service that is not there', async () => {
      refuse(404, 20404);
      refuse(404, 20404);
      expect(await start()).toEqual({ kind: 'failed', reason: 'account', code: '20404' });
      expect(simulator.requests).toHaveLength(2);
    });

    it('leaves no time for a second request when the signal has ended', async () => {
      const attempt = new AbortController();
      refuse(404, 20404);
      simulator.behave('stall');
      const outcome = provider.start(managedStart(), attempt.signal);
      await simulator.received(2);
      attempt.abort();
      expect(await outcome).toEqual({ kind: 'failed', reason: 'uncertain', code: 'aborted' });
    });
  });

  describe('a first start that meets an older verification of the number', () => {
    it('cancels it, and has a code of its own', async () => {
      const older = await started();
      const own = await started();
      expect(own.id).not.toBe(older.id);
      expect(own.code).not.toBe(older.code);
      expect(calls().slice(1)).toEqual([
        `POST ${VERIFICATIONS}`,
        `POST ${VERIFICATIONS}/${older.id}`,
        `POST ${VERIFICATIONS}`,
      ]);
      expect(simulator.requests[2]?.form).toEqual({ Status: 'canceled' });
      expect(await check(older.id, older.code)).toEqual({ kind: 'gone' });
      expect(await check(own.id, older.code)).toEqual({ kind: 'wrong' });
      expect(await check(own.id, own.code)).toEqual({ kind: 'approved' });
    });

    it('cancels nothing when that one is over', async () => {
      const older = await started();
      time += twilioVerifyRules.codeLifeMs;
      expect((await started()).id).not.toBe(older.id);
      await check(older.id, lastCode());
      expect(calls().filter((call) => call === `POST ${VERIFICATIONS}`)).toHaveLength(2);
      expect(calls()).toHaveLength(3);
    });

    it('cancels by the number when all its sends are used up', async () => {
      const older = await started();
      for (let send = 2; send <= 5; send += 1) await started({ previousId: older.id });
      expect((await started()).id).not.toBe(older.id);
      expect(calls().slice(-3)).toEqual([
        `POST ${VERIFICATIONS}`,
        `POST ${VERIFICATIONS}/${TO}`,
        `POST ${VERIFICATIONS}`,
      ]);
    });

    it('says throttled when all its checks are used up, as Twilio then waits for its end', async () => {
      const older = await started();
      for (let guess = 1; guess <= 5; guess += 1) await check(older.id, wrongCodeFor(older.code, guess));
      expect(await start()).toEqual({ kind: 'failed', reason: 'throttled', code: '60202' });
      time += twilioVerifyRules.codeLifeMs;
      expect((await started()).id).not.toBe(older.id);
    });

    it('gives a resend no code of a verification that was started since', async () => {
      const own = await started();
      const other = await started();
      const resent = await started({ previousId: own.id });
      expect(resent.id).not.toBe(other.id);
      expect(await check(resent.id, other.code)).not.toEqual({ kind: 'approved' });
    });

    it('goes on when another start has canceled it meanwhile', async () => {
      const { id: previousId } = await started();
      const older = await provider.start(managedStart({ previousId }), signal());
      answer(201, { sid: older.kind === 'accepted' ? older.providerMessageId : '', send_code_attempts: [{}, {}] });
      refuse(404, 20404);
      const own = await started();
      expect(own.id).not.toBe(older.kind === 'accepted' ? older.providerMessageId : '');
    });

    it('gives up when others come in between again and again', async () => {
      const older = { sid: `VE${'1'.repeat(32)}`, send_code_attempts: [{}, {}] };
      for (let round = 1; round <= 3; round += 1) {
        answer(201, older);
        answer(200, { ...older, status: 'canceled' });
      }
      expect(await start()).toEqual({ kind: 'failed', reason: 'unavailable', code: 'older-verification' });
      expect(simulator.requests).toHaveLength(6);
    });

    it('hands out no code that it could not cancel', async () => {
      await started();
      const older = { sid: `VE${'1'.repeat(32)}`, send_code_attempts: [{}, {}] };
      answer(201, older);
      refuse(401, 20003);
      expect(await start()).toMatchObject({ kind: 'failed', reason: 'account' });
      answer(201, older);
      simulator.behave('drop-after-reading');
      expect(await start()).toMatchObject({ kind: 'failed', reason: 'unavailable' });
    });

    it('lets one of several starts at once win, and none share a code', async () => {
      const outcomes = await Promise.all(Array.from({ length: 4 }, () => start()));
      const ids = outcomes.flatMap((outcome) => (outcome.kind === 'accepted' ? [outcome.providerMessageId] : []));
      expect(new Set(ids).size).toBe(ids.length);
      const codes = simulator.messages.map(({ text }) => text.slice(-6));
      const approved: string[] = [];
      for (const id of ids)
        for (const code of new Set(codes)) if ((await check(id, code)).kind === 'approved') approved.push(id);
      expect(approved.length).toBeLessThanOrEqual(1);
    });
  });

  describe('a check', () => {
    it('asks with the id of the verification, not with the number', async () => {
      const { id, code } = await started();
      await check(id, code);
      expect(simulator.requests[1]).toMatchObject({ path: `/v2/Services/${SERVICE_SID}/VerificationCheck` });
      expect(simulator.requests[1]?.form).toEqual({ VerificationSid: id, Code: code });
    });

    const body = (over: object) => ({ sid: `VE${'1'.repeat(32)}`, status: 'approved', valid: true, ...over });
    const checked = async (status: number, json: unknown) => {
      answer(status, json);
      return check(`VE${'1'.repeat(32)}`, '123456');
    };

    it('approves only what is approved, valid, and what was asked about', async () => {
      expect(await checked(200, body({}))).toEqual({ kind: 'approved' });
      expect(await checked(201, body({}))).toEqual({ kind: 'approved' });
      const unreadable = { kind: 'failed', reason: 'uncertain', code: 'unreadable' };
      expect(await checked(200, body({ sid: `VE${'2'.repeat(32)}` }))).toEqual(unreadable);
      expect(await checked(200, body({ sid: undefined }))).toEqual(unreadable);
      expect(await checked(200, body({ valid: false }))).toEqual(unreadable);
      expect(await checked(200, body({ valid: 'true' }))).toEqual(unreadable);
      expect(await checked(200, body({ status: true }))).toEqual(unreadable);
      expect(await checked(302, body({}))).toMatchObject({ kind: 'failed' });
      expect(await checked(404, body({}))).toMatchObject({ kind: 'failed' });
    });

    it.each([
      ['pending', 'wrong'],
      ['canceled', 'gone'],
      ['expired', 'gone'],
      ['max_attempts_reached', 'gone'],
      ['deleted', 'gone'],
      ['failed', 'gone'],
    ])('reads the state %s as %s', async (status, kind) => {
      expect(await checked(200, body({ status, valid: false }))).toEqual({ kind });
    });

    it.each([
      [404, 20404, 'Not found', 'gone'],
      [429, 60202, 'Max check attempts reached', 'gone'],
      [400, 60200, 'Invalid parameter `Code`: 1', 'wrong'],
    ])('reads %i %i %s as %s', async (status, code, message, kind) => {
      refuse(status, code, message);
      expect(await check(`VE${'1'.repeat(32)}`, '123456')).toEqual({ kind });
    });

    it.each<[number, number, string, FailureReason]>([
      [400, 60200, 'Invalid parameter `VerificationSid`: 1', 'content'],
      [401, 20003, 'Authenticate', 'account'],
      [429, 20429, 'Too many requests', 'throttled'],
      [429, 60212, 'Too many concurrent requests', 'throttled'],
      [503, 20503, 'Unavailable', 'unavailable'],
    ])('fails on %i %i %s: %s', async (status, code, message, reason) => {
      refuse(status, code, message);
      expect(await check(`VE${'1'.repeat(32)}`, '123456')).toEqual({ kind: 'failed', reason, code: String(code) });
    });
  });

  describe('asked what became of a code', () => {
    const asked = (id: string) => provider.fetchReport?.(id, signal());

    it('says delivered once it was', async () => {
      const { id } = await started();
      await simulator.settled();
      expect(await asked(id)).toEqual({ providerMessageId: id, state: 'delivered' });
      const { method, path, query } = simulator.requests.at(-1) ?? {};
      expect({ method, path, of: query?.get('VerificationSid') }).toEqual({
        method: 'GET',
        path: '/v2/Attempts',
        of: id,
      });
    });

    it.each([
      ['queued', 'queued'],
      ['sent', 'sent'],
      ['DELIVERED', 'delivered'],
      ['read', 'delivered'],
      ['teleported', 'unknown'],
    ])('reads %s as %s', async (status, state) => {
      simulator.deliver({ status });
      const { id } = await started();
      await simulator.settled();
      expect(await asked(id)).toEqual({ providerMessageId: id, state });
    });

    it('says why it did not arrive', async () => {
      simulator.deliver({ status: 'undelivered', errorCode: 30005 });
      const { id } = await started();
      await simulator.settled();
      expect(await asked(id)).toEqual({
        providerMessageId: id,
        state: 'undelivered',
        reason: 'recipient',
        code: '30005',
      });
      simulator.deliver({ status: 'failed' });
      const other = await started({ to: '+998901234568' as PhoneNumber });
      await simulator.settled();
      expect(await asked(other.id)).toEqual({ providerMessageId: other.id, state: 'failed', reason: 'unavailable' });
      simulator.deliver({ status: 'FAILED', errorCode: '21610' });
      const third = await started({ to: '+998901234569' as PhoneNumber });
      await simulator.settled();
      expect(await asked(third.id)).toMatchObject({ state: 'failed', reason: 'blocked', optOut: true });
    });

    it('looks at the last send', async () => {
      simulator.deliver({ status: 'undelivered', errorCode: 30003 });
      const { id } = await started();
      time += 30_000;
      await started({ previousId: id });
      await simulator.settled();
      expect(await asked(id)).toEqual({ providerMessageId: id, state: 'delivered' });
    });

    it('says nothing where there is nothing to read', async () => {
      expect(await asked(`VE${'1'.repeat(32)}`)).toBeUndefined();
      const { id } = await started();
      for (const attempts of [
        undefined,
        {},
        [null],
        [{ verification_sid: id }],
        [{ verification_sid: 'VE1', channel_data: { message_status: 'sent' } }],
      ]) {
        answer(200, { attempts, meta: { key: 'attempts' } });
        expect(await asked(id)).toBeUndefined();
      }
      simulator.behave('server-error', 'throttle', 'drop-after-reading');
      for (let question = 1; question <= 3; question += 1) expect(await asked(id)).toBeUndefined();
    });
  });

  describe('probe', () => {
    const probe = () => provider.probe?.(signal());

    it('fetches the service, and says how long its codes are', async () => {
      expect(await probe()).toEqual({ kind: 'ready', detail: 'codes of 6 digits' });
      expect(calls()).toEqual([`GET /v2/Services/${SERVICE_SID}`]);
    });

    it('says which variable names no service', async () => {
      refuse(404, 20404);
      const fix = expect.stringContaining('TWILIO_VERIFY_SERVICE_SID');
      expect(await probe()).toMatchObject({ kind: 'failed', reason: 'account', code: '20404', fix });
    });

    it('says which variable points at something else', async () => {
      simulator.behave('html');
      const fix = expect.stringContaining('TWILIO_VERIFY_BASE_URL');
      expect(await probe()).toMatchObject({ kind: 'failed', fix });
    });

    it('refuses a service for payments, which would refuse every code', async () => {
      answer(200, { sid: SERVICE_SID, psd2_enabled: true });
      expect(await probe()).toMatchObject({ kind: 'failed', reason: 'account', code: 'psd2' });
    });
  });

  describe('settings', () => {
    const faults = (over: object) => twilioVerify.faults?.({ ...settingsAt(simulator.url), ...over });

    it('name the variable of each that cannot be right', () => {
      expect(faults({ serviceSid: ` ${SERVICE_SID}\n` })).toEqual([]);
      for (const serviceSid of ['', 'MG0', SERVICE_SID.replace('VA', 'VS')])
        expect(faults({ serviceSid })).toEqual([expect.stringContaining('TWILIO_VERIFY_SERVICE_SID')]);
      expect(faults({ accountSid: 'AC1' })).toEqual([expect.stringContaining('TWILIO_ACCOUNT_SID')]);
      expect(faults({ authToken: '' })).toEqual([expect.stringContaining('TWILIO_AUTH_TOKEN')]);
      expect(faults({ baseUrl: 'verify.twilio.com' })).toEqual([expect.stringContaining('TWILIO_VERIFY_BASE_URL')]);
    });

    it('are opened by the service alone, as the account is that of Twilio Messaging too', () => {
      expect(twilioVerify.enabledBy).toBe('TWILIO_VERIFY_SERVICE_SID');
      expect(twilioVerifySimulator.environment('http://127.0.0.1:1')).toHaveProperty('TWILIO_VERIFY_SERVICE_SID');
    });

    it('may have spaces around them', async () => {
      const spaced = await twilioVerify.create(
        { ...settingsAt(simulator.url), serviceSid: `${SERVICE_SID} `, authToken: ` ${TOKEN}` },
        { now: Date.now, http },
      );
      expect(await spaced.start(managedStart(), signal())).toMatchObject({ kind: 'accepted' });
      await spaced.close?.();
    });
  });
});

describe('the Verify simulator, driven by the official SDK', () => {
  let simulator: Simulator;
  let time: number;

  beforeEach(async () => {
    time = Date.UTC(2026, 10, 20, 10);
    simulator = await startTwilioVerify({ now: () => time });
  });
  afterEach(() => simulator.close());

  function service() {
    const client = sdk(ACCOUNT_SID, TOKEN);
    client.verify.baseUrl = simulator.url;
    return { client, verifications: client.verify.v2.services(SERVICE_SID) };
  }
  const create = (to = TO) => service().verifications.verifications.create({ to, channel: 'sms' });
  const lastCode = () => simulator.messages.at(-1)?.text.slice(-6) ?? '';
  const check = (code: string, to = TO) => service().verifications.verificationChecks.create({ to, code });
  const code = (value: number) => expect.objectContaining({ code: value });

  it('shows the text, and never answers with the code', async () => {
    const verification = await create();
    expect(simulator.messages[0]).toMatchObject({ to: TO, text: expect.stringMatching(/: \d{6}$/) });
    expect(JSON.stringify(verification)).not.toContain(lastCode());
    expect(verification).toMatchObject({ status: 'pending', valid: false, channel: 'sms', to: TO });
  });

  it('answers with exactly the keys that Twilio has', async () => {
    const { verifications, client } = service();
    await create();
    const raw = async (path: string, init?: RequestInit) => {
      const authorization = `Basic ${Buffer.from(`${ACCOUNT_SID}:${TOKEN}`).toString('base64')}`;
      const reply = await fetch(`${simulator.url}/v2/${path}`, { ...init, headers: { authorization } });
      return (await reply.json()) as Record<string, unknown>;
    };
    const keys = async (path: string, form?: Record<string, string>) =>
      Object.keys(await raw(path, form && { method: 'POST', body: new URLSearchParams(form) })).join(' ');
    const own = `Services/${SERVICE_SID}`;
    const verification =
      'sid service_sid account_sid to channel status valid lookup amount payee send_code_attempts sna date_created date_updated url';
    expect(await keys(`${own}/Verifications`, { To: TO, Channel: 'call' })).toBe(verification);
    expect(await keys(`${own}/Verifications/${TO}`)).toBe(verification);
    expect(await keys(`${own}/VerificationCheck`, { To: TO, Code: '0000' })).toBe(
      'sid service_sid account_sid to channel status valid amount payee sna_attempts_error_codes date_created date_updated',
    );
    expect(await keys(`${own}/VerificationCheck`, { To: TO })).toBe('code message more_info status');
    expect(await keys('Attempts?PageSize=5')).toBe('attempts meta');
    expect((await verifications.fetch()).codeLength).toBe(6);
    expect(await client.verify.v2.verificationAttempts.list({ limit: 5 })).toHaveLength(2);
  });

  it('repeats the code while it is pending, whatever the channel, and takes five sends', async () => {
    const { sid } = await create();
    const first = lastCode();
    const { verifications } = service();
    for (const channel of ['call', 'whatsapp', 'sms', 'sms']) {
      const again = await verifications.verifications.create({ to: TO, channel });
      expect(again.sid).toBe(sid);
      expect(lastCode()).toBe(first);
    }
    const { sendCodeAttempts } = await verifications.verifications(TO).fetch();
    expect(sendCodeAttempts.map(({ channel }: { channel: string }) => channel)).toEqual([
      'SMS',
      'CALL',
      'whatsapp',
      'SMS',
      'SMS',
    ]);
    await expect(create()).rejects.toMatchObject({ status: 429, code: 60203 });
    expect(simulator.messages).toHaveLength(5);
  });

  it('approves once, and then knows nothing of it', async () => {
    const { sid } = await create();
    expect(await check(wrongCodeFor(lastCode()))).toMatchObject({ status: 'pending', valid: false });
    expect(await check(lastCode())).toMatchObject({ sid, status: 'approved', valid: true });
    await expect(check(lastCode())).rejects.toMatchObject({ status: 404, code: 20404 });
    await expect(service().verifications.verifications(sid).fetch()).rejects.toEqual(code(20404));
    expect((await create()).sid).not.toBe(sid);
  });

  it('takes five checks, then neither the right code nor a new start until the end', async () => {
    const { sid } = await create();
    const right = lastCode();
    for (let guess = 1; guess <= 5; guess += 1)
      expect(await check(wrongCodeFor(right, guess))).toMatchObject({ status: 'pending' });
    await expect(check(right)).rejects.toMatchObject({ status: 429, code: 60202 });
    await expect(create()).rejects.toEqual(code(60202));
    time += twilioVerifyRules.codeLifeMs;
    expect((await create()).sid).not.toBe(sid);
  });

  it('ends at ten minutes sharp, counted from the first send', async () => {
    await create();
    time += twilioVerifyRules.codeLifeMs - 1;
    const { sid } = await create();
    expect(await service().verifications.verifications(sid).fetch()).toMatchObject({ status: 'pending' });
    time += 1;
    await expect(check(lastCode())).rejects.toEqual(code(20404));
    await expect(service().verifications.verifications(sid).fetch()).rejects.toEqual(code(20404));
  });

  it('cancels a pending one, by its SID or the number, and no other', async () => {
    const { sid } = await create();
    const { verifications } = service();
    const canceled = await verifications.verifications(TO).update({ status: 'canceled' });
    expect(canceled).toMatchObject({ sid, status: 'canceled', valid: false });
    await expect(check(lastCode())).rejects.toEqual(code(20404));
    await expect(verifications.verifications(sid).update({ status: 'canceled' })).rejects.toEqual(code(20404));
    expect(await verifications.verifications(sid).fetch()).toMatchObject({ status: 'canceled' });
    const next = await create();
    expect(next.sid).not.toBe(sid);
    const approved = await verifications.verifications(next.sid).update({ status: 'approved' });
    expect(approved).toMatchObject({ status: 'approved', valid: true });
  });

  it('refuses as Twilio does', async () => {
    const { client, verifications } = service();
    await expect(create('12345')).rejects.toMatchObject({
      status: 400,
      code: 60200,
      message: expect.stringContaining('To'),
    });
    await expect(verifications.verifications.create({ to: TO, channel: 'pigeon' })).rejects.toEqual(code(60200));
    await expect(verifications.verifications.create({ to: TO, channel: 'sms', locale: 'uz' })).rejects.toMatchObject({
      status: 404,
      code: 20404,
    });
    await expect(verifications.verificationChecks.create({ code: '123456' })).rejects.toEqual(code(60200));
    await expect(client.verify.v2.services(`VA${'1'.repeat(32)}`).fetch()).rejects.toEqual(code(20404));
    const stranger = sdk(ACCOUNT_SID, 'wrong-auth-token');
    stranger.verify.baseUrl = simulator.url;
    await expect(stranger.verify.v2.services(SERVICE_SID).fetch()).rejects.toMatchObject({ status: 401, code: 20003 });
    expect(simulator.messages).toEqual([]);
  });
});
