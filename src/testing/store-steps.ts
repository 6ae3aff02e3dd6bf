import { createHash, randomBytes } from 'node:crypto';
import type { GuessLane, GuessPolicy } from '../domain/guess-budget.ts';
import { makeId } from '../domain/id.ts';
import type { Dispatch, Message } from '../domain/message.ts';
import { type PhoneNumber, parsePhoneNumber } from '../domain/phone-number.ts';
import type { Money } from '../domain/price.ts';
import type {
  Bucket,
  BudgetTake,
  CheckOutcome,
  DispatchStep,
  Idempotency,
  MessageStep,
  ResendOutcome,
  ResendStep,
  SettleCheckStep,
  StartStep,
  Store,
} from '../domain/store.ts';
import type { ManagedCode, Verification } from '../domain/verification.ts';

// What the suite of the stores asks of a store, with everything filled in that a test does not care about.

/** The moment at which most tests begin: stores have no clock, so any will do. */
export const T0 = Date.UTC(2025, 10, 20, 12);
export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const CODE_LIFE = 10 * MINUTE;

export const guesses: GuessPolicy = { max: 20, windowMs: DAY };

/** Sixteen bytes, as a store is given them: it never sees a code. */
export function digestOf(text: string): Uint8Array {
  return createHash('sha256').update(text).digest().subarray(0, 16);
}

/** The `index`-th of ten million mobile numbers. */
export function phone(index: number): PhoneNumber {
  const parsed = parsePhoneNumber(`+99890${String(index).padStart(7, '0')}`);
  if (!parsed.ok) throw new RangeError(`${index} makes no number`);
  return parsed.value.number;
}

let made = 0;

/** Unlike any other id, also of another process; those made later in one millisecond sort above. */
export function newId(prefix: 'ver' | 'msg' | 'key', at = T0): string {
  made += 1;
  const random = randomBytes(10);
  random.writeUInt32BE(made, 0);
  return makeId(prefix, at, random);
}

export function verificationOf(given: Partial<Verification> = {}): Verification {
  const createdAt = given.createdAt ?? T0;
  const id = given.id ?? newId('ver', createdAt);
  return {
    id,
    app: 'taxi',
    purpose: 'login',
    subject: undefined,
    number: phone(1),
    country: 'UZ',
    channel: 'sms',
    locale: 'uz',
    lane: 'open',
    state: 'pending',
    attempts: 0,
    maxAttempts: 5,
    sends: 1,
    maxSends: 5,
    nonce: digestOf(`nonce of ${id}`),
    codeNumber: 0,
    codeLength: 6,
    digests: codeDigests(id, 0),
    createdAt,
    expiresAt: createdAt + CODE_LIFE,
    resendAt: createdAt + 30 * SECOND,
    metadata: undefined,
    ending: undefined,
    email: undefined,
    managed: undefined,
    ownCodeSent: true,
    sentByEmail: false,
    messageIds: [],
    sealedCode: undefined,
    wording: undefined,
    ...given,
  };
}

/** Digests of the right code. They differ by id and by slot, so a store that compares the wrong one is found out. */
export function codeDigests(id: string, codeNumber: number): Verification['digests'] {
  return { byId: digestOf(`${id} by id ${codeNumber}`), bySlot: digestOf(`${id} by slot ${codeNumber}`) };
}

export const wrongDigest: Uint8Array = digestOf('wrong');

export function messageOf(verification: Verification | undefined, given: Partial<Message> = {}): Message {
  const createdAt = given.createdAt ?? verification?.createdAt ?? T0;
  return {
    id: newId('msg', createdAt),
    app: verification?.app ?? 'taxi',
    verificationId: verification?.id,
    number: verification?.number ?? phone(1),
    country: 'UZ',
    channel: verification?.channel ?? 'sms',
    channelFixed: false,
    locale: 'uz',
    encoding: 'GSM-7',
    segments: 1,
    sealedText: verification === undefined ? digestOf('sealed text') : undefined,
    codeNumber: verification?.codeNumber ?? 0,
    idempotencyKey: undefined,
    state: 'pending',
    createdAt,
    validUntil: verification?.expiresAt ?? createdAt + 4 * HOUR,
    dispatches: [],
    ...given,
  };
}

