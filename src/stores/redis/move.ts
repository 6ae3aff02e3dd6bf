import { joinGuesses } from '../../domain/guess-budget.ts';
import type { UsageChange } from '../../domain/usage.ts';
import type { Query } from '../postgres/database.ts';
import type { Batch } from './batch.ts';
import type { NumberGuesses } from './snapshots.ts';

// Rows travel as one JSON array each, and `revision` decides: what is not newer changes nothing. Nodes without Redis raise no
// revision, so an approval of theirs is kept by its state: what a killed node left in the stream must not undo it.

const verificationColumns = `id, app, purpose, subject, number, country, channel, locale, lane, state, attempts, max_attempts,
  sends, max_sends, nonce, code_number, code_length, digest_by_id, digest_by_slot, created_at, expires_at, resend_at,
  metadata, ending, email, managed_provider, managed_id, own_code_sent, sent_by_email, message_ids, sealed_code, wording,
  revision`;

const messageColumns = `id, app, verification_id, number, country, channel, channel_fixed, locale, encoding, segments,
  sealed_text, code_number, idempotency_key, state, created_at, valid_until, dispatches, revision`;

const PUT_VERIFICATIONS = `
INSERT INTO countersign.verification AS v (${verificationColumns})
SELECT ${verificationColumns} FROM json_populate_recordset(NULL::countersign.verification, $1::json) r
ON CONFLICT (id) DO UPDATE SET
  state = CASE WHEN v.state IN ('approved', 'canceled') THEN v.state ELSE excluded.state END,
  attempts = excluded.attempts, sends = excluded.sends, channel = excluded.channel,
  resend_at = excluded.resend_at, code_number = excluded.code_number, code_length = excluded.code_length,
  digest_by_id = excluded.digest_by_id, digest_by_slot = excluded.digest_by_slot, ending = excluded.ending,
  email = excluded.email, managed_provider = excluded.managed_provider, managed_id = excluded.managed_id,
  own_code_sent = excluded.own_code_sent, sent_by_email = excluded.sent_by_email, message_ids = excluded.message_ids,
  sealed_code = CASE WHEN v.state = 'pending' THEN excluded.sealed_code END, wording = excluded.wording,
  revision = excluded.revision
WHERE v.revision < excluded.revision`;

/** Of a server that may lack what was done elsewhere: what has ended has ended, and attempts stay counted. */
const MERGE_VERIFICATIONS = PUT_VERIFICATIONS.replace(
  'attempts = excluded.attempts',
  'attempts = greatest(v.attempts, excluded.attempts)',
).replace("v.state IN ('approved', 'canceled')", "v.state <> 'pending'");

const PUT_MESSAGES = `
INSERT INTO countersign.message AS m (${messageColumns})
SELECT ${messageColumns} FROM json_populate_recordset(NULL::countersign.message, $1::json) r
ON CONFLICT (id) DO UPDATE SET
  state = excluded.state, dispatches = excluded.dispatches, revision = excluded.revision
WHERE m.revision < excluded.revision`;

const PUT_DUE = `
INSERT INTO countersign.due AS d (message_id, due_at, leased_until, claims)
SELECT r.id, r.due_at, r.leased_until, r.claims
  FROM json_to_recordset($1::json) r (id text, due_at bigint, leased_until bigint, claims integer)
ON CONFLICT (message_id) DO UPDATE SET
  due_at = excluded.due_at, leased_until = excluded.leased_until, claims = excluded.claims`;

const DROP_DUE = 'DELETE FROM countersign.due WHERE message_id = ANY($1)';

const PUT_EXPECTED = `
INSERT INTO countersign.provider_message AS p (provider, provider_message_id, message_id)
SELECT r.provider, r.id, r.message FROM json_to_recordset($1::json) r (provider text, id text, message text)
ON CONFLICT (provider, provider_message_id) DO UPDATE SET message_id = excluded.message_id`;

const PUT_GUESSES = `
INSERT INTO countersign.number AS n (app, number, guesses)
SELECT $1, r.number, r.guesses FROM json_to_recordset($2::json) r (number text, guesses jsonb)
ON CONFLICT (app, number) DO UPDATE SET guesses = excluded.guesses`;

const DROP_IDLE_NUMBERS = `
DELETE FROM countersign.number
 WHERE app = $1 AND number = ANY($2) AND guesses IS NULL AND starts = '{}' AND live = '{}'`;

const PUT_BUDGETS = `
INSERT INTO countersign.budget AS b (day, app, spent_micros)
SELECT r.day, $1, r.spent FROM json_to_recordset($2::json) r (day text, spent bigint)
ON CONFLICT (day, app) DO UPDATE SET spent_micros = excluded.spent_micros`;

/** Of a server that may lack what was moved already: nothing is taken back. */
const RAISE_BUDGETS = PUT_BUDGETS.replace(
  '= excluded.spent_micros',
  '= greatest(b.spent_micros, excluded.spent_micros)',
);

