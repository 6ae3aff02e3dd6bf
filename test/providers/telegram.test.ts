import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeliveryReport, OutgoingMessage, ReportRequest } from '../../src/domain/provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { telegram, telegramFailureReasons } from '../../src/providers/telegram.ts';
import type { Answer, Simulator } from '../../src/simulators/simulator-kit.ts';
import { signTelegramReport, telegramSimulator } from '../../src/simulators/telegram.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';
import { startReportReceiver } from '../provider-kit/report-receiver.ts';

const TOKEN = 'AAtest-telegram-gateway-token';
const ID = '6a1f0c52-3d1e-4a47-9a26-8d2f0b7c9e11';
const settingsAt = (baseUrl: string) => ({ token: TOKEN, baseUrl });
const second = () => Math.floor(Date.now() / 1000);

type Wrapping = { readonly token?: string; readonly timestamp?: number; readonly signedBody?: string };

function report(status: unknown, { token = TOKEN, timestamp = second(), signedBody }: Wrapping = {}): ReportRequest {
  const body = typeof status === 'string' ? status : JSON.stringify(status);
  return {
    method: 'POST',
    url: 'https://codes.example/v1/reports/telegram/c2VjcmV0',
    headers: {
      'x-request-timestamp': String(timestamp),
      'x-request-signature': signTelegramReport(token, timestamp, signedBody ?? body),
    },
    rawBody: new TextEncoder().encode(body),
  };
}

const statusOf = (word: string, more: object = {}) => ({
  request_id: ID,
  phone_number: '+998901234567',
  request_cost: 0.01,
  delivery_status: { status: word, updated_at: 1_795_000_000 },
  ...more,
});

const USD = (micros: number) => ({ micros, currency: 'USD' });

const state = (word: string, expected: Partial<DeliveryReport>, more: object = {}) => ({
  name: word,
  request: report(statusOf(word, more)),
  expected: [{ providerMessageId: ID, cost: USD(10_000), ...expected }],
});

const without = (name: string): ReportRequest => {
  const genuine = report(statusOf('delivered'));
  return { ...genuine, headers: { ...genuine.headers, [name]: undefined } };
};

describeProvider('telegram', {
  definition: telegram,
  open: async () => benchOf(await telegramSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), token: 'AAwrong-telegram-gateway-token' }),
  message: { channel: 'telegram' },
  hasProbe: true,
  reports: {
    states: [
      state('sent', { state: 'sent' }),
      state('delivered', { state: 'delivered' }),
      state('read', { state: 'delivered' }),
      state('expired', { state: 'undelivered', reason: 'unavailable', code: 'expired' }),
      state('expired', { state: 'undelivered', cost: USD(0) }, { is_refunded: true }),
      state('revoked', { state: 'failed', reason: 'unavailable', code: 'revoked' }),
      state('teleported', { state: 'unknown' }),
      {
        name: 'a report about a check, which is none about delivery',
        request: report({ request_id: ID, verification_status: { status: 'code_valid', updated_at: 1 } }),
        expected: [],
      },
    ],
    malformed: [
      report(''),
      report('<html>'),
      report('[]'),
      report({ delivery_status: { status: 'delivered' } }),
      report({ request_id: 5, delivery_status: { status: 'delivered' } }),
    ],
    forged: [
      { name: 'signed with another token', request: report(statusOf('delivered'), { token: 'another' }) },
      { name: 'a changed body', request: report(statusOf('delivered'), { signedBody: 'another' }) },
      { name: 'no signature', request: without('x-request-signature') },
      { name: 'no time', request: without('x-request-timestamp') },
      { name: 'of yesterday', request: report(statusOf('delivered'), { timestamp: second() - 86_400 }) },
      { name: 'of tomorrow', request: report(statusOf('delivered'), { timestamp: second() + 86_400 }) },
    ],
  },
});

