import type { Breaker } from './circuit-breaker.ts';
import type { Message } from './message.ts';
import type { PhoneNumber } from './phone-number.ts';
import type { DeliveryReport } from './provider.ts';
import type { ShadowEntry, ShadowQuery } from './shadow.ts';
import type {
  BudgetTake,
  BudgetTaken,
  CheckOutcome,
  CheckStep,
  DispatchStep,
  EraseStep,
  MessageStep,
  ReportOutcome,
  ResendOutcome,
  ResendStep,
  SendRefusal,
  SettleCheckStep,
  SignInOutcome,
  SignInStep,
  StartOutcome,
  StartStep,
  UserChange,
} from './store-steps.ts';
import type { UsageChange } from './usage.ts';
import type { User } from './user.ts';
import type { Slot, Verification, VerificationState } from './verification.ts';

export type * from './store-steps.ts';

export type MessageQuery = {
  readonly limit: number;
  /** an id, or the first of a moment (`firstIdAt`): only older ones */
  readonly before?: string;
  /** likewise: only newer ones */
  readonly after?: string;
  readonly number?: PhoneNumber;
  /** of that verification */
  readonly verificationId?: string;
  readonly carries?: 'code' | 'text';
};

/**
 * A small record that is kept for an app: a setting that a caller makes while the service runs. What is in it, the surface
 * that keeps it knows; nobody else looks.
 */
export type Resource = {
  readonly app: string;
  /** what it is, e.g. `service`: its own name space of lists */
  readonly kind: string;
  /** unlike any other of the app, of whatever kind */
  readonly id: string;
  /** the resource that it belongs to, and is removed with */
  readonly parent: string | undefined;
  /** no two of a kind under one parent have the same */
  readonly uniqueKey: string | undefined;
  readonly body: ResourceBody;
  readonly createdAt: number;
  readonly updatedAt: number;
};

/** JSON and nothing else. */
export type ResourceBody = Readonly<Record<string, unknown>>;

export type ResourceChange = {
  readonly app: string;
  readonly kind: string;
  readonly id: string;
  readonly now: number;
  /** these fields in the place of the old ones; the others stay */
  readonly body: ResourceBody;
  /** as it is when undefined */
  readonly uniqueKey: string | undefined;
};

