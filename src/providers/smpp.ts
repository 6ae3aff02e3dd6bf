import { createHash } from 'node:crypto';
import Type, { type Static } from 'typebox';
import { measureText } from '../domain/message-text.ts';
import type { FailureReason, ProbeOutcome } from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
import { loadSmpp, type Pdu, type PduFields, type SmppLibrary } from './smpp/library.ts';
import { openSmppLink, type SmppAnswer } from './smpp/link.ts';
import { openSmppReceipts } from './smpp/receipts.ts';

/**
 * What a message centre means by the `command_status` of its answer: SMPP 3.4, section 5.1.3, as carriers repeat it
 * (http://docs.aerialink.net/api/smpp/smpp-status-codes/, https://www.tops.com.pl/en/smscc/manual/errors/smpp.html, read
 * 2026-11-20); from 0x100 on SMPP 5.0 (general knowledge, not confirmed). 0x400 to 0x4FF are the carrier's own, and some carriers use the others in a way of
 * their own too: the setting `reasons` comes first.
 */
const statusReasons: ReadonlyMap<number, FailureReason> = new Map<number, FailureReason>([
  [0x04, 'unavailable'], // not bound (any more)
  [0x05, 'unavailable'], // already bound: the centre still holds the session from before a restart, or somebody else's
  [0x08, 'uncertain'], // system error
  [0x0b, 'coverage'], // destination: carriers use it for networks that they do not serve, too
  [0x0d, 'account'], // bind failed: often the caller's address is not allowed
  [0x0e, 'account'], // password
  [0x0f, 'account'], // system id
  [0x14, 'throttled'], // queue full
  [0x45, 'unavailable'], // submit failed
  [0x53, 'account'], // system type
  [0x58, 'throttled'],
  [0x64, 'unavailable'], // temporary
  [0xfe, 'unavailable'], // delivery failure
  [0xff, 'uncertain'], // unknown error
  [0x100, 'account'], // not authorised for the service
  [0x101, 'account'], // prohibited
  [0x102, 'unavailable'], // service unavailable
  [0x103, 'account'], // service denied
]);
// All others name a field that is not as it should be: sender, text, validity, a number that only the carrier explains.
const OTHER_STATUS: FailureReason = 'content';

const Reason = Type.Enum(['recipient', 'blocked', 'content', 'coverage', 'account', 'throttled', 'unavailable']);
const word = (pattern: string, description: string) => Type.Optional(Type.String({ pattern, description }));

const Settings = Type.Object(
  {
    host: word('^[\\w.:-]+$', 'the message centre; not encrypted'),
    port: Type.Optional(
      Type.Union([Type.Integer({ minimum: 1, maximum: 65_535 }), Type.String({ pattern: '^[0-9]{1,5}$' })], {
        description: '2775 unless told otherwise, 3550 with TLS',
      }),
    ),
    baseUrl: word(
      '^smpps?://[^/?#@\\s]+/?$',
      'smpp://host:port, or smpps://host:port with TLS, instead of host and port',
    ),
    // Section 5.2.1 and 5.2.2: 15 and 8 characters; carriers take longer passwords.
    systemId: Type.String({ pattern: '^[\\x21-\\x7e]{1,15}$', description: 'the name of the account' }),
    password: Type.String({ pattern: '^[\\x20-\\x7e]{1,64}$', secret: true }),
    systemType: word('^[\\x20-\\x7e]{0,12}$', 'only where the carrier asks for one'),
    from: word('^(\\+?[0-9]{3,15}|[\\x20-\\x7e]{1,11})$', 'the sender; what the carrier sets when absent'),
    sourceTon: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 6, description: 'type of the sender, else by its form' }),
    ),
    sourceNpi: Type.Optional(Type.Integer({ minimum: 0, maximum: 18 })),
    longTexts: Type.Optional(
      Type.Enum(['parts', 'payload'], { description: 'several messages that are joined, or one with message_payload' }),
    ),
    validity: Type.Optional(
      Type.Enum(['relative', 'absolute', 'none'], { description: 'how validity_period is written' }),
    ),
    receiptIds: Type.Optional(
      Type.Enum(['auto', 'same', 'decimal', 'hex'], { description: 'how receipts write the ids of submit_sm_resp' }),
    ),
    windowSize: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1000, description: 'submits that may wait for an answer; 10' }),
    ),
    enquireLinkSeconds: Type.Optional(Type.Integer({ minimum: 10, maximum: 300, description: '30' })),
    reasons: Type.Optional(Type.Record(Type.String({ pattern: '^0x[0-9A-Fa-f]{1,8}$' }), Reason)),
    receiptReasons: Type.Optional(Type.Record(Type.String({ pattern: '^[0-9A-Za-z]{1,8}$' }), Reason)),
  },
  { additionalProperties: false },
);
type SmppSettings = Static<typeof Settings>;

