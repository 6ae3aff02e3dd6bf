import { isId } from '../domain/id.ts';
import { endedRefusal, unknownRefusal } from './check-verification.ts';
import { appOf, type ServiceContext } from './context.ts';
import type { VerificationAnswer } from './countersign.ts';
import { DEFAULT_APP } from './start-verification.ts';
import { viewOf } from './views.ts';

export async function cancelVerification(
  context: ServiceContext,
  { app = DEFAULT_APP, id }: { readonly app?: string; readonly id: string },
): Promise<VerificationAnswer> {
  if (!isId('ver', id)) return unknownRefusal();
  const now = context.now();
  const outcome = await context.store.cancel(appOf(context, app).id, id, now);
  if (outcome.kind === 'unknown') return unknownRefusal();
  if (outcome.kind === 'ended') return endedRefusal(outcome.state);
  return { kind: 'found', verification: viewOf(outcome.verification, now) };
}
