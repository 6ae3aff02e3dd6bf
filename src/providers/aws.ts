import aws4 from 'aws4';
import Type, { type Static } from 'typebox';
import type {
  DeliveryState,
  FailureReason,
  MessagingProvider,
  ProbeOutcome,
  ReportOutcome,
  SendOutcome,
} from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpClient, type HttpReply } from '../provider-kit/http-client.ts';
import {
  malformed,
  moneyOf,
  numberOf,
  probeSilence,
  probeStranger,
  refusedByStatus,
  reported,
  silent,
  unreadable,
  waitOf,
  wordOf,
} from '../provider-kit/reading.ts';
import { addressFaults, baseUrlSetting } from '../provider-kit/settings.ts';
import { readSns } from './aws/sns.ts';

/**
 * Errors of the API: the `Reason` where there is one, else the exception. Sources: SendTextMessage and Common Errors in
 * https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/ (read 2026-11-20).
 */
export const awsFailureReasons: ReadonlyMap<string, FailureReason> = new Map<string, FailureReason>([
  // Credentials, clock, permissions, and what is named in the settings and does not exist.
  ['AccessDeniedException', 'account'], // also with ACCOUNT_DISABLED and INSUFFICIENT_ACCOUNT_REPUTATION
  ['ExpiredTokenException', 'account'],
  ['IncompleteSignature', 'account'],
  ['InvalidClientTokenId', 'account'],
  ['InvalidSignatureException', 'account'],
  ['MissingAuthenticationTokenException', 'account'],
  ['OptInRequired', 'account'],
  ['RequestExpired', 'account'],
  ['UnrecognizedClientException', 'account'],
  ['ResourceNotFoundException', 'account'],
  ['RESOURCE_NOT_ACCESSIBLE', 'account'],
  ['NUMBER_CAPABILITIES_MISMATCH', 'account'],
  ['MESSAGE_TYPE_MISMATCH', 'account'],
  ['MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT', 'account'],

  ['DESTINATION_PHONE_NUMBER_NOT_VERIFIED', 'blocked'], // sandbox
  ['DESTINATION_PHONE_NUMBER_OPTED_OUT', 'blocked'], // see `OPTED_OUT`
  ['DESTINATION_COUNTRY_BLOCKED', 'blocked'],

  ['COUNTRY_CODE_MISMATCH', 'coverage'],
  ['INTERNATIONAL_SENDING_NOT_SUPPORTED', 'coverage'],
  ['INVALID_IDENTITY_FOR_DESTINATION_COUNTRY', 'coverage'],
  ['NO_ORIGINATION_IDENTITIES_FOUND', 'coverage'],
  ['PRICE_OVER_THRESHOLD', 'coverage'],

  ['SENDER_ID_NOT_REGISTERED', 'content'],
  ['SENDER_ID_NOT_SUPPORTED', 'content'],
  ['SENDER_ID_REQUIRES_REGISTRATION', 'content'],
  ['REGISTRATION_NOT_COMPLETE', 'content'],
  ['ConflictException', 'content'],
  ['ValidationException', 'content'],

  ['ServiceQuotaExceededException', 'throttled'],
  ['ThrottlingException', 'throttled'],
  ['InternalServerException', 'uncertain'],
  ['ServiceUnavailable', 'unavailable'],
]);

const OPTED_OUT = 'DESTINATION_PHONE_NUMBER_OPTED_OUT';

/**
 * With these a field that is named is itself wrong. The number is also named where only this sender cannot reach it
 * (INVALID_IDENTITY_FOR_DESTINATION_COUNTRY). Source: reasons of ValidationException in the API reference, and an answer
 * quoted in https://repost.aws/questions/QUK00IIG8_SUaKS3XE8BTedw (read 2026-11-20).
 */
const invalidFieldReasons: ReadonlySet<string> = new Set([
  'CANNOT_PARSE',
  'FIELD_VALIDATION_FAILED',
  'INVALID_PARAMETER',
  'ValidationException',
]);

/** Source: https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-types.html (read 2026-11-20). */
const events: ReadonlyMap<string, readonly [DeliveryState, FailureReason?]> = new Map<
  string,
  readonly [DeliveryState, FailureReason?]
>([
  ['TEXT_QUEUED', ['queued']],
  ['TEXT_PENDING', ['queued']],
  ['TEXT_SENT', ['sent']],
  // "Accepted by the carrier". In many countries it is the last word, and then as good as delivered: see `isFinal`.
  ['TEXT_SUCCESSFUL', ['sent']],
  ['TEXT_DELIVERED', ['delivered']],
  ['TEXT_UNREACHABLE', ['undelivered', 'unavailable']],
  ['TEXT_CARRIER_UNREACHABLE', ['undelivered', 'unavailable']],
  ['TEXT_TTL_EXPIRED', ['undelivered', 'unavailable']],
  ['TEXT_INVALID', ['failed', 'recipient']],
  ['TEXT_INVALID_MESSAGE', ['failed', 'content']],
  ['TEXT_SPAM', ['failed', 'content']],
  ['TEXT_BLOCKED', ['failed', 'blocked']],
  ['TEXT_CARRIER_BLOCKED', ['failed', 'blocked']],
  ['TEXT_PROTECT_BLOCKED', ['failed', 'blocked']],
  ['TEXT_UNKNOWN', ['unknown']],
]);

