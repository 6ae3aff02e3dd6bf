import { readFileSync } from 'node:fs';

export type ProcessStats = {
  /** User and system time of all threads since the process began. */
  readonly cpuSeconds: number;
  readonly rssBytes: number;
  /** The part of the RSS that belongs to no file: heaps, stacks, buffers. */
  readonly anonymousBytes: number;
};

/** USER_HZ: what /proc counts CPU time in, 100 on every platform that Node.js is built for. */
const ticksPerSecond = 100;

/** What the kernel says about a process; undefined where there is no /proc. */
export function readProcessStats(pid: number): ProcessStats | undefined {
  if (process.platform !== 'linux') return undefined;
  const fields = statFields(pid);
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
    rssBytes: kibibytes(status, 'VmRSS'),
    anonymousBytes: kibibytes(status, 'RssAnon'),
  };
}

/**
 * User and system time of a process, its children, and those that it had and are gone: a PostgreSQL is one process for
 * each connection. Undefined where there is no /proc.
 */
export function readTreeCpuSeconds(pid: number): number | undefined {
  if (process.platform !== 'linux') return undefined;
  const fields = statFields(pid);
  const own = [11, 12, 13, 14].reduce((sum, field) => sum + Number(fields[field]), 0) / ticksPerSecond;
  return childrenOf(pid).reduce((sum, child) => sum + (ifThere(() => readTreeCpuSeconds(child)) ?? 0), own);
}

/** Memory of a process and its children, in which what several of them share is counted once. */
export function readTreeBytes(pid: number): number | undefined {
  if (process.platform !== 'linux') return undefined;
  const own = kibibytes(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'), 'Pss');
  return childrenOf(pid).reduce((sum, child) => sum + (ifThere(() => readTreeBytes(child)) ?? 0), own);
}

/** The process and all that came of it. */
export function treeOf(pid: number): readonly number[] {
  return [pid, ...childrenOf(pid).flatMap((child) => ifThere(() => treeOf(child)) ?? [])];
}

function childrenOf(pid: number): readonly number[] {
  const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
  return list === '' ? [] : list.split(' ').map(Number);
}

/** A child may end between being listed and being looked at; its time is its parent's then. */
function ifThere<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** How long a CPU has worked, for whomever, or was kept from it by the host; undefined where there is no /proc. */
export function readCpuBusySeconds(cpu: number): number | undefined {
  if (process.platform !== 'linux') return undefined;
  const line = new RegExp(`^cpu${cpu} (.*)$`, 'm').exec(readFileSync('/proc/stat', 'latin1'))?.[1] ?? '';
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line.split(' ').map(Number);
  return (user + nice + system + irq + softirq + steal) / ticksPerSecond;
}

/** The CPUs that this process may run on. */
export function allowedCpus(): readonly number[] {
  if (process.platform !== 'linux') return [];
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '';
  return list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, at) => first + at);
  });
}

function statFields(pid: number): readonly string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // Fields are counted from behind the command's name, which may hold anything, blanks and brackets too.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function kibibytes(status: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(status)?.[1] ?? 0) * 1024;
}
