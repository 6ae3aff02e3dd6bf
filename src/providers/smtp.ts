import { Readable } from 'node:stream';
import MailComposer from 'nodemailer/lib/mail-composer';
import SMTPConnection from 'nodemailer/lib/smtp-connection';
import Type, { type Static } from 'typebox';
import type { FailureReason, OutgoingMessage, ProbeOutcome, SendOutcome } from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
import { fieldsOf } from '../provider-kit/http-client.ts';

/**
 * What a server's refusal means: the first row whose step and reply fit. A reply is a number and, mostly, a code of three
 * numbers behind it. Sources: https://www.rfc-editor.org/rfc/rfc5321#section-4.2 and
 * https://www.rfc-editor.org/rfc/rfc3463 (read 2026-11-20).
 */
const refusals: readonly (readonly [step: RegExp, reply: RegExp, reason: FailureReason])[] = [
  [/./, /^4\d\d[ -]4\.7\./, 'throttled'], // greylisting, too much mail from here
  [/./, /^4/, 'unavailable'],
  [/^(CONN|EHLO|HELO|STARTTLS|AUTH)/, /^5/, 'account'],
  [/./, /^53\d/, 'account'], // not logged in
  [/^MAIL FROM/, /^552/, 'content'], // too large
  [/^MAIL FROM/, /^5/, 'account'], // not from this sender
  [/^RCPT TO/, /^5\d\d[ -]5\.7\./, 'blocked'], // not to there, or not by us
  // No such mailbox. A code behind the number that is of something else takes precedence: 5.1.7 and 5.1.8 are the sender's.
  [/^RCPT TO/, /^55[013](?:[ -]5\.1\.(?:[0-6]|10)\b|(?![ -]\d\.\d))/, 'recipient'],
  [/^RCPT TO/, /^552/, 'unavailable'], // mailbox full
  [/^RCPT TO/, /^5/, 'blocked'],
  [/^DATA/, /^5/, 'content'],
];

/** Subjects without the code: mail servers write them into their logs. Of the languages that have a text of ours. */
const subjects: ReadonlyMap<string, string> = new Map([
  ['ar', 'رمز التحقق'],
  ['az', 'təsdiq kodu'],
  ['be', 'ваш код'],
  ['de', 'Ihr Code'],
  ['en', 'your code'],
  ['es', 'tu código'],
  ['fa', 'کد تأیید'],
  ['fr', 'votre code'],
  ['hi', 'आपका कोड'],
  ['it', 'il tuo codice'],
  ['ka', 'თქვენი კოდი'],
  ['kk', 'растау коды'],
  ['ko', '인증번호'],
  ['ky', 'ырастоо коду'],
  ['mn', 'таны код'],
  ['pl', 'kod weryfikacyjny'],
  ['pt', 'seu código'],
  ['ru', 'ваш код'],
  ['tg', 'коди тасдиқ'],
  ['tk', 'tassyklaýyş kody'],
  ['tr', 'onay kodunuz'],
  ['tt', 'раслау коды'],
  ['uk', 'ваш код'],
  ['ur', 'تصدیقی کوڈ'],
  ['uz', 'tasdiqlash kodi'],
  ['uz-cyrl', 'тасдиқлаш коди'],
  ['zh', '验证码'],
]);

/** A caller's signal comes first; these are for one without a deadline. */
const STEP_TIMEOUT_MS = 10_000;

const settingsSchema = Type.Object(
  {
    host: Type.String({ minLength: 1, description: 'mail server that takes our mail' }),
    port: Type.Optional(Type.String({ pattern: '^\\d{1,5}$', description: '587 unless told otherwise' })),
    user: Type.Optional(Type.String({ description: 'login, where the server wants one' })),
    password: Type.Optional(Type.String({ secret: true })),
    from: Type.String({ minLength: 3, description: 'sender: an address, or Name <address>' }),
    secure: Type.Optional(
      Type.Union([Type.Literal('starttls'), Type.Literal('tls'), Type.Literal('none')], {
        description: 'starttls unless told otherwise; tls, from the first byte, with port 465; none for a relay nearby',
      }),
    ),
    baseUrl: Type.Optional(Type.String({ description: 'smtp://host:port of a simulator, without TLS' })),
  },
  { additionalProperties: false },
);

type SmtpSettings = Static<typeof settingsSchema>;

