import { spawnSync } from 'node:child_process';
import { allowedCpus } from './process-stats.ts';

const taskset = 'taskset';

/** Which CPU the server and the load have to themselves, or why they have none. */
export type Pinning =
  | { readonly kind: 'pinned'; readonly server: number; readonly load: number }
  | { readonly kind: 'unpinned'; readonly why: string };

export function choosePinning(): Pinning {
  if (process.platform !== 'linux') return { kind: 'unpinned', why: 'only Linux has taskset' };
  if (spawnSync(taskset, ['--version']).error) return { kind: 'unpinned', why: 'taskset (util-linux) is not there' };
  const [server, load] = allowedCpus();
  if (server === undefined || load === undefined) return { kind: 'unpinned', why: 'there is one CPU only' };
  return { kind: 'pinned', server, load };
}

/** The command line that runs a file under this Node.js on the role's CPU. taskset becomes Node.js: the pid stays. */
export function commandFor(pinning: Pinning, role: 'server' | 'load', args: readonly string[]): [string, string[]] {
  if (pinning.kind === 'unpinned') return [process.execPath, [...args]];
  return [taskset, ['--cpu-list', String(pinning[role]), process.execPath, ...args]];
}
