import { CountersignError } from '../../domain/problem.ts';
import { asStoreError, codeOf, type Database, type Rows, STEP_DEADLINE_MS } from './database.ts';
import { fromSqlJson, toSqlJson } from './json.ts';
import { Lane, type SharedStep, type Waiting } from './lane.ts';

/** A row is of a day whose table is not there yet. https://www.postgresql.org/docs/current/errcodes-appendix.html */
const CHECK_VIOLATION = '23514';
/** Somebody else has a lock that the step may not wait for in company. */
const LOCK_NOT_AVAILABLE = '55P03';
const ROLLED_BACK = /^40/;
const TRIES = 5;
/** The server stops waiting for a lock before we stop waiting for the server: it must not go on with what nobody waits for. */
const LOCKS_END_BEFORE_MS = 300;

/**
 * Of an outcome of a hand-over nobody waits for the disk: should the server die in that moment, the message is an orphan again,
 * its outcome is then not known, and it is sent once more with the same code.
 */
const WITHOUT_WAITING = ", set_config('synchronous_commit', 'off', true)";

type Outcome = { readonly outcome: unknown } | { readonly code: string; readonly message: string };

/** The functions of `steps/`, by their names: each takes one JSON object and returns JSON, or rows, in one round trip. */
export class Steps {
  readonly #database: Database;
  readonly #schema: string;
  /**
   * What counts in the buckets of an app goes one after another over all nodes, and what does not need not wait for it. In one
   * lane, a check at the head of a transaction would have the starts behind it find the buckets taken.
   */
  readonly #lanes: Readonly<Record<'counted' | 'others', Lane>>;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#schema = schema;
    const runTogether = (batch: readonly Waiting[]) => this.#runTogether(batch);
    this.#lanes = {
      counted: new Lane(1, runTogether, database.place),
      others: new Lane(2, runTogether, database.place),
    };
  }

  /** In a transaction of its own. */
  run(name: string, step: object): Promise<unknown> {
    return this.#call(name, step, isAwaited(name, step), performance.now() + STEP_DEADLINE_MS);
  }

  /** Of one that returns rows, and may take longer than a step. Text in them is as it is kept: see json.ts. */
  async readRows(name: string, given: object): Promise<Rows['rows']> {
    const { rows } = await this.#database.patientQuery(`SELECT * FROM ${this.#schema}.${name}($1) AS found`, [
      toSqlJson(given),
    ]);
    return rows;
  }

  /**
   * A step that may share a transaction with others: see `Lane`.
   * @param makeRoom for a step that inserts into the history, and counts: makes the tables of the days that it needs
   */
  async runShared(name: SharedStep, step: object, makeRoom?: () => Promise<void>): Promise<unknown> {
    const until = performance.now() + STEP_DEADLINE_MS;
    try {
      return await this.#lanes[makeRoom === undefined ? 'others' : 'counted'].add(name, step, until);
    } catch (error) {
      if (!isWorthTryingAlone(error, makeRoom)) throw asStoreError(error, this.#database.place);
    }
    for (let tried = 1; ; tried += 1) {
      try {
        return await this.#call(name, step, isAwaited(name, step), until);
      } catch (error) {
        if (makeRoom === undefined || codeOf(error) !== CHECK_VIOLATION || tried === TRIES) throw error;
      }
      await makeRoom();
    }
  }

  async #runTogether(batch: readonly Waiting[]): Promise<void> {
    try {
      const [only] = batch;
      if (only !== undefined && batch.length === 1) {
        only.resolve(await this.#call(only.name, only.step, isAwaited(only.name, only.step), only.until));
        return;
      }
      const until = Math.min(...batch.map((each) => each.until));
      const steps = batch.map(({ name, step }) => ({ name, step }));
      const isOneAwaited = steps.some(({ name, step }) => isAwaited(name, step));
      const outcomes = (await this.#call('run_together', steps, isOneAwaited, until)) as readonly Outcome[];
      for (const [index, { resolve, reject }] of batch.entries()) {
        const each = outcomes[index];
        if (each !== undefined && 'outcome' in each) resolve(each.outcome);
        else reject(Object.assign(new Error(each?.message), { code: each?.code, severity: 'ERROR' }));
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }

  /** @param isOnDisk answered when it is on the disk */
  async #call(name: string, given: object, isOnDisk: boolean, until: number): Promise<unknown> {
    const step = `${this.#schema}.${name}($1)::text AS outcome`;
    // What is set holds for this statement's transaction. The outcome comes as text, which is read here: see json.ts.
    const statement = `SELECT set_config('lock_timeout', $2, true), ${step}${isOnDisk ? '' : WITHOUT_WAITING}`;
    const text = toSqlJson(given);
    const lockMs = (leftMs: number) => Math.max(1, Math.round(leftMs - LOCKS_END_BEFORE_MS));
    const { rows } = await this.#database.queryUntil(statement, (leftMs) => [text, String(lockMs(leftMs))], until);
    const outcome = rows[0]?.['outcome'];
    return typeof outcome === 'string' ? fromSqlJson(outcome) : null;
  }
}

/** An answer that is kept for repeated requests is what the first one is told: it must not be forgotten. */
function isAwaited(name: string, step: object): boolean {
  return name !== 'record_dispatch' || ('answer' in step && step.answer !== undefined);
}

/** What stood in the way of a step in company may not stand in the way of the same step alone. */
function isWorthTryingAlone(error: unknown, makeRoom: (() => Promise<void>) | undefined): boolean {
  // It was alone already, or all of them had no connection.
  if (error instanceof CountersignError) return false;
  const code = codeOf(error) ?? '';
  return code === LOCK_NOT_AVAILABLE || ROLLED_BACK.test(code) || (makeRoom !== undefined && code === CHECK_VIOLATION);
}
