import type { Store } from '../domain/store.ts';
import type { Log } from './context.ts';

/** The clocks of the machine; ms. `monotonic` begins anywhere, and nobody sets it. */
type MachineClock = { readonly wall: () => number; readonly monotonic: () => number };

export type SharedClock = {
  /** ms since the epoch, whole; never less than it was before */
  readonly now: () => number;
  /** Compares once more. An unreachable store changes nothing: time goes on as it went. */
  measure(): Promise<void>;
  /** The earlier of that and what this machine's clock says: what is deleted by it is old by both. */
  readonly earliest: () => number;
  /** Is it time to compare? To be asked often. */
  isDue(): boolean;
};

const MEASURE_EVERY_MS = 10_000;

const SAMPLES = 3;
/** What is nearer than this is left alone: no rule looks at less, and each answer is under way for a while. */
const TOLERATED_MS = 50;
const WORTH_A_WARNING_MS = 1000;
/** So much of the time that goes by is kept back, as long as this node is ahead: a second is worked off in ten. */
const HELD_BACK = 0.1;

/** Where time stood at a moment of the monotonic clock, and how far what is shown was ahead of it. */
type Mark = { readonly at: number; readonly monotonic: number; readonly aheadMs: number };

/**
 * One time for all nodes: that of the store's server. Nodes whose clocks differ would end one code at two moments, and
 * count one limit in two windows.
 *
 * After the first comparison time is counted by the monotonic clock, so that nobody who sets this machine's clock moves it.
 * It jumps forward only: then codes end early, and no later. Back it goes slowly, since what has expired must not live
 * again, and what was remembered for two seconds not for minutes.
 * @throws CountersignError `store-unavailable`: without a first comparison a node could break what all rely on
 */
export async function openSharedClock(
  store: Pick<Store, 'clock'>,
  log: Log,
  { wall, monotonic }: MachineClock,
): Promise<SharedClock> {
  let mark: Mark | undefined;
  let warnedMs = 0;
  let comparedAt = { wall: wall(), monotonic: monotonic() };

  function shownAt(moment: number, { at, monotonic: since, aheadMs }: Mark): number {
    const elapsed = moment - since;
    return at + elapsed + Math.max(0, aheadMs - elapsed * HELD_BACK);
  }

  /** What the server's clock shows at a moment of the monotonic one, and by how much that may be wrong. */
  async function ask(): Promise<{ readonly at: (moment: number) => number; readonly errorMs: number } | undefined> {
    let best: { readonly at: (moment: number) => number; readonly errorMs: number } | undefined;
    for (let sample = 0; sample < SAMPLES; sample += 1) {
      const sent = monotonic();
      const server = await store.clock();
      if (server === undefined) return undefined;
      const middle = (sent + monotonic()) / 2;
      const errorMs = middle - sent;
      if (best === undefined || errorMs < best.errorMs) best = { at: (moment) => server + (moment - middle), errorMs };
    }
    return best;
  }

  function warn(offMs: number): void {
    if (Math.abs(offMs) <= WORTH_A_WARNING_MS) warnedMs = 0;
    else if (Math.abs(offMs - warnedMs) > WORTH_A_WARNING_MS) {
      warnedMs = offMs;
      const side = offMs > 0 ? 'ahead of' : 'behind';
      log.warn(
        { offMs: Math.round(offMs) },
        `the clock of this machine is ${side} that of the store's server, which all nodes go by: let both be set by NTP`,
      );
    }
  }

  async function compare(): Promise<void> {
    const server = await ask();
    comparedAt = { wall: wall(), monotonic: monotonic() };
    if (server === undefined) return;
    const moment = monotonic();
    const serverAt = server.at(moment);
    const before = mark ?? { at: wall(), monotonic: moment, aheadMs: 0 };
    warn(wall() - serverAt);
    const aheadMs = shownAt(moment, before) - serverAt;
    if (Math.abs(aheadMs) <= Math.max(TOLERATED_MS, server.errorMs)) mark = before;
    else mark = { at: serverAt, monotonic: moment, aheadMs: mark === undefined ? 0 : Math.max(0, aheadMs) };
  }

  const now = () => (mark === undefined ? wall() : Math.floor(shownAt(monotonic(), mark)));

  await compare();
  return {
    now,
    earliest: () => Math.min(now(), wall()),
    async measure() {
      try {
        await compare();
      } catch {
        // Whoever needs the store says that it is away.
      }
    },
    isDue() {
      const wallMs = wall() - comparedAt.wall;
      const monotonicMs = monotonic() - comparedAt.monotonic;
      // The monotonic clock stands still while a machine is suspended, and only the other one tells that it was.
      const wasSuspended = wallMs - monotonicMs > WORTH_A_WARNING_MS;
      return wasSuspended || monotonicMs >= MEASURE_EVERY_MS;
    },
  };
}
