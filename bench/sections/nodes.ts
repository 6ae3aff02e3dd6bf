import type { LoadResult } from '../load.ts';
import { type Bench, loadPairs, newInstallation } from '../measure.ts';
import { type Installation, startServer } from '../servers.ts';
import { medianOf, ms, table, whole } from '../tables.ts';
import { cpuPerPair, say, storeCpuCells, storeCpuColumns, tell } from './rounds.ts';
import { busyConnections, type SectionReport } from './section.ts';

/** So that every node's compiler has seen what it will run. */
const warmUpPairsPerNode = 1000;

/**
 * What a second node costs. The nodes share one CPU, since the machine has no other to give: so what counts is how many
 * pairs a second of their CPU time does, not how many a second of time.
 */
export async function measureNodes(bench: Bench): Promise<SectionReport> {
  const installation = await newInstallation(bench);
  const rounds: { one: LoadResult; two: LoadResult }[] = [];
  while (rounds.length < bench.options.rounds) {
    const one = await loadNodes(bench, installation, 1);
    const two = await loadNodes(bench, installation, 2);
    say(`  one node ${tell(one)}; two nodes ${tell(two)}`);
    rounds.push({ one, two });
  }
  await installation.remove();
  const row = (name: string, of: 'one' | 'two'): string[] => [
    name,
    whole(medianOf(rounds, (round) => round[of].pairsPerSecond)),
    ms(medianOf(rounds, (round) => round[of].pair.p99)),
    whole(medianOf(rounds, (round) => cpuPerPair(round[of]))),
    ...storeCpuCells(
      bench,
      rounds.map((round) => round[of]),
    ),
    whole(medianOf(rounds, (round) => pairsPerCpuSecond(round[of]))),
    // With a CPU for each node there are as many CPU seconds a second as nodes.
    `${medianOf(rounds, (round) => ((of === 'two' ? 2 : 1) * pairsPerCpuSecond(round[of])) / pairsPerCpuSecond(round.one)).toFixed(2)} ×`,
  ];
  const heads = ['nodes', 'pairs/s', 'p99 ms', 'CPU of the nodes, µs/pair', ...storeCpuColumns(bench)];
  const text = table(
    [...heads, 'pairs per CPU second of the nodes', 'with a CPU for each node'],
    [row('one', 'one'), row('two, on the same CPU', 'two')],
  );
  return { title: 'Two nodes', text, figures: rounds };
}

async function loadNodes(bench: Bench, installation: Installation, count: number): Promise<LoadResult> {
  const starting = Array.from({ length: count }, () => startServer(installation, bench.entry, bench.pinning));
  const nodes = await Promise.all(starting);
  // As many callers for each, or each would have less to do at a time.
  const connections = busyConnections * count;
  await loadPairs(bench, installation, nodes, { connections, count: warmUpPairsPerNode * count });
  const result = await loadPairs(bench, installation, nodes, { connections });
  await Promise.all(nodes.map((node) => node.stop()));
  return result;
}

function pairsPerCpuSecond({ pairs, serverCpuSeconds = Number.NaN }: LoadResult): number {
  return pairs / serverCpuSeconds;
}