/** A carrier's message centre, by SMPP 3.4. */
export const smpp = defineProvider({
  id: 'smpp',
  kind: 'messaging',
  channels: ['sms'],
  settings: Settings,
  environment: {
    SMPP_HOST: 'host',
    SMPP_PORT: 'port',
    SMPP_BASE_URL: 'baseUrl',
    SMPP_SYSTEM_ID: 'systemId',
    SMPP_PASSWORD: 'password',
    SMPP_SYSTEM_TYPE: 'systemType',
    SMPP_FROM: 'from',
    SMPP_LONG_TEXTS: 'longTexts',
    SMPP_VALIDITY: 'validity',
    SMPP_RECEIPT_IDS: 'receiptIds',
  },
  faults: ({ host, port, baseUrl }) => {
    if (baseUrl !== undefined)
      return URL.canParse(baseUrl) ? [] : ['SMPP_BASE_URL must be smpp://host:port, with a port from 1 to 65535'];
    if (host === undefined) return ['SMPP_HOST or SMPP_BASE_URL is missing: where the message centre is'];
    const number = Number(port ?? PLAIN_PORT);
    return number >= 1 && number <= 65_535 ? [] : ['SMPP_PORT must be from 1 to 65535'];
  },
  create: async (settings, { now }) => {
    const library = await loadSmpp();
    const { systemId, password, systemType = '', windowSize = 10, enquireLinkSeconds = 30 } = settings;
    const receipts = openSmppReceipts(library, settings, now);
    const link = openSmppLink(
      library,
      {
        ...addressOf(settings),
        systemId,
        password,
        systemType,
        windowSize,
        enquireLinkMs: enquireLinkSeconds * 1000,
        onDeliver: (pdu) => receipts.take(pdu),
      },
      now,
    );
    const ownReasons = new Map(Object.entries(settings.reasons ?? {}).map(([key, reason]) => [Number(key), reason]));
    const reasonOf = (status: number) => ownReasons.get(status) ?? statusReasons.get(status) ?? OTHER_STATUS;

    /** Undefined for an answer that says yes. */
    function failureOf(answer: SmppAnswer): { reason: FailureReason; code: string } | undefined {
      if (answer.kind === 'silence') return answer;
      const status = answer.kind === 'answer' ? answer.pdu.command_status : answer.status;
      if (status === 0) return undefined;
      const reason = reasonOf(status);
      if (answer.kind === 'answer') return { reason, code: hexOf(status) };
      // A bind carries no message.
      return { reason: reason === 'uncertain' ? 'unavailable' : reason, code: `bind ${hexOf(status)}` };
    }

    return {
      async send(message, signal) {
        const { dataCoding, parts } = encodeSmppText(library, message.text, message.messageId, settings.longTexts);
        const to = message.to.slice(1);
        const common: PduFields = {
          ...senderOf(settings),
          dest_addr_ton: 1,
          dest_addr_npi: 1,
          destination_addr: to,
          validity_period: validityOf(settings.validity, message.validitySeconds, now()),
          registered_delivery: 1,
          data_coding: dataCoding,
        };
        const whole = receipts.expect(to, parts.length);
        let firstId: string | undefined;
        try {
          for (const part of parts) {
            const answer = await link.request('submit_sm', { ...common, ...part }, signal);
            const id = answer.kind === 'answer' ? idOf(answer.pdu) : undefined;
            const failure = failureOf(answer) ?? (id === undefined ? unreadable : undefined);
            // With a part of it on its way, the code may be in that part.
            if (failure !== undefined)
              return failed(firstId === undefined ? failure.reason : 'uncertain', failure.code);
            if (id !== undefined) whole.add(id);
            firstId ??= id;
          }
          return accepted(firstId ?? '', { segments: measureText(message.text).segments });
        } finally {
          whole.settle();
        }
      },

      onReport: receipts.onReport,

      async probe(signal): Promise<ProbeOutcome> {
        const answer = await link.request('enquire_link', {}, signal);
        const failure = failureOf(answer);
        if (failure === undefined) return { kind: 'ready', detail: 'bound' };
        const { reason, code } = failure;
        return { kind: 'failed', reason, code, fix: bindFixes.get(code) ?? silenceFix };
      },

      close: link.close,
    };
  },
});

const silenceFix =
  'The carrier does not answer as it should: check SMPP_HOST and SMPP_PORT, or SMPP_BASE_URL (smpps:// for TLS), the firewall and VPN between, and that the carrier allows the address of this machine.';
const credentialsFix =
  'The carrier refuses the bind: check SMPP_SYSTEM_ID and SMPP_PASSWORD, and that it allows the address of this machine.';
