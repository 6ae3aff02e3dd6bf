import Type from 'typebox';
import type {
  Channel,
  DeliveryReport,
  DeliveryState,
  FailureReason,
  ManagedCheckOutcome,
  SendOutcome,
} from '../domain/provider.ts';
import { accepted, defineManagedProvider, failed } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpReply } from '../provider-kit/http-client.ts';
import {
  isTwoHundred,
  probeSilence,
  probeStranger,
  refusedByStatus,
  silent,
  unreadable,
  WRONG_NUMBER,
} from '../provider-kit/reading.ts';
import { addressFaults, baseOf, baseUrlSetting } from '../provider-kit/settings.ts';

/**
 * What refusals say, as there are no error numbers: `{"title":"…","detail":"…"}`. Only words that carry the meaning are
 * looked for, in this order. The vendor publishes no list, and public clients of the API quote none of its words: these are
 * the ones that such services use.
 */
const refusals: readonly (readonly [words: RegExp, code: string, reason: FailureReason])[] = [
  [/balance|funds|payment/i, 'balance', 'account'],
  [/too many|rate.?limit|throttl/i, 'throttled', 'throttled'],
  [/sender|template|channel|\bfrom\b/i, 'sender', 'content'],
  [/opted?.?out|unsubscri/i, 'opt-out', 'blocked'],
  [/black.?list|stop.?list|blocked/i, 'blocked', 'blocked'],
  [/country|route|destination/i, 'coverage', 'coverage'],
  [WRONG_NUMBER, 'number', 'recipient'],
];

/** Words for a code that can no more become right. Only `CODE_VERIFIED` is known for sure; see `readCheck`. */
const goneWords = /expire|not.?found|unknown|already|(?:^|[^a-z])used|exceed|too many|limit|block/i;

/** Source: public clients of the API (read 2026-11-20). `SEND_SUCCESS` is the hand-over to the network, not the arrival. */
const deliveryStates: ReadonlyMap<string, DeliveryState> = new Map<string, DeliveryState>([
  ['SEND_SUCCESS', 'sent'],
  ['SEND_FAIL', 'undelivered'],
  ['SEND_FATAL', 'failed'],
]);

const channelNames: Readonly<Partial<Record<Channel, string>>> = {
  sms: 'sms',
  telegram: 'telegram',
  whatsapp: 'whatsapp',
};

const MESSAGGIO_OTP_API = 'https://otp.messaggio.com';
/** No code has it: asked for to see whether the key is good. */
const NO_AUTH_ID = '00000000-0000-0000-0000-000000000000';

/** Messaggio's OTP service, which makes and checks the code itself. (Its messaging API is another product with another login.) */
export const messaggioOtp = defineManagedProvider({
  id: 'messaggio-otp',
  kind: 'managed',
  channels: ['sms', 'telegram', 'whatsapp'],
  settings: Type.Object(
    {
      key: Type.String({ minLength: 1, secret: true, description: 'key of the OTP service, sent as bearer token' }),
      baseUrl: baseUrlSetting(MESSAGGIO_OTP_API),
    },
    { additionalProperties: false },
  ),
  environment: { MESSAGGIO_OTP_KEY: 'key', MESSAGGIO_OTP_BASE_URL: 'baseUrl' },
  faults: ({ key, baseUrl }) => [
    ...(/^[\x21-\x7e]+$/.test(key) ? [] : ['MESSAGGIO_OTP_KEY must be one word of ASCII, as the cabinet shows it']),
    ...addressFaults('MESSAGGIO_OTP_BASE_URL', baseUrl),
  ],
  create: ({ key, baseUrl }, { http }) => {
    const base = `${baseOf(baseUrl, MESSAGGIO_OTP_API)}/api/v1`;
    const post = (path: string, body: object, signal: AbortSignal) =>
      http.postJson(base + path, body, { bearer: key, signal });

    return {
      // Each start has an id and a code of its own, so one verification never meets the code of another. It also means that
      // a resend is a new code: the one that was sent before is compared no more.
      async start({ to, channel }, signal) {
        const reply = await post('/code', { to: to.slice(1), channel: channelNames[channel] ?? 'sms' }, signal);
        return reply.kind === 'silence' ? silent(reply) : readStart(reply);
      },

      async check({ providerMessageId, code }, signal) {
        const reply = await post('/code/verify', { auth_id: providerMessageId, code }, signal);
        return reply.kind === 'silence' ? { kind: 'failed', reason: reply.reason, code: reply.code } : readCheck(reply);
      },

      async fetchReport(providerMessageId, signal) {
        const reply = await post('/code/dlrs', { auth_ids: [providerMessageId] }, signal);
        return reply.kind === 'reply' && reply.status === 200 ? readReport(providerMessageId, reply.json) : undefined;
      },

      async probe(signal) {
        const reply = await post('/code/dlrs', { auth_ids: [NO_AUTH_ID] }, signal);
        if (reply.kind === 'silence') return probeSilence(reply, 'Messaggio', 'MESSAGGIO_OTP_BASE_URL');
        if (reply.status === 401 || reply.status === 403) {
          const fix =
            'Messaggio refuses the key: copy MESSAGGIO_OTP_KEY from the OTP service of the cabinet. The login of the messaging API is another one and does not open this.';
          return { kind: 'failed', reason: 'account', code: String(reply.status), fix };
        }
        if (reply.status === 429) {
          const fix = 'Messaggio asks to slow down: try again in a moment, and look what else uses MESSAGGIO_OTP_KEY.';
          return { kind: 'failed', reason: 'throttled', code: '429', fix };
        }
        // A refusal of an id that nobody has comes after the key was looked at.
        const isRefusal = (reply.status === 400 || reply.status === 422) && wordsOf(reply.json) !== '';
        const isAnswer = reply.status === 200 && Array.isArray(fieldsOf(reply.json)['codes']);
        if (isAnswer || isRefusal) return { kind: 'ready' };
        return probeStranger(reply, 'Messaggio', 'MESSAGGIO_OTP_BASE_URL');
      },
    };
  },
});

