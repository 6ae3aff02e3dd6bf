import type { LoadResult } from '../load.ts';
import { type Bench, newInstallation } from '../measure.ts';
import { type Installation, type RunningServer, startServer } from '../servers.ts';
import { medianOf, ms, percent, whole } from '../tables.ts';

/** Runs the rounds on one server with a store of its own, empty at the beginning. */
export async function onServer<Round>(
  bench: Bench,
  round: (installation: Installation, server: RunningServer) => Promise<Round>,
): Promise<Round[]> {
  const installation = await newInstallation(bench);
  const rounds: Round[] = [];
  await onNewProcess(bench, installation, async (server) => {
    while (rounds.length < bench.options.rounds) rounds.push(await round(installation, server));
  });
  await installation.remove();
  return rounds;
}

export async function onNewProcess<Result>(
  bench: Bench,
  installation: Installation,
  use: (server: RunningServer) => Promise<Result>,
): Promise<Result> {
  const server = await startServer(installation, bench.entry, bench.pinning);
  const result = await use(server);
  await server.stop();
  return result;
}

/** µs of all servers under test. */
export function cpuPerPair({ serverCpuSeconds = Number.NaN, pairs }: LoadResult): number {
  return (serverCpuSeconds / pairs) * 1e6;
}

/** µs of one of the store's servers. */
export function storeCpuPerPair({ stores, pairs }: LoadResult, name: string): number {
  return ((stores[name]?.cpuSeconds ?? Number.NaN) / pairs) * 1e6;
}

/** Columns of the store's servers: CPU time of a pair. */
export function storeCpuColumns(bench: Bench): readonly string[] {
  return bench.store.processes.map(({ name }) => `${nameOfStore[name]} CPU µs/pair`);
}

export function storeCpuCells(bench: Bench, results: readonly LoadResult[]): readonly string[] {
  return bench.store.processes.map(({ name }) => whole(medianOf(results, (result) => storeCpuPerPair(result, name))));
}

export const nameOfStore = { postgres: 'PostgreSQL', redis: 'Redis' } as const;

/** One line on the way, with what makes a figure worthless: a load that could not go faster, or a CPU not its own. */
export function tell(result: LoadResult, { paced = false } = {}): string {
  const serverShare = (result.serverCpuSeconds ?? Number.NaN) / result.seconds;
  const stores = Object.entries(result.stores).map(([name, { cpuSeconds }]) => {
    return `, ${name} ${percent(cpuSeconds / result.seconds)}`;
  });
  const limit = result.loadCpuShare > 0.9 ? 'LOAD GENERATOR' : "CPU OF THE LOAD AND THE STORE'S SERVER";
  // With a rate nothing is as fast as it can go, and the load looks at the clock.
  const limited =
    !paced && result.loadAndStoresCpuShare > 0.9 && serverShare < 0.9 ? ` (THE ${limit} WAS THE LIMIT)` : '';
  const foreign = result.foreignCpuShare ?? 0;
  const disturbed = foreign > 0.03 ? ` (OTHER PROCESSES TOOK ${percent(foreign)} OF THE SERVER'S CPU)` : '';
  const busy = Number.isNaN(serverShare) ? '' : `, server ${percent(serverShare)} busy`;
  return `${whole(result.pairsPerSecond)}/s, p99 ${ms(result.pair.p99)} ms${busy}, load ${percent(result.loadCpuShare)}${stores.join('')}${limited}${disturbed}`;
}

/** Progress goes to stderr: stdout is the tables. */
export function say(line: string): void {
  console.error(line);
}
