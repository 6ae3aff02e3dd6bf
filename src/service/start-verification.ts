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
  idempotencyOf,
  laneFor,
  parseRecipient,
  refuseAddress,
  refuseRecipient,
  refuseRoute,
  routeFor,
  sendBuckets,
  toRefusal,
} from './request.ts';
import { awaitSendAnswer, type SendAnswer, sendCode } from './send-code.ts';
import { localeFor, measureCodeText } from './texts.ts';

export type StartRequest = {
  /** the app that asks; `default` unless told otherwise */
  readonly app?: string;
  /** the number, in E.164 or as its owner writes it */
  readonly to: string;
  /** ISO 3166-1 alpha-2, for a number in national form */
  readonly country?: string;
  readonly channel?: Channel;
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
  const channel = request.channel ?? app.channel;
  const refusal = refuseAddress(request.clientIp) ?? refuseRecipient(app, number, channel);
  if (refusal !== undefined) return refusal;
  const route = routeFor(context, app, number.country, channel);
  if (route.length === 0) return refuseRoute(number.country, channel);
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
  const locale = localeFor(app, request.locale, number.country);
  const { verification, code } = newVerification(context, app, slot, number, channel, locale, request.metadata, now);
  const measure = measureCodeText(app, locale, app.codeLength, app.codeTtlMs);
  const message = newMessage(context, verification, measure, now, idempotencyKey);
  const outcome = await context.store.start({
    now,
    verification,
    message,
    buckets: sendBuckets(app, number.number, request.clientIp),
    guesses: app.guesses,
    repeat: app.resend === 'repeat',
    delaysSeconds: app.resendAfterSeconds,
    idempotency,
    orphanedAt: now + ORPHANED_AFTER_MS,
  });
  if (outcome.kind === 'replayed') return awaitSendAnswer(context, app.id, idempotencyKey ?? '', outcome.answer);
  if (outcome.kind !== 'started') return toRefusal(outcome);
  const stored = outcome.verification;
  return sendCode(context, {
    app,
    route,
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
  channel: Channel,
  locale: string,
  metadata: Verification['metadata'],
  now: number,
): { verification: Verification; code: string } {
  const id = makeId('ver', now, context.randomBytes(10));
  const nonce = context.randomBytes(16);
  const code = deriveCode(context.codeKeys, nonce, 0, app.codeLength);
  const verification: Verification = {
    ...slot,
    id,
    country,
    channel,
    locale,
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
    metadata,
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
