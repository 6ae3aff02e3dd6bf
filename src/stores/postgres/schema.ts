import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CountersignError } from '../../domain/problem.ts';
import { codeOf, type Database, type Query } from './database.ts';

const OLDEST_SERVER = 140_000;
/** Nodes that start together wait for the first: one that is heard of no more must not keep them for hours. */
const LIMITS = { statementMs: 30_000, idleMs: 10_000 };

const NOT_ALLOWED = '42501';
const LOCK_NOT_AVAILABLE = '55P03';

type SqlFile = { readonly name: string; readonly text: string };

/** The files of a folder beside this one, in the order of their names. */
function readFolder(folder: string): SqlFile[] {
  const directory = join(import.meta.dirname, folder);
  const names = readdirSync(directory).filter((name) => name.endsWith('.sql'));
  return names.sort().map((name) => ({ name, text: readFileSync(join(directory, name), 'utf8') }));
}

/**
 * The tables, which all versions share and only ever grow, and the steps: functions over them, in a schema that is named by a
 * digest of their text. So each version of this program has its own steps, and a node of an older version goes on with
 * its own while newer ones come up.
 */
export type Schema = {
  readonly migrations: readonly SqlFile[];
  readonly steps: readonly SqlFile[];
  /** of the functions, e.g. `countersign_steps_1f2e3d4c` */
  readonly stepsSchema: string;
};

export function readSchema(): Schema {
  const steps = readFolder('steps');
  const digest = createHash('sha256').update(steps.map(({ text }) => text).join('\n'));
  return {
    migrations: readFolder('migrations'),
    steps,
    stepsSchema: `countersign_steps_${digest.digest('hex').slice(0, 8)}`,
  };
}

/**
 * Looks whether the server will do, and brings the schema up to date.
 * @throws CountersignError `store-incompatible` for a server or schema that this version cannot work with
 */
export async function prepareSchema(database: Database, schema: Schema): Promise<void> {
  const { rows } = await database.query(
    `SELECT current_setting('server_version_num')::integer AS version, current_setting('server_version') AS version_name,
            pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS is_read_only,
            current_setting('server_encoding') AS encoding, current_setting('transaction_isolation') AS isolation,
            to_regclass('countersign.migration') IS NOT NULL AS is_there,
            to_regnamespace($1) IS NOT NULL AS has_steps`,
    [schema.stepsSchema],
  );
  const server = rows[0] ?? {};
  refuseServer(database, server);
  if (
    server['is_there'] === true &&
    server['has_steps'] === true &&
    (await isCurrent(database.query, schema, database))
  ) {
    return;
  }
  try {
    await database.transaction((query) => migrate(query, schema, database), LIMITS);
  } catch (error) {
    const code = codeOf(error);
    if (code === LOCK_NOT_AVAILABLE) {
      throw new CountersignError(
        'store-unavailable',
        `The schema in ${database.place} cannot be brought up to date just now: somebody is at it for long, with a backup perhaps. Start again when that is over.`,
        { cause: error },
      );
    }
    if (code === NOT_ALLOWED || code?.startsWith('42') !== true) throw error;
    const said = error instanceof CountersignError ? error.cause : error;
    throw new CountersignError(
      'store-incompatible',
      `The schema countersign in ${database.place} cannot be brought up to date (${(said as Error).message}). Is it Countersign's own?`,
      { cause: said },
    );
  }
}

function refuseServer({ place }: Database, server: Record<string, unknown>): void {
  if (Number(server['version']) < OLDEST_SERVER) {
    throw new CountersignError(
      'store-incompatible',
      `PostgreSQL at ${place} is version ${String(server['version_name'])}; 14 or newer is needed.`,
    );
  }
  if (server['is_read_only'] === true) {
    throw new CountersignError(
      'store-unavailable',
      `PostgreSQL at ${place} can only be read: DATABASE_URL must name the primary, not a replica.`,
    );
  }
  // Steps that wait for each other's locks must see what the other one did.
  if (server['isolation'] !== 'read committed') {
    throw new CountersignError(
      'store-incompatible',
      `PostgreSQL at ${place} begins transactions as ${String(server['isolation'])}: ALTER ROLE … SET default_transaction_isolation = 'read committed'.`,
    );
  }
  if (server['encoding'] !== 'UTF8') {
    throw new CountersignError(
      'store-incompatible',
      `The database ${place} keeps text as ${String(server['encoding'])}; make it with ENCODING 'UTF8'.`,
    );
  }
}

/** @throws CountersignError when a newer version has changed the tables in a way that this one cannot work with */
async function isCurrent(query: Query, { migrations }: Schema, { place }: Database): Promise<boolean> {
  const { rows } = await query('SELECT max(version) AS version, max(needs) AS needs FROM countersign.migration');
  const [version, needs] = [Number(rows[0]?.['version'] ?? 0), Number(rows[0]?.['needs'] ?? 0)];
  if (needs > migrations.length) {
    throw new CountersignError(
      'store-incompatible',
      `The database ${place} has schema version ${version}, and this version of Countersign knows ${migrations.length}. Start the newer version that wrote it, or restore an older backup.`,
    );
  }
  return version >= migrations.length;
}

/** Runs inside a transaction. Nodes that start together come one after another, and the later ones find nothing to do. */
async function migrate(query: Query, schema: Schema, database: Database): Promise<void> {
  await query("SELECT pg_advisory_xact_lock(hashtextextended('countersign migration', 0))");
  // All steps of other nodes wait behind a change that waits for somebody who reads for long.
  await query("SET LOCAL lock_timeout = '2s'");
  const { rows } = await query("SELECT to_regnamespace('countersign') IS NOT NULL AS is_there");
  if (rows[0]?.['is_there'] !== true) await query('CREATE SCHEMA countersign');
  await query(`
    CREATE TABLE IF NOT EXISTS countersign.migration (
      version integer PRIMARY KEY,
      name text NOT NULL,
      -- the oldest version of the schema whose nodes may go on beside it
      needs integer NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT now()
    )`);
  if (!(await isCurrent(query, schema, database))) {
    const known = await query('SELECT coalesce(max(version), 0) AS version FROM countersign.migration');
    const version = Number(known.rows[0]?.['version']);
    for (const [index, { name, text }] of schema.migrations.entries()) {
      if (index < version) continue;
      await query(text);
      const needs = Number(/^-- needs: (\d+)$/m.exec(text)?.[1]);
      await query('INSERT INTO countersign.migration (version, name, needs) VALUES ($1, $2, $3)', [
        index + 1,
        name,
        needs,
      ]);
    }
  }
  await createSteps(query, schema);
}

async function createSteps(query: Query, { steps, stepsSchema }: Schema): Promise<void> {
  const { rows } = await query('SELECT to_regnamespace($1) IS NOT NULL AS is_there', [stepsSchema]);
  if (rows[0]?.['is_there'] === true) return;
  await query(`CREATE SCHEMA ${stepsSchema}`);
  for (const { text } of steps) await query(text.replaceAll(/\bsteps\./g, `${stepsSchema}.`));
}
