import Type from 'typebox';
import { measureText } from '../domain/message-text.ts';
import { parsePhoneNumber } from '../domain/phone-number.ts';
import type {
  DeliveryReport,
  DeliveryState,
  FailureReason,
  OutgoingMessage,
  ProbeOutcome,
  SendOutcome,
} from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpReply, type HttpSilence } from '../provider-kit/http-client.ts';
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
  WRONG_NUMBER,
} from '../provider-kit/reading.ts';
import { addressFaults, baseOf, baseUrlSetting } from '../provider-kit/settings.ts';

/**
 * What Eskiz's refusals say, as it has no error numbers. The texts are Russian or English, and change: only words that
 * carry the meaning are looked for, in this order. Source: answers that public clients of the API have met (read 2026-11-20).
 */
const refusals: readonly (readonly [words: RegExp, code: string, reason: FailureReason])[] = [
  [/баланс|недостаточно|balance|insufficient/i, 'balance', 'account'],
  [/модераци|moderation/i, 'not-moderated', 'content'],
  // A test account takes three texts of Eskiz's own and nothing else.
  [/тестов|test (mode|account)|это тест/i, 'test-account', 'content'],
  [/(?<!\p{L})ник(?!\p{L}|огд)|никнейм|nick|\bfrom\b|отправител/iu, 'sender', 'content'],
  [/ч[её]рн\p{L}{1,4} спис|blacklist/iu, 'blacklist', 'blocked'],
  [/country|стран[аыуе]|направлени/i, 'coverage', 'coverage'],
  [WRONG_NUMBER, 'number', 'recipient'],
];

/**
 * Both the words of whole messages and those of the network. Source: https://github.com/iota-uz/eskiz (api/openapi.yaml), made
 * from the vendor's API collection (read 2026-11-20).
 */
const deliveryStates: ReadonlyMap<string, DeliveryState> = new Map<string, DeliveryState>([
  ['WAITING', 'queued'],
  ['NEW', 'queued'],
  ['STORED', 'queued'],
  ['ACCEPTED', 'sent'],
  ['ENROUTE', 'sent'],
  ['PARTDELIVERED', 'sent'],
  ['DELIVERED', 'delivered'],
  ['DELIVRD', 'delivered'],
  ['UNDELIV', 'undelivered'],
  ['UNDELIVERABLE', 'undelivered'],
  ['EXPIRED', 'undelivered'],
  ['REJECTED', 'failed'],
  ['REJECTD', 'failed'],
  ['DELETED', 'failed'],
]);

/** Where a state says more than "not there": DELETED is a sender that the operator does not allow. */
const reportReasons: ReadonlyMap<string, FailureReason> = new Map([
  ['REJECTED', 'blocked'],
  ['REJECTD', 'blocked'],
  ['DELETED', 'content'],
]);

const ESKIZ_API = 'https://notify.eskiz.uz';
/** The short code that every account may send from. */
const SHARED_SENDER = '4546';
/** A token lives for 30 days; a new one is fetched well before. */
const TOKEN_USED_MS = 24 * 24 * 3_600_000;

