import { createHash, createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * What Twilio may do with the next request, good and bad. All kinds but `refuse`, `reply` and `drop` before reading *take* the
 * message first, as a real outage does: the caller cannot know whether it went out.
 */
export type TwilioBehaviour =
  /** An error as Twilio words it; `problem` is the RFC 9457 shape of its newer APIs. */
  | {
      readonly kind: 'refuse';
      readonly status: number;
      readonly code: number;
      readonly message?: string;
      readonly shape?: 'classic' | 'problem';
      readonly retryAfterSeconds?: number;
    }
  /** Any answer at all. */
  | { readonly kind: 'reply'; readonly status: number; readonly body?: string | Uint8Array; readonly type?: string }
  /** A good answer, late. */
  | { readonly kind: 'delay'; readonly delayMs: number }
  /** No end of the answer, ever. */
  | { readonly kind: 'stall'; readonly after?: 'request' | 'headers' }
  | { readonly kind: 'drop'; readonly when: 'before-reading' | 'after-reading' }
  /** A 201 that says that the message failed at once. */
  | { readonly kind: 'refuse-inside'; readonly code: number }
  | { readonly kind: 'garbage' | 'html' | 'empty' | 'invalid-utf8' | 'redirect' | 'huge' | 'no-sid' };

/** One status callback. A list of them may repeat states or take them out of order, as the real ones do. */
export type TwilioStatusStep = {
  readonly status: string;
  readonly errorCode?: number;
  readonly delayMs?: number;
  /** How often it is posted: duplicates are normal. */
  readonly times?: number;
  /** Signed with another token. */
  readonly isForged?: boolean;
};

/** A request as the simulator saw it. */
export type TwilioRequest = {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly form: Readonly<Record<string, string>>;
};

export type TwilioMessage = {
  readonly sid: string;
  readonly to: string;
  readonly from: string | null;
  readonly messagingServiceSid: string | null;
  readonly body: string;
  readonly validityPeriod: number;
  readonly statusCallback: string | undefined;
  /** The last state that was reported. */
  status: string;
  errorCode: number | null;
};

/** A status callback that was posted, and the answer's status: 0 when nobody answered. */
export type TwilioCallback = { readonly sid: string; readonly status: string; readonly answer: number };

export type TwilioSimulatorOptions = {
  readonly accountSid?: string;
  readonly authToken?: string;
  readonly apiKey?: string;
  readonly apiSecret?: string;
  /** 0, the default, takes a free one. */
  readonly port?: number;
  readonly host?: string;
  /** What becomes of each message, unless `deliver` says otherwise. */
  readonly delivery?: readonly TwilioStatusStep[];
  /** How often a callback that got no 2xx is posted again. */
  readonly callbackRetries?: number;
  readonly accountStatus?: 'active' | 'suspended' | 'closed';
  readonly accountType?: 'Full' | 'Trial';
};

export type TwilioSimulator = {
  readonly url: string;
  readonly accountSid: string;
  readonly authToken: string;
  readonly requests: readonly TwilioRequest[];
  readonly messages: readonly TwilioMessage[];
  readonly callbacks: readonly TwilioCallback[];
  /** The next requests get these, in this order; later ones are treated well again. */
  behave(...behaviours: readonly TwilioBehaviour[]): void;
  /** What becomes of the next message. */
  deliver(...steps: readonly TwilioStatusStep[]): void;
  /** Resolves when the `count`-th request since the start has been read. */
  received(count: number): Promise<void>;
  /** Resolves when no status callback is under way any more. */
  settled(): Promise<void>;
  close(): Promise<void>;
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
const DEFAULT_VALIDITY_SECONDS = 36_000;
const testSid = (prefix: string) => prefix + '0'.repeat(32);

/**
 * A server that answers like `api.twilio.com`, for tests and for trying things out without an account.
 * Written against Twilio's documents, not against our own provider file: it has its own signature code.
 */
export async function startTwilioSimulator(options: TwilioSimulatorOptions = {}): Promise<TwilioSimulator> {
  const { accountSid = testSid('AC'), authToken = 'test-auth-token', callbackRetries = 0 } = options;
  const {
    apiKey = testSid('SK'),
    apiSecret = 'test-api-secret',
    accountStatus = 'active',
    accountType = 'Full',
  } = options;
  const standardDelivery = options.delivery ?? [{ status: 'sent' }, { status: 'delivered' }];
  const requests: TwilioRequest[] = [];
  const messages: TwilioMessage[] = [];
  const callbacks: TwilioCallback[] = [];
  const behaviours: TwilioBehaviour[] = [];
  const deliveries: (readonly TwilioStatusStep[])[] = [];
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  const underWay = new Set<Promise<void>>();
  const closing = new AbortController();
  const accountPath = `/2010-04-01/Accounts/${accountSid}`;

  const server = createServer((request, response) => {
    // A caller that leaves in the middle is part of the game; anything else should be seen.
    handle(request, response).catch((error: unknown) => {
      if (!request.destroyed && !response.destroyed) response.destroy(error instanceof Error ? error : undefined);
    });
  });

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const behaviour = behaviours.shift();
    if (behaviour?.kind === 'drop' && behaviour.when === 'before-reading') {
      request.socket.destroy();
      return;
    }
    const form = Object.fromEntries(new URLSearchParams(await readText(request)));
    const path = (request.url ?? '/').replace(/\?.*$/s, '');
    requests.push({ method: request.method ?? '', path, headers: request.headers, form });
    for (const waiter of waiting) if (requests.length >= waiter.count) waiter.resolve();

    if (behaviour?.kind === 'refuse') {
      const { retryAfterSeconds } = behaviour;
      if (retryAfterSeconds !== undefined) response.setHeader('Retry-After', String(retryAfterSeconds));
      refuse(response, behaviour.status, behaviour.code, behaviour.message, behaviour.shape);
      return;
    }
    if (behaviour?.kind === 'reply') {
      response.writeHead(behaviour.status, { 'Content-Type': behaviour.type ?? 'application/json' });
      response.end(behaviour.body);
      return;
    }
    const login = authenticate(request);
    if (login === undefined) {
      response.setHeader('WWW-Authenticate', 'Basic realm="Twilio API"');
      refuse(response, 401, 20003, 'Authenticate');
      return;
    }
    const answer = answerTo(request.method ?? '', path, form, login);
    if (answer.refusal !== undefined) refuse(response, answer.status, answer.refusal, answer.message);
    else await reply(request, response, behaviour, answer.status, answer.body);
  }

  function authenticate(request: IncomingMessage): 'token' | 'key' | undefined {
    const [scheme, credentials = ''] = (request.headers.authorization ?? '').split(' ');
    const login = scheme?.toLowerCase() === 'basic' ? Buffer.from(credentials, 'base64').toString() : '';
    if (login === `${accountSid}:${authToken}`) return 'token';
    return login === `${apiKey}:${apiSecret}` ? 'key' : undefined;
  }

  type Answer = { status: number; body?: Record<string, unknown>; refusal?: number; message?: string };

  function answerTo(method: string, path: string, form: Record<string, string>, login: 'token' | 'key'): Answer {
    if (method === 'POST' && path === `${accountPath}/Messages.json`) return takeMessage(form);
    if (method === 'GET' && path === `${accountPath}.json`) {
      // Only a Main key may see the account (https://www.twilio.com/docs/iam/api-keys, read 2026-11-20); ours is a Standard one.
      if (login === 'key') return { status: 401, refusal: 20003, message: 'Authenticate' };
      return { status: 200, body: accountBody(accountSid, accountStatus, accountType) };
    }
    if (method === 'GET' && path === `${accountPath}/Balance.json`) {
      return { status: 200, body: { account_sid: accountSid, balance: '12.30', currency: 'USD' } };
    }
    const message = messages.find(({ sid }) => path === `${accountPath}/Messages/${sid}.json`);
    if (method === 'GET' && message !== undefined) return { status: 200, body: messageBody(message, accountSid) };
    return { status: 404, refusal: 20404, message: `The requested resource ${path} was not found` };
  }

  function takeMessage(form: Record<string, string>): Answer {
    const fault = messageFault(form);
    // A full queue is the one refusal of a message that is about time.
    if (fault !== undefined)
      return { status: fault.code === 21611 ? 429 : 400, refusal: fault.code, message: fault.message };
    const service = form['MessagingServiceSid'] ?? null;
    const message: TwilioMessage = {
      sid: `SM${randomBytes(16).toString('hex')}`,
      to: form['To'] ?? '',
      from: form['From'] ?? null,
      messagingServiceSid: service,
      body: form['Body'] ?? '',
      validityPeriod: Number(form['ValidityPeriod'] ?? DEFAULT_VALIDITY_SECONDS),
      statusCallback: form['StatusCallback'],
      status: service === null ? 'queued' : 'accepted',
      errorCode: null,
    };
    messages.push(message);
    const body = messageBody(message, accountSid);
    const steps = deliveries.shift() ?? standardDelivery;
    const work = playDelivery(message, steps).finally(() => underWay.delete(work));
    underWay.add(work);
    return { status: 201, body };
  }

  async function playDelivery(message: TwilioMessage, steps: readonly TwilioStatusStep[]): Promise<void> {
    for (const step of steps) {
      await pause(step.delayMs ?? 0, closing.signal);
      if (closing.signal.aborted) return;
      message.status = step.status;
      message.errorCode = step.errorCode ?? null;
      for (let time = 0; time < (step.times ?? 1); time += 1) await postCallback(message, step);
    }
  }

  /** As Twilio: the same body, signature and `I-Twilio-Idempotency-Token` again until somebody answers with a 2xx. */
  async function postCallback(message: TwilioMessage, step: TwilioStatusStep): Promise<void> {
    if (message.statusCallback === undefined) return;
    const fields = twilioStatusFields(message.sid, step.status, { accountSid, message, errorCode: step.errorCode });
    const report = signTwilioReport(message.statusCallback, fields, step.isForged ? `not-${authToken}` : authToken);
    const headers = { ...report.headers, 'i-twilio-idempotency-token': randomBytes(16).toString('hex') };
    for (let attempt = 0; attempt <= callbackRetries && !closing.signal.aborted; attempt += 1) {
      const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(15_000)]);
      const answer = await fetch(report.url, {
        method: 'POST',
        headers,
        body: report.rawBody,
        redirect: 'manual',
        signal,
      })
        .then(async (response) => {
          await response.arrayBuffer();
          return response.status;
        })
        .catch(() => 0);
      callbacks.push({ sid: message.sid, status: step.status, answer });
      if (answer >= 200 && answer <= 299) return;
    }
  }

  async function reply(
    request: IncomingMessage,
    response: ServerResponse,
    behaviour: Exclude<TwilioBehaviour, { kind: 'refuse' | 'reply' }> | undefined,
    status: number,
    body: Record<string, unknown> = {},
  ): Promise<void> {
    const send = (content: string | Uint8Array, type = 'application/json') => {
      response.writeHead(status, { 'Content-Type': type, 'Twilio-Concurrent-Requests': '1' });
      response.end(content);
    };
    const json = JSON.stringify(body);
    switch (behaviour?.kind) {
      case undefined:
        return send(json);
      case 'delay':
        await pause(behaviour.delayMs, closing.signal);
        return send(json);
      case 'stall':
        if (behaviour.after === 'headers') {
          response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(json) });
          response.write(json.slice(0, 10));
        }
        return;
      case 'drop':
        request.socket.destroy();
        return;
      case 'refuse-inside':
        return send(JSON.stringify({ ...body, status: 'failed', error_code: behaviour.code, error_message: 'Failed' }));
      case 'garbage':
        return send('{"sid":"SM');
      case 'html':
        return send('<!doctype html><title>Bad gateway</title>', 'text/html');
      case 'empty':
        return send('');
      case 'invalid-utf8':
        return send(Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d));
      case 'redirect':
        response.writeHead(302, { Location: request.url ?? '/' });
        response.end();
        return;
      case 'huge':
        return send(JSON.stringify({ ...body, padding: 'x'.repeat(10_000_000) }));
      case 'no-sid':
        return send(JSON.stringify({ ...body, sid: null }));
    }
  }

  server.listen(options.port ?? 0, options.host ?? '127.0.0.1');
  await once(server, 'listening');
  const { address, port } = server.address() as AddressInfo;

  return {
    url: `http://${address}:${port}`,
    accountSid,
    authToken,
    requests,
    messages,
    callbacks,
    behave: (...next) => void behaviours.push(...next),
    deliver: (...steps) => void deliveries.push(steps),
    received: (count) =>
      new Promise((resolve) => {
        if (requests.length >= count) resolve();
        else waiting.push({ count, resolve });
      }),
    settled: async () => {
      while (underWay.size > 0) await Promise.all(underWay);
    },
    close: async () => {
      closing.abort();
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await Promise.all([closed, ...underWay]);
    },
  };
}