/** Bounds of `TimeToLive`. Source: the API reference of SendTextMessage (read 2026-11-20). */
const LIFETIME_SECONDS = { min: 5, max: 259_200 };

const settingsSchema = Type.Object(
  {
    accessKeyId: Type.String({ minLength: 16, description: 'access key of an IAM user' }),
    secretAccessKey: Type.String({ minLength: 1, secret: true }),
    sessionToken: Type.Optional(Type.String({ secret: true, description: 'with temporary credentials' })),
    region: Type.String({ pattern: '^[a-z]{2}(-[a-z]+)+-\\d$', description: 'e.g. eu-central-1' }),
    originationIdentity: Type.String({ minLength: 1, description: 'phone number, sender ID, pool, or ARN of one' }),
    configurationSet: Type.Optional(Type.String({ description: 'configuration set whose events go to the topic' })),
    topicArn: Type.Optional(
      Type.String({ pattern: '^arn:aws[a-z-]*:sns:[a-z0-9-]+:\\d{12}:.+$', description: 'SNS topic of the events' }),
    ),
    baseUrl: baseUrlSetting('https://sms-voice.<region>.amazonaws.com'),
  },
  { additionalProperties: false },
);

/** AWS End User Messaging SMS, the former Pinpoint SMS: its API of version 2. */
export const aws = defineProvider({
  id: 'aws',
  kind: 'messaging',
  channels: ['sms'],
  settings: settingsSchema,
  environment: {
    AWS_ACCESS_KEY_ID: 'accessKeyId',
    AWS_SECRET_ACCESS_KEY: 'secretAccessKey',
    AWS_SESSION_TOKEN: 'sessionToken',
    AWS_REGION: 'region',
    AWS_SMS_ORIGINATION_IDENTITY: 'originationIdentity',
    AWS_SMS_CONFIGURATION_SET: 'configurationSet',
    AWS_SMS_TOPIC_ARN: 'topicArn',
    AWS_BASE_URL: 'baseUrl',
  },
  // The others are on every machine at AWS.
  enabledBy: 'AWS_SMS_ORIGINATION_IDENTITY',
  faults: ({ topicArn, configurationSet, baseUrl }) => [
    ...(topicArn !== undefined && configurationSet === undefined
      ? ['AWS_SMS_TOPIC_ARN needs AWS_SMS_CONFIGURATION_SET: no events come to the topic without it']
      : []),
    ...addressFaults('AWS_BASE_URL', baseUrl),
  ],
  create: (settings, { http, now }) => {
    const { originationIdentity, configurationSet, topicArn } = settings;
    const ask = caller(settings, http, now);
    const provider: MessagingProvider = {
      async send({ to, text, validitySeconds }, signal) {
        const seconds = Math.floor(validitySeconds);
        const reply = await ask(
          'SendTextMessage',
          {
            DestinationPhoneNumber: to,
            OriginationIdentity: originationIdentity,
            MessageBody: text,
            MessageType: 'TRANSACTIONAL',
            TimeToLive: Math.min(LIFETIME_SECONDS.max, Math.max(LIFETIME_SECONDS.min, seconds)),
            ...(configurationSet === undefined ? {} : { ConfigurationSetName: configurationSet }),
          },
          signal,
        );
        if (reply.kind === 'silence') return silent(reply);
        if (reply.status !== 200) return readRefusal(reply);
        const { MessageId: id } = fieldsOf(reply.json);
        return typeof id === 'string' && id !== '' ? accepted(id) : unreadable();
      },

      async probe(signal) {
        const reply = await ask('DescribeAccountAttributes', {}, signal);
        if (reply.kind === 'silence') return probeSilence(reply, 'AWS', 'AWS_BASE_URL');
        return readProbe(reply, settings.region);
      },
    };
    // Any topic of any account could be subscribed to our address, and its signature would be right.
    return topicArn === undefined
      ? provider
      : { ...provider, ...readSns(topicArn, readEvent, settings.baseUrl, http, now) };
  },
});

type AwsSettings = Static<typeof settingsSchema>;

