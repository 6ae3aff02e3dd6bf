import type { SQLOutputValue } from 'node:sqlite';
import type { GuessLane } from '../../domain/guess-budget.ts';
import type { Message, MessageState } from '../../domain/message.ts';
import type { CountryCode, PhoneNumber } from '../../domain/phone-number.ts';
import type { Channel } from '../../domain/provider.ts';
import type { TextEnding } from '../../domain/text-ending.ts';
import type { Verification, VerificationState, Wording } from '../../domain/verification.ts';
import { dispatchesOf, dispatchesToText, messageIdsOf, messageIdsToText } from '../records.ts';

export type Row = Record<string, SQLOutputValue>;

// The tables are STRICT and written by this folder alone, so a column's type is known; these say it to the compiler.
export const text = (value: SQLOutputValue | undefined): string => value as string;
export const integer = (value: SQLOutputValue | undefined): number => value as number;
const optionalText = (value: SQLOutputValue | undefined): string | undefined => (value as string | null) ?? undefined;
const bytes = (value: SQLOutputValue | undefined): Uint8Array => value as Uint8Array;

export const verificationColumns = `id, app, purpose, subject, number, country, channel, locale, lane, state, attempts,
  max_attempts, sends, max_sends, nonce, code_number, code_length, digest_by_id, digest_by_slot, created_at, expires_at,
  resend_at, metadata, ending, email, managed_provider, managed_id, own_code_sent, sent_by_email,
  message_ids, sealed_code, wording`;

export function verificationParameters(verification: Verification) {
  return [
    verification.id,
    verification.app,
    verification.purpose,
    verification.subject ?? null,
    verification.number,
    verification.country ?? null,
    verification.channel,
    verification.locale,
    verification.lane,
    verification.state,
    verification.attempts,
    verification.maxAttempts,
    verification.sends,
    verification.maxSends,
    verification.nonce,
    verification.codeNumber,
    verification.codeLength,
    verification.digests.byId,
    verification.digests.bySlot,
    verification.createdAt,
    verification.expiresAt,
    verification.resendAt,
    verification.metadata === undefined ? null : JSON.stringify(verification.metadata),
    verification.ending === undefined ? null : JSON.stringify(verification.ending),
    verification.email ?? null,
    verification.managed?.provider ?? null,
    verification.managed?.providerMessageId ?? null,
    verification.ownCodeSent ? 1 : 0,
    verification.sentByEmail ? 1 : 0,
    messageIdsToText(verification.messageIds),
    verification.sealedCode ?? null,
    verification.wording === undefined ? null : JSON.stringify(verification.wording),
  ] as const;
}

export function toVerification(row: Row): Verification {
  const metadata = optionalText(row['metadata']);
  const ending = optionalText(row['ending']);
  const managedProvider = optionalText(row['managed_provider']);
  const wording = optionalText(row['wording']);
  return {
    id: text(row['id']),
    app: text(row['app']),
    purpose: text(row['purpose']),
    subject: optionalText(row['subject']),
    number: text(row['number']) as PhoneNumber,
    country: optionalText(row['country']) as CountryCode | undefined,
    channel: text(row['channel']) as Channel,
    locale: text(row['locale']),
    lane: text(row['lane']) as GuessLane,
    state: text(row['state']) as VerificationState,
    attempts: integer(row['attempts']),
    maxAttempts: integer(row['max_attempts']),
    sends: integer(row['sends']),
    maxSends: integer(row['max_sends']),
    nonce: bytes(row['nonce']),
    codeNumber: integer(row['code_number']),
    codeLength: integer(row['code_length']),
    digests: { byId: bytes(row['digest_by_id']), bySlot: bytes(row['digest_by_slot']) },
    createdAt: integer(row['created_at']),
    expiresAt: integer(row['expires_at']),
    resendAt: integer(row['resend_at']),
    metadata: metadata === undefined ? undefined : (JSON.parse(metadata) as Record<string, string>),
    ending: ending === undefined ? undefined : (JSON.parse(ending) as TextEnding),
    email: optionalText(row['email']),
    managed:
      managedProvider === undefined
        ? undefined
        : { provider: managedProvider, providerMessageId: text(row['managed_id']) },
    ownCodeSent: integer(row['own_code_sent']) === 1,
    sentByEmail: integer(row['sent_by_email']) === 1,
    messageIds: messageIdsOf(optionalText(row['message_ids'])),
    sealedCode: (row['sealed_code'] as Uint8Array | null) ?? undefined,
    wording: wording === undefined ? undefined : (JSON.parse(wording) as Wording),
  };
}

export const messageColumns = `id, app, verification_id, number, country, channel, locale, encoding, segments,
  sealed_text, code_number, idempotency_key, state, created_at, valid_until, channel_fixed, due_at, dispatches`;

export function messageParameters(message: Message, dueAt: number) {
  return [
    message.id,
    message.app,
    message.verificationId ?? null,
    message.number,
    message.country ?? null,
    message.channel,
    message.locale,
    message.encoding,
    message.segments,
    message.sealedText ?? null,
    message.codeNumber,
    message.idempotencyKey ?? null,
    message.state,
    message.createdAt,
    message.validUntil,
    message.channelFixed ? 1 : 0,
    dueAt,
    dispatchesToText(message.dispatches),
  ] as const;
}

export function toMessage(row: Row): Message {
  return {
    id: text(row['id']),
    app: text(row['app']),
    verificationId: optionalText(row['verification_id']),
    number: text(row['number']) as PhoneNumber,
    country: optionalText(row['country']) as CountryCode | undefined,
    channel: text(row['channel']) as Channel,
    channelFixed: integer(row['channel_fixed']) === 1,
    locale: text(row['locale']),
    encoding: text(row['encoding']) as Message['encoding'],
    segments: integer(row['segments']),
    sealedText: (row['sealed_text'] as Uint8Array | null) ?? undefined,
    codeNumber: integer(row['code_number']),
    idempotencyKey: optionalText(row['idempotency_key']),
    state: text(row['state']) as MessageState,
    createdAt: integer(row['created_at']),
    validUntil: integer(row['valid_until']),
    dispatches: dispatchesOf(text(row['dispatches']), text(row['channel']) as Channel),
  };
}

/** `?, ?, ?` for a list of columns. */
export function placeholders(columns: string): string {
  return columns
    .split(',')
    .map(() => '?')
    .join(', ');
}
