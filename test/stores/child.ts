import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

const PATIENCE_MS = 60_000;

/** A process of its own around a store, see `parent.ts` for its side. */
export class Child {
  /** what it has said so far */
  readonly said: unknown[] = [];
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<unknown>;
  #complaints = '';
  #listener: () => void = () => {};

  /**
   * @param program in this directory
   * @param fileSizeBlocks no file may grow past so many blocks of 512 bytes (`ulimit -f`): a disk without room
   */
  constructor(program: string, task: object, fileSizeBlocks?: number) {
    const script = [process.execPath, join(import.meta.dirname, program), JSON.stringify(task)] as const;
    const limited = ['sh', '-c', `ulimit -f ${fileSizeBlocks}; exec "$@"`, 'sh', ...script] as const;
    const [command, ...args] = fileSizeBlocks === undefined ? script : limited;
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: PATIENCE_MS });
    const lines = createInterface({ input: this.#process.stdout });
    lines.on('line', (line) => {
      this.said.push(JSON.parse(line));
      this.#listener();
    });
    this.#process.stderr.on('data', (text) => {
      this.#complaints += String(text);
    });
    // A child that is killed closes its end while we may still write.
    this.#process.stdin.on('error', () => {});
    this.#ended = Promise.all([once(lines, 'close'), once(this.#process, 'exit')]);
    void this.#ended.then(() => this.#listener());
  }

  /** Waits until what it said is enough. @throws when it ends before */
  async until(isEnough: (said: readonly unknown[]) => boolean): Promise<void> {
    while (!isEnough(this.said)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#listener = resolve;
      await promise;
      const { exitCode, signalCode } = this.#process;
      if ((exitCode !== null || signalCode !== null) && !isEnough(this.said)) {
        throw new Error(`the child ended with ${exitCode ?? signalCode}: ${this.#complaints}`);
      }
    }
  }

  async ready(): Promise<void> {
    await this.until((said) => said.includes('ready'));
  }

  go(): void {
    this.#process.stdin.write('go\n');
  }

  /** The last thing it said, once it has ended by itself. */
  async result(): Promise<unknown> {
    await this.#ended;
    if (this.#process.exitCode !== 0)
      throw new Error(`the child ended with ${this.#process.exitCode}: ${this.#complaints}`);
    return this.said.at(-1);
  }

  /** `kill -9`: nothing of it runs after this. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#ended;
  }
}

/** All of them go on at the same moment. @returns the last thing that each said */
export async function race(children: readonly Child[]): Promise<unknown[]> {
  try {
    await Promise.all(children.map((child) => child.ready()));
    for (const child of children) child.go();
    return await Promise.all(children.map((child) => child.result()));
  } finally {
    await Promise.all(children.map((child) => child.kill()));
  }
}
