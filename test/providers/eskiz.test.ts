import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeliveryReport, ReportRequest } from '../../src/domain/provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { eskiz } from '../../src/providers/eskiz.ts';
import { eskizSimulator } from '../../src/simulators/eskiz.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

const ID = 'c779d0a2-5a1c-4b0e-9d55-6f1f1f6b0a11';
const settingsAt = (baseUrl: string) => ({ email: 'test@example.com', password: 'test-eskiz-secret', baseUrl });

function report(body: unknown): ReportRequest {
  const rawBody = new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body));
  return { method: 'POST', url: 'https://codes.example/v1/reports/eskiz/c2VjcmV0', headers: {}, rawBody };
}

const state = (status: string, expected: Partial<DeliveryReport>) => ({
  name: status,
  request: report({ request_id: ID, message_id: 1, phone_number: '998901234567', sms_count: '1', status }),
  expected: [{ providerMessageId: ID, ...expected }],
});

describeProvider('eskiz', {
  definition: eskiz,
  open: async () => benchOf(await eskizSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), password: 'wrong-eskiz-secret' }),
  secrets: ['test.eskiz.token'],
  requestsPerSend: 2,
  cannot: { credentials: 'a token that is refused is renewed, once' },
  hasProbe: true,
  reports: {
    states: [
      ...['waiting', 'NEW', 'STORED'].map((word) => state(word, { state: 'queued' })),
      ...['ACCEPTED', 'ENROUTE', 'PARTDELIVERED'].map((word) => state(word, { state: 'sent' })),
      ...['DELIVERED', 'DELIVRD', 'delivered'].map((word) => state(word, { state: 'delivered' })),
      ...['UNDELIV', 'UNDELIVERABLE', 'EXPIRED'].map((word) =>
        state(word, { state: 'undelivered', reason: 'unavailable', code: word }),
      ),
      ...['REJECTED', 'REJECTD'].map((word) => state(word, { state: 'failed', reason: 'blocked', code: word })),
      state('DELETED', { state: 'failed', reason: 'content' }),
      state('UNKNOWN', { state: 'unknown' }),
      state('TELEPORTED', { state: 'unknown' }),
    ],
    malformed: [
      report(''),
      report('<html>'),
      report('[]'),
      report({ status: 'DELIVERED' }),
      report({ request_id: ID }),
      report({ request_id: 5, status: 'DELIVERED' }),
    ],
    forged: 'unsigned',
  },
});

