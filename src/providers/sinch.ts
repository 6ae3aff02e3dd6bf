import Type from 'typebox';
import type {
  DeliveryReport,
  DeliveryState,
  FailureReason,
  ProbeOutcome,
  ReportRequest,
  SendOutcome,
} from '../domain/provider.ts';
import { accepted, defineProvider, failed, reasonForStatus } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpReply } from '../provider-kit/http-client.ts';
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
  wordOf,
} from '../provider-kit/reading.ts';
import { addressFaults, baseOf, baseUrlSetting } from '../provider-kit/settings.ts';
import { hmac, isSame } from '../provider-kit/signature.ts';

/**
 * What the API says when it refuses a batch; `syntax_invalid_parameter_format` is read in `formatFault`.
 * Sources: https://developers.sinch.com/docs/sms/api-reference/status-codes/ and, for the last two,
 * https://github.com/sinch/docs/pull/314 (read 2026-11-20).
 */
const refusals: ReadonlyMap<string, FailureReason> = new Map<string, FailureReason>([
  ['syntax_invalid_json', 'content'],
  ['syntax_constraint_violation', 'content'],
  ['unknown_group', 'content'],
  ['unknown_campaign', 'content'], // the campaign is not that of the sender
  ['missing_callback_url', 'account'],
  ['illegal_number_type', 'coverage'], // not for this region
  ['blocked_account', 'account'], // mostly for want of credit
]);

/**
 * Why a message was not delivered: 4xx are of the API, the others of the networks.
 * Sources: https://developers.sinch.com/docs/sms/api-reference/sms/tag/Delivery-reports/ and
 * https://developers.sinch.com/docs/sms/smpp/error-codes/ (read 2026-11-20).
 */
const codeReasons: ReadonlyMap<number, FailureReason> = new Map<number, FailureReason>([
  [402, 'coverage'], // unroutable
  [403, 'unavailable'], // internal error
  [404, 'unavailable'], // temporary failure
  [405, 'content'], // a parameter of the text has no value
  [406, 'unavailable'], // expired before it was handed on
  [407, 'unavailable'], // cancelled
  [408, 'coverage'], // refused by the SMSC
  [410, 'content'], // no sender for this recipient
  [411, 'content'], // too many parts
  [412, 'coverage'], // account not set up for the region
  [413, 'account'], // account blocked, perhaps out of credit
  [9, 'coverage'], // number plan not supported
  [10, 'coverage'], // type of number not supported
  [12, 'coverage'], // dialling zone not found
  [13, 'coverage'], // not home zone
  [17, 'coverage'], // network type unknown
  [15, 'content'], // screening: taken for spam
  [60, 'content'], // sender blocked
  [61, 'blocked'], // destination blocked
  [62, 'content'], // keyword blocked
  [64, 'throttled'], // quota exceeded
  [150, 'recipient'], // unknown subscriber
  [151, 'coverage'], // barred
  [152, 'coverage'], // a line without SMS
  [154, 'coverage'], // no SMS where the person is
  [310, 'content'], // invalid sender
]);

/** Source: https://developers.sinch.com/docs/sms/api-reference/sms/tag/Delivery-reports/ (read 2026-11-20). */
const deliveryStates: ReadonlyMap<string, DeliveryState> = new Map<string, DeliveryState>([
  ['queued', 'queued'],
  ['dispatched', 'sent'],
  ['delivered', 'delivered'],
  ['expired', 'undelivered'],
  ['aborted', 'failed'],
  ['cancelled', 'failed'],
  ['rejected', 'failed'],
  ['deleted', 'failed'],
  ['failed', 'failed'],
  // The SMSC took it, and never said what became of it.
  ['unknown', 'unknown'],
]);

/** Where the account lives; each has data and credentials of its own. */
const regions = ['us', 'eu', 'au', 'br', 'ca'];
const hostOf = (region: string) => `https://${region}.sms.api.sinch.com`;

/** Sinch repeats a report that was not taken, and does not say whether it then signs anew. */
const REPORT_MAX_AGE_MS = 60 * 60_000;

