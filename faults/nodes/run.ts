import { canRun, type StoreName, storeNames } from './backends.ts';
import { nodeFaults } from './faults.ts';
import { Installation } from './installation.ts';
import { describeBroken, NODES, observeFault, type Pace, type SurvivalObservation } from './observe.ts';

const rightClocks: readonly number[] = Array.from({ length: NODES }, () => 0);

export type Choice = {
  readonly stores: readonly StoreName[];
  /** ids; all when empty */
  readonly faults: readonly string[];
  readonly rounds: number;
};

/** @throws when a name is none */
export function chooseFaults(stores: readonly string[], faults: readonly string[], rounds: string): Choice {
  for (const store of stores)
    if (!isStoreName(store)) throw new Error(`there is no store ${store}: ${storeNames.join(', ')}`);
  const ids = nodeFaults.map(({ id }) => id);
  for (const fault of faults)
    if (!ids.includes(fault)) throw new Error(`there is no fault ${fault}: ${ids.join(', ')}`);
  if (!/^[1-9]\d{0,3}$/.test(rounds)) throw new Error('--rounds is a number from 1 on');
  return { stores: stores.length === 0 ? storeNames : stores.filter(isStoreName), faults, rounds: Number(rounds) };
}

function isStoreName(text: string): text is StoreName {
  return (storeNames as readonly string[]).includes(text);
}

/** All rounds of a store on servers and nodes of its own, one fault after the other. */
export async function observeNodes(
  { stores, faults, rounds }: Choice,
  pace: Pace,
  say: (text: string) => void,
): Promise<{ readonly observed: readonly SurvivalObservation[]; readonly versions: ReadonlyMap<StoreName, string> }> {
  const observed: SurvivalObservation[] = [];
  const versions = new Map<StoreName, string>();
  for (const store of stores) {
    if (!canRun(store)) throw new Error(`this machine has no server for the store ${store}: see CONTRIBUTING.md`);
    const wanted = nodeFaults.filter(
      ({ id, stores: of, isPossible }) =>
        of.includes(store) && isPossible?.() !== false && (faults.length === 0 || faults.includes(id)),
    );
    for (const clocks of new Set(wanted.map(({ clocksOffMs }) => clocksOffMs ?? rightClocks))) {
      const installation = await Installation.open(store, clocks);
      versions.set(store, installation.backend.version);
      try {
        for (let round = 1; round <= rounds; round += 1) {
          for (const fault of wanted.filter(({ clocksOffMs }) => (clocksOffMs ?? rightClocks) === clocks)) {
            const begun = performance.now();
            const seen = await observeFault(installation, fault, pace);
            observed.push(seen);
            say(
              `${store}, ${fault.id}, round ${round} of ${rounds}: ${Math.round((performance.now() - begun) / 1000)} s`,
            );
            for (const line of describeBroken(seen.broken)) say(`  ✗ ${line}`);
            for (const line of seen.lost) say(`  lost, as may be: ${line}`);
          }
        }
      } finally {
        await installation.close();
      }
    }
  }
  return { observed, versions };
}
