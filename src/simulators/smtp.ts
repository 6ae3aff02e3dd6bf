import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer, type SMTPServerSession } from 'smtp-server';
import {
  type Fault,
  type FaultName,
  pause,
  type SeenRequest,
  type SimulatedMessage,
  type Simulator,
  type SimulatorDefinition,
  type SimulatorOptions,
} from './simulator-kit.ts';

const USER = 'test-user';
const PASSWORD = 'test-smtp-password';

/** A real mail server that keeps what it gets. */
export const smtpSimulator: SimulatorDefinition = {
  id: 'smtp',
  environment: (url) => ({
    SMTP_HOST: '127.0.0.1',
    SMTP_USER: USER,
    SMTP_PASSWORD: PASSWORD,
    SMTP_FROM: 'Acme <codes@example.com>',
    SMTP_BASE_URL: url,
  }),
  start: startSmtpSimulator,
};

/** What greets instead of a mail server. */
const strangers: Partial<Record<FaultName, string | Uint8Array>> = {
  garbage: '{"id":"0\r\n',
  html: '<!doctype html><title>Bad gateway</title>\r\n',
  empty: '',
  'invalid-utf8': Uint8Array.of(0xff, 0xfe, 0x0d, 0x0a),
  huge: `${'x'.repeat(10_000_000)}\r\n`,
};

/** Refusals as common servers word them, and the command that gets them. */
const refusals: Partial<Record<FaultName, readonly ['AUTH' | 'RCPT TO' | 'DATA', status: number, words: string]>> = {
  credentials: ['AUTH', 535, '5.7.8 Error: authentication failed'],
  'bad-number': ['RCPT TO', 550, '5.1.1 No such user here'],
  throttle: ['RCPT TO', 450, '4.7.1 Too much mail, come again'],
  content: ['DATA', 554, '5.7.1 Looks like spam'],
  'server-error': ['DATA', 451, '4.3.0 Local error in processing'],
};

/**
 * A server by the library `smtp-server`. Faults are what they are over HTTP, at the step where SMTP has them; an `answer`
 * is a reply to the whole mail, and with status 0 its body stands as it is.
 */
