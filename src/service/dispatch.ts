import { maskRecipient } from '../domain/email.ts';
import { type Dispatch, handOversLeft, type Message, type MessageState } from '../domain/message.ts';
import { believable } from '../domain/price.ts';
import type { Channel, FailureReason, SendOutcome } from '../domain/provider.ts';
import type { BudgetTake, DispatchStep } from '../domain/store.ts';
import { dayOf } from '../domain/usage.ts';
import type { ManagedCode } from '../domain/verification.ts';
import type { App } from './app.ts';
import type { ServiceContext } from './context.ts';
import { pause, TooLate, withinDeadline } from './deadline.ts';
import { budgetTakeFor, type Hop, inBudgetMicros, priceOf, watchBudget } from './routing.ts';

const TOTAL_DEADLINE_MS = 8000;
/** When a message that its node did not settle counts as orphaned: well after the last deadline. */
export const ORPHANED_AFTER_MS = 15_000;

/** One message, and the ways that it may go. */
export type Delivery = {
  readonly app: App;
  readonly hops: readonly Hop[];
  readonly message: Message;
  /** as the person is to know who it is from */
  readonly brand: string;
  readonly textFor: (channel: Channel) => string;
  /** the code in the text; undefined for a custom message */
  readonly code: string | undefined;
  readonly email: string | undefined;
  /** of a code that a managed provider made for this verification before */
  readonly managed: ManagedCode | undefined;
  /** what was set aside of the app's budget */
  readonly reserved: BudgetTake | undefined;
  /** nobody took it in the rounds before: it goes along its whole route again, as long as somebody waits for it */
  readonly retry: { readonly isWanted: () => Promise<boolean> } | undefined;
};

export type DispatchResult = Pick<DispatchStep, 'dispatches' | 'dueAt' | 'spent' | 'noReports'> & {
  readonly state: MessageState;
  /** how long each of the ways wants to be left alone; 0 when one of them does not */
  readonly restMs: number;
  /** undefined when no provider took the message */
  readonly taken:
    | { readonly provider: string; readonly channel: Channel; readonly managed: ManagedCode | undefined }
    | undefined;
  /** undefined when a provider took the message */
  readonly failure:
    | { readonly reason: FailureReason; readonly optOut: boolean; readonly retryAfterMs: number | undefined }
    | undefined;
};

/**
 * Hands a message over along the route until a provider takes it. One that is out of order costs no time. A number that
 * is invalid for everybody is not tried elsewhere, a person who said STOP is never sent to by another way, and after an
 * uncertain outcome there is one more hand-over at most, also where that was a round before this one.
 */
