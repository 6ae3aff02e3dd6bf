import { createHmac, randomUUID } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, SimulatorDefinition } from './simulator-kit.ts';

const AUTH_ID = 'MATESTTESTTESTTESTTE';
const AUTH_TOKEN = 'test-plivo-auth-token';

const refusal = (status: number, error: string): Answer => ({ status, body: { api_id: randomUUID(), error } });

const unauthorized: Answer = {
  status: 401,
  body: 'Could not verify your access level for that URL.\nYou have to login with proper credentials',
  type: 'text/html; charset=utf-8',
};

/**
 * Answers like `api.plivo.com`. Source: https://www.plivo.com/docs/messaging/api/messages (read 2026-11-20); written
 * against that and the vendor's own libraries, not against our provider file.
 */
export const plivoSimulator: SimulatorDefinition = {
  id: 'plivo',
  environment: (url) => ({
    PLIVO_BASE_URL: url,
    PLIVO_AUTH_ID: AUTH_ID,
    PLIVO_AUTH_TOKEN: AUTH_TOKEN,
    PLIVO_FROM: '15005550006',
  }),
  start: (options) =>
    startHttpSimulator(
      {
        delivery: [{ status: 'sent' }, { status: 'delivered' }],
        refusals: {
          'bad-number': refusal(400, "'1111111' is not a valid phone number."),
          'refuse-inside-2xx': {
            status: 202,
            body: { api_id: randomUUID(), message: 'message(s) queued', message_uuid: [], invalid_number: ['1111111'] },
          },
          throttle: { ...refusal(429, 'Too many requests'), headers: { 'Retry-After': '2' } },
          credentials: unauthorized,
          balance: refusal(402, 'insufficient credit'),
          content: refusal(400, 'src parameter is not valid'),
        },
        answer: (request, take) => {
          const login = `Basic ${Buffer.from(`${AUTH_ID}:${AUTH_TOKEN}`).toString('base64')}`;
          if (request.headers.authorization !== login) return unauthorized;
          const account = `/v1/Account/${AUTH_ID}/`;
          if (request.method === 'GET' && request.path === account) return { status: 200, body: accountBody() };
          if (request.method !== 'POST' || request.path !== `${account}Message/`) return refusal(404, 'not found');
          const { src, powerpack_uuid, dst, text, url } = (request.json ?? {}) as Record<string, string | undefined>;
          if ((src === undefined) === (powerpack_uuid === undefined))
            return refusal(400, 'either src or powerpack_uuid has to be given');
          if (text === undefined || text === '') return refusal(400, 'text parameter not present');
          if (dst === undefined || !/^\d{8,15}$/.test(dst))
            return refusal(400, `'${dst}' is not a valid phone number.`);
          const id = randomUUID();
          take({ id, to: `+${dst}`, text, reportUrl: url, fields: { src } });
          return {
            status: 202,
            body: { api_id: randomUUID(), message: 'message(s) queued', message_uuid: [id] },
          };
        },
        withoutId: ({ status }) => ({ status, body: { api_id: randomUUID(), message: 'message(s) queued' } }),
        report: ({ id, to, reportUrl, fields }, { status, errorCode, isForged }) => {
          if (reportUrl === undefined) return undefined;
          const form = {
            MessageUUID: id,
            To: to.slice(1),
            From: String(fields['src'] ?? ''),
            Type: 'sms',
            Status: status,
            Units: '1',
            TotalRate: '0.00550',
            TotalAmount: '0.00550',
            MCC: '434',
            MNC: '05',
            ErrorCode: String(errorCode ?? '000'),
          };
          const token = isForged === true ? 'not-the-token' : AUTH_TOKEN;
          return {
            url: reportUrl,
            headers: { 'Content-Type': 'application/x-www-form-urlencoded', ...plivoSignature(reportUrl, form, token) },
            body: new URLSearchParams(form).toString(),
          };
        },
      },
      options,
    ),
};

function accountBody() {
  return {
    account_type: 'standard',
    api_id: randomUUID(),
    auth_id: AUTH_ID,
    auto_recharge: false,
    billing_mode: 'prepaid',
    cash_credits: '12.34500',
    state: null,
    timezone: 'UTC',
  };
}

/**
 * The headers of a signed report.
 * Source: https://github.com/plivo/plivo-python/blob/master/plivo/utils/signature_v3.py (read 2026-11-20).
 * @param token of the account that sends; `mainToken` is that of the account above it
 */
export function plivoSignature(
  address: string,
  form: Readonly<Record<string, string>>,
  token: string,
  mainToken: string = token,
  nonce: string = randomUUID(),
): Record<string, string> {
  const [plain = '', query = ''] = address.split('?');
  const pairs =
    query === ''
      ? ''
      : [...new URLSearchParams(query)]
          .map(([k, v]) => `${k}=${v}`)
          .sort()
          .join('&');
  const names = Object.keys(form).sort();
  const mark = query === '' && names.length === 0 ? '' : '?';
  const dot = query !== '' && names.length > 0 ? '.' : '';
  const data = plain + mark + pairs + dot + names.map((name) => `${name}${form[name]}`).join('');
  const sign = (key: string) => createHmac('sha256', key).update(`${data}.${nonce}`).digest('base64');
  return {
    'x-plivo-signature-v3': sign(token),
    'x-plivo-signature-ma-v3': sign(mainToken),
    'x-plivo-signature-v3-nonce': nonce,
  };
}
