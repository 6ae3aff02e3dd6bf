import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { removeWithUs } from '../test/servers/guard.ts';

export type TemporaryDirectory = { readonly path: string; remove(): Promise<void> };

/** On the disk that is measured. Gone at the latest when this process is, whatever way it ends. */
export function makeTemporaryDirectory(under: string, name: string): TemporaryDirectory {
  const path = mkdtempSync(join(under, `countersign-bench-${name}-`));
  const release = removeWithUs(path);
  return {
    path,
    async remove() {
      // A process of a server that outlives it by a moment may still write.
      await rm(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
      release();
    },
  };
}
