import { makeId } from '../domain/id.ts';
import type { Message } from '../domain/message.ts';
import { measureText, normalizeText } from '../domain/message-text.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import type { Channel } from '../domain/provider.ts';
import type { BudgetTake } from '../domain/store.ts';
import type { App } from './app.ts';
import { appOf, type ServiceContext } from './context.ts';
import { type DispatchResult, dispatch, ORPHANED_AFTER_MS } from './dispatch.ts';
import { bucket, idempotencyOf, parseRecipient, refuseCountry, toRefusal } from './request.ts';
import { budgetTakeFor, type Hop, planOrRefuse, watchBudget } from './routing.ts';
import { awaitAnswer, refuseDelivery, settle } from './send-code.ts';
import { DEFAULT_APP } from './start-verification.ts';
import { localeFor } from './texts.ts';

export type MessageRequest = {
  readonly app?: string;
  readonly to: string;
  readonly country?: string;
  /** the whole text; typographic characters that only cost segments are replaced */
  readonly text: string;
  readonly channel?: Channel;
  readonly idempotencyKey?: string;
};

/** What a caller sees of a message. Instants are ms since the epoch. */
export type MessageView = {
  readonly id: string;
  readonly status: Message['state'];
  readonly to: string;
  readonly country: string | undefined;
  readonly channel: string;
  readonly encoding: Message['encoding'];
  /** what is billed */
  readonly segments: number;
  /** absent for a custom message */
  readonly verificationId: string | undefined;
  /** of a custom message; a text with a code is never shown */
  readonly text: string | undefined;
  readonly createdAt: number;
  readonly dispatches: Message['dispatches'];
};

export type Sent = { readonly kind: 'sent'; readonly message: MessageView };
export type MessageAnswer = Sent | Refusal;

/** How long a provider may try: a text like "your driver is here" is worth nothing the next day. */
const CUSTOM_VALIDITY_MS = 4 * 3_600_000;
/** The most that Twilio, the strictest, takes. https://www.twilio.com/docs/errors/21617 */
const MAX_TEXT_CHARS = 1600;

export async function sendMessage(context: ServiceContext, request: MessageRequest): Promise<MessageAnswer> {
  const app = appOf(context, request.app ?? DEFAULT_APP);
  const recipient = parseRecipient(app, request.to, request.country);
  if ('kind' in recipient) return recipient;
  const { number } = recipient;
  const text = normalizeText(request.text);
  if (text.trim() === '') return refuse('text-invalid', 'The text is empty.', { field: 'text' });
  if (text.length > MAX_TEXT_CHARS)
    return refuse('text-invalid', `The text has ${text.length} characters; ${MAX_TEXT_CHARS} is the most.`, {
      field: 'text',
    });
  const refusal = refuseCountry(app, number);
  if (refusal !== undefined) return refusal;
  const load = { channel: request.channel, carries: 'text', email: undefined } as const;
  const plan = planOrRefuse(context, app, number, load, request.idempotencyKey);
  if ('kind' in plan) return plan;

  const now = context.now();
  const id = makeId('msg', now, context.randomBytes(10));
  const { encoding, segments } = measureText(text);
  const message: Message = {
    id,
    app: app.id,
    verificationId: undefined,
    number: number.number,
    country: number.country,
    channel: plan.hops[0]?.channel ?? app.channel,
    channelFixed: request.channel !== undefined,
    locale: localeFor(app, undefined, number),
    encoding,
    segments,
    sealedText: context.sealer.seal(text, id),
    codeNumber: 0,
    idempotencyKey: request.idempotencyKey,
    state: 'pending',
    createdAt: now,
    validUntil: now + CUSTOM_VALIDITY_MS,
    dispatches: [],
  };
  const { idempotencyKey, app: _, ...body } = request;
  const budget = budgetTakeFor(context, app, plan.hops, number.country, segments, now);
  const outcome = await context.store.addMessage({
    now,
    message,
    buckets: bucket('number', number.number, app.limits.messagesPerNumber),
    budget,
    idempotency: idempotencyOf(context, idempotencyKey, ['message', body], now),
    orphanedAt: now + ORPHANED_AFTER_MS,
  });
  if (outcome.kind === 'replayed') {
    const first = await awaitAnswer<MessageAnswer>(context, app.id, idempotencyKey ?? '', outcome.answer);
    // The same request had the same text; the answer was kept without it.
    return first.kind === 'sent' ? { ...first, message: { ...first.message, text } } : first;
  }
  if (outcome.kind !== 'added') return toRefusal(outcome, now);
  watchBudget(context, app, outcome.budget);
  return deliverMessage(context, { app, hops: plan.hops, message, text, reserved: budget });
}

export type TextToSend = {
  readonly app: App;
  readonly hops: readonly Hop[];
  readonly message: Message;
  readonly text: string;
  readonly reserved: BudgetTake | undefined;
};

/** Hands a stored message over, stores what became of it, and answers. */
export async function deliverMessage(context: ServiceContext, toSend: TextToSend): Promise<MessageAnswer> {
  const { message } = toSend;
  const result = await dispatchText(context, toSend);
  const settled: Message = { ...message, state: result.state, dispatches: result.dispatches };
  const answer: MessageAnswer =
    result.failure === undefined
      ? { kind: 'sent', message: messageViewOf(context, settled) }
      : refuseDelivery(result.failure);
  await settle(context, message, result, undefined, withoutText(answer));
  return answer;
}

/** One round along the hops with a text of the caller's. */
export function dispatchText(
  context: ServiceContext,
  { app, hops, message, text, reserved }: TextToSend,
): Promise<DispatchResult> {
  return dispatch(context, {
    app,
    hops,
    message,
    brand: app.brand,
    reserved,
    textFor: () => text,
    code: undefined,
    email: undefined,
    managed: undefined,
    retry: undefined,
  });
}

/** The text stays sealed in the store, also in the answer that is kept for a repeated request. */
function withoutText(answer: MessageAnswer): MessageAnswer {
  return answer.kind === 'sent' ? { ...answer, message: { ...answer.message, text: undefined } } : answer;
}

export function messageViewOf(context: ServiceContext, message: Message): MessageView {
  return {
    id: message.id,
    status: message.state,
    to: message.number,
    country: message.country,
    channel: message.channel,
    encoding: message.encoding,
    segments: message.segments,
    verificationId: message.verificationId,
    text: message.sealedText === undefined ? undefined : context.sealer.open(message.sealedText, message.id).toString(),
    createdAt: message.createdAt,
    dispatches: message.dispatches,
  };
}
