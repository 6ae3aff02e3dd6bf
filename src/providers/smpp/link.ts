import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Pdu, PduFields, SmppLibrary } from './library.ts';

export type SmppLinkOptions = {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
  readonly systemId: string;
  readonly password: string;
  readonly systemType: string;
  /** How many requests may wait for their answer at once. */
  readonly windowSize: number;
  readonly enquireLinkMs: number;
  /** Called for each `deliver_sm`, which has been answered by then. */
  readonly onDeliver: (pdu: Pdu) => void;
};

/** What became of a request; as with HTTP, `unavailable` when surely nothing was sent. */
export type SmppAnswer =
  | { readonly kind: 'answer'; readonly pdu: Pdu }
  | { readonly kind: 'refused-bind'; readonly status: number }
  | { readonly kind: 'silence'; readonly reason: 'unavailable' | 'uncertain'; readonly code: string };

/** A connection to a message centre that is bound as long as it can be. None of its methods rejects. */
export interface SmppLink {
  /** Waits for a bind that is under way and for a place in the window, then for the answer; all within the signal. */
  request(command: string, fields: PduFields, signal: AbortSignal): Promise<SmppAnswer>;
  /** Unbinds; nothing is sent afterwards. */
  close(): Promise<void>;
}

/** Sends do not wait longer for a bind: there may be another provider. */
const BIND_WAIT_MS = 2000;
/** For connection, TLS and bind together. */
const BIND_DEADLINE_MS = 10_000;
/** An answer that takes longer does not come: its place in the window is given to others. */
const ANSWER_DEADLINE_MS = 30_000;
const UNBIND_DEADLINE_MS = 1000;
const FIRST_BACKOFF_MS = 1000;
const LONGEST_BACKOFF_MS = 30_000;
/** Message centres lock accounts that try wrong credentials again and again. */
const CREDENTIALS_BACKOFF_MS = 60_000;
/** ESME_RBINDFAIL, ESME_RINVPASWD, ESME_RINVSYSID and ESME_RINVSYSTYP. SMPP 3.4, section 5.1.3. */
const wrongCredentials: readonly number[] = [0x0d, 0x0e, 0x0f, 0x53];
/** A session that lived so long was a good one, though nothing was asked in it. */
const STABLE_MS = 10_000;
const LENGTH_OCTETS = 4;
const HEADER_OCTETS = 16;
const SMPP_3_4 = 0x34;
/** ESME_RINVCMDLEN, ESME_RINVCMDID and ESME_RINVBNDSTS. SMPP 3.4, section 5.1.3. */
const INVALID_COMMAND_LENGTH = 0x02;
const INVALID_COMMAND_ID = 0x03;
const INVALID_BIND_STATUS = 0x04;

type Bind = { readonly kind: 'bound' } | Exclude<SmppAnswer, { kind: 'answer' }>;

