import type { FailureReason } from './provider.ts';

/**
 * What is known of one provider's health, for one country or for all. `outcomes` are the last hand-overs, oldest first.
 * Instants are ms since the epoch.
 */
export type Breaker = {
  readonly outcomes: readonly { readonly at: number; readonly isFailure: boolean }[];
  /** set while the breaker is open: until then nothing is handed over, from then on one trial */
  readonly openUntil: number | undefined;
  /** how long it opens the next time */
  readonly coolOffMs: number;
  /** while a trial is on its way: when it counts as lost */
  readonly trialUntil: number | undefined;
  readonly reason: FailureReason | undefined;
};

export const closedBreaker: Breaker = {
  outcomes: [],
  openUntil: undefined,
  coolOffMs: 10_000,
  trialUntil: undefined,
  reason: undefined,
};

/** Half of the last ten hand-overs, all within a minute: one slow answer is no outage, and neither are five in a day. */
const LOOKED_AT = 10;
const FAILURES = 5;
const WINDOW_MS = 60_000;
const MAX_COOL_OFF_MS = 60_000;
/** A trial that nobody reported back from (its process died, say) does not keep a provider out for ever. */
const TRIAL_MS = 15_000;
const THROTTLED_MS = 1000;
/** How much later than the node that found it out the others try: by then they have heard of its trial. */
const FINDER_FIRST_MS = 1000;
/** The longest that a breaker can be open for, with some room for clocks of two nodes that are not quite the same. */
const LONGEST_OPEN_MS = MAX_COOL_OFF_MS + 2 * FINDER_FIRST_MS;
const LONGEST_TRIAL_MS = TRIAL_MS + FINDER_FIRST_MS;

/** `open`: skip it. `trial`: the cool-off is over, and the next hand-over shows whether it is well again. */
export function stateOf(breaker: Breaker, now: number): 'closed' | 'open' | 'trial' {
  if (breaker.openUntil === undefined) return 'closed';
  return outUntil(breaker, now) === undefined ? 'trial' : 'open';
}

/** Until when nothing is handed over; undefined when something may be. */
export function outUntil({ openUntil, trialUntil }: Breaker, now: number): number | undefined {
  if (lasts(openUntil, now, LONGEST_OPEN_MS)) return openUntil;
  return lasts(trialUntil, now, LONGEST_TRIAL_MS) ? trialUntil : undefined;
}

/** What ends later than it can have been set to was set by a clock that has been put right since. */
function lasts(until: number | undefined, now: number, longestMs: number): boolean {
  return until !== undefined && now < until && until - now <= longestMs;
}

/** The breaker while a trial is on its way: everybody else still goes elsewhere. */
export function beginTrial(breaker: Breaker, now: number): Breaker {
  return { ...breaker, trialUntil: now + TRIAL_MS };
}

/**
 * As it is on a node that heard of it from another, which tries first: else each of them would, at the same moment.
 * @param own what that node knows itself: it stays where the word is no news
 */
export function afterWord(own: Breaker, heard: Breaker, now: number): Breaker {
  const isClosed = own.openUntil === undefined;
  // What this node has counted of one that is well goes on.
  if (heard.openUntil === undefined) return isClosed ? own : closedBreaker;
  const after = { ...heard, outcomes: [], openUntil: heard.openUntil + FINDER_FIRST_MS };
  // It is to be tried again anyway, and this node has nothing against it.
  return isClosed && outUntil(after, now) === undefined ? own : after;
}

/** Is it the provider that is at fault, in all countries alike? */
export function concernsAllCountries(reason: FailureReason): boolean {
  return reason === 'account' || reason === 'throttled';
}

/**
 * After one hand-over. What is wrong with a number or a text says nothing against the provider: it answered.
 * @param reason undefined when it took the message
 */
export function afterOutcome(
  breaker: Breaker,
  reason: FailureReason | undefined,
  now: number,
  retryAfterMs?: number,
): Breaker {
  // Open and without a trial: the hand-over began before the breaker opened.
  const isLate = breaker.openUntil !== undefined && breaker.trialUntil === undefined;
  if (reason === 'throttled') {
    // It said itself how long; that it is busy makes no later wait longer.
    const openUntil = now + Math.min(retryAfterMs ?? THROTTLED_MS, MAX_COOL_OFF_MS);
    if (isLate && openUntil <= (breaker.openUntil ?? 0)) return breaker;
    return { ...breaker, openUntil, trialUntil: undefined, reason };
  }
  if (reason === 'account') return isLate && breaker.reason === reason ? breaker : opened(breaker, reason, now);
  // A late one says nothing new, good or bad; the trial does.
  if (isLate) return breaker;
  const isOutage = reason === 'unavailable' || reason === 'uncertain';
  if (!isOutage)
    return breaker.outcomes.length === 0 && breaker.openUntil === undefined ? breaker : closedAfter(breaker, now);
  if (breaker.openUntil !== undefined) return opened(breaker, reason, now);
  const outcomes = withOutcome(breaker, now, true);
  const failures = outcomes.filter(({ at, isFailure }) => isFailure && at > now - WINDOW_MS).length;
  return failures < FAILURES ? { ...breaker, outcomes } : opened(breaker, reason, now);
}

function closedAfter(breaker: Breaker, now: number): Breaker {
  return breaker.openUntil === undefined ? { ...breaker, outcomes: withOutcome(breaker, now, false) } : closedBreaker;
}

function opened(breaker: Breaker, reason: FailureReason, now: number): Breaker {
  // Longer from one failed trial to the next, so that a long outage costs ever fewer of them.
  const coolOffMs = Math.min(breaker.coolOffMs * 2, MAX_COOL_OFF_MS);
  return { outcomes: [], openUntil: now + breaker.coolOffMs, coolOffMs, trialUntil: undefined, reason };
}

function withOutcome({ outcomes }: Breaker, at: number, isFailure: boolean): Breaker['outcomes'] {
  return [...outcomes.slice(1 - LOOKED_AT), { at, isFailure }];
}
