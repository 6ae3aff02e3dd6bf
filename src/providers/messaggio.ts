import Type from 'typebox';
import type { DeliveryReport, DeliveryState, FailureReason, ProbeOutcome, SendOutcome } from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
import { fieldsOf, type HttpReply } from '../provider-kit/http-client.ts';
import {
  isTwoHundred,
  jsonOf,
  malformed,
  numberOf,
  probeSilence,
  probeStranger,
  refusedByStatus,
  reported,
  silent,
  unreadable,
  WRONG_NUMBER,
  wordOf,
} from '../provider-kit/reading.ts';
import { addressFaults, baseOf, baseUrlSetting } from '../provider-kit/settings.ts';

/**
 * What Messaggio's refusals say in `title` and `detail`, as it has no error numbers: of the whole request with a status
 * that is no 2xx, of the one recipient inside a 200. Only words that carry the meaning are looked for, in this order.
 * Source: what public clients of https://messaggio.com/api-docs/ have seen (read 2026-11-20).
 */
const refusals: readonly (readonly [words: RegExp, code: string, reason: FailureReason])[] = [
  [/balance|insufficient|not enough|funds|баланс|недостаточно/i, 'balance', 'account'],
  [/unauthori[sz]ed|\blogin\b|api.?key|forbidden|\bip\b/i, 'login', 'account'],
  [/too many|rate.?limit|throttl/i, 'throttled', 'throttled'],
  [/opted?.?out|unsubscri/i, 'opt-out', 'blocked'],
  [/black.?list|stop.?list|\bblocked\b/i, 'blacklist', 'blocked'],
  [/sender|\bfrom\b|отправител/i, 'sender', 'content'],
  [/\bproject\b/i, 'project', 'account'],
  [/country|destination|operator|\bnetwork\b|\broute\b|coverage/i, 'coverage', 'coverage'],
  [/template|content|\btext\b|moderation|spam|шаблон|текст/i, 'content', 'content'],
  [WRONG_NUMBER, 'number', 'recipient'],
];

/**
 * The numbers of delivery reports. Source: what public clients of https://messaggio.com/api-docs/ have (read 2026-11-20).
 * They agree that those of the last line are failures, and say too little for a reason of each one's own.
 */
const deliveryStates: ReadonlyMap<number, readonly [DeliveryState, FailureReason?]> = new Map<
  number,
  readonly [DeliveryState, FailureReason?]
>([
  [200, ['queued']],
  [100, ['sent']],
  [70, ['delivered']],
  // Read, and clicked on.
  [69, ['delivered']],
  [67, ['delivered']],
  [90, ['undelivered', 'unavailable']],
  // The person does not have this channel, or is out of its reach.
  [91, ['undelivered', 'coverage']],
  [92, ['undelivered', 'unavailable']],
  ...[60, 65, 68, 85, 87, 89, 94, 95, 96, 97, 98, 196].map(
    (status): [number, readonly [DeliveryState, FailureReason]] => [status, ['failed', 'unavailable']],
  ),
]);

const MESSAGGIO_API = 'https://msg.messaggio.com';
/** The shortest that public clients ask for, in seconds; the bounds are not published. */
const LEAST_TTL_SECONDS = 60;