/** Connects at once, and again whenever the connection is lost. Returns before it is bound. */
export function openSmppLink(library: SmppLibrary, options: SmppLinkOptions, now: () => number): SmppLink {
  let failures = 0;
  let isClosed = false;
  let timer: NodeJS.Timeout | undefined;
  let inFlight = 0;
  const waiting = new Set<() => void>();
  let session: Session;
  let isBound = false;
  let binding: Promise<Bind> = bind();

  async function bind(): Promise<Bind> {
    const opened = openSession(library, options);
    session = opened;
    const openedAt = now();
    const { systemId: system_id, password, systemType: system_type } = options;
    const credentials = { system_id, password, system_type, interface_version: SMPP_3_4 };
    const answer = await opened.request('bind_transceiver', credentials, AbortSignal.timeout(BIND_DEADLINE_MS));
    if (answer.kind === 'answer' && answer.pdu.command_status === 0 && opened.isOpen()) {
      isBound = true;
      void opened.ended.then(() => reconnect(opened.hasWorked() || now() - openedAt > STABLE_MS));
      return { kind: 'bound' };
    }
    opened.destroy();
    if (answer.kind === 'answer' && answer.pdu.command_status !== 0) {
      const status = answer.pdu.command_status;
      reconnect(false, wrongCredentials.includes(status) ? CREDENTIALS_BACKOFF_MS : 0);
      return { kind: 'refused-bind', status };
    }
    reconnect(false);
    // Whatever became of the bind, no message was sent.
    return unavailable(answer.kind === 'silence' ? answer.code : 'not-bound');
  }

  /** At once the first time: most connections are lost because somebody restarted something. */
  function reconnect(hasWorked: boolean, leastMs = 0): void {
    isBound = false;
    if (isClosed) return;
    if (hasWorked) failures = 0;
    const backoffMs = failures === 0 ? 0 : Math.min(FIRST_BACKOFF_MS * 2 ** (failures - 1), LONGEST_BACKOFF_MS);
    failures += 1;
    const rebind = () => {
      binding = bind();
    };
    const waitMs = Math.max(backoffMs, leastMs);
    if (waitMs === 0) rebind();
    else timer = setTimeout(rebind, waitMs).unref();
  }

  /** Undefined when a place in the window is taken; it has to be given back. */
  async function takePlace(signal: AbortSignal): Promise<SmppAnswer | undefined> {
    if (inFlight < options.windowSize) {
      inFlight += 1;
      return undefined;
    }
    let give: () => void = () => {};
    const place = new Promise<undefined>((resolve) => {
      give = () => resolve(undefined);
    });
    waiting.add(give);
    const taken = await orSilence(place, signal);
    // Left before its turn came: otherwise the place would go to nobody.
    if (taken !== undefined && !waiting.delete(give)) leavePlace();
    return taken;
  }

  function leavePlace(): void {
    const [next] = waiting;
    if (next === undefined) {
      inFlight -= 1;
      return;
    }
    waiting.delete(next);
    next();
  }

  return {
    async request(command, fields, signal) {
      if (signal.aborted) return unavailable(abortCode(signal));
      if (isClosed) return unavailable('closed');
      if (!isBound) {
        const bound = await orSilence(binding, AbortSignal.any([signal, AbortSignal.timeout(BIND_WAIT_MS)]));
        if (bound.kind !== 'bound') return bound;
      }
      const noPlace = await takePlace(signal);
      if (noPlace !== undefined) return noPlace;
      if (!isBound) {
        leavePlace();
        return unavailable('not-bound');
      }
      const late = AbortSignal.timeout(ANSWER_DEADLINE_MS);
      // The place is held until the answer comes, though whoever asked may have left: that is what the window counts.
      const answer = session.request(command, fields, late).finally(leavePlace);
      return orSilence(answer, signal, 'uncertain');
    },

    async close() {
      isClosed = true;
      clearTimeout(timer);
      if (isBound) await session.request('unbind', {}, AbortSignal.timeout(UNBIND_DEADLINE_MS));
      session.destroy();
    },
  };
}

/** One connection, from its beginning to its end. */
type Session = {
  request(command: string, fields: PduFields, signal: AbortSignal): Promise<SmppAnswer>;
  isOpen(): boolean;
  /** Something was asked after the bind, and answered. */
  hasWorked(): boolean;
  readonly ended: Promise<void>;
  destroy(): void;
};

/**
 * Of the library only the reading and writing of packets is used. Its own connection never calls back whoever waits when
 * the other side is gone, takes the rest of a broken-off packet for a whole one, and stays deaf after one that is broken.
 */
