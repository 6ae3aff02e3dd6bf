import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { CountersignError } from '../../domain/problem.ts';
import { isBusy, reasonOf } from './database.ts';

type Step = {
  readonly work: () => unknown;
  readonly acknowledge: 'on disk' | 'committed';
  /** until when a database that another process has locked is tried again, by the monotonic clock */
  readonly patientUntil: number;
  readonly resolve: (result: never) => void;
  readonly reject: (error: unknown) => void;
};

/** Another process holds the lock for the length of its commit; more than this is a fault. */
const LOCK_PATIENCE_MS = 1000;
const LOCK_RETRY_MS = 5;

/**
 * The steps that arrive in one turn of the event loop share one transaction, and nobody waits for a timer.
 *
 * A step is acknowledged when it is on the disk. SQLite's own way (`synchronous = FULL`) would hold the only thread
 * still for each wait; so it runs as NORMAL, which writes the log at each commit and waits for nothing, and the wait
 * for the log (fdatasync) happens here, in the background, before anybody is answered. After a crash SQLite finds
 * every transaction up to the last whole one in the log: all that was acknowledged, and perhaps more.
 */
export class GroupCommit {
  readonly #database: DatabaseSync;
  readonly #sync: (done: (error: unknown) => void) => void;
  readonly #begin: StatementSync;
  readonly #commitAll: StatementSync;
  readonly #hooks: { readonly beforeCommit: () => void; readonly afterEnd: (committed: number) => void };
  #steps: Step[] = [];
  #isScheduled = false;
  /** commits that are not known to be on the disk yet */
  #syncing = 0;
  #isClosed = false;
  #whenIdle: (() => void) | undefined;

  /**
   * @param sync calls back when everything committed so far is on the disk, or with the reason why it may not be
   * @param hooks `beforeCommit` writes what the steps held back; `afterEnd` forgets it, and is told how many steps were committed
   */
  constructor(
    database: DatabaseSync,
    sync: (done: (error: unknown) => void) => void,
    hooks: { beforeCommit: () => void; afterEnd: (committed: number) => void },
  ) {
    this.#database = database;
    this.#sync = sync;
    this.#begin = database.prepare('BEGIN IMMEDIATE');
    this.#commitAll = database.prepare('COMMIT');
    this.#hooks = hooks;
  }

  /**
   * Runs `work` inside a write transaction that nobody else is in.
   * @param work synchronous; may run a second time, when a neighbour's failure rolled the first time back
   * @param acknowledge `committed` for what may be lost when the machine loses its power (never when the process dies)
   * @throws CountersignError `store-unavailable`; nothing of the step is stored then, unless it was only the disk that
   * could not be waited for
   */
  run<Result>(work: () => Result, acknowledge: Step['acknowledge'] = 'on disk'): Promise<Result> {
    if (this.#isClosed) return Promise.reject(new CountersignError('store-unavailable', 'The database is closed.'));
    return new Promise<Result>((resolve, reject) => {
      this.#steps.push({ work, acknowledge, patientUntil: performance.now() + LOCK_PATIENCE_MS, resolve, reject });
      // While the disk is waited for, steps gather: they would have to wait for the next time anyway, and a
      // transaction of many costs hardly more than one of few.
      if (this.#isScheduled || this.#syncing > 0) return;
      this.#isScheduled = true;
      setImmediate(() => this.#flush());
    });
  }

  /** Commits what is waiting, and resolves when all of it is on the disk and acknowledged. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (!this.#isScheduled && this.#syncing === 0) this.#flush();
    if (this.#isIdle()) return;
    await new Promise<void>((resolve) => {
      this.#whenIdle = resolve;
    });
  }

  #isIdle(): boolean {
    return this.#steps.length === 0 && this.#syncing === 0;
  }

  #flush(): void {
    this.#isScheduled = false;
    const steps = this.#steps;
    this.#steps = [];
    if (steps.length > 0) {
      const failure = this.#commit(steps);
      if (failure?.during === 'lock') this.#retryLater(steps, failure.error);
      else if (failure?.during === 'a step' && steps.length > 1) {
        // One step's failure must not fail its neighbours: each is tried once more by itself.
        for (const step of steps) {
          const alone = this.#commit([step]);
          if (alone !== undefined) step.reject(asStoreError(alone.error));
        }
      } else if (failure !== undefined) {
        const error = asStoreError(failure.error);
        for (const step of steps) step.reject(error);
      }
    }
    if (this.#isIdle()) this.#whenIdle?.();
  }

  /** Another process is in a transaction. This thread has more to do than to wait for it. */
  #retryLater(steps: readonly Step[], reason: unknown): void {
    const now = performance.now();
    const [patient, given] = [
      steps.filter((step) => now < step.patientUntil),
      steps.filter((step) => now >= step.patientUntil),
    ];
    const error = asStoreError(reason);
    for (const step of given) step.reject(error);
    if (patient.length === 0) return;
    this.#steps = [...patient, ...this.#steps];
    this.#isScheduled = true;
    setTimeout(() => this.#flush(), LOCK_RETRY_MS);
  }

  #commit(steps: readonly Step[]): { during: 'lock' | 'a step' | 'disk'; error: unknown } | undefined {
    const results: unknown[] = [];
    let committed = 0;
    let during: 'lock' | 'a step' | 'disk' = 'disk';
    try {
      try {
        // IMMEDIATE: another process's transaction is met here, never in the middle of a step.
        this.#begin.run();
      } catch (error) {
        return { during: isBusy(error) ? 'lock' : 'disk', error };
      }
      during = 'a step';
      for (const step of steps) results.push(step.work());
      this.#hooks.beforeCommit();
      during = 'disk';
      this.#commitAll.run();
      committed = steps.length;
    } catch (error) {
      this.#rollBack();
      return { during, error };
    } finally {
      this.#hooks.afterEnd(committed);
    }
    this.#acknowledge(steps, results);
    return undefined;
  }

  #rollBack(): void {
    try {
      // A full disk ends the transaction by itself; then there is nothing to roll back.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
    } catch {
      // The next BEGIN fails then, and says why.
    }
  }

  #acknowledge(steps: readonly Step[], results: readonly unknown[]): void {
    const settle = (when: Step['acknowledge'], failure: unknown) => {
      for (const [index, step] of steps.entries()) {
        if (step.acknowledge !== when) continue;
        if (failure === undefined) step.resolve(results[index] as never);
        else step.reject(failure);
      }
    };
    settle('committed', undefined);
    if (steps.every(({ acknowledge }) => acknowledge === 'committed')) return;
    this.#syncing += 1;
    this.#sync((error) => {
      this.#syncing -= 1;
      // First, so that the disk is at work again while the answers are written.
      if (this.#syncing === 0) this.#flush();
      settle('on disk', error == null ? undefined : asStoreError(error));
      if (this.#isIdle()) this.#whenIdle?.();
    });
  }
}

/** What SQLite says becomes a clear answer; a bug in a step stays a bug. */
export function asStoreError(error: unknown, wanted: 'read' | 'written' = 'written'): unknown {
  const { code, syscall } = error as Partial<NodeJS.ErrnoException>;
  if (code !== 'ERR_SQLITE_ERROR' && syscall === undefined) return error;
  return new CountersignError(
    'store-unavailable',
    `The database cannot be ${wanted} just now (${reasonOf(error)}). Is there room on the disk, and may this user write to it?`,
    { cause: error },
  );
}
