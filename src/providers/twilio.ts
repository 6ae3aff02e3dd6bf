import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { Twilio } from 'twilio';
import Type, { type Static } from 'typebox';
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
import { accepted, defineProvider, failed, reasonForStatus } from '../provider-kit/define-provider.ts';

/**
 * Twilio's error codes, from answers and from status callbacks alike.
 * Source: https://www.twilio.com/docs/api/errors, one page per code (read 2026-11-20).
 *
 * `account` takes the provider out for every destination, so it stands only where every message would fail the same way;
 * a sender that one country or carrier refuses is `content`: the next provider may do better, and the operator is told.
 */
export const twilioFailureReasons: ReadonlyMap<number, FailureReason> = new Map<number, FailureReason>([
  // Credentials, account, sender: wrong for all messages.
  [20003, 'account'], // authentication failed; also the sign of a suspended account or another region's credentials
  [20005, 'account'], // account not active
  [10001, 'account'], // account not active
  [20008, 'account'], // not with test credentials
  [20404, 'account'], // no such account or path
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
  [21214, 'recipient'], // To cannot be reached
  [21217, 'recipient'], // To is badly formed
  [30005, 'recipient'], // unknown handset: the number is not in service
  [63024, 'recipient'], // invalid recipient of a channel

  // Not through here. A landline (21614, 30006) is Twilio's reading of its own number data: ported and newly opened ranges
  // are told apart wrongly, and other providers reach some landlines. A wrong `recipient` would end the verification;
  // a wrong `coverage` costs one more attempt.
  [21612, 'coverage'], // this From cannot reach this To
  [21614, 'coverage'], // To is no mobile number
  [30006, 'coverage'], // landline, or unreachable carrier
  [63003, 'coverage'], // To is not on this channel

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
  [20429, 'throttled'], // too many concurrent requests; documented as never processed
  [21611, 'throttled'], // queue of this From is full
  [30001, 'throttled'], // queue overflow
  [30022, 'throttled'], // US 10DLC rate
  [30023, 'throttled'], // US 10DLC daily cap
  [30027, 'throttled'], // US 10DLC daily cap of one carrier
  [63038, 'throttled'], // daily cap of the account

  // 20500 says that the message may have gone out (https://www.twilio.com/docs/api/errors/20500); 20503 asks to try again.
  // The codes from callbacks are surely not delivered.
  [20500, 'uncertain'], // internal error
  [20503, 'unavailable'], // service unavailable
  [30003, 'unavailable'], // handset off or out of reach
  [30008, 'unavailable'], // unknown error at the carrier
  [30036, 'unavailable'], // validity period over
]);

/** The person told this sender to stop: no other provider may go round that. */
const optOutCodes: ReadonlySet<number> = new Set([21610]);

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

/**
 * The data centre's edge for each processing region. Hosts with a region alone (`api.ie1.twilio.com`) were announced to end
 * on 2026-04-28. Source: https://www.twilio.com/docs/global-infrastructure (read 2026-11-20).
 */
const edgeOfRegion: ReadonlyMap<string, string> = new Map([
  ['us1', 'ashburn'],
  ['ie1', 'dublin'],
  ['au1', 'sydney'],
  ['jp1', 'tokyo'],
]);

const TWILIO_API = 'https://api.twilio.com';
/** Bounds of `ValidityPeriod`. Source: https://www.twilio.com/docs/messaging/api/message-resource (read 2026-11-20). */
const VALIDITY_SECONDS = { min: 1, max: 36_000 };
/** An answer is about 1 KB; whatever is larger is not Twilio's. */
const MAX_REPLY_BYTES = 1_000_000;
/** The caller's signal comes first (3 s by default). This is for a caller without a deadline; the SDK alone would wait 30 s. */
const BACKSTOP_MS = 10_000;

