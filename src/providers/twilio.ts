import Type, { type Static } from 'typebox';
import type {
  DeliveryReport,
  DeliveryState,
  FailureReason,
  MessagingProvider,
  ReportOutcome,
  SendOutcome,
} from '../domain/provider.ts';
import { accepted, defineProvider } from '../provider-kit/define-provider.ts';
import { fieldsOf } from '../provider-kit/http-client.ts';
import {
  forged,
  isTwoHundred,
  malformed,
  numberOf,
  reported,
  silent,
  unreadable,
  wordOf,
} from '../provider-kit/reading.ts';
import { baseUrlSetting } from '../provider-kit/settings.ts';
import {
  probeTwilio,
  refusedByTwilio,
  signingTokens,
  trimmed,
  twilioAccountReasons,
  twilioCode,
  twilioCost,
  twilioLoginEnvironment,
  twilioLoginFaults,
  twilioLoginSettings,
} from './twilio/account.ts';
import { connectTwilio, type TwilioReply } from './twilio/sdk.ts';
import { readTwilioWebhook } from './twilio/signature.ts';

/**
 * Twilio's error codes, from answers and from status callbacks alike.
 * Source: https://www.twilio.com/docs/api/errors, one page per code (read 2026-11-20).
 *
 * `account` takes the provider out for every destination, so it stands only where every message would fail the same way;
 * a sender that one country or carrier refuses is `content`: the next provider may do better, and the operator is told.
 */
export const twilioFailureReasons: ReadonlyMap<number, FailureReason> = new Map<number, FailureReason>([
  ...twilioAccountReasons,

  // Sender and account: wrong for all messages.
  [21603, 'account'], // From missing
  [21604, 'account'], // To missing
  [21606, 'account'], // From cannot send SMS, or is not ours
  [21607, 'account'], // trial: From must be a Twilio number
  [21212, 'account'], // From is no valid sender
  [21659, 'account'], // From is no number or short code of this account
  [21660, 'account'], // From belongs to another account
  [21701, 'account'], // messaging service does not exist
  [21703, 'account'], // messaging service has no sender
  [21704, 'account'], // messaging service has no sender for this
  [21705, 'account'], // messaging service is invalid
  [30002, 'account'], // account suspended; there is no code of its own for an empty balance

  // The number is wrong for everybody.
  [21211, 'recipient'], // To is no valid number
  [21401, 'recipient'], // To is no valid number
  [21217, 'recipient'], // To is badly formed
  [30005, 'recipient'], // unknown handset: the number is not in service

  // Not through here. A landline (21614, 21635, 30006) is Twilio's reading of its own number data: ported and newly opened ranges
  // are told apart wrongly, and other providers reach some landlines. A wrong `recipient` would end the verification;
  // a wrong `coverage` costs one more attempt.
  [21214, 'coverage'], // To cannot be reached
  [21612, 'coverage'], // this From cannot reach this To
  [21614, 'coverage'], // To is no mobile number
  [21635, 'coverage'], // To is a landline
  [30006, 'coverage'], // landline, or unreachable carrier
  [63003, 'coverage'], // To is not on this channel
  [63024, 'coverage'], // To cannot receive on this channel

  // This account may not send there.
  [21408, 'blocked'], // geographic permission is off
  [21608, 'blocked'], // trial: To is not verified
  [21610, 'blocked'], // the person replied STOP, see `optOutCodes`
  [30004, 'blocked'], // blocked by the recipient or the carrier
  [30450, 'blocked'], // SMS pumping protection
  [30453, 'blocked'], // fraud guard
  [30454, 'blocked'], // risk guard
  [572002, 'blocked'], // trial recipient limits
  [572005, 'blocked'], // trial recipient limits

  // Text, template, or a sender that this country or carrier does not take.
  [21602, 'content'], // Body missing
  [21617, 'content'], // Body over 1600 characters
  [21619, 'content'], // neither Body nor media
  [21620, 'content'], // bad media URL
  [21656, 'content'], // bad content variables
  [21657, 'content'], // bad sender ID for this destination
  [30007, 'content'], // filtered by Twilio or the carrier
  [30032, 'content'], // toll-free number not verified: US and Canada only
  [30034, 'content'], // number not registered for 10DLC: US only
  [30035, 'content'], // 10DLC campaign not in order: US only
  [30042, 'content'], // sender ID refused by the carrier
  [63016, 'content'], // free text outside the channel's window

  // Too fast.
  [21611, 'throttled'], // queue of this From is full
  [30001, 'throttled'], // queue overflow
  [30022, 'throttled'], // US 10DLC rate
  [30023, 'throttled'], // US 10DLC daily cap
  [30027, 'throttled'], // US 10DLC daily cap of one carrier
  [63038, 'throttled'], // daily cap of the account

  // From callbacks: surely not delivered.
  [30003, 'unavailable'], // handset off or out of reach
  [30008, 'unavailable'], // unknown error at the carrier
  [30036, 'unavailable'], // validity period over
]);

