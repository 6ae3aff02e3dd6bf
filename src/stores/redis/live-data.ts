import { firstIdAt } from '../../domain/id.ts';
import { dayOf } from '../../domain/usage.ts';
import type { Steps } from '../postgres/steps.ts';
import type { DaySpent, MessageSnapshot, NumberGuesses } from './snapshots.ts';

/** The longest life that a code may be given (15 min), and more. */
const LONGEST_LIFE_MS = 30 * 60_000;
/** One that has just ended is of use still: a code that was used must stay used, also by a clock that is behind. */
const ENDED_KEPT_MS = 5 * 60_000;
/** A day's money is looked at that day. */
const BUDGET_MS = 2 * 86_400_000;
const PAGE_ROWS = 4000;

/** What an app had live, as far as PostgreSQL knows, but for verifications. */
export type LiveData = {
  readonly messages: readonly MessageSnapshot[];
  readonly numbers: readonly NumberGuesses[];
  readonly budgets: readonly DaySpent[];
};

/** As `revive-verifications` takes them. */
export type LiveVerification = readonly [
  id: string,
  number: string,
  lane: string,
  purpose: string,
  subject: string,
  expiresAt: string,
  record: string,
];

/** In pages, oldest first; the next one is fetched while the last one is used. */
export async function* readLiveVerifications(
  steps: Steps,
  app: string,
  now: number,
): AsyncGenerator<readonly LiveVerification[]> {
  const endedSince = now - ENDED_KEPT_MS;
  const pageAfter = (after: string) =>
    steps.readRows('live_verifications', { app, after, endedSince, limit: PAGE_ROWS });
  let next: ReturnType<typeof pageAfter> | undefined = pageAfter(firstIdAt('ver', endedSince - LONGEST_LIFE_MS));
  while (next !== undefined) {
    const rows: Awaited<typeof next> = await next;
    const last = rows.at(-1);
    next = rows.length < PAGE_ROWS || last === undefined ? undefined : pageAfter(String(last['id']));
    // Whoever uses the page may give up, and nobody waits for the next one then.
    next?.catch(() => undefined);
    yield rows.map((row) => [
      String(row['id']),
      String(row['number']),
      String(row['lane']),
      String(row['purpose']),
      String(row['subject']),
      String(row['expires_at']),
      String(row['kept']),
    ]);
  }
}

/** @param dueIds messages that are due in Redis, and may not be any more */
export async function readLiveData(
  steps: Steps,
  app: string,
  now: number,
  dueIds: readonly string[],
): Promise<LiveData> {
  const [messages, numbers, budgets] = await Promise.all([
    steps.readRows('live_messages', { app, dueIds }),
    steps.readRows('live_numbers', { app }),
    steps.readRows('live_budgets', { app, since: dayOf(now - BUDGET_MS) }),
  ]);
  const foundIn = <Row>(rows: typeof numbers) => rows.map(({ found }) => found as Row);
  return {
    messages: foundIn<MessageSnapshot>(messages),
    numbers: foundIn<NumberGuesses>(numbers),
    budgets: foundIn<DaySpent>(budgets),
  };
}
