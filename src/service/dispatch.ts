import type { Dispatch, Message, MessageState } from '../domain/message.ts';
import { maskNumber } from '../domain/phone-number.ts';
import type { FailureReason, OutgoingMessage, SendOutcome } from '../domain/provider.ts';
import type { OpenProvider, ServiceContext } from './context.ts';

const TOTAL_DEADLINE_MS = 8000;
const PROVIDER_DEADLINE_MS = 3000;
/** When a message that its node did not settle counts as orphaned: well after the last deadline. */
export const ORPHANED_AFTER_MS = 15_000;

export type DispatchResult = {
  readonly dispatches: readonly Dispatch[];
  readonly state: MessageState;
  /** the provider that took it sends no delivery reports */
  readonly noReports: boolean;
  /** undefined when a provider took the message */
  readonly failure:
    | { readonly reason: FailureReason; readonly optOut: boolean; readonly retryAfterMs: number | undefined }
    | undefined;
};

/**
 * Hands a message over along the route until a provider takes it. A number that is invalid for everybody is not
 * tried elsewhere, a person who said STOP is never sent to by another way, and after an uncertain outcome there is
 * one more hand-over at most.
 */
export async function dispatch(
  context: ServiceContext,
  route: readonly OpenProvider[],
  message: Message,
  text: string,
): Promise<DispatchResult> {
  const startedAt = context.now();
  const dispatches: Dispatch[] = [];
  let failure: DispatchResult['failure'];
  let wasUncertain = false;
  for (const { id, provider } of route) {
    const at = context.now();
    const leftMs = Math.min(startedAt + TOTAL_DEADLINE_MS, message.validUntil) - at;
    if (leftMs <= 0) break;
    const reportUrl = provider.parseReport === undefined ? undefined : context.reportUrlOf(id);
    const outgoing: OutgoingMessage = {
      messageId: message.id,
      to: message.number,
      channel: message.channel,
      text,
      locale: message.locale,
      validitySeconds: Math.max(1, Math.floor((message.validUntil - at) / 1000)),
      ...(reportUrl === undefined ? {} : { reportUrl }),
    };
    const outcome = await sendWithin(Math.min(leftMs, PROVIDER_DEADLINE_MS), (signal) =>
      provider.send(outgoing, signal),
    );
    dispatches.push(toDispatch(id, outcome, at));
    logDispatch(context, id, message, outcome, context.now() - at);
    if (outcome.kind === 'accepted')
      return { dispatches, state: 'queued', noReports: provider.parseReport === undefined, failure: undefined };
    const { reason, optOut = false, retryAfterMs } = outcome;
    failure = { reason, optOut, retryAfterMs };
    if (reason === 'recipient' || optOut || wasUncertain) break;
    wasUncertain = reason === 'uncertain';
  }
  failure ??= { reason: 'unavailable', optOut: false, retryAfterMs: undefined };
  if (!dispatches.some(({ reason }) => reason === 'uncertain')) {
    return { dispatches, state: 'failed', noReports: true, failure };
  }
  // The text may still arrive, and then the code works: whatever came after, nobody is told that nobody took it.
  if (failure.reason !== 'recipient' && !failure.optOut) failure = { ...failure, reason: 'uncertain' };
  return { dispatches, state: 'unknown', noReports: true, failure };
}

/** A provider that stalls, or throws what it should have returned, is an outcome like any other. */
async function sendWithin(ms: number, send: (signal: AbortSignal) => Promise<SendOutcome>): Promise<SendOutcome> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<SendOutcome>((resolve) => {
    timer = setTimeout(() => {
      controller.abort();
      // Whatever the provider makes of the signal: nobody waits longer.
      resolve({ kind: 'failed', reason: 'uncertain', code: 'timeout' });
    }, ms);
  });
  try {
    return await Promise.race([send(controller.signal), timeout]);
  } catch (error) {
    return { kind: 'failed', reason: 'uncertain', code: error instanceof Error ? error.name : 'thrown' };
  } finally {
    clearTimeout(timer);
  }
}

function toDispatch(provider: string, outcome: SendOutcome, at: number): Dispatch {
  if (outcome.kind === 'accepted') {
    return {
      provider,
      state: 'queued',
      providerMessageId: outcome.providerMessageId,
      reason: undefined,
      errorCode: undefined,
      at,
    };
  }
  const state = outcome.reason === 'uncertain' ? 'unknown' : 'failed';
  return { provider, state, providerMessageId: undefined, reason: outcome.reason, errorCode: outcome.code, at };
}

function logDispatch(
  context: ServiceContext,
  provider: string,
  message: Message,
  outcome: SendOutcome,
  durationMs: number,
): void {
  const fields = {
    app: message.app,
    message: message.id,
    verification: message.verificationId,
    provider,
    channel: message.channel,
    country: message.country,
    number: maskNumber(message.number),
    durationMs,
  };
  if (outcome.kind === 'accepted') context.log.info(fields, 'dispatch accepted');
  else {
    const { reason, code } = outcome;
    const isOurs = reason === 'account' || reason === 'content' || reason === 'coverage';
    context.log[isOurs ? 'error' : 'warn']({ ...fields, reason, errorCode: code }, 'dispatch failed');
  }
}
