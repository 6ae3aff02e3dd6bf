import type { LoadResult } from '../load.ts';
import { type Bench, loadFloor, loadPairs } from '../measure.ts';
import type { Placement } from '../options.ts';
import { startFloor } from '../servers.ts';
import { medianOf, megabytes, ms, percent, table, whole } from '../tables.ts';
import { cpuPerPair, nameOfStore, onServer, say, storeCpuCells, storeCpuColumns, tell } from './rounds.ts';
import type { SectionReport } from './section.ts';

type Figures = {
  readonly placement: Placement;
  readonly connections: number;
  readonly rounds: readonly { readonly floor: LoadResult; readonly pairs: LoadResult }[];
};

const placeNames: Readonly<Record<Placement, string>> = {
  other: ", store on the load's CPU",
  same: ", store on the server's CPU",
};

export async function measurePairs(bench: Bench): Promise<SectionReport> {
  const rows: string[][] = [];
  const figures: Figures[] = [];
  const { placements } = bench.options;
  const { processes } = bench.store;
  const runs = placements.flatMap((placement) =>
    bench.options.connections.map((connections) => ({ placement, connections })),
  );
  for (const { placement, connections } of runs) {
    bench.store.place(placement);
    const floorServer = await startFloor(bench.pinning);
    // The two take turns on the same CPU: the one that waits costs the other nothing.
    const rounds = await onServer(bench, async (installation, server) => {
      const floor = await loadFloor(bench, floorServer, { connections });
      const pairs = await loadPairs(bench, installation, [server], { connections });
      say(`  ${connections} connections: floor ${tell(floor)}; pairs ${tell(pairs)}`);
      return { floor, pairs };
    });
    await floorServer.stop();
    const results = rounds.map((round) => round.pairs);
    rows.push([
      `${connections}${processes.length === 0 ? '' : placeNames[placement]}`,
      whole(medianOf(rounds, ({ floor }) => floor.pairsPerSecond)),
      whole(medianOf(rounds, ({ pairs }) => pairs.pairsPerSecond)),
      // Of each round and not of the medians: the two neighbours in time met the same machine.
      percent(medianOf(rounds, ({ floor, pairs }) => pairs.pairsPerSecond / floor.pairsPerSecond)),
      ms(medianOf(rounds, ({ pairs }) => pairs.pair.p50)),
      ms(medianOf(rounds, ({ pairs }) => pairs.pair.p99)),
      ms(medianOf(rounds, ({ pairs }) => pairs.pair.p999)),
      whole(medianOf(rounds, ({ pairs }) => cpuPerPair(pairs))),
      ...storeCpuCells(bench, results),
      megabytes(medianOf(results, ({ serverRssBytes }) => serverRssBytes ?? Number.NaN)),
      ...processes.map(({ name }) => megabytes(medianOf(results, ({ stores }) => stores[name]?.bytes ?? Number.NaN))),
    ]);
    figures.push({ placement, connections, rounds });
  }
  bench.store.place(placements[0]);
  const heads = ['connections', 'floor, pairs/s', 'pairs/s', 'share of floor', 'p50 ms', 'p99 ms', 'p99.9 ms'];
  const memory = processes.map(({ name }) => `${nameOfStore[name]} memory`);
  const text = table([...heads, 'server CPU µs/pair', ...storeCpuColumns(bench), 'server RSS', ...memory], rows);
  return { title: 'Pairs of start and check', text, figures };
}
