import Type from 'typebox';
import type {
  DeliveryReport,
  DeliveryState,
  FailureReason,
  MessagingProvider,
  ProbeOutcome,
  ReportOutcome,
  ReportRequest,
  SendOutcome,
} from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
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
  waitOf,
} from '../provider-kit/reading.ts';
import { addressFaults, baseOf, baseUrlSetting } from '../provider-kit/settings.ts';
import { hmac, isSame } from '../provider-kit/signature.ts';

/**
 * Codes of the Cloud API, from answers and from webhooks alike.
 * Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes (read 2026-11-20).
 */
export const whatsappFailureReasons: ReadonlyMap<number, FailureReason> = new Map<number, FailureReason>([
  // Token, permission, number, money: wrong for all messages. 200 to 299 are permissions too.
  [0, 'account'], // token expired or withdrawn
  [190, 'account'], // token expired
  [3, 'account'], // the app may not do this
  [10, 'account'], // permission withdrawn
  [33, 'account'], // the business's number was deleted
  [368, 'account'], // account restricted for breaking a policy
  [131005, 'account'], // access denied
  [131031, 'account'], // account locked
  [131042, 'account'], // payment method missing or failing
  [131045, 'account'], // the business's number is not registered properly
  [133010, 'account'], // the business's number is not registered

  // Not through here: not on WhatsApp, an old version of it, terms not accepted; the business's own number.
  [131026, 'coverage'],
  [131021, 'coverage'],

  // WhatsApp will not have it sent to this person.
  [130472, 'blocked'], // part of an experiment
  [130497, 'blocked'], // this business may not write to this country
  [131030, 'blocked'], // test number: not on its list of recipients
  [131049, 'blocked'], // kept back for the person's good
  [131050, 'blocked'], // the person wants no such messages, see `optOutCodes`

  // Parameters, and the template in this language.
  [100, 'content'], // invalid parameter; with subcode 33 an object that is not there, see `reasonOf`
  [131008, 'content'], // parameter missing
  [131009, 'content'], // value of a parameter not valid
  [131047, 'content'], // more than 24 hours since the person wrote: no template was used
  [131051, 'content'], // type of message not supported
  [132000, 'content'], // number of parameters
  [132001, 'content'], // no such template in this language, or not approved
  [132005, 'content'], // text too long once filled in
  [132007, 'content'], // breaks a policy
  [132012, 'content'], // format of a parameter
  [132015, 'content'], // template paused for low quality
  [132016, 'content'], // template disabled

  // Too fast.
  [4, 'throttled'], // calls of the app
  [80007, 'throttled'], // calls of the business account
  [130429, 'throttled'], // messages of the number
  [131048, 'throttled'], // number held back for spam
  [131056, 'throttled'], // too many to the same person

  [2, 'unavailable'], // overloaded
  [131016, 'unavailable'], // overloaded
  [133004, 'unavailable'], // server away
  [1, 'uncertain'], // "invalid request or possible server error"
  [131000, 'uncertain'], // unknown error
]);

const optOutCodes: ReadonlySet<number> = new Set([131050]);
/** Subcode of 100 for an object that does not exist, or that this token may not see: a wrong phone number ID. */
const NO_SUCH_OBJECT = 33;

/** Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/status (read 2026-11-20). */
const deliveryStates: ReadonlyMap<string, DeliveryState> = new Map<string, DeliveryState>([
  ['sent', 'sent'],
  ['delivered', 'delivered'],
  // `delivered` is left out when the person is just looking at the chat.
  ['read', 'delivered'],
  ['failed', 'failed'],
]);

const GRAPH_API = 'https://graph.facebook.com';
/** In service until 2028-02-18. Source: https://developers.facebook.com/docs/graph-api/changelog (read 2026-11-20). */
const GRAPH_VERSION = 'v24.0';