/** Messaggio: SMS, and Viber before or after it, in one request. Senders are named by the codes of its API. */
export const messaggio = defineProvider({
  id: 'messaggio',
  kind: 'messaging',
  channels: ['sms'],
  settings: Type.Object(
    {
      apiKey: Type.String({ minLength: 1, secret: true, description: 'login of the project (Project Login)' }),
      from: Type.Optional(
        Type.String({
          minLength: 1,
          description: "API code of the SMS sender, not its visible name; when absent, the app's brand is the sender",
        }),
      ),
      viberFrom: Type.Optional(Type.String({ minLength: 1, description: 'API code of the Viber sender' })),
      channels: Type.Optional(
        Type.String({ description: 'channels in the order in which they are tried, e.g. viber,sms; sms by default' }),
      ),
      baseUrl: baseUrlSetting(MESSAGGIO_API),
    },
    { additionalProperties: false },
  ),
  environment: {
    MESSAGGIO_API_KEY: 'apiKey',
    MESSAGGIO_FROM: 'from',
    MESSAGGIO_VIBER_FROM: 'viberFrom',
    MESSAGGIO_CHANNELS: 'channels',
    MESSAGGIO_BASE_URL: 'baseUrl',
  },
  faults: ({ from, viberFrom, channels, baseUrl }) => {
    const order = orderOf(channels);
    const isKnown = order.length > 0 && order.every((channel) => channel === 'sms' || channel === 'viber');
    return [
      ...(isKnown ? [] : ['MESSAGGIO_CHANNELS must be sms, viber, or both in the order of trying, e.g. viber,sms']),
      ...(order.includes('viber') && viberFrom === undefined
        ? ['MESSAGGIO_VIBER_FROM is missing: MESSAGGIO_CHANNELS has viber in it']
        : []),
      ...Object.entries({ MESSAGGIO_FROM: from, MESSAGGIO_VIBER_FROM: viberFrom }).flatMap(([variable, code]) =>
        code === undefined || /^[\w.:-]+$/.test(code)
          ? []
          : [`${variable} must be the sender's API code, as the cabinet shows it, not its visible name`],
      ),
      ...addressFaults('MESSAGGIO_BASE_URL', baseUrl),
    ];
  },
  create: ({ apiKey, from, viberFrom = from, channels, baseUrl }, { http }) => {
    const base = baseOf(baseUrl, MESSAGGIO_API);
    const order = orderOf(channels);
    const senderOf = (channel: string, brand: string) => (channel === 'viber' ? viberFrom : from) ?? brand;

    const post = (call: 'send' | 'statuses', body: unknown, signal: AbortSignal) =>
      http.postJson(`${base}/api/v1/${call}`, body, { signal, headers: { 'Messaggio-Login': apiKey } });

    /** Asks for the states of a message in every channel that it may have taken. */
    const askStatuses = (id: string, sender: string, signal: AbortSignal) => {
      const senders = order.map((channel) => [channel, [{ from: senderOf(channel, sender) }]]);
      return post('statuses', { recipients: [{ id }], channels: order, ...Object.fromEntries(senders) }, signal);
    };

    /** Before the last channel a failure is none: Messaggio goes on to the next one by itself. */
    function readReport(entry: unknown): DeliveryReport | undefined {
      const outer = fieldsOf(entry);
      // Flat in what is posted, one level deeper in the answer of `statuses`.
      const inner = typeof outer['status'] === 'object' ? fieldsOf(outer['status']) : outer;
      const id = outer['message_id'];
      const status = numberOf(inner['status']);
      if (typeof id !== 'string' || id === '' || !Number.isInteger(status)) return undefined;
      const [state, reason] = deliveryStates.get(status) ?? ['unknown'];
      if (reason === undefined) return { providerMessageId: id, state };
      const place = order.indexOf(wordOf(inner['channel']));
      if (place !== -1 && place < order.length - 1) return { providerMessageId: id, state: 'sent' };
      return { providerMessageId: id, state, reason, code: `status ${status}` };
    }

    return {
      async send(message, signal) {
        const contents = order.map((channel) => [
          channel,
          {
            from: senderOf(channel, message.brand),
            // Viber asks what kind of message it is; without advertising it is a transaction.
            ...(channel === 'viber' ? { label: 'transaction' } : {}),
            content: [{ type: 'text', text: message.text }],
          },
        ]);
        const body = {
          recipients: [{ phone: message.to.slice(1) }],
          channels: order,
          options: {
            // How long each channel may try, so that the last one still brings a code that lives.
            ttl: Math.max(LEAST_TTL_SECONDS, Math.floor(message.validitySeconds / order.length)),
            external_id: message.messageId,
            ...(message.reportUrl === undefined ? {} : { dlr_callback_url: message.reportUrl }),
          },
          ...Object.fromEntries(contents),
        };
        const reply = await post('send', body, signal);
        return reply.kind === 'silence' ? silent(reply) : readSendReply(reply);
      },

      parseReport(request) {
        const body = jsonOf(request);
        const entries = listOf(body);
        // Replies of people and what else comes to the same address are genuine, and no reports.
        if (entries.length > 0 && entries.every(isOtherEvent)) return reported();
        const reports = entries.map(readReport).filter((report) => report !== undefined);
        return reports.length === 0 ? malformed : reported(...reports);
      },

      async fetchReport(providerMessageId, signal) {
        // The question names the sender, and whose brand it was is not known here any more.
        if (from === undefined) return undefined;
        const reply = await askStatuses(providerMessageId, from, signal);
        if (reply.kind !== 'reply' || reply.status !== 200) return undefined;
        const reports = listOf(reply.json)
          .map(readReport)
          .filter((report) => report?.providerMessageId === providerMessageId);
        return reports.find((report) => report?.state === 'delivered') ?? reports.at(-1);
      },

      /** There is no call for it; a question about a message that does not exist needs the login alone. */
      async probe(signal) {
        const reply = await askStatuses('00000000-0000-0000-0000-000000000000', 'none', signal);
        return reply.kind === 'silence'
          ? probeSilence(reply, 'Messaggio', 'MESSAGGIO_BASE_URL')
          : readProbeReply(reply);
      },
    };
  },
});