/** The person told this sender to stop: no other provider may go round that. */
const optOutCodes: ReadonlySet<string> = new Set(['21610']);

/**
 * Message states. Source: https://www.twilio.com/docs/messaging/api/message-resource#message-status-values (read 2026-11-20).
 * `ignored` are states of incoming and group messages, which a status callback of ours does not carry.
 */
const deliveryStates: ReadonlyMap<string, DeliveryState | 'ignored'> = new Map<string, DeliveryState | 'ignored'>([
  ['accepted', 'queued'],
  ['scheduled', 'queued'],
  ['queued', 'queued'],
  ['sending', 'sent'],
  ['sent', 'sent'],
  ['delivered', 'delivered'],
  ['read', 'delivered'],
  ['undelivered', 'undelivered'],
  ['failed', 'failed'],
  ['canceled', 'failed'],
  ['receiving', 'ignored'],
  ['received', 'ignored'],
  ['partially_delivered', 'ignored'],
]);

const TWILIO_API = 'https://api.twilio.com';
/** Bounds of `ValidityPeriod`. Source: https://www.twilio.com/docs/messaging/api/message-resource (read 2026-11-20). */
const VALIDITY_SECONDS = { min: 1, max: 36_000 };

const settingsSchema = Type.Object(
  {
    ...twilioLoginSettings,
    messagingServiceSid: Type.Optional(Type.String({ description: 'Messaging Service, MG…; chooses the sender' })),
    from: Type.Optional(Type.String({ description: 'sender: number in E.164, short code or alphanumeric sender ID' })),
    baseUrl: baseUrlSetting(TWILIO_API),
  },
  { additionalProperties: false },
);

type TwilioSettings = Static<typeof settingsSchema>;

/**
 * Twilio Programmable Messaging, through the official SDK: its hosts, regions, proxy (`HTTP_PROXY`) and
 * certificate (`TWILIO_CA_BUNDLE`) settings are what operators know.
 */
export const twilio = defineProvider({
  id: 'twilio',
  kind: 'messaging',
  channels: ['sms'],
  settings: settingsSchema,
  environment: {
    ...twilioLoginEnvironment,
    TWILIO_MESSAGING_SERVICE_SID: 'messagingServiceSid',
    TWILIO_PHONE_NUMBER: 'from',
    TWILIO_BASE_URL: 'baseUrl',
  },
  faults: (settings) => settingsFaults(trimmed(settings)),
  create: async (given, { now }) => {
    const settings = trimmed(given);
    const { messagingServiceSid, from } = settings;
    const connection = await connectTwilio(settings, now);
    const { client, ask } = connection;
    const tokens = signingTokens(settings);

    const provider: MessagingProvider = {
      async send(message, signal) {
        const reply = await ask(signal, () =>
          client.messages.create({
            to: message.to,
            body: message.text,
            ...(messagingServiceSid === undefined ? { from: from ?? '' } : { messagingServiceSid }),
            validityPeriod: clampValidity(message.validitySeconds),
            // Without an auth token no signature can be checked, and a report that cannot be believed is not asked for.
            ...(message.reportUrl === undefined || tokens.length === 0 ? {} : { statusCallback: message.reportUrl }),
          }),
        );
        return reply.kind === 'silence' ? silent(reply) : readSendReply(reply);
      },

      async fetchReport(providerMessageId, signal) {
        const reply = await ask(signal, () => client.messages(providerMessageId).fetch());
        if (reply.kind === 'silence' || reply.status !== 200) return undefined;
        const { status, error_code: errorCode } = fieldsOf(reply.json);
        if (typeof status !== 'string') return undefined;
        const report = readState(providerMessageId, status, errorCode);
        const cost = twilioCost(reply.json);
        return report === undefined || cost === undefined ? report : { ...report, cost };
      },

      probe: (signal) => probeTwilio(connection, settings, 'TWILIO_BASE_URL', signal),

      close: async () => connection.close(),
    };
    if (tokens.length === 0) return provider;
    return { ...provider, parseReport: (request) => readReport(readTwilioWebhook(request, tokens)) };
  },
});

