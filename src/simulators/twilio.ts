import { createHash, createHmac, randomBytes } from 'node:crypto';
import type { HttpVendor } from './http-simulator.ts';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, DeliveryStep, SeenRequest, SimulatedMessage, SimulatorDefinition } from './simulator-kit.ts';

const testSid = (prefix: string) => prefix + '0'.repeat(32);
const ACCOUNT_SID = testSid('AC');
const AUTH_TOKEN = 'test-auth-token';
const API_KEY = `${testSid('SK')}:test-api-secret`;
const ACCOUNT_PATH = `/2010-04-01/Accounts/${ACCOUNT_SID}`;
/** The first of Twilio's test numbers, which sends. */
const TEST_SENDER = '+15005550006';

const account = { TWILIO_ACCOUNT_SID: ACCOUNT_SID, TWILIO_AUTH_TOKEN: AUTH_TOKEN };

/** Answers like `api.twilio.com`, to messages and calls. Written against Twilio's documents, not against our provider files. */
export const twilioSimulator: SimulatorDefinition = {
  id: 'twilio',
  environment: (url) => ({ ...account, TWILIO_PHONE_NUMBER: TEST_SENDER, TWILIO_BASE_URL: url }),
  start: (options) => startHttpSimulator(twilioVendor(), options),
};

/** The same server, for calls. */
export const twilioVoiceSimulator: SimulatorDefinition = {
  id: 'twilio-voice',
  environment: (url) => ({ ...account, TWILIO_VOICE_FROM: TEST_SENDER, TWILIO_VOICE_BASE_URL: url }),
  start: (options) => startHttpSimulator(twilioVendor(), options),
};

/** Twilio's test numbers. Source: https://www.twilio.com/docs/iam/test-credentials (read 2026-11-20). */
const refusedSenders: ReadonlyMap<string, number> = new Map([
  ['+15005550001', 21212],
  ['+15005550007', 21606],
  ['+15005550008', 21611],
]);
const refusedRecipients: ReadonlyMap<string, number> = new Map([
  ['+15005550001', 21211],
  ['+15005550002', 21612],
  ['+15005550003', 21408],
  ['+15005550004', 21610],
  ['+15005550009', 21614],
]);

const MAX_BODY_CHARS = 1600;
const MAX_TWIML_CHARS = 4000;
const MAX_VALIDITY_SECONDS = 36_000;

const isCall = ({ id }: SimulatedMessage) => id.startsWith('CA');

