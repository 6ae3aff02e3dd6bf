import http from 'node:http';
import https from 'node:https';
import type { TLSSocket } from 'node:tls';

/** A whole answer, whatever its status. */
export type HttpReply = {
  readonly kind: 'reply';
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** The body; undefined when its bytes are no UTF-8. Never to be logged: it may repeat the code. */
  readonly text: string | undefined;
  /** The body parsed; undefined when it is no JSON. */
  readonly json: unknown;
  /** What `Retry-After` says, as seconds or as a date (RFC 9110, section 10.2.3). */
  readonly retryAfterMs: number | undefined;
};

/** No whole answer came: `unavailable` when surely nothing was sent, else `uncertain`. */
export type HttpSilence = {
  readonly kind: 'silence';
  readonly reason: 'unavailable' | 'uncertain';
  /** A short name, safe to log: `timeout`, `aborted`, `too-large`, or the system's (`ECONNREFUSED`). */
  readonly code: string;
};

export type HttpOptions = {
  /** Ends the attempt. */
  readonly signal: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
  /** `Authorization: Bearer …` */
  readonly bearer?: string;
  /** `Authorization: Basic …` of user and password */
  readonly basic?: readonly [user: string, password: string];
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
};

/** What provider files talk to their vendors with. None of these ever rejects. */
export interface HttpClient {
  get(url: string, options: HttpOptions): Promise<HttpReply | HttpSilence>;
  postJson(url: string, body: unknown, options: HttpOptions): Promise<HttpReply | HttpSilence>;
  /** `application/x-www-form-urlencoded`; fields that are undefined are left out */
  postForm(
    url: string,
    fields: Readonly<Record<string, string | undefined>>,
    options: HttpOptions,
  ): Promise<HttpReply | HttpSilence>;
  /** Any body, with a `Content-Type` of the caller's. */
  send(url: string, body: string | undefined, options: HttpOptions): Promise<HttpReply | HttpSilence>;
  close(): void;
}

/** Answers of gateways are a few kilobytes. */
const MAX_REPLY_BYTES = 256 * 1024;
/** Most gateways let go of an idle connection after 60 s or more; those that say sooner (`Keep-Alive: timeout=5`) are heeded. */
const IDLE_MS = 30_000;

/**
 * Keeps connections alive, follows no redirect, reads no more than an answer can have, and says of every failure whether
 * something may have been sent. There is no deadline but the signal.
 * @param environment for `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`
 */
export function createHttpClient(
  now: () => number,
  environment: Readonly<Record<string, string | undefined>> = {},
): HttpClient {
  const { HTTP_PROXY, HTTPS_PROXY, NO_PROXY, http_proxy, https_proxy, no_proxy } = environment;
  const proxyEnv = { HTTP_PROXY, HTTPS_PROXY, NO_PROXY, http_proxy, https_proxy, no_proxy };
  const agentOptions = { keepAlive: true, timeout: IDLE_MS, maxSockets: 100, proxyEnv };
  const agents = { 'http:': new http.Agent(agentOptions), 'https:': new https.Agent(agentOptions) };

  function send(url: string, body: string | undefined, options: HttpOptions): Promise<HttpReply | HttpSilence> {
    const { signal } = options;
    if (signal.aborted) return Promise.resolve({ kind: 'silence', reason: 'unavailable', code: abortCode(signal) });
    const target = URL.parse(url);
    if (target === null || (target.protocol !== 'http:' && target.protocol !== 'https:'))
      return Promise.resolve({ kind: 'silence', reason: 'unavailable', code: 'bad-address' });
    const isTls = target.protocol === 'https:';
    const { promise, resolve } = Promise.withResolvers<HttpReply | HttpSilence>();
    let mayHaveLeft = false;
    const silence = (error: unknown) =>
      resolve({ kind: 'silence', reason: mayHaveLeft ? 'uncertain' : 'unavailable', code: codeOf(error, signal) });
    let request: http.ClientRequest;
    try {
      request = (isTls ? https : http).request(target, {
        agent: agents[isTls ? 'https:' : 'http:'],
        method: options.method ?? 'POST',
        headers: headersOf(options, body),
        signal,
      });
    } catch (error) {
      // A header that cannot be written, say: a line break in a credential.
      silence(error);
      return promise;
    }
    request.once('socket', (socket) => {
      // On a connection that is kept open everything may be written at once. That the other side has just let go of it
      // cannot be told from one that was cut after the request was read.
      const { secureConnecting } = socket as Partial<TLSSocket & { secureConnecting: boolean }>;
      if (!socket.connecting && secureConnecting !== true) mayHaveLeft = true;
      else socket.once(isTls ? 'secureConnect' : 'connect', () => (mayHaveLeft = true));
    });
    request.once('error', silence);
    request.once('response', (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > MAX_REPLY_BYTES) {
          resolve({ kind: 'silence', reason: 'uncertain', code: 'too-large' });
          request.destroy();
        }
      });
      response.once('error', silence);
      response.once('close', () => silence({ code: 'ECONNRESET' }));
      response.once('end', () => {
        if (response.complete) resolve(readReply(response, Buffer.concat(chunks), now));
      });
    });
    request.end(body);
    return promise;
  }

  return {
    send,
    get: (url, options) => send(url, undefined, { method: 'GET', ...options }),
    postJson: (url, body, options) => send(url, JSON.stringify(body), withType('application/json', options)),
    postForm: (url, fields, options) => {
      const given = Object.entries(fields).filter((field): field is [string, string] => field[1] !== undefined);
      return send(url, new URLSearchParams(given).toString(), withType('application/x-www-form-urlencoded', options));
    },
    close() {
      for (const agent of Object.values(agents)) agent.destroy();
    },
  };
}

function withType(type: string, options: HttpOptions): HttpOptions {
  return { ...options, headers: { 'Content-Type': type, ...options.headers } };
}

function headersOf({ headers, bearer, basic }: HttpOptions, body: string | undefined): Record<string, string | number> {
  const login = bearer === undefined ? (basic === undefined ? undefined : basicOf(basic)) : `Bearer ${bearer}`;
  return {
    Accept: 'application/json',
    ...(login === undefined ? {} : { Authorization: login }),
    ...(body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) }),
    ...headers,
  };
}

function basicOf([user, password]: readonly [string, string]): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function readReply(response: http.IncomingMessage, body: Buffer, now: () => number): HttpReply {
  let text: string | undefined;
  let json: unknown;
  try {
    text = utf8.decode(body);
    json = JSON.parse(text);
  } catch {
    // Neither is a fault here: what a body must be is for its provider to say.
  }
  return {
    kind: 'reply',
    status: response.statusCode ?? 0,
    headers: response.headers,
    text,
    json,
    retryAfterMs: readRetryAfter(response.headers['retry-after'], now()),
  };
}

/** What `Retry-After` says, in ms: a number of seconds or a date. */
export function readRetryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  const ms = /^\d{1,6}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

function abortCode(signal: AbortSignal): string {
  return (signal.reason as Error | undefined)?.name === 'TimeoutError' ? 'timeout' : 'aborted';
}

/** A short name for what went wrong. Messages of errors are not passed on: they can quote addresses and headers. */
export function codeOf(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return abortCode(signal);
  const { code } = fieldsOf(error);
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{2,40}$/.test(code) ? code : 'no-answer';
}

/** The fields of what should be an object; none of what is not. */
export function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
