import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ConfigError, resolveConfig } from '../../src/config/load.ts';
import type { MessagingProvider, ReportRequest } from '../../src/domain/provider.ts';
import { createHttpClient } from '../../src/provider-kit/http-client.ts';
import { http } from '../../src/providers/http.ts';
import { providerDefinitions } from '../../src/providers/index.ts';
import { httpJsonSimulator, httpSimulator } from '../../src/simulators/http.ts';
import type { Answer, Simulator, SimulatorDefinition } from '../../src/simulators/simulator-kit.ts';
import { benchOf, describeProvider, outgoingMessage } from '../provider-kit/provider-suite.ts';

type Settings = Parameters<typeof http.create>[0];

/** The examples of the document: they are what is tested. */
const [smsUz = '', gateway = ''] = [
  ...readFileSync(new URL('../../docs/providers/http.md', import.meta.url), 'utf8').matchAll(
    /^```yaml\n([\s\S]*?)^```$/gm,
  ),
].map(([, yaml = '']) => yaml);

function settingsOf(yaml: string, environment: Readonly<Record<string, string>>): Settings {
  const [provider] = resolveConfig(parse(yaml), environment, providerDefinitions, '/srv/app').providers;
  return provider?.settings as Settings;
}

const post = (body: string, url = 'https://codes.example/v1/reports/gateway/c2VjcmV0'): ReportRequest => ({
  method: 'POST',
  url,
  headers: {},
  rawBody: new TextEncoder().encode(body),
});
const inQuery = (query: string): ReportRequest => ({ ...post('', `https://codes.example/r?${query}`), method: 'GET' });
const inJson = (results: unknown, secret: unknown = 'test-report-secret') => post(JSON.stringify({ secret, results }));

const states = [
  ['SENT', { state: 'sent' }],
  ['delivered', { state: 'delivered' }],
  ['EXPIRED', { state: 'undelivered', reason: 'unavailable' }],
  ['TELEPORTED', { state: 'unknown' }],
] as const;

describeProvider('http: all in the query, answers of one line', {
  definition: http,
  open: async () => benchOf(await httpSimulator.start()),
  settings: (url) => settingsOf(smsUz, httpSimulator.environment(url)),
  wrongSettings: (url) => ({ ...settingsOf(smsUz, httpSimulator.environment(url)), password: 'wrong-sms-password' }),
  hasProbe: true,
  reports: {
    states: [
      ...states.map(([status, expected]) => ({
        name: status,
        request: inQuery(`id=100001&status=${status}&err=0`),
        expected: [{ providerMessageId: '100001', ...expected }],
      })),
      {
        name: 'FAILED with an error that says why',
        request: inQuery('id=100001&status=FAILED&err=7'),
        expected: [{ providerMessageId: '100001', state: 'failed', reason: 'recipient', code: 'FAILED 7' }],
      },
    ],
    malformed: [inQuery(''), inQuery('id=100001'), inQuery('status=SENT'), inQuery('id=&status=SENT')],
    forged: 'unsigned',
  },
});

describeProvider('http: JSON with a token', {
  definition: http,
  open: async () => benchOf(await httpJsonSimulator.start()),
  settings: (url) => settingsOf(gateway, httpJsonSimulator.environment(url)),
  wrongSettings: (url) => ({
    ...settingsOf(gateway, httpJsonSimulator.environment(url)),
    token: 'wrong-gateway-token',
  }),
  hasProbe: true,
  reports: {
    states: [
      ...states.map(([state, expected]) => ({
        name: state,
        request: inJson([{ messageId: 'm1', state }]),
        expected: [{ providerMessageId: 'm1', ...expected }],
      })),
      {
        name: 'several at once, and leaves out what is none',
        request: inJson([
          { messageId: 5, state: 'FAILED', error: 'E7' },
          { messageId: 'm2' },
          { messageId: 'm3', state: 'SENT' },
        ]),
        expected: [
          { providerMessageId: '5', state: 'failed', reason: 'recipient', code: 'FAILED E7' },
          { providerMessageId: 'm3', state: 'sent' },
        ],
      },
      {
        name: 'an error that is a sentence, without repeating it',
        request: inJson([{ messageId: 'm1', state: 'FAILED', error: 'could not send 830417 to you' }]),
        expected: [{ providerMessageId: 'm1', state: 'failed', reason: 'unavailable', code: 'FAILED' }],
      },
    ],
    malformed: [post(''), post('<html>'), inJson([]), inJson([{}]), inJson(undefined)],
    forged: [
      { name: 'another secret', request: inJson([{ messageId: 'm1', state: 'SENT' }], 'wrong-report-secret') },
      { name: 'no secret', request: inJson([{ messageId: 'm1', state: 'SENT' }], null) },
      { name: 'the secret as a list', request: inJson([{ messageId: 'm1', state: 'SENT' }], ['test-report-secret']) },
    ],
  },
});

