import { createHash } from 'node:crypto';
import Type from 'typebox';
import type { DeliveryReport, DeliveryState, FailureReason, ProbeOutcome, SendOutcome } from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpReply, type HttpSilence } from '../provider-kit/http-client.ts';
import {
  forged,
  headerOf,
  isTwoHundred,
  jsonOf,
  malformed,
  probeSilence,
  probeStranger,
  refusedByStatus,
  reported,
  silent,
  unreadable,
} from '../provider-kit/reading.ts';
import { addressFaults, baseOf, baseUrlSetting } from '../provider-kit/settings.ts';
import { hmac, isSame } from '../provider-kit/signature.ts';

/**
 * What the Gateway refuses with, in `error`. The vendor names one as an example and publishes no list, so these are the
 * ones that public clients know. Sources: https://core.telegram.org/gateway/api,
 * https://github.com/apifonica/tg-gateway-go (errors.go) (read 2026-11-20).
 */
export const telegramFailureReasons: ReadonlyMap<string, FailureReason> = new Map<string, FailureReason>([
  // Wrong for all messages.
  ['ACCESS_TOKEN_REQUIRED', 'account'],
  ['ACCESS_TOKEN_INVALID', 'account'],
  ['BALANCE_NOT_ENOUGH', 'account'],
  ['SENDER_USERNAME_INVALID', 'account'],
  ['SENDER_NOT_VERIFIED', 'account'],
  ['SENDER_NOT_OWNED', 'account'],
  ['CALLBACK_URL_INVALID', 'account'],
  ['UNKNOWN_METHOD', 'account'],

  ['PHONE_NUMBER_INVALID', 'recipient'],
  // Nobody on Telegram has the number, or takes no codes there: an SMS reaches it all the same.
  ['PHONE_NUMBER_NOT_FOUND', 'coverage'],
  ['PHONE_NUMBER_NOT_AVAILABLE', 'coverage'],

  // Wrong with this message.
  ['CODE_INVALID', 'content'],
  ['CODE_LENGTH_INVALID', 'content'],
  ['CODE_LENGTH_REQUIRED', 'content'],
  ['TTL_INVALID', 'content'],
  ['PAYLOAD_INVALID', 'content'],

  // The person may have it, but there is no id by which to hear of it.
  ['MESSAGE_ALREADY_SENT', 'uncertain'],
]);

/** Source: https://core.telegram.org/gateway/api#deliverystatus (read 2026-11-20). */
const deliveryStates: ReadonlyMap<string, DeliveryState> = new Map<string, DeliveryState>([
  ['sent', 'sent'],
  ['delivered', 'delivered'],
  ['read', 'delivered'],
  // Not delivered within its time to live; the fee is given back.
  ['expired', 'undelivered'],
  ['revoked', 'failed'],
]);

const TELEGRAM_GATEWAY = 'https://gatewayapi.telegram.org';
/**
 * Codes, times to live and addresses that the Gateway takes.
 * Source: https://core.telegram.org/gateway/api#sendverificationmessage (read 2026-11-20).
 */
const CODE = /^\d{4,8}$/;
const TTL_SECONDS = { min: 30, max: 3600 };
const CALLBACK_URL_MAX_BYTES = 256;
/**
 * A report is tried again up to ten times, with growing delays, and the vendor does not say whether with a new time. An old
 * one that is played again moves no state back, so an hour costs nothing.
 */
const REPORT_MAX_AGE_MS = 3_600_000;
const CLOCK_SKEW_MS = 300_000;

