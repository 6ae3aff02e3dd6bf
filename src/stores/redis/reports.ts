import type { Dispatch } from '../../domain/message.ts';
import { believable } from '../../domain/price.ts';
import type { DeliveryReport } from '../../domain/provider.ts';
import type { DispatchStep, ReportOutcome } from '../../domain/store.ts';
import { usageOfDispatch } from '../../domain/usage.ts';
import { fromSqlJson, toSqlJson } from '../postgres/json.ts';
import type { PostgresStore } from '../postgres/postgres-store.ts';
import type { Apps } from './apps.ts';
import type { RedisClient } from './client.ts';
import { reportOf } from './keys.ts';
import { writeUsage } from './move.ts';
import { dispatchGiven } from './steps.ts';

/** Later ones find their message by way of PostgreSQL. */
const EXPECTED_MS = 2 * 86_400_000;
const EARLY_MS = 8 * 86_400_000;

/** A hand-over: which message, and where. */
type Reported = { readonly app: string; readonly message: string; readonly provider: string };

const nothing: ReportOutcome = { changed: false, due: false };

/** What became of messages: hand-overs, and what providers report of them, in whichever order they come. */
export class Reports {
  readonly #redis: RedisClient;
  readonly #apps: Apps;
  readonly #postgres: PostgresStore;

  constructor(redis: RedisClient, apps: Apps, postgres: PostgresStore) {
    this.#redis = redis;
    this.#apps = apps;
    this.#postgres = postgres;
  }

  /** Both halves go out at once: see `find-report.lua` why no report is lost between them. */
  async recordDispatch(step: DispatchStep): Promise<void> {
    const { message } = step;
    const expected = step.noReports === true ? [] : step.dispatches.flatMap((each) => hasId(each) ?? []);
    const [, ...early] = await Promise.all([
      this.#recordDispatch(step),
      ...expected.map(({ provider, providerMessageId }) =>
        this.#expect({ app: message.app, message: message.id, provider }, providerMessageId),
      ),
    ]);
    for (const [index, { provider, providerMessageId }] of expected.entries()) {
      const report = early[index];
      if (report === undefined) continue;
      await this.#apply({ app: message.app, message: message.id, provider }, report, step.now);
      await this.#redis.do((redis) => redis.hdel(reportOf(provider, providerMessageId), 'early'));
    }
  }

  async recordReport(provider: string, given: DeliveryReport, now: number): Promise<ReportOutcome> {
    const { cost, ...rest } = given;
    const believed = believable(cost);
    const report = { ...rest, ...(believed === undefined ? {} : { cost: believed }) };
    const key = reportOf(provider, report.providerMessageId);
    const found = await this.#redis.run('find-report', key, toSqlJson(report), String(EARLY_MS));
    if (found !== null) {
      const [app, message] = found as [string, string];
      return this.#apply({ app, message, provider }, report, now);
    }
    const kept = await this.#findKept(provider, report.providerMessageId);
    if (kept === undefined) return nothing;
    const early = await this.#expect(kept, report.providerMessageId);
    const outcome = await this.#apply(kept, early ?? report, now);
    await this.#redis.do((redis) => redis.hdel(key, 'early'));
    return outcome;
  }

  /** Puts a message back that is in PostgreSQL alone by now. @returns false when there is no such message */
  async restore(app: string, id: string, now: number): Promise<boolean> {
    const message = await this.#postgres.steps.run('get_message_with_due', { app, id });
    if (message === null) return false;
    return (await this.#apps.run('restore-message', app, { now, message })) === 'restored';
  }

  async #recordDispatch(step: DispatchStep): Promise<undefined> {
    const { message, now } = step;
    const given = dispatchGiven(step);
    if ((await this.#apps.run('record-dispatch', message.app, given)) !== 'absent') return;
    if (await this.restore(message.app, message.id, now)) {
      if ((await this.#apps.run('record-dispatch', message.app, given)) !== 'absent') return;
    }
    // Whether it was counted before is not known any more.
    if (step.isRepeated === true) return;
    // Erased while it was handed over: nothing that names its number may come back, but it was sent, and has its price.
    await this.#apps.run('record-dispatch', message.app, { ...given, isGone: true });
    const usage = step.dispatches.flatMap((dispatch) => usageOfDispatch(message, undefined, dispatch));
    await this.#postgres.database.transaction((query) => writeUsage(usage, query));
  }

  async #apply({ app, message, provider }: Reported, report: DeliveryReport, now: number): Promise<ReportOutcome> {
    const given = { now, id: message, provider, report };
    for (const isSecond of [false, true]) {
      const result = await this.#apps.run('record-report', app, given);
      if (result !== 'absent') return JSON.parse(String(result)) as ReportOutcome;
      if (isSecond || !(await this.restore(app, message, now))) break;
    }
    return nothing;
  }

  /** @returns a report that came before */
  async #expect({ app, message, provider }: Reported, id: string): Promise<DeliveryReport | undefined> {
    const key = reportOf(provider, id);
    const early = await this.#redis.run('expect-report', key, app, message, String(EXPECTED_MS));
    return early === null ? undefined : (fromSqlJson(String(early)) as DeliveryReport);
  }

  /** Redis may have been emptied, and forgets in the end. */
  async #findKept(provider: string, id: string): Promise<Reported | undefined> {
    const found = await this.#postgres.steps.run('find_reported', { provider, providerMessageId: id });
    return found === null ? undefined : { ...(found as { app: string; message: string }), provider };
  }
}

function hasId({ provider, providerMessageId }: Dispatch) {
  return providerMessageId === undefined ? undefined : { provider, providerMessageId };
}
