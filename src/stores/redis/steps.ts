import type {
  BudgetTaken,
  CheckOutcome,
  CheckStep,
  DispatchStep,
  MessageStep,
  ResendStep,
  StartStep,
} from '../../domain/store.ts';
import { checkOutcomeOf, digestsOf, outcomeOf, type VerificationAnswer } from '../outcomes.ts';
import { fromSqlJson, withoutEscapes } from '../postgres/json.ts';
import { bytesToHex, messageToRecord, verificationToRecord } from '../records.ts';

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

type Answer = VerificationAnswer & {
  readonly beforeMicros?: string;
  readonly afterMicros?: string;
  readonly answer?: string;
};

/** `started`, `resent`, `added` with what was taken of the budget, or whatever refused it. */
export function sendingOutcome(text: string): object {
  const { beforeMicros, afterMicros, ...rest } = fromSqlJson(text) as Answer;
  return {
    // `answer` is undefined while the first request is under way, and JSON has no such value.
    ...(rest.kind === 'replayed' ? { answer: undefined } : {}),
    ...outcomeOf(rest),
    ...(beforeMicros === undefined ? {} : { budget: budgetOf(beforeMicros, afterMicros) }),
  };
}

export function takenOutcome(text: string): object {
  const { kind, beforeMicros, afterMicros } = fromSqlJson(text) as Answer;
  return { kind, ...(beforeMicros === undefined ? {} : budgetOf(beforeMicros, afterMicros)) };
}

export function endingOutcome(text: string): object {
  return outcomeOf(fromSqlJson(text) as Answer);
}

export function checkOutcome(text: string): CheckOutcome {
  return checkOutcomeOf(fromSqlJson(text) as Answer);
}

function budgetOf(beforeMicros: string, afterMicros = beforeMicros): BudgetTaken {
  return { beforeMicros: Number(beforeMicros), afterMicros: Number(afterMicros) };
}
