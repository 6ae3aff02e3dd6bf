import { deriveCode, digestCode } from '../domain/code.ts';
import { makeId } from '../domain/id.ts';
import type { Message } from '../domain/message.ts';
import type { ParsedNumber } from '../domain/phone-number.ts';
import type { Channel } from '../domain/provider.ts';
import { boundToSlot, type CodeDigests, resendDelayMs, type Slot, type Verification } from '../domain/verification.ts';
import type { App } from './app.ts';
import { appOf, type ServiceContext } from './context.ts';
import { ORPHANED_AFTER_MS } from './dispatch.ts';
import {
  type AutofillRequest,
  endingFor,
  idempotencyOf,
  laneFor,
  parseRecipient,
  refuseAddress,
  refuseCountry,
  refuseEmail,
  sendBuckets,
  toRefusal,
} from './request.ts';
import { budgetTakeFor, planOrRefuse, watchBudget } from './routing.ts';
import { awaitSendAnswer, type SendAnswer, sendCode } from './send-code.ts';
import { localeFor, measureCodeText } from './texts.ts';

export type StartRequest = AutofillRequest & {
  /** the app that asks; `default` unless told otherwise */
  readonly app?: string;
  /** the number, in E.164 or as its owner writes it */
  readonly to: string;
  /** ISO 3166-1 alpha-2, for a number in national form */
  readonly country?: string;
  /** by this channel alone; the route decides when it is absent */
  readonly channel?: Channel;
  /** where a code by e-mail goes, when the channel or the route says e-mail */
  readonly email?: string;
  /** BCP 47; the language of the text */
  readonly locale?: string;
  /** what the code is for, e.g. `login`; a code of one purpose never approves another */
  readonly purpose?: string;
  /** the signed-in user it belongs to */
  readonly subject?: string;
  /** the end user's address, for the address limit */
  readonly clientIp?: string;
  /** token of an earlier approval of this number: its owner then has a guess budget of its own */
  readonly approvalToken?: string;
  /** up to 16 short texts of the caller's own */
  readonly metadata?: Readonly<Record<string, string>>;
  /** the same key and request give the same answer and no second message */
  readonly idempotencyKey?: string;
};

export const DEFAULT_APP = 'default';
export const DEFAULT_PURPOSE = 'login';

export async function startVerification(context: ServiceContext, request: StartRequest): Promise<SendAnswer> {
  const app = appOf(context, request.app ?? DEFAULT_APP);
  const recipient = parseRecipient(app, request.to, request.country);
  if ('kind' in recipient) return recipient;
  const { number } = recipient;
  const refusal = refuseAddress(request.clientIp) ?? refuseCountry(app, number) ?? refuseEmail(request.email);
  if (refusal !== undefined) return refusal;
  const ending = endingFor(app, request);
  if (ending?.kind === 'refused') return ending;
  const load = { channel: request.channel, carries: 'code', email: request.email } as const;
  const plan = planOrRefuse(context, app, number, load, request.idempotencyKey);
  if ('kind' in plan) return plan;
  const lane = await laneFor(context, app, number.number, request.approvalToken);
  if (typeof lane !== 'string') return lane;

  const now = context.now();
  const { idempotencyKey, app: _, ...body } = request;
  const idempotency = idempotencyOf(context, idempotencyKey, ['start', body], now);
  const slot: Slot = {
    app: app.id,
    purpose: request.purpose ?? DEFAULT_PURPOSE,
    subject: request.subject,
    number: number.number,
    lane,
  };
  const channel = plan.hops[0]?.channel ?? app.channel;
  const locale = localeFor(app, request.locale, number.country);
  const { verification, code } = newVerification(context, app, slot, number, {
    channel,
    locale,
    ending,
    email: request.email,
    metadata: request.metadata,
  });
  const measure = measureCodeText(app, locale, app.codeLength, app.codeTtlMs, ending);
  const planned = newMessage(context, verification, measure, now, idempotencyKey);
  const message = { ...planned, channelFixed: request.channel !== undefined };
  const budget = budgetTakeFor(context, app, plan.hops, number.country, measure.segments, now);
  const outcome = await context.store.start({
    now,
    verification,
    message,
    buckets: sendBuckets(app, number.number, request.clientIp),
    guesses: app.guesses,
    repeat: app.resend === 'repeat',
    delaysSeconds: app.resendAfterSeconds,
    budget,
    idempotency,
    orphanedAt: now + ORPHANED_AFTER_MS,
  });
  if (outcome.kind === 'replayed') return awaitSendAnswer(context, app.id, idempotencyKey ?? '', outcome.answer);
  if (outcome.kind !== 'started') return toRefusal(outcome, now);
  watchBudget(context, app, outcome.budget);
  const stored = outcome.verification;
  return sendCode(context, {
    app,
    hops: plan.hops,
    reserved: budget,
    verification: stored,
    message,
    ...(stored.id === verification.id ? { code } : {}),
  });
}

function newVerification(
  context: ServiceContext,
  app: App,
  slot: Slot,
  { country }: ParsedNumber,
  asked: Pick<Verification, 'channel' | 'locale' | 'ending' | 'email' | 'metadata'>,
): { verification: Verification; code: string } {
  const now = context.now();
  const id = makeId('ver', now, context.randomBytes(10));
  const nonce = context.randomBytes(16);
  const code = deriveCode(context.codeKeys, nonce, 0, app.codeLength);
  const verification: Verification = {
    ...slot,
    ...asked,
    id,
    country,
    state: 'pending',
    attempts: 0,
    maxAttempts: app.maxAttempts,
    sends: 1,
    maxSends: app.maxSends,
    nonce,
    codeNumber: 0,
    codeLength: app.codeLength,
    digests: digestsOf(context, id, slot, code),
    createdAt: now,
    expiresAt: now + app.codeTtlMs,
    resendAt: now + resendDelayMs(1, app.resendAfterSeconds),
    managed: undefined,
    ownCodeSent: true,
    sentByEmail: asked.channel === 'email',
    lastMessageId: undefined,
  };
  return { verification, code };
}

export function digestsOf(context: ServiceContext, id: string, slot: Slot, code: string): CodeDigests {
  return {
    byId: digestCode(context.codeKeys, id, code),
    bySlot: digestCode(context.codeKeys, boundToSlot(slot), code),
  };
}

/** The message that carries a verification's code. */
export function newMessage(
  context: ServiceContext,
  verification: Verification,
  { encoding, segments }: { encoding: Message['encoding']; segments: number },
  now: number,
  idempotencyKey: string | undefined,
): Message {
  return {
    id: makeId('msg', now, context.randomBytes(10)),
    app: verification.app,
    verificationId: verification.id,
    number: verification.number,
    country: verification.country,
    channel: verification.channel,
    channelFixed: false,
    locale: verification.locale,
    encoding,
    segments,
    sealedText: undefined,
    codeNumber: verification.codeNumber,
    idempotencyKey,
    state: 'pending',
    createdAt: now,
    validUntil: verification.expiresAt,
    dispatches: [],
  };
}