/** Sinch SMS (the REST API, formerly XMS): most countries. */
export const sinch = defineProvider({
  id: 'sinch',
  kind: 'messaging',
  channels: ['sms'],
  settings: Type.Object(
    {
      servicePlanId: Type.String({ minLength: 1, description: 'service plan ID of the SMS API' }),
      apiToken: Type.String({ minLength: 1, secret: true, description: 'API token of the service plan' }),
      from: Type.Optional(
        Type.String({ description: "sender: number, short code or alphanumeric; the plan's default when absent" }),
      ),
      region: Type.Optional(Type.String({ description: `${regions.join(', ')}; us unless told otherwise` })),
      webhookSecret: Type.Optional(
        Type.String({ minLength: 1, secret: true, description: 'HMAC secret, where Sinch was asked to sign reports' }),
      ),
      baseUrl: baseUrlSetting(hostOf('<region>')),
    },
    { additionalProperties: false },
  ),
  environment: {
    SINCH_SERVICE_PLAN_ID: 'servicePlanId',
    SINCH_API_TOKEN: 'apiToken',
    SINCH_FROM: 'from',
    SINCH_REGION: 'region',
    SINCH_WEBHOOK_SECRET: 'webhookSecret',
    SINCH_BASE_URL: 'baseUrl',
  },
  faults: ({ region, baseUrl }) => [
    ...(region === undefined || regions.includes(region.toLowerCase())
      ? []
      : [`SINCH_REGION must be one of ${regions.join(', ')}`]),
    ...addressFaults('SINCH_BASE_URL', baseUrl),
  ],
  create: ({ servicePlanId, apiToken, from, region = 'us', webhookSecret, baseUrl }, { http, now }) => {
    const base = baseOf(baseUrl, hostOf(region.toLowerCase()));
    const batches = `${base}/xms/v1/${encodeURIComponent(servicePlanId)}/batches`;

    return {
      async send({ messageId, to, text, reportUrl, validitySeconds }, signal) {
        const body = {
          ...(from === undefined ? {} : { from }),
          to: [to.slice(1)],
          body: text,
          client_reference: messageId,
          expire_at: new Date(now() + validitySeconds * 1000).toISOString(),
          // Asked for without an address, Sinch refuses the batch unless the plan has one.
          ...(reportUrl === undefined ? {} : { delivery_report: 'per_recipient', callback_url: reportUrl }),
        };
        const reply = await http.postJson(batches, body, { signal, bearer: apiToken });
        return reply.kind === 'silence' ? silent(reply) : readSendReply(reply);
      },

      parseReport(request) {
        if (webhookSecret !== undefined && !isSigned(request, webhookSecret, now())) return forged;
        const report = readReport(jsonOf(request));
        return report === undefined ? malformed : reported(report);
      },

      async fetchReport(providerMessageId, signal) {
        const url = `${batches}/${encodeURIComponent(providerMessageId)}/delivery_report`;
        const reply = await http.get(url, { signal, bearer: apiToken });
        return reply.kind === 'silence' || reply.status !== 200 ? undefined : readReport(reply.json);
      },

      async probe(signal) {
        // From now on: the list of earlier batches would have their texts in it.
        const query = new URLSearchParams({ page_size: '1', start_date: new Date(now()).toISOString() });
        const reply = await http.get(`${batches}?${query}`, { signal, bearer: apiToken });
        return reply.kind === 'silence' ? probeSilence(reply, 'Sinch', 'SINCH_BASE_URL') : readProbe(reply);
      },
    };
  },
});

function readSendReply(reply: HttpReply): SendOutcome {
  const { id, code, text } = fieldsOf(reply.json);
  if (isTwoHundred(reply)) return typeof id === 'string' && id !== '' ? accepted(id) : unreadable();
  if ((reply.status !== 400 && reply.status !== 403) || !isCode(code)) return refusedByStatus(reply);
  if (code === 'syntax_invalid_parameter_format') return failed(formatFault(text), code);
  const reason = refusals.get(code);
  return reason === undefined ? refusedByStatus(reply, code) : failed(reason, code);
}

