import { setTimeout as wait } from 'node:timers/promises';
import type { LoadResult } from './load.ts';
import { type Bench, isDefaultEntry, loadFloor, loadPairs, newInstallation } from './measure.ts';
import type { Section } from './options.ts';
import { readProcessStats } from './process-stats.ts';
import { type Installation, type RunningServer, startByNpm, startFloor, startServer } from './servers.ts';
import { median, medianOf, megabytes, ms, percent, table, whole } from './tables.ts';

export type SectionReport = {
  readonly title: string;
  /** Markdown. */
  readonly text: string;
  /** Every figure of every round. */
  readonly figures: unknown;
};

/** Enough to keep the server busy, without a queue that hides its latency. */
const busyConnections = 32;
/** Enough that none is ever missing when callers come at instants of their own. */
const openLoopConnections = 128;
const settleMs = 3000;

export const runSection: Readonly<Record<Section, (bench: Bench) => Promise<SectionReport>>> = {
  pairs: measurePairs,
  lone: measureLoneCaller,
  'half-load': measureHalfLoad,
  ready: measureReady,
  growth: measureGrowth,
  memory: measureMemory,
};

async function measurePairs(bench: Bench): Promise<SectionReport> {
  const rows: string[][] = [];
  const figures: { connections: number; rounds: readonly { floor: LoadResult; pairs: LoadResult }[] }[] = [];
  for (const connections of bench.options.connections) {
    const floorServer = await startFloor(bench.pinning);
    // The two take turns on the same CPU: the one that waits costs the other nothing.
    const rounds = await onServer(bench, async (installation, server) => {
      const floor = await loadFloor(bench, floorServer, { connections });
      const pairs = await loadPairs(bench, installation, server, { connections });
      say(`  ${connections} connections: floor ${tell(floor)}; pairs ${tell(pairs)}`);
      return { floor, pairs };
    });
    await floorServer.stop();
    rows.push([
      String(connections),
      whole(medianOf(rounds, ({ floor }) => floor.pairsPerSecond)),
      whole(medianOf(rounds, ({ pairs }) => pairs.pairsPerSecond)),
      // Of each round and not of the medians: the two neighbours in time met the same machine.
      percent(medianOf(rounds, ({ floor, pairs }) => pairs.pairsPerSecond / floor.pairsPerSecond)),
      ms(medianOf(rounds, ({ pairs }) => pairs.pair.p50)),
      ms(medianOf(rounds, ({ pairs }) => pairs.pair.p99)),
      ms(medianOf(rounds, ({ pairs }) => pairs.pair.p999)),
      whole(medianOf(rounds, ({ pairs }) => cpuPerPair(pairs))),
      megabytes(medianOf(rounds, ({ pairs }) => pairs.serverRssBytes ?? Number.NaN)),
    ]);
    figures.push({ connections, rounds });
  }
  const heads = ['connections', 'floor, pairs/s', 'pairs/s', 'share of floor', 'p50 ms', 'p99 ms', 'p99.9 ms'];
  const text = table([...heads, 'server CPU µs/pair', 'server RSS'], rows);
  return { title: 'Pairs of start and check', text, figures };
}

async function measureLoneCaller(bench: Bench): Promise<SectionReport> {
  const rounds = await onServer(bench, (installation, server) => {
    return loadPairs(bench, installation, server, { connections: 1 });
  });
  const row = (name: string, of: 'pair' | 'start' | 'check'): string[] => [
    name,
    ...(['mean', 'p50', 'p99', 'p999'] as const).map((figure) => ms(medianOf(rounds, (round) => round[of][figure]))),
  ];
  const text = table(
    ['one caller', 'mean ms', 'p50 ms', 'p99 ms', 'p99.9 ms'],
    [row('start', 'start'), row('check', 'check'), row('pair', 'pair')],
  );
  return { title: 'A lone caller', text, figures: rounds };
}

async function measureHalfLoad(bench: Bench): Promise<SectionReport> {
  const rounds = await onServer(bench, async (installation, server) => {
    const full = await loadPairs(bench, installation, server, { connections: busyConnections });
    const rate = full.pairsPerSecond / 2;
    const half = await loadPairs(bench, installation, server, { connections: openLoopConnections, rate });
    say(`  full ${tell(full)}; half ${tell(half, { paced: true })}`);
    return { full, half };
  });
  const row = (name: string, of: 'full' | 'half'): string[] => [
    name,
    whole(medianOf(rounds, (round) => round[of].pairsPerSecond)),
    ...(['p50', 'p99', 'p999'] as const).map((figure) => ms(medianOf(rounds, (round) => round[of].pair[figure]))),
  ];
  const text = table(
    ['load', 'pairs/s', 'p50 ms', 'p99 ms', 'p99.9 ms'],
    [
      row(`as fast as ${busyConnections} connections go`, 'full'),
      row('half of that, at random instants, from the intended instant', 'half'),
    ],
  );
  return { title: 'At half load', text, figures: rounds };
}

