import type { DeliveryReport, DeliveryState, FailureReason } from '../../domain/provider.ts';
import type { Pdu, SmppLibrary } from './library.ts';

/** By the first letters of `stat`, as carriers shorten the words differently. Source: SMPP 3.4, appendix B. */
const receiptStates: ReadonlyMap<string, DeliveryState> = new Map<string, DeliveryState>([
  ['SCHED', 'queued'],
  ['ENROU', 'sent'],
  ['ACCEP', 'sent'],
  ['DELIV', 'delivered'],
  ['EXPIR', 'undelivered'],
  ['UNDEL', 'undelivered'],
  ['DELET', 'failed'],
  ['REJEC', 'failed'],
  ['SKIPP', 'failed'],
  ['FAILE', 'failed'],
]);
/** The TLV `message_state` counts them. Source: SMPP 3.4, section 5.2.28; 0 and 9 are of SMPP 5.0. */
const messageStates = 'SCHEDULED ENROUTE DELIVRD EXPIRED DELETED UNDELIV ACCEPTD UNKNOWN REJECTD SKIPPED'.split(' ');

type Receipt = {
  readonly id: string;
  readonly number: string;
  readonly stat: string;
  readonly error: string | undefined;
};
/** How ids of receipts become those of `submit_sm_resp`. */
const translations = {
  same: (id: string) => id,
  decimal: (id: string) => (/^[0-9]{1,20}$/.test(id) ? BigInt(id).toString(16) : undefined),
  hex: (id: string) => (/^[0-9a-fA-F]{1,16}$/.test(id) ? BigInt(`0x${id}`).toString() : undefined),
} as const;
type Translation = keyof typeof translations;

/** `decimal`: receipts have decimal ids where `submit_sm_resp` had hexadecimal ones; `hex`: the reverse. */
export type SmppReceiptOptions = {
  readonly receiptIds?: 'auto' | Translation;
  /** by the `err` of receipts */
  readonly receiptReasons?: Readonly<Record<string, FailureReason>>;
};

/** A message of one part or more: its reports are those of all parts together. */
type Submitted = {
  readonly number: string;
  readonly parts: number;
  readonly delivered: Set<string>;
  firstId: string | undefined;
  readonly expiresAt: number;
};

/** Receipts come within three days, which is how long networks try. */
const REMEMBERED_MS = 3 * 86_400_000;
const MOST_REMEMBERED = 50_000;
const MOST_UNHEARD = 1000;

/** Reads receipts, and finds out which message each is about. */
export function openSmppReceipts(library: SmppLibrary, options: SmppReceiptOptions, now: () => number) {
  const { receiptIds = 'auto' } = options;
  // Not looked up in the object itself: `err:valueOf` would find what every object has.
  const reasons = new Map(Object.entries(options.receiptReasons ?? {}));
  const submitted = new Map<string, Submitted>();
  const underWay = new Map<Submitted, Promise<void>>();
  const unheard: DeliveryReport[] = [];
  let listener: ((report: DeliveryReport) => void) | undefined;
  let learned: Translation = receiptIds === 'auto' ? 'same' : receiptIds;

  function find({ id, number }: Receipt): { readonly partId: string; readonly message: Submitted } | undefined {
    const tried: readonly Translation[] = receiptIds === 'auto' ? [learned, 'same', 'decimal', 'hex'] : [receiptIds];
    for (const translation of tried) {
      const plain = translations[translation](id);
      const message = plain === undefined ? undefined : submitted.get(keyOf(plain));
      // Read in the wrong notation an id may be another message's: the number tells them apart.
      if (plain === undefined || message === undefined || !isSameNumber(number, message.number)) continue;
      learned = translation;
      return { partId: keyOf(plain), message };
    }
    return undefined;
  }

  function reportOf(receipt: Receipt): DeliveryReport {
    const found = find(receipt);
    const state = receiptStates.get(receipt.stat.slice(0, 5).toUpperCase()) ?? 'unknown';
    // Of another process, or of before a restart.
    const providerMessageId = found?.message.firstId ?? translations[learned](receipt.id) ?? receipt.id;
    if (state === 'delivered' && found !== undefined) {
      found.message.delivered.add(found.partId);
      const isWhole = found.message.delivered.size === found.message.parts;
      return { providerMessageId, state: isWhole ? 'delivered' : 'sent' };
    }
    if (state !== 'failed' && state !== 'undelivered') return { providerMessageId, state };
    const { error, stat } = receipt;
    const byDefault: FailureReason = /^rejec/i.test(stat) ? 'blocked' : 'unavailable';
    const reason = reasons.get(error ?? '') ?? byDefault;
    return { providerMessageId, state, reason, code: error === undefined ? stat : `${stat} ${error}` };
  }

  async function report(receipt: Receipt): Promise<void> {
    // It may be faster than the answer that says which message this is.
    const early = [...underWay].filter(([{ number }]) => isSameNumber(receipt.number, number));
    if (find(receipt) === undefined) await Promise.all(early.map(([, settled]) => settled));
    const read = reportOf(receipt);
    if (listener !== undefined) listener(read);
    else if (unheard.length < MOST_UNHEARD) unheard.push(read);
  }

  return {
    take(pdu: Pdu): void {
      const receipt = readReceipt(library, pdu);
      if (receipt !== undefined) void report(receipt);
    },

    onReport(next: (report: DeliveryReport) => void): void {
      listener = next;
      for (const report of unheard.splice(0)) next(report);
    },

    /** A message of which receipts may come from now on. */
    expect(number: string, parts: number) {
      const message: Submitted = {
        number,
        parts,
        delivered: new Set(),
        firstId: undefined,
        expiresAt: now() + REMEMBERED_MS,
      };
      const { promise, resolve } = Promise.withResolvers<void>();
      underWay.set(message, promise);
      return {
        add(id: string): void {
          message.firstId ??= id;
          submitted.set(keyOf(id), message);
          for (const [oldest, { expiresAt }] of submitted) {
            if (expiresAt > now() && submitted.size <= MOST_REMEMBERED) break;
            submitted.delete(oldest);
          }
        },
        settle(): void {
          underWay.delete(message);
          resolve();
        },
      };
    },
  };
}

