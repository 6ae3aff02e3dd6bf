import { asStoreError, endOrTimeout } from './database.ts';

/** The steps of the hot path, which may share a transaction: see `steps/batch.sql`. */
export type SharedStep = 'start' | 'resend' | 'check' | 'add_message' | 'record_dispatch' | 'record_report';

export type Waiting = {
  readonly name: SharedStep;
  readonly step: object;
  /** of `performance.now()`: when the caller has to be told */
  readonly until: number;
  readonly resolve: (outcome: unknown) => void;
  readonly reject: (error: unknown) => void;
};

/** PostgreSQL keeps track of 64 parts of a transaction without effort. */
const MOST_IN_ONE = 32;
/** One that waits for somebody else's lock, or for a slow server, holds up nobody longer than this but those in it. */
const OVERTAKEN_AFTER_MS = 100;
/** Whoever has that little time left would be told too late, so it is told before it begins. */
const LEAST_LEFT_MS = 1000;

/**
 * Steps that wait for one another. One or two transactions are under way at a time, as long as they are quick; steps that are
 * asked for meanwhile, or in one turn of the event loop, share the next one. As in the embedded store nobody waits for a timer, and a
 * lone step is carried out at once.
 */
export class Lane {
  readonly #runTogether: (batch: readonly Waiting[]) => Promise<void>;
  readonly #place: string;
  #waiting: Waiting[] = [];
  readonly #width: number;
  #underWay = 0;
  #isScheduled = false;

  /**
   * @param width how many transactions are under way at a time
   * @param runTogether settles each of the batch, and never rejects
   * @param place of the database, for messages
   */
  constructor(width: number, runTogether: (batch: readonly Waiting[]) => Promise<void>, place: string) {
    this.#width = width;
    this.#runTogether = runTogether;
    this.#place = place;
  }

  add(name: SharedStep, step: object, until: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ name, step, until, resolve, reject });
      if (this.#isScheduled || this.#underWay >= this.#width) return;
      this.#isScheduled = true;
      setImmediate(() => {
        this.#isScheduled = false;
        void this.#runWaiting();
      });
    });
  }

  async #runWaiting(): Promise<void> {
    this.#underWay += 1;
    for (this.#refuseLate(); this.#waiting.length > 0; this.#refuseLate()) {
      const batch = this.#waiting.splice(0, MOST_IN_ONE);
      if (this.#waiting.length > 0 && this.#underWay < this.#width) void this.#runWaiting();
      await endOrTimeout(this.#runTogether(batch), OVERTAKEN_AFTER_MS);
    }
    this.#underWay -= 1;
  }

  #refuseLate(): void {
    const latest = performance.now() + LEAST_LEFT_MS;
    // In the order in which they came: behind the first one that is not late nobody is.
    while (this.#waiting[0] !== undefined && this.#waiting[0].until < latest) {
      this.#waiting.shift()?.reject(asStoreError(new Error('it is too slow'), this.#place));
    }
  }
}
