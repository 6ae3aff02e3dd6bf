import { createHash } from 'node:crypto';
import Type from 'typebox';
import { measureText } from '../domain/message-text.ts';
import type {
  DeliveryState,
  FailureReason,
  ProbeOutcome,
  ReportOutcome,
  ReportRequest,
  SendOutcome,
} from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpReply } from '../provider-kit/http-client.ts';
import {
  forged,
  isTwoHundred,
  jsonOf,
  malformed,
  probeSilence,
  probeStranger,
  refusedByStatus,
  reported,
  silent,
  unreadable,
  wordOf,
} from '../provider-kit/reading.ts';
import { addressFaults, baseOf, baseUrlSetting } from '../provider-kit/settings.ts';
import { hmac, isSame } from '../provider-kit/signature.ts';

/** `status` of a message in an answer. Source: https://developer.vonage.com/en/api-errors/sms (read 2026-11-20). */
export const vonageFailureReasons: ReadonlyMap<string, FailureReason> = new Map<string, FailureReason>([
  ['1', 'throttled'], // faster than the account's limit
  ['2', 'content'], // parameter missing
  ['3', 'content'], // parameter invalid
  ['4', 'account'], // wrong credentials
  ['5', 'uncertain'], // error while the message was processed
  ['6', 'coverage'], // cannot be processed, e.g. a prefix that Vonage does not know
  ['7', 'blocked'], // number on Vonage's own list
  ['8', 'account'], // account suspended
  ['9', 'account'], // no credit
  ['10', 'throttled'], // too many connections
  ['11', 'account'], // account not meant for the SMS API
  ['12', 'content'], // too long
  ['14', 'account'], // signature required, or wrong
  ['15', 'content'], // sender not allowed there
  ['17', 'content'], // blocked for its text, or by rules of the country
  ['23', 'account'], // callback address too long or with strange characters
  ['29', 'blocked'], // demo account, and the number is not on its list
  ['32', 'account'], // signed, and with a secret
  ['33', 'recipient'], // number no longer in service
]);

/**
 * `err-code` of a delivery receipt.
 * Source: https://api.support.vonage.com/hc/en-us/articles/204014733 (read 2026-11-20).
 */
export const vonageReportReasons: ReadonlyMap<string, FailureReason> = new Map<string, FailureReason>([
  ['1', 'unavailable'], // unknown
  ['2', 'unavailable'], // handset away
  ['3', 'recipient'], // number no longer active
  ['4', 'blocked'], // barred by the person
  ['5', 'coverage'], // number portability
  ['6', 'content'], // the carrier's filter against spam
  ['7', 'unavailable'], // handset busy
  ['8', 'unavailable'], // network
  ['9', 'blocked'], // the person wants nothing from this service, see `OPT_OUT`
  ['10', 'content'], // encoding
  ['11', 'coverage'], // no route
  ['12', 'coverage'], // destination unreachable
  ['13', 'blocked'], // age
  ['14', 'blocked'], // by the carrier
]);
const OPT_OUT = '9';

/** Source: https://developer.vonage.com/en/api/sms, delivery receipt (read 2026-11-20). */
const deliveryStates: ReadonlyMap<string, DeliveryState> = new Map<string, DeliveryState>([
  ['accepted', 'sent'],
  ['buffered', 'sent'],
  ['delivered', 'delivered'],
  ['expired', 'undelivered'],
  // The carrier said something that Vonage does not know; whatever is no success counts as not delivered.
  ['unknown', 'undelivered'],
  ['failed', 'failed'],
  ['rejected', 'failed'],
]);

const VONAGE_API = 'https://rest.nexmo.com';
/** Bounds of `ttl` and `callback`. Source: https://developer.vonage.com/en/api/sms (read 2026-11-20). */
const TTL_MS = { min: 20_000, max: 604_800_000 };
const CALLBACK_MAX_CHARS = 100;
/** A receipt is tried again for 24 hours. Source: https://developer.vonage.com/en/messaging/sms/guides/inbound-sms (read 2026-11-20). */
const REPORT_MAX_AGE_MS = 25 * 3_600_000;
const CLOCK_SKEW_MS = 300_000;