/** Some centres leave the calling code out, or the number altogether. */
function isSameNumber(given: string, ours: string): boolean {
  return given === '' || given.slice(-7) === ours.slice(-7);
}

/** Leading zeros and the case of hexadecimal digits differ between answer and receipt. */
function keyOf(id: string): string {
  return /^[0-9a-f]+$/i.test(id) ? id.toLowerCase().replace(/^0+(?=.)/, '') : id;
}

const RECEIPT = 0x04;
const INTERMEDIATE = 0x20;

/**
 * Undefined for a message that a person sent. The TLVs come before the text.
 * Source: SMPP 3.4, sections 5.2.12 and 5.3.2, appendix B.
 */
function readReceipt({ encodings }: SmppLibrary, pdu: Pdu): Receipt | undefined {
  const { esm_class, receipted_message_id, message_state, source_addr } = pdu;
  const type = Number(esm_class) & 0x3c;
  if (type !== RECEIPT && type !== INTERMEDIATE && receipted_message_id === undefined) return undefined;
  const text = textOf(pdu, 'short_message', encodings) || textOf(pdu, 'message_payload', encodings);
  const field = (name: string) => new RegExp(`\\b${name}:\\s*([\\x21-\\x7e]+)`, 'i').exec(text)?.[1];
  // The library reads the id to the next zero octet, which some centres leave out: the next TLV begins with a control character.
  const id = /^[\x21-\x7e]+/.exec(String(receipted_message_id ?? ''))?.[0] ?? field('id');
  const stat =
    (typeof message_state === 'number' ? messageStates[message_state] : undefined) ??
    /^[A-Za-z]{1,10}/.exec(field('stat') ?? '')?.[0];
  if (id === undefined || id.length > 64 || stat === undefined) return undefined;
  const error = /^(?!0+$)[0-9A-Za-z]{1,8}$/.exec(field('err') ?? '')?.[0];
  return { id, number: String(source_addr ?? '').replace(/^\+/, ''), stat, error };
}

/** Receipts are ASCII. Without another coding the library reads them as GSM 7-bit, where `_` and `$` are others: back again. */
function textOf(pdu: Pdu, name: string, { ASCII }: SmppLibrary['encodings']): string {
  const value = pdu[name];
  const message = typeof value === 'object' && value !== null && 'message' in value ? value.message : value;
  if (Buffer.isBuffer(message)) return message.toString('latin1');
  if (typeof message !== 'string') return '';
  const isReadAsGsm = (Number(pdu['data_coding']) & 0x0f) <= 1;
  return isReadAsGsm ? ASCII.encode(message).toString('latin1') : message;
}