/** Any mail server, for the channel `email`. */
export const smtp = defineProvider({
  id: 'smtp',
  kind: 'messaging',
  channels: ['email'],
  settings: settingsSchema,
  environment: {
    SMTP_HOST: 'host',
    SMTP_PORT: 'port',
    SMTP_USER: 'user',
    SMTP_PASSWORD: 'password',
    SMTP_FROM: 'from',
    SMTP_SECURE: 'secure',
    SMTP_BASE_URL: 'baseUrl',
  },
  faults: ({ user, password, from, baseUrl }) => [
    ...((user === undefined) === (password === undefined)
      ? []
      : ['SMTP_USER and SMTP_PASSWORD belong together: set both or neither']),
    ...(senderOf(from) === undefined
      ? ['SMTP_FROM must be an address, as codes@example.com or Acme <codes@example.com>']
      : []),
    ...(baseUrl === undefined || /^smtp:\/\/[^/:@]+:\d{1,5}\/?$/.test(baseUrl)
      ? []
      : ['SMTP_BASE_URL must be smtp://host:port, of a simulator']),
  ],
  create: (settings) => ({
    async send(message, signal) {
      const sender = senderOf(settings.from);
      if (message.email === undefined || sender === undefined) return failed('coverage', 'no-address');
      const id = `${message.messageId}@${sender.address.replace(/^.*@/, '')}`;
      const mail = await mailOf(message, message.email, sender, id);
      const envelope = { from: sender.address, to: [message.email], size: mail.length };
      const failure = await converse(
        settings,
        signal,
        (connection, content) => send(connection, envelope, content),
        mail,
      );
      return failure === undefined ? accepted(id) : readFailure(failure);
    },

    async probe(signal) {
      const failure = await converse(settings, signal, () => Promise.resolve());
      return failure === undefined ? { kind: 'ready' } : readProbe(failure);
    },
  }),
});

function senderOf(from: string): { readonly name: string; readonly address: string } | undefined {
  const match = /^(?:"?([^"<>\r\n]*?)"?\s*<)?([^\s<>@"]+@[^\s<>@"]+)>?$/.exec(from.trim());
  return match === null ? undefined : { name: match[1] ?? '', address: match[2] ?? '' };
}

