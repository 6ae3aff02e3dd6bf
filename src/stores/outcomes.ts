import type { Message } from '../domain/message.ts';
import type { CheckOutcome } from '../domain/store.ts';
import type { CodeDigests } from '../domain/verification.ts';
import { withEscapedNul } from './postgres/json.ts';
import {
  bytesToHex,
  type MessageRecord,
  recordToMessage,
  recordToVerification,
  type VerificationRecord,
} from './records.ts';

// What steps of PostgreSQL and of Redis are given and give alike.

/** JSON as a step gave it, once it is read: see `fromSqlJson`. */
export type VerificationAnswer = { readonly kind: string; readonly verification?: VerificationRecord };

/** An outcome that may have a verification. */
export function outcomeOf({ verification, ...rest }: VerificationAnswer): object {
  return verification === undefined ? rest : { ...rest, verification: recordToVerification(verification) };
}

/** @param answer `unused` is a verification that the outcome does not have: read all the same, since that takes its time */
export function checkOutcomeOf({
  unused,
  ...answer
}: VerificationAnswer & { readonly unused?: VerificationRecord }): CheckOutcome {
  if (unused !== undefined) recordToVerification(unused);
  const outcome = outcomeOf(answer) as CheckOutcome;
  // JSON leaves out what is undefined.
  if (outcome.kind === 'wrong') return { ...outcome, verification: outcome.verification };
  if (outcome.kind !== 'ask') return outcome;
  const { managed } = outcome.verification;
  if (managed === undefined) throw new Error(`${outcome.verification.id} has no provider to be asked`);
  return { ...outcome, managed };
}

export function messageOf(record: MessageRecord): Message {
  return recordToMessage({ ...record, dispatches: withEscapedNul(record.dispatches) });
}

export function digestsOf({ byId, bySlot }: CodeDigests): object {
  return { digest_by_id: bytesToHex(byId), digest_by_slot: bytesToHex(bySlot) };
}
