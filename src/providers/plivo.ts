import Type from 'typebox';
import type {
  DeliveryReport,
  DeliveryState,
  FailureReason,
  ProbeOutcome,
  ReportOutcome,
  ReportRequest,
  SendOutcome,
} from '../domain/provider.ts';
import { accepted, defineProvider, failed, reasonForStatus } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpReply } from '../provider-kit/http-client.ts';
import {
  forged,
  headerOf,
  isTwoHundred,
  malformed,
  moneyOf,
  numberOf,
  probeSilence,
  probeStranger,
  refusedByStatus,
  reported,
  silent,
  unreadable,
  WRONG_NUMBER,
  wordOf,
} from '../provider-kit/reading.ts';
import { addressFaults, baseOf, baseUrlSetting } from '../provider-kit/settings.ts';
import { hmac, isSame } from '../provider-kit/signature.ts';

/**
 * Why a message was not delivered. Source: https://www.plivo.com/docs/messaging/troubleshooting/error-codes (read 2026-11-20).
 */
const errorReasons: ReadonlyMap<number, FailureReason> = new Map<number, FailureReason>([
  [10, 'content'], // invalid message
  [20, 'unavailable'], // network error
  [30, 'content'], // taken for spam
  // Carriers say this too of senders that only they refuse.
  [40, 'content'], // invalid source number
  // "Not SMS-enabled, or a landline", as far as Plivo knows: other providers may know better.
  [50, 'coverage'], // invalid destination number
  [60, 'unavailable'], // loop detected
  [70, 'recipient'], // destination permanently unavailable
  [80, 'unavailable'], // destination temporarily unavailable
  [90, 'coverage'], // no route
  [100, 'coverage'], // the network takes no SMS
  [110, 'content'], // too long
  [200, 'blocked'], // the person said STOP
  [201, 'coverage'], // from a US toll-free number to Canada
  [300, 'unavailable'], // could not be dispatched
  [420, 'unavailable'], // expired
  [450, 'blocked'], // country not allowed in the geo permissions
  [900, 'account'], // insufficient credit
  [910, 'account'], // account disabled
  [1000, 'unavailable'], // unknown
]);

const STOP_ERROR = 200;

/**
 * What Plivo's refusals say, as these have no error numbers: only words that carry the meaning are looked for, in this
 * order. Source: the vendor's error texts as its users quote them, e.g.
 * https://github.com/plivo/plivo-node/issues/222 (read 2026-11-20).
 */
const refusals: readonly (readonly [words: RegExp, code: string, reason: FailureReason])[] = [
  [/credit|balance|insufficient|funds/i, 'credit', 'account'],
  [/trial|sandbox|unverified|not verified/i, 'trial', 'blocked'],
  [/geo|country|region|permission/i, 'geo-permission', 'blocked'],
  [/\bsrc\b|source|sender|powerpack/i, 'src', 'content'],
  [WRONG_NUMBER, 'dst', 'recipient'],
];

/** Source: https://www.plivo.com/docs/messaging/api/message/message-status-callbacks (read 2026-11-20). */
const deliveryStates: ReadonlyMap<string, DeliveryState> = new Map<string, DeliveryState>([
  ['queued', 'queued'],
  ['sent', 'sent'],
  ['delivered', 'delivered'],
  ['read', 'delivered'],
  ['undelivered', 'undelivered'],
  ['failed', 'failed'],
  ['rejected', 'failed'],
]);

const PLIVO_API = 'https://api.plivo.com';
/** `message_expiry`: three hours at most; below a minute nothing would be gained. */
const EXPIRY_SECONDS = { min: 60, max: 10_800 };

