import type { GuessLane } from '../domain/guess-budget.ts';
import type { Dispatch, Message, MessageState } from '../domain/message.ts';
import type { CountryCode, PhoneNumber } from '../domain/phone-number.ts';
import type { Channel } from '../domain/provider.ts';
import type { TextEnding } from '../domain/text-ending.ts';
import type { Verification, VerificationState, Wording } from '../domain/verification.ts';

// Verifications and messages as flat JSON, the form in which steps travel to PostgreSQL and Redis: the fields are the
// columns of the tables, bytes are hexadecimal behind `\x`, and what no step looks into is text.

/** `\x` and hexadecimal digits: how PostgreSQL reads and writes bytes as text. */
export type Hex = string;

export type VerificationRecord = {
  readonly id: string;
  readonly app: string;
  readonly purpose: string;
  readonly subject: string | null;
  readonly number: string;
  readonly country: string | null;
  readonly channel: string;
  readonly locale: string;
  readonly lane: string;
  readonly state: string;
  readonly attempts: number;
  readonly max_attempts: number;
  readonly sends: number;
  readonly max_sends: number;
  readonly nonce: Hex;
  readonly code_number: number;
  readonly code_length: number;
  readonly digest_by_id: Hex;
  readonly digest_by_slot: Hex;
  readonly created_at: number;
  readonly expires_at: number;
  readonly resend_at: number;
  readonly metadata: string | null;
  readonly ending: string | null;
  readonly email: string | null;
  readonly managed_provider: string | null;
  readonly managed_id: string | null;
  readonly own_code_sent: boolean;
  readonly sent_by_email: boolean;
  /** ids with a space between them, see `messageIdsToText` */
  readonly message_ids: string | null;
  readonly sealed_code: Hex | null;
  readonly wording: string | null;
};

export type MessageRecord = {
  readonly id: string;
  readonly app: string;
  readonly verification_id: string | null;
  readonly number: string;
  readonly country: string | null;
  readonly channel: string;
  readonly channel_fixed: boolean;
  readonly locale: string;
  readonly encoding: string;
  readonly segments: number;
  readonly sealed_text: Hex | null;
  readonly code_number: number;
  readonly idempotency_key: string | null;
  readonly state: string;
  readonly created_at: number;
  readonly valid_until: number;
  /** JSON objects with commas between them, see `dispatchesToText` */
  readonly dispatches: string;
};

export function verificationToRecord(verification: Verification): VerificationRecord {
  return {
    id: verification.id,
    app: verification.app,
    purpose: verification.purpose,
    subject: verification.subject ?? null,
    number: verification.number,
    country: verification.country ?? null,
    channel: verification.channel,
    locale: verification.locale,
    lane: verification.lane,
    state: verification.state,
    attempts: verification.attempts,
    max_attempts: verification.maxAttempts,
    sends: verification.sends,
    max_sends: verification.maxSends,
    nonce: bytesToHex(verification.nonce),
    code_number: verification.codeNumber,
    code_length: verification.codeLength,
    digest_by_id: bytesToHex(verification.digests.byId),
    digest_by_slot: bytesToHex(verification.digests.bySlot),
    created_at: verification.createdAt,
    expires_at: verification.expiresAt,
    resend_at: verification.resendAt,
    metadata: jsonOrNull(verification.metadata),
    ending: jsonOrNull(verification.ending),
    email: verification.email ?? null,
    managed_provider: verification.managed?.provider ?? null,
    managed_id: verification.managed?.providerMessageId ?? null,
    own_code_sent: verification.ownCodeSent,
    sent_by_email: verification.sentByEmail,
    message_ids: messageIdsToText(verification.messageIds),
    sealed_code: verification.sealedCode === undefined ? null : bytesToHex(verification.sealedCode),
    wording: jsonOrNull(verification.wording),
  };
}

