import type { GuessLane, GuessPolicy } from './guess-budget.ts';
import type { Dispatch, Message, MessageState } from './message.ts';
import type { PhoneNumber } from './phone-number.ts';
import type { Channel, DeliveryReport } from './provider.ts';
import type { LimitRule } from './rate-limit.ts';
import type { TextEnding } from './text-ending.ts';
import type { UsageChange } from './usage.ts';
import type { CodeDigests, ManagedCode, Verification, VerificationState } from './verification.ts';

/** Which counter a request is counted in. The value is what is counted: a number, an address, a prefix, the app. */
export type BucketScope = 'number' | 'address' | 'prefix' | 'app';

/** `number` of a start or resend and `number` of a custom message are counted apart. */
export type Bucket = { readonly scope: BucketScope; readonly value: string; readonly rules: readonly LimitRule[] };

/**
 * What a request may cost at most, to be taken from what its app may spend that day; what it did not cost in the end is
 * given back with its outcome (`DispatchStep.spent`). Amounts are millionths of the budget's currency.
 */
export type BudgetTake = {
  /** UTC, `2026-11-20` */
  readonly day: string;
  readonly maxMicros: number;
  readonly micros: number;
};

/** What the app has spent that day, before this request and with it. */
export type BudgetTaken = { readonly beforeMicros: number; readonly afterMicros: number };

export type Idempotency = {
  readonly key: string;
  /** a digest of the request; the same key with another request is refused */
  readonly fingerprint: string;
  /** from this very millisecond on the key is as if it had never been used */
  readonly expiresAt: number;
};

/** What stops a request that would send something. Nothing was stored or counted then. */
export type SendRefusal =
  /** Of several full buckets, the one that has to be waited for longest. */
  | { readonly kind: 'limited'; readonly scope: BucketScope; readonly retryAfterMs: number }
  | { readonly kind: 'locked'; readonly retryAfterMs: number }
  /** The app has spent what it may spend today. */
  | { readonly kind: 'over-budget' }
  /** The key was used for the same request; `answer` is undefined while that one is still on its way. */
  | { readonly kind: 'replayed'; readonly answer: string | undefined }
  | { readonly kind: 'conflict' };

export type StartStep = {
  readonly now: number;
  readonly verification: Verification;
  readonly message: Message;
  readonly buckets: readonly Bucket[];
  readonly guesses: GuessPolicy;
  /** may a live verification in the same slot be sent once more instead of being replaced? */
  readonly repeat: boolean;
  /** how long until the next resend, after the first send, the second …; for a repeated one */
  readonly delaysSeconds: readonly number[];
  /** taken together with the buckets, or not at all */
  readonly budget: BudgetTake | undefined;
  readonly idempotency: Idempotency | undefined;
  /** when another node may take the message over, should this one die while handing it over */
  readonly orphanedAt: number;
};

export type ResendStep = {
  readonly now: number;
  readonly app: string;
  readonly id: string;
  readonly channel: Channel;
  readonly message: Message;
  readonly buckets: readonly Bucket[];
  readonly guesses: GuessPolicy;
  readonly delaysSeconds: readonly number[];
  /** a new code in the place of the old one; refused as `changed` unless the old one is still `code.replaces` */
  readonly code: { readonly replaces: number; readonly codeNumber: number; readonly digests: CodeDigests } | undefined;
  /** taken together with the buckets, or not at all */
  readonly budget: BudgetTake | undefined;
  /** how the text ends from now on; as before when undefined */
  readonly ending: TextEnding | undefined;
  readonly idempotency: Idempotency | undefined;
  readonly orphanedAt: number;
};

export type ResendOutcome =
  | { readonly kind: 'resent'; readonly verification: Verification; readonly budget?: BudgetTaken }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'ended'; readonly state: VerificationState }
  | { readonly kind: 'too-early'; readonly retryAfterMs: number }
  | { readonly kind: 'sends-exhausted' }
  /** another resend was quicker: read again */
  | { readonly kind: 'changed' }
  | SendRefusal;

