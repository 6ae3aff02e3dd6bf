import { deriveCode } from '../domain/code.ts';
import { refuse } from '../domain/problem.ts';
import type { Channel } from '../domain/provider.ts';
import type { Verification } from '../domain/verification.ts';
import { endedRefusal, unknownRefusal } from './check-verification.ts';
import { appOf, type ServiceContext } from './context.ts';
import { ORPHANED_AFTER_MS } from './dispatch.ts';
import {
  idempotencyOf,
  parseRecipient,
  refuseAddress,
  refuseRecipient,
  refuseRoute,
  routeFor,
  sendBuckets,
  toRefusal,
} from './request.ts';
import { awaitSendAnswer, type SendAnswer, sendCode } from './send-code.ts';
import { DEFAULT_APP, digestsOf, newMessage } from './start-verification.ts';
import { measureCodeText } from './texts.ts';

export type ResendRequest = {
  readonly app?: string;
  readonly id: string;
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
    const channel = request.channel ?? verification.channel;
    const recipient = parseRecipient(app, verification.number, undefined);
    if ('kind' in recipient) return recipient;
    const refusal = refuseRecipient(app, recipient.number, channel);
    if (refusal !== undefined) return refusal;
    const route = routeFor(context, app, verification.country, channel);
    if (route.length === 0) return refuseRoute(verification.country, channel);

    const now = context.now();
    const { idempotencyKey, app: _, ...body } = request;
    const code = app.resend === 'replace' ? nextCode(context, verification) : undefined;
    const measure = measureCodeText(app, verification.locale, verification.codeLength, verification.expiresAt - now);
    const message = { ...newMessage(context, verification, measure, now, idempotencyKey), channel };
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
      idempotency: idempotencyOf(context, idempotencyKey, ['resend', body], now),
      orphanedAt: now + ORPHANED_AFTER_MS,
    });
    switch (outcome.kind) {
      case 'changed':
        continue;
      case 'resent':
        return sendCode(context, { app, route, verification: outcome.verification, message });
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
        return toRefusal(outcome);
    }
  }
  return refuse('resend-too-early', 'Other resends of this verification were quicker.', { retryAfterMs: 1000 });
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