describe('http', () => {
  const client = createHttpClient(Date.now);
  let simulator: Simulator;

  beforeEach(async () => {
    simulator = await httpSimulator.start();
  });
  afterEach(() => simulator.close());

  const minimal = { request: { url: 'https://gateway.example', form: { n: '{to}', t: '{text}' } }, id: { json: 'id' } };
  const open = async (settings: Settings): Promise<MessagingProvider> =>
    http.create(settings, { now: Date.now, http: client });

  async function sendThrough(
    settings: Partial<Settings>,
    over = {},
    answer: Answer = { status: 200, body: { id: 1 } },
  ) {
    simulator.behave({ kind: 'answer', answer });
    const request = { ...minimal.request, url: simulator.url, ...settings.request };
    const provider = await open({ ...minimal, ...settings, request } as Settings);
    return provider.send(outgoingMessage(over), AbortSignal.timeout(5000));
  }

  async function start(definition: SimulatorDefinition) {
    await simulator.close();
    simulator = await definition.start();
  }

  it('sends what the first example says', async () => {
    const provider = await open(settingsOf(smsUz, httpSimulator.environment(simulator.url)));
    const text = 'Kod: 830417 & «Acme»';
    await provider.send(outgoingMessage({ text, reportUrl: 'http://127.0.0.1:1/r/x?y=1' }), AbortSignal.timeout(5000));
    const [request] = simulator.requests;
    expect(request).toMatchObject({ method: 'GET', path: '/sms/send', body: '' });
    expect(Object.fromEntries(request?.query ?? [])).toEqual({
      login: 'test-login',
      password: 'test-sms-password',
      from: 'Acme',
      phone: '998901234567',
      text,
      dlr: 'http://127.0.0.1:1/r/x?y=1',
    });
  });

  it('leaves a field out whose value there is not', async () => {
    const provider = await open(settingsOf(smsUz, httpSimulator.environment(simulator.url)));
    await provider.send(outgoingMessage(), AbortSignal.timeout(5000));
    expect(simulator.requests[0]?.query.has('dlr')).toBe(false);
  });

  it('sends what the second example says', async () => {
    await start(httpJsonSimulator);
    const provider = await open(settingsOf(gateway, httpJsonSimulator.environment(simulator.url)));
    await provider.send(outgoingMessage({ text: '"830417"\n' }), AbortSignal.timeout(5000));
    expect(simulator.requests[0]).toMatchObject({
      method: 'POST',
      path: '/v1/messages',
      headers: { authorization: 'Bearer test-gateway-token', 'content-type': 'application/json' },
    });
    expect(simulator.requests[0]?.json).toEqual({
      sender: 'Acme',
      messages: [{ to: '+998901234567', text: '"830417"\n', ttl: 300 }],
    });
  });

  it.each([
    ['basic', { auth: 'basic', user: 'me', password: 'secret' }, { authorization: 'Basic bWU6c2VjcmV0' }],
    ['bearer', { auth: 'bearer', token: 'secret' }, { authorization: 'Bearer secret' }],
    ['header', { auth: 'header', authHeader: 'X-Key', token: 'secret' }, { 'x-key': 'secret' }],
  ] as const)('logs in: %s', async (_, settings, headers) => {
    await sendThrough(settings);
    expect(simulator.requests[0]?.headers).toMatchObject(headers);
  });

  it.each([
    ['application/xml', '<t>{text}</t>', `<t>&#60;a b=&#34;&#38;&#34;&#62;</t>`],
    ['application/json', '{"t":"{text}","n":1}', '{"t":"<a b=\\"&\\">","n":1}'],
    ['application/x-www-form-urlencoded', 't={text}', 't=%3Ca%20b%3D%22%26%22%3E'],
    ['text/plain', '{text}', '<a b="&">'],
  ])('encodes a text body as %s', async (type, template, expected) => {
    const request = { url: simulator.url, headers: { 'Content-Type': type }, form: undefined, text: template };
    await sendThrough({ request: request as never }, { text: '<a b="&">' });
    expect(simulator.requests[0]).toMatchObject({ body: expected, headers: { 'content-type': type } });
  });

  it('encodes what stands in the address', async () => {
    const request = {
      method: 'GET' as const,
      url: `${simulator.url}/to/{to}?t={text}`,
      form: undefined,
      query: { c: '{code}' },
    };
    await sendThrough({ request: request as never }, { text: 'a/b?c&d' });
    expect(simulator.requests[0]?.path).toBe('/to/%2B998901234567');
    expect(Object.fromEntries(simulator.requests[0]?.query ?? [])).toEqual({ t: 'a/b?c&d', c: '830417' });
  });

  it('does not fill in what a text only seems to ask for', async () => {
    await sendThrough({ from: 'Acme' }, { text: 'Your {from} code is {code}' });
    expect(simulator.requests[0]?.form['t']).toBe('Your {from} code is {code}');
  });

  it('takes its own id where the gateway keeps to it', async () => {
    const request = { url: simulator.url, form: { n: '{to}', t: '{text}', ref: '{message_id}' } };
    expect(await sendThrough({ id: 'ours', request }, {}, { status: 200, body: 'fine' })).toEqual({
      kind: 'accepted',
      providerMessageId: 'msg_00000000000000000000000001',
    });
  });

  it.each<[string, Partial<Settings>, Answer, object]>([
    [
      'a status that is not named',
      { success: { status: [201] } },
      { status: 200, body: { id: 1 } },
      { reason: 'uncertain' },
    ],
    ['a status that is', { success: { status: [201] } }, { status: 201, body: { id: 1 } }, { kind: 'accepted' }],
    [
      'another word',
      { success: { json: { path: 'ok', is: [true] } } },
      { status: 200, body: { id: 1, ok: false } },
      { reason: 'content', code: 'refused' },
    ],
    [
      'no word',
      { success: { json: { path: 'ok', is: [true] } } },
      { status: 200, body: { id: 1 } },
      { reason: 'uncertain', code: 'unreadable' },
    ],
    [
      'an error by status',
      { errors: [{ status: 409, reason: 'blocked' }] },
      { status: 409, body: {} },
      { reason: 'blocked', code: 'errors 0' },
    ],
    [
      'an error by status and words',
      { errors: [{ status: 400, match: 'stop', reason: 'blocked', optOut: true, code: 'X1' }] },
      { status: 400, body: 'STOP' },
      { reason: 'blocked', code: 'X1', optOut: true },
    ],
    [
      'words with another status',
      { errors: [{ status: 400, match: 'stop', reason: 'blocked' }] },
      { status: 422, body: 'stop' },
      { reason: 'content', code: '422' },
    ],
    [
      'an error in an answer that looks good',
      { errors: [{ match: '"id":1', reason: 'coverage' }] },
      { status: 200, body: { id: 1 } },
      { reason: 'coverage' },
    ],
    ['503', {}, { status: 503, body: '' }, { reason: 'unavailable' }],
    ['404', {}, { status: 404, body: '' }, { reason: 'account' }],
  ])('reads %s', async (_, settings, answer, expected) => {
    expect(await sendThrough(settings, {}, answer)).toMatchObject(expected);
  });

  it('refuses a custom message where the request has the code alone', async () => {
    const request = { url: simulator.url, form: { n: '{to}', c: '{code}' } };
    expect(await sendThrough({ request })).toMatchObject({ kind: 'accepted' });
    expect(await sendThrough({ request }, { code: undefined })).toMatchObject({ reason: 'content', code: 'no-code' });
    expect(simulator.requests).toHaveLength(1);
  });

  it('has neither a reader nor a probe where none is configured', async () => {
    expect(Object.keys(await open(minimal))).toEqual(['send']);
  });

  it('says to top up when the balance is not above the least', async () => {
    const settings = settingsOf(smsUz, httpSimulator.environment(simulator.url));
    const balance = { ...settings.balance, least: 200_000 } as NonNullable<Settings['balance']>;
    const provider = await open({ ...settings, balance });
    expect(await provider.probe?.(AbortSignal.timeout(5000))).toMatchObject({ kind: 'failed', code: 'balance' });
  });

  it('reads reports in the body of a form', async () => {
    const provider = await open({
      ...minimal,
      report: { in: 'form', id: 'id', state: 'st', states: { ok: 'delivered' } },
    });
    expect(provider.parseReport?.(post('id=7&st=OK'))).toEqual({
      kind: 'reports',
      reports: [{ providerMessageId: '7', state: 'delivered' }],
    });
  });

  it('finds no reason in what every object has', async () => {
    const states = { no: 'failed' } as const;
    const report = { in: 'form', id: 'id', state: 'st', error: 'err', states, reasons: { 5: 'recipient' } } as const;
    const provider = await open({ ...minimal, report });
    for (const error of ['constructor', 'toString', '__proto__'])
      expect(provider.parseReport?.(post(`id=7&st=no&err=${error}`))).toMatchObject({
        reports: [{ state: 'failed', reason: 'unavailable' }],
      });
    expect(provider.parseReport?.(post('id=7&st=no&err=5'))).toMatchObject({ reports: [{ reason: 'recipient' }] });
  });

  it('says of a simulated message what became of it', async () => {
    const requests: string[] = [];
    const { createServer } = await import('node:http');
    const server = createServer((request, response) => {
      requests.push(request.url ?? '');
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const provider = await open(settingsOf(smsUz, httpSimulator.environment(simulator.url)));
    const reportUrl = `http://127.0.0.1:${port}/r`;
    await provider.send(outgoingMessage({ reportUrl }), AbortSignal.timeout(5000));
    await simulator.settled();
    server.close();
    const read = requests.map((url) => provider.parseReport?.({ ...inQuery(''), url: `http://127.0.0.1${url}` }));
    expect(read).toMatchObject([{ reports: [{ state: 'sent' }] }, { reports: [{ state: 'delivered' }] }]);
  });

  describe('a configuration', () => {
    function faultsOf(settings: object, environment = {}): readonly string[] {
      try {
        const file = { providers: { 'sms-uz': { provider: 'http', ...minimal, ...settings } } };
        resolveConfig(file, environment, providerDefinitions, '/srv/app');
        return [];
      } catch (error) {
        if (error instanceof ConfigError) return error.faults;
        throw error;
      }
    }
    const named = `$\{SMS_UZ_PASSWORD}`;
    const requestOf = (request: object) => ({ request: { ...minimal.request, ...request } });

    it('may be no more than request and id', () => {
      expect(faultsOf({})).toEqual([]);
    });

    it.each<[object, string]>([
      [requestOf({ form: { n: '{phone}', to: '{to}', t: '{text}' } }), 'request.form.n {phone} is no placeholder'],
      [requestOf({ form: { t: '{text}' } }), 'request has neither {to} nor {to_digits}'],
      [requestOf({ form: { n: '{to}' } }), 'request has neither {text} nor {code}'],
      [requestOf({ url: 'ftp://gateway.example' }), 'request.url must be an address'],
      [requestOf({ url: 'https://{to}.example' }), 'request.url has a placeholder in its host'],
      [requestOf({ url: 'https://me:secret@gateway.example' }), 'request.url has credentials in it'],
      [requestOf({ json: {} }), 'request has form and json'],
      [requestOf({ method: 'GET' }), 'request.method GET has no form body'],
      [requestOf({ headers: { 'X-Text': '{text}' } }), 'request.headers.X-Text {text} cannot stand in a header'],
      [requestOf({ query: { login: '{user}' } }), 'user is missing: request has {user}'],
      [requestOf({ qery: {} }), 'request.qery is not a known key; did you mean query?'],
      [{ auth: 'bearer' }, 'token is missing: auth is bearer'],
      [{ id: 'ours' }, "id is 'ours'"],
      [{ id: { text: 'OK' } }, 'id.text needs one group'],
      [{ id: { text: '(' } }, 'id.text is no regular expression'],
      [{ success: { text: '[' } }, 'success.text is no regular expression'],
      [{ errors: [{ match: '*', reason: 'account' }] }, 'errors.0.match is no regular expression'],
      [{ errors: [{ reason: 'account' }] }, 'errors.0 needs match or status'],
      [{ errors: [{ status: 400, reason: 'acount' }] }, 'errors.0.reason must be one of recipient'],
      [{ reportSecret: 'long enough' }, ' needs both or neither'],
      [{ balance: { request: { url: 'https://gateway.example' } } }, 'balance needs one of json and text'],
      [
        { balance: { request: { url: 'https://gateway.example/{to}' }, json: 'b' } },
        'balance.request.url {to} is no placeholder',
      ],
      [{ password: named }, 'password names SMS_UZ_PASSWORD, and that variable is not set'],
      [{ provider: 'htp' }, 'provider is not a provider that Countersign knows; did you mean http?'],
    ])('%j is at fault, and its place is named', (settings, fault) => {
      const place = fault.startsWith(' ') ? 'providers.sms-uz' : 'providers.sms-uz.';
      expect(faultsOf(settings)).toContainEqual(expect.stringContaining(place + fault));
    });

    it('never repeats what a variable says', () => {
      const faults = faultsOf({ password: named, auth: named }, { SMS_UZ_PASSWORD: 'pa55word' });
      expect(faults).not.toEqual([]);
      expect(faults.join()).not.toContain('pa55word');
    });
  });
});
