import {
  afterOutcome,
  afterWord,
  type Breaker,
  beginTrial,
  closedBreaker,
  concernsAllCountries,
  outUntil,
  stateOf,
} from '../domain/circuit-breaker.ts';
import type { FailureReason, SendOutcome } from '../domain/provider.ts';
import type { SharedBreaker } from '../domain/store.ts';
import type { Log, OpenProvider } from './context.ts';
import { withinDeadline } from './deadline.ts';

/** How a provider is, as far as this process knows. Instants are ms since the epoch. */
export type HealthView = {
  readonly provider: string;
  /** undefined: in all countries alike */
  readonly country: string | undefined;
  readonly state: 'closed' | 'open' | 'trial';
  /** why it was taken out */
  readonly reason: FailureReason | undefined;
  /** when it is tried again, while it is open */
  readonly openUntil: number | undefined;
};

/** In all countries alike, and where it is otherwise. */
export type ProviderView = HealthView & { readonly countries: readonly HealthView[] };

export type Admission =
  | { readonly kind: 'go'; readonly waitMs: number }
  | { readonly kind: 'skip'; readonly until: number; readonly reason: 'unavailable' | 'throttled' };

const PROBE_DEADLINE_MS = 3000;
/** For a place of `maxPerSecond`: no message is handed over for longer than that in all. */
const LONGEST_WAIT_MS = 8000;

/**
 * The circuit breakers of all providers, one for each country and one for all countries together, and their rates.
 * A provider that can be asked without sending is asked before it is trusted with a message again: so no message waits for
 * one that is still down.
 */
export class ProviderHealth {
  readonly #now: () => number;
  readonly #log: Log;
  readonly #breakers = new Map<string, Map<string, Breaker>>();
  /** By provider: when the next hand-over may leave, were they evenly spread. */
  readonly #nextSlots = new Map<string, number>();
  readonly #probes = new Map<string, 'under-way' | 'ready'>();
  /** By breaker: when it was opened, closed or tried last, here or by another node. */
  readonly #changedAt = new Map<string, number>();
  #tell: ((shared: SharedBreaker) => void) | undefined;

  constructor(now: () => number, log: Log) {
    this.#now = now;
    this.#log = log;
  }