/** WhatsApp Cloud API: the code in a template of the category *authentication*, whose wording is WhatsApp's own. */
export const whatsapp = defineProvider({
  id: 'whatsapp',
  kind: 'messaging',
  channels: ['whatsapp'],
  codesOnly: true,
  settings: Type.Object(
    {
      token: Type.String({ minLength: 8, secret: true, description: 'access token of a system user' }),
      phoneNumberId: Type.String({ description: "ID of the business's number, not the number itself" }),
      template: Type.String({ description: 'name of the approved authentication template' }),
      languages: Type.Optional(
        Type.String({
          description:
            'languages in which the template is approved, the one for everybody else first; en unless told otherwise',
        }),
      ),
      appSecret: Type.Optional(Type.String({ minLength: 8, secret: true, description: 'signs delivery reports' })),
      verifyToken: Type.Optional(
        Type.String({
          minLength: 8,
          secret: true,
          description: 'any text of your own; the webhook is subscribed with it',
        }),
      ),
      apiVersion: Type.Optional(
        Type.String({ description: `Graph API version, ${GRAPH_VERSION} unless told otherwise` }),
      ),
      baseUrl: baseUrlSetting(GRAPH_API),
    },
    { additionalProperties: false },
  ),
  environment: {
    WHATSAPP_TOKEN: 'token',
    WHATSAPP_PHONE_NUMBER_ID: 'phoneNumberId',
    WHATSAPP_TEMPLATE: 'template',
    WHATSAPP_LANGUAGES: 'languages',
    WHATSAPP_APP_SECRET: 'appSecret',
    WHATSAPP_VERIFY_TOKEN: 'verifyToken',
    WHATSAPP_API_VERSION: 'apiVersion',
    WHATSAPP_BASE_URL: 'baseUrl',
  },
  faults: ({
    phoneNumberId,
    template,
    languages = 'en',
    appSecret,
    verifyToken,
    apiVersion = GRAPH_VERSION,
    baseUrl,
  }) => [
    ...(/^\d{5,20}$/.test(phoneNumberId)
      ? []
      : ['WHATSAPP_PHONE_NUMBER_ID must be the ID that Meta shows below the number (digits alone), not the number']),
    ...(/^[a-z0-9_]{1,512}$/.test(template)
      ? []
      : ['WHATSAPP_TEMPLATE must be the name of a template: lower-case letters, digits and _']),
    ...(listOf(languages).length > 0 &&
    listOf(languages).every((language) => /^[a-z]{2,3}(_[A-Z]{2,3})?$/.test(language))
      ? []
      : ['WHATSAPP_LANGUAGES must be language codes of templates with commas between them, e.g. en_US,ru,uz']),
    ...((appSecret === undefined) === (verifyToken === undefined)
      ? []
      : ['WHATSAPP_APP_SECRET and WHATSAPP_VERIFY_TOKEN belong together: set both for delivery reports, or neither']),
    ...(/^v\d{1,3}\.\d{1,2}$/.test(apiVersion) ? [] : ['WHATSAPP_API_VERSION must look like v24.0']),
    ...addressFaults('WHATSAPP_BASE_URL', baseUrl),
  ],
  create: (settings, { http }) => {
    const { token, phoneNumberId, template, appSecret, verifyToken } = settings;
    const number = `${baseOf(settings.baseUrl, GRAPH_API)}/${settings.apiVersion ?? GRAPH_VERSION}/${phoneNumberId}`;
    const languages = listOf(settings.languages ?? 'en');

    const provider: MessagingProvider = {
      async send({ to, code, locale, messageId }, signal) {
        if (code === undefined) return failed('content', 'no-code');
        const parameters = [{ type: 'text', text: code }];
        const body = {
          messaging_product: 'whatsapp',
          recipient_type: 'individual',
          to: to.slice(1),
          type: 'template',
          template: {
            name: template,
            language: { code: languageFor(locale, languages) },
            // The code is given twice: for the text, and for the button that copies it or fills it in.
            components: [
              { type: 'body', parameters },
              { type: 'button', sub_type: 'url', index: '0', parameters },
            ],
          },
          biz_opaque_callback_data: messageId,
        };
        const reply = await http.postJson(`${number}/messages`, body, { signal, bearer: token });
        return reply.kind === 'silence' ? silent(reply) : readSendReply(reply);
      },

      async probe(signal) {
        const reply = await http.get(number, { signal, bearer: token });
        return reply.kind === 'silence'
          ? probeSilence(reply, 'WhatsApp (Meta)', 'WHATSAPP_BASE_URL')
          : readProbeReply(reply, phoneNumberId);
      },
    };
    if (appSecret === undefined || verifyToken === undefined) return provider;
    return {
      ...provider,
      parseReport: (request) =>
        request.method === 'GET' ? readHandshake(request.url, verifyToken) : readWebhook(request, appSecret),
    };
  },
});

/** `en_US, ru` */
function listOf(languages: string): string[] {
  return languages.split(/[\s,]+/).filter(Boolean);
}

/**
 * The template's language for a locale: the very one, else one of the same language (`ky` → `ky_KG`, `en-GB` → `en`), else
 * the first. Codes are case-sensitive and have `_`.
 * Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/supported-languages (read 2026-11-20).
 */
function languageFor(locale: string, languages: readonly string[]): string | undefined {
  const wanted = locale.replaceAll('-', '_').toLowerCase();
  const [spoken] = wanted.split('_');
  return (
    languages.find((language) => language.toLowerCase() === wanted) ??
    languages.find((language) => language === spoken) ??
    languages.find((language) => language.split('_')[0] === spoken) ??
    languages[0]
  );
}

// --- Answers

function readSendReply(reply: HttpReply): SendOutcome {
  const { error, messages } = fieldsOf(reply.json);
  const known = readError(error);
  if (known?.reason !== undefined) {
    const { reason, code, isOptOut } = known;
    return failed(reason, code, { ...(isOptOut ? { optOut: true } : {}), ...waitOf(reason, reply.retryAfterMs) });
  }
  if (known !== undefined || !isTwoHundred(reply)) return refusedByStatus(reply, known?.code);
  const { id } = fieldsOf(Array.isArray(messages) ? messages[0] : undefined);
  return typeof id === 'string' && id !== '' ? accepted(id) : unreadable();
}

