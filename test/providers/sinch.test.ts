import { createServer } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeliveryReport, OutgoingMessage, ReportOutcome, ReportRequest } from '../../src/domain/provider.ts';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { sinch } from '../../src/providers/sinch.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { sinchSignature, sinchSimulator } from '../../src/simulators/sinch.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

const ID = '01W4FFL35P4NC4K35SMSBATCH9';
const SECRET = 'test-sinch-webhook-secret';
const HOUR_MS = 3_600_000;
const settingsAt = (baseUrl: string) => ({
  servicePlanId: 'test0service0plan0id',
  apiToken: 'test-sinch-api-token',
  from: 'Acme',
  webhookSecret: SECRET,
  baseUrl,
});

const textOf = (body: unknown) => (typeof body === 'string' ? body : JSON.stringify(body));

function report(
  body: unknown,
  headers: ReportRequest['headers'] = sinchSignature(textOf(body), SECRET, Date.now()),
): ReportRequest {
  const rawBody = new TextEncoder().encode(textOf(body));
  return { method: 'POST', url: 'https://codes.example/v1/reports/sinch/c2VjcmV0', headers, rawBody };
}

const bodyOf = (status: string, code = 0) => ({
  type: 'recipient_delivery_report_sms',
  batch_id: ID,
  recipient: '998901234567',
  code,
  status,
  at: '2026-11-20T15:00:03.000Z',
});

const state = (status: string, code: number, expected: Partial<DeliveryReport>) => ({
  name: `${status} ${code}`,
  request: report(bodyOf(status, code)),
  expected: [{ providerMessageId: ID, ...expected }],
});

const delivered = bodyOf('Delivered');
const signed = sinchSignature(textOf(delivered), SECRET, Date.now());

describeProvider('sinch', {
  definition: sinch,
  open: async () => benchOf(await sinchSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), apiToken: 'wrong-sinch-api-token' }),
  cannot: { 'refuse-inside-2xx': 'a 201 is a batch that was taken; refusals are 400 and 403' },
  hasProbe: true,
  reports: {
    states: [
      state('Queued', 400, { state: 'queued' }),
      state('Dispatched', 401, { state: 'sent' }),
      state('Delivered', 0, { state: 'delivered' }),
      state('DELIVERED', 0, { state: 'delivered' }),
      state('Expired', 406, { state: 'undelivered', reason: 'unavailable', code: '406' }),
      state('Aborted', 412, { state: 'failed', reason: 'coverage', code: '412' }),
      state('Cancelled', 407, { state: 'failed', reason: 'unavailable' }),
      state('Rejected', 0, { state: 'failed', reason: 'unavailable', code: 'rejected' }),
      state('Deleted', 0, { state: 'failed', reason: 'blocked', code: 'deleted' }),
      state('Failed', 150, { state: 'failed', reason: 'recipient', code: '150' }),
      state('Failed', 9999, { state: 'failed', reason: 'unavailable', code: '9999' }),
      state('Unknown', 0, { state: 'unknown' }),
      state('Teleported', 0, { state: 'unknown' }),
    ],
    malformed: [
      report(''),
      report('<html>'),
      report('[]'),
      report({ ...delivered, batch_id: undefined }),
      report({ ...delivered, batch_id: 5 }),
      report({ ...delivered, status: undefined }),
      report({ ...delivered, type: 'mo_text' }),
      report({ type: 'delivery_report_sms', batch_id: ID, statuses: [] }),
    ],
    forged: [
      { name: 'no signature', request: report(delivered, {}) },
      { name: 'another secret', request: report(delivered, sinchSignature(textOf(delivered), 'other', Date.now())) },
      { name: 'a changed body', request: report(bodyOf('Failed', 150), signed) },
      { name: 'another nonce', request: report(delivered, { ...signed, 'x-sinch-webhook-signature-nonce': '1' }) },
      {
        name: 'an old time',
        request: report(delivered, sinchSignature(textOf(delivered), SECRET, Date.now() - 2 * HOUR_MS)),
      },
      {
        name: 'a time to come',
        request: report(delivered, sinchSignature(textOf(delivered), SECRET, Date.now() + 2 * HOUR_MS)),
      },
      { name: 'no time', request: report(delivered, { ...signed, 'x-sinch-webhook-signature-timestamp': 'now' }) },
    ],
  },
});