const settingsSchema = Type.Object(
  {
    accountSid: Type.String({ description: 'Account SID, AC…; also needed with an API key' }),
    authToken: Type.Optional(
      Type.String({ secret: true, description: 'auth token; also what delivery reports are signed with' }),
    ),
    previousAuthToken: Type.Optional(
      Type.String({ secret: true, description: 'auth token before the last rotation, for signatures alone' }),
    ),
    apiKey: Type.Optional(Type.String({ description: 'API key SID, SK…, instead of the auth token' })),
    apiSecret: Type.Optional(Type.String({ secret: true, description: 'secret of the API key' })),
    messagingServiceSid: Type.Optional(Type.String({ description: 'Messaging Service, MG…; chooses the sender' })),
    from: Type.Optional(Type.String({ description: 'sender: number in E.164, short code or alphanumeric sender ID' })),
    edge: Type.Optional(Type.String({ description: 'edge location, e.g. dublin' })),
    region: Type.Optional(Type.String({ description: 'processing region, e.g. ie1; it has credentials of its own' })),
    baseUrl: Type.Optional(Type.String({ description: `where the API is, ${TWILIO_API} unless told otherwise` })),
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
    TWILIO_ACCOUNT_SID: 'accountSid',
    TWILIO_AUTH_TOKEN: 'authToken',
    TWILIO_PREVIOUS_AUTH_TOKEN: 'previousAuthToken',
    TWILIO_API_KEY: 'apiKey',
    TWILIO_API_SECRET: 'apiSecret',
    TWILIO_MESSAGING_SERVICE_SID: 'messagingServiceSid',
    TWILIO_PHONE_NUMBER: 'from',
    TWILIO_EDGE: 'edge',
    TWILIO_REGION: 'region',
    TWILIO_BASE_URL: 'baseUrl',
  },
  faults: (settings) => settingsFaults(trimmed(settings)),
  create: async (given, { now }) => {
    const settings = trimmed(given);
    const { accountSid, messagingServiceSid, from } = settings;
    const { client, ask, close } = await connect(settings);
    const tokens = [settings.authToken, settings.previousAuthToken].filter((token) => token !== undefined);

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
        return reply.kind === 'silence' ? failed(reply.reason, reply.code) : readSendReply(reply, now());
      },

      async probe(signal) {
        if (settings.apiKey !== undefined) {
          // Only a Main key may fetch the account; a Standard one, which is what one should use, gets the same 20003
          // as a wrong secret. Source: https://www.twilio.com/docs/iam/api-keys (read 2026-11-20).
          const reply = await ask(signal, () => client.balance.fetch());
          return readProbeReply(reply, settings) ?? { kind: 'ready', ...balanceDetail(reply) };
        }
        const reply = await ask(signal, () => client.api.v2010.accounts(accountSid).fetch());
        const fault = readProbeReply(reply, settings) ?? readAccountFault(reply);
        if (fault !== undefined) return fault;
        // A trial account cannot be told from its answers before a message fails, so it is said here.
        if (reply.kind === 'reply' && fieldsOf(reply.body)['type'] === 'Trial') {
          return {
            kind: 'ready',
            detail: 'trial account: reaches only numbers that are verified in the Twilio console',
          };
        }
        return { kind: 'ready', ...balanceDetail(await ask(signal, () => client.balance.fetch())) };
      },

      async close() {
        close();
      },
    };
    return tokens.length === 0 ? provider : { ...provider, parseReport: (request) => readReport(request, tokens) };
  },
});

// --- Settings

/** A space copied along with a credential gives a 20003 that nobody can see; none of these values has one at its ends. */
function trimmed(settings: TwilioSettings): TwilioSettings {
  const entries = Object.entries(settings).map(([name, value]) => [name, value.trim()] as const);
  // An empty line of a copied `.env` (`TWILIO_API_KEY=`) means "not set".
  const filled = Object.fromEntries(entries.filter(([, value]) => value !== ''));
  return { ...filled, accountSid: filled['accountSid'] ?? '' };
}

