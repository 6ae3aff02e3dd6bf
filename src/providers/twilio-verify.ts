import Type from 'typebox';
import type {
  Channel,
  DeliveryReport,
  DeliveryState,
  FailureReason,
  ManagedCheckOutcome,
  ManagedStart,
  ProbeOutcome,
  SendOutcome,
} from '../domain/provider.ts';
import { accepted, defineManagedProvider, failed } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpSilence } from '../provider-kit/http-client.ts';
import { isTwoHundred, silent, unreadable, wordOf } from '../provider-kit/reading.ts';
import { baseUrlSetting } from '../provider-kit/settings.ts';
import {
  readTwilioProbe,
  refusedByTwilio,
  trimmed,
  twilioCode,
  twilioLoginEnvironment,
  twilioLoginFaults,
  twilioLoginSettings,
} from './twilio/account.ts';
import { connectTwilio, type TwilioReply } from './twilio/sdk.ts';
import { twilioFailureReasons } from './twilio.ts';

/**
 * Verify's own error codes; those of Messaging are passed through. 60200, 60202 and 60203 are read where they mean something.
 * Source: https://www.twilio.com/docs/api/errors, one page per code (read 2026-11-20).
 */
const failureReasons: ReadonlyMap<number, FailureReason> = new Map<number, FailureReason>([
  ...twilioFailureReasons,

  [60006, 'recipient'], // well formed, and no active number

  [60204, 'account'], // a feature is not enabled on the service
  [60206, 'account'], // the service wants Amount and Payee (PSD2)

  [60205, 'coverage'], // no SMS to a landline, as far as Twilio knows
  [60214, 'coverage'], // no call from a PSD2 service
  [60220, 'coverage'], // mainland China needs vetting
  [60223, 'coverage'], // channel is off in the service

  [60238, 'blocked'], // account under review, or an embargoed country
  [60410, 'blocked'], // Fraud Guard holds the prefix back, for about 12 hours
  [60605, 'blocked'], // country is off in Verify's geo permissions

  [60201, 'content'], // translation of the template is not approved
  [60217, 'content'], // configuration of the channel
  [60218, 'content'],
  [60219, 'content'], // e-mail integration
  [60222, 'content'], // e-mail integration
  [60228, 'content'], // template not found
  [60229, 'content'], // variable of the template
  [60331, 'content'], // no voice for the language
  [68008, 'content'], // WhatsApp sender is not configured

  [60202, 'throttled'], // all checks of the pending verification are used up
  [60203, 'throttled'], // all sends of the pending verification are used up
  [60212, 'throttled'], // too many requests for this number at once

  [60401, 'uncertain'], // internal
  [60441, 'uncertain'], // internal
]);

const PENDING_IS_USED_UP: ReadonlySet<number> = new Set([60202, 60203]);
const OPT_OUT = '21610';

const channelNames: Readonly<Partial<Record<Channel, string>>> = {
  sms: 'sms',
  voice: 'call',
  whatsapp: 'whatsapp',
  email: 'email',
};

/** Of the default template. Source: https://www.twilio.com/docs/verify/supported-languages (read 2026-11-20). */
const locales: ReadonlyMap<string, string> = new Map(
  (
    'af ar ca cs da de el en en-GB es et fi fr he hi hr hu id it ja kn ko lt mr ms nb nl pl pt pt-BR ro ru sk sv te th tl tr ' +
    'uk vi zh zh-CN zh-HK'
  )
    .split(' ')
    .map((locale) => [locale.toLowerCase(), locale]),
);
const localeAliases: ReadonlyMap<string, string> = new Map([
  ['fil', 'tl'],
  ['nn', 'nb'],
  ['no', 'nb'],
]);
/** Countries where more people read Russian than English: Russia, Kazakhstan, Belarus, Tajikistan, Kyrgyzstan, Uzbekistan. */
const READS_RUSSIAN = /^\+(7|375|992|996|998)/;

/** Of a message with a code; a call may have others. Source: https://www.twilio.com/docs/verify/api/attempts (read 2026-11-20). */
const deliveryStates: ReadonlyMap<string, DeliveryState> = new Map<string, DeliveryState>([
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
]);

const TWILIO_VERIFY_API = 'https://verify.twilio.com';
/** Other verifications of ours for the same number can come in between; one of them wins. */
const CREATE_ROUNDS = 3;

