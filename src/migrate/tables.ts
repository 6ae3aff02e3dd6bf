import type { SQLOutputValue } from 'node:sqlite';
import { withoutEscapes } from '../stores/postgres/json.ts';
import { bytesToHex, messageToRecord, verificationToRecord } from '../stores/records.ts';
import type { Selection } from '../stores/sqlite/copy.ts';
import {
  messageColumns,
  type Row,
  text,
  toMessage,
  toVerification,
  verificationColumns,
} from '../stores/sqlite/rows.ts';

/** Rows of a table of SQLite that become rows of a table of PostgreSQL. */
export type CopiedTable = Selection & {
  readonly target: string;
  /** by the names of the target's columns; each record of a table has the same ones */
  readonly toRecord: (row: Row) => Readonly<Record<string, unknown>>;
};

/** A test holds these against the schemas of both stores, so that a column that a migration adds is not left behind. */
export const copiedTables: readonly CopiedTable[] = [
  asItIs('signing_key', 'id', 'id, sealed_private_key, public_jwk, created_at'),
  asItIs('api_key', 'id', 'id, app, name, hash, created_at, revoked_at'),
  { ...asItIs('user', 'app, id', 'app, id, number, name, full_name, created_at'), target: 'users' },
  asItIs('user_sequence', 'app', 'app, last_id'),
  asItIs('access_token', 'hash', 'hash, app, user_id, expires_at'),
  asItIs('resource', 'position', 'position, app, kind, id, parent, unique_key, body, created_at, updated_at'),
  asItIs('budget', 'day, app', 'day, app, spent_micros'),
  {
    ...asItIs(
      'usage',
      'day, app, provider, country, currency',
      'day, app, provider, country, currency, sent, codes, delivered, failed, approved, cost_micros, code_cost_micros, approved_cost_micros',
    ),
    // PostgreSQL adds its own to rows that it has split a sum into; this is one of them.
    toRecord: (row) => ({ ...row, shard: 0 }),
  },
  asItIs(
    'shadow',
    'day, app, dialect, route, outcome, upstream_status, our_status, difference',
    'day, app, dialect, route, outcome, upstream_status, our_status, difference, count, upstream_example, our_example',
  ),
  {
    ...asItIs('breaker', 'provider, place', 'provider, place, breaker, changed_at'),
    toRecord: (row) => ({ ...row, breaker: jsonOf(row['breaker']) }),
  },
  {
    ...asItIs('number', 'app, number', 'app, number, starts, guesses, live'),
    toRecord: (row) => ({
      ...row,
      starts: jsonOf(row['starts']),
      guesses: jsonOf(row['guesses']),
      live: jsonOf(row['live']),
    }),
  },
  asItIs('subject', 'app, subject, purpose, lane', 'app, subject, purpose, lane, verification_id'),
  {
    ...asItIs('bucket', 'key', 'key, log, idle_at'),
    // What `/readyz` writes to see whether the disk takes it; the bucket of a limit has spaces in its key.
    where: "key <> 'probe'",
    toRecord: (row) => ({ ...row, log: jsonOf(row['log']) }),
  },
  asItIs('idempotency', 'app, key', 'app, key, fingerprint, answer, expires_at'),
  asItIs('provider_message', 'provider, provider_message_id', 'provider, provider_message_id, message_id'),
  {
    ...asItIs(
      'early_report',
      'provider, provider_message_id',
      'provider, provider_message_id, state, reason, error_code, cost, opt_out, at',
    ),
    toRecord: ({
      provider,
      provider_message_id: providerMessageId,
      state,
      reason,
      error_code: code,
      cost,
      opt_out,
      at,
    }) => ({
      provider,
      provider_message_id: providerMessageId,
      at,
      // A report as it came: JSON leaves out what it did not say.
      report: {
        providerMessageId,
        state,
        reason: reason ?? undefined,
        code: code ?? undefined,
        cost: jsonOf(cost) ?? undefined,
        optOut: opt_out === 1 ? true : undefined,
      },
    }),
  },
  {
    ...asItIs('message', 'id', 'id, due_at, leased_until, claims'),
    target: 'due',
    where: 'due_at IS NOT NULL',
    toRecord: ({ id, ...rest }) => ({ message_id: id, ...rest }),
  },
  {
    ...asItIs('verification', 'id', verificationColumns),
    toRecord: (row) => verificationToRecord(toVerification(row)),
  },
  {
    ...asItIs('message', 'id', messageColumns),
    toRecord: (row) => {
      const record = messageToRecord(toMessage(row));
      return { ...record, dispatches: withoutEscapes(record.dispatches) };
    },
  },
];

/** What is left behind, and why. */
export const leftBehind: Readonly<Record<string, string>> = {
  lease: 'nobody who held one is left',
};

function asItIs(table: string, key: string, columns: string): CopiedTable {
  return { source: table, target: table, key, columns: columns.split(',').map((column) => column.trim()), toRecord };
}

function toRecord(row: Row): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(row).map(([column, value]) => [column, value instanceof Uint8Array ? bytesToHex(value) : value]),
  );
}

/** What SQLite keeps as text, and PostgreSQL as an array or `jsonb`. */
function jsonOf(value: SQLOutputValue | undefined): unknown {
  return value === null || value === undefined ? null : (JSON.parse(text(value)) as unknown);
}
