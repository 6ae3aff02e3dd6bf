import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { loadSmpp, type Pdu, type PduFields, type SmppSession } from '../providers/smpp/library.ts';
import {
  type DeliveryStep,
  type Fault,
  pause,
  type ReportLine,
  type SeenRequest,
  type SimulatedMessage,
  type Simulator,
  type SimulatorDefinition,
  type SimulatorOptions,
} from './simulator-kit.ts';

const SYSTEM_ID = 'countersign';
const PASSWORD = 'test-pwd';

/** The answers to `submit_sm` that take nothing. 0x401 is one of the carrier's own: out of credit. */
const refusals: Readonly<Partial<Record<string, number>>> = {
  'bad-number': 0x0b,
  throttle: 0x58,
  balance: 0x401,
  content: 0x0a,
};
const SYSTEM_ERROR = 0x08;
const NOT_BOUND = 0x04;
const WRONG_PASSWORD = 0x0e;
const RECEIPT = 0x04;
const NO_ANSWER = -1;
const states = ['SCHEDULED', 'ENROUTE', 'DELIVRD', 'EXPIRED', 'DELETED', 'UNDELIV', 'ACCEPTD', 'UNKNOWN', 'REJECTD'];

export type SmppSimulatorOptions = SimulatorOptions & {
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Receipts write in decimal digits the ids that `submit_sm_resp` wrote in hexadecimal ones. */
  readonly hasDecimalReceipts?: boolean;
  /** Receipts have their text or their TLVs alone; both unless told otherwise. */
  readonly receiptForm?: 'text' | 'tlv';
  /** Answers a bind with this `command_status`, whoever asks. */
  readonly bindStatus?: () => number;
  /** The first message's id; ids are counted up from it. */
  readonly firstId?: number;
};

/** A message centre, and what can be seen and done only there. */
export type SmppSimulator = Simulator & {
  /** connections that are bound now */
  boundCount(): number;
  /** how often somebody tried to bind, well or not */
  bindCount(): number;
  /** Resolves at the `count`-th bind since the start. */
  bound(count: number): Promise<void>;
  unboundCount(): number;
  /** Sends a packet of its own to all that are bound. */
  push(command: string, fields: PduFields): void;
  /** Octets as they are. */
  pushOctets(octets: Uint8Array): void;
  /** Cuts all connections. */
  cut(): void;
};

/** A message centre by SMPP 3.4, on TCP. Written against the specification, not against our provider file. */
export const smppSimulator: SimulatorDefinition = {
  id: 'smpp',
  environment: (url) => ({ SMPP_BASE_URL: url, SMPP_SYSTEM_ID: SYSTEM_ID, SMPP_PASSWORD: PASSWORD }),
  start: startSmppSimulator,
};