/** Twilio Verify, which makes and checks the code itself, through the official SDK. */
export const twilioVerify = defineManagedProvider({
  id: 'twilio-verify',
  kind: 'managed',
  channels: ['sms', 'voice', 'whatsapp', 'email'],
  settings: Type.Object(
    {
      ...twilioLoginSettings,
      serviceSid: Type.String({ description: 'Verify service, VA…: the name in the text, and the length of the code' }),
      baseUrl: baseUrlSetting(TWILIO_VERIFY_API),
    },
    { additionalProperties: false },
  ),
  environment: {
    ...twilioLoginEnvironment,
    TWILIO_VERIFY_SERVICE_SID: 'serviceSid',
    TWILIO_VERIFY_BASE_URL: 'baseUrl',
  },
  enabledBy: 'TWILIO_VERIFY_SERVICE_SID',
  faults: (given) => {
    const settings = trimmed(given);
    const isService = /^VA[0-9a-f]{32}$/i.test(settings.serviceSid ?? '');
    return [
      ...twilioLoginFaults(settings, 'TWILIO_VERIFY_BASE_URL'),
      ...(isService ? [] : ['TWILIO_VERIFY_SERVICE_SID must be VA and 32 hexadecimal digits']),
    ];
  },
  create: async (given, { now }) => {
    const settings = trimmed(given);
    const { client, ask, close } = await connectTwilio(settings, now);
    const service = client.verify.v2.services(settings.serviceSid);

    /** Asks for a code; once more without the language when Twilio does not have it, as its documents advise. */
    async function create(request: ManagedStart, signal: AbortSignal): Promise<TwilioReply | HttpSilence> {
      const what = { to: addressOf(request), channel: channelNames[request.channel] ?? 'sms' };
      const locale = localeFor(request);
      if (locale === undefined) return ask(signal, () => service.verifications.create(what));
      const reply = await ask(signal, () => service.verifications.create({ ...what, locale }));
      // The same 404 as for a service that is not there: then the second one says so.
      const isLocaleRefused = reply.kind === 'reply' && (reply.status === 404 || codeOf(reply) === 60331);
      return isLocaleRefused ? ask(signal, () => service.verifications.create(what)) : reply;
    }

    return {
      /**
       * Twilio has one pending verification for a number, and sends its code again to whoever asks. For a resend that is right.
       * One with another SID belongs to another verification of ours, of another purpose or subject, or canceled since, and
       * its code must not approve this one: so it is canceled, and a new one made. The person has then been sent the
       * older code once more; to look before each start would cost all the others a request, and another start could
       * still come in between.
       */
      async start(request, signal) {
        for (let round = 1; round <= CREATE_ROUNDS; round += 1) {
          const reply = await create(request, signal);
          if (reply.kind === 'silence') return silent(reply);
          const older = olderVerification(reply, request);
          if (older === undefined) return readStart(reply);
          const canceled = await ask(signal, () => service.verifications(older).update({ status: 'canceled' }));
          // Of this verification nothing has gone out, whatever became of the other.
          if (canceled.kind === 'silence') return failed('unavailable', canceled.code);
          const isGone = canceled.status === 404;
          // No longer pending, and still in the way: only its end helps.
          if (isGone && !isTwoHundred(reply)) return refused(reply);
          if (!isGone && !isTwoHundred(canceled)) return refused(canceled);
        }
        return failed('unavailable', 'older-verification');
      },

      async check({ providerMessageId, code }, signal) {
        const reply = await ask(signal, () =>
          service.verificationChecks.create({ verificationSid: providerMessageId, code }),
        );
        return reply.kind === 'silence'
          ? { kind: 'failed', reason: reply.reason, code: reply.code }
          : readCheck(reply, providerMessageId);
      },

      async fetchReport(providerMessageId, signal) {
        const query = { verificationSid: providerMessageId, pageSize: 20 };
        const reply = await ask(signal, () => client.verify.v2.verificationAttempts.page(query));
        return reply.kind === 'reply' && reply.status === 200 ? readReport(providerMessageId, reply.json) : undefined;
      },

      async probe(signal) {
        const reply = await ask(signal, () => service.fetch());
        return readProbe(reply, readTwilioProbe(reply, settings, 'TWILIO_VERIFY_BASE_URL'));
      },

      close: async () => close(),
    };
  },
});

function addressOf({ channel, to, email }: ManagedStart): string {
  return channel === 'email' ? (email ?? '') : to;
}

/** Undefined lets Twilio choose by the country; for e-mail it has no languages. */
function localeFor({ locale, channel, to }: ManagedStart): string | undefined {
  if (channel === 'email') return undefined;
  const tag = locale.toLowerCase();
  const [language = ''] = tag.split('-');
  const known = locales.get(tag) ?? locales.get(localeAliases.get(language) ?? language);
  // Uzbek, Kazakh, Kyrgyz and Tajik are not among them, and by the country alone most of their readers would get English.
  return known ?? (READS_RUSSIAN.test(to) ? 'ru' : undefined);
}

function codeOf(reply: TwilioReply): number | undefined {
  return twilioCode(fieldsOf(reply.json)['code']);
}