describe('eskiz', () => {
  let simulator: Simulator;
  let http: HttpClient;
  let time: number;

  beforeEach(async () => {
    [simulator, http, time] = [await eskizSimulator.start(), createHttpClient(Date.now), Date.UTC(2026, 10, 20)];
  });
  afterEach(async () => {
    http.close();
    await simulator.close();
  });

  const open = () => eskiz.create(settingsAt(simulator.url), { now: () => time, http });
  const send = async (to = '+998901234567') =>
    (await open()).send(outgoingMessage({ to: to as never }), AbortSignal.timeout(5000));
  const logins = () => simulator.requests.filter(({ path }) => path === '/api/auth/login').length;

  it('sends the number as digits, the text, the sender, and where reports go', async () => {
    const provider = await open();
    await provider.send(outgoingMessage({ reportUrl: 'http://127.0.0.1:1/report' }), AbortSignal.timeout(5000));
    expect(simulator.requests.at(-1)).toMatchObject({
      path: '/api/message/sms/send',
      form: {
        mobile_phone: '998901234567',
        message: 'Your code is 830417',
        from: '4546',
        callback_url: 'http://127.0.0.1:1/report',
      },
    });
  });

  it('uses the international service for numbers of other countries', async () => {
    expect(await send('+996555123456')).toMatchObject({ kind: 'accepted' });
    expect(simulator.requests.at(-1)).toMatchObject({
      path: '/api/message/sms/send-global',
      form: { mobile_phone: '996555123456', country_code: 'KG', unicode: '0' },
    });
  });

  it('says abroad that a text is not in the GSM alphabet', async () => {
    const message = outgoingMessage({ to: '+996555123456' as never, text: 'Ваш код 830417' });
    await (await open()).send(message, AbortSignal.timeout(5000));
    expect(simulator.requests.at(-1)?.form).toMatchObject({ unicode: '1' });
  });

  it('logs in once for fifty messages that come at once, and for all that come later', async () => {
    const provider = await open();
    await Promise.all(Array.from({ length: 50 }, () => provider.send(outgoingMessage(), AbortSignal.timeout(5000))));
    await provider.send(outgoingMessage(), AbortSignal.timeout(5000));
    expect(logins()).toBe(1);
    expect(simulator.messages).toHaveLength(51);
  });

  it('fetches a new token before the old one ends', async () => {
    const provider = await open();
    await provider.send(outgoingMessage(), AbortSignal.timeout(5000));
    time += 25 * 24 * 3_600_000;
    await provider.send(outgoingMessage(), AbortSignal.timeout(5000));
    expect(logins()).toBe(2);
  });

  it('logs in once more when a token is refused, and no more often', async () => {
    const provider = await open();
    simulator.behave('credentials');
    expect(await provider.send(outgoingMessage(), AbortSignal.timeout(5000))).toMatchObject({ kind: 'accepted' });
    expect(logins()).toBe(2);
    simulator.behave('credentials', 'credentials');
    expect(await provider.send(outgoingMessage(), AbortSignal.timeout(5000))).toMatchObject({ reason: 'account' });
    expect(logins()).toBe(3);
  });

  it('leaves a login that another message waits for running when its own time is over', async () => {
    const provider = await open();
    const impatient = new AbortController();
    const first = provider.send(outgoingMessage(), impatient.signal);
    const second = provider.send(outgoingMessage(), AbortSignal.timeout(5000));
    impatient.abort();
    expect(await first).toMatchObject({ kind: 'failed', reason: 'unavailable' });
    expect(await second).toMatchObject({ kind: 'accepted' });
  });

  it.each([
    ['Этот смс-текст ещё не прошёл модерацию.', 'content'],
    ['Для теста можно использовать только: Это тест от Eskiz', 'content'],
    ['Недостаточно средств на балансе', 'account'],
    ['Номер в чёрном списке', 'blocked'],
    ['Nickname not found', 'content'],
    ['Страна номера не обслуживается', 'coverage'],
    ['Неверный номер', 'recipient'],
    // No more than that a number was in it: the verification goes on.
    ['Возникла ошибка при отправке на этот номер', 'content'],
  ])('reads the refusal %s as %s', async (message, reason) => {
    simulator.behave({ kind: 'answer', answer: { status: 400, body: { status: 'error', message } } });
    expect(await send()).toMatchObject({ kind: 'failed', reason });
  });

  it('hears no wrong number where the status says something else', async () => {
    const body = { message: 'Too many messages to this phone: wrong' };
    simulator.behave({ kind: 'answer', answer: { status: 429, body } });
    expect(await send()).toMatchObject({ reason: 'throttled' });
  });

  it('reads the state and the price of a message', async () => {
    const provider = await open();
    const answer = { status: 200, body: { status: 'success', data: { status: 'DELIVERED', total_price: 100 } } };
    simulator.behave({ kind: 'answer', answer });
    expect(await provider.fetchReport?.(ID, AbortSignal.timeout(5000))).toEqual({
      providerMessageId: ID,
      state: 'delivered',
      cost: { micros: 100_000_000, currency: 'UZS' },
    });
  });

  it('says to top up when the balance is empty', async () => {
    const provider = await open();
    simulator.behave({ kind: 'answer', answer: { status: 200, body: { data: { balance: 0 } } } });
    expect(await provider.probe?.(AbortSignal.timeout(5000))).toMatchObject({ kind: 'failed', code: 'balance' });
  });
});
