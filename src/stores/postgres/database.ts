import { setTimeout as delay } from 'node:timers/promises';
import type { default as Driver, Pool, PoolClient } from 'pg';
import { CountersignError } from '../../domain/problem.ts';
import type { StoreLog } from '../store-log.ts';

export type Rows = {
  readonly rows: readonly Record<string, unknown>[];
  /** rows that were changed, where the statement changes some */
  readonly count: number;
};

/** Runs one statement. Instants and other large integers come back as text, as PostgreSQL writes them. */
export type Query = (text: string, values?: readonly unknown[]) => Promise<Rows>;

export type DatabaseOptions = {
  /** `postgres://user:password@host:5432/name`, with `sslmode` and the like behind a `?` */
  readonly url: string;
  readonly poolSize: number;
  readonly log: StoreLog;
};

/** For a step, from the wait for a connection on: whoever waits is told within 2 s that it was for nothing. */
export const STEP_DEADLINE_MS = 1900;
const CONNECT_DEADLINE_MS = 1400;
/** With less left a step is not begun: it might be carried out, and its caller be told that it was not. */
const LEAST_LEFT_MS = 300;
/** For what housekeeping does, which nobody waits for. */
const PATIENT_DEADLINE_MS = 30_000;
const IDLE_MS = 60_000;
const KEEP_ALIVE_AFTER_MS = 10_000;

/**
 * The server rolled the transaction back because of others, so it may be tried again.
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const TRY_AGAIN = new Set(['40001', '40P01']);
const TRIES = 4;
const TRY_AGAIN_AFTER_MS = 5;

/** A pool of connections. Nothing is prepared under a name and no setting is changed, so a PgBouncer may be in between. */
export class Database {
  /** host, port and name, for messages: no credential is in it */
  readonly place: string;
  readonly #pool: Pool;
  #isClosed = false;

  private constructor(pool: Pool, place: string) {
    this.#pool = pool;
    this.place = place;
  }

  /** Connects to nothing yet. @throws CountersignError for a URL that is none, and without the package `pg` */
  static async open({ url, poolSize, log }: DatabaseOptions): Promise<Database> {
    const { Pool } = await loadDriver();
    const place = placeOf(url);
    const pool = new Pool({
      connectionString: url,
      max: poolSize,
      connectionTimeoutMillis: CONNECT_DEADLINE_MS,
      idleTimeoutMillis: IDLE_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
      application_name: 'countersign',
    });
    // An idle connection that the server ended; the pool makes a new one when one is needed.
    pool.on('error', (error) => log.warn({ database: place, error: error.message }, 'connection to PostgreSQL lost'));
    return new Database(pool, place);
  }

