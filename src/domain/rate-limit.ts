/** At most `max` events in any `windowMs`, wherever the window is laid. */
export type LimitRule = { readonly max: number; readonly windowMs: number };

/**
 * What a bucket remembers: pairs of (moment, events), oldest first, flat: `[at, count, at, count, …]`.
 * A limit of up to a hundred events keeps the moment of each, so it is exact to the millisecond. A larger one keeps
 * events of the same 32nd part of the shortest window that still sees them under the moment of the latest: an event then
 * counts at most 3 % longer than the window, never shorter, and the bucket of a whole app, which every start reads and
 * writes, stays short.
 */
export type EventLog = readonly number[];

const EXACT_MAX = 100;
const RESOLUTION = 32;

export type TakeOutcome =
  | { readonly kind: 'taken'; readonly log: EventLog }
  | { readonly kind: 'refused'; readonly retryAfterMs: number };

/** Refused when one more event now would break one of the rules; the log is then left as it was. */
export function takeFrom(log: EventLog, rules: readonly LimitRule[], now: number): TakeOutcome {
  const retryAfterMs = Math.max(0, ...rules.map(({ max, windowMs }) => waitFor(log, max, windowMs, now)));
  return retryAfterMs > 0 ? { kind: 'refused', retryAfterMs } : { kind: 'taken', log: append(log, now, rules) };
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
export function append(log: EventLog, now: number, rules: readonly LimitRule[]): EventLog {
  const longestWindowMs = Math.max(...rules.map(({ windowMs }) => windowMs));
  let first = 0;
  while (first < log.length && (log[first] ?? 0) <= now - longestWindowMs) first += 2;
  const kept = log.slice(first);
  // A clock that was set back must not put a later moment before an earlier one: the order is what makes the count right.
  const at = Math.max(now, kept[kept.length - 2] ?? now);
  addTo(kept, at, 1, 1);
  return kept.length / 2 > RESOLUTION ? coarsen(kept, at, rules) : kept;
}

function coarsen(log: EventLog, now: number, rules: readonly LimitRule[]): EventLog {
  const coarse: number[] = [];
  for (let i = 0; i < log.length; i += 2) {
    const at = log[i] ?? 0;
    let resolutionMs = Number.POSITIVE_INFINITY;
    for (const { max, windowMs } of rules) {
      // A minute's limit needs its events to the millisecond, and an hour later nobody needs them so any more.
      if (at <= now - windowMs) continue;
      resolutionMs = Math.min(resolutionMs, max <= EXACT_MAX ? 1 : Math.max(1, Math.floor(windowMs / RESOLUTION)));
    }
    addTo(coarse, at, log[i + 1] ?? 0, resolutionMs);
  }
  return coarse;
}

/**
 * One log of two that were one once: each event, counted from the last, at the later of its two moments. Which events both have
 * cannot be told, so none is added to another; a rule waits exactly as long as for the log that it waits longer for.
 */
export function joinLogs(a: EventLog, b: EventLog): EventLog {
  const [ofA, ofB] = [momentsOf(a), momentsOf(b)];
  const joined: number[] = [];
  for (let back = Math.max(ofA.length, ofB.length); back > 0; back -= 1) {
    addTo(joined, Math.max(ofA.at(-back) ?? 0, ofB.at(-back) ?? 0), 1, 1);
  }
  return joined;
}

/** The moment of each event, oldest first. */
function momentsOf(log: EventLog): number[] {
  return log.flatMap((at, index) => (index % 2 === 0 ? Array<number>(log[index + 1] ?? 0).fill(at) : []));
}

/** Adds events to the last entry when they are of the same moment, as finely as it matters. */
function addTo(log: number[], at: number, count: number, resolutionMs: number): void {
  const last = log.length - 2;
  const lastAt = log[last];
  if (lastAt !== undefined && Math.floor(lastAt / resolutionMs) === Math.floor(at / resolutionMs)) {
    log[last] = at;
    log[last + 1] = (log[last + 1] ?? 0) + count;
  } else {
    log.push(at, count);
  }
}