export type ResourceQuery = {
  readonly app: string;
  readonly kind: string;
  /** of that parent alone; undefined: whatever the parent */
  readonly parent: string | undefined;
  readonly limit: number;
  /** `next` of the page before */
  readonly after: string | undefined;
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

/** What one node has found out about a provider, for all others. */
export type SharedBreaker = {
  readonly provider: string;
  /** a country, `-` for numbers of none, `*` for all countries together */
  readonly place: string;
  readonly breaker: Breaker;
  /** ms since the epoch */
  readonly changedAt: number;
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
  start(step: StartStep): Promise<StartOutcome>;
  resend(step: ResendStep): Promise<ResendOutcome>;
  /** Counts one attempt, compares the digests and settles. Exactly one of any number of right codes is approved. */
  check(step: CheckStep): Promise<CheckOutcome>;
  /** The second half of a check that had to ask. Of any number of approvals exactly one is approved. */
  settleCheck(
    step: SettleCheckStep,
  ): Promise<Exclude<CheckOutcome, { kind: 'ask' | 'locked' | 'limited' | 'malformed' }>>;
  /**
   * The caller vouches that the code was right. Exactly one of any number of these and of right codes is approved; wrong
   * guesses stay counted, since nobody guessed.
   */
  approve(
    app: string,
    id: string,
    now: number,
  ): Promise<
    | { readonly kind: 'approved'; readonly verification: Verification }
    | { readonly kind: 'unknown' }
    | { readonly kind: 'ended'; readonly state: Exclude<VerificationState, 'pending'> }
  >;
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
  /**
   * The newest verification of a slot, in either lane, live or ended. One that has ended may be forgotten where a number
   * has many purposes.
   */
  findVerification(slot: Omit<Slot, 'lane'>): Promise<Verification | undefined>;

  /** Keeps a custom message to be sent, under the same rules as `start`. */
  addMessage(
    step: MessageStep,
  ): Promise<
    { readonly kind: 'added'; readonly budget?: BudgetTaken } | Exclude<SendRefusal, { kind: 'locked' | 'used-up' }>
  >;
  recordDispatch(step: DispatchStep): Promise<void>;
  /** The code is about to go out by e-mail, which was not planned: from now on it does not prove that the number is held. */
  recordEmail(app: string, verificationId: string, now: number): Promise<void>;
  /** Forward only; nothing changes when the dispatch is not known. */
  recordReport(provider: string, report: DeliveryReport, now: number): Promise<ReportOutcome>;
  getMessage(app: string, id: string): Promise<Message | undefined>;
  /** Newest first. */
  listMessages(app: string, query: MessageQuery): Promise<readonly Message[]>;
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

  /**
   * Finds the user of the number or makes it, and keeps the token: of any number of callers exactly one is told that it is
   * new. A verification that an e-mail carried a code for proves nothing (`unproven`).
   */
  signIn(step: SignInStep): Promise<SignInOutcome>;
  /** Undefined from the very millisecond of the token's `expiresAt` on. */
  findUserByToken(hash: string, now: number): Promise<User | undefined>;
  getUser(app: string, id: string): Promise<User | undefined>;
  /** Undefined when there is no such user. */
  updateUser(app: string, id: string, change: UserChange): Promise<User | undefined>;
  /** False when the token was not good any more. */
  revokeToken(hash: string, now: number): Promise<boolean>;
  /** All tokens of a user. False when there is no such user. */
  revokeTokens(app: string, id: string): Promise<boolean>;
  /**
   * One step of a bounded length towards erasing what an app keeps of a number: verifications, messages with what reports
   * are found by, answers to repeated requests. The first one ends what is pending. Counters stay until no rule looks at
   * them any more: who erased a number must not have new guesses.
   * @returns `resumeAt` for the next step; undefined after the last one
   */
  eraseHistory(step: EraseStep): Promise<{ readonly resumeAt: string | undefined }>;
  /** Deletes the user of the number, where there is one, with its tokens. Its id is never given again. */
  eraseUser(app: string, number: PhoneNumber): Promise<void>;

  /**
   * @param most at most that many of its kind under its parent; any number when undefined
   * @returns `exists` when its id or its unique key is taken, `orphan` when there is no such parent
   */
  addResource(resource: Resource, most: number | undefined): Promise<'added' | 'exists' | 'too-many' | 'orphan'>;
  getResource(app: string, kind: string, id: string): Promise<Resource | undefined>;
  /** In the order in which they were added. @returns `next` for the next page, undefined after the last one */
  listResources(
    query: ResourceQuery,
  ): Promise<{ readonly resources: readonly Resource[]; readonly next: string | undefined }>;
  /** Changes some fields; of changes at the same moment none undoes another's. */
  updateResource(change: ResourceChange): Promise<
    | { readonly kind: 'updated'; readonly resource: Resource }
    | { readonly kind: 'unknown' }
    /** the unique key is another one's */
    | { readonly kind: 'exists' }
  >;
  /** With all that belong to it, and to those. False when there is no such resource. */
  removeResource(app: string, kind: string, id: string): Promise<boolean>;

  /** Adds a comparison of shadow mode to those that came to the same; the example that was kept first stays. */
  recordShadow(entry: ShadowEntry): Promise<void>;
  readShadow(query: ShadowQuery): Promise<readonly ShadowEntry[]>;

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
   * Deletes a bounded number of what has ended: verifications, messages and comparisons made before `historyBefore`, counters
   * and idempotency keys that no rule looks at any more. Called again and again.
   */
  sweep(now: number, historyBefore: number): Promise<{ readonly deleted: number }>;

  /**
   * Work that one of many nodes should do. Nodes die at any time, and clocks differ: what is done under a lease must be
   * right also when two do it.
   * @param holder a name that no other node has
   * @param until when others may have it, unless the holder takes it again before
   * @returns whether the holder has it now
   */
  lease(name: string, holder: string, now: number, until: number): Promise<boolean>;
  /** Keeps the newest word on a provider; an older one than is kept changes nothing. */
  shareBreaker(shared: SharedBreaker): Promise<void>;
  listBreakers(): Promise<readonly SharedBreaker[]>;
  /**
   * What the clock of the store's server says (ms since the epoch), so that nodes whose own clocks differ go by one.
   * Undefined where the store has no server, and so this machine's clock.
   */
  clock(): Promise<number | undefined>;
  /** Rejects when nothing can be written. */
  probe(now: number): Promise<void>;
  close(): Promise<void>;
}
