import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { PhoneNumber } from '../../domain/phone-number.ts';
import { IDEMPOTENCY_TTL_MS } from '../../domain/retention.ts';
import type { EraseStep } from '../../domain/store.ts';
import { text, toMessage } from './rows.ts';

/** Rows walked in one step: a fraction of a millisecond, so that no request waits long behind it. */
const SLICE_ROWS = 1000;

/** The last character of ASCII: sorts after every id of its kind. */
const FROM_THE_NEWEST = '~';

/** Rows of one number within a part of a table's primary key. */
export type Slice = {
  readonly kind: 'ver' | 'msg';
  readonly ids: readonly string[];
  /** where the next slice begins; undefined after the last one */
  readonly resumeAt: string | undefined;
};

/**
 * Erases what is kept of one number. There is no index by number (it would cost every start a page), so the history is
 * walked, newest first: what is still alive goes first. Looking happens outside of a transaction, for it keeps others waiting.
 */
export class Eraser {
  readonly #boundary: Record<Slice['kind'], StatementSync>;
  readonly #matches: Record<Slice['kind'], StatementSync>;
  readonly #selectNumber: StatementSync;
  readonly #cancel: StatementSync;
  readonly #forgetLive: StatementSync;
  readonly #deleteUncounted: StatementSync;
  readonly #deleteVerification: StatementSync;
  readonly #deleteSubject: StatementSync;
  readonly #deleteMessage: StatementSync;
  readonly #deleteProviderMessage: StatementSync;
  readonly #replaceAnswer: StatementSync;

  constructor(database: DatabaseSync) {
    const boundaryOf = (table: string) =>
      database.prepare(`SELECT id FROM ${table} WHERE id < ? ORDER BY id DESC LIMIT 1 OFFSET ${SLICE_ROWS - 1}`);
    const matchesOf = (table: string) =>
      database.prepare(`SELECT id FROM ${table} WHERE id < ? AND id >= ? AND number = ? AND app = ?`);
    this.#boundary = { ver: boundaryOf('verification'), msg: boundaryOf('message') };
    this.#matches = { ver: matchesOf('verification'), msg: matchesOf('message') };
    this.#selectNumber = database.prepare('SELECT live FROM number WHERE app = ? AND number = ?');
    this.#cancel = database.prepare("UPDATE verification SET state = 'canceled' WHERE id = ? AND state = 'pending'");
    this.#forgetLive = database.prepare("UPDATE number SET live = '{}' WHERE app = ? AND number = ?");
    this.#deleteUncounted = database.prepare(
      "DELETE FROM number WHERE app = ? AND number = ? AND starts = '[]' AND guesses IS NULL",
    );
    this.#deleteVerification = database.prepare(
      'DELETE FROM verification WHERE id = ? RETURNING subject, purpose, lane',
    );
    this.#deleteSubject = database.prepare(
      'DELETE FROM subject WHERE app = ? AND subject = ? AND purpose = ? AND lane = ? AND verification_id = ?',
    );
    this.#deleteMessage = database.prepare('DELETE FROM message WHERE id = ? RETURNING *');
    this.#deleteProviderMessage = database.prepare(
      'DELETE FROM provider_message WHERE provider = ? AND provider_message_id = ? AND message_id = ?',
    );
    this.#replaceAnswer = database.prepare(
      // A key that has ended may be another message's by now.
      'UPDATE idempotency SET answer = ? WHERE app = ? AND key = ? AND expires_at < ?',
    );
  }

  /** The next rows to erase. @param resumeAt an id, whose beginning says of which table */
  find({ app, number, resumeAt = `ver_${FROM_THE_NEWEST}` }: EraseStep): Slice {
    const kind = resumeAt.startsWith('ver') ? 'ver' : 'msg';
    const row = this.#boundary[kind].get(resumeAt);
    const last = row === undefined ? undefined : text(row['id']);
    const ids = this.#matches[kind].all(resumeAt, last ?? '', number, app).map(({ id }) => text(id));
    return { kind, ids, resumeAt: last ?? (kind === 'ver' ? `msg_${FROM_THE_NEWEST}` : undefined) };
  }

  /** Ends what is pending, as far as it is known by number: a subject's is young, and met in the first slices. */
  cancelLive(app: string, number: PhoneNumber): void {
    const row = this.#selectNumber.get(app, number);
    if (row === undefined) return;
    const live = JSON.parse(text(row['live'])) as Record<string, string>;
    for (const id of Object.values(live)) this.#cancel.run(id);
    this.#forgetLive.run(app, number);
    this.#deleteUncounted.run(app, number);
  }

  erase({ kind, ids }: Slice, { app, answer }: EraseStep): void {
    for (const id of ids) {
      if (kind === 'ver') this.#eraseVerification(app, id);
      else this.#eraseMessage(id, answer);
    }
  }

  #eraseVerification(app: string, id: string): void {
    const row = this.#deleteVerification.get(id);
    const subject = row?.['subject'] ?? null;
    if (row !== undefined && subject !== null)
      this.#deleteSubject.run(app, subject, text(row['purpose']), text(row['lane']), id);
  }

  #eraseMessage(id: string, answer: string): void {
    const row = this.#deleteMessage.get(id);
    if (row === undefined) return;
    const { app, dispatches, idempotencyKey, createdAt } = toMessage(row);
    for (const { provider, providerMessageId } of dispatches) {
      if (providerMessageId !== undefined) this.#deleteProviderMessage.run(provider, providerMessageId, id);
    }
    if (idempotencyKey !== undefined)
      this.#replaceAnswer.run(answer, app, idempotencyKey, createdAt + 2 * IDEMPOTENCY_TTL_MS);
  }
}
