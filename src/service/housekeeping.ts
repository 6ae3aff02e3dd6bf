import { setTimeout as delay } from 'node:timers/promises';
import type { ServiceContext } from './context.ts';
import type { HealthExchange } from './health-exchange.ts';
import type { SharedClock } from './shared-clock.ts';
import { takeUpDue } from './take-up.ts';

const ROUND_EVERY_MS = 5000;
const PROBE_EVERY_MS = 1000;
/** A provider that another node found dead is left alone within a second, with what the store takes for it. */
const EXCHANGE_EVERY_MS = 500;
/** So soon a machine that was suspended finds out. */
const CLOCK_EVERY_MS = 500;

const MOST_SWEEPS = 200;
const SWEEP_PAUSE_MS = 10;
const SWEEP_LEASE = 'sweep';
/** Longer than the time between two rounds, so that it stays with a node that is well; a dead one's is had soon. */
const SWEEP_LEASE_MS = 15_000;

type HousekeepingParts = {
  readonly retentionMs: number;
  /** a name that no other process has */
  readonly holder: string;
  readonly exchange: HealthExchange;
  readonly clock: SharedClock;
};

/**
 * What goes on in the background of a node: messages that are due are taken up and what has ended is deleted, once at the
 * start, then every few seconds; providers are asked whether they are well, other nodes what they know, and the store what
 * time it is.
 */
export function startHousekeeping(
  context: ServiceContext,
  { retentionMs, holder, exchange, clock }: HousekeepingParts,
): { stop: () => Promise<void> } {
  const sweeping = sweeperOf(context, holder, retentionMs, clock);
  /** What fails is tried again in the next round. */
  async function logged(job: string, isStopped: () => boolean, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!isStopped())
        context.log.error(
          { job, error: error instanceof Error ? error.message : String(error) },
          'housekeeping failed',
        );
    }
  }
  const jobs = [
    // Each by itself: messages must not wait for what is deleted.
    repeat(ROUND_EVERY_MS, 'at once', (isStopped) => logged('take up messages', isStopped, () => takeUpDue(context))),
    repeat(ROUND_EVERY_MS, 'at once', (isStopped) => logged('delete', isStopped, () => sweeping.sweep(isStopped))),
    repeat(PROBE_EVERY_MS, 'later', async () => context.health.probeDue(context.providers.values())),
    repeat(EXCHANGE_EVERY_MS, 'later', () => exchange.poll()),
    repeat(CLOCK_EVERY_MS, 'later', async () => (clock.isDue() ? clock.measure() : undefined)),
  ];
  return {
    async stop() {
      await Promise.all(jobs.map((job) => job.stop()));
      await Promise.all([exchange.close(), sweeping.giveBack()]);
    },
  };
}

/**
 * Deletes what has ended, on one node at a time: several at it would wait for each other's rows. Two that are at it all the
 * same, since the lease of one has run out meanwhile, do no harm.
 */
function sweeperOf(context: ServiceContext, holder: string, retentionMs: number, clock: SharedClock) {
  let heldUntil: number | undefined;

  async function hold(): Promise<boolean> {
    const now = context.now();
    if (heldUntil !== undefined && heldUntil - now > SWEEP_LEASE_MS / 2) return true;
    const until = now + SWEEP_LEASE_MS;
    heldUntil = (await context.store.lease(SWEEP_LEASE, holder, now, until)) ? until : undefined;
    return heldUntil !== undefined;
  }

  return {
    async sweep(isStopped: () => boolean): Promise<void> {
      // A server whose clock was set ahead by a month must not have a month of history deleted.
      const now = clock.earliest();
      // As long as there is something to delete, with room for requests in between: else a busy service would delete
      // less than it makes.
      for (let sweeps = 0; sweeps < MOST_SWEEPS && !isStopped(); sweeps += 1) {
        if (!(await hold())) return;
        const { deleted } = await context.store.sweep(now, now - retentionMs);
        if (deleted === 0) return;
        await delay(SWEEP_PAUSE_MS);
      }
    },
    /** So that another node need not wait until it has run out. */
    async giveBack(): Promise<void> {
      if (heldUntil === undefined) return;
      const now = context.now();
      // A store that is away has no use for it.
      await context.store.lease(SWEEP_LEASE, holder, now, now).catch(() => false);
    },
  };
}

/** Does it again and again. One waits for one that takes longer than the time between two, and no more: a stop waits for both. */
function repeat(
  everyMs: number,
  first: 'at once' | 'later',
  work: (isStopped: () => boolean) => Promise<void>,
): { stop: () => Promise<void> } {
  let isStopped = false;
  let isNextWaiting = false;
  const run = () => work(() => isStopped);
  let running = first === 'at once' ? run() : Promise.resolve();
  const timer = setInterval(() => {
    if (isNextWaiting) return;
    isNextWaiting = true;
    running = running.then(async () => {
      isNextWaiting = false;
      if (!isStopped) await run();
    });
  }, everyMs);
  timer.unref();
  return {
    async stop() {
      isStopped = true;
      clearInterval(timer);
      await running;
    },
  };
}
