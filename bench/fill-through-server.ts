import { setTimeout as wait } from 'node:timers/promises';
import { type Bench, loadPairs, newInstallation } from './measure.ts';
import { readProcessStats } from './process-stats.ts';
import { onNewProcess, say, tell } from './sections/rounds.ts';
import { busyConnections } from './sections/section.ts';
import type { Installation } from './servers.ts';
import { whole } from './tables.ts';

type MemoryReading = { readonly verifications: number; readonly rssBytes: number; readonly anonymousBytes: number };
type FilledStore = { readonly installation: Installation; readonly readings: readonly MemoryReading[] };

const settleMs = 3000;

let filledStore: Promise<FilledStore> | undefined;

/** Fills a store through the server, as life does, once for all sections that need it; reads the memory on the way. */
export function fillThroughServer(bench: Bench, rows: number): Promise<FilledStore> {
  filledStore ??= fill(bench, rows);
  return filledStore;
}

async function fill(bench: Bench, rows: number): Promise<FilledStore> {
  const installation = await newInstallation(bench);
  const readings: MemoryReading[] = [];
  await onNewProcess(bench, installation, async (server) => {
    for (const verifications of [0, Math.round(rows / 10), rows]) {
      const count = verifications - (readings.at(-1)?.verifications ?? 0);
      if (count > 0) {
        const filled = await loadPairs(bench, installation, [server], { connections: busyConnections, count });
        say(`  filled up to ${whole(verifications)} verifications: ${tell(filled)}`);
      }
      await wait(settleMs);
      const stats = readProcessStats(server.pid);
      readings.push({
        verifications,
        rssBytes: stats?.rssBytes ?? Number.NaN,
        anonymousBytes: stats?.anonymousBytes ?? Number.NaN,
      });
    }
  });
  return { installation, readings };
}