/** The first thing that Twilio would refuse in a message, in the order in which it looks. */
function messageFault(form: Readonly<Record<string, string>>): { code: number; message: string } | undefined {
  const { To = '', From = '', MessagingServiceSid = '', Body = '', StatusCallback, ValidityPeriod } = form;
  const fault = (code: number, message: string) => ({ code, message });
  if (To === '') return fault(21604, "A 'To' phone number is required.");
  if (From === '' && MessagingServiceSid === '') return fault(21603, "A 'From' phone number is required.");
  const hasOther = ['ContentSid', 'MediaUrl'].some((name) => form[name] !== undefined);
  if (Body === '' && !hasOther) return fault(21602, 'Message body is required.');
  if (Body.length > MAX_BODY_CHARS)
    return fault(21617, 'The concatenated message body exceeds the 1600 character limit');
  if (MessagingServiceSid !== '' && !/^MG[0-9a-f]{32}$/i.test(MessagingServiceSid)) {
    return fault(21701, `The Messaging Service ${MessagingServiceSid} does not exist`);
  }
  const senderCode = refusedSenders.get(From);
  if (senderCode !== undefined) return fault(senderCode, `The 'From' number ${From} is refused`);
  const recipientCode = refusedRecipients.get(To);
  if (recipientCode !== undefined) return fault(recipientCode, `The 'To' number ${To} is refused`);
  if (!/^\+[1-9]\d{6,14}$/.test(To)) return fault(21211, `Invalid 'To' Phone Number: ${To}`);
  if (StatusCallback !== undefined && !URL.canParse(StatusCallback)) {
    return fault(21609, `The 'StatusCallback' URL ${StatusCallback} is not a valid URL.`);
  }
  const seconds = Number(ValidityPeriod ?? DEFAULT_VALIDITY_SECONDS);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > DEFAULT_VALIDITY_SECONDS) {
    return fault(20001, `Invalid ValidityPeriod ${ValidityPeriod}`);
  }
  return undefined;
}