export async function startSmppSimulator(options: SmppSimulatorOptions = {}): Promise<SmppSimulator> {
  const { PDU, createServer } = await loadSmpp();
  const requests: SeenRequest[] = [];
  const messages: SimulatedMessage[] = [];
  const reports: ReportLine[] = [];
  const faults: Fault[] = [];
  const deliveries: (readonly DeliveryStep[])[] = [];
  const waiting: { readonly isDue: () => boolean; readonly resolve: () => void }[] = [];
  const underWay = new Set<Promise<void>>();
  const closing = new AbortController();
  const open = new Set<SmppSession>();
  const bound = new Set<SmppSession>();
  /** Receipts that wait for their `deliver_sm_resp`, by sequence number. */
  const unanswered = new Map<number, { readonly session: SmppSession; readonly resolve: (status: number) => void }>();
  const joined = new Map<string, string[]>();
  let always: Fault | undefined;
  let binds = 0;
  let unbinds = 0;
  let nextId = options.firstId ?? 0x1a2b01;
  let lastSequence = 0;

  const server = createServer(options.tls ?? {}, (session) => {
    open.add(session);
    session.socket.setNoDelay(true);
    session.on('error', () => session.destroy());
    session.on('close', () => {
      open.delete(session);
      bound.delete(session);
      for (const receipt of unanswered.values()) if (receipt.session === session) receipt.resolve(NO_ANSWER);
    });
    session.on('pdu', (pdu) => void answer(session, pdu));
  });

  async function answer(session: SmppSession, pdu: Pdu): Promise<void> {
    if (pdu.isResponse()) return unanswered.get(pdu.sequence_number)?.resolve(pdu.command_status);
    if (pdu.command === 'bind_transceiver') return bind(session, pdu);
    if (pdu.command === 'unbind') {
      unbinds += 1;
      session.send(pdu.response());
      return;
    }
    if (!bound.has(session)) return void session.send(pdu.response({ command_status: NOT_BOUND }));
    if (pdu.command !== 'submit_sm' && pdu.command !== 'enquire_link') return void session.send(pdu.response());
    const fault = faults.shift() ?? always;
    if (fault === 'drop-before-reading') return session.destroy();
    requests.push(seen(pdu));
    wake();
    const refusal = refusalOf(fault);
    if (refusal !== undefined) return void session.send(pdu.response({ command_status: refusal }));
    if (pdu.command === 'enquire_link') return reply(session, fault, pdu.response());
    const id = nextId.toString(16).toUpperCase();
    nextId += 1;
    await take(id, pdu);
    await reply(session, fault, pdu.response({ message_id: id }));
  }

  function bind(session: SmppSession, pdu: Pdu): void {
    binds += 1;
    const isKnown = pdu['system_id'] === SYSTEM_ID && pdu['password'] === PASSWORD;
    const status = options.bindStatus?.() ?? (isKnown ? 0 : WRONG_PASSWORD);
    if (status === 0) bound.add(session);
    session.send(pdu.response(status === 0 ? { system_id: 'SIMULATOR' } : { command_status: status }));
    wake();
  }

  async function take(id: string, pdu: Pdu): Promise<void> {
    const { destination_addr, registered_delivery, source_addr } = pdu;
    const to = `+${destination_addr}`;
    const text = wholeText(pdu);
    const message = { id, to, text: text ?? '', reportUrl: undefined, fields: { from: source_addr } };
    if (text !== undefined) {
      messages.push(message);
      options.onMessage?.(message);
    }
    if (registered_delivery !== 1) return;
    const steps = deliveries.shift() ?? options.delivery ?? [{ status: 'DELIVRD' }];
    for (const step of steps.filter(({ isEarly }) => isEarly === true)) await deliver(message, step);
    const work = play(
      message,
      steps.filter(({ isEarly }) => isEarly !== true),
    ).finally(() => underWay.delete(work));
    underWay.add(work);
  }

  /** Undefined until the last part of a long text has come. */
  function wholeText(pdu: Pdu): string | undefined {
    const { message = '', udh } = (pdu['message_payload'] ?? pdu['short_message']) as {
      message?: string;
      udh?: readonly Uint8Array[];
    };
    const [, , reference, count = 1, number = 1] = udh?.[0] ?? [];
    if (count === 1) return message;
    const key = `${pdu['destination_addr']} ${reference}`;
    const parts = joined.get(key) ?? [];
    parts[number - 1] = message;
    joined.set(key, parts);
    // `flat` leaves the holes out.
    if (parts.flat().length < count) return undefined;
    joined.delete(key);
    return parts.join('');
  }

  async function play(message: SimulatedMessage, steps: readonly DeliveryStep[]): Promise<void> {
    for (const step of steps) {
      await pause(step.delayMs ?? 0, closing.signal);
      for (let time = 0; time < (step.times ?? 1) && !closing.signal.aborted; time += 1) await deliver(message, step);
    }
  }

  /** Waits for the answer; a link that is down gets its receipt when it is bound again, as with real ones. */
  async function deliver({ id, to }: SimulatedMessage, { status, errorCode = '000' }: DeliveryStep): Promise<void> {
    while (bound.size === 0 && !closing.signal.aborted) await pause(5, closing.signal);
    const [session] = bound;
    if (session === undefined) return;
    const receiptId = options.hasDecimalReceipts === true ? String(Number.parseInt(id, 16)) : id;
    const text = `id:${receiptId} sub:001 dlvrd:001 submit date:2611201500 done date:2611201501 stat:${status} err:${errorCode} text:`;
    const hasText = options.receiptForm !== 'tlv';
    const hasTlvs = options.receiptForm !== 'text' && states.includes(status);
    lastSequence += 1;
    const number = lastSequence;
    const answered = new Promise<number>((resolve) => {
      unanswered.set(number, { session, resolve });
    });
    session.send(
      new PDU('deliver_sm', {
        sequence_number: number,
        source_addr_ton: 1,
        source_addr_npi: 1,
        source_addr: to.slice(1),
        esm_class: RECEIPT,
        data_coding: 0,
        short_message: Buffer.from(hasText ? text : '', 'ascii'),
        ...(hasTlvs ? { receipted_message_id: receiptId, message_state: states.indexOf(status) } : {}),
      }),
    );
    const answer = await answered;
    unanswered.delete(number);
    // As of other simulators: 200 for a good answer, 0 for none.
    reports.push({ id, status, answer: answer === 0 ? 200 : answer === NO_ANSWER ? 0 : 500 });
  }

  async function reply(session: SmppSession, fault: Fault | undefined, good: Pdu): Promise<void> {
    if (typeof fault === 'object' && fault.kind === 'delay') await pause(fault.delayMs, closing.signal);
    const { socket } = session;
    switch (fault) {
      case 'server-error':
        return void session.send(like(good, { command_status: SYSTEM_ERROR }));
      case 'garbage':
        return void socket.write('{"id":"0');
      case 'html':
        return void socket.write('<!doctype html><title>Bad gateway</title>');
      case 'huge':
        // The length of ten megabytes.
        return void socket.write(Buffer.concat([Buffer.of(0, 0x98, 0x96, 0x80), Buffer.alloc(60_000)]));
      case 'no-id':
        return void session.send(like(good, { message_id: '' }));
      case 'invalid-utf8':
        return void session.send(like(good, { message_id: Buffer.of(0xff, 0xfe, 0x22) }));
      case 'stall':
        return;
      case 'stall-in-body':
        return void socket.write(good.toBuffer().subarray(0, 18));
      case 'drop-after-reading':
        return session.destroy();
      default:
        session.send(good);
    }
  }

  function like({ command, sequence_number }: Pdu, fields: PduFields): Pdu {
    return new PDU(command, { sequence_number, ...fields });
  }

  function wake(): void {
    for (const { isDue, resolve } of waiting) if (isDue()) resolve();
  }

  function until(isDue: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      if (isDue()) resolve();
      else waiting.push({ isDue, resolve });
    });
  }

  server.listen(options.port ?? 0, options.host ?? '127.0.0.1');
  await once(server, 'listening');
  const { address, port } = server.address() as AddressInfo;

  return {
    url: `${options.tls === undefined ? 'smpp' : 'smpps'}://${address}:${port}`,
    requests,
    messages,
    reports,
    behave: (...next) => void faults.push(...next),
    behaveAlways: (fault) => {
      always = fault;
    },
    deliver: (...steps) => void deliveries.push(steps),
    received: (count) => until(() => requests.length >= count),
    settled: async () => {
      while (underWay.size > 0) await Promise.all(underWay);
    },
    boundCount: () => bound.size,
    bindCount: () => binds,
    bound: (count) => until(() => binds >= count),
    unboundCount: () => unbinds,
    push: (command, fields) => {
      for (const session of bound) session.send(new PDU(command, { sequence_number: ++lastSequence, ...fields }));
    },
    pushOctets: (octets) => {
      for (const session of bound) session.socket.write(octets);
    },
    cut: () => {
      for (const session of open) session.destroy();
    },
    close: async () => {
      closing.abort();
      const closed = once(server, 'close');
      server.close();
      for (const session of open) session.destroy();
      await Promise.all([closed, ...underWay]);
    },
  };
}

function refusalOf(fault: Fault | undefined): number | undefined {
  if (typeof fault === 'string') return refusals[fault];
  return fault?.kind === 'answer' ? fault.answer.status : undefined;
}

/** The packet's fields stand where a request has its JSON. */
function seen(pdu: Pdu): SeenRequest {
  const { message } = (pdu['short_message'] ?? {}) as { message?: string };
  return {
    method: pdu.command,
    path: '',
    query: new URLSearchParams(),
    headers: {},
    body: message ?? '',
    form: {},
    json: { ...pdu },
  };
}