export async function dispatch(context: ServiceContext, delivery: Delivery): Promise<DispatchResult> {
  const { app, hops, message } = delivery;
  const startedAt = context.now();
  const until = Math.min(startedAt + TOTAL_DEADLINE_MS, message.validUntil);
  const dispatches: Dispatch[] = [];
  let failure: DispatchResult['failure'];
  let wasUncertain = false;
  const isLastHandOver = delivery.retry !== undefined && handOversLeft(message.dispatches) === 1;
  // All of it belongs to the day from which it was taken, also where midnight passes meanwhile.
  const day = delivery.reserved?.day ?? dayOf(startedAt);
  let reservedMicros = delivery.reserved?.micros ?? 0;
  let firstFreeAt = Number.POSITIVE_INFINITY;
  let whySkipped: 'unavailable' | 'throttled' = 'unavailable';
  for (const [index, hop] of hops.entries()) {
    const { provider, channel } = hop;
    // The person may have asked for another text while the way before this one took its time.
    if (delivery.retry !== undefined && !(await delivery.retry.isWanted())) break;
    // Waiting for a place is for the last one alone: before that, the next provider is there at once.
    const canWaitMs = index === hops.length - 1 ? until - context.now() - 1000 : 0;
    const admission = context.health.admit(provider, message.country, Math.max(0, canWaitMs));
    if (admission.kind === 'skip') {
      firstFreeAt = Math.min(firstFreeAt, admission.until);
      whySkipped = admission.reason;
      continue;
    }
    if (admission.waitMs > 0) await pause(admission.waitMs);
    const at = context.now();
    const leftMs = until - at;
    if (leftMs <= 0) break;
    if (wasUncertain) {
      // The first one may have to be paid as well, and only one was set aside.
      const more = await reserveMore(context, delivery, hop, day);
      if (more === undefined) break;
      reservedMicros += more;
    }
    // Before it can be read; one that was planned for e-mail is marked already.
    if (channel === 'email' && message.channel !== 'email' && message.verificationId !== undefined)
      await context.store.recordEmail(message.app, message.verificationId, at);
    const answered = await sendWithin(Math.min(leftMs, provider.deadlineMs), (signal) =>
      handOver(context, delivery, hop, at, signal),
    );
    const outcome = withSafeCode(answered, delivery);
    context.health.record(provider.id, message.country, outcome);
    dispatches.push(toDispatch(context, hop, message, outcome, at));
    logDispatch(context, hop, delivery, outcome, context.now() - at);
    if (outcome.kind === 'accepted') {
      const { reportTimeoutMs } = provider;
      const canReport =
        provider.provider.parseReport !== undefined ||
        provider.provider.fetchReport !== undefined ||
        provider.provider.onReport !== undefined;
      const dueAt = reportTimeoutMs !== undefined && canReport ? at + reportTimeoutMs : undefined;
      return {
        dispatches,
        state: 'queued',
        restMs: 0,
        dueAt: dueAt !== undefined && dueAt < message.validUntil ? dueAt : undefined,
        spent: spentOf(context, app, dispatches, reservedMicros, day),
        ...(canReport ? {} : { noReports: true }),
        taken: {
          provider: provider.id,
          channel,
          managed:
            provider.kind === 'managed'
              ? { provider: provider.id, providerMessageId: outcome.providerMessageId }
              : undefined,
        },
        failure: undefined,
      };
    }
    const { reason, optOut = false, retryAfterMs } = outcome;
    failure = { reason, optOut, retryAfterMs };
    firstFreeAt = Math.min(firstFreeAt, context.now() + (retryAfterMs ?? 0));
    if (reason === 'recipient' || optOut || wasUncertain || isLastHandOver) break;
    wasUncertain = reason === 'uncertain';
  }
  const now = context.now();
  const restMs = Number.isFinite(firstFreeAt) ? Math.max(0, firstFreeAt - now) : 0;
  // Then all that there are were passed by.
  failure ??= { reason: whySkipped, optOut: false, retryAfterMs: hops.length === 0 ? undefined : Math.max(1, restMs) };
  // A message that was handed to nobody says so as well.
  if (dispatches.length + message.dispatches.length === 0) dispatches.push(notSent(message, failure.reason, now));
  const spent = spentOf(context, app, dispatches, reservedMicros, day);
  const settled = { dispatches, restMs, dueAt: undefined, spent, noReports: true, taken: undefined } as const;
  const mayArrive = isLastHandOver || dispatches.some(({ reason }) => reason === 'uncertain');
  if (!mayArrive) return { ...settled, state: 'failed', failure };
  // The text may still arrive, and then the code works: whatever came after, nobody is told that nobody took it.
  if (failure.reason !== 'recipient' && !failure.optOut) failure = { ...failure, reason: 'uncertain' };
  return { ...settled, state: 'unknown', failure };
}

function handOver(
  context: ServiceContext,
  { brand, message, textFor, code, email, managed }: Delivery,
  { provider, channel }: Hop,
  at: number,
  signal: AbortSignal,
): Promise<SendOutcome> {
  const reportUrl = provider.provider.parseReport === undefined ? undefined : context.reportUrlOf(provider.id);
  const addressed = {
    messageId: message.id,
    to: message.number,
    channel,
    brand,
    locale: message.locale,
    validitySeconds: Math.max(1, Math.floor((message.validUntil - at) / 1000)),
    ...(email === undefined || channel !== 'email' ? {} : { email }),
    ...(reportUrl === undefined ? {} : { reportUrl }),
  };
  if (provider.kind === 'managed') {
    const previousId = managed?.provider === provider.id ? managed.providerMessageId : undefined;
    return provider.provider.start({ ...addressed, ...(previousId === undefined ? {} : { previousId }) }, signal);
  }
  return provider.provider.send(
    { ...addressed, text: textFor(channel), ...(code === undefined ? {} : { code }) },
    signal,
  );
}

async function reserveMore(
  context: ServiceContext,
  { app, message }: Delivery,
  hop: Hop,
  day: string,
): Promise<number | undefined> {
  const wanted = budgetTakeFor(context, app, [hop], message.country, message.segments, context.now());
  if (wanted === undefined) return 0;
  const take = { ...wanted, day };
  const outcome = await context.store.takeBudget(app.id, take);
  if (outcome.kind === 'over-budget') return undefined;
  watchBudget(context, app, outcome);
  return take.micros;
}

