import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { endWithUs } from './guard.ts';
import type { Account } from './machine.ts';

const LOG_CHARS = 20_000;
const END_PATIENCE_MS = 15_000;

export type ServerCommand = {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** who it runs as; this process's own user when undefined */
  readonly account: Account | undefined;
  /** what ends it at once, should this process die */
  readonly lastSignal: NodeJS.Signals;
};

/** A server that this process started. Nothing of it outlives this process: see `guard.ts`. */
export class ServerProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #log = '';
  #hasEnded = false;

  constructor({ program, args, cwd, account, lastSignal }: ServerCommand) {
    this.#child = spawn(program, args, {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      // Ctrl-C in a terminal is for the tests, which then stop their servers in order.
      detached: true,
      env: { PATH: process.env['PATH'], HOME: cwd, LC_ALL: 'C', TZ: 'UTC' },
      ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
    });
    const release = this.#child.pid === undefined ? () => {} : endWithUs(this.#child.pid, lastSignal);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-LOG_CHARS);
      });
      // A server that a test forgot does not keep the run from ending.
      if (stream !== null && 'unref' in stream && typeof stream.unref === 'function') stream.unref();
    }
    this.#child.unref();
    this.#ended = new Promise((resolve) => {
      const end = (why: string) => {
        this.#hasEnded = true;
        this.#log += why;
        release();
        resolve();
      };
      this.#child.once('error', (error) => end(`${error.message}\n`));
      this.#child.once('exit', (code, signal) => end(`(ended with ${code ?? signal})\n`));
    });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`the server did not start: ${this.#log}`);
    return this.#child.pid;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** The last of what it said on both streams. */
  get log(): string {
    return this.#log;
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.#hasEnded) process.kill(this.pid, signal);
  }

  /** Sends the signal and waits for the end. @throws when it goes on for fifteen seconds; it is killed then */
  async end(signal: NodeJS.Signals): Promise<void> {
    this.signal(signal);
    if (await this.#endsWithin(END_PATIENCE_MS)) return;
    this.signal('SIGKILL');
    await this.#endsWithin(END_PATIENCE_MS);
    throw new Error(`the server (pid ${this.pid}) did not end on ${signal}:\n${this.#log}`);
  }

  /**
   * Asks until it answers.
   * @param ask rejects as long as the server is not ready
   * @throws with what the server said, when it ends or the time is over
   */
  async untilAnswers(ask: () => Promise<void>, patienceMs: number): Promise<void> {
    const deadline = performance.now() + patienceMs;
    for (;;) {
      let complaint: unknown;
      try {
        await ask();
        if (!this.#hasEnded) return;
      } catch (error) {
        complaint = error;
      }
      if (this.#hasEnded) throw new ServerEndedError(this.#log);
      if (performance.now() > deadline) {
        throw new Error(`the server does not answer after ${patienceMs} ms (${complaint}):\n${this.#log}`);
      }
      await delay(20);
    }
  }

  async #endsWithin(patienceMs: number): Promise<boolean> {
    const patience = new AbortController();
    const late = delay(patienceMs, 'late', { signal: patience.signal }).catch(() => 'early');
    const first = await Promise.race([this.#ended, late]);
    patience.abort();
    return first !== 'late';
  }
}

/** It ended while it started; what it said is in the message. */
export class ServerEndedError extends Error {
  constructor(log: string) {
    super(`the server ended while it started:\n${log}`);
  }

  /** Worth another try with another port: somebody took this one in the meantime. */
  get isPortTaken(): boolean {
    return /address already in use|port .* in use|could not bind/i.test(this.message);
  }
}