const bindFixes: ReadonlyMap<string, string> = new Map([
  ['bind 0x0D', credentialsFix],
  ['bind 0x0E', credentialsFix],
  ['bind 0x0F', credentialsFix],
  [
    'bind 0x05',
    'Somebody is bound with SMPP_SYSTEM_ID already, perhaps the running server: ask the carrier for more binds, or run the check while the server is stopped.',
  ],
  ['bind 0x53', 'The carrier wants another SMPP_SYSTEM_TYPE; it stands in its connection sheet.'],
]);

const PLAIN_PORT = 2775;
const TLS_PORT = 3550;

function addressOf({ host = '', port = PLAIN_PORT, baseUrl }: SmppSettings) {
  if (baseUrl === undefined) return { host, port: Number(port), isTls: false };
  const { protocol, hostname, port: given } = new URL(baseUrl);
  const isTls = protocol === 'smpps:';
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(given || (isTls ? TLS_PORT : PLAIN_PORT)), isTls };
}

/** Types of number and plan. Source: SMPP 3.4, sections 5.2.5 and 5.2.6. */
function senderOf({ from = '', sourceTon, sourceNpi }: SmppSettings): PduFields {
  const digits = /^\+?([0-9]+)$/.exec(from)?.[1];
  // Alphanumeric; a short code, which only its network knows; an international number.
  const [ton, npi] = from === '' ? [0, 0] : digits === undefined ? [5, 0] : digits.length <= 6 ? [3, 0] : [1, 1];
  return { source_addr_ton: sourceTon ?? ton, source_addr_npi: sourceNpi ?? npi, source_addr: digits ?? from };
}

/** Source: SMPP 3.4, section 7.1.1. */
function validityOf(form: SmppSettings['validity'], seconds: number, now: number): string {
  if (form === 'none') return '';
  if (form === 'absolute') {
    return `${new Date(now + seconds * 1000).toISOString().slice(2, 19).replace(/\D/g, '')}000+`;
  }
  // Hours, minutes and seconds: no code lives for a day.
  const time = new Date(Math.min(seconds, 86_399) * 1000).toISOString().slice(11, 19);
  return `000000${time.replace(/\D/g, '')}000R`;
}

const UDH_INDICATOR = 0x40;
/** Octets behind a header of six: 153 septets, which SMPP carries unpacked, or 67 UTF-16 units. 3GPP TS 23.040, 9.2.3.24.1. */
const JOINED_OCTETS = { 'GSM-7': 153, 'UCS-2': 134 } as const;

/** The fields that carry the text, for each `submit_sm` of it. */
export function encodeSmppText(
  library: SmppLibrary,
  text: string,
  messageId: string,
  longTexts: SmppSettings['longTexts'] = 'parts',
): { readonly dataCoding: number; readonly parts: readonly PduFields[] } {
  const { encoding, segments } = measureText(text);
  const isGsm = encoding === 'GSM-7';
  // We choose the coding: the library would try Latin-1 before UCS-2. Its GSM table has all that `measureText` lets through.
  const encode = (part: string) =>
    isGsm ? library.encodings.ASCII.encode(part) : Buffer.from(part, 'utf16le').swap16();
  const dataCoding = isGsm ? 0 : 8;
  if (segments === 1) return { dataCoding, parts: [{ short_message: encode(text) }] };
  if (longTexts === 'payload') {
    return { dataCoding, parts: [{ short_message: Buffer.alloc(0), message_payload: encode(text) }] };
  }
  const bodies: Buffer[] = [];
  let body = Buffer.alloc(0);
  for (const octets of Array.from(text, encode)) {
    if (body.length + octets.length > JOINED_OCTETS[encoding]) {
      bodies.push(body);
      body = Buffer.alloc(0);
    }
    body = Buffer.concat([body, octets]);
  }
  bodies.push(body);
  // The same for all parts of one message, and seldom that of the next one to the same telephone.
  const reference = createHash('sha256').update(messageId).digest()[0] ?? 0;
  const parts = bodies.map((octets, index) => ({
    esm_class: UDH_INDICATOR,
    short_message: Buffer.concat([Buffer.of(5, 0, 3, reference, bodies.length, index + 1), octets]),
  }));
  return { dataCoding, parts };
}

const unreadable: { reason: FailureReason; code: string } = { reason: 'uncertain', code: 'unreadable' };

function idOf({ message_id }: Pdu): string | undefined {
  return typeof message_id === 'string' && /^[\x21-\x7e]{1,64}$/.test(message_id) ? message_id : undefined;
}

function hexOf(status: number): string {
  return `0x${status.toString(16).toUpperCase().padStart(2, '0')}`;
}