export type CheckStep = {
  readonly now: number;
  readonly app: string;
  readonly guesses: GuessPolicy;
} & (
  | {
      readonly by: 'id';
      readonly id: string;
      readonly digest: Uint8Array;
      readonly purpose: string | undefined;
      readonly subject: string | undefined;
    }
  | {
      readonly by: 'slot';
      readonly number: PhoneNumber;
      readonly purpose: string;
      readonly subject: string | undefined;
      readonly lane: GuessLane;
      readonly digest: Uint8Array;
    }
);

export type CheckOutcome =
  | { readonly kind: 'approved'; readonly verification: Verification }
  /** `verification` is undefined when there was none to compare with; the guess was counted all the same */
  | { readonly kind: 'wrong'; readonly verification: Verification | undefined; readonly attemptsLeft: number }
  | { readonly kind: 'locked'; readonly retryAfterMs: number }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'ended'; readonly state: Exclude<VerificationState, 'pending'> }
  /**
   * A provider made the code and has to be asked; the attempt and a wrong guess are counted already. What it says goes
   * to `settleCheck`.
   */
  | { readonly kind: 'ask'; readonly verification: Verification; readonly managed: ManagedCode };

/** What a managed provider said about a code. */
export type SettleCheckStep = {
  readonly now: number;
  readonly app: string;
  readonly id: string;
  readonly guesses: GuessPolicy;
  /** `unanswered`: it compared nothing, so neither attempt nor guess was one */
  readonly verdict: 'approved' | 'wrong' | 'unanswered';
};

export type MessageStep = {
  readonly now: number;
  readonly message: Message;
  readonly buckets: readonly Bucket[];
  /** taken together with the buckets, or not at all */
  readonly budget: BudgetTake | undefined;
  readonly idempotency: Idempotency | undefined;
  readonly orphanedAt: number;
};

/** What became of handing a message over. */
export type DispatchStep = {
  readonly now: number;
  readonly message: Message;
  /** the hand-overs since the last step, oldest first */
  readonly dispatches: readonly Dispatch[];
  /** undefined: as it is, whatever was reported meanwhile */
  readonly state: MessageState | undefined;
  /** when the message is to be looked at again, because a report is expected by then */
  readonly dueAt: number | undefined;
  /** the provider that took it sends no delivery reports, so nothing need be found by its id */
  readonly noReports?: true;
  /** of a code: the channel that took it, and whose code it is; undefined where nothing of that changes */
  readonly carried: { readonly channel: Channel; readonly managed: ManagedCode | undefined } | undefined;
  /** what to add to the day's spending, mostly less than nothing: the cost, less what was taken beforehand */
  readonly spent: { readonly day: string; readonly micros: number } | undefined;
  /** the answer to be given again under the request's idempotency key */
  readonly answer: { readonly app: string; readonly key: string; readonly text: string } | undefined;
};

/** `due`: the code did not arrive and is worth sending by another way, see `claimDue`. */
export type ReportOutcome = { readonly changed: boolean; readonly due: boolean };

export type ApiKey = {
  readonly id: string;
  readonly app: string;
  readonly name: string;
  /** SHA-256 of the key: it is 192 random bits, so nothing slower is needed */
  readonly hash: string;
  readonly createdAt: number;
  readonly revokedAt: number | undefined;
};

export type SigningKey = {
  readonly id: string;
  /** PKCS #8, sealed under the installation's key */
  readonly sealedPrivateKey: Uint8Array;
  readonly publicJwk: string;
  readonly createdAt: number;
};

/** A message that has to be looked at. */
export type Due = {
  readonly message: Message;
  readonly verification: Verification | undefined;
  /** how often it was handed out, this time included, since its last step: whoever had it before did not get to the end */
  readonly claims: number;
};

/**
 * A port of meanings: what must hold, not which rows exist. Each method is one atomic step, over any number of
 * processes; time is an argument, and a store has no clock. A store that cannot be reached rejects with a
 * `CountersignError` `store-unavailable`. `describeStore` (countersign/testing) is the suite that belongs to it.
 */
