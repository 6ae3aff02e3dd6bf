import { append, type EventLog, joinLogs, waitFor } from './rate-limit.ts';

/** How many wrong codes may be tried against one number of one app, over all its verifications. */
export type GuessPolicy = {
  /** 20 unless told otherwise; above 100 is refused by the configuration */
  readonly max: number;
  readonly windowMs: number;
};

/**
 * The two who may guess at a number: anybody (`open`), and a caller who presented the token of an earlier approval of
 * that number (`trusted`). They have budgets and live verifications of their own, so whoever uses up the open one
 * cannot lock the owner out.
 */
export type GuessLane = 'open' | 'trusted';

export type Guesses = {
  readonly log: EventLog;
  /** ms since the epoch; 0 when not locked */
  readonly lockedUntil: number;
  /** how often the budget was used up since the last approval */
  readonly locks: number;
};

export const noGuesses: Guesses = { log: [], lockedUntil: 0, locks: 0 };

/** A number that is attacked week after week must not give 20 guesses every day for ever. */
const LONGEST_LOCK_WINDOWS = 7;

/** How long the number is locked from now on; 0 when a guess is allowed. */
export function lockedFor(guesses: Guesses, policy: GuessPolicy, now: number): number {
  return Math.max(0, guesses.lockedUntil - now, waitFor(guesses.log, policy.max, policy.windowMs, now));
}

/**
 * Takes the last guess back, which was counted before it was compared and then was not compared at all: an outage must not
 * lock a number. A lock that it brought about goes with it.
 */
export function uncountGuess(guesses: Guesses, policy: GuessPolicy, now: number): Guesses {
  const last = guesses.log.length - 2;
  const count = guesses.log[last + 1];
  if (count === undefined) return guesses;
  const log = count > 1 ? guesses.log.with(last + 1, count - 1) : guesses.log.slice(0, last);
  const isLockedByIt = guesses.lockedUntil > now && waitFor(log, policy.max, policy.windowMs, now) === 0;
  return isLockedByIt ? { log, lockedUntil: 0, locks: Math.max(0, guesses.locks - 1) } : { ...guesses, log };
}

/** Counts one wrong guess; the one that uses the budget up locks the number: one window, then two, four, seven. */
export function countGuess(guesses: Guesses, policy: GuessPolicy, now: number): Guesses {
  const log = append(guesses.log, now, [policy]);
  if (waitFor(log, policy.max, policy.windowMs, now) === 0) return { ...guesses, log };
  const windows = Math.min(2 ** guesses.locks, LONGEST_LOCK_WINDOWS);
  return { log, lockedUntil: now + windows * policy.windowMs, locks: guesses.locks + 1 };
}

/** What two servers know of one number: no guess has room that had none with either of them. */
export function joinGuesses(a: Guesses, b: Guesses): Guesses {
  return {
    log: joinLogs(a.log, b.log),
    lockedUntil: Math.max(a.lockedUntil, b.lockedUntil),
    locks: Math.max(a.locks, b.locks),
  };
}
