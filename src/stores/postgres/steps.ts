import { asStoreError, codeOf, type Database } from './database.ts';
import { fromSqlJson, toSqlJson } from './json.ts';

/** A row is of a day whose table is not there yet. https://www.postgresql.org/docs/current/errcodes-appendix.html */
const CHECK_VIOLATION = '23514';
/** Somebody else has a lock that the step may not wait for in company. */
const LOCK_NOT_AVAILABLE = '55P03';
const ROLLED_BACK = /^40/;
const TRIES = 5;

/** The steps of the hot path, which may share a transaction: see `steps/batch.sql`. */
type SharedStep = 'start' | 'resend' | 'check' | 'add_message' | 'record_dispatch' | 'record_report';

/** While one transaction waits for the disk, another is carried out. */
const TRANSACTIONS_UNDER_WAY = 2;
/** PostgreSQL keeps track of 64 parts of a transaction without effort. */
const MOST_IN_ONE = 32;

/**
 * Of an outcome of a hand-over nobody waits for the disk: should the server die in that moment, the message is an orphan again,
 * its outcome is then not known, and it is sent once more with the same code.
 */
const WITHOUT_WAITING = ", set_config('synchronous_commit', 'off', true)";

type Waiting = {
  readonly name: SharedStep;
  readonly step: object;
  readonly resolve: (outcome: unknown) => void;
  readonly reject: (error: unknown) => void;
};

type Outcome = { readonly outcome: unknown } | { readonly code: string; readonly message: string };

/** The functions of `steps/`, by their names: each takes one JSON object and returns JSON, in one round trip. */
export class Steps {
  readonly #database: Database;
  readonly #schema: string;
  #waiting: Waiting[] = [];
  #underWay = 0;
  #isScheduled = false;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#schema = schema;
  }

  /** In a transaction of its own. */
  run(name: string, step: object): Promise<unknown> {
    return this.#call(name, step, name !== 'record_dispatch');
  }

  /**
   * Steps that are asked for in one turn of the event loop, or while others are under way, share a transaction: as in the
   * embedded store nobody waits for a timer, and a lone step is carried out at once.
   * @param makeRoom for a step that inserts into the history: makes the tables of the days that it needs
   */
  async runShared(name: SharedStep, step: object, makeRoom?: () => Promise<void>): Promise<unknown> {
    try {
      return await this.#enqueue(name, step);
    } catch (error) {
      if (!isWorthTryingAlone(error, makeRoom)) throw asStoreError(error, this.#database.place);
    }
    for (let tried = 1; ; tried += 1) {
      try {
        return await this.run(name, step);
      } catch (error) {
        if (makeRoom === undefined || codeOf(error) !== CHECK_VIOLATION || tried === TRIES) throw error;
      }
      await makeRoom();
    }
  }

  #enqueue(name: SharedStep, step: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ name, step, resolve, reject });
      if (this.#isScheduled || this.#underWay >= TRANSACTIONS_UNDER_WAY) return;
      this.#isScheduled = true;
      setImmediate(() => {
        this.#isScheduled = false;
        this.#runWaiting();
      });
    });
  }

  #runWaiting(): void {
    while (this.#underWay < TRANSACTIONS_UNDER_WAY && this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MOST_IN_ONE);
      this.#underWay += 1;
      void this.#runTogether(batch).finally(() => {
        this.#underWay -= 1;
        this.#runWaiting();
      });
    }
  }

  async #runTogether(batch: readonly Waiting[]): Promise<void> {
    try {
      const [only] = batch;
      if (only !== undefined && batch.length === 1) {
        only.resolve(await this.run(only.name, only.step));
        return;
      }
      const isAwaited = batch.some(({ name }) => name !== 'record_dispatch');
      const steps = batch.map(({ name, step }) => ({ name, step }));
      const outcomes = (await this.#call('run_together', steps, isAwaited)) as readonly Outcome[];
      for (const [index, { resolve, reject }] of batch.entries()) {
        const each = outcomes[index];
        if (each !== undefined && 'outcome' in each) resolve(each.outcome);
        else reject(Object.assign(new Error(each?.message), { code: each?.code, severity: 'ERROR' }));
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }

  /** @param isAwaited answered when it is on the disk */
  async #call(name: string, given: object, isAwaited: boolean): Promise<unknown> {
    // As text, which is read here: see json.ts.
    const statement = `SELECT ${this.#schema}.${name}($1)::text AS outcome${isAwaited ? '' : WITHOUT_WAITING}`;
    const { rows } = await this.#database.query(statement, [toSqlJson(given)]);
    const outcome = rows[0]?.['outcome'];
    return typeof outcome === 'string' ? fromSqlJson(outcome) : null;
  }
}

/** What stood in the way of a step in company may not stand in the way of the same step alone. */
function isWorthTryingAlone(error: unknown, makeRoom: (() => Promise<void>) | undefined): boolean {
  const code = codeOf(error) ?? '';
  return code === LOCK_NOT_AVAILABLE || ROLLED_BACK.test(code) || (makeRoom !== undefined && code === CHECK_VIOLATION);
}