  /** What would `admit` say? Changes nothing. */
  look(id: string, country: string | undefined): HealthView {
    const now = this.#now();
    const views = [ALL, country ?? NOWHERE].map((place) => this.#viewOf(id, place, now));
    return (
      views.find(({ state }) => state === 'open') ?? views.find(({ state }) => state === 'trial') ?? closedView(id)
    );
  }

  /**
   * May a message be handed over now? Whoever is told `go` must `record` what became of it.
   * @returns `waitMs` > 0: it may once that time is over, to keep to `maxPerSecond`; taken only with `canWait`
   */
  admit(provider: OpenProvider, country: string | undefined, canWaitMs: number): Admission {
    const now = this.#now();
    const until = this.outUntil(provider, country);
    if (until !== undefined) return { kind: 'skip', until, reason: 'unavailable' };
    const waitMs = this.#takeSlot(provider, now, canWaitMs);
    if (waitMs === undefined)
      return { kind: 'skip', until: this.#nextSlots.get(provider.id) ?? now, reason: 'throttled' };
    for (const place of [ALL, country ?? NOWHERE]) {
      const breaker = this.#read(provider.id, place);
      if (breaker.openUntil === undefined) continue;
      this.#probes.delete(keyOf(provider.id, place));
      this.#write(provider.id, place, beginTrial(breaker, now));
    }
    return { kind: 'go', waitMs };
  }

  /**
   * Until when nothing can be handed over; undefined when something can. One whose cool-off is over is asked whether it is
   * well, where it can be asked, and is out until it says so.
   */
  outUntil(provider: OpenProvider, country: string | undefined): number | undefined {
    const now = this.#now();
    let trial: string | undefined;
    for (const place of [ALL, country ?? NOWHERE]) {
      const breaker = this.#read(provider.id, place);
      if (breaker === closedBreaker) continue;
      const until = outUntil(breaker, now);
      if (until !== undefined) return until;
      if (stateOf(breaker, now) === 'trial') trial ??= place;
    }
    return trial === undefined || this.#isProven(provider, trial) ? undefined : now + PROBE_DEADLINE_MS;
  }

  record(id: string, country: string | undefined, outcome: SendOutcome): void {
    const reason = outcome.kind === 'failed' ? outcome.reason : undefined;
    const retryAfterMs = outcome.kind === 'failed' ? outcome.retryAfterMs : undefined;
    for (const place of [ALL, country ?? NOWHERE]) {
      const isTrial = this.#read(id, place).trialUntil !== undefined;
      const isOutage = reason === 'unavailable' || reason === 'uncertain';
      const isMeant = reason === undefined || (place === ALL) === concernsAllCountries(reason);
      if (isMeant || (isOutage && isTrial)) this.#note(id, place, reason, retryAfterMs);
      // It answered, and so the trial is passed.
      else if (!isOutage) this.#note(id, place, 'recipient');
    }
  }

  /** Asks those whose cool-off is over whether they are well, so that the next message finds the answer there. */
  probeDue(providers: Iterable<OpenProvider>): void {
    const now = this.#now();
    for (const provider of providers) {
      for (const [place, breaker] of this.#breakers.get(provider.id) ?? []) {
        if (stateOf(breaker, now) === 'trial') this.#isProven(provider, place);
      }
    }
  }

  /** @param tell is told of each breaker that opens, is closed or has a trial begun, for the other nodes */
  onChange(tell: ((shared: SharedBreaker) => void) | undefined): void {
    this.#tell = tell;
  }

  /** Takes in what other nodes have found out, where that is newer than what this one knows. */
  learn(words: readonly SharedBreaker[]): void {
    for (const { provider, place, breaker: heard, changedAt } of words) {
      const key = keyOf(provider, place);
      if (changedAt <= (this.#changedAt.get(key) ?? 0)) continue;
      this.#changedAt.set(key, changedAt);
      const before = this.#read(provider, place);
      const after = afterWord(before, heard, this.#now());
      if (after === before) continue;
      // What it was asked before says nothing now.
      this.#probes.delete(key);
      this.#keep(provider, place, after);
      this.#logChange(provider, place, before, after, { foundBy: 'another node' });
    }
  }

  viewOf(id: string): ProviderView {
    const now = this.#now();
    const places = [...(this.#breakers.get(id)?.keys() ?? [])].filter((place) => place !== ALL);
    const countries = places.map((place) => this.#viewOf(id, place, now)).filter(({ state }) => state !== 'closed');
    return { ...this.#viewOf(id, ALL, now), countries };
  }

  #note(id: string, place: string, reason: FailureReason | undefined, retryAfterMs?: number): void {
    const before = this.#read(id, place);
    const after = afterOutcome(before, reason, this.#now(), retryAfterMs);
    if (after === before) return;
    this.#write(id, place, after);
    this.#logChange(id, place, before, after, {});
  }

  #logChange(id: string, place: string, before: Breaker, after: Breaker, further: object): void {
    const wasOpen = before.openUntil !== undefined;
    const fields = { provider: id, ...(place === ALL ? {} : { country: place }), ...further };
    if (!wasOpen && after.openUntil !== undefined) {
      const coolOffMs = after.openUntil - this.#now();
      this.#log.warn({ ...fields, reason: after.reason, coolOffMs }, 'provider taken out of its routes');
    } else if (wasOpen && after.openUntil === undefined) this.#log.info(fields, 'provider back in its routes');
  }

  /** Asks a provider that is to be tried again, where it can be asked; the message at hand goes elsewhere meanwhile. */
  #isProven({ id, provider }: OpenProvider, place: string): boolean {
    if (provider.probe === undefined) return true;
    const key = keyOf(id, place);
    const known = this.#probes.get(key);
    if (known === 'ready') return true;
    if (known === undefined) {
      this.#probes.set(key, 'under-way');
      void this.#probe({ id, provider }, place, key);
    }
    return false;
  }

  async #probe({ id, provider }: Pick<OpenProvider, 'id' | 'provider'>, place: string, key: string): Promise<void> {
    let reason: FailureReason | undefined;
    try {
      const outcome = await withinDeadline(PROBE_DEADLINE_MS, (signal) => provider.probe?.(signal));
      if (outcome?.kind === 'failed') reason = outcome.reason === 'account' ? 'account' : 'unavailable';
    } catch {
      reason = 'unavailable';
    }
    const now = this.#now();
    const breaker = this.#read(id, place);
    // Another node has tried it meanwhile: that says more.
    const isOvertaken = stateOf(breaker, now) !== 'trial';
    if (reason === undefined && !isOvertaken) {
      this.#probes.set(key, 'ready');
      return;
    }
    this.#probes.delete(key);
    if (reason === undefined || isOvertaken) return;
    this.#write(id, place, beginTrial(breaker, now));
    this.#note(id, place, reason);
  }

  /** As a queue whose places are evenly spread in time, with a second's worth of them ahead of time. */
  #takeSlot({ id, maxPerSecond }: OpenProvider, now: number, canWaitMs: number): number | undefined {
    if (maxPerSecond === undefined) return 0;
    const intervalMs = 1000 / maxPerSecond;
    const next = this.#nextSlots.get(id) ?? 0;
    // Nobody waits that long: the clock was set back.
    const isNextLost = next - now > LONGEST_WAIT_MS + intervalMs;
    const slot = Math.max(isNextLost ? 0 : next, now - Math.max(0, 1000 - intervalMs));
    const waitMs = Math.max(0, slot - now);
    if (waitMs > canWaitMs) return undefined;
    this.#nextSlots.set(id, slot + intervalMs);
    return waitMs;
  }

  #read(id: string, place: string): Breaker {
    return this.#breakers.get(id)?.get(place) ?? closedBreaker;
  }

  #write(id: string, place: string, breaker: Breaker): void {
    const before = this.#read(id, place);
    this.#keep(id, place, breaker);
    // What was merely counted is each node's own.
    if (before.openUntil === breaker.openUntil && before.trialUntil === breaker.trialUntil) return;
    const key = keyOf(id, place);
    // Later than what it follows on, also where another node's clock is a little ahead.
    const changedAt = Math.max(this.#now(), (this.#changedAt.get(key) ?? 0) + 1);
    this.#changedAt.set(key, changedAt);
    this.#tell?.({ provider: id, place, breaker: { ...breaker, outcomes: [] }, changedAt });
  }

  #keep(id: string, place: string, breaker: Breaker): void {
    const places = this.#breakers.get(id) ?? new Map<string, Breaker>();
    this.#breakers.set(id, places);
    if (breaker === closedBreaker) places.delete(place);
    else places.set(place, breaker);
  }

  #viewOf(id: string, place: string, now: number): HealthView {
    const breaker = this.#read(id, place);
    const state = stateOf(breaker, now);
    return {
      provider: id,
      country: place === ALL ? undefined : place,
      state,
      reason: state === 'closed' ? undefined : breaker.reason,
      openUntil: state === 'open' ? outUntil(breaker, now) : undefined,
    };
  }
}

const ALL = '*';
/** Numbers of no country: satellite phones, international toll-free. */
const NOWHERE = '-';

function keyOf(provider: string, place: string): string {
  return `${provider} ${place}`;
}

function closedView(provider: string): HealthView {
  return { provider, country: undefined, state: 'closed', reason: undefined, openUntil: undefined };
}
