import type { DatabaseSync, StatementSync } from 'node:sqlite';
import {
  type Dispatch,
  dueAfter,
  isSameDispatch,
  joinReports,
  type Message,
  reportedDispatch,
} from '../../domain/message.ts';
import type { Money } from '../../domain/price.ts';
import type { DeliveryReport, DeliveryState, FailureReason } from '../../domain/provider.ts';
import type {
  DispatchStep,
  Idempotency,
  MessageQuery,
  MessageStep,
  ReportOutcome,
  SendRefusal,
  Store,
} from '../../domain/store.ts';
import { usageOfDispatch, usageOfLateCost } from '../../domain/usage.ts';
import type { Verification } from '../../domain/verification.ts';
import { dispatchesToText } from '../records.ts';
import type { Counters } from './counters.ts';
import { integer, messageColumns, messageParameters, placeholders, type Row, text, toMessage } from './rows.ts';

/** Sorts after every id. */
const LAST = '~';

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
  readonly #selectApproval: StatementSync;
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
       WHERE app = ?1 AND id < ?2 AND id > ?5 AND (?3 IS NULL OR number = ?3)
         AND (?6 IS NULL OR (verification_id IS NOT NULL) = ?6)
       ORDER BY id DESC LIMIT ?4`,
    );
    this.#settle = database.prepare(
      `UPDATE message SET state = coalesce(?1, state), due_at = ?4, leased_until = NULL, claims = 0,
         dispatches = CASE WHEN dispatches = '' OR ?2 = '' THEN dispatches || ?2 ELSE dispatches || ',' || ?2 END
       WHERE id = ?3`,
    );
    this.#claim = database.prepare(
      `UPDATE message SET due_at = ?2, leased_until = ?2, claims = claims + 1
       WHERE id IN (SELECT id FROM message WHERE due_at <= ?1 ORDER BY due_at LIMIT ?3)
       RETURNING ${messageColumns}, claims`,
    );
    this.#putProviderMessage = database.prepare(
      'INSERT OR REPLACE INTO provider_message (provider, provider_message_id, message_id) VALUES (?, ?, ?)',
    );
    this.#findMessage = database.prepare(
      `SELECT m.* FROM provider_message p JOIN message m ON m.id = p.message_id
       WHERE p.provider = ? AND p.provider_message_id = ?`,
    );
    this.#update = database.prepare('UPDATE message SET state = ?, dispatches = ?, due_at = ? WHERE id = ?');
    this.#selectApproval = database.prepare(
      `SELECT 1 FROM verification
       WHERE id = ?1 AND state = 'approved' AND substr(message_ids, -length(?2)) = ?2`,
    );
    this.#selectEarlyReport = database.prepare(
      'SELECT * FROM early_report WHERE provider = ? AND provider_message_id = ?',
    );
    this.#putEarlyReport = database.prepare(
      `INSERT OR REPLACE INTO early_report (provider, provider_message_id, state, reason, error_code, cost, opt_out, at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#takeEarlyReport = database.prepare(
      'DELETE FROM early_report WHERE provider = ? AND provider_message_id = ? RETURNING *',
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
  addFor(verification: Verification, message: Message, dueAt: number): void {
    this.#insert.run(
      ...messageParameters(
        {
          ...message,
          verificationId: verification.id,
          codeNumber: verification.codeNumber,
          validUntil: verification.expiresAt,
        },
        dueAt,
      ),
    );
  }

  add(step: MessageStep): Awaited<ReturnType<Store['addMessage']>> {
    const { app } = step.message;
    const repeated = this.repeatedRequest(app, step.idempotency, step.now);
    if (repeated !== undefined) return repeated;
    const taken = this.#counters.take(app, step.buckets, undefined, step.now);
    if (taken.kind === 'limited') return taken;
    const budget = step.budget === undefined ? undefined : this.#counters.budgetAfter(app, step.budget);
    if (budget === 'over-budget') return { kind: 'over-budget' };
    taken.save();
    if (step.budget !== undefined) this.#counters.addSpent(app, step.budget.day, step.budget.micros);
    this.#insert.run(...messageParameters(step.message, step.orphanedAt));
    this.keepKey(app, step.idempotency);
    return { kind: 'added', ...(budget === undefined ? {} : { budget }) };
  }

  recordDispatch(step: DispatchStep): void {
    const { message } = step;
    const [first] = step.dispatches;
    if (step.isRepeated && first !== undefined) {
      if (this.dispatchesOf(message.id).some((each) => isSameDispatch(each, first))) return;
    }
    const early = step.noReports === true ? [] : step.dispatches.map((each) => this.#takeEarlyReportOf(each));
    const dispatches = step.dispatches.map((each, index) => reportedDispatch(each, early[index]));
    const last = dispatches.at(-1);
    // The message's state is its last dispatch's.
    const isSettled = last !== undefined && last !== step.dispatches.at(-1);
    const state = isSettled ? last.state : step.state;
    const dueAt = isSettled ? dueAfter(message, last, early.at(-1), step.now, step.dueAt) : step.dueAt;
    const { changes } = this.#settle.run(state ?? null, dispatchesToText(dispatches), message.id, dueAt ?? null);
    // Erased while it was handed over: nothing that names its number may come back.
    const isKept = changes === 1;
    if (isKept && step.noReports !== true) {
      for (const { provider, providerMessageId } of dispatches) {
        if (providerMessageId !== undefined) this.#putProviderMessage.run(provider, providerMessageId, message.id);
      }
    }
    for (const dispatch of dispatches) this.#counters.addUsage(usageOfDispatch(message, undefined, dispatch));
    if (step.spent !== undefined) this.#counters.addSpent(message.app, step.spent.day, step.spent.micros);
    if (isKept && step.answer !== undefined) this.#setAnswer.run(step.answer.text, step.answer.app, step.answer.key);
  }

  recordReport(provider: string, report: DeliveryReport, now: number): ReportOutcome {
    const row = this.#findMessage.get(provider, report.providerMessageId);
    if (row === undefined) {
      this.#keepEarlyReport(provider, report, now);
      return { changed: false, due: false };
    }
    const message = toMessage(row);
    const { dispatches } = message;
    const index = dispatches.findIndex(
      (each) => each.provider === provider && each.providerMessageId === report.providerMessageId,
    );
    const dispatch = dispatches[index];
    if (dispatch === undefined) return { changed: false, due: false };
    const reported = reportedDispatch(dispatch, report);
    if (reported === dispatch) return { changed: false, due: false };
    const isLast = index === dispatches.length - 1;
    const state = isLast ? reported.state : message.state;
    const dueBefore = row['due_at'] === null ? undefined : integer(row['due_at']);
    const hasMoved = isLast && reported.state !== dispatch.state;
    const wanted = hasMoved ? dueAfter(message, reported, report, now, dueBefore) : dueBefore;
    // Whoever has taken the message up is sending it by another way already.
    const dueAt = wanted === now ? Math.max(now, Number(row['leased_until'] ?? now)) : wanted;
    const changed = dispatches.with(index, reported);
    this.#update.run(state, dispatchesToText(changed), dueAt ?? null, message.id);
    this.#counters.addUsage(usageOfDispatch(message, dispatch, reported));
    if (reported.reportedCost !== dispatch.reportedCost && this.#isApproved(message)) {
      this.#counters.addUsage(usageOfLateCost(message, dispatches, changed));
    }
    return { changed: true, due: hasMoved && dueAt === now };
  }

  /** The dispatches of a message, for what an approval counts. */
  dispatchesOf(id: string): readonly Dispatch[] {
    const row = this.#select.get(id);
    return row === undefined ? [] : toMessage(row).dispatches;
  }

  get(app: string, id: string): Message | undefined {
    const row = this.#select.get(id);
    return row === undefined || row['app'] !== app ? undefined : toMessage(row);
  }

  list(app: string, { limit, before = LAST, after = '', number, carries }: MessageQuery): readonly Message[] {
    const isCode = carries === undefined ? null : carries === 'code' ? 1 : 0;
    return this.#list.all(app, before, number ?? null, limit, after, isCode).map(toMessage);
  }

  /** The same of the messages of one verification, which knows them. */
  listOf({ app, messageIds }: Verification, query: MessageQuery): readonly Message[] {
    const { limit, before = LAST, after = '', number, carries } = query;
    if (carries === 'text') return [];
    return messageIds
      .filter((id) => id < before && id > after)
      .sort((a, b) => (a < b ? 1 : -1))
      .flatMap((id) => this.get(app, id) ?? [])
      .filter((message) => number === undefined || message.number === number)
      .slice(0, limit);
  }

  claimDue(now: number, leaseUntil: number, limit: number): readonly { message: Message; claims: number }[] {
    const rows = this.#claim.all(now, leaseUntil, limit);
    return rows.map((row) => ({ message: toMessage(row), claims: integer(row['claims']) }));
  }

  /** Has the verification been approved whose code it carried last? */
  #isApproved({ id, verificationId }: Message): boolean {
    return verificationId !== undefined && this.#selectApproval.get(verificationId, id) !== undefined;
  }

  #keepEarlyReport(provider: string, report: DeliveryReport, now: number): void {
    const { providerMessageId } = report;
    // Early ones come out of order as well, and each may say what the others do not.
    const known = this.#selectEarlyReport.get(provider, providerMessageId);
    const { state, reason, code, cost, optOut } = known === undefined ? report : joinReports(toReport(known), report);
    this.#putEarlyReport.run(
      provider,
      providerMessageId,
      state,
      reason ?? null,
      code ?? null,
      cost === undefined ? null : JSON.stringify(cost),
      optOut === true ? 1 : 0,
      now,
    );
  }

  #takeEarlyReportOf({ provider, providerMessageId }: Dispatch): DeliveryReport | undefined {
    if (providerMessageId === undefined) return undefined;
    const row = this.#takeEarlyReport.get(provider, providerMessageId);
    return row === undefined ? undefined : toReport(row);
  }
}

function toReport({ reason, error_code: code, cost, opt_out: optOut, ...row }: Row): DeliveryReport {
  return {
    providerMessageId: text(row['provider_message_id']),
    state: text(row['state']) as DeliveryState,
    ...(reason === null ? {} : { reason: text(reason) as FailureReason }),
    ...(code === null ? {} : { code: text(code) }),
    ...(cost === null ? {} : { cost: JSON.parse(text(cost)) as Money }),
    ...(optOut === 1 ? { optOut: true as const } : {}),
  };
}