function settingsFaults(settings: TwilioSettings): string[] {
  const { accountSid, authToken, apiKey, apiSecret, messagingServiceSid, from, edge, region, baseUrl } = settings;
  const faults: string[] = [];
  if (!/^AC[0-9a-f]{32}$/i.test(accountSid)) {
    const isKey = accountSid.startsWith('SK');
    faults.push(
      `TWILIO_ACCOUNT_SID must be AC and 32 hexadecimal digits${isKey ? '; an SK… value is an API key and belongs in TWILIO_API_KEY' : ''}`,
    );
  }
  if ((apiKey === undefined) !== (apiSecret === undefined)) {
    faults.push('TWILIO_API_KEY and TWILIO_API_SECRET belong together: set both or neither');
  } else if (authToken === undefined && apiKey === undefined) {
    faults.push('TWILIO_AUTH_TOKEN is missing (or TWILIO_API_KEY with TWILIO_API_SECRET)');
  }
  if (apiKey !== undefined && !/^SK[0-9a-f]{32}$/i.test(apiKey)) {
    faults.push('TWILIO_API_KEY must be SK and 32 hexadecimal digits');
  }
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
  if (edge === undefined && region !== undefined && !edgeOfRegion.has(region)) {
    faults.push('TWILIO_REGION needs TWILIO_EDGE as well: Twilio has no hosts for a region alone any more');
  }
  if (baseUrl !== undefined && !(URL.canParse(baseUrl) && /^https?:\/\//i.test(baseUrl))) {
    faults.push('TWILIO_BASE_URL must be an address that starts with https:// (or http:// for a simulator)');
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

// --- The way through the SDK

/** One call on its way. `connected` turns true once a byte of the request may have left this machine. */
type Attempt = { readonly signal: AbortSignal; connected: boolean; reply?: Reply };

type Reply = {
  readonly kind: 'reply';
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: unknown;
};

/** No whole answer came. */
type Silence = { readonly kind: 'silence'; readonly reason: 'unavailable' | 'uncertain'; readonly code: string };

type Connection = {
  readonly client: Twilio;
  /** Runs one call of the SDK and says what came over the wire; never rejects. */
  readonly ask: (signal: AbortSignal, call: () => Promise<unknown>) => Promise<Reply | Silence>;
  readonly close: () => void;
};

/**
 * Loads the SDK and takes over its transport. Four things cannot be asked of the SDK (6.2.0) itself: a signal, a limit on the
 * answer's size, another base address, and whether a failed request had left. It has an axios instance, which can do all four.
 */
async function connect(settings: TwilioSettings): Promise<Connection> {
  const { default: sdk } = await import('twilio');
  const attempts = new AsyncLocalStorage<Attempt>();
  const baseUrl = (settings.baseUrl ?? TWILIO_API).replace(/\/+$/, '');
  const isTwilioItself = baseUrl.toLowerCase() === TWILIO_API;

  // The agent closes sockets idle for `timeout`, so few requests meet a connection that Twilio has just let go.
  const transport = new sdk.RequestClient({ timeout: BACKSTOP_MS, autoRetry: false, maxSockets: 100 });
  transport.axios.defaults.maxContentLength = MAX_REPLY_BYTES;
  transport.axios.interceptors.request.use((request) => {
    const attempt = attempts.getStore();
    if (attempt === undefined) throw new Error('Twilio was called outside an attempt');
    request.signal = attempt.signal;
    request.transport = watchedTransport(attempt);
    // `client.api.baseUrl` would not do: the SDK drops labels of host names with more than five, looking for edge and region.
    if (!isTwilioItself && request.url !== undefined) request.url = request.url.replace(TWILIO_API, () => baseUrl);
    return request;
  });
  transport.axios.interceptors.response.use((response) => {
    const attempt = attempts.getStore();
    const retryAfter: unknown = response.headers['retry-after'];
    if (attempt !== undefined) {
      attempt.reply = {
        kind: 'reply',
        status: response.status,
        retryAfter: typeof retryAfter === 'string' ? retryAfter : undefined,
        body: response.data,
      };
    }
    return response;
  });

  const { accountSid, apiKey, apiSecret, authToken } = settings;
  // An empty string, not undefined: else the SDK reads TWILIO_EDGE and TWILIO_REGION from the environment by itself,
  // and would put them into the host name of a simulator.
  const edge = isTwilioItself ? (settings.edge ?? edgeOfRegion.get(settings.region ?? '') ?? '') : '';
  const region = isTwilioItself ? (settings.region ?? '') : '';
  const options = { accountSid, edge, region, httpClient: transport };
  const client =
    apiKey === undefined ? sdk(accountSid, authToken ?? '', options) : sdk(apiKey, apiSecret ?? '', options);

  return {
    client,
    async ask(signal, call) {
      const attempt: Attempt = {
        signal: AbortSignal.any([signal, AbortSignal.timeout(BACKSTOP_MS)]),
        connected: false,
      };
      let error: unknown;
      try {
        await attempts.run(attempt, call);
      } catch (cause) {
        // Not looked at when an answer came: the SDK turns answers into five kinds of errors, among them plain TypeErrors.
        error = cause;
      } finally {
        // The SDK keeps its last request for debugging, and with it the credentials and the code.
        delete transport.lastRequest;
        delete transport.lastResponse;
      }
      if (attempt.reply !== undefined) return attempt.reply;
      return {
        kind: 'silence',
        reason: attempt.connected ? 'uncertain' : 'unavailable',
        code: silenceCode(error, attempt.signal),
      };
    },
    close() {
      const agent: unknown = transport.axios.defaults.httpsAgent;
      if (agent instanceof http.Agent) agent.destroy();
    },
  };
}

/** Node's own transport, which also notes the moment from which the request may have been written. */
function watchedTransport(attempt: Attempt) {
  return {
    request(options: https.RequestOptions, onResponse: (response: http.IncomingMessage) => void): http.ClientRequest {
      const isTls = options.protocol === 'https:';
      const request = (isTls ? https : http).request(options, onResponse);
      request.once('socket', (socket) => {
        const isConnecting =
          socket.connecting || (socket as Partial<TLSSocket & { secureConnecting: boolean }>).secureConnecting;
        if (!isConnecting) attempt.connected = true;
        else socket.once(isTls ? 'secureConnect' : 'connect', () => (attempt.connected = true));
      });
      return request;
    },
  };
}

/** A short name for what went wrong. Messages of axios are not passed on: they can quote addresses and headers. */
function silenceCode(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return (signal.reason as Error | undefined)?.name === 'TimeoutError' ? 'timeout' : 'aborted';
  const code = fieldsOf(error)['code'];
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{2,40}$/.test(code) ? code : 'no-answer';
}

// --- Answers

function readSendReply(reply: Reply, now: number): SendOutcome {
  const body = fieldsOf(reply.body);
  if (reply.status < 200 || reply.status > 299) return failedBy(errorCode(body['code']), reply, now);
  // A message can be refused within a 201 too: then it has an error code and a final state.
  const state = deliveryStates.get(String(body['status']));
  if (state === 'failed' || state === 'undelivered') return failedBy(errorCode(body['error_code']), reply, now);
  const sid = body['sid'];
  if (typeof sid !== 'string' || !/^[A-Za-z0-9]{2,64}$/.test(sid)) return failed('uncertain', 'unreadable');
  // Twilio writes the number as a string, and `"0"` while a Messaging Service has not chosen the sender yet.
  const segments = Number(body['num_segments']);
  return accepted(sid, Number.isInteger(segments) && segments > 0 ? segments : undefined);
}

function failedBy(code: number | undefined, reply: Reply, now: number): SendOutcome {
  const isRefusedInside = reply.status >= 200 && reply.status <= 299;
  const reason =
    twilioFailureReasons.get(code ?? 0) ??
    // A bare 404 is a wrong address or account, not a fault of the text.
    (isRefusedInside ? 'unavailable' : reply.status === 404 ? 'account' : reasonForStatus(reply.status));
  const retryAfterMs =
    reason === 'throttled' || reason === 'unavailable' ? readRetryAfter(reply.retryAfter, now) : undefined;
  return failed(reason, String(code ?? reply.status), {
    ...(optOutCodes.has(code ?? 0) ? { optOut: true } : {}),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** Twilio's code out of either error body: the classic one and RFC 9457 both have it as `code`. */
function errorCode(value: unknown): number | undefined {
  return /^\d{1,6}$/.test(String(value)) ? Number(value) : undefined;
}

/** `Retry-After` is a number of seconds or a date (RFC 9110, section 10.2.3). */
function readRetryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  const ms = /^\d{1,6}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

// --- Probe

/** What is wrong with the answer to a question about the account; nothing when it is one. */
function readProbeReply(reply: Reply | Silence, settings: TwilioSettings): ProbeOutcome | undefined {
  if (reply.kind === 'silence') {
    const fix = `No answer from ${settings.baseUrl === undefined ? 'Twilio' : 'TWILIO_BASE_URL'}: check name resolution, firewall and proxy (HTTP_PROXY) of this machine, and https://status.twilio.com.`;
    return { kind: 'failed', reason: reply.reason, code: reply.code, fix };
  }
  const body = fieldsOf(reply.body);
  if (reply.status === 200 && (typeof body['sid'] === 'string' || typeof body['account_sid'] === 'string'))
    return undefined;
  const isAnswer = reply.status === 200 || (reply.status >= 300 && reply.status <= 399);
  if (isAnswer) {
    const fix = 'What answers is not the Twilio API: check TWILIO_BASE_URL and proxies in between.';
    return {
      kind: 'failed',
      reason: 'unavailable',
      code: reply.status === 200 ? 'unreadable' : String(reply.status),
      fix,
    };
  }
  const code = errorCode(body['code']);
  const reason =
    twilioFailureReasons.get(code ?? 0) ?? (reply.status === 404 ? 'account' : reasonForStatus(reply.status));
  return { kind: 'failed', reason, code: String(code ?? reply.status), fix: probeFix(code ?? reply.status, settings) };
}

function probeFix(code: number, { apiKey, region }: TwilioSettings): string {
  switch (code) {
    case 20003:
    case 401: {
      const pair =
        apiKey === undefined ? 'TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN' : 'TWILIO_API_KEY and TWILIO_API_SECRET';
      const place =
        region === undefined ? 'a region other than US1, then set TWILIO_REGION' : `another region than ${region}`;
      return `Twilio refuses the credentials: copy ${pair} from the console again. They may be rotated or deleted, belong to ${place}, or the account is suspended.`;
    }
    case 20008:
      return 'These are test credentials, with which nothing is ever delivered: use the live ones of the console.';
    case 20005:
    case 10001:
      return 'The Twilio account is not active: look for a notice in the console (billing, verification of the business).';
    case 403:
      return 'The credentials may not do this: a Restricted API key needs the permission to read the balance and to create messages.';
    case 20404:
    case 404:
      return 'Twilio knows no such account: check TWILIO_ACCOUNT_SID, and TWILIO_BASE_URL if it is set.';
    case 20429:
    case 429:
      return 'Too many requests at once on this account: try again in a moment, and look what else uses the account.';
    default:
      return `See https://www.twilio.com/docs/api/errors/${code > 999 ? code : ''} and https://status.twilio.com.`;
  }
}

function readAccountFault(reply: Reply | Silence): ProbeOutcome | undefined {
  const status = reply.kind === 'reply' ? fieldsOf(reply.body)['status'] : undefined;
  if (status === 'suspended') {
    const fix =
      'The Twilio account is suspended, mostly for want of credit: add funds in the console, or ask Twilio why.';
    return { kind: 'failed', reason: 'account', code: 'suspended', fix };
  }
  if (status === 'closed') {
    return { kind: 'failed', reason: 'account', code: 'closed', fix: 'The Twilio account is closed: use another one.' };
  }
  return undefined;
}

/** Only told, never judged: invoiced accounts send with a balance of zero or less. */
function balanceDetail(reply: Reply | Silence): { detail?: string } {
  if (reply.kind === 'silence') return {};
  const { balance, currency } = fieldsOf(reply.body);
  const isReadable = /^-?\d{1,12}(\.\d{1,8})?$/.test(String(balance)) && /^[A-Z]{3}$/i.test(String(currency));
  return isReadable ? { detail: `balance ${balance} ${currency}` } : {};
}

// --- Delivery reports

/**
 * Signature first, then the state. A signature has no time in it, so an old report can be played again; that does no harm,
 * as states only move forward.
 */
function readReport(request: ReportRequest, tokens: readonly string[]): ReportOutcome {
  const text = Buffer.from(request.rawBody).toString('utf8');
  const form = new URLSearchParams(text);
  const bodyHash = URL.canParse(request.url) ? new URL(request.url).searchParams.get('bodySHA256') : null;
  if (bodyHash === null) {
    if (!isSigned(request, form, tokens)) return { kind: 'refused', why: 'forged' };
    return readReportFields(Object.fromEntries(form));
  }
  // JSON: the signature covers the address alone, and the address the hash of the body.
  const hash = createHash('sha256').update(request.rawBody).digest('hex');
  if (!isSigned(request, new URLSearchParams(), tokens) || !isSame(bodyHash, hash)) {
    return { kind: 'refused', why: 'forged' };
  }
  try {
    return readReportFields(fieldsOf(JSON.parse(text)));
  } catch {
    return { kind: 'refused', why: 'malformed' };
  }
}

/** Source: https://www.twilio.com/docs/usage/webhooks/webhooks-security (read 2026-11-20). */
function isSigned(request: ReportRequest, form: URLSearchParams, tokens: readonly string[]): boolean {
  const given = request.headers['x-twilio-signature'];
  if (typeof given !== 'string') return false;
  // A repeated field counts once for each of its different values.
  const fields = [...new Set(form.keys())]
    .sort()
    .map((name) => [name, [...new Set(form.getAll(name))].sort()] as const);
  const data = fields.flatMap(([name, values]) => values.map((value) => name + value)).join('');
  return urlsThatMayBeSigned(request.url).some((url) =>
    tokens.some((token) =>
      isSame(
        given,
        createHmac('sha1', token)
          .update(url + data, 'utf8')
          .digest('base64'),
      ),
    ),
  );
}

/** Twilio is not consistent in whether the port is part of what it signs, so its own SDK tries both; so do we. */
function urlsThatMayBeSigned(url: string): string[] {
  const match = /^(https?:\/\/)((?:[^/?#]*@)?(?:\[[^\]]*\]|[^/?#:]*))(:\d*)?(.*)$/is.exec(url);
  if (match === null) return [url];
  const [, scheme = '', host = '', port, rest = ''] = match;
  const defaultPort = scheme.toLowerCase() === 'https://' ? ':443' : ':80';
  return [scheme + host + rest, scheme + host + (port ?? defaultPort) + rest];
}

function isSame(given: string, expected: string): boolean {
  const [left, right] = [Buffer.from(given), Buffer.from(expected)];
  return left.length === right.length && timingSafeEqual(left, right);
}

function readReportFields(fields: Readonly<Record<string, unknown>>): ReportOutcome {
  const providerMessageId = fields['MessageSid'] ?? fields['SmsSid'];
  const status = fields['MessageStatus'] ?? fields['SmsStatus'];
  if (
    typeof providerMessageId !== 'string' ||
    providerMessageId === '' ||
    typeof status !== 'string' ||
    status === ''
  ) {
    return { kind: 'refused', why: 'malformed' };
  }
  const state = deliveryStates.get(status) ?? 'unknown';
  if (state === 'ignored') return { kind: 'reports', reports: [] };
  if (state !== 'failed' && state !== 'undelivered')
    return { kind: 'reports', reports: [{ providerMessageId, state }] };
  const code = errorCode(fields['ErrorCode']);
  const report: DeliveryReport = {
    providerMessageId,
    state,
    // Whatever the code may mean, the message is not there: the next provider may try.
    reason: twilioFailureReasons.get(code ?? 0) ?? 'unavailable',
    ...(code === undefined ? {} : { code: String(code) }),
    ...(optOutCodes.has(code ?? 0) ? { optOut: true } : {}),
  };
  return { kind: 'reports', reports: [report] };
}
