import { deriveCode } from '../domain/code.ts';
import { isAddress } from '../domain/email.ts';
import { refuse } from '../domain/problem.ts';
import type { Channel } from '../domain/provider.ts';
import { lastMessageOf, type Verification } from '../domain/verification.ts';
import { endedRefusal, unknownRefusal } from './check-verification.ts';
import { appOf, type ServiceContext } from './context.ts';
import { ORPHANED_AFTER_MS } from './dispatch.ts';
import {
  type AutofillRequest,
  endingFor,
  idempotencyOf,
  parseKept,
  refuseAddress,
  refuseCountry,
  refuseWayTo,
  sendBuckets,
  toRefusal,
} from './request.ts';
import { budgetTakeFor, planOrRefuse, watchBudget } from './routing.ts';
import { awaitSendAnswer, type SendAnswer, sendCode } from './send-code.ts';
import { DEFAULT_APP, digestsOf, newMessage } from './start-verification.ts';
import { measureCodeText } from './texts.ts';

export type ResendRequest = AutofillRequest & {
  readonly app?: string;
  readonly id: string;
  /** by this channel alone; else the one that was named the last time, or whichever the route says */
  readonly channel?: Channel;
  /** the end user's address, for the address limit */
  readonly clientIp?: string;
  readonly idempotencyKey?: string;
};

/** How often a resend that lost a race against another one reads again. */
const RACES = 5;

export async function resendVerification(context: ServiceContext, request: ResendRequest): Promise<SendAnswer> {
  const app = appOf(context, request.app ?? DEFAULT_APP);
  const badAddress = refuseAddress(request.clientIp);
  if (badAddress !== undefined) return badAddress;
  for (let race = 0; race < RACES; race += 1) {
    const verification = await context.store.getVerification(app.id, request.id);
    if (verification === undefined) return unknownRefusal();
    const recipient = parseKept(verification.number);
    if ('kind' in recipient) return recipient;
    const wanted = request.channel ?? (await channelNamedBefore(context, verification));
    const refusal =
      refuseCountry(app, recipient.number) ??
      refuseWayTo(verification.number, wanted === undefined ? {} : { channel: wanted });
    if (refusal !== undefined) return refusal;
    const asked = endingFor(app, request);
    if (asked?.kind === 'refused') return asked;
    const ending = asked ?? verification.ending;
    const isOwnCode = verification.sealedCode !== undefined;
    const load = { channel: wanted, carries: 'code', email: verification.email, isOwnCode } as const;
    const plan = planOrRefuse(context, app, recipient.number, load, request.idempotencyKey);
    if ('kind' in plan) return plan;

    const now = context.now();
    const { idempotencyKey, app: _, ...body } = request;
    // A code of the caller's own is the caller's to replace.
    const code = app.resend === 'replace' && !isOwnCode ? nextCode(context, verification) : undefined;
    const { locale, codeLength, expiresAt, country, wording } = verification;
    const measure = measureCodeText(app, locale, codeLength, expiresAt - now, ending, wording);
    const channel = plan.hops[0]?.channel ?? verification.channel;
    const planned = newMessage(context, verification, measure, now, idempotencyKey);
    const message = { ...planned, channel, channelFixed: wanted !== undefined };
    const budget = budgetTakeFor(context, app, plan.hops, country, measure.segments, now);
    const outcome = await context.store.resend({
      now,
      app: app.id,
      id: verification.id,
      channel,
      message,
      buckets: sendBuckets(app, verification.number, request.clientIp),
      guesses: app.guesses,
      delaysSeconds: app.resendAfterSeconds,
      code,
      budget,
      ending,
      idempotency: idempotencyOf(context, idempotencyKey, ['resend', body], now),
      orphanedAt: now + ORPHANED_AFTER_MS,
    });
    switch (outcome.kind) {
      case 'changed':
        continue;
      case 'resent':
        watchBudget(context, app, outcome.budget);
        return sendCode(context, {
          app,
          hops: plan.hops,
          reserved: budget,
          verification: outcome.verification,
          message,
        });
      case 'unknown':
        return unknownRefusal();
      case 'ended':
        return endedRefusal(outcome.state);
      case 'too-early':
        return refuse('resend-too-early', 'The last message was sent a moment ago.', {
          retryAfterMs: outcome.retryAfterMs,
        });
      case 'sends-exhausted':
        return refuse(
          'sends-exhausted',
          'This verification was sent as often as it may be. Start a new one when it has expired.',
          {
            retryAfterMs: Math.max(1, verification.expiresAt - now),
          },
        );
      case 'replayed':
        return awaitSendAnswer(context, app.id, idempotencyKey ?? '', outcome.answer);
      default:
        return toRefusal(outcome, now);
    }
  }
  return refuse('resend-too-early', 'Other resends of this verification were quicker.', { retryAfterMs: 1000 });
}

/** Who asked for a call is called again: a landline takes nothing else. */
async function channelNamedBefore(context: ServiceContext, verification: Verification): Promise<Channel | undefined> {
  const { app, number } = verification;
  if (isAddress(number)) return 'email';
  const lastMessageId = lastMessageOf(verification);
  const last = lastMessageId === undefined ? undefined : await context.store.getMessage(app, lastMessageId);
  return last?.channelFixed === true ? last.channel : undefined;
}

function nextCode(context: ServiceContext, verification: Verification) {
  const codeNumber = verification.codeNumber + 1;
  const code = deriveCode(context.codeKeys, verification.nonce, codeNumber, verification.codeLength);
  return {
    replaces: verification.codeNumber,
    codeNumber,
    digests: digestsOf(context, verification.id, verification, code),
  };
}
