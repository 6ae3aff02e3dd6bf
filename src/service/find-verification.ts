import { isId } from '../domain/id.ts';
import { endedRefusal, unknownRefusal } from './check-verification.ts';
import { appOf, type ServiceContext } from './context.ts';
import type { VerificationAnswer } from './countersign.ts';
import { parseVerified } from './request.ts';
import { DEFAULT_APP, DEFAULT_PURPOSE } from './start-verification.ts';
import { viewOf } from './views.ts';

export type FindRequest = {
  readonly app?: string;
  readonly to: string;
  readonly country?: string;
  readonly purpose?: string;
  readonly subject?: string;
};

/** For a caller that kept no id, and has a right to know: whoever is the person itself checks by number instead. */
export async function findVerification(context: ServiceContext, request: FindRequest): Promise<VerificationAnswer> {
  const { purpose = DEFAULT_PURPOSE, subject } = request;
  const app = appOf(context, request.app ?? DEFAULT_APP);
  const recipient = parseVerified(app, request.to, request.country);
  if ('kind' in recipient) return recipient;
  const { number } = recipient.number;
  const verification = await context.store.findVerification({ app: app.id, purpose, subject, number });
  return verification === undefined
    ? unknownRefusal()
    : { kind: 'found', verification: viewOf(verification, context.now()) };
}

/** The caller compared the code itself, and says that it was right. */
export async function approveVerification(
  context: ServiceContext,
  { app = DEFAULT_APP, id }: { readonly app?: string; readonly id: string },
): Promise<VerificationAnswer> {
  if (!isId('ver', id)) return unknownRefusal();
  const now = context.now();
  const outcome = await context.store.approve(appOf(context, app).id, id, now);
  if (outcome.kind === 'unknown') return unknownRefusal();
  if (outcome.kind === 'ended') return endedRefusal(outcome.state);
  return { kind: 'found', verification: viewOf(outcome.verification, now) };
}
