import { randomUUID } from 'node:crypto';
import { CountersignError } from '../../domain/problem.ts';
import type { StoreLog } from '../store-log.ts';
import type { Steps } from './steps.ts';

/** Where a node has what is live: verifications, counters, messages on their way. */
export type LiveIn = 'postgresql' | 'redis';

const RENEWED_EVERY_MS = 5000;
/** How long a node that died is still taken for alive. */
export const PRESENT_MS = 15_000;

/**
 * Nodes tell each other through PostgreSQL where they have what is live. Half of them with Redis in front and half without would
 * be two services over one history: each would approve a code once, and count every limit for itself.
 */
export class Presence {
  readonly #steps: Steps;
  readonly #holder: string;
  readonly #log: StoreLog;
  readonly #timer: NodeJS.Timeout;
  #renewing: Promise<void> | undefined;
  #liveIn: string;
  #otherUntil: number;

  private constructor(steps: Steps, holder: string, liveIn: LiveIn, otherUntil: number, log: StoreLog) {
    this.#steps = steps;
    this.#holder = holder;
    this.#liveIn = liveIn;
    this.#otherUntil = otherUntil;
    this.#log = log;
    this.#timer = setInterval(() => {
      this.#renewing = this.#renew();
    }, RENEWED_EVERY_MS);
    this.#timer.unref();
  }

  /** @throws CountersignError `store-incompatible` while nodes are there that have it elsewhere */
  static async open(steps: Steps, liveIn: LiveIn, log: StoreLog): Promise<Presence> {
    const holder = randomUUID();
    const { other, otherUntil } = await announce(steps, holder, liveIn, PRESENT_MS);
    if (other) {
      throw new CountersignError(
        'store-incompatible',
        liveIn === 'redis'
          ? `Nodes without Redis use this database: REDIS_URL must be set on all of them or on none. Stop them first; one that was killed is forgotten after ${PRESENT_MS / 1000} s.`
          : `Nodes with Redis in front use this database: set REDIS_URL here as well. If they have been stopped, wait ${PRESENT_MS / 1000} s.`,
      );
    }
    return new Presence(steps, holder, liveIn, otherUntil, log);
  }

  /** until when there were nodes that had it elsewhere; ms since the epoch by the server's clock, 0 for never */
  get otherUntil(): number {
    return this.#otherUntil;
  }

  /**
   * This node says which Redis it has in front.
   * @param redis the name of that one
   * @returns whether nodes are there that have another one, and then this one must not have it
   */
  async settleIn(redis: string): Promise<boolean> {
    // Whoever opened it for PostgreSQL alone looks after that by itself.
    if (this.#liveIn === 'postgresql') return false;
    const liveIn = `redis ${redis}`;
    const { other, otherUntil } = await announce(this.#steps, this.#holder, liveIn, PRESENT_MS);
    if (other) return true;
    this.#liveIn = liveIn;
    this.#otherUntil = otherUntil;
    return false;
  }

  /** So that others need not wait until this node is forgotten. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    // Whose word would come after the last one.
    await this.#renewing;
    await announce(this.#steps, this.#holder, this.#liveIn, 0).catch(() => undefined);
  }

  async #renew(): Promise<void> {
    try {
      const { other } = await announce(this.#steps, this.#holder, this.#liveIn, PRESENT_MS);
      if (other)
        this.#log.error(
          {},
          'some nodes have Redis in front of this database, and some have not, or another one: stop one kind',
        );
    } catch {
      // Whoever needs the store says that it is away.
    }
  }
}

async function announce(steps: Steps, holder: string, liveIn: string, forMs: number) {
  const answer = await steps.run('announce', { holder, liveIn, forMs });
  return answer as { readonly other: boolean; readonly otherUntil: number };
}
