import type { GuessLane, GuessPolicy } from './guess-budget.ts';
import type { Dispatch, Message, MessageState } from './message.ts';
import type { PhoneNumber } from './phone-number.ts';
import type { Channel } from './provider.ts';
import type { LimitRule } from './rate-limit.ts';
import type { TextEnding } from './text-ending.ts';
import type { User } from './user.ts';
import type { CodeDigests, ManagedCode, Verification, VerificationState } from './verification.ts';

/**
 * Which counter a request is counted in. The value is what is counted: a number, an address, a prefix, the app; `named`
 * is a counter of the caller's own, and `guesses` one of the wrong codes from an address.
 */
export type BucketScope = 'number' | 'address' | 'prefix' | 'app' | 'guesses' | 'named';

/** `number` of a start or resend and `number` of a custom message are counted apart. */
export type Bucket = {
  readonly scope: BucketScope;
  readonly value: string;
  readonly rules: readonly LimitRule[];
  /** what the caller calls it; a refusal says it */
  readonly name?: string;
};

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
  | {
      readonly kind: 'limited';
      readonly scope: BucketScope;
      readonly retryAfterMs: number;
      /** the bucket's name, where it has one */
      readonly limit?: string;
    }
  | { readonly kind: 'locked'; readonly retryAfterMs: number }
  /** A verification that is kept until it expires was sent, or guessed at, as often as it may be. */
  | { readonly kind: 'used-up'; readonly what: 'attempts' | 'sends'; readonly retryAfterMs: number }
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
  /** one verification for its whole life: repeated whatever life is left, and never replaced because it is used up */
  readonly keep: boolean;
  /**
   * The caller's own code for the live verification of that id, which is then repeated with it: a code is bound to the id,
   * and the first step cannot know it. See the outcome `changed`.
   */
  readonly recode: { readonly id: string; readonly digests: CodeDigests; readonly sealedCode: Uint8Array } | undefined;
  /** how long until the next resend, after the first send, the second …; for a repeated one */
  readonly delaysSeconds: readonly number[];
  /** taken together with the buckets, or not at all */
  readonly budget: BudgetTake | undefined;
  readonly idempotency: Idempotency | undefined;
  /** when another node may take the message over, should this one die while handing it over */
  readonly orphanedAt: number;
};

export type StartOutcome =
  | { readonly kind: 'started'; readonly verification: Verification; readonly budget?: BudgetTaken }
  /**
   * The live verification of that id is to be repeated with another code of the caller's own: nothing was counted or
   * stored, come again with `recode` for it.
   */
  | { readonly kind: 'changed'; readonly id: string }
  | SendRefusal;

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
  | Exclude<SendRefusal, { kind: 'used-up' }>;

export type CheckStep = {
  readonly now: number;
  readonly app: string;
  readonly guesses: GuessPolicy;
  /**
   * Limits of wrong codes: nothing is compared where one is full. A right code is counted in none; one that a provider has to
   * be asked for is, whatever that one says.
   */
  readonly buckets: readonly Bucket[];
} & (
  | {
      readonly by: 'id';
      readonly id: string;
      readonly digest: Uint8Array;
      /** how many digits were given: a code of another length is `malformed`, and costs no attempt */
      readonly codeLength: number;
      readonly purpose: string | undefined;
      readonly subject: string | undefined;
    }
  | {
      readonly by: 'slot';
      /** undefined: the subject's, whatever its number; then the guess is counted against that one's */
      readonly number: PhoneNumber | undefined;
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
  | Extract<SendRefusal, { kind: 'limited' }>
  | { readonly kind: 'unknown' }
  | { readonly kind: 'malformed'; readonly codeLength: number }
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
  /** that was asked about: an approval of one that another code has replaced since is none */
  readonly codeNumber: number;
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
  /** This step got no answer before, and may have been carried out: then it changes nothing. */
  readonly isRepeated?: true;
};

/** `due`: the code did not arrive and is worth sending by another way, see `claimDue`. */
export type ReportOutcome = { readonly changed: boolean; readonly due: boolean };

export type SignInStep = {
  readonly now: number;
  readonly app: string;
  /** the approved one that shows who it is */
  readonly verificationId: string;
  readonly number: PhoneNumber;
  /** of a user that has to be made */
  readonly name: string;
  readonly token: {
    /** SHA-256 of the access token: it is 160 random bits, so nothing slower is needed */
    readonly hash: string;
    readonly expiresAt: number;
  };
};

export type SignInOutcome =
  | { readonly kind: 'signed-in'; readonly user: User; readonly isNew: boolean }
  /** No verification of the app that is approved and proves this number; or it was erased meanwhile. */
  | { readonly kind: 'unproven' };

/** What is undefined stays as it is. */
export type UserChange = { readonly name: string | undefined; readonly fullName: string | undefined };

export type EraseStep = {
  readonly app: string;
  readonly number: PhoneNumber;
  /** what repeated requests are answered from then on, in the place of answers that name the number */
  readonly answer: string;
  /** what the step before returned; undefined for the first one */
  readonly resumeAt: string | undefined;
};
