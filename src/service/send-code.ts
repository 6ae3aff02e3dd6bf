import { setTimeout as delay } from 'node:timers/promises';
import { deriveCode, digestCode } from '../domain/code.ts';
import { handOversLeft, type Message, retryDelayMs } from '../domain/message.ts';
import { CountersignError, type Refusal, refuse } from '../domain/problem.ts';
import type { BudgetTake, DispatchStep } from '../domain/store.ts';
import type { Verification } from '../domain/verification.ts';
import type { App } from './app.ts';
import type { ServiceContext } from './context.ts';
import { type Delivery, type DispatchResult, dispatch, ORPHANED_AFTER_MS } from './dispatch.ts';
import { type Hop, isRetried } from './routing.ts';
import { composeCodeText } from './texts.ts';
import { type VerificationView, viewOf } from './views.ts';

export type Started = {
  readonly kind: 'started';
  readonly verification: VerificationView;
  /** who took the code; undefined while nobody has */
  readonly provider: string | undefined;
  /** in development mode only */
  readonly code?: string;
};

export type SendAnswer = Started | Refusal;

const ANSWER_PATIENCE_MS = 10_000;
const ANSWER_POLL_MS = 25;
const RECORD_PAUSE_MS = 250;
/** Of the time until a message is an orphan: for the step before the hand-over, and for the last try to record it. */
const RECORD_RESERVE_MS = 4000;

export type CodeToSend = {
  readonly app: App;
  readonly hops: readonly Hop[];
  /** what was set aside of the app's budget */
  readonly reserved: BudgetTake | undefined;
  readonly verification: Verification;
  /** as the store was given it; what the store changed in it is what `verification` says */
  readonly message: Message;
  /** the verification's code, where it was derived just now */
  readonly code?: string;
  /** see `Delivery.retry` */
  readonly retry?: Delivery['retry'];
};

/** Hands the code of a stored verification over, stores what became of it, and answers. */
export async function sendCode(context: ServiceContext, toSend: CodeToSend): Promise<SendAnswer> {
  const { app, hops, verification, message } = toSend;
  const code = toSend.code ?? codeOf(context, verification);
  const stored: Message = {
    ...message,
    verificationId: verification.id,
    codeNumber: verification.codeNumber,
    validUntil: verification.expiresAt,
  };
  const result = await dispatchCode(context, { ...toSend, message: stored }, code);
  const { failure, taken } = result;
  const isSuccess = failure === undefined || isRetried(app, 'code');
  const sent: Verification = taken === undefined ? verification : { ...verification, channel: taken.channel };
  const answer: SendAnswer = isSuccess
    ? { kind: 'started', verification: viewOf(sent, context.now()), provider: taken?.provider }
    : refuseDelivery(failure);
  const dueAt = result.dueAt ?? retryAt(context, app, stored, result);
  if (taken === undefined && isSuccess) logUntaken(context, stored, hops, failure, dueAt);
  await settle(context, stored, { ...result, dueAt }, carriedOf(verification, result), answer);
  // A provider that makes its own code tells nobody, and ours is then worth nothing.
  const isOurs = taken?.managed === undefined;
  return answer.kind === 'started' && context.revealCodes && isOurs ? { ...answer, code } : answer;
}

/** One round along the hops with a verification's code. */
export function dispatchCode(
  context: ServiceContext,
  { app, hops, verification, message, reserved, retry }: Omit<CodeToSend, 'code'>,
  code = codeOf(context, verification),
): Promise<DispatchResult> {
  const { expiresAt, ending, email, managed, wording, sealedCode } = verification;
  return dispatch(context, {
    app,
    // A repeated start learns only from the store that the code is the caller's own, which none of these would send.
    hops: sealedCode === undefined ? hops : hops.filter(({ provider }) => provider.kind !== 'managed'),
    brand: wording?.brand ?? app.brand,
    message,
    code,
    email,
    reserved,
    managed,
    retry,
    textFor: (channel) =>
      composeCodeText(
        app,
        message.locale,
        code,
        expiresAt - context.now(),
        channel === 'sms' ? ending : undefined,
        wording,
      ),
  });
}

/** What the verification has to be told of a hand-over; nothing in the usual case, in which it was as planned. */
export function carriedOf({ channel, managed }: Verification, { taken }: DispatchResult): DispatchStep['carried'] {
  if (taken === undefined) return undefined;
  const isAsPlanned = taken.channel === channel && taken.managed === undefined && managed === undefined;
  return isAsPlanned ? undefined : taken;
}

/**
 * When a code that nobody took goes along its route again. Never where the number or the person is the reason, nor after
 * the one further hand-over that an uncertain outcome leaves.
 * @returns undefined when it does not
 */
export function retryAt(
  context: ServiceContext,
  app: App,
  message: Message,
  { taken, failure, dispatches, restMs }: DispatchResult,
): number | undefined {
  if (taken !== undefined || !isRetried(app, 'code')) return undefined;
  if (failure?.reason === 'recipient' || failure?.optOut === true) return undefined;
  if (handOversLeft([...message.dispatches, ...dispatches]) === 0) return undefined;
  const now = context.now();
  // From when the first provider was asked: how long it takes to answer makes no later wait longer.
  const triedForMs = (dispatches[0]?.at ?? now) - message.createdAt;
  const at = now + Math.max(retryDelayMs(triedForMs), restMs);
  return at < message.validUntil ? at : undefined;
}

