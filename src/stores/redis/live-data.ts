import { firstIdAt } from '../../domain/id.ts';
import { dayOf } from '../../domain/usage.ts';
import type { Database, Rows } from '../postgres/database.ts';
import type { DaySpent, MessageSnapshot, NumberGuesses } from './snapshots.ts';

/** The longest life that a code may be given (15 min), and more. */
const LONGEST_LIFE_MS = 30 * 60_000;
/** One that has just ended is of use still: a code that was used must stay used, also by a clock that is behind. */
const ENDED_KEPT_MS = 5 * 60_000;
/** A day's money is looked at that day. */
const BUDGET_MS = 2 * 86_400_000;
const PAGE_ROWS = 4000;

/** What an app had live, as far as PostgreSQL knows, but for verifications. */
export type LiveData = {
  readonly messages: readonly MessageSnapshot[];
  readonly numbers: readonly NumberGuesses[];
  readonly budgets: readonly DaySpent[];
};

/** As `revive-verifications` takes them. */
export type LiveVerification = readonly [
  id: string,
  number: string,
  lane: string,
  purpose: string,
  subject: string,
  expiresAt: string,
  record: string,
];

/** In pages, oldest first; the next one is fetched while the last one is used. */
export async function* readLiveVerifications(
  database: Database,
  app: string,
  now: number,
): AsyncGenerator<readonly LiveVerification[]> {
  const endedSince = now - ENDED_KEPT_MS;
  const pageAfter = (id: string): Promise<Rows> =>
    database.patientQuery(
      `SELECT id, number, lane, purpose, coalesce('=' || subject, '') AS subject, expires_at, to_jsonb(v)::text AS record
         FROM countersign.verification v WHERE id > $1 AND app = $2 AND expires_at > $3 ORDER BY id LIMIT ${PAGE_ROWS}`,
      [id, app, endedSince],
    );
  let next: Promise<Rows> | undefined = pageAfter(firstIdAt('ver', endedSince - LONGEST_LIFE_MS));
  while (next !== undefined) {
    const { rows }: Rows = await next;
    const last = rows.at(-1);
    next = rows.length < PAGE_ROWS || last === undefined ? undefined : pageAfter(String(last['id']));
    // Whoever uses the page may give up, and nobody waits for the next one then.
    next?.catch(() => undefined);
    yield rows.map((row) => [
      String(row['id']),
      String(row['number']),
      String(row['lane']),
      String(row['purpose']),
      String(row['subject']),
      String(row['expires_at']),
      String(row['record']),
    ]);
  }
}

/** @param dueIds messages that are due in Redis, and may not be any more */
export async function readLiveData(
  database: Database,
  app: string,
  now: number,
  dueIds: readonly string[],
): Promise<LiveData> {
  const [messages, numbers, budgets] = await Promise.all([
    database.patientQuery(
      `SELECT to_jsonb(m) || jsonb_build_object('due_at', d.due_at, 'leased_until', d.leased_until,
              'claims', coalesce(d.claims, 0)) AS row
         FROM (SELECT message_id AS id FROM countersign.due UNION SELECT unnest($2::text[])) AS wanted
         JOIN countersign.message m ON m.id = wanted.id LEFT JOIN countersign.due d ON d.message_id = m.id
        WHERE m.app = $1`,
      [app, dueIds],
    ),
    database.patientQuery(
      `SELECT jsonb_build_object('number', number, 'guesses', guesses) AS row
         FROM countersign.number WHERE app = $1 AND guesses IS NOT NULL`,
      [app],
    ),
    database.patientQuery(
      `SELECT jsonb_build_object('day', day, 'spent', spent_micros::text) AS row
         FROM countersign.budget WHERE app = $1 AND day >= $2`,
      [app, dayOf(now - BUDGET_MS)],
    ),
  ]);
  const rowsOf = <Row>({ rows }: typeof numbers) => rows.map(({ row }) => row as Row);
  return {
    messages: rowsOf<MessageSnapshot>(messages),
    numbers: rowsOf<NumberGuesses>(numbers),
    budgets: rowsOf<DaySpent>(budgets),
  };
}

export async function readClock(database: Database): Promise<number> {
  const { rows } = await database.query('SELECT floor(extract(epoch FROM clock_timestamp()) * 1000) AS now');
  return Number(rows[0]?.['now']);
}