/** Plivo: most countries. */
export const plivo = defineProvider({
  id: 'plivo',
  kind: 'messaging',
  channels: ['sms'],
  settings: Type.Object(
    {
      authId: Type.String({ minLength: 1, description: 'Auth ID of the account (MA…) or of a subaccount (SA…)' }),
      authToken: Type.String({
        minLength: 1,
        secret: true,
        description: 'Auth Token; delivery reports are signed with it',
      }),
      from: Type.Optional(Type.String({ description: 'sender: number, short code or alphanumeric sender ID' })),
      powerpackUuid: Type.Optional(
        Type.String({ description: 'Powerpack that chooses the sender, instead of `from`' }),
      ),
      baseUrl: baseUrlSetting(PLIVO_API),
    },
    { additionalProperties: false },
  ),
  environment: {
    PLIVO_AUTH_ID: 'authId',
    PLIVO_AUTH_TOKEN: 'authToken',
    PLIVO_FROM: 'from',
    PLIVO_POWERPACK_UUID: 'powerpackUuid',
    PLIVO_BASE_URL: 'baseUrl',
  },
  faults: ({ from, powerpackUuid, baseUrl }) => [
    ...(from === undefined && powerpackUuid === undefined
      ? ['PLIVO_FROM or PLIVO_POWERPACK_UUID is missing: Plivo has to know who the message is from']
      : []),
    ...addressFaults('PLIVO_BASE_URL', baseUrl),
  ],
  create: ({ authId, authToken, from, powerpackUuid, baseUrl }, { http }) => {
    const account = `${baseOf(baseUrl, PLIVO_API)}/v1/Account/${encodeURIComponent(authId)}`;
    const basic = [authId, authToken] as const;
    // Plivo refuses both at once.
    const sender = powerpackUuid === undefined ? { src: from } : { powerpack_uuid: powerpackUuid };

    return {
      async send({ to, text, reportUrl, validitySeconds }, signal) {
        const body = {
          ...sender,
          dst: to.slice(1),
          text,
          message_expiry: Math.min(Math.max(validitySeconds, EXPIRY_SECONDS.min), EXPIRY_SECONDS.max),
          ...(reportUrl === undefined ? {} : { url: reportUrl, method: 'POST' }),
        };
        const reply = await http.postJson(`${account}/Message/`, body, { signal, basic });
        return reply.kind === 'silence' ? silent(reply) : readSendReply(reply, from);
      },

      parseReport: (request) => readReport(request, authToken),

      async fetchReport(providerMessageId, signal) {
        const url = `${account}/Message/${encodeURIComponent(providerMessageId)}/`;
        const reply = await http.get(url, { signal, basic });
        if (reply.kind === 'silence' || reply.status !== 200) return undefined;
        const fields = fieldsOf(reply.json);
        return reportOf({
          id: providerMessageId,
          status: fields['message_state'],
          error: fields['error_code'],
          total: fields['total_amount'],
          rate: fields['total_rate'],
          units: fields['units'],
        });
      },

      async probe(signal) {
        const reply = await http.get(`${account}/`, { signal, basic });
        return reply.kind === 'silence' ? probeSilence(reply, 'Plivo', 'PLIVO_BASE_URL') : readProbe(reply);
      },
    };
  },
});

function readSendReply(reply: HttpReply, from: string | undefined): SendOutcome {
  const { message_uuid: ids, error, invalid_number: invalidNumbers } = fieldsOf(reply.json);
  const id: unknown = Array.isArray(ids) ? ids[0] : ids;
  if (isTwoHundred(reply) && typeof id === 'string' && id !== '') return accepted(id);
  // A list without an id, and the number on another list: nothing was taken.
  if (isTwoHundred(reply) && Array.isArray(invalidNumbers) && invalidNumbers.length > 0)
    return failed('recipient', 'dst');
  const words = typeof error === 'string' ? error : '';
  if (isTwoHundred(reply) && words === '') return unreadable();
  // Both numbers are refused in the same words, with the number in them.
  const digits = from?.replace(/\D/g, '') ?? '';
  if (digits !== '' && words.includes(digits)) return failed('content', 'src');
  // Other statuses say more than their words.
  const isWorded = isTwoHundred(reply) || reply.status === 400 || reply.status === 403;
  const known = isWorded ? refusals.find(([pattern]) => pattern.test(words)) : undefined;
  if (known !== undefined) return failed(known[2], known[1]);
  return isTwoHundred(reply) ? failed('content', 'refused') : refusedByStatus(reply);
}

// --- Delivery reports

/** Signature first. It has no time in it: an old report played again does no harm, as states only move forward. */
function readReport(request: ReportRequest, authToken: string): ReportOutcome {
  const form = new URLSearchParams(Buffer.from(request.rawBody).toString('utf8'));
  if (!isSigned(request, form, authToken)) return forged;
  const report = reportOf({
    id: form.get('MessageUUID'),
    status: form.get('Status'),
    error: form.get('ErrorCode'),
    total: form.get('TotalAmount'),
    rate: form.get('TotalRate'),
    units: form.get('Units'),
  });
  return report === undefined ? malformed : reported(report);
}

/**
 * Source: https://github.com/plivo/plivo-node/blob/master/lib/utils/v3Security.js and security.js (read 2026-11-20).
 * Each report is signed twice: with the token of the (sub)account that sent the message, and with the main account's
 * (`Ma`). Where there are several tokens, a header lists the signatures of all.
 */
