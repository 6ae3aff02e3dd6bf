import { randomUUID } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, SimulatorDefinition } from './simulator-kit.ts';

// Two gateways of our own invention, in the two styles in which most are made. Their configurations are the examples of
// docs/providers/http.md.

const LOGIN = 'test-login';
const PASSWORD = 'test-sms-password';
const TOKEN = 'test-gateway-token';
const REPORT_SECRET = 'test-report-secret';

const plain = (body: string): Answer => ({ status: 200, body });

/** Everything in the query of a GET, and answers of one line that are all 200. */
export const httpSimulator: SimulatorDefinition = {
  id: 'http',
  environment: (url) => ({ SMS_UZ_URL: url, SMS_UZ_LOGIN: LOGIN, SMS_UZ_PASSWORD: PASSWORD }),
  start: (options) => {
    let lastId = 100_000;
    return startHttpSimulator(
      {
        delivery: [{ status: 'SENT' }, { status: 'DELIVERED' }],
        refusals: {
          'bad-number': plain('ERROR 104 wrong number'),
          'refuse-inside-2xx': plain('ERROR 199 refused'),
          throttle: { status: 429, body: 'Too many requests', headers: { 'Retry-After': '2' } },
          credentials: plain('ERROR 101 wrong login or password'),
          balance: plain('ERROR 103 no money'),
          content: plain('ERROR 105 text is not approved'),
        },
        answer: ({ method, path, query }, take) => {
          if (method !== 'GET') return { status: 405, body: 'Method not allowed' };
          const field = (name: string) => query.get(name) ?? '';
          if (field('login') !== LOGIN || field('password') !== PASSWORD)
            return plain('ERROR 101 wrong login or password');
          if (path === '/sms/balance') return plain('BALANCE 125000.50');
          if (path !== '/sms/send') return { status: 404, body: 'Not found' };
          if (!/^\d{10,15}$/.test(field('phone'))) return plain('ERROR 104 wrong number');
          if (field('text') === '') return plain('ERROR 105 empty text');
          lastId += 1;
          const id = String(lastId);
          const reportUrl = query.get('dlr') ?? undefined;
          take({ id, to: `+${field('phone')}`, text: field('text'), reportUrl, fields: { from: field('from') } });
          return plain(`OK ${id}`);
        },
        withoutId: () => plain('OK'),
        report: ({ id, reportUrl }, { status, errorCode = 0 }) =>
          reportUrl === undefined
            ? undefined
            : { method: 'GET', url: `${reportUrl}?id=${id}&status=${status}&err=${errorCode}`, headers: {}, body: '' },
      },
      options,
    );
  },
};

const refused = (code: string): Answer => ({
  status: 200,
  body: { messages: [{ status: 'REJECTED', error: { code } }] },
});

/** JSON with a bearer token, one list of messages in the request and one in the answer. */
export const httpJsonSimulator: SimulatorDefinition = {
  id: 'http-json',
  environment: (url) => ({
    GATEWAY_URL: url,
    GATEWAY_TOKEN: TOKEN,
    GATEWAY_REPORT_SECRET: REPORT_SECRET,
  }),
  start: (options) =>
    startHttpSimulator(
      {
        delivery: [{ status: 'SENT' }, { status: 'DELIVERED' }],
        refusals: {
          'bad-number': refused('INVALID_NUMBER'),
          'refuse-inside-2xx': refused('SOMETHING_ELSE'),
          throttle: { status: 429, body: { error: 'slow down' } },
          credentials: { status: 401, body: { error: 'unauthorized' } },
          balance: { status: 402, body: { error: 'payment required' } },
          content: refused('SENDER_NOT_ALLOWED'),
        },
        answer: ({ method, path, headers, json }, take) => {
          if (headers.authorization !== `Bearer ${TOKEN}`) return { status: 401, body: { error: 'unauthorized' } };
          if (method === 'GET' && path === '/v1/balance') return { status: 200, body: { account: { balance: 12.5 } } };
          if (method !== 'POST' || path !== '/v1/messages') return { status: 404, body: { error: 'not found' } };
          const { messages, sender, callback } = json as {
            messages: readonly { to: string; text: string; ttl: number }[];
            sender?: string;
            callback?: string;
          };
          const taken = messages.map(({ to, text, ttl }) => {
            const isGood = /^\+\d{10,15}$/.test(to) && text !== '' && Number.isInteger(ttl);
            if (!isGood) return { status: 'REJECTED', error: { code: 'INVALID_NUMBER' } };
            const id = randomUUID();
            take({ id, to, text, reportUrl: callback, fields: { sender } });
            return { id, status: 'ACCEPTED' };
          });
          return { status: 200, body: { messages: taken } };
        },
        withoutId: () => ({ status: 200, body: { messages: [{ status: 'ACCEPTED' }] } }),
        report: ({ id, reportUrl }, { status, errorCode, isForged }) =>
          reportUrl === undefined
            ? undefined
            : {
                url: reportUrl,
                headers: { 'Content-Type': 'application/json' },
                body: JSON.stringify({
                  secret: isForged === true ? 'wrong-report-secret' : REPORT_SECRET,
                  results: [{ messageId: id, state: status, error: errorCode ?? null }],
                }),
              },
      },
      options,
    ),
};