function refuse(
  response: ServerResponse,
  status: number,
  code: number,
  message = 'Refused',
  shape: 'classic' | 'problem' = 'classic',
): void {
  const page = `https://www.twilio.com/docs/errors/${code}`;
  const body =
    shape === 'classic'
      ? { code, message, more_info: page, status }
      : { type: page, title: message, status, code, detail: message, instance: '/2010-04-01/Messages', errors: [] };
  response.writeHead(status, { 'Content-Type': shape === 'classic' ? 'application/json' : 'application/problem+json' });
  response.end(JSON.stringify(body));
}

/** Source: https://www.twilio.com/docs/messaging/api/message-resource (read 2026-11-20). */
function messageBody(message: TwilioMessage, accountSid: string): Record<string, unknown> {
  const uri = `/2010-04-01/Accounts/${accountSid}/Messages/${message.sid}`;
  const now = new Date().toUTCString().replace('GMT', '+0000');
  return {
    sid: message.sid,
    account_sid: accountSid,
    api_version: '2010-04-01',
    to: message.to,
    from: message.from,
    messaging_service_sid: message.messagingServiceSid,
    body: message.body,
    status: message.status,
    direction: 'outbound-api',
    num_segments: message.messagingServiceSid === null ? String(countSegments(message.body)) : '0',
    num_media: '0',
    price: null,
    price_unit: 'USD',
    error_code: message.errorCode,
    error_message: null,
    date_created: now,
    date_updated: now,
    date_sent: null,
    uri: `${uri}.json`,
    subresource_uris: { media: `${uri}/Media.json` },
  };
}