function isSigned(request: ReportRequest, form: URLSearchParams, authToken: string): boolean {
  const url = URL.parse(request.url);
  if (url === null) return false;
  const address = `${url.protocol}//${url.host}${url.pathname}`;
  const v3 = signaturesOf(request, 'V3');
  if (v3.length > 0) {
    const query = sorted(url.searchParams, '=').join('&');
    const fields = sorted(form, '').join('');
    const questioned = query !== '' || fields !== '' ? `${address}?${query}` : address;
    const signed = query !== '' && fields !== '' ? `${questioned}.${fields}` : `${questioned}${fields}`;
    return matches(v3, `${signed}.${headerOf(request, 'X-Plivo-Signature-V3-Nonce')}`, authToken);
  }
  // The older one covers the address alone. It counts only where there is no newer one, as accounts of old have it.
  return matches(
    signaturesOf(request, 'V2'),
    `${address}${headerOf(request, 'X-Plivo-Signature-V2-Nonce')}`,
    authToken,
  );
}

function signaturesOf(request: ReportRequest, version: 'V2' | 'V3'): string[] {
  if (headerOf(request, `X-Plivo-Signature-${version}-Nonce`) === undefined) return [];
  return [`X-Plivo-Signature-${version}`, `X-Plivo-Signature-Ma-${version}`]
    .flatMap((name) => headerOf(request, name)?.split(',') ?? [])
    .map((signature) => signature.trim());
}

function matches(signatures: readonly string[], data: string, authToken: string): boolean {
  const expected = hmac('sha256', authToken, data, 'base64');
  return signatures.some((signature) => isSame(signature, expected));
}

/** By name, and the values of a name that is repeated by themselves. */
function sorted(params: URLSearchParams, between: string): string[] {
  return [...new Set(params.keys())].sort().flatMap((name) =>
    params
      .getAll(name)
      .sort()
      .map((value) => `${name}${between}${value}`),
  );
}

type ReportFields = Readonly<Record<'id' | 'status' | 'error' | 'total' | 'rate' | 'units', unknown>>;

function reportOf({ id, status, error, total, rate, units }: ReportFields): DeliveryReport | undefined {
  if (typeof id !== 'string' || id === '' || typeof status !== 'string' || status === '') return undefined;
  const state = deliveryStates.get(status.toLowerCase()) ?? 'unknown';
  // Both in US dollars: the rate is for one unit, the amount for the whole message.
  const cost = moneyOf(numberOf(total), 'USD') ?? moneyOf(numberOf(rate) * numberOf(units ?? 1), 'USD');
  const report = { providerMessageId: id, state, ...(cost === undefined ? {} : { cost }) };
  if (state !== 'failed' && state !== 'undelivered') return report;
  const code = /^\d{1,6}$/.test(wordOf(error)) ? Number(error) : 0;
  return {
    ...report,
    reason: errorReasons.get(code) ?? 'unavailable',
    code: code === 0 ? status.toLowerCase() : String(code),
    ...(code === STOP_ERROR ? { optOut: true } : {}),
  };
}

// --- Probe

function readProbe(reply: HttpReply): ProbeOutcome {
  const { cash_credits: credits, billing_mode: billing, auto_recharge: isRecharged } = fieldsOf(reply.json);
  if (reply.status === 401 || reply.status === 404) {
    const fix =
      'Plivo refuses the credentials: copy PLIVO_AUTH_ID and PLIVO_AUTH_TOKEN from the overview page of the console again. Both must be of the same account or subaccount.';
    return { kind: 'failed', reason: 'account', code: String(reply.status), fix };
  }
  if (reply.status === 429) {
    const fix = 'Too many requests at once on this account: try again in a moment.';
    return { kind: 'failed', reason: reasonForStatus(429), code: '429', fix };
  }
  const balance = numberOf(credits);
  if (reply.status !== 200 || !Number.isFinite(balance)) return probeStranger(reply, 'Plivo', 'PLIVO_BASE_URL');
  if (balance > 0 || billing !== 'prepaid' || isRecharged === true)
    return { kind: 'ready', detail: `balance ${balance} USD` };
  const fix =
    'The credits of the account behind PLIVO_AUTH_ID are used up: add some in the console under Billing, or switch auto recharge on.';
  return { kind: 'failed', reason: 'account', code: 'credit', fix };
}