/** Which field it is, only the words tell. A wrong `recipient` would end the verification, so it takes clear ones. */
function formatFault(text: unknown): FailureReason {
  const words = typeof text === 'string' ? text : '';
  const isAnotherField = /\bfrom\b|originator|sender|callback|expire/i.test(words);
  return !isAnotherField && /["'`]to["'`]|recipient|msisdn|phone number/i.test(words) ? 'recipient' : 'content';
}

function isCode(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z][a-z_]{0,63}$/.test(value);
}

/** A report on one recipient, or on a batch: ours have one recipient, so its first status is the message's. */
function readReport(json: unknown): DeliveryReport | undefined {
  const body = fieldsOf(json);
  const { batch_id: id, statuses, type } = body;
  const { status, code } = Array.isArray(statuses) ? fieldsOf(statuses[0]) : body;
  if (!/^(recipient_)?delivery_report_sms$/.test(wordOf(type))) return undefined;
  if (typeof id !== 'string' || id === '' || typeof status !== 'string' || status === '') return undefined;
  const word = status.toLowerCase();
  const state = deliveryStates.get(word) ?? 'unknown';
  if (state !== 'failed' && state !== 'undelivered') return { providerMessageId: id, state };
  const number = Number.isInteger(code) ? Number(code) : 0;
  return {
    providerMessageId: id,
    state,
    // A number that does not exist, or a person who said STOP: Sinch does not tell the two apart.
    reason: codeReasons.get(number) ?? (word === 'deleted' ? 'blocked' : 'unavailable'),
    code: number === 0 ? word : String(number),
  };
}

/**
 * Source: https://developers.sinch.com/docs/sms/api-reference/sms/webhooks/callbacks, and the vendor's library
 * https://github.com/sinch/sinch-sdk-python (read 2026-11-20): HMAC over `body.nonce.timestamp`.
 */
function isSigned(request: ReportRequest, secret: string, now: number): boolean {
  const part = (name: string) => headerOf(request, `x-sinch-webhook-signature${name}`);
  const [given, nonce, timestamp] = [part(''), part('-nonce'), part('-timestamp')];
  if (given === undefined || nonce === undefined || timestamp === undefined) return false;
  if (!/^\d{1,12}$/.test(timestamp) || Math.abs(now - Number(timestamp) * 1000) > REPORT_MAX_AGE_MS) return false;
  const algorithm = part('-algorithm')?.toLowerCase() === 'hmacsha512' ? 'sha512' : 'sha256';
  const data = Buffer.concat([request.rawBody, Buffer.from(`.${nonce}.${timestamp}`)]);
  return isSame(given, hmac(algorithm, secret, data, 'base64'));
}

function readProbe(reply: HttpReply): ProbeOutcome {
  const { batches, code } = fieldsOf(reply.json);
  if (reply.status === 200 && Array.isArray(batches)) return { kind: 'ready' };
  const shown = isCode(code) ? code : String(reply.status);
  if (reply.status === 401 || reply.status === 404) {
    const fix =
      'Sinch refuses the credentials: copy SINCH_SERVICE_PLAN_ID and SINCH_API_TOKEN from the dashboard again (SMS, APIs), and set SINCH_REGION to the region of the plan: a token is good in one region only.';
    return { kind: 'failed', reason: 'account', code: shown, fix };
  }
  if (reply.status === 402 || reply.status === 403) {
    const fix =
      'Sinch knows the plan of SINCH_SERVICE_PLAN_ID, and does not let it send: look for a notice in the dashboard, mostly about credit, or ask their support.';
    return { kind: 'failed', reason: 'account', code: shown, fix };
  }
  if (reply.status === 429) {
    const fix = 'Too many requests at once on this service plan: try again in a moment.';
    return { kind: 'failed', reason: reasonForStatus(429), code: shown, fix };
  }
  return probeStranger(reply, 'Sinch', 'SINCH_BASE_URL');
}