/** Telegram Gateway: the code comes as a chat message with Telegram's own wording, for a flat price all over the world. */
export const telegram = defineProvider({
  id: 'telegram',
  kind: 'messaging',
  channels: ['telegram'],
  codesOnly: true,
  settings: Type.Object(
    {
      token: Type.String({ minLength: 8, secret: true, description: "API token of the Gateway account, not a bot's" }),
      sender: Type.Optional(
        Type.String({
          description: 'username of a verified channel of your own; "Verification Codes" without it',
        }),
      ),
      baseUrl: baseUrlSetting(TELEGRAM_GATEWAY),
    },
    { additionalProperties: false },
  ),
  environment: { TELEGRAM_TOKEN: 'token', TELEGRAM_SENDER: 'sender', TELEGRAM_BASE_URL: 'baseUrl' },
  faults: ({ token, sender, baseUrl }) => [
    ...(/^\d{6,12}:[\w-]{30,}$/.test(token)
      ? [
          'TELEGRAM_TOKEN is the token of a bot: the Gateway has one of its own, at https://gateway.telegram.org/account/api',
        ]
      : []),
    ...(sender === undefined || /^@?[A-Za-z]\w{3,31}$/.test(sender)
      ? []
      : ['TELEGRAM_SENDER must be the username of a channel, e.g. @acme']),
    ...addressFaults('TELEGRAM_BASE_URL', baseUrl),
  ],
  create: ({ token, sender, baseUrl }, { http, now }) => {
    const base = baseOf(baseUrl, TELEGRAM_GATEWAY);
    const reportKey = createHash('sha256').update(token).digest();

    const ask = (method: string, fields: object, signal: AbortSignal): Promise<HttpReply | HttpSilence> =>
      http.postJson(`${base}/${method}`, fields, { signal, bearer: token });

    /** An address that the Gateway refuses would take the message down with it. A simulator takes http too. */
    function callbackOf(reportUrl: string | undefined): { callback_url?: string } {
      if (reportUrl === undefined || Buffer.byteLength(reportUrl) > CALLBACK_URL_MAX_BYTES) return {};
      return reportUrl.startsWith('https:') || base.startsWith('http:') ? { callback_url: reportUrl } : {};
    }

    return {
      async send({ to, code, messageId, validitySeconds, reportUrl }, signal) {
        if (code === undefined) return failed('content', 'no-code');
        if (!CODE.test(code)) return failed('content', 'code-length');
        const fields = {
          phone_number: to,
          code,
          ttl: Math.min(TTL_SECONDS.max, Math.max(TTL_SECONDS.min, validitySeconds)),
          payload: messageId,
          ...(sender === undefined ? {} : { sender_username: sender.replace(/^@/, '') }),
          ...callbackOf(reportUrl),
        };
        const reply = await ask('sendVerificationMessage', fields, signal);
        return reply.kind === 'silence' ? silent(reply) : readSendReply(reply);
      },

      parseReport(request) {
        const timestamp = headerOf(request, 'X-Request-Timestamp') ?? '';
        const signature = headerOf(request, 'X-Request-Signature') ?? '';
        const signed = Buffer.concat([Buffer.from(`${timestamp}\n`), request.rawBody]);
        if (!isSame(signature.toLowerCase(), hmac('sha256', reportKey, signed, 'hex'))) return forged;
        const ageMs = now() - Number(timestamp) * 1000;
        if (!(ageMs <= REPORT_MAX_AGE_MS && ageMs >= -CLOCK_SKEW_MS)) return forged;
        const status = fieldsOf(jsonOf(request));
        const id = status['request_id'];
        if (typeof id !== 'string' || id === '') return malformed;
        const report = readStatus(id, status);
        // There are reports about the checking of a code too, which is ours to do.
        return report === undefined ? reported() : reported(report);
      },

      async fetchReport(providerMessageId, signal) {
        const reply = await ask('checkVerificationStatus', { request_id: providerMessageId }, signal);
        const { ok, result } = fieldsOf(reply.kind === 'reply' ? reply.json : undefined);
        return ok === true ? readStatus(providerMessageId, fieldsOf(result)) : undefined;
      },

      async probe(signal) {
        // Nothing can be asked for free but the state of a message. There is none of this name, and whether the Gateway
        // says that or refuses the token is what we want to know.
        const reply = await ask('checkVerificationStatus', { request_id: '0' }, signal);
        return reply.kind === 'silence'
          ? probeSilence(reply, 'the Telegram Gateway', 'TELEGRAM_BASE_URL')
          : readProbeReply(reply);
      },
    };
  },
});