type Given<Step> = Partial<Omit<Step, 'verification' | 'message'>> & { readonly message?: Message };

export function startStep(verification: Verification, given: Given<StartStep> = {}): StartStep {
  const now = given.now ?? verification.createdAt;
  return {
    now,
    verification,
    message: messageOf(verification, given.idempotency === undefined ? {} : { idempotencyKey: given.idempotency.key }),
    buckets: [],
    guesses,
    repeat: false,
    keep: false,
    recode: undefined,
    delaysSeconds: [30, 30, 60, 120],
    budget: undefined,
    idempotency: undefined,
    orphanedAt: now + 15 * SECOND,
    ...given,
  };
}

/** Starts a verification that nothing stands in the way of, and returns it as the store has it. */
export async function started(
  store: Store,
  given: Partial<Verification> = {},
  step: Given<StartStep> = {},
): Promise<Verification> {
  const outcome = await store.start(startStep(verificationOf(given), step));
  if (outcome.kind !== 'started') throw new Error(`the start was refused: ${JSON.stringify(outcome)}`);
  return outcome.verification;
}

export function resend(
  store: Store,
  verification: Verification,
  now: number,
  given: Partial<ResendStep> = {},
): Promise<ResendOutcome> {
  return store.resend({
    now,
    app: verification.app,
    id: verification.id,
    channel: verification.channel,
    message: messageOf(verification, { createdAt: now }),
    buckets: [],
    guesses,
    delaysSeconds: [30, 30, 60, 120],
    code: undefined,
    ending: undefined,
    budget: undefined,
    idempotency: undefined,
    orphanedAt: now + 15 * SECOND,
    ...given,
  });
}

type ById = {
  readonly purpose?: string;
  readonly subject?: string;
  readonly app?: string;
  readonly codeLength?: number;
  readonly buckets?: readonly Bucket[];
};

export function checkById(
  store: Store,
  { id, app, codeLength }: Verification,
  digest: Uint8Array,
  now: number,
  given: ById = {},
): Promise<CheckOutcome> {
  return store.check({
    by: 'id',
    now,
    app: given.app ?? app,
    guesses,
    buckets: given.buckets ?? [],
    id,
    digest,
    codeLength: given.codeLength ?? codeLength,
    purpose: given.purpose,
    subject: given.subject,
  });
}

type BySlot = {
  readonly app?: string;
  readonly purpose?: string;
  readonly subject?: string | undefined;
  readonly number?: PhoneNumber | undefined;
  readonly lane?: GuessLane;
  readonly buckets?: readonly Bucket[];
};

export function checkBySlot(
  store: Store,
  digest: Uint8Array,
  now: number,
  { app = 'taxi', purpose = 'login', subject, lane = 'open', buckets = [], ...given }: BySlot = {},
): Promise<CheckOutcome> {
  // Asked without a number only where that is said: `number: undefined`.
  const number = 'number' in given ? given.number : phone(1);
  return store.check({ by: 'slot', now, app, guesses, buckets, purpose, subject, number, lane, digest });
}

export function perNumber(max: number, windowMs: number, number: PhoneNumber = phone(1)): Bucket {
  return { scope: 'number', value: number, rules: [{ max, windowMs }] };
}

export function idempotency(key: string, given: Partial<Idempotency> = {}): Idempotency {
  return { key, fingerprint: 'fingerprint', expiresAt: T0 + DAY, ...given };
}

export function dispatchOf(given: Partial<Dispatch> = {}): Dispatch {
  return {
    provider: 'acme',
    channel: 'sms',
    state: 'queued',
    providerMessageId: 'A1',
    reason: undefined,
    errorCode: undefined,
    estimatedCost: undefined,
    reportedCost: undefined,
    at: T0,
    ...given,
  };
}

export function dispatchStep(message: Message, given: Partial<DispatchStep> = {}): DispatchStep {
  return {
    now: T0,
    message,
    dispatches: [dispatchOf()],
    state: 'queued',
    dueAt: undefined,
    carried: undefined,
    spent: undefined,
    answer: undefined,
    ...given,
  };
}