/** Eskiz.uz: Uzbekistan, and other countries through its international service. Texts must be approved beforehand. */
export const eskiz = defineProvider({
  id: 'eskiz',
  kind: 'messaging',
  channels: ['sms'],
  settings: Type.Object(
    {
      email: Type.String({ minLength: 3, description: 'e-mail of the account' }),
      password: Type.String({
        minLength: 1,
        secret: true,
        description: "the API secret of the cabinet's settings, not the password of the website",
      }),
      from: Type.Optional(Type.String({ description: `approved sender, ${SHARED_SENDER} unless told otherwise` })),
      baseUrl: baseUrlSetting(ESKIZ_API),
    },
    { additionalProperties: false },
  ),
  environment: {
    ESKIZ_EMAIL: 'email',
    ESKIZ_PASSWORD: 'password',
    ESKIZ_FROM: 'from',
    ESKIZ_BASE_URL: 'baseUrl',
  },
  faults: ({ baseUrl }) => addressFaults('ESKIZ_BASE_URL', baseUrl),
  create: ({ email, password, from = SHARED_SENDER, baseUrl }, { http, now }) => {
    const base = baseOf(baseUrl, ESKIZ_API);
    let token: { readonly text: string; readonly until: number } | undefined;
    let login: Promise<Login> | undefined;

    /** One login at a time, whoever waits for it: Eskiz locks accounts that log in again and again. */
    function loggedIn(signal: AbortSignal): Promise<Login> {
      if (token !== undefined && now() < token.until) return Promise.resolve({ kind: 'token', text: token.text });
      login ??= logIn().finally(() => (login = undefined));
      return withSignal(login, signal);
    }

    async function logIn(): Promise<Login> {
      // A deadline of its own: whoever began it may leave, and the others still wait.
      const signal = AbortSignal.timeout(LOGIN_DEADLINE_MS);
      const reply = await http.postForm(`${base}/api/auth/login`, { email, password }, { signal });
      // Nothing was sent yet, whatever became of the login.
      if (reply.kind === 'silence') return { ...reply, reason: 'unavailable' };
      const text = fieldsOf(fieldsOf(reply.json)['data'])['token'];
      if (typeof text !== 'string' || text === '') return reply;
      token = { text, until: now() + TOKEN_USED_MS };
      return { kind: 'token', text };
    }

    /** Runs a call with a token, and once more with a new one where it was refused: somebody else may have renewed it. */
    async function ask(
      signal: AbortSignal,
      call: (bearer: string) => Promise<HttpReply | HttpSilence>,
    ): Promise<HttpReply | HttpSilence | { readonly kind: 'no-login'; readonly reply: HttpReply }> {
      for (let attempt = 1; ; attempt += 1) {
        const held = await loggedIn(signal);
        if (held.kind === 'silence') return held;
        if (held.kind === 'reply') return { kind: 'no-login', reply: held };
        const reply = await call(held.text);
        if (reply.kind !== 'reply' || reply.status !== 401) return reply;
        if (token?.text === held.text) token = undefined;
        if (attempt === 2) return { kind: 'no-login', reply };
      }
    }

    return {
      async send(message, signal) {
        const isAtHome = message.to.startsWith('+998');
        const path = isAtHome ? '/api/message/sms/send' : '/api/message/sms/send-global';
        const reply = await ask(signal, (bearer) =>
          http.postForm(
            base + path,
            {
              mobile_phone: message.to.slice(1),
              message: message.text,
              ...(isAtHome ? { from } : abroad(message)),
              callback_url: message.reportUrl,
            },
            { signal, bearer },
          ),
        );
        if (reply.kind === 'silence') return silent(reply);
        if (reply.kind === 'no-login') return readLoginRefusal(reply.reply);
        return readSendReply(reply);
      },

      parseReport(request) {
        const body = fieldsOf(jsonOf(request));
        const report = readReport(body['request_id'], body['status']);
        return report === undefined ? malformed : reported(report);
      },

      async fetchReport(providerMessageId, signal) {
        const url = `${base}/api/message/sms/status_by_id/${encodeURIComponent(providerMessageId)}`;
        const reply = await ask(signal, (bearer) => http.get(url, { signal, bearer }));
        if (reply.kind !== 'reply' || reply.status !== 200) return undefined;
        const data = fieldsOf(fieldsOf(reply.json)['data']);
        const report = readReport(providerMessageId, data['status']);
        const cost = moneyOf(numberOf(data['total_price']), 'UZS');
        return report === undefined || cost === undefined ? report : { ...report, cost };
      },

      async probe(signal) {
        const reply = await ask(signal, (bearer) => http.get(`${base}/api/user/get-limit`, { signal, bearer }));
        if (reply.kind === 'silence') return probeSilence(reply, 'Eskiz', 'ESKIZ_BASE_URL');
        if (reply.kind === 'no-login') return readLoginProbe(reply.reply);
        const balance = numberOf(fieldsOf(fieldsOf(reply.json)['data'])['balance']);
        if (reply.status !== 200 || !Number.isFinite(balance)) return probeStranger(reply, 'Eskiz', 'ESKIZ_BASE_URL');
        const detail = `balance ${balance} UZS`;
        if (balance > 0) return { kind: 'ready', detail };
        const fix = 'Top the account up in the cabinet at my.eskiz.uz: with an empty balance nothing is sent.';
        return { kind: 'failed', reason: 'account', code: 'balance', fix };
      },
    };
  },
});

