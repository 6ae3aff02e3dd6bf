import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type Dispatch, isForward, type Message } from '../../domain/message.ts';
import type { PhoneNumber } from '../../domain/phone-number.ts';
import type { DeliveryReport, DeliveryState } from '../../domain/provider.ts';
import type { DispatchStep, Idempotency, MessageStep, SendRefusal, Store } from '../../domain/store.ts';
import type { Verification } from '../../domain/verification.ts';
import type { Counters } from './counters.ts';
import { integer, messageColumns, messageParameters, placeholders, text, toDispatch, toMessage } from './rows.ts';

/** Messages, their dispatches, and the idempotency keys of the requests that made them. Writes run inside a transaction. */
export class MessageSteps {
  readonly #counters: Counters;
  readonly #insert: StatementSync;
  readonly #select: StatementSync;
  readonly #list: StatementSync;
  readonly #settle: StatementSync;
  readonly #claim: StatementSync;
  readonly #insertDispatch: StatementSync;
  readonly #lastPosition: StatementSync;
  readonly #selectDispatches: StatementSync;
  readonly #findDispatch: StatementSync;
  readonly #updateDispatch: StatementSync;
  readonly #updateState: StatementSync;
  readonly #putEarlyReport: StatementSync;
  readonly #takeEarlyReport: StatementSync;
  readonly #selectKey: StatementSync;
  readonly #insertKey: StatementSync;
  readonly #setAnswer: StatementSync;