export function recordToVerification(record: VerificationRecord): Verification {
  return {
    id: record.id,
    app: record.app,
    purpose: record.purpose,
    subject: record.subject ?? undefined,
    number: record.number as PhoneNumber,
    country: (record.country ?? undefined) as CountryCode | undefined,
    channel: record.channel as Channel,
    locale: record.locale,
    lane: record.lane as GuessLane,
    state: record.state as VerificationState,
    attempts: record.attempts,
    maxAttempts: record.max_attempts,
    sends: record.sends,
    maxSends: record.max_sends,
    nonce: hexToBytes(record.nonce),
    codeNumber: record.code_number,
    codeLength: record.code_length,
    digests: { byId: hexToBytes(record.digest_by_id), bySlot: hexToBytes(record.digest_by_slot) },
    createdAt: record.created_at,
    expiresAt: record.expires_at,
    resendAt: record.resend_at,
    metadata: parsedOrUndefined<Record<string, string>>(record.metadata),
    ending: parsedOrUndefined<TextEnding>(record.ending),
    email: record.email ?? undefined,
    managed:
      record.managed_provider === null || record.managed_id === null
        ? undefined
        : { provider: record.managed_provider, providerMessageId: record.managed_id },
    ownCodeSent: record.own_code_sent,
    sentByEmail: record.sent_by_email,
    messageIds: messageIdsOf(record.message_ids),
    sealedCode: record.sealed_code === null ? undefined : hexToBytes(record.sealed_code),
    wording: parsedOrUndefined<Wording>(record.wording),
  };
}

export function messageToRecord(message: Message): MessageRecord {
  return {
    id: message.id,
    app: message.app,
    verification_id: message.verificationId ?? null,
    number: message.number,
    country: message.country ?? null,
    channel: message.channel,
    channel_fixed: message.channelFixed,
    locale: message.locale,
    encoding: message.encoding,
    segments: message.segments,
    sealed_text: message.sealedText === undefined ? null : bytesToHex(message.sealedText),
    code_number: message.codeNumber,
    idempotency_key: message.idempotencyKey ?? null,
    state: message.state,
    created_at: message.createdAt,
    valid_until: message.validUntil,
    dispatches: dispatchesToText(message.dispatches),
  };
}

export function recordToMessage(record: MessageRecord): Message {
  const channel = record.channel as Channel;
  return {
    id: record.id,
    app: record.app,
    verificationId: record.verification_id ?? undefined,
    number: record.number as PhoneNumber,
    country: (record.country ?? undefined) as CountryCode | undefined,
    channel,
    channelFixed: record.channel_fixed,
    locale: record.locale,
    encoding: record.encoding as Message['encoding'],
    segments: record.segments,
    sealedText: record.sealed_text === null ? undefined : hexToBytes(record.sealed_text),
    codeNumber: record.code_number,
    idempotencyKey: record.idempotency_key ?? undefined,
    state: record.state as MessageState,
    createdAt: record.created_at,
    validUntil: record.valid_until,
    dispatches: dispatchesOf(record.dispatches, channel),
  };
}

export function bytesToHex(bytes: Uint8Array): Hex {
  return `\\x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`;
}

export function hexToBytes(hex: Hex): Uint8Array {
  return Buffer.from(hex.slice(2), 'hex');
}

export function messageIdsToText(ids: readonly string[]): string | null {
  return ids.length === 0 ? null : ids.join(' ');
}

export function messageIdsOf(text: string | null | undefined): string[] {
  return text?.split(' ') ?? [];
}

/** JSON objects with commas between them and no brackets around, so that further ones can be put behind. */
export function dispatchesToText(dispatches: readonly Dispatch[]): string {
  return dispatches.map((dispatch) => JSON.stringify(dispatch)).join(',');
}

/** @param channel of the message: rows of the first schema do not say it for each dispatch */
export function dispatchesOf(list: string, channel: Channel): Dispatch[] {
  if (list === '') return [];
  const kept = JSON.parse(`[${list}]`) as Partial<Dispatch>[];
  // JSON leaves out what is undefined.
  return kept.map((each) => ({ ...emptyDispatch, channel, ...each }) as Dispatch);
}

const emptyDispatch = {
  providerMessageId: undefined,
  reason: undefined,
  errorCode: undefined,
  estimatedCost: undefined,
  reportedCost: undefined,
};

function jsonOrNull(value: object | undefined): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

function parsedOrUndefined<Value>(json: string | null): Value | undefined {
  return json === null ? undefined : (JSON.parse(json) as Value);
}