const signatureMethods = ['md5hash', 'md5', 'sha1', 'sha256', 'sha512'] as const;
type SignatureMethod = (typeof signatureMethods)[number];

/** Vonage, formerly Nexmo: its SMS API. */
export const vonage = defineProvider({
  id: 'vonage',
  kind: 'messaging',
  channels: ['sms'],
  settings: Type.Object(
    {
      apiKey: Type.String({ minLength: 1, description: 'API key of the account' }),
      apiSecret: Type.String({ minLength: 1, secret: true, description: 'API secret of the account' }),
      from: Type.String({ description: 'sender: a number of the account, or up to 11 letters and digits' }),
      signatureSecret: Type.Optional(
        Type.String({
          minLength: 1,
          secret: true,
          description: 'signs delivery receipts, where the account has that switched on',
        }),
      ),
      signatureMethod: Type.Enum([...signatureMethods], {
        default: 'md5hash',
        description: "as in the account's settings; md5hash is MD5 hash, the others are HMAC",
      }),
      baseUrl: baseUrlSetting(VONAGE_API),
    },
    { additionalProperties: false },
  ),
  environment: {
    VONAGE_API_KEY: 'apiKey',
    VONAGE_API_SECRET: 'apiSecret',
    VONAGE_FROM: 'from',
    VONAGE_SIGNATURE_SECRET: 'signatureSecret',
    VONAGE_SIGNATURE_METHOD: 'signatureMethod',
    VONAGE_BASE_URL: 'baseUrl',
  },
  faults: ({ from, baseUrl }) => [
    ...(/^(\+?\d{3,15}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11})$/.test(from)
      ? []
      : ['VONAGE_FROM must be a number (14155550100), a short code, or a sender ID of up to 11 letters and digits']),
    ...addressFaults('VONAGE_BASE_URL', baseUrl),
  ],
  create: ({ apiKey, apiSecret, from, signatureSecret, signatureMethod, baseUrl }, { http, now }) => {
    const base = baseOf(baseUrl, VONAGE_API);
    const basic = [apiKey, apiSecret] as const;
    return {
      async send({ to, text, messageId, validitySeconds, reportUrl }, signal) {
        const fields = {
          from: from.replace(/^\+/, ''),
          to: to.slice(1),
          text,
          // Without it, what is outside of GSM 7-bit arrives as question marks.
          type: measureText(text).encoding === 'UCS-2' ? 'unicode' : 'text',
          ttl: String(Math.min(TTL_MS.max, Math.max(TTL_MS.min, validitySeconds * 1000))),
          'client-ref': messageId,
          // A longer one would have the message refused; receipts then go where the account's settings say.
          callback: reportUrl !== undefined && reportUrl.length <= CALLBACK_MAX_CHARS ? reportUrl : undefined,
        };
        const reply = await http.postForm(`${base}/sms/json`, fields, { signal, basic });
        return reply.kind === 'silence' ? silent(reply) : readSendReply(reply);
      },

      parseReport(request) {
        const fields = readFields(request);
        if (signatureSecret !== undefined && !isGenuine(fields, signatureSecret, signatureMethod, now())) return forged;
        return readReceipt(fields);
      },

      async probe(signal) {
        const reply = await http.get(`${base}/account/get-balance`, { signal, basic });
        return reply.kind === 'silence' ? probeSilence(reply, 'Vonage', 'VONAGE_BASE_URL') : readProbeReply(reply);
      },
    };
  },
});

/** One entry for each segment, all with a status of their own; a refusal is a 200 too. */
function readSendReply(reply: HttpReply): SendOutcome {
  if (!isTwoHundred(reply)) return refusedByStatus(reply);
  const { messages } = fieldsOf(reply.json);
  if (!Array.isArray(messages) || messages.length === 0) return unreadable();
  const segments = messages.map(fieldsOf);
  const refused = segments.filter(({ status }) => wordOf(status) !== '0');
  const [refusal] = refused;
  if (refusal !== undefined) {
    const status = wordOf(refusal['status']);
    if (!/^\d{1,3}$/.test(status)) return unreadable();
    // A part of it is on its way.
    if (refused.length < segments.length) return failed('uncertain', status);
    return failed(vonageFailureReasons.get(status) ?? 'unavailable', status);
  }
  const id = segments[0]?.['message-id'];
  if (typeof id !== 'string' || id === '') return unreadable();
  const price = segments.reduce((sum, segment) => sum + amountOf(segment['message-price']), 0);
  return accepted(id, { segments: segments.length, cost: euros(price) });
}