function twilioVendor(): HttpVendor {
  /** The last state of each message, for whoever asks. */
  const steps = new Map<string, { readonly message: SimulatedMessage; readonly step: DeliveryStep }>();
  return {
    delivery: (message) =>
      (isCall(message) ? ['initiated', 'ringing', 'in-progress', 'completed'] : ['sent', 'delivered']).map(
        (status) => ({ status }),
      ),
    refusals: {
      'bad-number': twilioError(400, 21211),
      'refuse-inside-2xx': {
        status: 201,
        body: { sid: sidOf('SM'), status: 'failed', error_code: 30007, error_message: 'Message filtered' },
      },
      throttle: twilioError(429, 20429),
      credentials: twilioError(401, 20003, { message: 'Authenticate' }),
      // There is no error of its own for an empty balance: the account is suspended.
      balance: twilioError(400, 30002),
      content: twilioError(400, 30007),
    },
    answer(request, take) {
      const login = loginOf(request);
      if (login !== `${ACCOUNT_SID}:${AUTH_TOKEN}` && login !== API_KEY) return unauthorized;
      const { method, path, form } = request;
      if (method === 'POST' && (path === `${ACCOUNT_PATH}/Messages.json` || path === `${ACCOUNT_PATH}/Calls.json`)) {
        const isMessage = path.endsWith('/Messages.json');
        const fault = isMessage ? messageFault(form) : callFault(form);
        if (fault !== undefined) return fault;
        const message = {
          id: sidOf(isMessage ? 'SM' : 'CA'),
          to: form['To'] ?? '',
          text: isMessage ? (form['Body'] ?? '') : spokenText(form['Twiml'] ?? ''),
          reportUrl: form['StatusCallback'],
          fields: form,
        };
        const step = { status: form['MessagingServiceSid'] === undefined ? 'queued' : 'accepted' };
        steps.set(message.id, { message, step });
        take(message);
        return { status: 201, body: resourceOf(message, step), headers: { 'Twilio-Concurrent-Requests': '1' } };
      }
      if (method === 'GET' && path === `${ACCOUNT_PATH}.json`) {
        // Only a Main key may see the account (https://www.twilio.com/docs/iam/api-keys, read 2026-11-20); ours is a Standard one.
        return login === API_KEY ? unauthorized : { status: 200, body: twilioAccount() };
      }
      if (method === 'GET' && path === `${ACCOUNT_PATH}/Balance.json`)
        return { status: 200, body: { account_sid: ACCOUNT_SID, balance: '12.30', currency: 'USD' } };
      const held = steps.get(/\/(?:Messages|Calls)\/(\w+)\.json$/.exec(path)?.[1] ?? '');
      if (method === 'GET' && held !== undefined) return { status: 200, body: resourceOf(held.message, held.step) };
      return twilioError(404, 20404, { message: `The requested resource ${path} was not found` });
    },
    withoutId: (answer) => ({ ...answer, body: { ...(answer.body as object), sid: null } }),
    report(message, step) {
      steps.set(message.id, { message, step });
      if (message.reportUrl === undefined) return undefined;
      const fields = isCall(message)
        ? twilioCallFields(message.id, step.status)
        : twilioStatusFields(message.id, step.status, { errorCode: step.errorCode, fields: message.fields });
      const token = step.isForged ? `not-${AUTH_TOKEN}` : AUTH_TOKEN;
      const { url, headers, rawBody } = signTwilioReport(message.reportUrl, fields, token);
      return { url, headers, body: new TextDecoder().decode(rawBody) };
    },
  };
}

function sidOf(prefix: string): string {
  return prefix + randomBytes(16).toString('hex');
}

function loginOf({ headers }: SeenRequest): string {
  const [scheme, credentials = ''] = (headers.authorization ?? '').split(' ');
  return scheme?.toLowerCase() === 'basic' ? Buffer.from(credentials, 'base64').toString() : '';
}

/** An error as Twilio words it; `problem` is the RFC 9457 shape of its newer APIs. */
export function twilioError(
  status: number,
  code: number,
  more: { readonly message?: string; readonly shape?: 'classic' | 'problem'; readonly retryAfterSeconds?: number } = {},
): Answer {
  const { message = 'Refused', shape = 'classic', retryAfterSeconds } = more;
  const page = `https://www.twilio.com/docs/errors/${code}`;
  return {
    status,
    headers: retryAfterSeconds === undefined ? {} : { 'Retry-After': String(retryAfterSeconds) },
    type: shape === 'classic' ? 'application/json' : 'application/problem+json',
    body:
      shape === 'classic'
        ? { code, message, more_info: page, status }
        : { type: page, title: message, status, code, detail: message, instance: '/2010-04-01/Messages', errors: [] },
  };
}

const unauthorized: Answer = {
  ...twilioError(401, 20003, { message: 'Authenticate' }),
  headers: { 'WWW-Authenticate': 'Basic realm="Twilio API"' },
};