describe('sinch', () => {
  let simulator: Simulator;
  let http: HttpClient;
  const time = Date.UTC(2026, 10, 20, 12, 0, 0);

  beforeEach(async () => {
    [simulator, http] = [await sinchSimulator.start(), createHttpClient(Date.now)];
  });
  afterEach(async () => {
    http.close();
    await simulator.close();
  });

  const open = (now = () => time) => sinch.create(settingsAt(simulator.url), { now, http });
  const openUnsigned = () => {
    const { webhookSecret: _, from: __, ...settings } = settingsAt(simulator.url);
    return sinch.create(settings, { now: () => time, http });
  };
  const send = async (over: Partial<OutgoingMessage> = {}) =>
    (await open()).send(outgoingMessage(over), AbortSignal.timeout(5000));
  const answer = (body: unknown, status = 200) => simulator.behave({ kind: 'answer', answer: { status, body } });
  const read = async (body: unknown) => (await openUnsigned()).parseReport?.(report(body, {}));
  const probe = async () => (await open()).probe?.(AbortSignal.timeout(5000));

  it('sends the number as digits, the text, its reference, when it expires, and where reports go', async () => {
    await send({ reportUrl: 'http://127.0.0.1:1/report', validitySeconds: 299 });
    const request = simulator.requests.at(-1);
    expect(request).toMatchObject({ method: 'POST', path: '/xms/v1/test0service0plan0id/batches' });
    expect(request?.headers.authorization).toBe('Bearer test-sinch-api-token');
    expect(request?.json).toEqual({
      from: 'Acme',
      to: ['998901234567'],
      body: 'Your code is 830417',
      client_reference: 'msg_00000000000000000000000001',
      expire_at: '2026-11-20T12:04:59.000Z',
      delivery_report: 'per_recipient',
      callback_url: 'http://127.0.0.1:1/report',
    });
  });

  it('asks for no reports without an address for them, and leaves the sender to the plan where it has none', async () => {
    const provider = await openUnsigned();
    expect(await provider.send(outgoingMessage(), AbortSignal.timeout(5000))).toMatchObject({ kind: 'accepted' });
    const body = JSON.parse(simulator.requests.at(-1)?.body ?? '') as object;
    expect(Object.keys(body)).toEqual(['to', 'body', 'client_reference', 'expire_at']);
  });

  it.each([
    [undefined, 'https://us.sms.api.sinch.com'],
    ['us', 'https://us.sms.api.sinch.com'],
    ['eu', 'https://eu.sms.api.sinch.com'],
    ['AU', 'https://au.sms.api.sinch.com'],
    ['br', 'https://br.sms.api.sinch.com'],
    ['ca', 'https://ca.sms.api.sinch.com'],
  ])('talks to the host of region %s', async (region, host) => {
    const urls: string[] = [];
    const spy: HttpClient = {
      ...http,
      postJson: (url) => {
        urls.push(url);
        return Promise.resolve({ kind: 'silence', reason: 'unavailable', code: 'spy' });
      },
    };
    const { baseUrl: _, ...settings } = settingsAt('');
    const provider = await sinch.create(region === undefined ? settings : { ...settings, region }, {
      now: () => time,
      http: spy,
    });
    await provider.send(outgoingMessage(), AbortSignal.timeout(5000));
    expect(urls).toEqual([`${host}/xms/v1/test0service0plan0id/batches`]);
  });

  it('knows its regions', () => {
    const faults = (region: string) => sinch.faults?.({ ...settingsAt('https://example.com'), region });
    expect(faults('eu')).toEqual([]);
    expect(faults('EU')).toEqual([]);
    expect(faults('mars')).toEqual(['SINCH_REGION must be one of us, eu, au, br, ca']);
  });

  it.each([
    [400, 'syntax_invalid_json', '', 'content'],
    [400, 'syntax_constraint_violation', 'the list to is too long', 'content'],
    [400, 'syntax_invalid_parameter_format', "Invalid MSISDN in 'to'", 'recipient'],
    [400, 'syntax_invalid_parameter_format', 'The recipient number is invalid.', 'recipient'],
    [400, 'syntax_invalid_parameter_format', "'from' is not a valid phone number", 'content'],
    [400, 'syntax_invalid_parameter_format', 'expire_at has to be a date', 'content'],
    [400, 'syntax_invalid_parameter_format', 'invalid callback_url', 'content'],
    [400, 'syntax_invalid_parameter_format', '', 'content'],
    [403, 'unknown_group', '', 'content'],
    [403, 'unknown_campaign', '', 'content'],
    [403, 'missing_callback_url', '', 'account'],
    [403, 'illegal_number_type', '', 'coverage'],
    [403, 'blocked_account', '', 'account'],
    [400, 'something_new', '', 'content'],
    [403, 'something_new', '', 'account'],
  ])('reads HTTP %i %s “%s” as %s', async (status, code, text, reason) => {
    answer({ code, text }, status);
    expect(await send()).toEqual({ kind: 'failed', reason, code });
  });

  it.each([
    [400, { code: 'to 998901234567 is wrong' }, 'content', '400'],
    [401, '', 'account', '401'],
    [402, '', 'account', '402'],
    [403, '<html>', 'account', '403'],
    [404, '', 'account', '404'],
    [429, '', 'throttled', '429'],
    [500, { code: 'blocked_account' }, 'uncertain', '500'],
    [503, '', 'unavailable', '503'],
  ])('reads HTTP %i with %o as %s', async (status, body, reason, code) => {
    answer(body, status);
    expect(await send()).toEqual({ kind: 'failed', reason, code });
  });

  it.each([
    [402, 'coverage'],
    [403, 'unavailable'],
    [404, 'unavailable'],
    [405, 'content'],
    [406, 'unavailable'],
    [407, 'unavailable'],
    [408, 'coverage'],
    [410, 'content'],
    [411, 'content'],
    [412, 'coverage'],
    [413, 'account'],
    [9, 'coverage'],
    [10, 'coverage'],
    [12, 'coverage'],
    [13, 'coverage'],
    [17, 'coverage'],
    [15, 'content'],
    [60, 'content'],
    [61, 'blocked'],
    [62, 'content'],
    [64, 'throttled'],
    [150, 'recipient'],
    [151, 'coverage'],
    [152, 'coverage'],
    [154, 'coverage'],
    [310, 'content'],
    [153, 'unavailable'],
  ])('reads code %i of a report as %s', async (code, reason) => {
    expect(await read(bodyOf('Aborted', code))).toEqual({
      kind: 'reports',
      reports: [{ providerMessageId: ID, state: 'failed', reason, code: String(code) }],
    });
  });

  it('reads the report on a batch as that of its one recipient', async () => {
    const statuses = [{ code: 412, count: 1, recipients: ['998901234567'], status: 'Aborted' }];
    expect(await read({ type: 'delivery_report_sms', batch_id: ID, statuses, total_message_count: 1 })).toEqual({
      kind: 'reports',
      reports: [{ providerMessageId: ID, state: 'failed', reason: 'coverage', code: '412' }],
    });
  });

  describe('signatures', () => {
    const parse = async (request: ReportRequest) => (await open()).parseReport?.(request);

    it('takes reports unsigned where Sinch was not asked to sign them', async () => {
      expect(await read(delivered)).toMatchObject({ kind: 'reports' });
    });

    it('takes either algorithm', async () => {
      const stronger = sinchSignature(textOf(delivered), SECRET, time, 'HmacSHA512');
      expect(await parse(report(delivered, stronger))).toMatchObject({ kind: 'reports' });
      const mislabelled = { ...stronger, 'x-sinch-webhook-signature-algorithm': 'HmacSHA256' };
      expect(await parse(report(delivered, mislabelled))).toEqual({ kind: 'refused', why: 'forged' });
    });

    it.each([
      [HOUR_MS, 'reports'],
      [HOUR_MS + 1000, 'refused'],
    ])('takes a report that is %i ms old: %s', async (ageMs, kind) => {
      const headers = sinchSignature(textOf(delivered), SECRET, time - ageMs);
      expect(await parse(report(delivered, headers))).toMatchObject({ kind });
    });

    // The vendor's own vector, of its library for .NET.
    it('takes the signature of a known message', async () => {
      const body =
        '{"app_id":"","accepted_time":"2021-10-18T17:49:13.813615Z","project_id":"e2df3a34-a71b-4448-9db5-a8d2baad28e4","contact_create_notification":{"contact":{"id":"01FJA8B466Y0R2GNXD78MD9SM1","channel_identities":[{"channel":"SMS","identity":"48123456789","app_id":""}],"display_name":"New Test Contact","email":"new.contact@email.com","external_id":"","metadata":"","language":"EN_US"}},"message_metadata":""}';
      const headers = {
        'x-sinch-webhook-signature-nonce': '01FJA8B4A7BM43YGWSG9GBV067',
        'x-sinch-webhook-signature-timestamp': '1634579353',
        'x-sinch-webhook-signature': '6bpJoRmFoXVjfJIVglMoJzYXxnoxRujzR4k2GOXewOE=',
      };
      const provider = await sinch.create(
        { ...settingsAt(simulator.url), webhookSecret: 'foo_secret1234' },
        { now: () => 1_634_579_353_000, http },
      );
      // Genuine, and no delivery report.
      expect(provider.parseReport?.(report(body, headers))).toEqual({ kind: 'refused', why: 'malformed' });
    });

    it('takes the reports that the simulator posts, but for a forged one', async () => {
      const provider = await open(Date.now);
      const outcomes: (ReportOutcome | undefined)[] = [];
      const server = createServer(async (request, response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk as Buffer);
        const { headers } = request;
        outcomes.push(provider.parseReport?.({ ...report(''), headers, rawBody: Buffer.concat(chunks) }));
        response.writeHead(204).end();
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const reportUrl = `http://127.0.0.1:${(server.address() as { port: number }).port}/report`;
      simulator.deliver({ status: 'Dispatched', isForged: true }, { status: 'Delivered', times: 2 });
      await provider.send(outgoingMessage({ reportUrl }), AbortSignal.timeout(5000));
      await simulator.settled();
      server.closeAllConnections();
      server.close();
      const good = {
        kind: 'reports',
        reports: [{ providerMessageId: simulator.messages[0]?.id, state: 'delivered' }],
      };
      expect(outcomes).toEqual([{ kind: 'refused', why: 'forged' }, good, good]);
    });
  });

  it('asks what became of a message', async () => {
    const provider = await open();
    const statuses = [{ code: 0, count: 1, status: 'Delivered' }];
    answer({ type: 'delivery_report_sms', batch_id: ID, statuses, total_message_count: 1 });
    expect(await provider.fetchReport?.(ID, AbortSignal.timeout(5000))).toEqual({
      providerMessageId: ID,
      state: 'delivered',
    });
    expect(simulator.requests.at(-1)?.path).toBe(`/xms/v1/test0service0plan0id/batches/${ID}/delivery_report`);
    expect(await provider.fetchReport?.('unknown', AbortSignal.timeout(5000))).toBeUndefined();
  });

  it('asks for batches from now on alone, as earlier ones have codes in them', async () => {
    expect(await probe()).toEqual({ kind: 'ready' });
    expect(simulator.requests.at(-1)?.path).toBe('/xms/v1/test0service0plan0id/batches');
    expect(simulator.requests.at(-1)?.query.toString()).toBe('page_size=1&start_date=2026-11-20T12%3A00%3A00.000Z');
  });

  it.each([
    [401, '', 'account', /SINCH_SERVICE_PLAN_ID and SINCH_API_TOKEN.*SINCH_REGION/],
    [404, '', 'account', /SINCH_SERVICE_PLAN_ID/],
    [402, '', 'account', /credit/],
    [403, { code: 'blocked_account' }, 'account', /credit/],
    [429, '', 'throttled', /again in a moment/],
    [502, '', 'unavailable', /SINCH_BASE_URL/],
  ])('says what to do about HTTP %i of a probe', async (status, body, reason, fix) => {
    answer(body, status);
    expect(await probe()).toMatchObject({ kind: 'failed', reason, fix: expect.stringMatching(fix) });
  });
});
