import Type from 'typebox';
import type { Money } from '../domain/price.ts';
import type {
  DeliveryReport,
  DeliveryState,
  FailureReason,
  OutgoingMessage,
  ProbeOutcome,
  SendOutcome,
} from '../domain/provider.ts';
import { accepted, defineProvider, failed, reasonForStatus } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpReply } from '../provider-kit/http-client.ts';
import {
  isTwoHundred,
  jsonOf,
  malformed,
  moneyOf,
  numberOf,
  probeSilence,
  probeStranger,
  refusedByStatus,
  reported,
  silent,
  unreadable,
  wordOf,
} from '../provider-kit/reading.ts';
import { addressFaults, baseOf } from '../provider-kit/settings.ts';

/**
 * Statuses of messages that were refused, by their numbers: names were changed over time, and 14 and 52 have had the same.
 * Source: https://www.infobip.com/docs/essentials/api-essentials/response-status-and-error-codes (read 2026-11-20).
 */
const statusReasons: ReadonlyMap<number, FailureReason> = new Map<number, FailureReason>([
  [6, 'coverage'], // REJECTED_NETWORK: out of coverage, or not set up on the account
  // The vendor's prefix tables lag behind newly opened ranges, so this is not believed to hold for everybody.
  [8, 'coverage'], // REJECTED_PREFIX_MISSING
  [10, 'blocked'], // REJECTED_DND: the person takes no service messages
  [11, 'account'], // REJECTED_SOURCE: only registered sender IDs, and this one is not
  [12, 'account'], // REJECTED_NOT_ENOUGH_CREDITS
  [13, 'account'], // REJECTED_SENDER: the sender ID is on the account's blocklist
  [14, 'blocked'], // REJECTED_DESTINATION_BLOCKLISTED
  [17, 'account'], // REJECTED_PREPAID_PACKAGE_EXPIRED
  [18, 'blocked'], // REJECTED_DESTINATION_NOT_REGISTERED: trial account
  [19, 'coverage'], // REJECTED_ROUTE_NOT_AVAILABLE
  [20, 'throttled'], // REJECTED_FLOODING_FILTER: 20 messages, or 6 of the same text, in an hour to one number
  [21, 'unavailable'], // REJECTED_SYSTEM_ERROR
  [24, 'content'], // REJECTED_INVALID_UDH
  [25, 'content'], // REJECTED_MESSAGE_TOO_LONG
  [51, 'content'], // MISSING_TO
  [52, 'recipient'], // REJECTED_DESTINATION: no such number at any operator
  [87, 'blocked'], // SIGNALS_BLOCKED: fraud guard
  [100, 'unavailable'], // UNDELIVERABLE_REJECTED_PLATFORM
]);

/** What the network said, where it says more than "not there". Same source as `statusReasons`. */
const errorReasons: ReadonlyMap<number, FailureReason> = new Map<number, FailureReason>([
  [1, 'recipient'], // EC_UNKNOWN_SUBSCRIBER
  [3041, 'recipient'], // EC_DEACTIVATED_LIST
  [11, 'coverage'], // EC_TELESERVICE_NOT_PROVISIONED: a line without SMS
  [345, 'coverage'], // EC_OPERATOR_NOT_FOUND
  [351, 'coverage'], // EC_INVALID_DESTINATION_ADDRESS: not permanent
  [352, 'coverage'], // EC_INVALID_REQUEST_DESTINATION: country not known there
  [565, 'coverage'], // EC_CANNOT_RECEIVE_SC
  [568, 'coverage'], // EC_DESTINATION_NOT_SMS_PROVISIONED
  [592, 'coverage'], // EC_ACCOUNT_NOT_PROVISIONED_FOR_CHANNEL
  [597, 'coverage'], // EC_ACC_HAS_NO_ADRESS_FOR_DESR
  [629, 'coverage'], // EC_DEST_ADDRESS_UNABLE_TO_RECEIVE_SMS
  [560, 'blocked'], // EC_SC_BLOCKED_FOR_END_USER
  [566, 'blocked'], // EC_DESTINATION_BLOCKED_BY_OPERATOR
  [573, 'blocked'], // EC_SC_BLOCKED_BY_END_USER
  [603, 'blocked'], // EC_CONTENT_BLOCKED: STOP
  [604, 'blocked'], // EC_BLOCKED_BY_CAMPAIGN_BLACKLIST
  [608, 'blocked'], // EC_SIGNALS_BLOCKED
  [609, 'blocked'], // EC_SIGNALS_HARD_LIMIT_REACHED
  [2050, 'blocked'], // EC_DEST_ADDRESS_BLACKLISTED
  [2052, 'blocked'], // EC_BLACKLISTED_DESTINATIONADDRESS
  [355, 'content'], // EC_MSG_TEXT_TOO_LONG
  [368, 'content'], // EC_INVALID_SOURCE_ADDRESS: the sender, at this operator
  [375, 'content'], // EC_SOURCE_ADDRESS_IS_BLOCKED
  [488, 'content'], // EC_TF_NUMBER_NOT_VERIFIED
  [561, 'content'], // EC_CONTENT_BLOCKED_BY_OPERATOR
  [562, 'content'], // EC_SC_NOT_PROVISIONED
  [563, 'content'], // EC_SC_EXPIRED
  [564, 'content'], // EC_SC_BLOCKED
  [571, 'content'], // EC_CAMPAIGN_ID_REJECTED
  [572, 'content'], // EC_CAMPAIGNID_NOT_PROVISIONED
  [607, 'content'], // EC_REJECTED_SPAM_BY_OPERATOR
  [2053, 'content'], // EC_BLACKLISTED_SENDERADDRESS
  [433, 'account'], // EC_ACCOUNT_ACCESS_DENIED
  [4099, 'account'], // EC_MONTHLY_LIMIT_REACHED
  [541, 'throttled'], // EC_LIMIT_REACHED
  [542, 'throttled'], // EC_QUOTA_REACHED
  [4103, 'throttled'], // EC_DESTINATION_FLOODING
  [4104, 'throttled'], // EC_DESTINATION_TXT_FLOODING
]);