function settingsFaults(settings: TwilioSettings): string[] {
  const { messagingServiceSid, from } = settings;
  const faults = twilioLoginFaults(settings, 'TWILIO_BASE_URL');
  if (messagingServiceSid === undefined && from === undefined) {
    faults.push(
      'TWILIO_PHONE_NUMBER or TWILIO_MESSAGING_SERVICE_SID is missing: one of them says who the message is from',
    );
  }
  if (messagingServiceSid !== undefined && !/^MG[0-9a-f]{32}$/i.test(messagingServiceSid)) {
    faults.push('TWILIO_MESSAGING_SERVICE_SID must be MG and 32 hexadecimal digits');
  }
  if (from !== undefined && !isSender(from)) {
    faults.push(
      'TWILIO_PHONE_NUMBER must be a number with + and country code and no spaces, a short code, or a sender ID of up to 11 letters and digits',
    );
  }
  return faults;
}

/** Sender IDs as in https://www.twilio.com/docs/messaging/api/alphasender-resource (read 2026-11-20). */
function isSender(from: string): boolean {
  const isNumber = /^\+[1-9]\d{6,14}$/.test(from);
  const isShortCode = /^\d{3,8}$/.test(from);
  const isAlphanumeric = /^[A-Za-z0-9 +_&-]{1,11}$/.test(from) && /[A-Za-z]/.test(from);
  return isNumber || isShortCode || isAlphanumeric;
}

function clampValidity(seconds: number): number {
  return Math.min(VALIDITY_SECONDS.max, Math.max(VALIDITY_SECONDS.min, Math.floor(seconds)));
}

function readSendReply(reply: TwilioReply): SendOutcome {
  if (!isTwoHundred(reply)) return refused(reply);
  const { sid, status, error_code: errorCode, num_segments: numSegments } = fieldsOf(reply.json);
  // A message can be refused within a 201 too: then it has an error code and a final state.
  const state = deliveryStates.get(wordOf(status));
  if (state === 'failed' || state === 'undelivered') return refused(reply, twilioCode(errorCode));
  if (typeof sid !== 'string' || !/^[A-Za-z0-9]{2,64}$/.test(sid)) return unreadable();
  // Twilio writes the number as a string, and `"0"` while a Messaging Service has not chosen the sender yet.
  const segments = numberOf(numSegments);
  return accepted(sid, { segments: Number.isInteger(segments) && segments > 0 ? segments : undefined });
}

function refused(reply: TwilioReply, code?: number): SendOutcome {
  const outcome = refusedByTwilio(reply, twilioFailureReasons, code);
  return optOutCodes.has(outcome.code) ? { ...outcome, optOut: true } : outcome;
}

function readReport(fields: ReturnType<typeof readTwilioWebhook>): ReportOutcome {
  if (fields === 'forged') return forged;
  if (fields === 'malformed') return malformed;
  const id = fields['MessageSid'] ?? fields['SmsSid'];
  const status = fields['MessageStatus'] ?? fields['SmsStatus'];
  if (typeof id !== 'string' || id === '' || typeof status !== 'string' || status === '') return malformed;
  const report = readState(id, status, fields['ErrorCode']);
  return report === undefined ? reported() : reported(report);
}

/** Undefined for a state that is none of ours. */
function readState(providerMessageId: string, status: string, errorCode: unknown): DeliveryReport | undefined {
  const state = deliveryStates.get(status) ?? 'unknown';
  if (state === 'ignored') return undefined;
  if (state !== 'failed' && state !== 'undelivered') return { providerMessageId, state };
  const code = twilioCode(errorCode);
  return {
    providerMessageId,
    state,
    // Whatever the code may mean, the message is not there: the next provider may try.
    reason: twilioFailureReasons.get(code ?? 0) ?? 'unavailable',
    ...(code === undefined ? {} : { code: String(code) }),
    ...(optOutCodes.has(String(code)) ? { optOut: true } : {}),
  };
}
