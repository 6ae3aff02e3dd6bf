import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeliveryReport, OutgoingMessage, ReportRequest } from '../../src/domain/provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { infobip } from '../../src/providers/infobip.ts';
import { infobipSimulator } from '../../src/simulators/infobip.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

const ID = '01jd4q8m3k7v0s2n9r6t5w1xyz';
const settingsAt = (baseUrl: string) => ({ apiKey: 'test-infobip-api-key', baseUrl, from: 'Acme' });

function report(body: unknown): ReportRequest {
  const rawBody = new TextEncoder().encode(typeof body === 'string' ? body : JSON.stringify(body));
  return { method: 'POST', url: 'https://codes.example/v1/reports/infobip/c2VjcmV0', headers: {}, rawBody };
}

const result = (groupId: number, id: number, name: string, more: object = {}) => ({
  bulkId: 'BULK-ID-123-xyz',
  status: { groupId, groupName: 'GROUP', id, name, description: 'as written by the vendor' },
  error: { groupId: 0, groupName: 'OK', id: 0, name: 'NO_ERROR', description: 'No Error', permanent: false },
  messageId: ID,
  to: '998901234567',
  sender: 'Acme',
  messageCount: 1,
  ...more,
});

const state = (groupId: number, id: number, name: string, expected: Partial<DeliveryReport>) => ({
  name,
  request: report({ results: [result(groupId, id, name)] }),
  expected: [{ providerMessageId: ID, ...expected }],
});

let messages = 0;

describeProvider('infobip', {
  definition: infobip,
  open: async () => benchOf(await infobipSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), apiKey: 'wrong-infobip-api-key' }),
  /** Each one another message: an id that Infobip has seen is refused. */
  get message() {
    messages += 1;
    return { messageId: `msg_${String(messages).padStart(26, '0')}` };
  },
  hasProbe: true,
  reports: {
    states: [
      state(1, 26, 'PENDING_ACCEPTED', { state: 'queued' }),
      state(1, 3, 'PENDING_WAITING_DELIVERY', { state: 'sent' }),
      state(1, 7, 'PENDING_ENROUTE', { state: 'sent' }),
      state(3, 2, 'DELIVERED_TO_OPERATOR', { state: 'sent' }),
      state(3, 5, 'DELIVERED_TO_HANDSET', { state: 'delivered' }),
      state(2, 4, 'UNDELIVERABLE_REJECTED_OPERATOR', { state: 'undelivered', reason: 'unavailable' }),
      state(2, 9, 'UNDELIVERABLE_NOT_DELIVERED', { state: 'undelivered', code: 'UNDELIVERABLE_NOT_DELIVERED' }),
      state(4, 15, 'EXPIRED_EXPIRED', { state: 'undelivered', reason: 'unavailable' }),
      state(4, 29, 'EXPIRED_DLR_UNKNOWN', { state: 'unknown' }),
      state(4, 87, 'SIGNALS_BLOCKED', { state: 'failed', reason: 'blocked' }),
      state(5, 12, 'REJECTED_NOT_ENOUGH_CREDITS', { state: 'failed', reason: 'account' }),
      state(5, 990, 'REJECTED_FOR_A_NEW_REASON', { state: 'failed', reason: 'unavailable' }),
      state(9, 900, 'TELEPORTED', { state: 'unknown' }),
    ],
    malformed: [
      report(''),
      report('<html>'),
      report('[]'),
      report({ results: [] }),
      report({ results: {} }),
      report({ results: [{ messageId: ID }] }),
      // `Number` throws at this one; reports have no signature, so anybody could have sent it.
      report({ results: [{ messageId: ID, status: { id: { toString: 1, valueOf: 1 } } }] }),
      report({ results: [{ status: { groupId: 3, id: 5 } }] }),
      report({ results: [{ messageId: 5, status: { groupId: 3, id: 5 } }] }),
    ],
    forged: 'unsigned',
  },
});

