import Type from 'typebox';
import type {
  DeliveryReport,
  DeliveryState,
  FailureReason,
  MessagingProvider,
  OutgoingMessage,
  ReportOutcome,
} from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
import { fieldsOf } from '../provider-kit/http-client.ts';
import { forged, isTwoHundred, malformed, reported, silent, unreadable, wordOf } from '../provider-kit/reading.ts';
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
import { connectTwilio } from './twilio/sdk.ts';
import { readTwilioWebhook } from './twilio/signature.ts';

/** Twilio's error codes for calls. Source: https://www.twilio.com/docs/api/errors, one page per code (read 2026-11-20). */
export const twilioVoiceReasons: ReadonlyMap<number, FailureReason> = new Map<number, FailureReason>([
  ...twilioAccountReasons,
  [10002, 'account'], // trial accounts cannot do this
  [10005, 'account'], // calls are switched off for the account
  [21210, 'account'], // From is no number of the account, and not verified either
  [21212, 'account'], // From is no valid number
  [21213, 'account'], // From missing

  [21211, 'recipient'], // To is no valid number
  [21217, 'recipient'], // To is badly formed

  // "Not supported, or invalid", and also "no carrier could deliver it": a wrong `recipient` would end the verification.
  [13224, 'coverage'],
  [21214, 'coverage'], // To cannot be reached

  [13225, 'blocked'], // number blocked by Twilio
  [13227, 'blocked'], // geographic permission is off
  [21215, 'blocked'], // geographic permission is off
  [21216, 'blocked'], // this account may not call that number
  [21219, 'blocked'], // trial: To is not verified
  [573005, 'blocked'], // trial: To is not verified yet

  [21200, 'content'], // the request as a whole
  [21205, 'content'], // nothing to say
  [10004, 'throttled'], // too many calls at once
]);

/** Source: https://www.twilio.com/docs/voice/api/call-resource#call-status-values (read 2026-11-20). */
const callStates: ReadonlyMap<string, DeliveryState> = new Map<string, DeliveryState>([
  ['queued', 'queued'],
  ['initiated', 'queued'],
  ['ringing', 'sent'],
  ['in-progress', 'sent'],
  ['completed', 'delivered'],
  ['busy', 'undelivered'],
  ['no-answer', 'undelivered'],
  ['failed', 'failed'],
  ['canceled', 'failed'],
]);

/**
 * What is said before the code and before its repetition, in the languages of Google's standard voices at Twilio.
 * Source: languages and voices of `<Say>` in Twilio's SDK 6.2.0 and https://www.twilio.com/docs/voice/twiml/say/text-speech
 * (read 2026-11-20).
 */
type Phrases = readonly [voice: string, codeIs: (brand: string) => string, again: string];
const english: Phrases = ['en-US', (brand) => `This is ${brand}. Your code is:`, 'Once more:'];
const russian: Phrases = ['ru-RU', (brand) => `Вас приветствует ${brand}. Ваш код:`, 'Повторяю:'];
const phrases: ReadonlyMap<string, Phrases> = new Map<string, Phrases>([
  ['en', english],
  ['ru', russian],
  ['ar', ['ar-XA', (brand) => `معك ${brand}. رمزك هو:`, 'مرة أخرى:']],
  ['tr', ['tr-TR', (brand) => `${brand} arıyor. Kodunuz:`, 'Tekrar ediyorum:']],
  ['de', ['de-DE', (brand) => `Hier ist ${brand}. Ihr Code lautet:`, 'Noch einmal:']],
  ['fr', ['fr-FR', (brand) => `Ici ${brand}. Votre code est :`, 'Je répète :']],
  ['es', ['es-ES', (brand) => `Le llama ${brand}. Su código es:`, 'Repito:']],
  ['it', ['it-IT', (brand) => `Qui ${brand}. Il suo codice è:`, 'Ripeto:']],
  ['pt', ['pt-BR', (brand) => `Aqui é ${brand}. Seu código é:`, 'Repetindo:']],
  ['pl', ['pl-PL', (brand) => `Tu ${brand}. Twój kod to:`, 'Powtarzam:']],
  ['uk', ['uk-UA', (brand) => `Вас вітає ${brand}. Ваш код:`, 'Повторюю:']],
  ['hi', ['hi-IN', (brand) => `यह ${brand} है। आपका कोड है:`, 'फिर से:']],
  ['ko', ['ko-KR', (brand) => `${brand}입니다. 인증 코드는 다음과 같습니다.`, '다시 알려 드립니다.']],
  ['zh', ['cmn-CN', (brand) => `这里是${brand}。您的验证码是：`, '再说一遍：']],
]);

/** Languages without a voice, whose speakers mostly understand Russian. All others hear English. */
const spokenInRussian: readonly string[] = ['uz', 'kk', 'ky', 'tg', 'tk'];

const TWILIO_API = 'https://api.twilio.com';
/** Source: https://www.twilio.com/docs/voice/api/call-resource (read 2026-11-20). */
const MAX_TWIML_CHARS = 4000;
const RING_SECONDS = { min: 5, max: 60 };
/** Twice a code takes half a minute; a machine that answers shall not cost more. */
const CALL_SECONDS = 120;

