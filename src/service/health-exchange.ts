import type { SharedBreaker, Store } from '../domain/store.ts';
import type { Log } from './context.ts';
import type { ProviderHealth } from './provider-health.ts';

/** What the nodes tell each other about providers, through the store: none has to find out by itself what another knows. */
export type HealthExchange = {
  /** Takes in what the others found, and tells them what could not be told before. Never rejects. */
  poll(): Promise<void>;
  /** Resolves when nothing is on its way any more. */
  close(): Promise<void>;
};

/**
 * Changes are told at once and in the background: no message waits for the store, and nothing is written while nothing
 * changes. Of several changes to one breaker the last one is told.
 */
export function openHealthExchange(
  store: Pick<Store, 'shareBreaker' | 'listBreakers'>,
  health: ProviderHealth,
  log: Log,
): HealthExchange {
  const untold = new Map<string, SharedBreaker>();
  let telling: Promise<void> | undefined;
  let isAway = false;

  async function attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      isAway = false;
    } catch (error) {
      // Once for each time that the store is away: what this node knows by itself still holds.
      if (!isAway) {
        const text = error instanceof Error ? error.message : String(error);
        log.warn({ error: text }, 'nodes cannot tell each other how providers are');
      }
      isAway = true;
    }
  }

  async function tellAll(): Promise<void> {
    // What changes twice in one turn is told once.
    await Promise.resolve();
    await attempt(async () => {
      for (let next = untold.entries().next(); !next.done; next = untold.entries().next()) {
        const [key, shared] = next.value;
        await store.shareBreaker(shared);
        if (untold.get(key) === shared) untold.delete(key);
      }
    });
    telling = undefined;
  }

  health.onChange((shared) => {
    untold.set(`${shared.provider} ${shared.place}`, shared);
    telling ??= tellAll();
  });
  return {
    async poll() {
      if (untold.size > 0) telling ??= tellAll();
      await attempt(async () => health.learn(await store.listBreakers()));
    },
    async close() {
      health.onChange(undefined);
      await telling;
    },
  };
}