describe('infobip', () => {
  let simulator: Simulator;
  let http: HttpClient;

  beforeEach(async () => {
    [simulator, http] = [await infobipSimulator.start(), createHttpClient(Date.now)];
  });
  afterEach(async () => {
    http.close();
    await simulator.close();
  });

  const open = (over: { from?: string } = {}) => {
    const { from = 'Acme' } = over;
    return infobip.create({ ...settingsAt(simulator.url), from }, { now: Date.now, http });
  };
  const send = async (over: Partial<OutgoingMessage> = {}) =>
    (await open()).send(outgoingMessage(over), AbortSignal.timeout(5000));
  const answer = (body: unknown, status = 200) => simulator.behave({ kind: 'answer', answer: { status, body } });
  const read = async (...results: unknown[]) => {
    const outcome = (await open()).parseReport?.(report({ results }));
    return outcome?.kind === 'reports' ? outcome.reports : [];
  };
  const probe = async () => (await open()).probe?.(AbortSignal.timeout(5000));

  it('sends the number as digits, the text, its own id, how long it is worth delivering, and where reports go', async () => {
    await send({ reportUrl: 'http://127.0.0.1:1/report', validitySeconds: 299 });
    expect(simulator.requests.at(-1)).toMatchObject({ method: 'POST', path: '/sms/3/messages' });
    expect(simulator.requests.at(-1)?.headers.authorization).toBe('App test-infobip-api-key');
    expect(simulator.requests.at(-1)?.json).toEqual({
      messages: [
        {
          sender: 'Acme',
          destinations: [{ to: '998901234567', messageId: '00000000000000000000000001' }],
          content: { text: 'Your code is 830417' },
          options: { validityPeriod: { amount: 299, timeUnit: 'SECONDS' } },
          webhooks: { delivery: { url: 'http://127.0.0.1:1/report' }, contentType: 'application/json' },
        },
      ],
    });
  });

  it('leaves out what there is none of', async () => {
    const { from: _, ...settings } = settingsAt(simulator.url);
    const provider = await infobip.create(settings, { now: Date.now, http });
    await provider.send(outgoingMessage(), AbortSignal.timeout(5000));
    const body = JSON.parse(simulator.requests.at(-1)?.body ?? '') as { messages: object[] };
    expect(Object.keys(body.messages[0] ?? {})).toEqual(['destinations', 'content', 'options']);
  });

  it('tells how many segments Infobip counted', async () => {
    const message = { messageId: ID, status: { groupId: 1, id: 26 }, details: { messageCount: 2 } };
    answer({ messages: [message] });
    expect(await send()).toEqual({ kind: 'accepted', providerMessageId: ID, segments: 2 });
  });

  it('takes a message that was handed over before as accepted, and lets it go out once', async () => {
    simulator.behave('drop-after-reading');
    expect(await send()).toMatchObject({ kind: 'failed', reason: 'uncertain' });
    expect(await send()).toEqual({ kind: 'accepted', providerMessageId: '00000000000000000000000001' });
    expect(simulator.messages).toHaveLength(1);
  });

  it.each([
    [6, 'REJECTED_NETWORK', 'coverage'],
    [8, 'REJECTED_PREFIX_MISSING', 'coverage'],
    [10, 'REJECTED_DND', 'blocked'],
    [11, 'REJECTED_SOURCE', 'account'],
    [12, 'REJECTED_NOT_ENOUGH_CREDITS', 'account'],
    [13, 'REJECTED_SENDER', 'account'],
    [14, 'REJECTED_DESTINATION', 'blocked'],
    [17, 'REJECTED_PREPAID_PACKAGE_EXPIRED', 'account'],
    [18, 'REJECTED_DESTINATION_NOT_REGISTERED', 'blocked'],
    [19, 'REJECTED_ROUTE_NOT_AVAILABLE', 'coverage'],
    [20, 'REJECTED_FLOODING_FILTER', 'throttled'],
    [21, 'REJECTED_SYSTEM_ERROR', 'unavailable'],
    [24, 'REJECTED_INVALID_UDH', 'content'],
    [25, 'REJECTED_MESSAGE_TOO_LONG', 'content'],
    [51, 'MISSING_TO', 'content'],
    [52, 'REJECTED_DESTINATION', 'recipient'],
    [87, 'SIGNALS_BLOCKED', 'blocked'],
    [100, 'UNDELIVERABLE_REJECTED_PLATFORM', 'unavailable'],
    [990, 'REJECTED_FOR_A_NEW_REASON', 'unavailable'],
  ])('reads status %i %s inside a 200 as %s', async (id, name, reason) => {
    answer({ messages: [{ messageId: ID, status: { groupId: 5, groupName: 'REJECTED', id, name } }] });
    expect(await send()).toEqual({ kind: 'failed', reason, code: name });
  });

  it('puts nothing of a strange answer into the code', async () => {
    answer({ messages: [{ status: { groupId: 5, id: 990, name: 'rejected +998901234567' } }] });
    expect(await send()).toEqual({ kind: 'failed', reason: 'unavailable', code: 'status 990' });
  });

  it.each([
    [401, { errorCode: 'E401' }, 'account', 'E401'],
    [
      401,
      { requestError: { serviceException: { messageId: 'UNAUTHORIZED', text: 'Invalid login' } } },
      'account',
      'UNAUTHORIZED',
    ],
    [403, { errorCode: 'E403' }, 'account', 'E403'],
    [400, { errorCode: 'E400', violations: [{ property: 'x', violation: 'y' }] }, 'content', 'E400'],
    [404, 'Not Found', 'account', '404'],
    [429, { errorCode: 'E429' }, 'throttled', 'E429'],
    [500, { errorCode: 'E500' }, 'uncertain', 'E500'],
    [503, '', 'unavailable', '503'],
  ])('reads HTTP %i with %o as %s', async (status, body, reason, code) => {
    answer(body, status);
    expect(await send()).toEqual({ kind: 'failed', reason, code });
  });

  it.each([
    [1, 'EC_UNKNOWN_SUBSCRIBER', 'recipient'],
    [3041, 'EC_DEACTIVATED_LIST', 'recipient'],
    [11, 'EC_TELESERVICE_NOT_PROVISIONED', 'coverage'],
    [345, 'EC_OPERATOR_NOT_FOUND', 'coverage'],
    [351, 'EC_INVALID_DESTINATION_ADDRESS', 'coverage'],
    [352, 'EC_INVALID_REQUEST_DESTINATION', 'coverage'],
    [565, 'EC_CANNOT_RECEIVE_SC', 'coverage'],
    [568, 'EC_DESTINATION_NOT_SMS_PROVISIONED', 'coverage'],
    [592, 'EC_ACCOUNT_NOT_PROVISIONED_FOR_CHANNEL', 'coverage'],
    [597, 'EC_ACC_HAS_NO_ADRESS_FOR_DESR', 'coverage'],
    [629, 'EC_DEST_ADDRESS_UNABLE_TO_RECEIVE_SMS', 'coverage'],
    [560, 'EC_SC_BLOCKED_FOR_END_USER', 'blocked'],
    [566, 'EC_DESTINATION_BLOCKED_BY_OPERATOR', 'blocked'],
    [604, 'EC_BLOCKED_BY_CAMPAIGN_BLACKLIST', 'blocked'],
    [608, 'EC_SIGNALS_BLOCKED', 'blocked'],
    [609, 'EC_SIGNALS_HARD_LIMIT_REACHED', 'blocked'],
    [2050, 'EC_DEST_ADDRESS_BLACKLISTED', 'blocked'],
    [2052, 'EC_BLACKLISTED_DESTINATIONADDRESS', 'blocked'],
    [355, 'EC_MSG_TEXT_TOO_LONG', 'content'],
    [368, 'EC_INVALID_SOURCE_ADDRESS', 'content'],
    [375, 'EC_SOURCE_ADDRESS_IS_BLOCKED', 'content'],
    [488, 'EC_TF_NUMBER_NOT_VERIFIED', 'content'],
    [561, 'EC_CONTENT_BLOCKED_BY_OPERATOR', 'content'],
    [562, 'EC_SC_NOT_PROVISIONED', 'content'],
    [563, 'EC_SC_EXPIRED', 'content'],
    [564, 'EC_SC_BLOCKED', 'content'],
    [571, 'EC_CAMPAIGN_ID_REJECTED', 'content'],
    [572, 'EC_CAMPAIGNID_NOT_PROVISIONED', 'content'],
    [607, 'EC_REJECTED_SPAM_BY_OPERATOR', 'content'],
    [2053, 'EC_BLACKLISTED_SENDERADDRESS', 'content'],
    [433, 'EC_ACCOUNT_ACCESS_DENIED', 'account'],
    [4099, 'EC_MONTHLY_LIMIT_REACHED', 'account'],
    [541, 'EC_LIMIT_REACHED', 'throttled'],
    [542, 'EC_QUOTA_REACHED', 'throttled'],
    [4103, 'EC_DESTINATION_FLOODING', 'throttled'],
    [4104, 'EC_DESTINATION_TXT_FLOODING', 'throttled'],
    [27, 'EC_ABSENT_SUBSCRIBER', 'unavailable'],
  ])('reads error %i %s of a report as %s', async (id, name, reason) => {
    const error = { groupId: 1, groupName: 'HANDSET_ERRORS', id, name, permanent: true };
    const [first] = await read(result(2, 9, 'UNDELIVERABLE_NOT_DELIVERED', { error }));
    expect(first).toEqual({ providerMessageId: ID, state: 'undelivered', reason, code: name });
  });

  it.each([573, 603])('never goes round a person who said STOP: error %i', async (id) => {
    const error = { groupId: 2, id, name: 'EC_STOP' };
    const [first] = await read(result(2, 9, 'UNDELIVERABLE_NOT_DELIVERED', { error }));
    expect(first).toMatchObject({ reason: 'blocked', optOut: true });
  });

  it('reads many reports at once, in both versions, and costs the parts of a long message', async () => {
    const price = { pricePerMessage: 0.0125, currency: 'EUR' };
    const { messageCount: _, ...older } = result(3, 5, 'DELIVERED_TO_HANDSET', { price, smsCount: 3 });
    const reports = await read(
      result(3, 5, 'DELIVERED_TO_HANDSET', { price, messageCount: 2 }),
      { broken: true },
      { ...older, messageId: 'other' },
    );
    expect(reports).toEqual([
      { providerMessageId: ID, state: 'delivered', cost: { micros: 25_000, currency: 'EUR' } },
      { providerMessageId: 'other', state: 'delivered', cost: { micros: 37_500, currency: 'EUR' } },
    ]);
  });

  it.each([{ pricePerMessage: 0, currency: 'EUR' }, { pricePerMessage: 0.01 }, { currency: 'EUR' }, null])(
    'knows no cost from %o',
    async (price) => {
      expect(await read(result(3, 5, 'DELIVERED_TO_HANDSET', { price }))).toEqual([
        { providerMessageId: ID, state: 'delivered' },
      ]);
    },
  );

  it('reads the reports that the simulator posts', async () => {
    const provider = await open();
    const posted: DeliveryReport[] = [];
    const { createServer } = await import('node:http');
    const server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const outcome = provider.parseReport?.({ ...report(''), rawBody: Buffer.concat(chunks) });
      if (outcome?.kind === 'reports') posted.push(...outcome.reports);
      response.writeHead(204).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const outcome = await provider.send(
      outgoingMessage({ reportUrl: `http://127.0.0.1:${port}/report` }),
      AbortSignal.timeout(5000),
    );
    await simulator.settled();
    server.closeAllConnections();
    server.close();
    const id = outcome.kind === 'accepted' ? outcome.providerMessageId : '';
    const cost = { micros: 10_000, currency: 'EUR' };
    expect(posted).toEqual([
      { providerMessageId: id, state: 'sent', cost },
      { providerMessageId: id, state: 'delivered', cost },
    ]);
  });

  it('asks the log what became of a message', async () => {
    const provider = await open();
    answer({ results: [result(3, 5, 'DELIVERED_TO_HANDSET')] });
    const found = await provider.fetchReport?.(ID, AbortSignal.timeout(5000));
    expect(found).toEqual({ providerMessageId: ID, state: 'delivered' });
    expect(simulator.requests.length).toBe(1);
    const none = await provider.fetchReport?.('a b&c', AbortSignal.timeout(5000));
    expect(none).toBeUndefined();
    expect(simulator.requests.at(-1)?.path).toBe('/sms/3/logs');
    expect(simulator.requests.at(-1)?.query.get('messageId')).toBe('a b&c');
  });

  it('shows the balance when it is ready', async () => {
    expect(await probe()).toEqual({ kind: 'ready', detail: 'balance 47.79134 EUR' });
  });

  it.each([
    [401, { errorCode: 'E401' }, 'account', /INFOBIP_API_KEY.*INFOBIP_BASE_URL/],
    [403, { errorCode: 'E403' }, 'account', /INFOBIP_API_KEY.*account-management:manage/],
    [404, '', 'unavailable', /INFOBIP_BASE_URL/],
    [429, { errorCode: 'E429' }, 'throttled', /again in a moment/],
  ])('says what to do about HTTP %i of a probe', async (status, body, reason, fix) => {
    answer(body, status);
    expect(await probe()).toMatchObject({ kind: 'failed', reason, fix: expect.stringMatching(fix) });
  });

  it('takes its address as the portal shows it, and no other kind', () => {
    const faults = (baseUrl: string) => infobip.faults?.({ ...settingsAt(baseUrl), baseUrl }) ?? [];
    expect(faults('xxxxx.api.infobip.com')).toEqual([]);
    expect(faults('https://xxxxx.api.infobip.com/')).toEqual([]);
    expect(faults('ftp://xxxxx.api.infobip.com')).toEqual([expect.stringContaining('INFOBIP_BASE_URL')]);
  });
});