  /**
   * One statement, one round trip.
   * @param valuesOf is told how long the statement may take from then on, in ms
   * @param until of `performance.now()`
   * @throws CountersignError `store-unavailable`; whether it was carried out is not known then
   */
  queryUntil = (text: string, valuesOf: (leftMs: number) => readonly unknown[], until: number): Promise<Rows> =>
    this.#withClient((client) => {
      const leftMs = until - performance.now();
      return this.#run(client, text, valuesOf(leftMs), leftMs);
    }, until);

  query: Query = (text, values = []) => this.queryUntil(text, () => values, performance.now() + STEP_DEADLINE_MS);

  /** The same for what takes long. */
  patientQuery: Query = (text, values) =>
    this.#withClient((client) => this.#run(client, text, values, PATIENT_DEADLINE_MS));

  /**
   * All of it or nothing, whatever an operator has set: see `steps/with-settings.sql`. Tried again when it stood in another transaction's way.
   * @param limits for one that others wait for: how long each statement may take, and how long it may be silent in between
   *   before the server takes its node for gone, whose connection nobody may have closed
   */
  async transaction<Result>(
    work: (query: Query) => Promise<Result>,
    limits?: { readonly statementMs: number; readonly idleMs: number },
  ): Promise<Result> {
    return this.#withClient(async (client) => {
      const deadlineMs = limits?.statementMs ?? PATIENT_DEADLINE_MS;
      const query: Query = (text, values) => this.#run(client, text, values, deadlineMs);
      const idle = limits === undefined ? '' : `; SET LOCAL idle_in_transaction_session_timeout = ${limits.idleMs}`;
      await query(`BEGIN; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL bytea_output = hex${idle}`);
      try {
        const result = await work(query);
        await query('COMMIT');
        return result;
      } catch (error) {
        // A connection that is broken is given up below, and the server rolls back by itself.
        if (isSaidByServer(error)) await query('ROLLBACK');
        throw error;
      }
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#pool.end();
  }

  async #withClient<Result>(
    work: (client: PoolClient) => Promise<Result>,
    until = Number.POSITIVE_INFINITY,
  ): Promise<Result> {
    for (let tried = 1; ; tried += 1) {
      const client = await this.#connect(until - LEAST_LEFT_MS);
      try {
        const result = await work(client);
        giveBack(client, true);
        return result;
      } catch (error) {
        // After a deadline the answer may still come: that connection is of no use to the next one.
        giveBack(client, isSaidByServer(error));
        if (tried === TRIES || !TRY_AGAIN.has(codeOf(error) ?? '')) throw asStoreError(error, this.place);
      }
      await delay(TRY_AGAIN_AFTER_MS * tried);
    }
  }

  async #connect(latest: number): Promise<PoolClient> {
    if (this.#isClosed) throw new CountersignError('store-unavailable', 'The database is closed.');
    try {
      const client = await this.#clientBy(latest);
      // The pool listens to those alone that nobody uses, and an error that nobody listens to ends the process.
      client.on('error', toldByQuery);
      return client;
    } catch (error) {
      throw asStoreError(error, this.place);
    }
  }

  /** The pool waits as long as it does; whoever cannot wait so long leaves, and what comes then is for the next one. */
  async #clientBy(latest: number): Promise<PoolClient> {
    const waitMs = latest - performance.now();
    if (waitMs <= 0) throw new Error('no time is left');
    const coming = this.#pool.connect();
    if (waitMs >= CONNECT_DEADLINE_MS) return coming;
    const client = await endOrTimeout(coming, waitMs);
    if (client !== undefined) return client;
    coming.then(
      (late) => late.release(),
      () => {},
    );
    throw new Error('no connection is free');
  }

  async #run(client: PoolClient, text: string, values: readonly unknown[] = [], deadlineMs: number): Promise<Rows> {
    const config = { text, values: [...values], query_timeout: Math.max(1, Math.round(deadlineMs)) };
    const { rows, rowCount } = await client.query<Record<string, unknown>>(config);
    return { rows: rows ?? [], count: rowCount ?? 0 };
  }
}

/** @returns undefined when it takes longer */
export async function endOrTimeout<Result>(work: Promise<Result>, timeoutMs: number): Promise<Result | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Whatever cut the connection rejects the query that was under way. */
function toldByQuery(): void {}

function giveBack(client: PoolClient, isGood: boolean): void {
  // One that is bad is not given out again, and may complain once more.
  if (isGood) client.off('error', toldByQuery);
  client.release(!isGood);
}

/** Loaded when PostgreSQL is chosen: whoever is content with SQLite need not have it. */
async function loadDriver(): Promise<typeof Driver> {
  try {
    return (await import('pg')).default;
  } catch (error) {
    throw new CountersignError('store-unavailable', 'DATABASE_URL needs the package pg: npm install pg', {
      cause: error,
    });
  }
}

function placeOf(url: string): string {
  try {
    const { hostname, port, pathname } = new URL(url);
    return `${hostname || 'localhost'}:${port || '5432'}${pathname}`;
  } catch {
    throw new CountersignError(
      'store-unavailable',
      'DATABASE_URL is no URL: postgres://user:password@host:5432/name, with special characters of the password percent-encoded (# as %23, @ as %40, / as %2F).',
    );
  }
}

