import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { median } from './tables.ts';

/** f_type of file systems that are memory: statfs(2). */
const memoryFileSystems = new Set([0x01021994, 0x858458f6]);

export type Disk = { readonly directory: string; readonly fdatasyncMs: number; readonly isMemory: boolean };

/** What "durable" costs there: the median time that 4 KiB take to the disk. */
export function probeDisk(under: string): Disk {
  const directory = mkdtempSync(join(under, 'countersign-disk-'));
  const file = openSync(join(directory, 'probe'), 'w');
  const block = new Uint8Array(4096);
  const times = Array.from({ length: 100 }, () => {
    const from = performance.now();
    writeSync(file, block);
    fdatasyncSync(file);
    return performance.now() - from;
  });
  closeSync(file);
  rmSync(directory, { recursive: true });
  return { directory: under, fdatasyncMs: median(times), isMemory: memoryFileSystems.has(statfsSync(under).type) };
}
