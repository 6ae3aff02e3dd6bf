import { AsyncLocalStorage } from 'node:async_hooks';
import http from 'node:http';
import https from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { Twilio } from 'twilio';
import { codeOf, type HttpReply, type HttpSilence, readRetryAfter } from '../../provider-kit/http-client.ts';

/**
 * The edge that is nearest to each region. Hosts with a region alone (`api.ie1.twilio.com`) were announced to end
 * on 2026-04-28. Source: https://www.twilio.com/docs/global-infrastructure/api-domain-migration-guide (read 2026-11-20).
 */
export const edgeOfRegion: ReadonlyMap<string, string> = new Map([
  ['us1', 'ashburn'],
  ['ie1', 'dublin'],
  ['au1', 'sydney'],
  ['jp1', 'tokyo'],
]);

/** The hosts that the SDK asks, one for each product: `api`, `verify`. */
const TWILIO_HOST = /^https:\/\/[a-z]+\.twilio\.com/i;
/** An answer is about 1 KB; whatever is larger is not Twilio's. */
const MAX_REPLY_BYTES = 1_000_000;
/** The caller's signal comes first (3 s by default). This is for a caller without a deadline; the SDK alone would wait 30 s. */
const BACKSTOP_MS = 10_000;

/** What a connection to Twilio needs, whatever is sent over it. */
export type TwilioLogin = {
  readonly accountSid: string;
  readonly authToken?: string | undefined;
  readonly apiKey?: string | undefined;
  readonly apiSecret?: string | undefined;
  readonly edge?: string | undefined;
  readonly region?: string | undefined;
  /** takes the place of Twilio's hosts, of all products */
  readonly baseUrl?: string | undefined;
};

export type TwilioReply = Pick<HttpReply, 'kind' | 'status' | 'json' | 'retryAfterMs'>;

export type TwilioConnection = {
  readonly client: Twilio;
  /** Runs one call of the SDK and says what came over the wire; never rejects. */
  readonly ask: (signal: AbortSignal, call: () => Promise<unknown>) => Promise<TwilioReply | HttpSilence>;
  readonly close: () => void;
};

/** One call on its way. `connected` turns true once a byte of the request may have left this machine. */
type Attempt = { readonly signal: AbortSignal; connected: boolean; reply?: TwilioReply };

/**
 * Loads the SDK and takes over its transport. Four things cannot be asked of the SDK (6.2.0) itself: a signal, a limit on the
 * answer's size, another base address, and whether a failed request had left. It has an axios instance, which can do all four.
 */
export async function connectTwilio(login: TwilioLogin, now: () => number): Promise<TwilioConnection> {
  const { default: sdk } = await import('twilio');
  const attempts = new AsyncLocalStorage<Attempt>();
  const baseUrl = login.baseUrl?.replace(/\/+$/, '');
  const isTwilioItself = baseUrl === undefined || baseUrl.replace(TWILIO_HOST, '') === '';

  // The agent closes sockets idle for `timeout`, so few requests meet a connection that Twilio has just let go.
  const transport = new sdk.RequestClient({ timeout: BACKSTOP_MS, autoRetry: false, maxSockets: 100 });
  transport.axios.defaults.maxContentLength = MAX_REPLY_BYTES;
  transport.axios.interceptors.request.use((request) => {
    const attempt = attempts.getStore();
    if (attempt === undefined) throw new Error('Twilio was called outside an attempt');
    request.signal = attempt.signal;
    request.transport = watchedTransport(attempt);
    // `client.api.baseUrl` would not do: the SDK drops labels of host names with more than five, looking for edge and region.
    if (!isTwilioItself && request.url !== undefined) request.url = request.url.replace(TWILIO_HOST, () => baseUrl);
    return request;
  });
  transport.axios.interceptors.response.use((response) => {
    const attempt = attempts.getStore();
    const retryAfter: unknown = response.headers['retry-after'];
    if (attempt !== undefined) {
      attempt.reply = {
        kind: 'reply',
        status: response.status,
        retryAfterMs: readRetryAfter(typeof retryAfter === 'string' ? retryAfter : undefined, now()),
        json: response.data,
      };
    }
    return response;
  });

  const { accountSid, apiKey, apiSecret, authToken } = login;
  // An empty string, not undefined: else the SDK reads TWILIO_EDGE and TWILIO_REGION from the environment by itself,
  // and would put them into the host name of a simulator.
  const edge = isTwilioItself ? (login.edge ?? edgeOfRegion.get(login.region ?? '') ?? '') : '';
  const region = isTwilioItself ? (login.region ?? '') : '';
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
        code: codeOf(error, attempt.signal),
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
