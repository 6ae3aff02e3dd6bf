import { afterAll, describe, expect, it } from 'vitest';
import { canRun, type StoreName } from '../../faults/nodes/backends.ts';
import { type NodeFault, nodeFaults } from '../../faults/nodes/faults.ts';
import { Installation } from '../../faults/nodes/installation.ts';
import { describeBroken, NODES, observeFault, quickPace } from '../../faults/nodes/observe.ts';

/** `SURVIVAL_ROUNDS=10 npm test -- test/many-nodes/survival` has each fault ten times. */
const ROUNDS = Number(process.env['SURVIVAL_ROUNDS'] ?? 1);
const PATIENCE_MS = 120_000;
const rightClocks: readonly number[] = Array.from({ length: NODES }, () => 0);

/** Real nodes, real servers, and what happens to them: `npm run faults -- --nodes` has the same at full length. */
export function describeSurvival(store: StoreName): void {
  describe.skipIf(!canRun(store))(`four nodes on ${store}`, () => {
    let open: { readonly clocks: readonly number[]; readonly installation: Installation } | undefined;

    async function close(): Promise<void> {
      const closing = open?.installation;
      open = undefined;
      await closing?.close();
    }

    /** The nodes of the test before, where their clocks are the right ones. */
    async function installationFor({ clocksOffMs = rightClocks }: NodeFault): Promise<Installation> {
      if (open?.clocks !== clocksOffMs) await close();
      open ??= { clocks: clocksOffMs, installation: await Installation.open(store, clocksOffMs) };
      return open.installation;
    }

    afterAll(close);

    for (const fault of nodeFaults.filter(({ stores }) => stores.includes(store))) {
      for (let round = 1; round <= ROUNDS; round += 1) {
        it.skipIf(fault.isPossible?.() === false)(
          `survive that ${fault.what}${ROUNDS === 1 ? '' : `, round ${round}`}`,
          {
            timeout: PATIENCE_MS,
          },
          async () => {
            try {
              const { broken, verifications, approvals } = await observeFault(
                await installationFor(fault),
                fault,
                quickPace,
              );
              expect(describeBroken(broken)).toEqual([]);
              expect(verifications).toBeGreaterThan(10);
              expect(approvals).toBeGreaterThan(5);
            } catch (error) {
              // What is left of these may be in no state for the next fault.
              await close();
              throw error;
            }
          },
        );
      }
    }
  });
}
