import { createHash, createHmac, randomUUID } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, SimulatorDefinition } from './simulator-kit.ts';

const TOKEN = 'AAtest-telegram-gateway-token';
const COST_USD = 0.01;

const refusal = (error: string, status = 400): Answer => ({ status, body: { ok: false, error } });

/** What `X-Request-Signature` is to be. Source: https://core.telegram.org/gateway/api#checking-report-integrity (read 2026-11-20). */
export function signTelegramReport(token: string, timestampSeconds: number, body: string): string {
  const key = createHash('sha256').update(token).digest();
  return createHmac('sha256', key).update(`${timestampSeconds}\n${body}`).digest('hex');
}

/** Answers like `gatewayapi.telegram.org`. Written against the vendor's documentation, not against our provider file. */
export const telegramSimulator: SimulatorDefinition = {
  id: 'telegram',
  environment: (url) => ({ TELEGRAM_BASE_URL: url, TELEGRAM_TOKEN: TOKEN }),
  start: (options) => {
    /** the RequestStatus of each message, by its id */
    const statuses = new Map<string, Record<string, unknown>>();
    return startHttpSimulator(
      {
        delivery: [{ status: 'delivered' }],
        refusals: {
          'bad-number': refusal('PHONE_NUMBER_INVALID'),
          'refuse-inside-2xx': refusal('PHONE_NUMBER_NOT_AVAILABLE', 200),
          throttle: refusal('FLOOD_WAIT_3', 429),
          credentials: refusal('ACCESS_TOKEN_INVALID', 401),
          balance: refusal('BALANCE_NOT_ENOUGH'),
          content: refusal('CODE_INVALID'),
        },
        answer: ({ path, headers, json }, take) => {
          const fields = (json ?? {}) as Record<string, unknown>;
          if ((headers.authorization ?? `Bearer ${fields['access_token']}`) !== `Bearer ${TOKEN}`)
            return refusal('ACCESS_TOKEN_INVALID', 401);
          // Methods are case-insensitive.
          switch (path.toLowerCase()) {
            case '/sendverificationmessage': {
              const { phone_number, code, ttl, callback_url, payload } = fields;
              if (typeof phone_number !== 'string' || !/^\+\d{7,15}$/.test(phone_number))
                return refusal('PHONE_NUMBER_INVALID');
              if (typeof code !== 'string' || !/^\d{4,8}$/.test(code)) return refusal('CODE_INVALID');
              if (ttl !== undefined && !(Number(ttl) >= 30 && Number(ttl) <= 3600)) return refusal('TTL_INVALID');
              if (typeof payload === 'string' && Buffer.byteLength(payload) > 128) return refusal('PAYLOAD_INVALID');
              const id = randomUUID();
              const status = { request_id: id, phone_number, request_cost: COST_USD, ...(payload ? { payload } : {}) };
              statuses.set(id, { ...status, delivery_status: deliveryStatus('sent') });
              take({ id, to: phone_number, text: code, reportUrl: callback_url as string | undefined, fields });
              return { status: 200, body: { ok: true, result: { ...statuses.get(id), remaining_balance: 12.5 } } };
            }
            case '/checkverificationstatus': {
              const result = statuses.get(String(fields['request_id']));
              return result === undefined ? refusal('REQUEST_ID_INVALID') : { status: 200, body: { ok: true, result } };
            }
            default:
              return refusal('UNKNOWN_METHOD');
          }
        },
        withoutId: ({ status }) => ({ status, body: { ok: true, result: { request_cost: COST_USD } } }),
        report: ({ id, reportUrl }, { status, isForged }) => {
          const current = {
            ...statuses.get(id),
            delivery_status: deliveryStatus(status),
            ...(status === 'expired' ? { is_refunded: true } : {}),
          };
          statuses.set(id, current);
          if (reportUrl === undefined) return undefined;
          const body = JSON.stringify(current);
          const timestamp = Math.floor(Date.now() / 1000);
          return {
            url: reportUrl,
            headers: {
              'Content-Type': 'application/json',
              'X-Request-Timestamp': String(timestamp),
              'X-Request-Signature': signTelegramReport(isForged === true ? 'another' : TOKEN, timestamp, body),
            },
            body,
          };
        },
      },
      options,
    );
  },
};

function deliveryStatus(status: string) {
  return { status, updated_at: Math.floor(Date.now() / 1000) };
}
