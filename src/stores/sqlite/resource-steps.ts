import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Resource, ResourceBody, ResourceChange, ResourceQuery, Store } from '../../domain/store.ts';
import { integer, type Row, text } from './rows.ts';

/** Small records that are kept for an app. Writes run inside a write transaction. */
export class ResourceSteps {
  readonly #select: StatementSync;
  readonly #selectKey: StatementSync;
  readonly #count: StatementSync;
  readonly #insert: StatementSync;
  readonly #list: StatementSync;
  readonly #listOfParent: StatementSync;
  readonly #update: StatementSync;
  readonly #remove: StatementSync;

  constructor(database: DatabaseSync) {
    this.#select = database.prepare('SELECT * FROM resource WHERE app = ? AND id = ?');
    this.#selectKey = database.prepare(
      'SELECT id FROM resource WHERE app = ? AND kind = ? AND parent = ? AND unique_key = ?',
    );
    this.#count = database.prepare('SELECT count(*) AS count FROM resource WHERE app = ? AND parent = ? AND kind = ?');
    this.#insert = database.prepare(
      `INSERT INTO resource (app, kind, id, parent, unique_key, body, created_at, updated_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#list = database.prepare(
      'SELECT * FROM resource WHERE app = ? AND kind = ? AND position > ? ORDER BY position LIMIT ?',
    );
    this.#listOfParent = database.prepare(
      'SELECT * FROM resource WHERE app = ? AND kind = ? AND parent = ? AND position > ? ORDER BY position LIMIT ?',
    );
    this.#update = database.prepare(
      'UPDATE resource SET body = ?, unique_key = ?, updated_at = ? WHERE app = ? AND id = ?',
    );
    this.#remove = database.prepare(
      `WITH RECURSIVE doomed (id) AS (
         SELECT ?2 UNION SELECT resource.id FROM resource JOIN doomed ON resource.app = ?1 AND resource.parent = doomed.id)
       DELETE FROM resource WHERE app = ?1 AND id IN (SELECT id FROM doomed)`,
    );
  }

  add(resource: Resource, most: number | undefined): Awaited<ReturnType<Store['addResource']>> {
    const { app, kind, id, parent, uniqueKey, body, createdAt, updatedAt } = resource;
    if (parent !== undefined && this.#select.get(app, parent) === undefined) return 'orphan';
    if (this.#select.get(app, id) !== undefined || this.#isTaken(resource)) return 'exists';
    if (most !== undefined && integer(this.#count.get(app, parent ?? '', kind)?.['count']) >= most) return 'too-many';
    this.#insert.run(app, kind, id, parent ?? '', uniqueKey ?? null, JSON.stringify(body), createdAt, updatedAt);
    return 'added';
  }

  get(app: string, kind: string, id: string): Resource | undefined {
    const row = this.#select.get(app, id);
    return row === undefined || row['kind'] !== kind ? undefined : toResource(row);
  }

  list({ app, kind, parent, limit, after }: ResourceQuery): Awaited<ReturnType<Store['listResources']>> {
    // What is no cursor of ours begins nowhere: the first page again would have a caller walk in circles.
    const position = after === undefined ? 0 : /^\d{1,15}$/.test(after) ? Number(after) : Number.MAX_SAFE_INTEGER;
    // One more than asked for says whether there is a next page.
    const rows =
      parent === undefined
        ? this.#list.all(app, kind, position, limit + 1)
        : this.#listOfParent.all(app, kind, parent, position, limit + 1);
    const page = rows.slice(0, limit);
    const next = rows.length > limit ? page.at(-1)?.['position'] : undefined;
    return { resources: page.map(toResource), next: next === undefined ? undefined : String(next) };
  }

  update({ app, kind, id, now, body, uniqueKey }: ResourceChange): Awaited<ReturnType<Store['updateResource']>> {
    const known = this.get(app, kind, id);
    if (known === undefined) return { kind: 'unknown' };
    const resource = {
      ...known,
      body: { ...known.body, ...body },
      uniqueKey: uniqueKey ?? known.uniqueKey,
      updatedAt: now,
    };
    if (resource.uniqueKey !== known.uniqueKey && this.#isTaken(resource)) return { kind: 'exists' };
    this.#update.run(JSON.stringify(resource.body), resource.uniqueKey ?? null, now, app, id);
    return { kind: 'updated', resource };
  }

  remove(app: string, kind: string, id: string): boolean {
    if (this.get(app, kind, id) === undefined) return false;
    this.#remove.run(app, id);
    return true;
  }

  #isTaken({ app, kind, parent, uniqueKey }: Resource): boolean {
    return uniqueKey !== undefined && this.#selectKey.get(app, kind, parent ?? '', uniqueKey) !== undefined;
  }
}

function toResource(row: Row): Resource {
  const parent = text(row['parent']);
  const uniqueKey = row['unique_key'];
  return {
    app: text(row['app']),
    kind: text(row['kind']),
    id: text(row['id']),
    parent: parent === '' ? undefined : parent,
    uniqueKey: uniqueKey === null ? undefined : text(uniqueKey),
    body: JSON.parse(text(row['body'])) as ResourceBody,
    createdAt: integer(row['created_at']),
    updatedAt: integer(row['updated_at']),
  };
}