describe('telegram', () => {
  let simulator: Simulator;
  let http: HttpClient;

  beforeEach(async () => {
    [simulator, http] = [await telegramSimulator.start(), createHttpClient(Date.now)];
  });
  afterEach(async () => {
    http.close();
    await simulator.close();
  });

  const open = (over: { sender?: string } = {}, now = Date.now) =>
    telegram.create({ ...settingsAt(simulator.url), ...over }, { now, http });
  const send = async (over: Partial<OutgoingMessage> = {}, settings = {}) =>
    (await open(settings)).send(outgoingMessage({ channel: 'telegram', ...over }), AbortSignal.timeout(5000));
  const sent = () => simulator.requests.at(-1)?.json as Record<string, unknown>;
  const answer = (body: unknown, status = 400) =>
    simulator.behave({ kind: 'answer', answer: { status, body } satisfies Answer });

  it('hands over the code alone, and says what it costs', async () => {
    expect(await send({ reportUrl: 'http://127.0.0.1:1/report' }, { sender: '@acme' })).toMatchObject({
      kind: 'accepted',
      cost: USD(10_000),
    });
    expect(simulator.requests.at(-1)).toMatchObject({ method: 'POST', path: '/sendVerificationMessage' });
    expect(sent()).toEqual({
      phone_number: '+998901234567',
      code: '830417',
      ttl: 300,
      payload: 'msg_00000000000000000000000001',
      sender_username: 'acme',
      callback_url: 'http://127.0.0.1:1/report',
    });
  });

  it.each([
    [1, 30],
    [30, 30],
    [3600, 3600],
    [86_400, 3600],
  ])('keeps a life of %i s within what the Gateway takes: %i s', async (validitySeconds, ttl) => {
    await send({ validitySeconds });
    expect(sent()['ttl']).toBe(ttl);
  });

  it('asks for no reports at an address that would have the message refused', async () => {
    await send({ reportUrl: `http://127.0.0.1:1/${'x'.repeat(256)}` });
    expect(sent()).not.toHaveProperty('callback_url');
    // The real Gateway takes https alone.
    const asked: unknown[] = [];
    const recording: HttpClient = {
      ...http,
      postJson: async (_url, body) => {
        asked.push(body);
        return { kind: 'silence', reason: 'unavailable', code: 'none' };
      },
    };
    const provider = await telegram.create({ token: TOKEN }, { now: Date.now, http: recording });
    for (const reportUrl of ['http://codes.example/r', 'https://codes.example/r'])
      await provider.send(outgoingMessage({ reportUrl }), AbortSignal.timeout(5000));
    expect(asked).toEqual([
      expect.not.objectContaining({ callback_url: expect.anything() }),
      expect.objectContaining({ callback_url: 'https://codes.example/r' }),
    ]);
  });

  it.each(['123', '123456789', '12a456', ''])(
    'sends nothing for the code %j, which the Gateway does not take',
    async (code) => {
      expect(await send({ code })).toEqual({ kind: 'failed', reason: 'content', code: 'code-length' });
      expect(simulator.requests).toHaveLength(0);
    },
  );

  it('sends nothing where there is no code', async () => {
    const { code: _, ...message } = outgoingMessage();
    expect(await (await open()).send(message, AbortSignal.timeout(5000))).toMatchObject({ reason: 'content' });
    expect(simulator.requests).toHaveLength(0);
  });

  it.each([...telegramFailureReasons])('reads the refusal %s as %s', async (error, reason) => {
    answer({ ok: false, error });
    expect(await send()).toEqual({ kind: 'failed', reason, code: error });
  });

  it('ends the search for a number at PHONE_NUMBER_INVALID alone', () => {
    const final = [...telegramFailureReasons].filter(([, reason]) => reason === 'recipient').map(([error]) => error);
    expect(final).toEqual(['PHONE_NUMBER_INVALID']);
  });

  it('waits as long as a FLOOD_WAIT says', async () => {
    answer({ ok: false, error: 'FLOOD_WAIT_37' }, 200);
    expect(await send()).toEqual({ kind: 'failed', reason: 'throttled', code: 'FLOOD_WAIT', retryAfterMs: 37_000 });
  });

  it.each([
    ['MOON_PHASE_WRONG', 200, 'unavailable', 'MOON_PHASE_WRONG'],
    ['MOON_PHASE_WRONG', 400, 'content', 'MOON_PHASE_WRONG'],
    ['MOON_PHASE_WRONG', 500, 'uncertain', 'MOON_PHASE_WRONG'],
    // Whatever has digits in it could be a number or a code.
    ['CODE_830417_WRONG', 200, 'unavailable', 'refused'],
  ])('reads the unknown %s in a %i as %s', async (error, status, reason, code) => {
    answer({ ok: false, error }, status);
    expect(await send()).toMatchObject({ reason, code });
  });

  it('believes what the Gateway posts, and nobody else', async () => {
    const receiver = await startReportReceiver();
    const provider = await open();
    simulator.deliver({ status: 'sent', isEarly: true }, { status: 'delivered', isForged: true }, { status: 'read' });
    await provider.send(outgoingMessage({ reportUrl: receiver.url }), AbortSignal.timeout(5000));
    await simulator.settled();
    const id = simulator.messages[0]?.id;
    expect(receiver.requests.map((request) => provider.parseReport?.(request))).toEqual([
      { kind: 'reports', reports: [{ providerMessageId: id, state: 'sent', cost: USD(10_000) }] },
      { kind: 'refused', why: 'forged' },
      { kind: 'reports', reports: [{ providerMessageId: id, state: 'delivered', cost: USD(10_000) }] },
    ]);
    await receiver.close();
  });

  it('asks what became of a message', async () => {
    const provider = await open();
    const outcome = await provider.send(outgoingMessage(), AbortSignal.timeout(5000));
    const id = outcome.kind === 'accepted' ? outcome.providerMessageId : '';
    await simulator.settled();
    expect(await provider.fetchReport?.(id, AbortSignal.timeout(5000))).toEqual({
      providerMessageId: id,
      state: 'delivered',
      cost: USD(10_000),
    });
  });

  it('says that a message which expired costs nothing', async () => {
    const provider = await open();
    simulator.deliver({ status: 'expired' });
    const outcome = await provider.send(outgoingMessage(), AbortSignal.timeout(5000));
    const id = outcome.kind === 'accepted' ? outcome.providerMessageId : '';
    await simulator.settled();
    expect(await provider.fetchReport?.(id, AbortSignal.timeout(5000))).toMatchObject({
      state: 'undelivered',
      cost: USD(0),
    });
  });

  it('knows nothing of a message that the Gateway does not know', async () => {
    expect(await (await open()).fetchReport?.('unknown', AbortSignal.timeout(5000))).toBeUndefined();
  });

  it('takes a report for an hour, in whole seconds', async () => {
    const at = 1_795_000_000;
    const request = report(statusOf('delivered'), { timestamp: at });
    const kindAt = async (ms: number) => (await open({}, () => ms)).parseReport?.(request).kind;
    expect(await kindAt((at + 3600) * 1000)).toBe('reports');
    expect(await kindAt((at + 3600) * 1000 + 1)).toBe('refused');
    expect(await kindAt((at - 300) * 1000)).toBe('reports');
    expect(await kindAt((at - 300) * 1000 - 1)).toBe('refused');
  });

  it('sends nothing to see whether the token is right', async () => {
    expect(await (await open()).probe?.(AbortSignal.timeout(5000))).toMatchObject({ kind: 'ready' });
    expect(simulator.messages).toEqual([]);
    expect(simulator.requests.map(({ path }) => path)).toEqual(['/checkVerificationStatus']);
  });

  it.each([
    ['ACCESS_TOKEN_INVALID', 'account', 'TELEGRAM_TOKEN'],
    ['FLOOD_WAIT_9', 'throttled', 'TELEGRAM_TOKEN'],
    ['MOON_PHASE_WRONG', 'unavailable', 'gateway.telegram.org'],
  ])('says what to do about %s', async (error, reason, fix) => {
    answer({ ok: false, error });
    const outcome = await (await open()).probe?.(AbortSignal.timeout(5000));
    expect(outcome).toMatchObject({ kind: 'failed', reason, fix: expect.stringContaining(fix) });
  });

  it('finds the faults of settings, and repeats no credential', () => {
    const bot = `123456789:${'A'.repeat(35)}`;
    const faults = telegram.faults?.({ token: bot, sender: 'a channel', baseUrl: 'gatewayapi.telegram.org' }) ?? [];
    expect(faults).toEqual([
      expect.stringMatching(/^TELEGRAM_TOKEN is the token of a bot/),
      expect.stringMatching(/^TELEGRAM_SENDER/),
      expect.stringMatching(/^TELEGRAM_BASE_URL/),
    ]);
    expect(faults.join()).not.toContain(bot);
  });
});
