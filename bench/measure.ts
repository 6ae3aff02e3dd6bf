import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { LoadResult } from './load.ts';
import type { BenchOptions } from './options.ts';
import { commandFor, type Pinning } from './pinning.ts';
import { createInstallation, defaultEntry, type Installation, type RunningServer } from './servers.ts';
import type { StoreServers } from './store-servers.ts';

/** What every section is given. */
export type Bench = {
  readonly options: BenchOptions;
  readonly pinning: Pinning;
  readonly entry: string;
  readonly store: StoreServers;
};

export type LoadOptions = {
  readonly connections: number;
  /** Pairs per second; closed loop without it. */
  readonly rate?: number;
  /** This many pairs in place of a time. */
  readonly count?: number;
};

export function newInstallation({ options, entry, store }: Bench): Promise<Installation> {
  return createInstallation({ entry, under: options.directory, store });
}

export const isDefaultEntry = ({ entry }: Bench): boolean => entry === defaultEntry;

export function loadFloor(bench: Bench, server: RunningServer, load: LoadOptions): Promise<LoadResult> {
  return run(bench, [server], load, ['--mode', 'echo']);
}

/** @param servers each caller asks one after the other */
export async function loadPairs(
  bench: Bench,
  installation: Installation,
  servers: readonly RunningServer[],
  load: LoadOptions,
): Promise<LoadResult> {
  const { key, codesFile, nextNumber } = installation;
  const more = ['--mode', 'pairs', '--key', key, '--codes', codesFile, '--offset', String(nextNumber)];
  const result = await run(bench, servers, load, more);
  installation.nextNumber += result.issued;
  return result;
}

/** @throws Error when the load met one wrong answer or more: a figure with errors in it is none */
async function run(
  { options, pinning, store }: Bench,
  servers: readonly RunningServer[],
  load: LoadOptions,
  more: readonly string[],
): Promise<LoadResult> {
  const [file, args] = commandFor(pinning, 'load', [
    join(import.meta.dirname, 'load.ts'),
    ...['--port', servers.map(({ port }) => port).join(','), '--server-pid', pidsOf(servers)],
    ...['--connections', String(load.connections)],
    ...store.processes.flatMap(({ name, pid }) => ['--store', `${name}:${pid}`]),
    ...['--neighbour-pid', pidsOf(store.neighbours())],
    ...(store.processes.length > 0 ? ['--shares-cpu'] : []),
    ...['--seconds', String(options.seconds), '--warm-up', String(options.warmUpSeconds)],
    ...(load.rate === undefined ? [] : ['--rate', String(load.rate)]),
    ...(load.count === undefined ? [] : ['--count', String(load.count)]),
    ...(pinning.kind === 'pinned' ? ['--server-cpu', String(pinning.server)] : []),
    ...more,
  ]);
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const stop = (): boolean => child.kill('SIGKILL');
  process.once('exit', stop);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [status] = (await once(child, 'close')) as [number | null];
  process.off('exit', stop);
  const result = output === '' ? undefined : (JSON.parse(output) as LoadResult);
  if (status !== 0 || !result) {
    const counts = Object.entries(result?.errors ?? {}).map(([code, count]) => `${count} × ${code}`);
    throw new Error(`the load failed (${counts.join(', ') || `exit ${status}`}): ${result?.firstError ?? 'see above'}`);
  }
  return result;
}

function pidsOf(processes: readonly { readonly pid: number }[]): string {
  return processes.map(({ pid }) => pid).join(',');
}