function readSendReply(reply: HttpReply): SendOutcome {
  const { ok, result, error } = fieldsOf(reply.json);
  if (ok === false && typeof error === 'string') {
    const wait = /^FLOOD_WAIT(?:_(\d{1,6}))?$/.exec(error);
    if (wait !== null) {
      const retryAfterMs = wait[1] === undefined ? reply.retryAfterMs : Number(wait[1]) * 1000;
      return failed('throttled', 'FLOOD_WAIT', retryAfterMs === undefined ? {} : { retryAfterMs });
    }
    const reason = telegramFailureReasons.get(error);
    if (reason !== undefined) return failed(reason, error);
    const code = errorName(error);
    // `ok: false` is a refusal whatever the status: nothing was taken.
    return isTwoHundred(reply) ? failed('unavailable', code) : refusedByStatus(reply, code);
  }
  if (!isTwoHundred(reply)) return refusedByStatus(reply);
  const status = fieldsOf(result);
  const id = status['request_id'];
  if (ok !== true || typeof id !== 'string' || id === '') return unreadable();
  return accepted(id, { cost: readCost(status) });
}

/** Without digits, which could be a number's or a code's. */
function errorName(error: string): string {
  return /^[A-Z][A-Z_]{2,63}$/.test(error) ? error : 'refused';
}

/** What a RequestStatus says about delivery; undefined where it says nothing. */
function readStatus(providerMessageId: string, status: Readonly<Record<string, unknown>>): DeliveryReport | undefined {
  const word = fieldsOf(status['delivery_status'])['status'];
  if (typeof word !== 'string') return undefined;
  const state = deliveryStates.get(word) ?? 'unknown';
  const cost = readCost(status);
  return {
    providerMessageId,
    state,
    ...(state === 'undelivered' || state === 'failed' ? { reason: 'unavailable', code: word } : {}),
    ...(cost === undefined ? {} : { cost }),
  };
}

function readCost({ request_cost: cost, is_refunded: isRefunded }: Readonly<Record<string, unknown>>) {
  if (isRefunded === true) return { micros: 0, currency: 'USD' };
  return typeof cost === 'number' && cost >= 0 ? { micros: Math.round(cost * 1_000_000), currency: 'USD' } : undefined;
}

function readProbeReply(reply: HttpReply): ProbeOutcome {
  const { ok, error } = fieldsOf(reply.json);
  // It asks first who calls, and then for which message.
  if (ok === true || error === 'REQUEST_ID_INVALID' || error === 'REQUEST_ID_REQUIRED')
    return { kind: 'ready', detail: 'the Gateway does not tell the balance' };
  if (ok !== false || typeof error !== 'string')
    return probeStranger(reply, 'the Telegram Gateway', 'TELEGRAM_BASE_URL');
  if (error.startsWith('FLOOD_WAIT')) {
    const fix = 'Too many requests with this TELEGRAM_TOKEN: wait, and look what else uses it.';
    return { kind: 'failed', reason: 'throttled', code: 'FLOOD_WAIT', fix };
  }
  const reason = telegramFailureReasons.get(error) ?? 'unavailable';
  const fix = error.startsWith('ACCESS_TOKEN')
    ? "Telegram refuses TELEGRAM_TOKEN: copy the Gateway's API token again at https://gateway.telegram.org/account/api. It is not the token of a bot."
    : 'Look for a notice in the account at https://gateway.telegram.org, and check TELEGRAM_TOKEN and TELEGRAM_BASE_URL.';
  return { kind: 'failed', reason, code: errorName(error), fix };
}
