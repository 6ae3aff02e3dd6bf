import type { Reply } from './caller.ts';
import type { HandOver } from './installation.ts';
import type { Broken } from './judge.ts';

// What was seen from outside: requests and their answers, and what there was when all was over. Only data, so that the judge
// can be fed with made-up ones.

/** A reply without its body. */
export type SeenReply = Pick<Reply, 'node' | 'at' | 'ms' | 'what' | 'kind'> & {
  readonly status: number | undefined;
  readonly code: string | undefined;
  readonly retryAfterSeconds: number | undefined;
  /** a request with a key that was sent before: it waits for the first one, for ten seconds at most */
  readonly mayWait: boolean;
};

/** When something was asked, and when it was answered. Instants are of the monotonic clock; ms. */
export type Moment = { readonly sentAt: number; readonly answeredAt: number };

export type CheckSeen = Moment & {
  readonly isRight: boolean;
  /** `unsure`: cut, or a 503, so that it may have been carried out */
  readonly outcome: 'approved' | 'wrong' | 'refused' | 'unknown' | 'unsure';
  readonly attemptsLeft: number | undefined;
};

export type MessageSeen = { readonly id: string; readonly status: string };

/** What one key asked for, however often it was asked. */
type Keyed = {
  readonly number: string;
  /** each id that an answer named */
  readonly ids: Set<string>;
  /** when it was acknowledged, each time */
  readonly acknowledgedAt: Moment[];
  /** codes of refusals other than "not yet" */
  readonly refusals: string[];
  /** when it was asked without a clear answer, each time */
  readonly unsureAt: Moment[];
  /** what the vendor took, and what the service says that there is, when all is over */
  handOvers: readonly HandOver[];
  messages: readonly MessageSeen[];
};

export type VerificationRecord = Keyed & {
  readonly kind: 'verification';
  /** of the first id */
  code: string | undefined;
  readonly checks: CheckSeen[];
  /** when all is over; `unknown` where there is none of that id, undefined where that was not to be found out */
  state: string | undefined;
  attemptsLeft: number | undefined;
  /** of the right code once more, where it was approved already */
  again: CheckSeen['outcome'] | undefined;
};

export type TextRecord = Keyed & { readonly kind: 'text' };

/** More starts for one number than its limit allows. */
export type LimitRecord = {
  readonly kind: 'limit';
  readonly number: string;
  readonly max: number;
  /** when, each of them */
  readonly acknowledgedAt: Moment[];
  readonly unsureAt: Moment[];
  refused: number;
  handOvers: readonly HandOver[];
  messages: readonly MessageSeen[];
};

/** More guesses at one number than its budget allows. */
export type GuessRecord = {
  readonly kind: 'guesses';
  readonly number: string;
  readonly max: number;
  /** when, each of them */
  readonly comparedAt: Moment[];
  readonly unsureAt: Moment[];
  isLocked: boolean;
};

export type FlowRecord = VerificationRecord | TextRecord | LimitRecord | GuessRecord;

/** One scenario on one store. */
export type Ledger = {
  readonly replies: readonly SeenReply[];
  readonly records: readonly FlowRecord[];
  readonly nodes: number;
  readonly faultBeganAt: number;
  readonly faultEndedAt: number;
  /** lines of the nodes' logs that no fault excuses */
  readonly complaints: readonly string[];
  /** what a fault has looked at by itself */
  readonly further: readonly Broken[];
};