/** The first thing that Twilio would refuse in a message, in the order in which it looks. */
function messageFault(form: Readonly<Record<string, string>>): Answer | undefined {
  const { From = '', MessagingServiceSid = '', Body = '', ValidityPeriod } = form;
  if (From === '' && MessagingServiceSid === '') return fault(21603, "A 'From' phone number is required.");
  const hasOther = ['ContentSid', 'MediaUrl'].some((name) => form[name] !== undefined);
  if (Body === '' && !hasOther) return fault(21602, 'Message body is required.');
  if (Body.length > MAX_BODY_CHARS)
    return fault(21617, 'The concatenated message body exceeds the 1600 character limit');
  if (MessagingServiceSid !== '' && !/^MG[0-9a-f]{32}$/i.test(MessagingServiceSid)) {
    return fault(21701, `The Messaging Service ${MessagingServiceSid} does not exist`);
  }
  const seconds = Number(ValidityPeriod ?? MAX_VALIDITY_SECONDS);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > MAX_VALIDITY_SECONDS)
    return fault(20001, `Invalid ValidityPeriod ${ValidityPeriod}`);
  return addressFault(form);
}

/** Source: https://www.twilio.com/docs/voice/api/call-resource (read 2026-11-20). */
function callFault(form: Readonly<Record<string, string>>): Answer | undefined {
  const { From = '', Twiml = '', Url } = form;
  if (From === '') return fault(21213, "A 'From' phone number is required.");
  if (Url === undefined && Twiml === '') return fault(21205, 'Url parameter is required.');
  if (Twiml.length > MAX_TWIML_CHARS) return fault(20001, 'Twiml must be 4000 characters or less');
  return addressFault(form);
}

function addressFault(form: Readonly<Record<string, string>>): Answer | undefined {
  const { To = '', From = '', StatusCallback } = form;
  if (To === '') return fault(21604, "A 'To' phone number is required.");
  const senderCode = refusedSenders.get(From);
  // A full queue is the one refusal of a message that is about time.
  if (senderCode !== undefined)
    return twilioError(senderCode === 21611 ? 429 : 400, senderCode, {
      message: `The 'From' number ${From} is refused`,
    });
  const recipientCode = refusedRecipients.get(To);
  if (recipientCode !== undefined) return fault(recipientCode, `The 'To' number ${To} is refused`);
  if (!/^\+[1-9]\d{6,14}$/.test(To)) return fault(21211, `Invalid 'To' Phone Number: ${To}`);
  return StatusCallback === undefined || URL.canParse(StatusCallback)
    ? undefined
    : fault(21609, `The 'StatusCallback' URL ${StatusCallback} is not a valid URL.`);
}

const fault = (code: number, message: string) => twilioError(400, code, { message });

/** What a person hears, pauses left out. */
function spokenText(twiml: string): string {
  const words = twiml.replaceAll(/<[^>]*>/g, ' ').replaceAll(/\s+/g, ' ');
  return words
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&apos;', "'")
    .replaceAll('&amp;', '&')
    .trim();
}

/**
 * Sources: https://www.twilio.com/docs/messaging/api/message-resource and https://www.twilio.com/docs/voice/api/call-resource
 * (read 2026-11-20).
 */
function resourceOf(message: SimulatedMessage, { status, errorCode }: DeliveryStep): Record<string, unknown> {
  const { id, to, text, fields } = message;
  const now = new Date().toUTCString().replace('GMT', '+0000');
  const common = {
    sid: id,
    account_sid: ACCOUNT_SID,
    api_version: '2010-04-01',
    to,
    from: fields['From'] ?? null,
    status,
    direction: 'outbound-api',
    date_created: now,
    date_updated: now,
  };
  const isOver = ['delivered', 'undelivered', 'completed'].includes(status);
  const price = { price: isOver ? '-0.05300' : null, price_unit: 'USD' };
  if (isCall(message)) return { ...common, ...price, duration: isOver ? '14' : null };
  const service = fields['MessagingServiceSid'] ?? null;
  return {
    ...common,
    ...price,
    messaging_service_sid: service,
    body: text,
    num_segments: service === null ? String(countSegments(text)) : '0',
    num_media: '0',
    error_code: errorCode ?? null,
    error_message: null,
    date_sent: null,
  };
}

