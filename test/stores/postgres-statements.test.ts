import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPostgresStore, type PostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import {
  checkById,
  checkBySlot,
  DAY_0,
  dispatchOf,
  dispatchStep,
  idempotency,
  MINUTE,
  messageOf,
  messageStep,
  perNumber,
  phone,
  resend,
  started,
  startStep,
  T0,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { forgetful, type PostgresServer, startPostgres } from '../servers/postgres.ts';
import { findPostgres } from '../servers/postgres-programs.ts';
import { silent } from './postgres-database.ts';

/** The server writes each statement that it is sent to its log, and how it was sent. */
const logging = { log_statement: 'all', log_min_messages: 'log', log_line_prefix: '', lc_messages: 'C' };

describe.skipIf(findPostgres() === null)('the statements that PostgreSQL is sent', () => {
  let server: PostgresServer;
  let store: PostgresStore;
  beforeAll(async () => {
    server = await startPostgres({ settings: { ...forgetful, ...logging } });
    store = await openPostgresStore({ url: server.url, poolSize: 1, log: silent });
    await started(store, { number: phone(99) });
  });
  afterAll(async () => {
    await store.close();
    await server.close();
  });

  /** Statements that the work sent, in the order in which they were sent. */
  async function sent(work: () => Promise<unknown>): Promise<string[]> {
    const mark = `mark_${performance.now()}`;
    const marked = (what: string) => store.database.query(`SELECT '${what} ${mark}'`);
    await marked('from');
    await work();
    await marked('to');
    const isOver = () => server.log.includes(`to ${mark}`);
    await expect.poll(isOver, { timeout: 2000 }).toBe(true);
    const log = server.log.slice(server.log.indexOf(`from ${mark}`), server.log.indexOf(`to ${mark}`));
    const lines = log
      .split('\n')
      .flatMap((line) => /LOG: {2}(?:statement|execute ([^:]*)): (.*)/.exec(line)?.slice(1, 3) ?? []);
    const statements: string[] = [];
    for (let i = 0; i < lines.length; i += 2) statements.push(`${lines[i]}: ${lines[i + 1]}`);
    return statements.slice(0, -1);
  }

  const limits = [
    perNumber(9, MINUTE),
    { scope: 'address', value: '192.0.2.1', rules: [{ max: 9, windowMs: MINUTE }] },
  ] as const;
  const budget = { day: DAY_0, micros: 1, maxMicros: 100 };

  it('are one for each step, whatever the step has to look at', async () => {
    const given = verificationOf({ subject: 's' });
    const step = startStep(given, { buckets: limits, budget, idempotency: idempotency('k') });
    const message = messageOf(given, { id: step.message.id });
    const taken = [dispatchOf(), dispatchOf({ provider: 'brim', providerMessageId: 'B1' })];
    const answer = { app: 'taxi', key: 'k', text: '{}' };
    const carried = { channel: 'sms', managed: undefined } as const;
    const steps: Record<string, () => Promise<unknown>> = {
      start: () => store.start(step),
      'start again': () => store.start(step),
      'start anew': () => store.start(startStep(verificationOf({ subject: 's' }))),
      recordDispatch: () =>
        store.recordDispatch(
          dispatchStep(message, { dispatches: taken, answer, carried, spent: { day: DAY_0, micros: -1 } }),
        ),
      recordReport: () => store.recordReport('acme', { providerMessageId: 'A1', state: 'delivered' }, T0),
      'early report': () => store.recordReport('acme', { providerMessageId: 'A9', state: 'delivered' }, T0),
      resend: () => resend(store, given, T0 + MINUTE, { buckets: limits, budget }),
      'check by id': () => checkById(store, given, wrongDigest, T0, { buckets: [limits[1]] }),
      'check by slot': () => checkBySlot(store, wrongDigest, T0, { subject: 's' }),
      'check of nothing': () => checkBySlot(store, wrongDigest, T0, { number: phone(77) }),
      approve: () => checkById(store, given, given.digests.byId, T0),
      settleCheck: () =>
        store.settleCheck({
          now: T0,
          app: 'taxi',
          id: given.id,
          guesses: { max: 20, windowMs: MINUTE },
          codeNumber: 0,
          verdict: 'wrong',
        }),
      addMessage: () => store.addMessage(messageStep({ buckets: limits, budget })),
      claimDue: () => store.claimDue(T0 + MINUTE, T0 + 2 * MINUTE, 10),
      getVerification: () => store.getVerification('taxi', given.id),
      listMessages: () => store.listMessages('taxi', { limit: 10 }),
      readUsage: () => store.readUsage({ app: 'taxi', from: DAY_0, to: DAY_0 }),
      lease: () => store.lease('sweep', 'n', T0, T0 + 1),
      probe: () => store.probe(T0),
    };
    for (const [name, call] of Object.entries(steps)) {
      const statements = await sent(call);
      expect(statements, name).toHaveLength(1);
      // Under no name: PgBouncer gives the next statement to another connection.
      expect(statements[0], name).toMatch(/^<unnamed>: SELECT /);
    }
  });

  it('change nothing that outlasts them: no SET, no LISTEN, no lock of a session, no temporary table', async () => {
    const before = await settingsOf();
    const statements = await sent(async () => {
      const verification = await started(store, { number: phone(5) });
      await checkById(store, verification, verification.digests.byId, T0);
      await store.sweep(T0, T0 - 30 * 24 * 60 * MINUTE);
      await store.probe(T0);
    });
    expect(statements.filter((each) => !/^<unnamed>: SELECT |: SELECT c\.relname/.test(each))).toEqual([]);
    expect(await settingsOf()).toEqual(before);
    const { rows } = await store.database.query(
      "SELECT count(*)::integer AS count FROM pg_locks WHERE locktype = 'advisory'",
    );
    expect(rows).toEqual([{ count: 0 }]);
  });

  const settingsOf = async () =>
    (
      await store.database.query(
        "SELECT name, setting FROM pg_settings WHERE source = 'session' OR name IN ('lock_timeout', 'search_path', 'bytea_output', 'synchronous_commit') ORDER BY 1",
      )
    ).rows;
});