async function measureReady(bench: Bench): Promise<SectionReport> {
  // A start uses what cores there are; pinned, the compiler's threads would wait for the main one.
  const unpinned = { kind: 'unpinned', why: 'a start is measured as it is' } as const;
  const measured: Record<'first' | 'second' | 'npm', number[]> = { first: [], second: [], npm: [] };
  for (let round = 0; round < bench.options.rounds; round++) {
    const installation = newInstallation(bench);
    for (const which of ['first', 'second'] as const) {
      const server = await startServer(installation, bench.entry, unpinned);
      await server.stop();
      measured[which].push(server.readyMs);
    }
    if (isDefaultEntry(bench)) {
      // The first one may install packages and build pages.
      if (round === 0) await (await startByNpm(installation)).stop();
      const server = await startByNpm(installation);
      await server.stop();
      measured.npm.push(server.readyMs);
    }
    installation.remove();
  }
  const rows = [
    ['`serve`, empty data directory', whole(median(measured.first))],
    ['`serve`, the same directory again', whole(median(measured.second))],
  ];
  if (measured.npm.length > 0) rows.push(['`npm start`, the second time', whole(median(measured.npm))]);
  return { title: 'From the command to the first answer', text: table(['command', 'ms'], rows), figures: measured };
}

async function measureGrowth(bench: Bench): Promise<SectionReport> {
  const few = 1000;
  const { rows } = bench.options;
  const { installation: full } = await fillStore(bench);
  const rounds: { few: LoadResult; full: LoadResult }[] = [];
  for (let round = 0; round < bench.options.rounds; round++) {
    const empty = newInstallation(bench);
    // Both in a process that has just begun, or one would meet a compiler that is done and the other not.
    const fewResult = await onNewProcess(bench, empty, async (server) => {
      await loadPairs(bench, empty, server, { connections: busyConnections, count: few });
      return loadPairs(bench, empty, server, { connections: busyConnections });
    });
    empty.remove();
    const fullResult = await onNewProcess(bench, full, async (server) => {
      await loadPairs(bench, full, server, { connections: busyConnections, count: few });
      return loadPairs(bench, full, server, { connections: busyConnections });
    });
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
  ];
  const text = table(
    ['verifications in the store before', 'pairs/s', 'share', 'p50 ms', 'p99 ms', 'server CPU µs/pair'],
    [row(whole(few), 'few'), row(whole(rows), 'full')],
  );
  return { title: 'With history in the store', text, figures: rounds };
}

async function measureMemory(bench: Bench): Promise<SectionReport> {
  const { readings } = await fillStore(bench);
  const start = readings[0]?.rssBytes ?? Number.NaN;
  const rows = readings.map(({ verifications, rssBytes, anonymousBytes }) => {
    const name = verifications === 0 ? 'just started' : `${whole(verifications)} verifications`;
    return [name, megabytes(rssBytes), megabytes(rssBytes - start), megabytes(anonymousBytes)];
  });
  const text = table(['after', 'RSS', 'more than at the start', 'RSS without files'], rows);
  return { title: 'Memory of the server', text, figures: readings };
}

type MemoryReading = { readonly verifications: number; readonly rssBytes: number; readonly anonymousBytes: number };
type FilledStore = { readonly installation: Installation; readonly readings: readonly MemoryReading[] };

let filledStore: Promise<FilledStore> | undefined;

/** Fills a store through the server, as life does, once for all sections that need it; reads the memory on the way. */
function fillStore(bench: Bench): Promise<FilledStore> {
  filledStore ??= (async () => {
    const { rows } = bench.options;
    const installation = newInstallation(bench);
    const readings: MemoryReading[] = [];
    await onNewProcess(bench, installation, async (server) => {
      for (const verifications of [0, Math.round(rows / 10), rows]) {
        const count = verifications - (readings.at(-1)?.verifications ?? 0);
        if (count > 0) {
          const filled = await loadPairs(bench, installation, server, { connections: busyConnections, count });
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
  })();
  return filledStore;
}

/** Runs the rounds on one server with a store of its own, empty at the beginning. */
async function onServer<Round>(
  bench: Bench,
  round: (installation: Installation, server: RunningServer) => Promise<Round>,
): Promise<Round[]> {
  const installation = newInstallation(bench);
  const rounds: Round[] = [];
  await onNewProcess(bench, installation, async (server) => {
    while (rounds.length < bench.options.rounds) rounds.push(await round(installation, server));
  });
  installation.remove();
  return rounds;
}

async function onNewProcess<Result>(
  bench: Bench,
  installation: Installation,
  use: (server: RunningServer) => Promise<Result>,
): Promise<Result> {
  const server = await startServer(installation, bench.entry, bench.pinning);
  const result = await use(server);
  await server.stop();
  return result;
}

function cpuPerPair({ serverCpuSeconds = Number.NaN, pairs }: LoadResult): number {
  return (serverCpuSeconds / pairs) * 1e6;
}

/** One line on the way, with what makes a figure worthless: a load that could not go faster, or a CPU not its own. */
function tell(result: LoadResult, { paced = false } = {}): string {
  const serverShare = (result.serverCpuSeconds ?? Number.NaN) / result.seconds;
  // With a rate the load is always busy: it looks at the clock.
  const limited =
    !paced && result.loadCpuShare > 0.95 && serverShare < 0.9 ? ' (THE LOAD GENERATOR WAS THE LIMIT)' : '';
  const foreign = result.foreignCpuShare ?? 0;
  const disturbed = foreign > 0.03 ? ` (OTHER PROCESSES TOOK ${percent(foreign)} OF THE SERVER'S CPU)` : '';
  const busy = Number.isNaN(serverShare) ? '' : `, server ${percent(serverShare)} busy`;
  return `${whole(result.pairsPerSecond)}/s, p99 ${ms(result.pair.p99)} ms${busy}, load ${percent(result.loadCpuShare)}${limited}${disturbed}`;
}

/** Progress goes to stderr: stdout is the tables. */
function say(line: string): void {
  console.error(line);
}