async function startSmtpSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const requests: SeenRequest[] = [];
  const messages: SimulatedMessage[] = [];
  const faults: Fault[] = [];
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  const faultOf = new Map<string, Fault | undefined>();
  const closing = new AbortController();
  let always: Fault | undefined;

  /** One connection is one request: seen when its mail is there, when it is refused, or at its end. */
  function note(id: string, body: string): void {
    if (!faultOf.delete(id)) return;
    requests.push({
      method: 'SMTP',
      path: '',
      query: new URLSearchParams(),
      headers: {},
      body,
      form: {},
      json: undefined,
    });
    for (const waiter of waiting) if (requests.length >= waiter.count) waiter.resolve();
  }

  function socketOf({ id }: SMTPServerSession) {
    const connection = [...server.connections].find((each) => each.id === id);
    return connection?._socket;
  }

  /** Undefined where that command is treated well. */
  function refusalOf(session: SMTPServerSession, command: string): Error | undefined {
    const fault = faultOf.get(session.id);
    const refusal = typeof fault === 'string' ? refusals[fault] : undefined;
    if (refusal?.[0] !== command) return undefined;
    note(session.id, '');
    return Object.assign(new Error(refusal[2]), { responseCode: refusal[1] });
  }

  const server = new SMTPServer({
    authMethods: ['PLAIN', 'LOGIN'],
    allowInsecureAuth: true,
    hideSTARTTLS: true,
    disableReverseLookup: true,
    closeTimeout: 1,
    logger: false,
    onConnect(session, next) {
      const fault = faults.shift() ?? always;
      faultOf.set(session.id, fault);
      const greeting = typeof fault === 'string' ? strangers[fault] : undefined;
      if (fault === 'stall') note(session.id, '');
      else if (fault === 'drop-before-reading') socketOf(session)?.destroy();
      else if (greeting !== undefined) socketOf(session)?.end(greeting);
      else next();
    },
    onAuth({ username, password }, session, next) {
      const isRight = username === USER && password === PASSWORD;
      const refusal = isRight
        ? undefined
        : Object.assign(new Error('5.7.8 Error: authentication failed'), { responseCode: 535 });
      next(refusalOf(session, 'AUTH') ?? refusal, { user: username });
    },
    onRcptTo(_address, session, next) {
      next(refusalOf(session, 'RCPT TO'));
    },
    onData(stream, session, next) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => void take(session, Buffer.concat(chunks).toString('utf8'), next));
    },
    onClose: (session) => note(session.id, ''),
  });
  // A client that leaves in the middle is part of the game.
  server.on('error', () => {});

  async function take(
    session: SMTPServerSession,
    raw: string,
    next: (error?: Error | null, words?: string) => void,
  ): Promise<void> {
    const refusal = refusalOf(session, 'DATA');
    if (refusal !== undefined) return next(refusal);
    const fault = faultOf.get(session.id);
    const message = readMail(raw, session);
    messages.push(message);
    options.onMessage?.(message);
    note(session.id, raw);
    if (typeof fault === 'object' && fault.kind === 'answer') {
      const { status, body } = fault.answer;
      socketOf(session)?.write(status === 0 ? `${body}\r\n` : `${status} ${body}\r\n`);
      return;
    }
    if (typeof fault === 'object') await pause(fault.delayMs, closing.signal);
    if (fault === 'drop-after-reading') socketOf(session)?.destroy();
    else if (fault === 'stall-in-body') socketOf(session)?.write('250-2.0.0 Ok:\r\n');
    else next(null, '2.0.0 Ok: queued');
  }

  server.listen(options.port ?? 0, options.host ?? '127.0.0.1');
  await once(server.server, 'listening');
  const { address, port } = server.server.address() as AddressInfo;

  return {
    url: `smtp://${address}:${port}`,
    requests,
    messages,
    reports: [],
    behave: (...next) => void faults.push(...next),
    behaveAlways: (fault) => {
      always = fault;
    },
    // Nobody reports what became of a mail.
    deliver: () => {},
    settled: () => Promise.resolve(),
    received: (count) =>
      new Promise((resolve) => {
        if (requests.length >= count) resolve();
        else waiting.push({ count, resolve });
      }),
    close: () => {
      closing.abort();
      for (const { _socket } of server.connections) _socket?.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function readMail(raw: string, { id, envelope }: SMTPServerSession): SimulatedMessage {
  const { headers } = partOf(raw);
  return {
    id: headers.get('message-id') ?? id,
    to: envelope.rcptTo.map((recipient) => recipient.address).join(),
    text: contentOf(raw, 'text/plain').replaceAll('\r\n', '\n').trimEnd(),
    reportUrl: undefined,
    fields: {
      from: headers.get('from'),
      subject: decodedWords(headers.get('subject') ?? ''),
      html: contentOf(raw, 'text/html').trimEnd(),
      mailFrom: envelope.mailFrom === false ? '' : envelope.mailFrom.address,
    },
  };
}

/** RFC 5322, as far as a simulator needs it. */
function partOf(raw: string): { readonly headers: ReadonlyMap<string, string>; readonly body: string } {
  const end = raw.indexOf('\r\n\r\n');
  const lines = raw
    .slice(0, end)
    .replaceAll(/\r\n[ \t]+/g, ' ')
    .split('\r\n');
  const pairs = lines.map((line) => [line.replace(/:.*$/s, '').toLowerCase(), line.replace(/^[^:]*: ?/, '')] as const);
  return { headers: new Map(pairs), body: raw.slice(end + 4) };
}

/** The first part of that type, decoded (RFC 2045). */
function contentOf(raw: string, type: string): string {
  const { headers, body } = partOf(raw);
  const contentType = headers.get('content-type') ?? 'text/plain';
  const boundary = /boundary="?([^";]+)"?/.exec(contentType)?.[1];
  if (boundary !== undefined) {
    const parts = body.split(`--${boundary}`).slice(1, -1);
    return parts.map((part) => contentOf(part.replace(/^\r\n/, ''), type)).find((text) => text !== '') ?? '';
  }
  if (!contentType.startsWith(type)) return '';
  const encoding = headers.get('content-transfer-encoding')?.toLowerCase();
  if (encoding === 'base64') return Buffer.from(body, 'base64').toString('utf8');
  return encoding === 'quoted-printable' ? fromQuotedPrintable(body.replaceAll('=\r\n', '')) : body;
}

function fromQuotedPrintable(text: string): string {
  const bytes = text.replaceAll(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** RFC 2047 */
function decodedWords(header: string): string {
  const joined = header.replaceAll(/\?=\s+=\?/g, '?==?');
  return joined.replaceAll(/=\?utf-8\?([bq])\?([^?]*)\?=/gi, (_, way: string, text: string) =>
    way.toLowerCase() === 'b'
      ? Buffer.from(text, 'base64').toString('utf8')
      : fromQuotedPrintable(text.replaceAll('_', ' ')),
  );
}
