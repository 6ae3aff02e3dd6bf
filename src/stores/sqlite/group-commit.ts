import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { CountersignError } from '../../domain/problem.ts';
import { reasonOf } from './database.ts';

type Step = {
  readonly work: () => unknown;
  readonly resolve: (result: never) => void;
  readonly reject: (error: unknown) => void;
};

/**
 * The steps that arrive in one turn of the event loop share one transaction, and so one wait for the disk. Nobody
 * waits for a timer: a lone step commits in the turn in which it came.
 */
export class GroupCommit {
  readonly #database: DatabaseSync;
  readonly #begin: StatementSync;
  readonly #commitAll: StatementSync;
  readonly #hooks: { readonly beforeCommit: () => void; readonly afterEnd: () => void };
  #steps: Step[] = [];
  #scheduled = false;
  #closed = false;

  /**
   * @param hooks `beforeCommit` writes what the steps held back; `afterEnd` forgets it, committed or not
   */
  constructor(database: DatabaseSync, hooks: { beforeCommit: () => void; afterEnd: () => void }) {
    this.#database = database;
    this.#begin = database.prepare('BEGIN IMMEDIATE');
    this.#commitAll = database.prepare('COMMIT');
    this.#hooks = hooks;
  }

  /**
   * Runs `work` inside a write transaction that nobody else is in.
   * @param work synchronous; may run a second time, when a neighbour's failure rolled the first time back
   * @throws CountersignError `store-unavailable`; nothing of the step is stored then
   */
  run<Result>(work: () => Result): Promise<Result> {
    if (this.#closed) return Promise.reject(new CountersignError('store-unavailable', 'The database is closed.'));
    return new Promise<Result>((resolve, reject) => {
      this.#steps.push({ work, resolve, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      setImmediate(() => this.flush());
    });
  }

  /** Commits what is waiting, now. */
  flush(): void {
    this.#scheduled = false;
    const steps = this.#steps;
    if (steps.length === 0) return;
    this.#steps = [];
    const failure = this.#commit(steps);
    if (failure === undefined) return;
    if (failure.during === 'lock or disk' || steps.length === 1) {
      const error = asStoreError(failure.error);
      for (const step of steps) step.reject(error);
      return;
    }
    // One step's failure must not fail its neighbours: each is tried once more by itself.
    for (const step of steps) {
      const alone = this.#commit([step]);
      if (alone !== undefined) step.reject(asStoreError(alone.error));
    }
  }

  close(): void {
    this.flush();
    this.#closed = true;
  }

  #commit(steps: readonly Step[]): { during: 'a step' | 'lock or disk'; error: unknown } | undefined {
    const results: unknown[] = [];
    let during: 'a step' | 'lock or disk' = 'lock or disk';
    try {
      // IMMEDIATE: waits for another process's commit here (the connection's timeout), never in the middle of a step.
      this.#begin.run();
      during = 'a step';
      for (const step of steps) results.push(step.work());
      this.#hooks.beforeCommit();
      during = 'lock or disk';
      this.#commitAll.run();
    } catch (error) {
      // A full disk ends the transaction by itself; then there is nothing to roll back.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      return { during, error };
    } finally {
      this.#hooks.afterEnd();
    }
    for (const [index, step] of steps.entries()) step.resolve(results[index] as never);
    return undefined;
  }
}

/** What SQLite says becomes a clear answer; a bug in a step stays a bug. */
function asStoreError(error: unknown): unknown {
  const isSqlite = error instanceof Error && 'code' in error && error.code === 'ERR_SQLITE_ERROR';
  if (!isSqlite) return error;
  return new CountersignError(
    'store-unavailable',
    `The database cannot be written just now (${reasonOf(error)}). Is there room on the disk, and may this user write to it?`,
    { cause: error },
  );
}