function readStart(reply: HttpReply): SendOutcome {
  const id = fieldsOf(reply.json)['auth_id'];
  if (isTwoHundred(reply) && typeof id === 'string' && id !== '') return accepted(id);
  // The vendor's messaging API refuses single recipients inside a 200, so a 2xx that only says what is wrong is a refusal.
  // `message` alone does not: it may be that the code is on its way.
  const { message: _, ...fault } = fieldsOf(reply.json);
  const words = wordsOf(isTwoHundred(reply) ? fault : reply.json);
  if (isTwoHundred(reply) && words === '') return unreadable();
  const isRefusal = isTwoHundred(reply) || [400, 402, 404, 409, 422].includes(reply.status);
  const known = isRefusal ? refusals.find(([pattern]) => pattern.test(words)) : undefined;
  if (known !== undefined) return failed(known[2], known[1], known[1] === 'opt-out' ? { optOut: true } : {});
  return isTwoHundred(reply) ? failed('content', 'refused') : refusedByStatus(reply);
}

/**
 * `CODE_VERIFIED` alone approves. How a wrong code and one that has expired are told apart is not published: a status or a
 * refusal with a word for the end in it is `gone`, any other one is `wrong`.
 */
function readCheck(reply: HttpReply): ManagedCheckOutcome {
  const status = fieldsOf(reply.json)['status'];
  if (isTwoHundred(reply)) {
    if (typeof status !== 'string' || status === '') return { kind: 'failed', reason: 'uncertain', code: 'unreadable' };
    if (status === 'CODE_VERIFIED') return { kind: 'approved' };
    return { kind: goneWords.test(status) ? 'gone' : 'wrong' };
  }
  const words = `${wordsOf(reply.json)} ${typeof status === 'string' ? status : ''}`.trim();
  if (reply.status === 410 || (reply.status === 404 && words !== '')) return { kind: 'gone' };
  const isAboutCode = [400, 409, 422].includes(reply.status) && /code|otp|auth_?id|verif/i.test(words);
  if (isAboutCode) return { kind: goneWords.test(words) ? 'gone' : 'wrong' };
  const { reason, code } = refusedByStatus(reply);
  return { kind: 'failed', reason, code };
}

function readReport(providerMessageId: string, json: unknown): DeliveryReport | undefined {
  const codes = fieldsOf(json)['codes'];
  const found = (Array.isArray(codes) ? codes : []).find(
    (code: unknown) => fieldsOf(code)['auth_id'] === providerMessageId,
  );
  const reports = fieldsOf(found)['delivery_reports'];
  const words = (Array.isArray(reports) ? reports : []).map((report: unknown) => fieldsOf(report)['status']);
  // One for each channel that was tried: after a failure the next channel may have carried it.
  const word = words.includes('SEND_SUCCESS') ? 'SEND_SUCCESS' : words.at(-1);
  if (typeof word !== 'string' || word === '') return undefined;
  const state = deliveryStates.get(word) ?? 'unknown';
  if (state !== 'failed' && state !== 'undelivered') return { providerMessageId, state };
  return { providerMessageId, state, reason: 'unavailable', code: word };
}

/** What a refusal says about itself; also as the messaging API has it, one level down. */
function wordsOf(json: unknown): string {
  const { title, detail, message, error } = fieldsOf(json);
  const inner = typeof error === 'string' ? [error] : [fieldsOf(error)['title'], fieldsOf(error)['detail']];
  return [title, detail, message, ...inner].filter((part) => typeof part === 'string').join(' ');
}