function mailOf(
  { brand, text, code, locale }: OutgoingMessage,
  to: string,
  sender: { readonly name: string; readonly address: string },
  id: string,
): Promise<Buffer> {
  const tag = locale.toLowerCase();
  const word = subjects.get(tag) ?? subjects.get(tag.split('-')[0] ?? '') ?? subjects.get('en');
  const composer = new MailComposer({
    from: { name: sender.name || brand, address: sender.address },
    to: { name: '', address: to },
    subject: code === undefined ? brand : `${brand}: ${word}`,
    messageId: `<${id}>`,
    // No answers of machines, please (RFC 3834).
    headers: { 'Auto-Submitted': 'auto-generated' },
    text: `${text}\n`,
    html: htmlOf(text, code, locale),
    // A text is a text: nothing in it makes us read a file or fetch an address.
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return composer.compile().build();
}

function htmlOf(text: string, code: string | undefined, locale: string): string {
  const escaped = (part: string) =>
    part.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
  const [before = '', ...after] = code === undefined ? [text] : text.split(code);
  const strong = `<strong style="font-size:1.5em" dir="ltr">${escaped(code ?? '')}</strong>`;
  const rest = after.length === 0 ? '' : strong + escaped(after.join(code));
  const words = (escaped(before) + rest).replaceAll('\n', '<br>');
  return `<!doctype html><html lang="${escaped(locale)}"><body><p dir="auto">${words}</p></body></html>`;
}

// --- The conversation with the server

/** Why it broke off. `mayBeTaken`: the whole mail may have been there when it did. */
type Failure = {
  /** The server's reply, if that is what broke it off. Never to be logged: it may repeat the address. */
  readonly reply: string | undefined;
  /** the command that was answered or under way: `RCPT TO` */
  readonly step: string;
  /** short and safe to log */
  readonly code: string;
  readonly mayBeTaken: boolean;
};

/**
 * Connects, logs in, does `work`, and leaves. One connection for one mail: nobody sends so many codes by mail that it
 * would matter, and a connection that was kept may be gone when it is needed.
 * @param content is pulled only once the server has said that it will take the mail
 */
async function converse(
  settings: SmtpSettings,
  signal: AbortSignal,
  work: (connection: SMTPConnection, content: Readable) => Promise<void>,
  content: Uint8Array = new Uint8Array(),
): Promise<Failure | undefined> {
  let mayBeTaken = false;
  const body = Readable.from(
    (function* () {
      mayBeTaken = true;
      yield content;
    })(),
    { objectMode: false },
  );
  const failureOf = (error: unknown): Failure => ({ ...readError(error, signal), mayBeTaken });
  if (signal.aborted) return failureOf(undefined);
  const connection = new SMTPConnection({
    ...serverOf(settings),
    connectionTimeout: STEP_TIMEOUT_MS,
    greetingTimeout: STEP_TIMEOUT_MS,
    socketTimeout: STEP_TIMEOUT_MS,
    dnsTimeout: STEP_TIMEOUT_MS,
    // What is left behind after an abort is cut off, not said goodbye to.
    socketCloseTimeout: 0,
  });
  const { user, password: pass } = settings;
  const broken = Promise.withResolvers<never>();
  const leave = () => broken.reject(signal.reason);
  connection.on('error', (error: Error) => broken.reject(error));
  signal.addEventListener('abort', leave, { once: true });
  const talk = async () => {
    await step((done) => connection.connect(done));
    if (user !== undefined) await step((done) => connection.login({ user, pass }, done));
    await work(connection, body);
  };
  try {
    await Promise.race([talk(), broken.promise]);
    connection.quit();
    return undefined;
  } catch (error) {
    connection.close();
    return failureOf(error);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}

function serverOf({ host, port, secure, baseUrl }: SmtpSettings) {
  if (baseUrl !== undefined) {
    const url = new URL(baseUrl);
    return { host: url.hostname, port: Number(url.port), secure: false, ignoreTLS: true };
  }
  const way = secure ?? (port === '465' ? 'tls' : 'starttls');
  const standard = way === 'tls' ? 465 : way === 'none' ? 25 : 587;
  return {
    host,
    port: port === undefined ? standard : Number(port),
    secure: way === 'tls',
    // Required: else whoever sits in between takes the offer out, and reads password and code.
    requireTLS: way === 'starttls',
    ignoreTLS: way === 'none',
  };
}

function send(
  connection: SMTPConnection,
  envelope: { readonly from: string; readonly to: string[]; readonly size: number },
  content: Readable,
): Promise<void> {
  return step((done) => connection.send(envelope, content, done));
}

function step(run: (done: (error?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    run((error) => (error ? reject(error) : resolve()));
  });
}

function readError(error: unknown, signal: AbortSignal): Omit<Failure, 'mayBeTaken'> {
  if (signal.aborted) {
    const isTimeout = (signal.reason as Error | undefined)?.name === 'TimeoutError';
    return { reply: undefined, step: '', code: isTimeout ? 'timeout' : 'aborted' };
  }
  const { response, command, code, originalCode } = fieldsOf(error);
  const reply = typeof response === 'string' && /^[45]\d\d/.test(response) ? response : undefined;
  const word = [originalCode, code].find((each) => typeof each === 'string' && /^E?[A-Z][A-Z0-9_]{2,40}$/.test(each));
  return {
    reply,
    step: typeof command === 'string' ? command : '',
    code: codeOf(reply) ?? String(word ?? 'no-answer'),
  };
}

/** `550 5.1.1`, without what the server says besides. */
function codeOf(reply: string | undefined): string | undefined {
  return /^(\d{3})(?:[ -](\d\.\d{1,3}\.\d{1,3})\b)?/
    .exec(reply ?? '')
    ?.slice(1)
    .filter(Boolean)
    .join(' ');
}

function reasonOf({ reply, step: command, mayBeTaken }: Failure): FailureReason {
  // A refusal is a refusal, even of the whole mail: nothing was taken.
  if (reply === undefined) return mayBeTaken ? 'uncertain' : 'unavailable';
  return refusals.find(([step, words]) => step.test(command) && words.test(reply))?.[2] ?? 'unavailable';
}

function readFailure(failure: Failure): SendOutcome {
  return failed(reasonOf(failure), failure.code);
}

function readProbe(failure: Failure): ProbeOutcome {
  const { reply, code } = failure;
  const fix =
    reply?.startsWith('5') === true
      ? `The mail server refuses the login (${code}): check SMTP_USER and SMTP_PASSWORD. Large mail services want an app password instead of the one for people.`
      : code === 'ETLS' || /CERT|SSL|TLS|SIGNATURE|ISSUER/.test(code)
        ? 'No encrypted connection can be had: check SMTP_SECURE and SMTP_PORT (tls with 465, starttls with 587), and that SMTP_HOST is the name in the certificate of the server.'
        : code === 'EPROTOCOL'
          ? 'What answers is not a mail server: check SMTP_HOST and SMTP_PORT, and SMTP_SECURE=tls for port 465.'
          : `No mail server answers (${code}): check SMTP_HOST and SMTP_PORT, and whether this machine may reach them: many providers of servers close port 25, and some 465 and 587 too.`;
  return { kind: 'failed', reason: reasonOf(failure), code, fix };
}
