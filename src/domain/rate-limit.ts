/** At most `max` events in any `windowMs`, wherever the window is laid. */
export type LimitRule = { readonly max: number; readonly windowMs: number };

/**
 * What a bucket remembers: pairs of (moment, events), oldest first, flat: `[at, count, at, count, …]`.
 * Up to `EXACT_MAX` events each has its own moment, so the limit is exact to the millisecond. Above, events of one
 * `windowMs / RESOLUTION` share the moment of the latest: an event then counts at most 1 % longer than the window,
 * never shorter, and a bucket never grows past some hundred entries.
 */
export type EventLog = readonly number[];

const EXACT_MAX = 100;
const RESOLUTION = 100;

export type TakeOutcome =
  | { readonly kind: 'taken'; readonly log: EventLog }
  | { readonly kind: 'refused'; readonly retryAfterMs: number };

/** Refused when one more event now would break one of the rules; the log is then left as it was. */
export function takeFrom(log: EventLog, rules: readonly LimitRule[], now: number): TakeOutcome {
  let retryAfterMs = 0;
  let longestWindowMs = 0;
  let finestMs = Number.POSITIVE_INFINITY;
  for (const { max, windowMs } of rules) {
    retryAfterMs = Math.max(retryAfterMs, waitFor(log, max, windowMs, now));
    longestWindowMs = Math.max(longestWindowMs, windowMs);
    finestMs = Math.min(finestMs, max <= EXACT_MAX ? 1 : Math.max(1, Math.floor(windowMs / RESOLUTION)));
  }
  if (retryAfterMs > 0) return { kind: 'refused', retryAfterMs };
  return { kind: 'taken', log: append(log, now, longestWindowMs, finestMs) };
}

/** How long until one more event fits under `max` events in `windowMs`; 0 when it fits now. */
export function waitFor(log: EventLog, max: number, windowMs: number, now: number): number {
  let events = 0;
  for (let i = log.length - 2; i >= 0; i -= 2) {
    const at = log[i] ?? 0;
    if (at <= now - windowMs) break;
    events += log[i + 1] ?? 0;
    // This entry is the one that has to leave the window before there is room again.
    if (events >= max) return Math.max(1, at + windowMs - now);
  }
  return max > 0 ? 0 : windowMs;
}

/** The log with one more event, without what no rule looks at any more. */
export function append(log: EventLog, now: number, keepMs: number, resolutionMs = 1): EventLog {
  let first = 0;
  while (first < log.length && (log[first] ?? 0) <= now - keepMs) first += 2;
  const kept = log.slice(first);
  const last = kept.length - 2;
  const lastAt = kept[last];
  // A clock that was set back must not put a later moment before an earlier one: the order is what makes the count right.
  const at = lastAt === undefined ? now : Math.max(now, lastAt);
  if (lastAt !== undefined && Math.floor(lastAt / resolutionMs) === Math.floor(at / resolutionMs)) {
    kept[last] = at;
    kept[last + 1] = (kept[last + 1] ?? 0) + 1;
  } else {
    kept.push(at, 1);
  }
  return kept;
}