type MetaError = { readonly code: string; readonly reason: FailureReason | undefined; readonly isOptOut: boolean };

/** The error of an answer or of a webhook's status; undefined when there is none. */
function readError(error: unknown): MetaError | undefined {
  const { code, error_subcode: subcode } = fieldsOf(error);
  if (typeof code !== 'number' || !Number.isInteger(code)) return undefined;
  return { code: String(code), reason: reasonOf(code, subcode), isOptOut: optOutCodes.has(code) };
}

function reasonOf(code: number, subcode: unknown): FailureReason | undefined {
  if (code === 100 && subcode === NO_SUCH_OBJECT) return 'account';
  if (code >= 200 && code <= 299) return 'account';
  return whatsappFailureReasons.get(code);
}

// --- Probe

function readProbeReply(reply: HttpReply, phoneNumberId: string): ProbeOutcome {
  const { id, quality_rating: quality, error } = fieldsOf(reply.json);
  if (reply.status === 200 && id === phoneNumberId)
    return {
      kind: 'ready',
      ...(typeof quality === 'string' && /^[A-Z]{2,10}$/.test(quality)
        ? { detail: `quality of the number: ${quality}` }
        : {}),
    };
  const known = readError(error);
  if (known === undefined) return probeStranger(reply, 'WhatsApp (Meta)', 'WHATSAPP_BASE_URL');
  const reason = known.reason ?? 'unavailable';
  return { kind: 'failed', reason, code: known.code, fix: probeFix(Number(known.code), reason) };
}

function probeFix(code: number, reason: FailureReason): string {
  if (code === 0 || code === 190)
    return 'Meta refuses WHATSAPP_TOKEN: it has expired or was withdrawn. Make one for a system user, which does not expire; the one of the "API Setup" page lives for a day.';
  if (code === 33 || code === 100)
    return 'Meta finds no such number, or this token may not see it: copy WHATSAPP_PHONE_NUMBER_ID again, and give the system user of WHATSAPP_TOKEN the WhatsApp account as an asset.';
  if (code === 3 || code === 10 || (code >= 200 && code <= 299))
    return 'WHATSAPP_TOKEN lacks a permission: make it with whatsapp_business_messaging and whatsapp_business_management.';
  if (code === 368 || code === 131031)
    return 'Meta has restricted the WhatsApp business account: see the notices in Business Support Home. WHATSAPP_TOKEN is in order.';
  if (reason === 'throttled') return 'Too many calls: try again later, and look what else uses WHATSAPP_TOKEN.';
  return 'See https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes, and whether WHATSAPP_API_VERSION is still in service.';
}

// --- Delivery reports

/** Source: https://developers.facebook.com/docs/graph-api/webhooks/getting-started (read 2026-11-20). */
function readHandshake(url: string, verifyToken: string): ReportOutcome {
  const query = URL.parse(url)?.searchParams;
  const challenge = query?.get('hub.challenge');
  if (query?.get('hub.mode') !== 'subscribe' || challenge === null || challenge === undefined) return malformed;
  if (!isSame(query.get('hub.verify_token') ?? '', verifyToken)) return forged;
  // It is written back as it came: nothing but what a challenge looks like.
  return /^[\w.-]{1,200}$/.test(challenge) ? { kind: 'handshake', answer: challenge } : malformed;
}

/**
 * The signature has no time in it, and Meta tries again for up to seven days: an old webhook is believed, and moves no state
 * back.
 */
function readWebhook(request: ReportRequest, appSecret: string): ReportOutcome {
  const signature = headerOf(request, 'X-Hub-Signature-256') ?? '';
  if (!isSame(signature, `sha256=${hmac('sha256', appSecret, request.rawBody, 'hex')}`)) return forged;
  const { object, entry } = fieldsOf(jsonOf(request));
  if (object !== 'whatsapp_business_account' || !Array.isArray(entry)) return malformed;
  // What people write to the number comes here as well, and has no `statuses`.
  const statuses = entry
    .flatMap((each) => arrayOf(fieldsOf(each)['changes']))
    .flatMap((change) => arrayOf(fieldsOf(fieldsOf(change)['value'])['statuses']));
  return reported(...statuses.map(readStatus).filter((report) => report !== undefined));
}

function arrayOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function readStatus(status: unknown): DeliveryReport | undefined {
  const { id, status: word, errors } = fieldsOf(status);
  if (typeof id !== 'string' || id === '' || typeof word !== 'string') return undefined;
  const state = deliveryStates.get(word) ?? 'unknown';
  if (state !== 'failed') return { providerMessageId: id, state };
  const error = readError(arrayOf(errors)[0]);
  return {
    providerMessageId: id,
    state,
    // Whatever "uncertain" it was: by now it has surely failed.
    reason: error?.reason === undefined || error.reason === 'uncertain' ? 'unavailable' : error.reason,
    ...(error === undefined ? {} : { code: error.code }),
    ...(error?.isOptOut === true ? { optOut: true } : {}),
  };
}
