import { CountersignError } from '../../domain/problem.ts';
import { codeOf, type Query } from './database.ts';
import { toSqlJson } from './json.ts';

/** What a whole installation is copied into: empty tables that nobody else can use until the transaction ends. */
export class CopyTarget {
  readonly #query: Query;

  /** @param query of the transaction that all of it happens in */
  constructor(query: Query) {
    this.#query = query;
  }

  /**
   * Keeps everybody else out. From reading too: a node that starts meanwhile would find no signing key, make one, and wait
   * with it for the end of the copy. So it finds a database that cannot be used yet.
   */
  async lock(tables: readonly string[]): Promise<void> {
    await this.#query("SET LOCAL lock_timeout = '5s'");
    try {
      await this.#query(`LOCK TABLE ${tables.map(nameOf).join(', ')} IN ACCESS EXCLUSIVE MODE`);
    } catch (error) {
      if (codeOf(error) !== '55P03') throw error;
      throw new CountersignError(
        'store-unavailable',
        'Somebody else is at work in the database that is to be filled. Stop every node on it, and any other copy.',
        { cause: error },
      );
    }
  }

  /** Those that have a row. */
  async tablesWithRows(tables: readonly string[]): Promise<string[]> {
    const looks = tables.map((table) => `SELECT '${table}' AS name WHERE EXISTS (SELECT FROM ${nameOf(table)})`);
    const { rows } = await this.#query(looks.join(' UNION ALL '));
    return rows.map(({ name }) => String(name));
  }

  async hasSigningKey(ids: readonly string[]): Promise<boolean> {
    const { rows } = await this.#query(
      'SELECT EXISTS (SELECT FROM countersign.signing_key k WHERE k.id = ANY ($1)) AS is_there',
      [ids],
    );
    return rows[0]?.['is_there'] === true;
  }

  /** @param records by the names of columns; those that a record does not name get their defaults */
  async insert(table: string, records: readonly object[]): Promise<void> {
    const columns = Object.keys(records[0] ?? {}).map((column) => `"${column}"`);
    try {
      // The order of the resources goes with them: their positions are the server's to give, otherwise.
      await this.#query(
        `INSERT INTO ${nameOf(table)} (${columns.join(', ')}) OVERRIDING SYSTEM VALUE
         SELECT ${columns.join(', ')} FROM json_populate_recordset(NULL::${nameOf(table)}, $1::json)`,
        [toSqlJson(records)],
      );
    } catch (error) {
      const code = codeOf(error);
      // Data that the server does not take: a number that is too large, say. What it says about it may quote the data.
      if (code === undefined || !/^2[23]/.test(code)) throw error;
      throw new CountersignError(
        'store-incompatible',
        `A row of the table ${table} cannot be kept in PostgreSQL (SQLSTATE ${code}). Nothing was copied; please report this.`,
        { cause: error },
      );
    }
  }

  /** @param ranges of ids, where one count of the whole table would take too long */
  async count(table: string, ranges: readonly IdRange[] | undefined): Promise<number> {
    if (ranges === undefined) return this.#countWhere(table, 'true', []);
    let sum = 0;
    for (const { from, to } of ranges) sum += await this.#countWhere(table, 'id >= $1 AND id < $2', [from, to]);
    return sum;
  }

  async continuePositionsAfter(last: number): Promise<void> {
    if (last === 0) return;
    await this.#query("SELECT setval(pg_get_serial_sequence('countersign.resource', 'position'), $1)", [last]);
  }

  async #countWhere(table: string, condition: string, values: readonly unknown[]): Promise<number> {
    const { rows } = await this.#query(`SELECT count(*) AS count FROM ${nameOf(table)} WHERE ${condition}`, values);
    return Number(rows[0]?.['count']);
  }
}

/** From the first one to before the second one. */
export type IdRange = { readonly from: string; readonly to: string };

function nameOf(table: string): string {
  return `countersign.${table}`;
}