function orderOf(channels = 'sms'): readonly string[] {
  return [
    ...new Set(
      channels
        .toLowerCase()
        .split(/[\s,]+/)
        .filter(Boolean),
    ),
  ];
}

/** One report, a list of them, or `{"statuses":[…]}`. */
function listOf(json: unknown): readonly unknown[] {
  return [fieldsOf(json)['statuses'] ?? json].flat();
}

function isOtherEvent(entry: unknown): boolean {
  const { type } = fieldsOf(entry);
  return typeof type === 'string' && type !== 'status';
}

function readSendReply(reply: HttpReply): SendOutcome {
  if (!isTwoHundred(reply)) {
    const { title, detail } = fieldsOf(reply.json);
    const isJudgement = reply.status === 400 || reply.status === 402 || reply.status === 422;
    return (isJudgement ? refusedInWords(title, detail) : undefined) ?? refusedByStatus(reply);
  }
  const { messages } = fieldsOf(reply.json);
  const message = fieldsOf(Array.isArray(messages) ? messages[0] : undefined);
  if (message['error'] !== undefined && message['error'] !== null) {
    const { title, detail } = fieldsOf(message['error']);
    return refusedInWords(title, detail ?? message['error']) ?? failed('content', 'refused');
  }
  const id = message['message_id'];
  return typeof id === 'string' && id !== '' ? accepted(id) : unreadable();
}

/** The detail says more than the title, which is often the same for all. */
function refusedInWords(title: unknown, detail: unknown): ReturnType<typeof failed> | undefined {
  for (const words of [detail, title]) {
    if (typeof words !== 'string') continue;
    const known = refusals.find(([pattern]) => pattern.test(words));
    if (known !== undefined) return failed(known[2], known[1], known[1] === 'opt-out' ? { optOut: true } : {});
  }
  return undefined;
}

function readProbeReply(reply: HttpReply): ProbeOutcome {
  const { statuses, title, detail } = fieldsOf(reply.json);
  const isLogin = refusedInWords(title, detail)?.reason === 'account';
  if (reply.status === 401 || reply.status === 403 || (reply.status < 500 && isLogin)) {
    const fix =
      'Messaggio refuses the login: MESSAGGIO_API_KEY is the Project Login from the details of an active project, neither the secret key nor the password of the website. Where the project has a list of addresses, this server has to be on it, and the balance must not be empty.';
    return { kind: 'failed', reason: 'account', code: String(reply.status), fix };
  }
  if (reply.status === 200 && Array.isArray(statuses)) return { kind: 'ready' };
  // Refused for what was asked about, in Messaggio's own form: the login was not what it minded.
  const isRefusedByContents = (reply.status === 400 || reply.status === 422) && typeof (detail ?? title) === 'string';
  if (isRefusedByContents) return { kind: 'ready', detail: 'Messaggio did not object to the login' };
  return probeStranger(reply, 'Messaggio', 'MESSAGGIO_BASE_URL');
}