const LOGIN_DEADLINE_MS = 5000;

/**
 * What the international service asks for besides, as public clients of it have it: the country, and whether the text needs
 * UCS-2. Source: https://github.com/iota-uz/eskiz (api/openapi.yaml) (read 2026-11-20).
 */
function abroad({ to, text }: OutgoingMessage): { readonly country_code?: string; readonly unicode: string } {
  const parsed = parsePhoneNumber(to);
  const country = parsed.ok ? parsed.value.country : undefined;
  return {
    ...(country === undefined ? {} : { country_code: country }),
    unicode: measureText(text).encoding === 'UCS-2' ? '1' : '0',
  };
}

/** A token, or what came instead of one. */
type Login = { readonly kind: 'token'; readonly text: string } | HttpReply | HttpSilence;

/** Whoever waits for somebody else's login keeps to its own deadline. */
async function withSignal(login: Promise<Login>, signal: AbortSignal): Promise<Login> {
  const { promise, resolve } = Promise.withResolvers<Login>();
  const leave = () => resolve({ kind: 'silence', reason: 'unavailable', code: 'timeout' });
  if (signal.aborted) leave();
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([login, promise]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}

function readSendReply(reply: HttpReply): SendOutcome {
  const { id, status } = fieldsOf(reply.json);
  if (isTwoHundred(reply) && status !== 'error')
    return typeof id === 'string' && id !== '' ? accepted(id) : unreadable();
  const words = refusalWords(reply.json);
  // Other statuses say more than their words.
  const isWorded = isTwoHundred(reply) || reply.status === 400 || reply.status === 422;
  const known = isWorded ? refusals.find(([pattern]) => pattern.test(words)) : undefined;
  if (known !== undefined) return failed(known[2], known[1]);
  // A refusal inside a 200 is a refusal: nothing was taken.
  return isTwoHundred(reply) ? failed('content', 'refused') : refusedByStatus(reply);
}

/** `{"message":"…"}`, or the lists of a form that was filled in wrongly, with the names of the fields. */
function refusalWords(json: unknown): string {
  const { message, errors } = fieldsOf(json);
  return [message, errors].map((part) => (typeof part === 'string' ? part : JSON.stringify(part ?? ''))).join(' ');
}

/** A blocked account is answered with a 200 that has no token in it. */
function readLoginRefusal(reply: HttpReply): SendOutcome {
  if (reply.status >= 500 || reply.json === undefined) return failed('unavailable', `login ${reply.status}`);
  return reply.status === 429 ? refusedByStatus(reply) : failed('account', `login ${reply.status}`);
}

function readLoginProbe(reply: HttpReply): ProbeOutcome {
  if (reply.status >= 500 || reply.json === undefined || (reply.status >= 300 && reply.status < 400))
    return probeStranger(reply, 'Eskiz', 'ESKIZ_BASE_URL');
  const fix =
    "Eskiz refuses the login: ESKIZ_PASSWORD is the API secret of the cabinet's settings, not the website's password, and ESKIZ_EMAIL the account's address. A blocked account is refused as well: ask their support.";
  return { kind: 'failed', reason: 'account', code: `login ${reply.status}`, fix };
}

function readReport(id: unknown, status: unknown): DeliveryReport | undefined {
  if (typeof id !== 'string' || id === '' || typeof status !== 'string' || status === '') return undefined;
  const word = status.toUpperCase();
  const state = deliveryStates.get(word) ?? 'unknown';
  if (state !== 'failed' && state !== 'undelivered') return { providerMessageId: id, state };
  return { providerMessageId: id, state, reason: reportReasons.get(word) ?? 'unavailable', code: word };
}