/** For the operator: whoever asked for the code was told that all is well. */
export function logUntaken(
  { log }: ServiceContext,
  { app, id, verificationId, country }: Message,
  hops: readonly Hop[],
  failure: DispatchResult['failure'],
  dueAt: number | undefined,
): void {
  const fields = { app, message: id, verification: verificationId, country, reason: failure?.reason };
  const why = hops.length === 0 ? 'no configured provider sends this code' : 'no provider took this code';
  const isTheirs = failure?.reason === 'recipient' || failure?.optOut === true;
  log[isTheirs ? 'warn' : 'error'](
    fields,
    `${why}, and it is ${dueAt === undefined ? 'not tried again' : 'tried again'}`,
  );
}

type Settled = Pick<DispatchStep, 'dispatches' | 'state' | 'dueAt' | 'spent' | 'noReports'>;

/** Stores what became of a message, and the answer that a repeated request is to get. */
export async function settle(
  context: ServiceContext,
  message: Message,
  { dispatches, state, noReports, dueAt, spent }: Settled,
  carried: DispatchStep['carried'],
  answer: object | undefined,
): Promise<void> {
  const { app, idempotencyKey } = message;
  const step: DispatchStep = {
    now: context.now(),
    message,
    dispatches,
    state,
    dueAt,
    spent,
    carried,
    ...(noReports ? { noReports } : {}),
    answer:
      idempotencyKey === undefined || answer === undefined
        ? undefined
        : { app, key: idempotencyKey, text: JSON.stringify(answer) },
  };
  try {
    await context.store.recordDispatch(step);
  } catch (error) {
    const isAway = error instanceof CountersignError && error.code === 'store-unavailable';
    if (isAway && dispatches.length > 0) void context.underWay.add(recordLater(context, step));
    throw error;
  }
}

/**
 * The store was away when a message had just been handed over. What only this node knows must get there before the message is
 * taken for an orphan, and sent once more.
 */
async function recordLater(context: ServiceContext, step: DispatchStep): Promise<void> {
  const handedOverForMs = step.now - (step.dispatches[0]?.at ?? step.now);
  const givenUpAt = performance.now() + ORPHANED_AFTER_MS - RECORD_RESERVE_MS - handedOverForMs;
  while (performance.now() < givenUpAt) {
    await delay(RECORD_PAUSE_MS);
    try {
      return await context.store.recordDispatch({ ...step, now: context.now(), isRepeated: true });
    } catch {
      // The request itself was answered with it already.
    }
  }
  context.log.error({ message: step.message.id }, 'outcome of a hand-over lost: the message may go out once more');
}

/** The verification's code: the caller's own, as long as it is worth something, or ours. */
function codeOf(context: ServiceContext, { id, sealedCode, nonce, codeNumber, codeLength }: Verification): string {
  if (sealedCode !== undefined) return context.sealer.open(sealedCode, id).toString();
  return deriveCode(context.codeKeys, nonce, codeNumber, codeLength);
}

export function refuseDelivery({ reason, optOut, retryAfterMs }: NonNullable<DispatchResult['failure']>): Refusal {
  if (optOut) return refuse('recipient-refused', 'This person has asked for no more messages.', { field: 'to' });
  if (reason === 'recipient')
    return refuse('recipient-refused', 'This number cannot receive the message.', { field: 'to' });
  const facts = { retryAfterMs: retryAfterMs ?? 5000 };
  return reason === 'uncertain'
    ? refuse('delivery-failed', 'The provider did not say whether it took the message; it may still arrive.', facts)
    : refuse('delivery-failed', 'No provider took the message. Try again in a moment.', facts);
}

/** The answer of the first request with this key; waits for it when that one is still on its way. */
export async function awaitAnswer<Answer extends { readonly kind: string }>(
  context: ServiceContext,
  app: string,
  key: string,
  known: string | undefined,
): Promise<Answer | Refusal> {
  let answer = known;
  // By the clock: under load, asking takes longer than the pause in between.
  const patienceEnds = performance.now() + ANSWER_PATIENCE_MS;
  while (answer === undefined && performance.now() < patienceEnds) {
    await delay(ANSWER_POLL_MS);
    answer = await context.store.getAnswer(app, key);
  }
  if (answer === undefined) {
    return refuse('idempotency-in-progress', 'The first request with this Idempotency-Key is not answered yet.', {
      retryAfterMs: 1000,
    });
  }
  return JSON.parse(answer) as Answer | Refusal;
}

/** As `awaitAnswer`, with what no store may hold: in development mode the code, made again. */
export async function awaitSendAnswer(
  context: ServiceContext,
  app: string,
  key: string,
  known: string | undefined,
): Promise<SendAnswer> {
  const first = await awaitAnswer<SendAnswer>(context, app, key, known);
  if (first.kind !== 'started' || !context.revealCodes) return first;
  const verification = await context.store.getVerification(app, first.verification.id);
  if (verification?.ownCodeSent !== true) return first;
  const code = codeOf(context, verification);
  // A caller's own code is not kept for longer than it can be used.
  const isTheCode = verification.digests.byId.every(
    (byte, index) => byte === digestCode(context.codeKeys, verification.id, code)[index],
  );
  return isTheCode ? { ...first, code } : first;
}