/** Calls the number and reads the code aloud, digit by digit and twice, over Twilio's official SDK. */
export const twilioVoice = defineProvider({
  id: 'twilio-voice',
  kind: 'messaging',
  channels: ['voice'],
  settings: Type.Object(
    {
      ...twilioLoginSettings,
      from: Type.String({ description: 'number that calls: one of the account, or a verified caller ID' }),
      baseUrl: baseUrlSetting(TWILIO_API),
    },
    { additionalProperties: false },
  ),
  environment: {
    ...twilioLoginEnvironment,
    TWILIO_VOICE_FROM: 'from',
    TWILIO_VOICE_BASE_URL: 'baseUrl',
  },
  enabledBy: 'TWILIO_VOICE_FROM',
  faults: (given) => {
    const settings = trimmed(given);
    const faults = twilioLoginFaults(settings, 'TWILIO_VOICE_BASE_URL');
    if (!/^\+[1-9]\d{6,14}$/.test(settings.from))
      faults.push('TWILIO_VOICE_FROM must be a number with + and country code and no spaces: only numbers can call');
    return faults;
  },
  create: async (given, { now }) => {
    const settings = trimmed(given);
    const connection = await connectTwilio(settings, now);
    const { client, ask } = connection;
    const tokens = signingTokens(settings);

    const provider: MessagingProvider = {
      async send(message, signal) {
        const twiml = twimlOf(message);
        if (twiml === undefined) return failed('content', 'too-long');
        const { reportUrl, validitySeconds } = message;
        const reply = await ask(signal, () =>
          client.calls.create({
            to: message.to,
            from: settings.from,
            // Inline, and not behind an address that Twilio would fetch: addresses end up in logs.
            twiml,
            timeout: Math.min(RING_SECONDS.max, Math.max(RING_SECONDS.min, Math.floor(validitySeconds))),
            timeLimit: CALL_SECONDS,
            // Without an auth token no signature can be checked, and a report that cannot be believed is not asked for.
            ...(reportUrl === undefined || tokens.length === 0
              ? {}
              : { statusCallback: reportUrl, statusCallbackEvent: ['answered', 'completed'] }),
          }),
        );
        if (reply.kind === 'silence') return silent(reply);
        if (!isTwoHundred(reply)) return refusedByTwilio(reply, twilioVoiceReasons);
        const { sid, status } = fieldsOf(reply.json);
        const state = callStates.get(wordOf(status));
        if (state === 'failed' || state === 'undelivered') return refusedByTwilio(reply, twilioVoiceReasons);
        return typeof sid === 'string' && /^[A-Za-z0-9]{2,64}$/.test(sid) ? accepted(sid) : unreadable();
      },

      async fetchReport(providerMessageId, signal) {
        const reply = await ask(signal, () => client.calls(providerMessageId).fetch());
        if (reply.kind === 'silence' || reply.status !== 200) return undefined;
        const { status, duration } = fieldsOf(reply.json);
        if (typeof status !== 'string') return undefined;
        const cost = twilioCost(reply.json);
        return { ...readState(providerMessageId, status, duration, {}), ...(cost === undefined ? {} : { cost }) };
      },

      probe: (signal) => probeTwilio(connection, settings, 'TWILIO_VOICE_BASE_URL', signal),

      close: async () => connection.close(),
    };
    if (tokens.length === 0) return provider;
    return { ...provider, parseReport: (request) => readReport(readTwilioWebhook(request, tokens)) };
  },
});

/** What is said on the telephone; undefined when it is longer than Twilio takes. */
function twimlOf({ locale, code, text, brand }: OutgoingMessage): string | undefined {
  const [language = ''] = locale.toLowerCase().split('-');
  const fallback = spokenInRussian.includes(language) ? russian : english;
  const [voice, codeIs, again] = phrases.get(language) ?? fallback;
  const say = (words: string) =>
    `<Say voice="Google.${voice}-Standard-A" language="${voice}">${escaped(words)}</Say><Pause length="1"/>`;
  // One digit in each: a number would be read as thousands, and too fast to write it down.
  const digits = code === undefined ? undefined : [...code].map(say).join('');
  const parts = digits === undefined ? [say(text), say(text)] : [say(codeIs(brand)), digits, say(again), digits];
  const twiml = `<Response><Pause length="1"/>${parts.join('')}</Response>`;
  return twiml.length <= MAX_TWIML_CHARS ? twiml : undefined;
}

/** Characters that XML has no way to write are left out: they are not spoken either. */
function escaped(words: string): string {
  return words
    .replaceAll(/[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu, '')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;');
}

function readReport(fields: ReturnType<typeof readTwilioWebhook>): ReportOutcome {
  if (fields === 'forged') return forged;
  if (fields === 'malformed') return malformed;
  const { CallSid: id, CallStatus: status, CallDuration: duration } = fields;
  if (typeof id !== 'string' || id === '' || typeof status !== 'string' || status === '') return malformed;
  return reported(readState(id, status, duration, fields));
}

function readState(
  providerMessageId: string,
  status: string,
  duration: unknown,
  { ErrorCode: errorCode, SipResponseCode: sipCode }: Readonly<Record<string, unknown>>,
): DeliveryReport {
  // A call that was over before it began has told nobody anything.
  const isEmpty = status === 'completed' && wordOf(duration) === '0';
  const state = isEmpty ? 'undelivered' : (callStates.get(status) ?? 'unknown');
  if (state !== 'failed' && state !== 'undelivered') return { providerMessageId, state };
  const code = twilioCode(errorCode);
  const sip = twilioCode(sipCode);
  return {
    providerMessageId,
    state,
    reason: twilioVoiceReasons.get(code ?? 0) ?? 'unavailable',
    code: code === undefined ? (state === 'failed' && sip !== undefined ? `sip ${sip}` : status) : String(code),
  };
}
