import type { GuessLane, GuessPolicy } from './guess-budget.ts';
import type { Dispatch, Message, MessageState } from './message.ts';
import type { PhoneNumber } from './phone-number.ts';
import type { Channel, DeliveryReport } from './provider.ts';
import type { LimitRule } from './rate-limit.ts';
import type { CodeDigests, Verification, VerificationState } from './verification.ts';

/** Which counter a request is counted in. The value is what is counted: a number, an address, a prefix, the app. */
export type BucketScope = 'number' | 'address' | 'prefix' | 'app';

/** `number` of a start or resend and `number` of a custom message are counted apart. */
export type Bucket = { readonly scope: BucketScope; readonly value: string; readonly rules: readonly LimitRule[] };

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
  readonly idempotency: Idempotency | undefined;
  readonly orphanedAt: number;
};

export type ResendOutcome =
  | { readonly kind: 'resent'; readonly verification: Verification }
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
  | { readonly kind: 'ended'; readonly state: Exclude<VerificationState, 'pending'> };

export type MessageStep = {
  readonly now: number;
  readonly message: Message;
  readonly buckets: readonly Bucket[];
  readonly idempotency: Idempotency | undefined;
  readonly orphanedAt: number;
};

/** What became of handing a message over. */
export type DispatchStep = {
  readonly now: number;
  readonly messageId: string;
  /** the hand-overs since the last step, oldest first */
  readonly dispatches: readonly Dispatch[];
  readonly state: MessageState;
  /** the provider that took it sends no delivery reports, so nothing need be found by its id */
  readonly noReports?: true;
  /** the answer to be given again under the request's idempotency key */
  readonly answer: { readonly app: string; readonly key: string; readonly text: string } | undefined;
};

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
  start(step: StartStep): Promise<{ readonly kind: 'started'; readonly verification: Verification } | SendRefusal>;
  resend(step: ResendStep): Promise<ResendOutcome>;
  /** Counts one attempt, compares the digests and settles. Exactly one of any number of right codes is approved. */
  check(step: CheckStep): Promise<CheckOutcome>;
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
  addMessage(step: MessageStep): Promise<{ readonly kind: 'added' } | Exclude<SendRefusal, { kind: 'locked' }>>;
  recordDispatch(step: DispatchStep): Promise<void>;
  /** Forward only; false when the dispatch is not known or the report changes nothing. */
  recordReport(provider: string, report: DeliveryReport, now: number): Promise<boolean>;
  getMessage(app: string, id: string): Promise<Message | undefined>;
  /** Newest first. @param before an id: only older ones */
  listMessages(
    app: string,
    query: { readonly limit: number; readonly before?: string; readonly number?: PhoneNumber },
  ): Promise<readonly Message[]>;
  /**
   * Messages that a node stored and then did not settle in time, each handed to exactly one caller, with their
   * verifications.
   */
  claimOrphans(
    now: number,
    orphanedAt: number,
    limit: number,
  ): Promise<readonly { readonly message: Message; readonly verification: Verification | undefined }[]>;
  /** The answer kept under an idempotency key, once there is one. */
  getAnswer(app: string, key: string): Promise<string | undefined>;

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
