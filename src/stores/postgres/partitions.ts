import { firstIdAt, timeOfId } from '../../domain/id.ts';
import type { Database } from './database.ts';
import type { Steps } from './steps.ts';

const DAY_MS = 86_400_000;
/** History is made ahead of time, so that the first start of a day does not have to wait for it. */
const DAYS_AHEAD = 2;
/** Each try keeps all steps waiting for the moment that it waits itself, so there are few of them. */
const DROP_AGAIN_AFTER_MS = 60_000;

const tables = { ver: 'verification', msg: 'message' } as const;
type Prefix = keyof typeof tables;

/** Verifications and messages are kept in one table a day (UTC), which is made before it is needed and dropped as a whole. */
export class Partitions {
  readonly #database: Database;
  readonly #steps: Steps;
  readonly #known = new Set<string>();
  /** of `performance.now()` */
  #dropAgainAt = 0;

  constructor(database: Database, steps: Steps) {
    this.#database = database;
    this.#steps = steps;
  }

  /** Makes room for rows of these ids, where there is none yet. */
  async ensureDaysOf(ids: readonly string[]): Promise<void> {
    for (const id of ids) await this.#ensure(prefixOf(id), timeOfId(id));
  }

  async ensureAhead(now: number): Promise<void> {
    for (let day = 0; day <= DAYS_AHEAD; day += 1) {
      for (const prefix of ['ver', 'msg'] as const) {
        const at = now + day * DAY_MS;
        if (!this.#known.has(nameOf(prefix, at))) await this.#ensure(prefix, at);
      }
    }
  }

  /**
   * Drops the days that ended before `historyBefore`; one that somebody reads just now stays until the next time.
   * @returns how many rows were in them, about
   */
  async dropBefore(historyBefore: number): Promise<number> {
    if (performance.now() < this.#dropAgainAt) return 0;
    const { rows } = await this.#database.query(
      `SELECT c.relname AS name, c.reltuples AS rows FROM pg_class c
        WHERE c.relnamespace = 'countersign'::regnamespace AND c.relkind = 'r'
          AND c.relname ~ '^(verification|message)_[0-9]{8}$' AND right(c.relname, 8) < $1
        ORDER BY c.relname`,
      [dayNameOf(historyBefore)],
    );
    let dropped = 0;
    for (const { name, rows: rowCount } of rows) {
      this.#dropAgainAt = performance.now() + DROP_AGAIN_AFTER_MS;
      if ((await this.#steps.run('drop_day', { name })) !== true) break;
      this.#dropAgainAt = 0;
      this.#known.delete(String(name));
      // Not known before the server has counted them.
      dropped += Math.max(1, Number(rowCount));
    }
    return dropped;
  }

  async #ensure(prefix: Prefix, at: number): Promise<void> {
    const midnight = midnightBefore(at);
    const name = nameOf(prefix, at);
    await this.#steps.run('ensure_day', {
      parent: tables[prefix],
      name,
      from: firstIdAt(prefix, midnight),
      to: firstIdAt(prefix, midnight + DAY_MS),
    });
    this.#known.add(name);
  }
}

/** Midnight (UTC) before an instant: what was made before it may be gone. */
export function midnightBefore(at: number): number {
  return Math.floor(at / DAY_MS) * DAY_MS;
}

function prefixOf(id: string): Prefix {
  return id.startsWith('ver') ? 'ver' : 'msg';
}

function nameOf(prefix: Prefix, at: number): string {
  return `${tables[prefix]}_${dayNameOf(at)}`;
}

function dayNameOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10).replaceAll('-', '');
}
