import { setTimeout as delay } from 'node:timers/promises';
import type { PhoneNumber } from '../domain/phone-number.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import { shadowAppOf } from '../domain/shadow.ts';
import type { Store } from '../domain/store.ts';
import { appOf, type ServiceContext } from './context.ts';
import { parseVerified } from './request.ts';
import { DEFAULT_APP } from './start-verification.ts';

export type EraseRequest = {
  readonly app?: string;
  readonly to: string;
  /** for a national form; the app's own when absent */
  readonly country?: string;
};

export type Erased = { readonly kind: 'erased' };

/** Erases what an app has of a number, its user too. */
export type Eraser = (app: string, number: PhoneNumber) => Promise<void>;

/** Between two steps of a walk through the history, so that other requests are not kept waiting by it. */
const PAUSE_MS = 1;

/** Replaces the answers that name the number. A conflict, so that nobody sends a second message where one was asked for. */
const erasedAnswer = JSON.stringify(
  refuse(
    'idempotency-conflict',
    'What this Idempotency-Key was used for has been erased. Use a new key for a new request.',
  ),
);

/**
 * One walk at a time, and requests for the same number share the one that is to come: whoever asks a thousand times at once
 * costs two walks and not a thousand.
 */
export function createEraser({ store }: Pick<ServiceContext, 'store'>): Eraser {
  const waiting = new Map<string, Promise<void>>();
  let last: Promise<unknown> = Promise.resolve();
  return async (app, number) => {
    // At once: what is pending ends now, however long the walk has to wait for others.
    await store.eraseHistory({ app, number, answer: erasedAnswer, resumeAt: undefined });
    const key = `${app} ${number}`;
    const same = waiting.get(key);
    if (same !== undefined) return same;
    const walk = last.then(async () => {
      // One that has begun may be past what was made since: the next request needs another.
      waiting.delete(key);
      // Of a shadow mode as well, which may be over.
      await eraseAllOf(store, shadowAppOf(app), number);
      await eraseAllOf(store, app, number);
    });
    waiting.set(key, walk);
    last = walk.catch(() => {});
    return walk;
  };
}

/** The user comes last: should this process die before, the same request is as good as new. */
async function eraseAllOf(store: Store, app: string, number: PhoneNumber): Promise<void> {
  let resumeAt: string | undefined;
  for (;;) {
    ({ resumeAt } = await store.eraseHistory({ app, number, answer: erasedAnswer, resumeAt }));
    if (resumeAt === undefined) break;
    await delay(PAUSE_MS);
  }
  await store.eraseUser(app, number);
}

export async function eraseNumber(
  context: ServiceContext,
  erase: Eraser,
  { app: appId = DEFAULT_APP, to, country }: EraseRequest,
): Promise<Erased | Refusal> {
  const app = appOf(context, appId);
  const recipient = parseVerified(app, to, country);
  if ('kind' in recipient) return recipient;
  await erase(app.id, recipient.number.number);
  return { kind: 'erased' };
}