/** What names the pending verification that was there before this one was asked for: its SID, or else the number. */
function olderVerification(reply: TwilioReply, request: ManagedStart): string | undefined {
  const { previousId } = request;
  if (!isTwoHundred(reply)) {
    // At a resend it is this very verification that was sent as often as it may be.
    return previousId === undefined && PENDING_IS_USED_UP.has(codeOf(reply) ?? 0) ? addressOf(request) : undefined;
  }
  const { sid, send_code_attempts: sends } = fieldsOf(reply.json);
  const isOlder = Array.isArray(sends) && sends.length > 1 && sid !== previousId;
  return typeof sid === 'string' && isOlder ? sid : undefined;
}

function readStart(reply: TwilioReply): SendOutcome {
  if (!isTwoHundred(reply)) return refused(reply);
  const { sid, status } = fieldsOf(reply.json);
  if (status === 'failed' || status === 'canceled' || status === 'deleted') return failed('unavailable', status);
  return typeof sid === 'string' && /^VE[0-9a-f]{32}$/i.test(sid) ? accepted(sid) : unreadable();
}

function refused(reply: TwilioReply): Extract<SendOutcome, { kind: 'failed' }> {
  // The message names the parameter: "Invalid parameter `To`: …".
  if (codeOf(reply) === 60200) {
    const [, parameter] = /parameter:?\s*`?(\w+)/i.exec(wordOf(fieldsOf(reply.json)['message'])) ?? [];
    const reason = parameter === 'To' ? 'recipient' : parameter === 'Channel' ? 'coverage' : 'content';
    return { kind: 'failed', reason, code: '60200' };
  }
  const outcome = refusedByTwilio(reply, failureReasons);
  return outcome.code === OPT_OUT ? { ...outcome, optOut: true } : outcome;
}

/** A wrong code is no error: a 200 that still says `pending`. */
function readCheck(reply: TwilioReply, asked: string): ManagedCheckOutcome {
  const { sid, status, valid, message } = fieldsOf(reply.json);
  if (isTwoHundred(reply)) {
    // An approval of anything else than what was asked about is none.
    if (sid !== asked || typeof status !== 'string') return { kind: 'failed', reason: 'uncertain', code: 'unreadable' };
    if (status === 'approved') {
      return valid === true ? { kind: 'approved' } : { kind: 'failed', reason: 'uncertain', code: 'unreadable' };
    }
    return { kind: status === 'pending' ? 'wrong' : 'gone' };
  }
  const code = codeOf(reply);
  // Twilio compares five codes, as many as we do; then it keeps silent until the verification's end.
  if (code === 20404 || code === 60202) return { kind: 'gone' };
  // What is not 4 to 10 digits is not compared.
  if (code === 60200 && /\bCode\b/.test(wordOf(message))) return { kind: 'wrong' };
  const { reason, code: said } = refused(reply);
  return { kind: 'failed', reason, code: said };
}

/** The last of the verification's sends. */
function readReport(providerMessageId: string, json: unknown): DeliveryReport | undefined {
  const { attempts } = fieldsOf(json);
  const [last] = (Array.isArray(attempts) ? attempts : [])
    .map((attempt: unknown) => fieldsOf(attempt))
    .filter((attempt) => attempt['verification_sid'] === providerMessageId)
    .sort((left, right) => wordOf(right['date_created']).localeCompare(wordOf(left['date_created'])));
  const { message_status: status, error_code: errorCode } = fieldsOf(last?.['channel_data']);
  if (typeof status !== 'string' || status === '') return undefined;
  const state = deliveryStates.get(status.toLowerCase()) ?? 'unknown';
  if (state !== 'failed' && state !== 'undelivered') return { providerMessageId, state };
  const code = twilioCode(errorCode);
  return {
    providerMessageId,
    state,
    reason: failureReasons.get(code ?? 0) ?? 'unavailable',
    ...(code === undefined ? {} : { code: String(code) }),
    ...(String(code) === OPT_OUT ? { optOut: true } : {}),
  };
}

function readProbe(reply: TwilioReply | HttpSilence, fault: ProbeOutcome | undefined): ProbeOutcome {
  if (fault?.kind === 'failed' && (fault.code === '20404' || fault.code === '404')) {
    const fix =
      'Twilio knows no such Verify service in this account: copy TWILIO_VERIFY_SERVICE_SID from the console (Verify → Services), and check TWILIO_ACCOUNT_SID, and TWILIO_VERIFY_BASE_URL if it is set.';
    return { ...fault, fix };
  }
  if (fault !== undefined) return fault;
  const body = reply.kind === 'reply' ? fieldsOf(reply.json) : {};
  if (body['psd2_enabled'] === true) {
    const fix =
      'The service of TWILIO_VERIFY_SERVICE_SID is for payments (PSD2) and refuses codes for a log-in: use another one.';
    return { kind: 'failed', reason: 'account', code: 'psd2', fix };
  }
  const length = body['code_length'];
  return { kind: 'ready', ...(typeof length === 'number' ? { detail: `codes of ${length} digits` } : {}) };
}