/** Of the sums' rows, those that no step of PostgreSQL writes (see `own_shard` in usage.sql). */
const MOVER_SHARD = 32;

const ADD_USAGE = `
INSERT INTO countersign.usage AS u (
  day, app, provider, country, currency, shard, sent, codes, delivered, failed, approved,
  cost_micros, code_cost_micros, approved_cost_micros)
SELECT r.day, r.app, r.provider, r.country, r.currency, ${MOVER_SHARD}, r.sent, r.codes, r.delivered, r.failed,
       r.approved, r.cost, r.code_cost, r.approved_cost
  FROM json_to_recordset($1::json) r (day text, app text, provider text, country text, currency text, sent bigint,
       codes bigint, delivered bigint, failed bigint, approved bigint, cost bigint, code_cost bigint, approved_cost bigint)
 ORDER BY r.day, r.app, r.provider, r.country, r.currency
ON CONFLICT (day, app, provider, country, currency, shard) DO UPDATE SET
  sent = u.sent + excluded.sent, codes = u.codes + excluded.codes, delivered = u.delivered + excluded.delivered,
  failed = u.failed + excluded.failed, approved = u.approved + excluded.approved,
  cost_micros = u.cost_micros + excluded.cost_micros,
  code_cost_micros = u.code_cost_micros + excluded.code_cost_micros,
  approved_cost_micros = u.approved_cost_micros + excluded.approved_cost_micros`;

/** Writes a batch of one app. @param isBackward the server may lack what was moved already, see `revival.ts` */
export async function writeBatch(app: string, batch: Batch, isBackward: boolean, query: Query): Promise<void> {
  const messages = [...batch.messages.values()];
  const due = messages.filter((message) => message.due_at !== null);
  const settled = messages.filter((message) => message.due_at === null).map(({ id }) => id);
  const putAll = async (statement: string, rows: readonly object[], ...before: string[]) => {
    if (rows.length > 0) await query(statement, [...before, JSON.stringify(rows)]);
  };
  await putAll(isBackward ? MERGE_VERIFICATIONS : PUT_VERIFICATIONS, [...batch.verifications.values()]);
  await putAll(PUT_MESSAGES, messages);
  await putAll(PUT_DUE, due);
  if (settled.length > 0) await query(DROP_DUE, [settled]);
  await putAll(PUT_EXPECTED, [...batch.expected.values()]);
  await writeGuesses(app, batch, isBackward, query);
  await putAll(isBackward ? RAISE_BUDGETS : PUT_BUDGETS, [...batch.budgets.values()], app);
  await writeUsage(batch.usage, query);
}

/** Adds to the sums, in one order. */
export async function writeUsage(usage: readonly UsageChange[], query: Query): Promise<void> {
  if (usage.length === 0) return;
  const rows = usage.map(({ key, counts: { costMicros, codeCostMicros, approvedCostMicros, ...counts } }) => ({
    ...key,
    ...counts,
    cost: costMicros,
    code_cost: codeCostMicros,
    approved_cost: approvedCostMicros,
  }));
  await query(ADD_USAGE, [JSON.stringify(rows)]);
}

async function writeGuesses(app: string, batch: Batch, isBackward: boolean, query: Query): Promise<void> {
  const numbers = [...batch.numbers.values()];
  if (numbers.length === 0) return;
  const known = isBackward
    ? await readGuesses(
        app,
        numbers.map(({ number }) => number),
        query,
      )
    : new Map<string, NumberGuesses['guesses']>();
  const merged = numbers.map(({ number, guesses }) => ({
    number,
    guesses: joinLanes(guesses, known.get(number) ?? null),
  }));
  await query(PUT_GUESSES, [app, JSON.stringify(merged)]);
  const cleared = merged.filter(({ guesses }) => guesses === null).map(({ number }) => number);
  if (cleared.length > 0) await query(DROP_IDLE_NUMBERS, [app, cleared]);
}

async function readGuesses(app: string, numbers: readonly string[], query: Query) {
  const { rows } = await query('SELECT number, guesses FROM countersign.number WHERE app = $1 AND number = ANY($2)', [
    app,
    numbers,
  ]);
  return new Map(rows.map((row) => [String(row['number']), row['guesses'] as NumberGuesses['guesses']]));
}

function joinLanes(a: NumberGuesses['guesses'], b: NumberGuesses['guesses']): NumberGuesses['guesses'] {
  if (a === null || b === null) return a ?? b;
  const joined = { ...a };
  for (const lane of ['open', 'trusted'] as const) {
    const [ofA, ofB] = [a[lane], b[lane]];
    if (ofB !== undefined) joined[lane] = ofA === undefined ? ofB : joinGuesses(ofA, ofB);
  }
  return joined;
}