export function messageStep(given: Partial<MessageStep> = {}): MessageStep {
  const now = given.now ?? T0;
  return {
    now,
    message: messageOf(undefined, { createdAt: now }),
    buckets: [],
    budget: undefined,
    idempotency: undefined,
    orphanedAt: now + 15 * SECOND,
    ...given,
  };
}

/** The day of `T0`. */
export const DAY_0 = '2025-11-20';

export function budgetTake(micros: number, maxMicros: number, day = DAY_0): BudgetTake {
  return { day, micros, maxMicros };
}

export function money(micros: number, currency = 'USD'): Money {
  return { micros, currency };
}

/** A custom message that a provider took; its id there is its id here. */
export async function sentMessage(
  store: Store,
  dispatch: Partial<Dispatch> = {},
  step: Partial<Omit<DispatchStep, 'message'>> & { message?: Partial<Message> } = {},
): Promise<Message> {
  const { message: given, ...rest } = step;
  const message = messageOf(undefined, given);
  const added = await store.addMessage(messageStep({ now: message.createdAt, message }));
  if (added.kind !== 'added') throw new Error(`the message was refused: ${added.kind}`);
  const dispatches = [dispatchOf({ providerMessageId: message.id, at: message.createdAt, ...dispatch })];
  await store.recordDispatch(dispatchStep(message, { now: message.createdAt, dispatches, ...rest }));
  return message;
}

/** A code that was handed over: to one provider, which took it under the message's id, unless told otherwise. */
export async function sentCode(
  store: Store,
  given: Partial<Verification> = {},
  dispatches: readonly Partial<Dispatch>[] = [{}],
  step: Partial<Omit<DispatchStep, 'message' | 'dispatches'>> = {},
): Promise<{ readonly verification: Verification; readonly message: Message }> {
  const wanted = verificationOf(given);
  const message = messageOf(wanted, { country: wanted.country });
  const verification = await started(store, wanted, { message });
  const at = verification.createdAt;
  const made = dispatches.map((each) => dispatchOf({ providerMessageId: message.id, at, ...each }));
  await store.recordDispatch(dispatchStep(message, { now: at, dispatches: made, ...step }));
  return { verification, message };
}

export const managedCode: ManagedCode = { provider: 'verify', providerMessageId: 'VE1' };

/** A verification whose code a managed provider made. Our own never went out. */
export async function startedManaged(store: Store, given: Partial<Verification> = {}): Promise<Verification> {
  const { verification } = await sentCode(store, given, [managedCode], {
    carried: { channel: given.channel ?? 'sms', managed: managedCode },
    noReports: true,
  });
  return verification;
}

export function settleCheck(
  store: Store,
  { id, app, codeNumber }: Verification,
  verdict: SettleCheckStep['verdict'],
  now = T0,
): ReturnType<Store['settleCheck']> {
  return store.settleCheck({ now, app, id, guesses, codeNumber, verdict });
}

/**
 * Calls `count` times at once: every caller has to arrive at the barrier before any may go on.
 * @param call is given a number from 0 on, by which callers take turns with the connections
 */
export async function atOnce<Result>(count: number, call: (index: number) => Promise<Result>): Promise<Result[]> {
  const barrier = Promise.withResolvers<void>();
  let arrived = 0;
  return Promise.all(
    Array.from({ length: count }, async (_, index) => {
      arrived += 1;
      if (arrived === count) barrier.resolve();
      await barrier.promise;
      return call(index);
    }),
  );
}

/** A verification with its bytes as hex, because drivers return bytes of several classes. */
export function readable(verification: Verification | undefined): unknown {
  if (verification === undefined) return undefined;
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
  const { nonce, digests, sealedCode } = verification;
  return {
    ...verification,
    nonce: hex(nonce),
    sealedCode: sealedCode === undefined ? undefined : hex(sealedCode),
    digests: { byId: hex(digests.byId), bySlot: hex(digests.bySlot) },
  };
}

/** How often each kind of outcome came: `{ approved: 1, ended: 199 }`. */
export function tally(outcomes: readonly { readonly kind: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind } of outcomes) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}