function openSession({ PDU }: SmppLibrary, options: SmppLinkOptions): Session {
  const { host, port, isTls, onDeliver } = options;
  const socket: Socket = isTls ? connectTls({ host, port }) : connectTcp({ host, port });
  const answers = new Map<number, (answer: SmppAnswer) => void>();
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  let sequence = 0;
  let answered = 0;
  let isConnected = false;
  let isOpen = true;
  let whyClosed = 'closed';
  let isEnquiring = false;
  let buffered = Buffer.alloc(0);

  const keepAlive = setInterval(() => {
    if (isEnquiring) return finish('no-answer');
    isEnquiring = true;
    void request('enquire_link', {}, AbortSignal.timeout(ANSWER_DEADLINE_MS)).then((answer) => {
      if (answer.kind === 'answer') isEnquiring = false;
    });
  }, options.enquireLinkMs).unref();

  socket.setNoDelay(true);
  socket.once(isTls ? 'secureConnect' : 'connect', () => {
    isConnected = true;
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (/^[A-Z][A-Z0-9_]{2,40}$/.test(error.code ?? '')) whyClosed = String(error.code);
  });
  socket.once('close', () => finish(whyClosed));
  socket.on('data', (chunk: Buffer) => {
    buffered = Buffer.concat([buffered, chunk]);
    while (isOpen && buffered.length >= LENGTH_OCTETS) {
      const length = buffered.readUInt32BE(0);
      // What speaks another protocol begins with letters, and letters are millions of octets.
      if (length < HEADER_OCTETS || length > PDU.maxLength) return finish('unreadable');
      if (buffered.length < length) return;
      const whole = Buffer.from(buffered.subarray(0, length));
      buffered = buffered.subarray(length);
      take(whole);
    }
  });

  function take(whole: Buffer): void {
    let pdu: Pdu;
    try {
      pdu = new PDU(whole);
    } catch {
      // One packet that cannot be read says nothing of the others.
      const number = whole.readUInt32BE(12);
      const isRequest = whole.readUInt32BE(4) < 0x80000000;
      if (isRequest) write(nack(INVALID_COMMAND_LENGTH, number));
      else answers.get(number)?.({ kind: 'silence', reason: 'uncertain', code: 'unreadable' });
      return;
    }
    if (pdu.isResponse()) {
      answers.get(pdu.sequence_number)?.({ kind: 'answer', pdu });
      return;
    }
    if (pdu.command === 'deliver_sm' || pdu.command === 'enquire_link') write(pdu.response());
    else if (pdu.command === 'unbind') {
      write(pdu.response());
      finish('unbound');
    } else write(nack(INVALID_COMMAND_ID, pdu.sequence_number));
    if (pdu.command === 'deliver_sm') onDeliver(pdu);
  }

  function nack(command_status: number, sequence_number: number): Pdu {
    return new PDU('generic_nack', { command_status, sequence_number });
  }

  function write(pdu: Pdu): void {
    if (socket.writable) socket.write(pdu.toBuffer());
  }

  async function request(command: string, fields: PduFields, signal: AbortSignal): Promise<SmppAnswer> {
    if (!isOpen || !socket.writable) return unavailable('not-bound');
    sequence = (sequence % 0x7fffffff) + 1;
    const number = sequence;
    const answer = new Promise<SmppAnswer>((resolve) => {
      answers.set(number, resolve);
    });
    // Written even before the connection stands: the socket keeps it until then.
    write(new PDU(command, { ...fields, sequence_number: number }));
    const outcome = await orSilence(answer, signal, 'uncertain');
    answers.delete(number);
    if (outcome.kind !== 'answer') return outcome;
    answered += 1;
    if (outcome.pdu.command_status === INVALID_BIND_STATUS) finish('not-bound');
    return outcome;
  }

  function finish(why: string): void {
    if (!isOpen) return;
    isOpen = false;
    clearInterval(keepAlive);
    // Not before an `unbind_resp` has left.
    if (why === 'unbound') socket.destroySoon();
    else socket.destroy();
    const reason = isConnected ? 'uncertain' : 'unavailable';
    for (const settle of answers.values()) settle({ kind: 'silence', reason, code: why });
    end();
  }

  return {
    request,
    ended,
    isOpen: () => isOpen,
    hasWorked: () => answered > 1,
    destroy: () => finish('closed'),
  };
}

function unavailable(code: string): SmppAnswer & { kind: 'silence' } {
  return { kind: 'silence', reason: 'unavailable', code };
}

/** What the promise gives, or silence when the signal is first. */
async function orSilence<T>(
  promise: Promise<T>,
  signal: AbortSignal,
  reason: 'unavailable' | 'uncertain' = 'unavailable',
): Promise<T | (SmppAnswer & { kind: 'silence' })> {
  const { promise: aborted, resolve } = Promise.withResolvers<SmppAnswer & { kind: 'silence' }>();
  const leave = () => resolve({ kind: 'silence', reason, code: abortCode(signal) });
  if (signal.aborted) leave();
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}

function abortCode(signal: AbortSignal): string {
  return (signal.reason as Error | undefined)?.name === 'TimeoutError' ? 'timeout' : 'aborted';
}