  constructor(database: DatabaseSync, counters: Counters) {
    this.#counters = counters;
    this.#insert = database.prepare(`INSERT INTO message (${messageColumns}) VALUES (${placeholders(messageColumns)})`);
    this.#select = database.prepare(`SELECT ${messageColumns} FROM message WHERE id = ?`);
    this.#list = database.prepare(
      `SELECT ${messageColumns} FROM message
       WHERE app = ?1 AND id < ?2 AND (?3 IS NULL OR number = ?3) ORDER BY id DESC LIMIT ?4`,
    );
    this.#settle = database.prepare('UPDATE message SET state = ?, orphaned_at = NULL WHERE id = ?');
    this.#claim = database.prepare(
      `UPDATE message SET orphaned_at = ?2
       WHERE id IN (SELECT id FROM message WHERE orphaned_at <= ?1 ORDER BY orphaned_at LIMIT ?3)
       RETURNING ${messageColumns}`,
    );
    this.#insertDispatch = database.prepare(
      `INSERT INTO dispatch (message_id, position, provider, state, provider_message_id, reason, error_code, at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#lastPosition = database.prepare('SELECT max(position) AS position FROM dispatch WHERE message_id = ?');
    this.#selectDispatches = database.prepare('SELECT * FROM dispatch WHERE message_id = ? ORDER BY position');
    this.#findDispatch = database.prepare(
      'SELECT message_id, position, state FROM dispatch WHERE provider = ? AND provider_message_id = ?',
    );
    this.#updateDispatch = database.prepare(
      `UPDATE dispatch SET state = ?, reason = coalesce(?, reason), error_code = coalesce(?, error_code)
       WHERE message_id = ? AND position = ?`,
    );
    this.#updateState = database.prepare('UPDATE message SET state = ? WHERE id = ?');
    this.#putEarlyReport = database.prepare(
      `INSERT OR REPLACE INTO early_report (provider, provider_message_id, state, reason, error_code, at)
       VALUES (?, ?, ?, ?, ?, ?)`,
    );
    this.#takeEarlyReport = database.prepare(
      'DELETE FROM early_report WHERE provider = ? AND provider_message_id = ? RETURNING state, reason, error_code',
    );
    this.#selectKey = database.prepare('SELECT fingerprint, answer FROM idempotency WHERE app = ? AND key = ?');
    this.#insertKey = database.prepare(
      'INSERT INTO idempotency (app, key, fingerprint, answer, expires_at) VALUES (?, ?, ?, NULL, ?)',
    );
    this.#setAnswer = database.prepare('UPDATE idempotency SET answer = ? WHERE app = ? AND key = ?');
  }

  /** What a request with this key was answered, if there was one. */
  repeatedRequest(
    app: string,
    idempotency: Idempotency | undefined,
  ): (SendRefusal & { kind: 'replayed' | 'conflict' }) | undefined {
    if (idempotency === undefined) return undefined;
    const row = this.#selectKey.get(app, idempotency.key);
    if (row === undefined) return undefined;
    if (row['fingerprint'] !== idempotency.fingerprint) return { kind: 'conflict' };
    return { kind: 'replayed', answer: row['answer'] === null ? undefined : text(row['answer']) };
  }

  keepKey(app: string, idempotency: Idempotency | undefined): void {
    if (idempotency === undefined) return;
    this.#insertKey.run(app, idempotency.key, idempotency.fingerprint, idempotency.expiresAt);
  }

  answerOf(app: string, key: string): string | undefined {
    const row = this.#selectKey.get(app, key);
    return row === undefined || row['answer'] === null ? undefined : text(row['answer']);
  }

  /** Keeps the message of a verification that was started, repeated or sent again. */
  addFor(verification: Verification, message: Message, orphanedAt: number): void {
    this.#insert.run(
      ...messageParameters(
        {
          ...message,
          verificationId: verification.id,
          codeNumber: verification.codeNumber,
          validUntil: verification.expiresAt,
        },
        orphanedAt,
      ),
    );
  }

  add(step: MessageStep): Awaited<ReturnType<Store['addMessage']>> {
    const { app } = step.message;
    const repeated = this.repeatedRequest(app, step.idempotency);
    if (repeated !== undefined) return repeated;
    const taken = this.#counters.take(app, step.buckets, undefined, step.now);
    if (taken.kind === 'limited') return taken;
    taken.save();
    this.#insert.run(...messageParameters(step.message, step.orphanedAt));
    this.keepKey(app, step.idempotency);
    return { kind: 'added' };
  }

  recordDispatch(step: DispatchStep): void {
    let state = step.state;
    let position = this.#nextPosition(step);
    for (const dispatch of step.dispatches) {
      const settled = this.#withEarlyReport(dispatch);
      // The message's state is its last dispatch's.
      if (settled !== dispatch) state = settled.state;
      this.#insertDispatch.run(
        step.messageId,
        position,
        settled.provider,
        settled.state,
        settled.providerMessageId ?? null,
        settled.reason ?? null,
        settled.errorCode ?? null,
        settled.at,
      );
      position += 1;
    }
    this.#settle.run(state, step.messageId);
    if (step.answer !== undefined) this.#setAnswer.run(step.answer.text, step.answer.app, step.answer.key);
  }

  recordReport(provider: string, report: DeliveryReport, now: number): boolean {
    const row = this.#findDispatch.get(provider, report.providerMessageId);
    if (row === undefined) {
      this.#putEarlyReport.run(
        provider,
        report.providerMessageId,
        report.state,
        report.reason ?? null,
        report.code ?? null,
        now,
      );
      return false;
    }
    if (!isForward(text(row['state']) as DeliveryState, report.state)) return false;
    const messageId = text(row['message_id']);
    const position = integer(row['position']);
    this.#updateDispatch.run(report.state, report.reason ?? null, report.code ?? null, messageId, position);
    if (this.#lastPosition.get(messageId)?.['position'] === position) this.#updateState.run(report.state, messageId);
    return true;
  }

  get(app: string, id: string): Message | undefined {
    const row = this.#select.get(id);
    return row === undefined || row['app'] !== app ? undefined : toMessage(row, this.#dispatchesOf(id));
  }

  list(app: string, query: { limit: number; before?: string; number?: PhoneNumber }): readonly Message[] {
    // '~' sorts after every character of an id.
    const rows = this.#list.all(app, query.before ?? '~', query.number ?? null, query.limit);
    return rows.map((row) => toMessage(row, this.#dispatchesOf(text(row['id']))));
  }

  claimOrphans(now: number, orphanedAt: number, limit: number): readonly Message[] {
    const rows = this.#claim.all(now, orphanedAt, limit);
    return rows.map((row) => toMessage(row, this.#dispatchesOf(text(row['id']))));
  }

  #dispatchesOf(messageId: string): Dispatch[] {
    return this.#selectDispatches.all(messageId).map(toDispatch);
  }

  #nextPosition(step: DispatchStep): number {
    const last = this.#lastPosition.get(step.messageId)?.['position'];
    return typeof last === 'number' ? last + 1 : 0;
  }

  #withEarlyReport(dispatch: Dispatch): Dispatch {
    if (dispatch.providerMessageId === undefined) return dispatch;
    const row = this.#takeEarlyReport.get(dispatch.provider, dispatch.providerMessageId);
    if (row === undefined) return dispatch;
    const state = text(row['state']) as DeliveryState;
    if (!isForward(dispatch.state, state)) return dispatch;
    return {
      ...dispatch,
      state,
      reason: (row['reason'] as Dispatch['reason'] | null) ?? dispatch.reason,
      errorCode: (row['error_code'] as string | null) ?? dispatch.errorCode,
    };
  }
}