/** The person told this sender to stop: no other provider may go round that. */
const optOutErrors: ReadonlySet<number> = new Set([573, 603]);

/** Groups of statuses; the single ones in `statusStates` say it more exactly. Same source as `statusReasons`. */
const groupStates: ReadonlyMap<number, DeliveryState> = new Map<number, DeliveryState>([
  [1, 'sent'],
  [2, 'undelivered'],
  [3, 'delivered'],
  [4, 'undelivered'],
  [5, 'failed'],
]);

const statusStates: ReadonlyMap<number, DeliveryState> = new Map<number, DeliveryState>([
  [2, 'sent'], // DELIVERED_TO_OPERATOR: the phone does not have it yet
  [26, 'queued'], // PENDING_ACCEPTED
  [29, 'unknown'], // EXPIRED_DLR_UNKNOWN: the operator never said; it may well have arrived
  [87, 'failed'], // SIGNALS_BLOCKED, in group 4 as well as in 5
]);

const REJECTED_GROUP = 5;
/** REJECTED_DUPLICATE_MESSAGE_ID */
const DUPLICATE_STATUS = 23;

/** Infobip: most countries. Each account has an address of its own. */
export const infobip = defineProvider({
  id: 'infobip',
  kind: 'messaging',
  channels: ['sms'],
  settings: Type.Object(
    {
      apiKey: Type.String({ minLength: 1, secret: true, description: 'API key with the scope sms:message:send' }),
      baseUrl: Type.String({
        minLength: 1,
        description: "the account's own address, e.g. https://xxxxx.api.infobip.com",
      }),
      from: Type.Optional(Type.String({ description: "sender ID or number; the account's own when absent" })),
    },
    { additionalProperties: false },
  ),
  environment: { INFOBIP_API_KEY: 'apiKey', INFOBIP_BASE_URL: 'baseUrl', INFOBIP_FROM: 'from' },
  faults: ({ baseUrl }) => addressFaults('INFOBIP_BASE_URL', withScheme(baseUrl)),
  create: ({ apiKey, baseUrl, from }, { http }) => {
    const base = baseOf(withScheme(baseUrl), '');
    const headers = { Authorization: `App ${apiKey}` };

    return {
      async send(message, signal) {
        const body = { messages: [messageOf(message, from)] };
        const reply = await http.postJson(`${base}/sms/3/messages`, body, { signal, headers });
        return reply.kind === 'silence' ? silent(reply) : readSendReply(reply, ownId(message));
      },

      parseReport(request) {
        const { results } = fieldsOf(jsonOf(request));
        // Up to a hundred at once. One that cannot be read does not spoil the others.
        const reports = Array.isArray(results) ? results.flatMap((result) => readResult(result) ?? []) : [];
        return reports.length === 0 ? malformed : reported(...reports);
      },

      async fetchReport(providerMessageId, signal) {
        // Not /sms/3/reports, which gives each report away once only.
        const url = `${base}/sms/3/logs?messageId=${encodeURIComponent(providerMessageId)}`;
        const reply = await http.get(url, { signal, headers });
        if (reply.kind === 'silence' || reply.status !== 200) return undefined;
        const { results } = fieldsOf(reply.json);
        return Array.isArray(results) ? readResult(results[0]) : undefined;
      },

      async probe(signal) {
        const reply = await http.get(`${base}/account/1/balance`, { signal, headers });
        return reply.kind === 'silence' ? probeSilence(reply, 'Infobip', 'INFOBIP_BASE_URL') : readProbe(reply);
      },
    };
  },
});

/** The portal shows the address without its scheme. */
function withScheme(address: string): string {
  return address.includes('://') ? address : `https://${address}`;
}

/** Infobip takes an id only once, so a message that is handed over again does not reach the person twice. */
function ownId({ messageId }: OutgoingMessage): string {
  return messageId.replace(/^msg_/, '');
}