export interface Store {
  /**
   * Takes all buckets or none; then repeats the live verification of the slot (one more send, the same code), or
   * replaces it by the given one; and keeps the message to be sent.
   */
  start(
    step: StartStep,
  ): Promise<
    { readonly kind: 'started'; readonly verification: Verification; readonly budget?: BudgetTaken } | SendRefusal
  >;
  resend(step: ResendStep): Promise<ResendOutcome>;
  /** Counts one attempt, compares the digests and settles. Exactly one of any number of right codes is approved. */
  check(step: CheckStep): Promise<CheckOutcome>;
  /** The second half of a check that had to ask. Of any number of approvals exactly one is approved. */
  settleCheck(step: SettleCheckStep): Promise<Exclude<CheckOutcome, { kind: 'ask' | 'locked' }>>;
  cancel(
    app: string,
    id: string,
    now: number,
  ): Promise<
    | { readonly kind: 'canceled'; readonly verification: Verification }
    | { readonly kind: 'unknown' }
    | { readonly kind: 'ended'; readonly state: VerificationState }
  >;
  getVerification(app: string, id: string): Promise<Verification | undefined>;

  /** Keeps a custom message to be sent, under the same rules as `start`. */
  addMessage(
    step: MessageStep,
  ): Promise<{ readonly kind: 'added'; readonly budget?: BudgetTaken } | Exclude<SendRefusal, { kind: 'locked' }>>;
  recordDispatch(step: DispatchStep): Promise<void>;
  /** The code is about to go out by e-mail, which was not planned: from now on it does not prove that the number is held. */
  recordEmail(verificationId: string): Promise<void>;
  /** Forward only; nothing changes when the dispatch is not known. */
  recordReport(provider: string, report: DeliveryReport, now: number): Promise<ReportOutcome>;
  getMessage(app: string, id: string): Promise<Message | undefined>;
  /** Newest first. @param before an id: only older ones */
  listMessages(
    app: string,
    query: { readonly limit: number; readonly before?: string; readonly number?: PhoneNumber },
  ): Promise<readonly Message[]>;
  /**
   * Messages that have to be looked at: a node stored them and did not settle them in time, a report says that they did
   * not arrive, or none came. Each is handed to exactly one caller, with its verification.
   * @param leaseUntil when others may take them up, should this caller die
   */
  claimDue(now: number, leaseUntil: number, limit: number): Promise<readonly Due[]>;
  /** The answer kept under an idempotency key, once there is one. */
  getAnswer(app: string, key: string): Promise<string | undefined>;

  /** Takes an amount from an app's day, for a hand-over that was not foreseen. */
  takeBudget(
    app: string,
    take: BudgetTake,
  ): Promise<(BudgetTaken & { readonly kind: 'taken' }) | { readonly kind: 'over-budget' }>;
  /**
   * What was added up from one day to another, both included; nothing where all counts are 0, as they are when a cost
   * turned out to be in another currency.
   * @param app undefined for all
   */
  readUsage(query: {
    readonly app: string | undefined;
    readonly from: string;
    readonly to: string;
  }): Promise<readonly UsageChange[]>;

  addApiKey(key: ApiKey): Promise<void>;
  findApiKey(hash: string): Promise<ApiKey | undefined>;
  listApiKeys(): Promise<readonly ApiKey[]>;
  /** False when there is no such key. */
  revokeApiKey(id: string, now: number): Promise<boolean>;
  /** Newest first. */
  listSigningKeys(): Promise<readonly SigningKey[]>;
  /** @param onlyFirst keep the key only if there is none yet, so that nodes that start together agree on one */
  addSigningKey(key: SigningKey, onlyFirst: boolean): Promise<void>;

  /**
   * Deletes a bounded number of what has ended: verifications and messages made before `historyBefore`, counters
   * and idempotency keys that no rule looks at any more. Called again and again.
   */
  sweep(now: number, historyBefore: number): Promise<{ readonly deleted: number }>;
  /** Rejects when nothing can be written. */
  probe(now: number): Promise<void>;
  close(): Promise<void>;
}
