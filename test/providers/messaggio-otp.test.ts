import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Channel, FailureReason, ManagedProvider } from '../../src/domain/provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { messaggioOtp } from '../../src/providers/messaggio-otp.ts';
import { messaggioOtpRules, messaggioOtpSimulator, startMessaggioOtp } from '../../src/simulators/messaggio-otp.ts';
import type { Answer, Simulator } from '../../src/simulators/simulator-kit.ts';
import { describeManagedProvider, managedBenchOf, managedStart } from '../provider-kit/managed-suite.ts';

const KEY = 'test-messaggio-otp-key';
const settingsAt = (baseUrl: string) => ({ key: KEY, baseUrl });

describeManagedProvider('messaggio-otp', {
  definition: messaggioOtp,
  open: async () => {
    let offset = 0;
    const simulator = await startMessaggioOtp({ now: () => Date.now() + offset });
    return managedBenchOf(simulator, (ms) => {
      offset += ms;
    });
  },
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), key: 'wrong-messaggio-otp-key' }),
  secrets: [`Bearer ${KEY}`],
  cannot: { 'refuse-inside-2xx': 'nobody has seen it here; below it is read all the same' },
  ...messaggioOtpRules,
  hasProbe: true,
  reports: 'none',
});

describe('messaggio-otp', () => {
  let simulator: Simulator;
  let http: HttpClient;
  let provider: ManagedProvider;

  beforeEach(async () => {
    simulator = await messaggioOtpSimulator.start();
    http = createHttpClient(Date.now);
    provider = await messaggioOtp.create(settingsAt(simulator.url), { now: Date.now, http });
  });
  afterEach(async () => {
    http.close();
    await simulator.close();
  });

  const signal = () => AbortSignal.timeout(5000);
  const start = (channel: Channel = 'sms') => provider.start(managedStart({ channel }), signal());
  /** The next request is answered so. */
  const answer = (status: number, body: unknown): void => {
    const reply: Answer = { status, body };
    simulator.behave({ kind: 'answer', answer: reply });
  };

  it('asks for a code with the number as digits and the channel, and brings none of its own', async () => {
    await start();
    const { path, method, headers, json } = simulator.requests[0] ?? {};
    expect({ path, method, json }).toEqual({
      path: '/api/v1/code',
      method: 'POST',
      json: { to: '998901234567', channel: 'sms' },
    });
    expect(headers).toMatchObject({ authorization: `Bearer ${KEY}`, 'content-type': 'application/json' });
  });

  it.each(['telegram', 'whatsapp'] as const)('sends through %s', async (channel) => {
    await start(channel);
    expect(simulator.requests[0]?.json).toMatchObject({ channel });
  });

  it('asks about a code with the id that the start gave', async () => {
    const outcome = await start();
    const id = outcome.kind === 'accepted' ? outcome.providerMessageId : '';
    await provider.check({ providerMessageId: id, to: managedStart().to, code: '1234' }, signal());
    expect(simulator.requests[1]).toMatchObject({ path: '/api/v1/code/verify', json: { auth_id: id, code: '1234' } });
  });

  it.each<[number, string, FailureReason, string]>([
    [400, 'Invalid phone number', 'recipient', 'number'],
    [422, 'Recipient is not valid', 'recipient', 'number'],
    [400, 'Sender is not activated', 'content', 'sender'],
    [400, 'Template not found for this channel', 'content', 'sender'],
    [400, 'Not enough balance', 'account', 'balance'],
    [402, 'Payment Required', 'account', 'balance'],
    [400, 'The recipient is in the blacklist', 'blocked', 'blocked'],
    [422, 'Country is not served', 'coverage', 'coverage'],
    [400, 'Something else', 'content', '400'],
    [400, 'Failed to send the code to this phone', 'content', '400'],
    [400, 'Too many requests for this number', 'throttled', 'throttled'],
    [403, 'Project is off, number or not', 'account', '403'],
    [404, 'Nothing', 'account', '404'],
    [503, 'Later', 'unavailable', '503'],
    [502, 'Bad gateway', 'uncertain', '502'],
    [200, 'Invalid phone number', 'recipient', 'number'],
    [202, 'Something else', 'content', 'refused'],
  ])('reads the refusal %i %s as %s', async (status, detail, reason, code) => {
    answer(status, { title: 'Error', detail });
    expect(await start()).toEqual({ kind: 'failed', reason, code });
  });

  it('reads a refusal that stands one level down, as the messaging API has it', async () => {
    answer(200, { error: { title: 'Error', detail: 'Invalid phone number' } });
    expect(await start()).toMatchObject({ reason: 'recipient' });
  });

  it('does not take a friendly word without an id for a refusal', async () => {
    answer(202, { message: 'Code sent to the number' });
    expect(await start()).toMatchObject({ reason: 'uncertain' });
  });

  it('never goes round somebody who unsubscribed', async () => {
    answer(400, { title: 'Error', detail: 'The recipient has opted out' });
    expect(await start()).toEqual({ kind: 'failed', reason: 'blocked', code: 'opt-out', optOut: true });
  });

  it('passes on how long to wait', async () => {
    simulator.behave('throttle');
    expect(await start()).toEqual({ kind: 'failed', reason: 'throttled', code: '429', retryAfterMs: 2000 });
  });

  describe('a check', () => {
    const answered = async (status: number, body: unknown) => {
      const outcome = await start();
      const id = outcome.kind === 'accepted' ? outcome.providerMessageId : '';
      answer(status, body);
      return provider.check({ providerMessageId: id, to: managedStart().to, code: '123456' }, signal());
    };

    it.each([
      ['CODE_VERIFIED', 'approved'],
      ['CODE_INVALID', 'wrong'],
      ['WRONG_CODE', 'wrong'],
      ['CODE_NOT_VERIFIED', 'wrong'],
      ['CODE_REFUSED', 'wrong'],
      ['VERIFIED', 'wrong'],
      ['code_verified', 'wrong'],
      ['CODE_EXPIRED', 'gone'],
      ['CODE_NOT_FOUND', 'gone'],
      ['CODE_ALREADY_VERIFIED', 'gone'],
      ['CODE_USED', 'gone'],
      ['ATTEMPTS_EXCEEDED', 'gone'],
    ])('reads the status %s as %s', async (status, kind) => {
      expect(await answered(200, { status })).toEqual({ kind });
    });

    it.each([
      [400, 'Invalid code', 'wrong'],
      [422, 'The code does not match', 'wrong'],
      [400, 'The code has expired', 'gone'],
      [409, 'The code is already used', 'gone'],
      [404, 'auth_id not found', 'gone'],
      [410, '', 'gone'],
    ])('reads the refusal %i %s as %s', async (status, detail, kind) => {
      expect(await answered(status, { title: '', detail })).toEqual({ kind });
    });

    it.each<[number, unknown, FailureReason]>([
      [200, { verified: true }, 'uncertain'],
      [200, { status: true }, 'uncertain'],
      [400, { title: 'Bad Request' }, 'content'],
      [403, { title: 'CODE_VERIFIED' }, 'account'],
      [404, '<h1>Not found</h1>', 'account'],
      [500, { status: 'CODE_VERIFIED' }, 'uncertain'],
    ])('approves nothing on %i %j', async (status, body, reason) => {
      expect(await answered(status, body)).toMatchObject({ kind: 'failed', reason });
    });
  });

  describe('asked what became of a code', () => {
    const asked = async (...reports: readonly { readonly channel: string; readonly status: unknown }[]) => {
      answer(200, {
        codes: [
          { auth_id: 'other', delivery_reports: [{ status: 'SEND_FATAL' }] },
          { auth_id: 'a1', delivery_reports: reports },
        ],
      });
      return provider.fetchReport?.('a1', signal());
    };

    it('says sent once it was handed over', async () => {
      const outcome = await start();
      const id = outcome.kind === 'accepted' ? outcome.providerMessageId : '';
      await simulator.settled();
      expect(await provider.fetchReport?.(id, signal())).toEqual({ providerMessageId: id, state: 'sent' });
      expect(simulator.requests.at(-1)).toMatchObject({ path: '/api/v1/code/dlrs', json: { auth_ids: [id] } });
    });

    it('reads failures with a reason', async () => {
      expect(await asked({ channel: 'sms', status: 'SEND_FAIL' })).toEqual({
        providerMessageId: 'a1',
        state: 'undelivered',
        reason: 'unavailable',
        code: 'SEND_FAIL',
      });
      expect(await asked({ channel: 'sms', status: 'SEND_FATAL' })).toMatchObject({
        state: 'failed',
        reason: 'unavailable',
        code: 'SEND_FATAL',
      });
    });

    it('counts a later channel that carried it', async () => {
      const reports = [
        { channel: 'telegram', status: 'SEND_SUCCESS' },
        { channel: 'sms', status: 'SEND_FAIL' },
      ];
      expect(await asked(...reports)).toMatchObject({ state: 'sent' });
      expect(await asked(...reports.toReversed())).toMatchObject({ state: 'sent' });
    });

    it('knows no meaning of a new state', async () => {
      expect(await asked({ channel: 'sms', status: 'SEND_LATER' })).toEqual({
        providerMessageId: 'a1',
        state: 'unknown',
      });
    });

    it('says nothing where there is nothing to read', async () => {
      expect(await asked()).toBeUndefined();
      expect(await asked({ channel: 'sms', status: 5 })).toBeUndefined();
      expect(await provider.fetchReport?.('nobody', signal())).toBeUndefined();
      for (const body of ['<html>', {}, { codes: {} }, { codes: [null] }]) {
        answer(200, body);
        expect(await provider.fetchReport?.('a1', signal())).toBeUndefined();
      }
      simulator.behave('server-error', 'drop-after-reading');
      expect(await provider.fetchReport?.('a1', signal())).toBeUndefined();
      expect(await provider.fetchReport?.('a1', signal())).toBeUndefined();
    });
  });

  describe('probe', () => {
    it('sends nothing', async () => {
      await provider.probe?.(signal());
      expect(simulator.messages).toEqual([]);
    });

    it('is ready when the question is refused and not the key', async () => {
      answer(422, { title: 'Unprocessable', detail: 'auth_ids' });
      expect(await provider.probe?.(signal())).toEqual({ kind: 'ready' });
    });

    it('says which variable to correct', async () => {
      simulator.behave('credentials');
      expect(await provider.probe?.(signal())).toMatchObject({
        reason: 'account',
        code: '401',
        fix: expect.stringContaining('MESSAGGIO_OTP_KEY'),
      });
    });

    it.each([
      [404, { title: 'Not Found' }, '404'],
      [400, '', '400'],
      [500, { title: 'Error' }, '500'],
    ])('is not ready on %i', async (status, body, code) => {
      answer(status, body);
      expect(await provider.probe?.(signal())).toMatchObject({ kind: 'failed', reason: 'unavailable', code });
    });

    it('is throttled rather than broken on 429', async () => {
      simulator.behave('throttle');
      expect(await provider.probe?.(signal())).toMatchObject({ kind: 'failed', reason: 'throttled' });
    });
  });

  it('names the variable of a setting that cannot be right', () => {
    const faults = (over: object) => messaggioOtp.faults?.({ key: KEY, ...over });
    expect(faults({})).toEqual([]);
    expect(faults({ key: 'two words' })).toEqual([expect.stringContaining('MESSAGGIO_OTP_KEY')]);
    expect(faults({ baseUrl: 'otp.messaggio.com' })).toEqual([expect.stringContaining('MESSAGGIO_OTP_BASE_URL')]);
  });

  it('has a code of its own for each start: the older one is wrong for the newer id', async () => {
    await start();
    const [, older = ''] = /: (\d+)$/.exec(simulator.messages[0]?.text ?? '') ?? [];
    const resent = await provider.start(managedStart({ previousId: 'the-older-one' }), signal());
    const providerMessageId = resent.kind === 'accepted' ? resent.providerMessageId : '';
    expect(await provider.check({ providerMessageId, to: managedStart().to, code: older }, signal())).toEqual({
      kind: 'wrong',
    });
  });
});