/** Prices are decimals in a string, `0.03330000`; NaN for anything else. */
function amountOf(price: unknown): number {
  return typeof price === 'string' && /^\d{1,6}(\.\d{1,10})?$/.test(price) ? Number(price) : Number.NaN;
}

/** Every account is kept in euros. Source: https://developer.vonage.com/en/api/account (read 2026-11-20). */
function euros(amount: number) {
  return Number.isNaN(amount) ? undefined : { micros: Math.round(amount * 1_000_000), currency: 'EUR' };
}

function readProbeReply(reply: HttpReply): ProbeOutcome {
  const { value } = fieldsOf(reply.json);
  // Only told, never judged: an account with an invoice may be below zero.
  if (reply.status === 200 && typeof value === 'number') return { kind: 'ready', detail: `balance ${value} EUR` };
  if (reply.status === 401 || reply.status === 403) {
    const fix =
      'Vonage refuses the credentials: copy VONAGE_API_KEY and VONAGE_API_SECRET from the dashboard again. The secret may be rotated, or the account suspended.';
    return { kind: 'failed', reason: 'account', code: String(reply.status), fix };
  }
  if (reply.status === 429) {
    const fix = 'Too many requests on this account: try again later, and look what else uses VONAGE_API_KEY.';
    return { kind: 'failed', reason: 'throttled', code: '429', fix };
  }
  return probeStranger(reply, 'Vonage', 'VONAGE_BASE_URL');
}

// --- Delivery receipts

/** As the account is set: in the query of a GET, or in the body of a POST as form or as JSON. */
function readFields(request: ReportRequest): Readonly<Record<string, string>> {
  const json = jsonOf(request);
  if (typeof json === 'object' && json !== null) {
    const scalars = Object.entries(json).filter(([, value]) => typeof value === 'string' || typeof value === 'number');
    return Object.fromEntries(scalars.map(([name, value]) => [name, String(value)]));
  }
  const isInQuery = request.method === 'GET' || request.rawBody.length === 0;
  const query = isInQuery ? (URL.parse(request.url)?.search ?? '') : Buffer.from(request.rawBody).toString('utf8');
  return Object.fromEntries(new URLSearchParams(query));
}

/** Source: https://developer.vonage.com/en/getting-started/concepts/signing-messages (read 2026-11-20). */
function isGenuine(
  { sig = '', ...fields }: Readonly<Record<string, string>>,
  secret: string,
  method: SignatureMethod,
  now: number,
): boolean {
  const names = Object.keys(fields).sort();
  const data = names.map((name) => `&${name}=${(fields[name] ?? '').replace(/[&=]/g, '_')}`).join('');
  const expected =
    method === 'md5hash'
      ? createHash('md5')
          .update(data + secret)
          .digest('hex')
      : hmac(method, secret, data, 'hex');
  // Hashes come in small letters, HMACs in capitals.
  if (!isSame(sig.toLowerCase(), expected)) return false;
  const ageMs = now - Number(fields['timestamp']) * 1000;
  return ageMs <= REPORT_MAX_AGE_MS && ageMs >= -CLOCK_SKEW_MS;
}

function readReceipt(fields: Readonly<Record<string, string>>): ReportOutcome {
  const { messageId: providerMessageId = '', status = '', price, 'err-code': errorCode = '' } = fields;
  if (providerMessageId === '' || status === '') return malformed;
  const state = deliveryStates.get(status) ?? 'unknown';
  const cost = euros(amountOf(price));
  const hasFailed = state === 'undelivered' || state === 'failed';
  return reported({
    providerMessageId,
    state,
    ...(hasFailed ? { reason: vonageReportReasons.get(errorCode) ?? 'unavailable' } : {}),
    ...(hasFailed && /^[1-9]\d{0,3}$/.test(errorCode) ? { code: errorCode } : {}),
    ...(hasFailed && errorCode === OPT_OUT ? { optOut: true } : {}),
    ...(cost === undefined ? {} : { cost }),
  });
}
