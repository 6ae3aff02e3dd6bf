import type { Message } from '../domain/message.ts';
import { refuse } from '../domain/problem.ts';
import { stateAt, type Verification } from '../domain/verification.ts';
import type { ServiceContext } from './context.ts';
import { ORPHANED_AFTER_MS } from './dispatch.ts';
import { routeFor } from './request.ts';
import { sendCode, settle } from './send-code.ts';
import { deliverMessage } from './send-message.ts';

const BATCH = 50;

/**
 * Takes up the messages whose node died between storing and handing over: sends those that are still worth it,
 * with the same code, and says of the others why not. Called at the start and then every few seconds.
 * @returns how many were taken up
 */
export async function recoverOrphans(context: ServiceContext): Promise<number> {
  const now = context.now();
  const orphans = await context.store.claimOrphans(now, now + ORPHANED_AFTER_MS, BATCH);
  // One message that cannot be taken up (its text sealed under another key, say) must not keep the others back.
  await Promise.all(
    orphans.map(({ message, verification }) =>
      recoverOne(context, message, verification).catch((error: unknown) =>
        context.log.error(
          { app: message.app, message: message.id, error: error instanceof Error ? error.message : String(error) },
          'orphaned message cannot be taken up',
        ),
      ),
    ),
  );
  return orphans.length;
}

async function recoverOne(
  context: ServiceContext,
  message: Message,
  verification: Verification | undefined,
): Promise<void> {
  const app = context.apps.get(message.app);
  const now = context.now();
  const fields = { app: message.app, message: message.id, verification: message.verificationId };
  const route = app === undefined ? [] : routeFor(context, app, message.country, message.channel);
  if (app !== undefined && route.length > 0 && message.validUntil > now) {
    if (message.sealedText !== undefined) {
      context.log.warn(fields, 'orphaned message taken up');
      await deliverMessage(context, route, message, context.sealer.open(message.sealedText, message.id).toString());
      return;
    }
    // A code that was replaced since, or whose verification has ended, is worth nothing to anybody.
    if (verification?.codeNumber === message.codeNumber && stateAt(verification, now) === 'pending') {
      context.log.warn(fields, 'orphaned message taken up');
      await sendCode(context, { app, route, verification, message });
      return;
    }
  }
  context.log.warn(fields, 'orphaned message given up');
  const dispatches = [
    {
      provider: 'none',
      state: 'failed',
      providerMessageId: undefined,
      reason: 'expired',
      errorCode: undefined,
      at: now,
    },
  ] as const;
  await settle(
    context,
    message,
    { dispatches, state: 'failed', noReports: true },
    refuse('delivery-failed', 'The message was not sent in time.'),
  );
}
