import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { endWithUs } from '../../test/servers/guard.ts';
import { freePort } from '../../test/servers/machine.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const shiftedClock = new URL('./shifted-clock.ts', import.meta.url).href;
const START_PATIENCE_MS = 30_000;
const LOOK_AGAIN_MS = 25;
const TAIL_CHARS = 8000;
/** Numbers of the traffic, see `numbers.ts`, in whatever form. */
const FULL_NUMBER = /998\d{9}/;

export type NodeOptions = {
  readonly directory: string;
  readonly environment: Readonly<Record<string, string>>;
  /** how far its clock is ahead */
  readonly clockOffMs?: number;
};

/** One `countersign serve`, which can be killed and started again at its address. */
export class NodeProcess {
  readonly origin: string;
  readonly clockOffMs: number;
  /** lines of its log that no fault excuses */
  readonly complaints: string[] = [];
  readonly #options: NodeOptions;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #tail = '';

  private constructor(port: number, options: NodeOptions) {
    this.origin = `http://127.0.0.1:${port}`;
    this.clockOffMs = options.clockOffMs ?? 0;
    this.#options = options;
  }

  /** Not started yet. */
  static async make(options: NodeOptions): Promise<NodeProcess> {
    return new NodeProcess(await freePort(), options);
  }

  /** @returns how long it took until it was ready, in ms */
  async start(): Promise<number> {
    const begun = performance.now();
    const { directory, environment } = this.#options;
    const { PATH, HOME, TMPDIR } = process.env;
    const preload = this.clockOffMs === 0 ? [] : ['--import', shiftedClock];
    const child = spawn(process.execPath, [...preload, main, 'serve'], {
      cwd: directory,
      // Ctrl-C in a terminal is for the harness, which then stops its nodes.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH,
        HOME,
        TMPDIR,
        HOST: '127.0.0.1',
        PORT: new URL(this.origin).port,
        ...environment,
        ...(this.clockOffMs === 0 ? {} : { SHIFTED_CLOCK_MS: String(this.clockOffMs) }),
      },
    });
    this.#child = child;
    const release = child.pid === undefined ? () => {} : endWithUs(child.pid, 'SIGKILL');
    this.#ended = new Promise((resolve) => {
      const end = () => {
        release();
        resolve();
      };
      child.once('close', end).once('error', end);
    });
    for (const stream of [child.stdout, child.stderr]) this.#read(stream);
    await this.#untilReady(child, begun + START_PATIENCE_MS);
    return performance.now() - begun;
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    if (this.#child?.exitCode === null && this.#child.signalCode === null) this.#child.kill(signal);
    await this.#ended;
  }

  async #untilReady(child: ChildProcess, deadline: number): Promise<void> {
    for (;;) {
      if (child.exitCode !== null || child.signalCode !== null) {
        await this.#ended;
        throw new Error(`a node ended while it started:\n${this.#tail}`);
      }
      const status = await fetch(`${this.origin}/readyz`, { signal: AbortSignal.timeout(2000) }).then(
        (answer) => answer.status,
        () => 0,
      );
      if (status === 200) return;
      if (performance.now() > deadline) throw new Error(`a node is not ready (${status}):\n${this.#tail}`);
      await delay(LOOK_AGAIN_MS);
    }
  }

  #read(stream: ChildProcess['stdout']): void {
    let partial = '';
    stream?.setEncoding('utf8').on('data', (text: string) => {
      this.#tail = (this.#tail + text).slice(-TAIL_CHARS);
      const lines = (partial + text).split('\n');
      partial = lines.pop() ?? '';
      for (const line of lines) this.#look(line);
    });
  }

  #look(line: string): void {
    if (FULL_NUMBER.test(line)) this.complaints.push('a full number is in the log');
    const isBug = line.includes('"msg":"bug"') || /\b(Uncaught|UnhandledPromiseRejection|TypeError)\b/.test(line);
    if (isBug)
      this.complaints.push(`a bug is in the log: ${/"error":"(.*?)(?:\\n {4}at [^"]*?){3}/.exec(line)?.[0] ?? line}`);
  }
}
