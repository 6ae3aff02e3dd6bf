import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createHttpClient, type HttpClient } from '../../src/provider-kit/http-client.ts';
import { getsms } from '../../src/providers/getsms.ts';
import { getsmsSimulator } from '../../src/simulators/getsms.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

const settingsAt = (baseUrl: string) => ({ login: 'test-getsms', password: 'test-getsms-password', baseUrl });

describeProvider('getsms', {
  definition: getsms,
  open: async () => benchOf(await getsmsSimulator.start()),
  settings: settingsAt,
  wrongSettings: (url) => ({ ...settingsAt(url), password: 'wrong-getsms-password' }),
  cannot: { throttle: 'GetSMS has no refusal for it' },
  hasProbe: true,
  reports: 'none',
});

describe('getsms', () => {
  let simulator: Simulator;
  let http: HttpClient;

  beforeEach(async () => {
    [simulator, http] = [await getsmsSimulator.start(), createHttpClient(Date.now)];
  });
  afterEach(async () => {
    http.close();
    await simulator.close();
  });

  const open = (more: object = {}) => getsms.create({ ...settingsAt(simulator.url), ...more }, { now: Date.now, http });
  const send = async (more: object = {}) => (await open(more)).send(outgoingMessage(), AbortSignal.timeout(5000));
  const fetchReport = async (id: string) => (await open()).fetchReport?.(id, AbortSignal.timeout(5000));
  const probe = async () => (await open()).probe?.(AbortSignal.timeout(5000));
  const answerNext = (status: number, body: unknown) => simulator.behave({ kind: 'answer', answer: { status, body } });
  const refused = (number: unknown) => ({ error: 1, error_text: 'Refused', error_no: number });

  it('sends a form with a list of one message as JSON in it', async () => {
    await send();
    const [request] = simulator.requests;
    expect(request).toMatchObject({ method: 'POST', path: '/' });
    expect(request?.headers['content-type']).toBe('application/x-www-form-urlencoded');
    expect(request?.form).toEqual({
      login: 'test-getsms',
      password: 'test-getsms-password',
      data: '[{"phone":"998901234567","text":"Your code is 830417"}]',
    });
  });

  it('sends the nickname of the settings', async () => {
    await send({ nickname: 'Acme' });
    expect(simulator.requests[0]?.form).toMatchObject({ nickname: 'Acme' });
  });

  it('keeps the path of its address', async () => {
    await send({ baseUrl: `${simulator.url}/smsgateway/` });
    expect(simulator.requests[0]?.path).toBe('/smsgateway/');
  });

  it('gives the request id, by which messages are asked about', async () => {
    expect(await send()).toEqual({ kind: 'accepted', providerMessageId: simulator.messages[0]?.id });
  });

  it.each([
    ...['100', '101', '102', '103'].map((number) => [number, 'account']),
    ...['200', '201', '202', '203'].map((number) => [number, 'content']),
    ['300', 'recipient'],
    ['999', 'content'],
  ])('reads error %s as %s', async (number, reason) => {
    answerNext(200, [refused(Number(number))]);
    expect(await send()).toEqual({ kind: 'failed', reason, code: `error ${number}` });
  });

  it.each([
    ['a text', [refused('300')], 'error 300'],
    ['outside a list', refused(300), 'error 300'],
    ['missing', [{ error: 1, text: 'Refused' }], 'refused'],
  ])('reads a refusal whose number is %s', async (_, body, code) => {
    answerNext(200, body);
    expect(await send()).toMatchObject({ kind: 'failed', code });
  });

  it('does not take `error: 0` for a refusal', async () => {
    answerNext(200, [{ error: 0, error_no: 0, request_id: 12_810_522 }]);
    expect(await send()).toEqual({ kind: 'accepted', providerMessageId: '12810522' });
  });

  it.each([
    [403, 'account'],
    [404, 'account'],
    [429, 'throttled'],
    [502, 'uncertain'],
  ])('reads a bare HTTP %i as %s', async (status, reason) => {
    answerNext(status, 'Refused');
    expect(await send()).toMatchObject({ kind: 'failed', reason, code: String(status) });
  });

  describe('asked what became of a message', () => {
    it('says what GetSMS says', async () => {
      simulator.deliver({ status: 'transmitted' });
      const outcome = await send();
      const id = outcome.kind === 'accepted' ? outcome.providerMessageId : '';
      await simulator.settled();
      expect(await fetchReport(id)).toEqual({ providerMessageId: id, state: 'sent' });
      expect(simulator.requests.at(-1)).toMatchObject({
        path: '/status/',
        form: { login: 'test-getsms', password: 'test-getsms-password', data: `[{"request_id":"${id}"}]` },
      });
    });

    it.each([
      ['transmitted', { state: 'sent' }],
      ['sent', { state: 'sent' }],
      ['Delivered', { state: 'delivered' }],
      ['not delivered', { state: 'undelivered', reason: 'unavailable', code: 'notdelivered' }],
      ['undelivered', { state: 'undelivered', reason: 'unavailable', code: 'undelivered' }],
      ['expired', { state: 'undelivered', reason: 'unavailable', code: 'expired' }],
      ['rejected', { state: 'failed', reason: 'blocked', code: 'rejected' }],
      ['failed', { state: 'failed', reason: 'unavailable', code: 'failed' }],
      ['teleported', { state: 'unknown' }],
    ])('reads the state "%s"', async (status, expected) => {
      answerNext(200, [{ request_id: 7, status, count_messages: '1', description: 'OK' }]);
      expect(await fetchReport('7')).toEqual({ providerMessageId: '7', ...expected });
    });

    it.each([
      ['a message that GetSMS does not know', 200, [refused(400)]],
      ['an answer without a state', 200, [{ request_id: 7 }]],
      ['a server error', 500, [{ status: 'delivered' }]],
      ['an answer that is no JSON', 200, 'delivered'],
    ])('says nothing after %s', async (_, status, body) => {
      answerNext(status, body);
      expect(await fetchReport('7')).toBeUndefined();
    });

    it('says nothing when nobody answers', async () => {
      simulator.behave('drop-after-reading');
      expect(await fetchReport('7')).toBeUndefined();
    });
  });

  describe('probe', () => {
    it('asks about a message that does not exist, and sends none', async () => {
      expect(await probe()).toMatchObject({ kind: 'ready' });
      expect(simulator.requests[0]).toMatchObject({ path: '/status/', form: { data: '[{"request_id":0}]' } });
      expect(simulator.messages).toEqual([]);
    });

    it.each([
      [100, /GETSMS_LOGIN/],
      [101, /GETSMS_PASSWORD/],
      [102, /blocked/],
      [103, /limit/],
    ])('says what to do about error %i', async (number, fix) => {
      answerNext(200, [refused(number)]);
      expect(await probe()).toEqual({
        kind: 'failed',
        reason: 'account',
        code: `error ${number}`,
        fix: expect.stringMatching(fix),
      });
    });

    it('names the list of addresses after a 403', async () => {
      answerNext(403, 'Forbidden');
      expect(await probe()).toMatchObject({ reason: 'account', code: '403', fix: expect.stringMatching(/address/) });
    });

    it.each([
      ['another error about the question', [refused(201)]],
      ['an empty list', []],
      ['a state', [{ request_id: 0, status: 'failed' }]],
    ])('is ready after %s', async (_, body) => {
      answerNext(200, body);
      expect(await probe()).toMatchObject({ kind: 'ready' });
    });

    it('is not ready when some other JSON answers', async () => {
      answerNext(200, { hello: 'world' });
      expect(await probe()).toMatchObject({ kind: 'failed', fix: expect.stringContaining('GETSMS_BASE_URL') });
    });
  });

  it('refuses a base address that is none', () => {
    expect(getsms.faults?.(settingsAt('185.8.212.184'))).toEqual([expect.stringContaining('GETSMS_BASE_URL')]);
  });
});