/** Near enough for a simulator: every ASCII text counts as GSM-7, every other as UCS-2. */
function countSegments(text: string): number {
  const isAscii = [...text].every((character) => character <= '\u007f');
  const [single, joined] = isAscii ? [160, 153] : [70, 67];
  return text.length <= single ? 1 : Math.ceil(text.length / joined);
}

/** Source: https://www.twilio.com/docs/iam/api/account (read 2026-11-20). */
function accountBody(sid: string, status: string, type: string): Record<string, unknown> {
  return {
    sid,
    friendly_name: 'Simulated account',
    status,
    type,
    owner_account_sid: sid,
    date_created: 'Thu, 24 Aug 2023 05:01:45 +0000',
    date_updated: 'Thu, 24 Aug 2023 05:01:45 +0000',
    uri: `/2010-04-01/Accounts/${sid}.json`,
  };
}

/** The form fields of a status callback. Source: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status (read 2026-11-20). */
export function twilioStatusFields(
  sid: string,
  status: string,
  more: {
    readonly accountSid?: string;
    readonly errorCode?: number | undefined;
    readonly message?: TwilioMessage;
  } = {},
): Record<string, string> {
  const { message, errorCode } = more;
  return {
    MessageSid: sid,
    SmsSid: sid,
    MessageStatus: status,
    SmsStatus: status,
    To: message?.to ?? '+998901234567',
    ...(message?.from === null ? {} : { From: message?.from ?? '+15005550006' }),
    ...(typeof message?.messagingServiceSid === 'string' ? { MessagingServiceSid: message.messagingServiceSid } : {}),
    AccountSid: more.accountSid ?? testSid('AC'),
    ApiVersion: '2010-04-01',
    ...(errorCode === undefined ? {} : { ErrorCode: String(errorCode), ErrorMessage: 'Not delivered' }),
  };
}

