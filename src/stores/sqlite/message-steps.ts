import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type Dispatch, isForward, type Message } from '../../domain/message.ts';
import type { PhoneNumber } from '../../domain/phone-number.ts';
import type { DeliveryReport, DeliveryState } from '../../domain/provider.ts';
import type { DispatchStep, Idempotency, MessageStep, SendRefusal, Store } from '../../domain/store.ts';
import type { Verification } from '../../domain/verification.ts';
import type { Counters } from './counters.ts';
import { dispatchesToText, integer, messageColumns, messageParameters, placeholders, text, toMessage } from './rows.ts';

/** Messages, their dispatches, and the idempotency keys of the requests that made them. Writes run inside a transaction. */
export class MessageSteps {
  readonly #counters: Counters;
  readonly #insert: StatementSync;
  readonly #select: StatementSync;
  readonly #list: StatementSync;
  readonly #settle: StatementSync;
  readonly #claim: StatementSync;
  readonly #putProviderMessage: StatementSync;
  readonly #findMessage: StatementSync;
  readonly #update: StatementSync;
  readonly #selectEarlyReport: StatementSync;
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
    this.#settle = database.prepare(
      `UPDATE message SET state = ?1, orphaned_at = NULL,
         dispatches = CASE WHEN dispatches = '' OR ?2 = '' THEN dispatches || ?2 ELSE dispatches || ',' || ?2 END
       WHERE id = ?3`,
    );
    this.#claim = database.prepare(
      `UPDATE message SET orphaned_at = ?2
       WHERE id IN (SELECT id FROM message WHERE orphaned_at <= ?1 ORDER BY orphaned_at LIMIT ?3)
       RETURNING ${messageColumns}`,
    );
    this.#putProviderMessage = database.prepare(
      'INSERT OR REPLACE INTO provider_message (provider, provider_message_id, message_id) VALUES (?, ?, ?)',
    );
    this.#findMessage = database.prepare(
      `SELECT m.* FROM provider_message p JOIN message m ON m.id = p.message_id
       WHERE p.provider = ? AND p.provider_message_id = ?`,
    );
    this.#update = database.prepare('UPDATE message SET state = ?, dispatches = ? WHERE id = ?');
    this.#selectEarlyReport = database.prepare(
      'SELECT state FROM early_report WHERE provider = ? AND provider_message_id = ?',
    );
    this.#putEarlyReport = database.prepare(
      `INSERT OR REPLACE INTO early_report (provider, provider_message_id, state, reason, error_code, at)
       VALUES (?, ?, ?, ?, ?, ?)`,
    );
    this.#takeEarlyReport = database.prepare(
      'DELETE FROM early_report WHERE provider = ? AND provider_message_id = ? RETURNING state, reason, error_code',
    );
    this.#selectKey = database.prepare(
      'SELECT fingerprint, answer, expires_at FROM idempotency WHERE app = ? AND key = ?',
    );
    this.#insertKey = database.prepare(
      'INSERT OR REPLACE INTO idempotency (app, key, fingerprint, answer, expires_at) VALUES (?, ?, ?, NULL, ?)',
    );
    this.#setAnswer = database.prepare('UPDATE idempotency SET answer = ? WHERE app = ? AND key = ?');
  }

  /** What a request with this key was answered, if there was one. */
  repeatedRequest(
    app: string,
    idempotency: Idempotency | undefined,
    now: number,
  ): (SendRefusal & { kind: 'replayed' | 'conflict' }) | undefined {
    if (idempotency === undefined) return undefined;
    const row = this.#selectKey.get(app, idempotency.key);
    // An expired key may lie there until the next sweep.
    if (row === undefined || integer(row['expires_at']) <= now) return undefined;
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
    const repeated = this.repeatedRequest(app, step.idempotency, step.now);
    if (repeated !== undefined) return repeated;
    const taken = this.#counters.take(app, step.buckets, undefined, step.now);
    if (taken.kind === 'limited') return taken;
    taken.save();
    this.#insert.run(...messageParameters(step.message, step.orphanedAt));
    this.keepKey(app, step.idempotency);
    return { kind: 'added' };
  }

  recordDispatch(step: DispatchStep): void {
    const dispatches =
      step.noReports === true ? step.dispatches : step.dispatches.map((each) => this.#withEarlyReport(each));
    const last = dispatches.at(-1);
    // The message's state is its last dispatch's.
    const state = last !== undefined && last !== step.dispatches.at(-1) ? last.state : step.state;
    this.#settle.run(state, dispatchesToText(dispatches), step.messageId);
    if (step.noReports !== true) {
      for (const { provider, providerMessageId } of dispatches) {
        if (providerMessageId !== undefined) this.#putProviderMessage.run(provider, providerMessageId, step.messageId);
      }
    }
    if (step.answer !== undefined) this.#setAnswer.run(step.answer.text, step.answer.app, step.answer.key);
  }

  recordReport(provider: string, report: DeliveryReport, now: number): boolean {
    const row = this.#findMessage.get(provider, report.providerMessageId);
    if (row === undefined) {
      this.#keepEarlyReport(provider, report, now);
      return false;
    }
    const { id, state, dispatches } = toMessage(row);
    const index = dispatches.findIndex(
      (each) => each.provider === provider && each.providerMessageId === report.providerMessageId,
    );
    const dispatch = dispatches[index];
    if (dispatch === undefined || !isForward(dispatch.state, report.state)) return false;
    const reported: Dispatch = {
      ...dispatch,
      state: report.state,
      reason: report.reason ?? dispatch.reason,
      errorCode: report.code ?? dispatch.errorCode,
    };
    const isLast = index === dispatches.length - 1;
    this.#update.run(isLast ? report.state : state, dispatchesToText(dispatches.with(index, reported)), id);
    return true;
  }

  get(app: string, id: string): Message | undefined {
    const row = this.#select.get(id);
    return row === undefined || row['app'] !== app ? undefined : toMessage(row);
  }

  list(app: string, query: { limit: number; before?: string; number?: PhoneNumber }): readonly Message[] {
    // '~' sorts after every character of an id.
    const rows = this.#list.all(app, query.before ?? '~', query.number ?? null, query.limit);
    return rows.map(toMessage);
  }

  claimOrphans(now: number, orphanedAt: number, limit: number): readonly Message[] {
    const rows = this.#claim.all(now, orphanedAt, limit);
    return rows.map(toMessage);
  }

  #keepEarlyReport(provider: string, { providerMessageId, state, reason, code }: DeliveryReport, now: number): void {
    // Early ones come out of order as well: of several the furthest is kept.
    const known = this.#selectEarlyReport.get(provider, providerMessageId);
    if (known !== undefined && !isForward(text(known['state']) as DeliveryState, state)) return;
    this.#putEarlyReport.run(provider, providerMessageId, state, reason ?? null, code ?? null, now);
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
