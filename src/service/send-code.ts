import { setTimeout as delay } from 'node:timers/promises';
import { deriveCode } from '../domain/code.ts';
import type { Message } from '../domain/message.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import type { Verification } from '../domain/verification.ts';
import type { App } from './app.ts';
import type { OpenProvider, ServiceContext } from './context.ts';
import { type DispatchResult, dispatch } from './dispatch.ts';
import { composeCodeText } from './texts.ts';
import { type VerificationView, viewOf } from './views.ts';

export type Started = {
  readonly kind: 'started';
  readonly verification: VerificationView;
  /** in development mode only */
  readonly code?: string;
};

export type SendAnswer = Started | Refusal;

const ANSWER_PATIENCE_MS = 10_000;
const ANSWER_POLL_MS = 25;

type CodeToSend = {
  readonly app: App;
  readonly route: readonly OpenProvider[];
  readonly verification: Verification;
  /** as the store was given it; what the store changed in it is what `verification` says */
  readonly message: Message;
  /** the verification's code, where it was derived just now */
  readonly code?: string;
};

/** Hands the code of a stored verification over, stores what became of it, and answers. */
export async function sendCode(
  context: ServiceContext,
  { app, route, verification, message, code = codeOf(context, verification) }: CodeToSend,
): Promise<SendAnswer> {
  const text = composeCodeText(app, message.locale, code, verification.expiresAt - context.now());
  const stored: Message = {
    ...message,
    verificationId: verification.id,
    codeNumber: verification.codeNumber,
    validUntil: verification.expiresAt,
  };
  const result = await dispatch(context, route, stored, text);
  const answer: SendAnswer =
    result.failure === undefined
      ? { kind: 'started', verification: viewOf(verification, context.now()) }
      : refuseDelivery(result.failure);
  await settle(context, message, result, answer);
  return answer.kind === 'started' && context.revealCodes ? { ...answer, code } : answer;
}

/** Stores what became of a message, and the answer that a repeated request is to get. */
export async function settle(
  context: ServiceContext,
  { id, app, idempotencyKey }: Message,
  { dispatches, state, noReports }: Pick<DispatchResult, 'dispatches' | 'state' | 'noReports'>,
  answer: object,
): Promise<void> {
  await context.store.recordDispatch({
    now: context.now(),
    messageId: id,
    dispatches,
    state,
    ...(noReports ? { noReports } : {}),
    answer: idempotencyKey === undefined ? undefined : { app, key: idempotencyKey, text: JSON.stringify(answer) },
  });
}

function codeOf(context: ServiceContext, { nonce, codeNumber, codeLength }: Verification): string {
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
  for (let waitedMs = 0; answer === undefined && waitedMs < ANSWER_PATIENCE_MS; waitedMs += ANSWER_POLL_MS) {
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
  return verification === undefined ? first : { ...first, code: codeOf(context, verification) };
}