/** What was spent in the end, less what was set aside. */
function spentOf(
  context: ServiceContext,
  app: App,
  dispatches: readonly Dispatch[],
  reservedMicros: number,
  day: string,
): DispatchStep['spent'] {
  if (app.budget === undefined) return undefined;
  const costs = dispatches.map(
    // Our own price where the provider's word is in a currency that nobody gave a rate for.
    ({ reportedCost, estimatedCost }) =>
      inBudgetMicros(context, app, reportedCost) ?? inBudgetMicros(context, app, estimatedCost) ?? 0,
  );
  const micros = costs.reduce((sum, cost) => sum + cost, 0) - reservedMicros;
  return micros === 0 ? undefined : { day, micros };
}

/** A provider that stalls, or throws what it should have returned, is an outcome like any other. */
async function sendWithin(ms: number, send: (signal: AbortSignal) => Promise<SendOutcome>): Promise<SendOutcome> {
  try {
    return await withinDeadline(ms, send);
  } catch (error) {
    const code = error instanceof TooLate ? 'timeout' : error instanceof Error ? error.name : 'thrown';
    return { kind: 'failed', reason: 'uncertain', code };
  }
}

function toDispatch(context: ServiceContext, hop: Hop, message: Message, outcome: SendOutcome, at: number): Dispatch {
  const { provider, channel } = hop;
  const known = { provider: provider.id, channel, at };
  if (outcome.kind === 'accepted') {
    return {
      ...known,
      state: 'queued',
      providerMessageId: outcome.providerMessageId,
      reason: undefined,
      errorCode: undefined,
      estimatedCost: priceOf(context, hop, message.country, outcome.segments ?? message.segments),
      reportedCost: believable(outcome.cost),
    };
  }
  const isUncertain = outcome.reason === 'uncertain';
  return {
    ...known,
    state: isUncertain ? 'unknown' : 'failed',
    providerMessageId: undefined,
    reason: outcome.reason,
    errorCode: outcome.code,
    // It may have been taken, and then it is paid for.
    estimatedCost: isUncertain ? priceOf(context, hop, message.country, message.segments) : undefined,
    reportedCost: undefined,
  };
}

/** An error of a provider that quotes our text would bring the code into the log and the history. */
function withSafeCode(outcome: SendOutcome, delivery: Delivery): SendOutcome {
  return outcome.kind === 'failed' && givesAway(outcome.code, delivery) ? { ...outcome, code: 'withheld' } : outcome;
}

/** In the place of a hand-over, for a message that was handed to nobody: why not. */
export function notSent({ channel }: Message, reason: Dispatch['reason'], at: number): Dispatch {
  return {
    provider: 'none',
    channel,
    state: 'failed',
    providerMessageId: undefined,
    reason,
    errorCode: undefined,
    estimatedCost: undefined,
    reportedCost: undefined,
    at,
  };
}

function logDispatch(
  context: ServiceContext,
  { provider, channel }: Hop,
  delivery: Delivery,
  outcome: SendOutcome,
  durationMs: number,
): void {
  const { message } = delivery;
  const fields = {
    app: message.app,
    message: message.id,
    verification: message.verificationId,
    provider: provider.id,
    channel,
    country: message.country,
    number: maskRecipient(message.number),
    durationMs,
  };
  if (outcome.kind === 'accepted') {
    const { providerMessageId } = outcome;
    const isSafe = !givesAway(providerMessageId, delivery);
    context.log.info({ ...fields, ...(isSafe ? { providerMessageId } : {}) }, 'dispatch accepted');
  } else {
    const { reason, code } = outcome;
    const isOurs = reason === 'account' || reason === 'content' || reason === 'coverage';
    context.log[isOurs ? 'error' : 'warn']({ ...fields, reason, errorCode: code }, 'dispatch failed');
  }
}

/** Ids are the vendors' own: WhatsApp's, for one, hold the number in Base64, somewhere behind a dot. */
function givesAway(id: string, { message, code }: Delivery): boolean {
  const secrets = [message.number.replace(/^\+/, ''), ...(code === undefined ? [] : [code])];
  const readings = [id, ...id.split('.').map((part) => Buffer.from(part, 'base64').toString('latin1'))];
  return readings.some((reading) => secrets.some((secret) => reading.includes(secret)));
}