/** Near enough for a simulator: every ASCII text counts as GSM-7, every other as UCS-2. */
function countSegments(text: string): number {
  const isAscii = [...text].every((character) => character <= '\u007f');
  const [single, joined] = isAscii ? [160, 153] : [70, 67];
  return text.length <= single ? 1 : Math.ceil(text.length / joined);
}

/** Source: https://www.twilio.com/docs/iam/api/account (read 2026-11-20). */
export function twilioAccount(status = 'active', type = 'Full'): Record<string, unknown> {
  return { sid: ACCOUNT_SID, friendly_name: 'Simulated account', status, type, owner_account_sid: ACCOUNT_SID };
}

/** The form fields of a message's callback. Source: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status (read 2026-11-20). */
export function twilioStatusFields(
  sid: string,
  status: string,
  more: { readonly errorCode?: string | number | undefined; readonly fields?: SimulatedMessage['fields'] } = {},
): Record<string, string> {
  const { errorCode, fields = { To: '+998901234567', From: TEST_SENDER } } = more;
  const repeated = ['To', 'From', 'MessagingServiceSid'].filter((name) => fields[name] !== undefined);
  return {
    MessageSid: sid,
    SmsSid: sid,
    MessageStatus: status,
    SmsStatus: status,
    ...Object.fromEntries(repeated.map((name) => [name, String(fields[name])])),
    AccountSid: ACCOUNT_SID,
    ApiVersion: '2010-04-01',
    ...(errorCode === undefined ? {} : { ErrorCode: String(errorCode), ErrorMessage: 'Not delivered' }),
  };
}

/** The same for a call. Source: https://www.twilio.com/docs/voice/api/call-resource#statuscallbackevent (read 2026-11-20). */
export function twilioCallFields(
  sid: string,
  status: string,
  more: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    CallSid: sid,
    CallStatus: status,
    Direction: 'outbound-api',
    CallbackSource: 'call-progress-events',
    AccountSid: ACCOUNT_SID,
    ApiVersion: '2010-04-01',
    ...(status === 'completed' ? { CallDuration: '14', Duration: '1' } : {}),
    ...more,
  };
}

/** A webhook as Twilio posts it. */
export type SignedTwilioReport = {
  readonly method: 'POST';
  readonly url: string;
  readonly headers: { readonly 'content-type': string; readonly 'x-twilio-signature': string };
  readonly rawBody: Uint8Array<ArrayBuffer>;
};

/**
 * Signs a webhook as Twilio does: HMAC-SHA1 over the address and the sorted fields.
 * Source: https://www.twilio.com/docs/usage/webhooks/webhooks-security (read 2026-11-20).
 */
export function signTwilioReport(
  url: string,
  fields: Readonly<Record<string, string>>,
  authToken = AUTH_TOKEN,
): SignedTwilioReport {
  const names = Object.keys(fields).sort();
  const data = names.reduce((text, name) => `${text}${name}${fields[name]}`, url);
  return {
    method: 'POST',
    url,
    headers: { 'content-type': 'application/x-www-form-urlencoded', 'x-twilio-signature': sign(authToken, data) },
    rawBody: new TextEncoder().encode(new URLSearchParams(fields).toString()),
  };
}

/** The same for a JSON body: the address carries the body's hash, and the signature covers the address. */
export function signTwilioJsonReport(url: string, body: unknown, authToken = AUTH_TOKEN): SignedTwilioReport {
  const rawBody = new TextEncoder().encode(JSON.stringify(body));
  const hash = createHash('sha256').update(rawBody).digest('hex');
  const signedUrl = `${url}${url.includes('?') ? '&' : '?'}bodySHA256=${hash}`;
  return {
    method: 'POST',
    url: signedUrl,
    headers: { 'content-type': 'application/json', 'x-twilio-signature': sign(authToken, signedUrl) },
    rawBody,
  };
}

function sign(authToken: string, data: string): string {
  return createHmac('sha1', authToken).update(data, 'utf8').digest('base64');
}
