import { fsync, openSync } from 'node:fs';
import { extname } from 'node:path';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { Worker } from 'node:worker_threads';

/**
 * A step changes some three pages: that is about 16 MB of log. A page that changes often is then copied once for many
 * changes, and a start after a crash reads the log in moments.
 */
const STEPS_BEFORE_CHECKPOINT = 1500;

/**
 * Never closed: closing any descriptor of a database file would take away the locks that SQLite has on it for this whole
 * process. https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
 */
const databaseDescriptors = new Map<string, number>();

function databaseDescriptor(file: string): number {
  let descriptor = databaseDescriptors.get(file);
  if (descriptor === undefined) {
    descriptor = openSync(file, 'r+');
    databaseDescriptors.set(file, descriptor);
  }
  return descriptor;
}

/**
 * Moves the log into the database file in a thread of its own. SQLite would do it inside whichever commit makes the
 * log too long, and every caller would wait for thousands of pages to be copied and flushed.
 */
export class Checkpointer {
  readonly #file: string;
  readonly #database: DatabaseSync;
  readonly #restart: StatementSync;
  #worker: Worker | undefined;
  #steps = 0;
  #isBusy = false;

  /** @param database must not checkpoint by itself: `wal_autocheckpoint = 0` */
  constructor(database: DatabaseSync, file: string) {
    this.#file = file;
    this.#database = database;
    this.#restart = database.prepare('PRAGMA wal_checkpoint(RESTART)');
  }

  /** @param steps how many were committed */
  afterCommit(steps: number): void {
    this.#steps += steps;
    if (this.#steps < STEPS_BEFORE_CHECKPOINT || this.#isBusy) return;
    this.#isBusy = true;
    this.#steps = 0;
    this.#worker ??= this.#start();
    this.#worker.postMessage('checkpoint');
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker === undefined) return;
    await new Promise<void>((resolve) => {
      worker.ref();
      worker.once('exit', () => resolve());
      worker.postMessage('close');
    });
  }

  #start(): Worker {
    // Beside this file, as source or built.
    const descriptor = databaseDescriptor(this.#file);
    const worker = new Worker(new URL(`./checkpoint-worker${extname(import.meta.filename)}`, import.meta.url), {
      workerData: { file: this.#file },
    });
    worker.unref();
    worker.on('message', () => {
      // The pages that the thread has copied are flushed before the log may begin anew; SQLite would hold this thread
      // still for that, a quarter of a second now and then.
      fsync(descriptor, (error) => {
        if (error === null) this.#restartLog();
        this.#isBusy = false;
      });
    });
    worker.on('error', () => {
      // A full disk, say. The commits tell whoever it concerns; the next checkpoint starts a new thread.
      this.#worker = undefined;
      this.#isBusy = false;
    });
    return worker;
  }

  /** What was committed meanwhile is little: it is copied at once, and the log begins anew instead of growing on. */
  #restartLog(): void {
    if (!this.#database.isOpen) return;
    try {
      // Whoever reads or writes in another process just now holds it up; the next time comes soon.
      this.#restart.get();
    } catch {
      // As above: the commits tell.
    }
  }
}