function messageOf(message: OutgoingMessage, from: string | undefined) {
  return {
    ...(from === undefined ? {} : { sender: from }),
    destinations: [{ to: message.to.slice(1), messageId: ownId(message) }],
    content: { text: message.text },
    // 48 hours at most, which no code lives.
    options: { validityPeriod: { amount: message.validitySeconds, timeUnit: 'SECONDS' } },
    ...(message.reportUrl === undefined
      ? {}
      : { webhooks: { delivery: { url: message.reportUrl }, contentType: 'application/json' } }),
  };
}

function readSendReply(reply: HttpReply, id: string): SendOutcome {
  if (!isTwoHundred(reply)) return refusedByStatus(reply, errorCode(reply));
  const { messages } = fieldsOf(reply.json);
  const message = fieldsOf(Array.isArray(messages) ? messages[0] : undefined);
  const status = fieldsOf(message['status']);
  // Refusals come with HTTP 200 as well.
  const statusId = numberOf(status['id']);
  if (status['groupId'] === REJECTED_GROUP || statusReasons.has(statusId)) {
    // Only our own earlier hand-over can have used this id: its outcome was lost, and it was taken.
    if (statusId === DUPLICATE_STATUS) return accepted(id);
    return failed(statusReasons.get(statusId) ?? 'unavailable', nameOf(status));
  }
  const { messageId } = message;
  if (typeof messageId !== 'string' || messageId === '') return unreadable();
  const segments = numberOf(fieldsOf(message['details'])['messageCount']);
  return accepted(messageId, { segments: Number.isInteger(segments) && segments > 0 ? segments : undefined });
}

/** `{"errorCode":"E401"}`, or in older words `{"requestError":{"serviceException":{"messageId":"UNAUTHORIZED"}}}`. */
function errorCode({ status, json }: HttpReply): string {
  const { errorCode: code, requestError } = fieldsOf(json);
  const word = code ?? fieldsOf(fieldsOf(requestError)['serviceException'])['messageId'];
  return isWord(word) ? word : String(status);
}

function nameOf({ name, id }: Readonly<Record<string, unknown>>): string {
  if (isWord(name)) return name;
  return Number.isInteger(id) ? `status ${String(id)}` : 'refused';
}

function isWord(value: unknown): value is string {
  return typeof value === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/.test(value);
}

/** One entry of a delivery report or of the log. */
function readResult(result: unknown): DeliveryReport | undefined {
  const fields = fieldsOf(result);
  const { messageId } = fields;
  const [status, error] = [fieldsOf(fields['status']), fieldsOf(fields['error'])];
  const [statusId, errorId] = [numberOf(status['id']), numberOf(error['id'])];
  if (typeof messageId !== 'string' || messageId === '' || !Number.isInteger(status['groupId'])) return undefined;
  const state = statusStates.get(statusId) ?? groupStates.get(Number(status['groupId'])) ?? 'unknown';
  const cost = costOf(fields);
  const report = { providerMessageId: messageId, state, ...(cost === undefined ? {} : { cost }) };
  if (state !== 'failed' && state !== 'undelivered') return report;
  const isExplained = errorId > 0 && isWord(error['name']);
  return {
    ...report,
    reason: statusReasons.get(statusId) ?? errorReasons.get(errorId) ?? 'unavailable',
    code: isExplained ? String(error['name']) : nameOf(status),
    ...(optOutErrors.has(errorId) ? { optOut: true } : {}),
  };
}

/** The price is that of one SMS; a long message is several. `smsCount` is what older versions call the number. */
function costOf(fields: Readonly<Record<string, unknown>>): Money | undefined {
  const { pricePerMessage, currency } = fieldsOf(fields['price']);
  const count = numberOf(fields['messageCount'] ?? fields['smsCount'] ?? 1);
  return moneyOf(numberOf(pricePerMessage) * count, currency);
}

/** The balance is told and not judged: accounts that pay by invoice send with none. */
function readProbe(reply: HttpReply): ProbeOutcome {
  const { balance, currency } = fieldsOf(reply.json);
  if (reply.status === 200 && typeof balance === 'number')
    return { kind: 'ready', detail: `balance ${balance}${/^[A-Z]{3}$/.test(wordOf(currency)) ? ` ${currency}` : ''}` };
  const code = errorCode(reply);
  if (reply.status === 401) {
    const fix =
      "Infobip refuses the key: copy INFOBIP_API_KEY from the portal again (Developer tools, API keys), check that it has not ended, that this machine's address is allowed for it, and that INFOBIP_BASE_URL is the address of the same account.";
    return { kind: 'failed', reason: 'account', code, fix };
  }
  if (reply.status === 403) {
    const fix =
      'INFOBIP_API_KEY may not read the balance: give the key the scope account-management:manage besides sms:message:send.';
    return { kind: 'failed', reason: 'account', code, fix };
  }
  if (reply.status === 429) {
    const fix = 'Too many requests at once on this account: try again in a moment.';
    return { kind: 'failed', reason: reasonForStatus(429), code, fix };
  }
  return probeStranger(reply, 'Infobip', 'INFOBIP_BASE_URL');
}
