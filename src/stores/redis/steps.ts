import type { Message } from '../../domain/message.ts';
import type {
  BudgetTaken,
  CheckOutcome,
  CheckStep,
  DispatchStep,
  MessageStep,
  ResendStep,
  StartStep,
} from '../../domain/store.ts';
import type { CodeDigests, Verification } from '../../domain/verification.ts';
import { fromSqlJson, withEscapedNul, withoutEscapes } from '../postgres/json.ts';
import {
  bytesToHex,
  type MessageRecord,
  messageToRecord,
  recordToMessage,
  recordToVerification,
  type VerificationRecord,
  verificationToRecord,
} from '../records.ts';

// Steps as scripts take them, and outcomes as scripts give them. JSON leaves out what is undefined, and so does Lua.

/** What a script is told; `now` where the step has a time. */
export type Given = Readonly<Record<string, unknown>> & { readonly now?: number };

/**
 * Entries of an app that Redis keeps for a PostgreSQL that is away, some 2 kB each, before nothing new is begun. At twice as
 * many nothing is guessed at any more either: what is under way then has its end, and there is room for that.
 */
export const MOST_ENTRIES = 100_000;
const FOR_CHECKS = 2;

export function startGiven(step: StartStep, bound: number): Given {
  const { recode, ...rest } = step;
  return {
    ...rest,
    bound,
    verification: verificationToRecord(step.verification),
    message: messageToRecord(step.message),
    ...(recode === undefined
      ? {}
      : { recode: { id: recode.id, ...digestsOf(recode.digests), sealed_code: bytesToHex(recode.sealedCode) } }),
  };
}

export function resendGiven(step: ResendStep, bound: number): Given {
  const { code, ending, ...rest } = step;
  return {
    ...rest,
    bound,
    message: messageToRecord(step.message),
    ...(code === undefined
      ? {}
      : { code: { replaces: code.replaces, codeNumber: code.codeNumber, ...digestsOf(code.digests) } }),
    ...(ending === undefined ? {} : { ending: JSON.stringify(ending) }),
  };
}

export function messageGiven(step: MessageStep, bound: number): Given {
  return { ...step, bound, message: messageToRecord(step.message) };
}

export function checkGiven(step: CheckStep, bound: number): Given {
  return { ...step, digest: bytesToHex(step.digest), bound: bound * FOR_CHECKS };
}

export function dispatchGiven(step: DispatchStep): Given {
  const { message, dispatches, answer, ...rest } = step;
  return {
    ...rest,
    id: message.id,
    codeNumber: message.codeNumber,
    dispatches: dispatches.map((dispatch) => withoutEscapes(JSON.stringify(dispatch))),
    // Only its own app's answers are kept with a message.
    ...(answer === undefined || answer.app !== message.app ? {} : { answer: { key: answer.key, text: answer.text } }),
  };
}

type Answer = {
  readonly kind: string;
  readonly verification?: VerificationRecord;
  readonly beforeMicros?: string;
  readonly afterMicros?: string;
  readonly answer?: string;
};

/** `started`, `resent`, `added` with what was taken of the budget, or whatever refused it. */
export function sendingOutcome(text: string): object {
  const { verification, beforeMicros, afterMicros, ...rest } = fromSqlJson(text) as Answer;
  return {
    // `answer` is undefined while the first request is under way, and JSON has no such value.
    ...(rest.kind === 'replayed' ? { answer: undefined } : {}),
    ...rest,
    ...(verification === undefined ? {} : { verification: recordToVerification(verification) }),
    ...(beforeMicros === undefined ? {} : { budget: budgetOf(beforeMicros, afterMicros) }),
  };
}

export function takenOutcome(text: string): object {
  const { kind, beforeMicros, afterMicros } = fromSqlJson(text) as Answer;
  return { kind, ...(beforeMicros === undefined ? {} : budgetOf(beforeMicros, afterMicros)) };
}

export function endingOutcome(text: string): object {
  const { verification, ...rest } = fromSqlJson(text) as Answer;
  return verification === undefined ? rest : { ...rest, verification: recordToVerification(verification) };
}

export function checkOutcome(text: string): CheckOutcome {
  const outcome = endingOutcome(text) as { kind: string; verification?: Verification };
  if (outcome.kind === 'wrong') return { verification: undefined, ...outcome } as CheckOutcome;
  if (outcome.kind !== 'ask') return outcome as CheckOutcome;
  const { verification } = outcome;
  if (verification?.managed === undefined) throw new Error('a verification has no provider to be asked');
  return { kind: 'ask', verification, managed: verification.managed };
}

/** @param record as `fromSqlJson` read it */
export function messageIn(record: MessageRecord): Message {
  return recordToMessage({ ...record, dispatches: withEscapedNul(record.dispatches) });
}

function digestsOf({ byId, bySlot }: CodeDigests): object {
  return { digest_by_id: bytesToHex(byId), digest_by_slot: bytesToHex(bySlot) };
}

function budgetOf(beforeMicros: string, afterMicros = beforeMicros): BudgetTaken {
  return { beforeMicros: Number(beforeMicros), afterMicros: Number(afterMicros) };
}
