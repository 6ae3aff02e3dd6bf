import { spawnSync } from 'node:child_process';
import { allowedCpus, treeOf } from './process-stats.ts';

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

/** Moves a process, its threads and its children to the role's CPU, or to all that there are. */
export function movePinned(pinning: Pinning, pid: number, role: 'server' | 'load' | 'all'): void {
  if (pinning.kind === 'unpinned') return;
  const cpus = role === 'all' ? allowedCpus().join(',') : String(pinning[role]);
  for (const each of treeOf(pid)) {
    const run = spawnSync(taskset, ['--all-tasks', '--cpu-list', '--pid', cpus, String(each)], { encoding: 'utf8' });
    // One that has ended meanwhile needs no place.
    if (run.status !== 0 && each === pid) throw new Error(`taskset: ${run.stderr.trim()}`);
  }
}
