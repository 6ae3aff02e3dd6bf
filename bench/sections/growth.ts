import { fillPostgres } from '../fill-postgres.ts';
import { fillThroughServer } from '../fill-through-server.ts';
import type { LoadResult } from '../load.ts';
import { type Bench, loadPairs, newInstallation } from '../measure.ts';
import type { Installation } from '../servers.ts';
import { medianOf, ms, percent, table, whole } from '../tables.ts';
import { cpuPerPair, onNewProcess, say, storeCpuCells, storeCpuColumns, tell } from './rounds.ts';
import { busyConnections, type SectionReport } from './section.ts';

const few = 1000;

export async function measureGrowth(bench: Bench): Promise<SectionReport> {
  const { rows } = bench.options;
  const full = await fullInstallation(bench);
  const rounds: { few: LoadResult; full: LoadResult }[] = [];
  for (let round = 0; round < bench.options.rounds; round++) {
    const empty = await newInstallation(bench);
    const fewResult = await loadNewProcess(bench, empty);
    await empty.remove();
    const fullResult = await loadNewProcess(bench, full);
    say(`  ${whole(few)} rows: ${tell(fewResult)}; ${whole(rows)} rows: ${tell(fullResult)}`);
    rounds.push({ few: fewResult, full: fullResult });
  }
  const row = (name: string, of: 'few' | 'full'): string[] => [
    name,
    whole(medianOf(rounds, (round) => round[of].pairsPerSecond)),
    percent(medianOf(rounds, (round) => round[of].pairsPerSecond / round.few.pairsPerSecond)),
    ms(medianOf(rounds, (round) => round[of].pair.p50)),
    ms(medianOf(rounds, (round) => round[of].pair.p99)),
    whole(medianOf(rounds, (round) => cpuPerPair(round[of]))),
    ...storeCpuCells(
      bench,
      rounds.map((round) => round[of]),
    ),
  ];
  const heads = ['verifications in the store before', 'pairs/s', 'share', 'p50 ms', 'p99 ms', 'server CPU µs/pair'];
  const text = table([...heads, ...storeCpuColumns(bench)], [row(whole(few), 'few'), row(whole(rows), 'full')]);
  return { title: 'With history in the store', text, figures: rounds };
}

async function fullInstallation(bench: Bench): Promise<Installation> {
  const { rows } = bench.options;
  if (bench.options.store === 'sqlite') return (await fillThroughServer(bench, rows)).installation;
  const installation = await newInstallation(bench);
  // Nothing is measured meanwhile, so the store may have every CPU.
  bench.store.place('anywhere');
  await fillPostgres(installation.environment['DATABASE_URL'] ?? '', rows, say);
  bench.store.place(bench.options.placements[0]);
  return installation;
}

/** A process that has just begun, on both sides, or one would meet a compiler that is done and the other not. */
function loadNewProcess(bench: Bench, installation: Installation): Promise<LoadResult> {
  return onNewProcess(bench, installation, async (server) => {
    await loadPairs(bench, installation, [server], { connections: busyConnections, count: few });
    return loadPairs(bench, installation, [server], { connections: busyConnections });
  });
}
