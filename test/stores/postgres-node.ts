import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

/** What a node is told to do with a database. */
export type NodeTask = { readonly url: string } & (
  | { readonly does: 'open' }
  | { readonly does: 'approve'; readonly count: number; readonly id: string; readonly digest: string }
  | { readonly does: 'guess'; readonly count: number; readonly id: string }
  | { readonly does: 'limit'; readonly count: number; readonly max: number }
  | { readonly does: 'start'; readonly count: number; readonly first: number; readonly at: number }
);

const PATIENCE_MS = 30_000;

/** Runs a node for each task, all of them at once from a barrier on. @returns the last thing that each said */
export async function runNodes(tasks: readonly NodeTask[]): Promise<unknown[]> {
  const nodes = tasks.map((task) => new Node(task));
  try {
    for (const node of nodes) await node.ready();
    for (const node of nodes) node.go();
    return await Promise.all(nodes.map((node) => node.result()));
  } finally {
    for (const node of nodes) node.kill();
  }
}

class Node {
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #said: unknown[] = [];
  readonly #ready = Promise.withResolvers<void>();
  readonly #ended: Promise<unknown>;
  #complaints = '';

  constructor(task: NodeTask) {
    const script = join(import.meta.dirname, 'postgres-child.ts');
    this.#process = spawn(process.execPath, [script, JSON.stringify(task)], {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: PATIENCE_MS,
    });
    const lines = createInterface({ input: this.#process.stdout });
    lines.on('line', (line) => {
      this.#said.push(JSON.parse(line));
      this.#ready.resolve();
    });
    this.#process.stderr.on('data', (text) => {
      this.#complaints += String(text);
    });
    this.#process.stdin.on('error', () => {});
    this.#ended = Promise.all([once(lines, 'close'), once(this.#process, 'exit')]);
    void this.#ended.then(() => this.#ready.resolve());
  }

  ready(): Promise<void> {
    return this.#ready.promise;
  }

  go(): void {
    this.#process.stdin.write('go\n');
  }

  async result(): Promise<unknown> {
    await this.#ended;
    if (this.#process.exitCode !== 0)
      throw new Error(`a node ended with ${this.#process.exitCode}: ${this.#complaints}`);
    return this.#said.at(-1);
  }

  kill(): void {
    if (this.#process.exitCode === null && this.#process.signalCode === null) this.#process.kill('SIGKILL');
  }
}
