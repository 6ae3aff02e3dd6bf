import { createHmac, randomUUID } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, SimulatorDefinition } from './simulator-kit.ts';

const SERVICE_PLAN_ID = 'test0service0plan0id';
const API_TOKEN = 'test-sinch-api-token';
const WEBHOOK_SECRET = 'test-sinch-webhook-secret';

const refusal = (status: number, code: string, text: string): Answer => ({ status, body: { code, text } });

const unauthorized: Answer = { status: 401, body: '', type: 'text/plain' };

/** Numbers that come with a status, as in the vendor's table. */
const codes: ReadonlyMap<string, number> = new Map([
  ['Queued', 400],
  ['Dispatched', 401],
  ['Delivered', 0],
]);

/**
 * Answers like `{region}.sms.api.sinch.com`. Source: https://developers.sinch.com/docs/sms/api-reference/ (read 2026-11-20);
 * written against that, not against our provider file. Its reports are signed, as Sinch does for accounts that ask for it.
 */
export const sinchSimulator: SimulatorDefinition = {
  id: 'sinch',
  environment: (url) => ({
    SINCH_BASE_URL: url,
    SINCH_SERVICE_PLAN_ID: SERVICE_PLAN_ID,
    SINCH_API_TOKEN: API_TOKEN,
    SINCH_WEBHOOK_SECRET: WEBHOOK_SECRET,
    SINCH_FROM: 'Acme',
  }),
  start: (options) =>
    startHttpSimulator(
      {
        delivery: [{ status: 'Queued' }, { status: 'Dispatched' }, { status: 'Delivered' }],
        refusals: {
          'bad-number': refusal(400, 'syntax_invalid_parameter_format', "Invalid format of an MSISDN in field 'to'"),
          throttle: { status: 429, body: '', type: 'text/plain', headers: { 'Retry-After': '2' } },
          credentials: unauthorized,
          balance: refusal(403, 'blocked_account', 'Your account is blocked due to insufficient credit balance'),
          content: refusal(400, 'syntax_constraint_violation', "Field 'body' is too long"),
        },
        answer: (request, take) => {
          if (request.headers.authorization !== `Bearer ${API_TOKEN}`) return unauthorized;
          const path = `/xms/v1/${SERVICE_PLAN_ID}/batches`;
          if (request.method === 'GET' && request.path === path)
            return { status: 200, body: { count: 0, page: 0, batches: [], page_size: 1 } };
          if (request.method !== 'POST' || request.path !== path) return { status: 404, body: '', type: 'text/plain' };
          if (request.json === undefined) return refusal(400, 'syntax_invalid_json', 'The request is no JSON');
          const batch = request.json as Record<string, unknown>;
          const { to, body, from, delivery_report: asked, callback_url: url, expire_at: expires } = batch;
          const [recipient] = Array.isArray(to) ? to : [];
          if (typeof recipient !== 'string' || typeof body !== 'string' || body === '')
            return refusal(400, 'syntax_constraint_violation', 'A field is missing');
          if (!/^\+?\d{8,15}$/.test(recipient))
            return refusal(400, 'syntax_invalid_parameter_format', "Invalid format of an MSISDN in field 'to'");
          if (typeof expires === 'string' && Number.isNaN(Date.parse(expires)))
            return refusal(400, 'syntax_invalid_parameter_format', "Field 'expire_at' is no date");
          if (asked !== undefined && asked !== 'none' && typeof url !== 'string')
            return refusal(403, 'missing_callback_url', 'Callback has been requested but no URL is provided');
          const id = randomUUID();
          const reportUrl = asked === 'per_recipient' && typeof url === 'string' ? url : undefined;
          const { client_reference } = batch;
          take({ id, to: `+${recipient.replace('+', '')}`, text: body, reportUrl, fields: { client_reference } });
          const at = '2026-11-20T15:00:00.000Z';
          const answered = { id, to, from, canceled: false, body, type: 'mt_text', created_at: at, modified_at: at };
          return { status: 201, body: { ...answered, delivery_report: asked ?? 'none', expire_at: expires } };
        },
        withoutId: ({ status, body }) => ({ status, body: { ...(body as object), id: undefined } }),
        report: ({ id, to, reportUrl, fields }, { status, errorCode, isForged }) => {
          if (reportUrl === undefined) return undefined;
          const body = JSON.stringify({
            at: '2026-11-20T15:00:03.000Z',
            batch_id: id,
            client_reference: fields['client_reference'],
            code: Number(errorCode ?? codes.get(status) ?? 0),
            number_of_message_parts: 1,
            operator: '43405',
            recipient: to.slice(1),
            status,
            type: 'recipient_delivery_report_sms',
          });
          const secret = isForged === true ? 'not-the-secret' : WEBHOOK_SECRET;
          return {
            url: reportUrl,
            headers: { 'Content-Type': 'application/json', ...sinchSignature(body, secret, Date.now()) },
            body,
          };
        },
      },
      options,
    ),
};

/**
 * The headers of a signed report. Source: https://developers.sinch.com/docs/sms/api-reference/sms/webhooks/callbacks
 * (read 2026-11-20).
 * @param at when it is signed, ms since the epoch
 */
export function sinchSignature(
  body: string,
  secret: string,
  at: number,
  algorithm: 'HmacSHA256' | 'HmacSHA512' = 'HmacSHA256',
): Record<string, string> {
  const [nonce, timestamp] = [randomUUID(), String(Math.floor(at / 1000))];
  const hash = algorithm === 'HmacSHA512' ? 'sha512' : 'sha256';
  return {
    'x-sinch-webhook-signature': createHmac(hash, secret).update(`${body}.${nonce}.${timestamp}`).digest('base64'),
    'x-sinch-webhook-signature-nonce': nonce,
    'x-sinch-webhook-signature-timestamp': timestamp,
    'x-sinch-webhook-signature-algorithm': algorithm,
  };
}