/** A webhook as Twilio posts it. */
export type SignedTwilioReport = {
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
  authToken: string,
): SignedTwilioReport {
  const names = Object.keys(fields).sort();
  const data = names.reduce((text, name) => `${text}${name}${fields[name]}`, url);
  return {
    url,
    headers: { 'content-type': 'application/x-www-form-urlencoded', 'x-twilio-signature': sign(authToken, data) },
    rawBody: new TextEncoder().encode(new URLSearchParams(fields).toString()),
  };
}

/** The same for a JSON body: the address carries the body's hash, and the signature covers the address. */
export function signTwilioJsonReport(url: string, body: unknown, authToken: string): SignedTwilioReport {
  const rawBody = new TextEncoder().encode(JSON.stringify(body));
  const hash = createHash('sha256').update(rawBody).digest('hex');
  const signedUrl = `${url}${url.includes('?') ? '&' : '?'}bodySHA256=${hash}`;
  return {
    url: signedUrl,
    headers: { 'content-type': 'application/json', 'x-twilio-signature': sign(authToken, signedUrl) },
    rawBody,
  };
}

function sign(authToken: string, data: string): string {
  return createHmac('sha1', authToken).update(data, 'utf8').digest('base64');
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, signal.aborted ? 0 : ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
  });
}