/** SQLSTATE, or the operating system's code. */
export function codeOf(error: unknown): string | undefined {
  const said = error instanceof CountersignError ? error.cause : error;
  const { code } = (said ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : undefined;
}

/** Did the server answer, so that the connection is as good as before? */
function isSaidByServer(error: unknown): boolean {
  const code = codeOf(error);
  return (
    code !== undefined && /^[0-9A-Z]{5}$/.test(code) && 'severity' in (error as object) && !/^(57P0|08)/.test(code)
  );
}

const NOT_THERE = 'what Countersign made there is gone; restart it, and it is made anew';
const UNTRUSTED =
  'nobody who is trusted here has signed its certificate; name the file of the CA in DATABASE_URL: ?sslmode=verify-full&sslrootcert=…';

/** What an operator can do about it, by the beginning of the SQLSTATE, or of the code of Node.js. */
const advice: readonly (readonly [prefix: string, sentence: string])[] = [
  ['28', 'user or password is refused; special characters of the password must be percent-encoded in DATABASE_URL'],
  ['3D000', 'there is no database of that name; make it with createdb'],
  [
    '42501',
    'this user may not do that; it needs CREATE on the database (GRANT CREATE ON DATABASE … TO …), and the schema countersign to be its own',
  ],
  ['25006', 'it can only be read: DATABASE_URL must name the primary, not a replica'],
  ['53100', 'its disk is full'],
  ['53300', 'it has no connection left; raise max_connections, lower DATABASE_POOL_SIZE, or put a PgBouncer in front'],
  ['57P', 'it is starting, stopping or has cut the connection'],
  ['57014', 'it took too long'],
  ['55P03', 'it took too long'],
  ['3F000', NOT_THERE],
  ['42883', NOT_THERE],
  ['42P01', NOT_THERE],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', UNTRUSTED],
  ['SELF_SIGNED_CERT_IN_CHAIN', UNTRUSTED],
  ['UNABLE_TO_', UNTRUSTED],
  ['CERT_', UNTRUSTED],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'its certificate is for another host name than the one in DATABASE_URL'],
];

/** Classes of SQLSTATE that say that the server is not well, and nothing of our statement. */
const OUTAGES = /^(08|25006|28|3D000|3F000|40001|40P01|42501|42883|42P01|53|55P03|57|58|XX)/;

/** What PostgreSQL and its driver say becomes a clear answer; a bug in a step stays a bug. */
export function asStoreError(error: unknown, place: string): unknown {
  if (error instanceof CountersignError) return error;
  const code = codeOf(error);
  const isOfServer = error instanceof Error && 'severity' in error;
  if (isOfServer && (code === undefined || !OUTAGES.test(code))) return error;
  // What is thrown without a code of the server is thrown by the driver: no connection, a deadline, a connection that was cut.
  if (!isOfServer && error instanceof TypeError) return error;
  const reason = error instanceof Error ? error.message || code : String(error);
  const sentence = sentenceFor(code, String(reason));
  return new CountersignError(
    'store-unavailable',
    `PostgreSQL at ${place} cannot be used just now (${reason}): ${sentence}.`.replace('?.', '?'),
    { cause: error },
  );
}

function sentenceFor(code: string | undefined, reason: string): string {
  const [, sentence] = advice.find(([prefix]) => code?.startsWith(prefix)) ?? [];
  if (sentence !== undefined) return sentence;
  // The driver gives these no code.
  if (reason.includes('password must be')) return 'it asks for a password, and there is none in DATABASE_URL';
  if (reason.includes('not support SSL')) return 'it speaks no TLS; DATABASE_URL asks for it with sslmode';
  return 'is it running, and reachable from here?';
}