function caller(
  { accessKeyId, secretAccessKey, sessionToken, region, baseUrl }: AwsSettings,
  http: HttpClient,
  now: () => number,
) {
  const suffix = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
  const { origin, host, pathname } = new URL(baseUrl ?? `https://sms-voice.${region}.${suffix}`);
  const path = `${pathname.replace(/\/+$/, '')}/`;
  const credentials = { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  return (action: string, fields: object, signal: AbortSignal) => {
    const body = JSON.stringify(fields);
    const { headers = {} } = aws4.sign(
      {
        ...{ host, path, method: 'POST', service: 'sms-voice', region, body },
        headers: {
          'Content-Type': 'application/x-amz-json-1.0',
          'X-Amz-Target': `PinpointSMSVoiceV2.${action}`,
          'X-Amz-Date': new Date(now()).toISOString().replaceAll(/[-:]|\.\d+/g, ''),
        },
      },
      credentials,
    );
    const written = Object.entries(headers).map(([name, value]) => [name, String(value)] as const);
    return http.send(origin + path, body, { signal, headers: Object.fromEntries(written) });
  };
}

/** The exception's name without its namespace, and the reason in it. */
function wordsOf(json: unknown): { readonly exception: string | undefined; readonly reason: string | undefined } {
  const { __type: type, Reason: reason } = fieldsOf(json);
  const word = (value: unknown) => /^([A-Za-z_]{1,64})(?::|$)/.exec(wordOf(value).split('#').at(-1) ?? '')?.[1];
  return { exception: word(type), reason: word(reason) };
}

function readRefusal(reply: HttpReply): Extract<SendOutcome, { kind: 'failed' }> {
  const { exception, reason } = wordsOf(reply.json);
  const code = reason ?? exception;
  if (code === undefined) return refusedByStatus(reply);
  if (invalidFieldReasons.has(code) && isAboutNumber(reply.json)) return failed('recipient', code);
  const known = awsFailureReasons.get(code) ?? awsFailureReasons.get(exception ?? '');
  if (known === undefined) return refusedByStatus(reply, code);
  return failed(known, code, { ...waitOf(known, reply.retryAfterMs), ...(code === OPTED_OUT ? { optOut: true } : {}) });
}

/** A field that did not pass the validation is named: `"Fields": [{ "Name": "DestinationPhoneNumber", … }]`. */
function isAboutNumber(json: unknown): boolean {
  const { Fields: fields } = fieldsOf(json);
  return (
    Array.isArray(fields) && fields.some((field) => /DestinationPhoneNumber/i.test(wordOf(fieldsOf(field)['Name'])))
  );
}

function readProbe(reply: HttpReply, region: string): ProbeOutcome {
  const { AccountAttributes: attributes } = fieldsOf(reply.json);
  if (reply.status === 200 && Array.isArray(attributes)) {
    const tier = attributes.map(fieldsOf).find(({ Name: name }) => name === 'ACCOUNT_TIER')?.['Value'];
    if (tier !== 'SANDBOX') return { kind: 'ready' };
    return { kind: 'ready', detail: 'sandbox: reaches only numbers that are verified in the console of AWS' };
  }
  const { exception } = wordsOf(reply.json);
  if (reply.status < 400 || exception === undefined) return probeStranger(reply, 'AWS', 'AWS_BASE_URL');
  return { kind: 'failed', reason: readRefusal(reply).reason, code: exception, fix: probeFix(exception, region) };
}

function probeFix(exception: string, region: string): string {
  switch (exception) {
    case 'AccessDeniedException':
      return 'The IAM user behind AWS_ACCESS_KEY_ID may not do this: allow it sms-voice:SendTextMessage and sms-voice:DescribeAccountAttributes.';
    case 'ExpiredTokenException':
      return 'Temporary credentials have ended: renew AWS_SESSION_TOKEN, or use the key of an IAM user.';
    case 'ThrottlingException':
      return 'Too many requests at once in this account: try again in a moment.';
    case 'InvalidSignatureException':
    case 'RequestExpired':
      return 'AWS refuses the signature: copy AWS_SECRET_ACCESS_KEY again, and check the clock of this machine: it may be wrong by five minutes at most.';
    default:
      return `AWS answers ${exception}: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that ${region} (AWS_REGION) is the region in which End User Messaging is set up.`;
  }
}

/** Source: https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-format.html (read 2026-11-20). */
function readEvent(event: Readonly<Record<string, unknown>>): ReportOutcome {
  const { messageId: providerMessageId, eventType: type, isFinal, totalMessagePrice, totalCarrierFee } = event;
  if (typeof providerMessageId !== 'string' || providerMessageId === '' || typeof type !== 'string') return malformed;
  const [known, reason] = events.get(type) ?? ['unknown'];
  const state = type === 'TEXT_SUCCESSFUL' && isFinal === true ? 'delivered' : known;
  const cost = moneyOf((numberOf(totalMessagePrice) || 0) + (numberOf(totalCarrierFee) || 0), 'USD');
  return reported({
    providerMessageId,
    state,
    ...(reason === undefined ? {} : { reason, code: type }),
    ...(cost === undefined ? {} : { cost }),
  });
}
