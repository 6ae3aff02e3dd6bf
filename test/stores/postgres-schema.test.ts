import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Database } from '../../src/stores/postgres/database.ts';
import {
  openPostgresStore,
  type PostgresStore,
  PostgresStore as Store,
} from '../../src/stores/postgres/postgres-store.ts';
import { Presence } from '../../src/stores/postgres/presence.ts';
import { prepareSchema, readSchema, type Schema } from '../../src/stores/postgres/schema.ts';
import { Steps } from '../../src/stores/postgres/steps.ts';
import {
  checkById,
  dispatchOf,
  dispatchStep,
  MINUTE,
  phone,
  readable,
  sentCode,
  started,
  startStep,
  T0,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { makeDatabase, type TestDatabase } from '../servers/index.ts';
import { addPasswordRole, onDatabase } from '../servers/postgres.ts';
import { hasPostgres, silent } from './postgres-database.ts';

describe.skipIf(!hasPostgres())('the schema in PostgreSQL', () => {
  let database: TestDatabase;
  const opened: PostgresStore[] = [];
  beforeEach(async () => {
    database = await makeDatabase();
  });
  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close();
    await database.close();
  });

  const open = async (url = database.url) => {
    const store = await openPostgresStore({ url, poolSize: 4, log: silent });
    opened.push(store);
    return store;
  };
  const sql = (text: string) =>
    onDatabase(database.url, async (client) => (await client.query(text)).rows as unknown[]);

  /** A node of another version: its migrations and the text of its steps are given. */
  async function openAs(schema: Schema): Promise<PostgresStore> {
    const connected = await Database.open({ url: database.url, poolSize: 4, log: silent });
    try {
      await prepareSchema(connected, schema);
    } catch (error) {
      await connected.close();
      throw error;
    }
    const steps = new Steps(connected, schema.stepsSchema);
    const store = new Store(connected, steps, await Presence.open(steps, 'postgresql', silent));
    opened.push(store);
    return store;
  }

  /** The next version: one more column in every table, and other steps. */
  function nextVersion(needs: number): Schema {
    const schema = readSchema();
    const tables = [...(schema.migrations[0]?.text.matchAll(/^CREATE TABLE (countersign\.\w+) \(/gm) ?? [])].map(
      ([, name]) => name,
    );
    const text = `-- needs: ${needs}\n${tables.map((name) => `ALTER TABLE ${name} ADD COLUMN of_a_newer_version text;`).join('\n')}`;
    return {
      migrations: [...schema.migrations, { name: '9999-next.sql', text }],
      steps: schema.steps,
      stepsSchema: 'countersign_steps_next',
    };
  }

  /** Every kind of step once or more, by two nodes in turn. */
  async function goesOn(a: PostgresStore, b: PostgresStore, first: number): Promise<void> {
    const { verification, message } = await sentCode(a, { number: phone(first) }, [
      { providerMessageId: `P${first}`, estimatedCost: { micros: 5, currency: 'USD' } },
    ]);
    expect((await checkById(b, verification, wrongDigest, T0)).kind).toBe('wrong');
    expect(await b.recordReport('acme', { providerMessageId: `P${first}`, state: 'delivered' }, T0)).toMatchObject({
      changed: true,
    });
    await a.recordReport('acme', { providerMessageId: `Q${first}`, state: 'sent' }, T0);
    await b.recordDispatch(
      dispatchStep(message, { dispatches: [dispatchOf({ providerMessageId: `Q${first}` })], dueAt: T0 + 1 }),
    );
    expect(await a.claimDue(T0 + 1, T0 + MINUTE, 10)).toHaveLength(1);
    const bucket = { scope: 'address', value: `203.0.113.${first}`, rules: [{ max: 1, windowMs: MINUTE }] } as const;
    const others = [a, b].map((store) =>
      store.start(startStep(verificationOf({ number: phone(first + 1), subject: 's' }), { buckets: [bucket] })),
    );
    expect((await Promise.all(others)).map(({ kind }) => kind).sort()).toEqual(['limited', 'started']);
    expect((await checkById(a, verification, verification.digests.byId, T0)).kind).toBe('approved');
    const token = { hash: `h${first}`, expiresAt: T0 + MINUTE };
    expect(
      await b.signIn({
        now: T0,
        app: 'taxi',
        verificationId: verification.id,
        number: phone(first),
        name: 'Ada',
        token,
      }),
    ).toMatchObject({ isNew: true });
    await a.addResource(
      {
        app: 'taxi',
        kind: 'k',
        id: `r${first}`,
        parent: undefined,
        uniqueKey: undefined,
        body: {},
        createdAt: T0,
        updatedAt: T0,
      },
      9,
    );
    await a.addApiKey({
      id: `k${first}`,
      app: 'taxi',
      name: 'n',
      hash: `h${first}`,
      createdAt: T0,
      revokedAt: undefined,
    });
    await a.addSigningKey(
      { id: `s${first}`, sealedPrivateKey: Buffer.from('k'), publicJwk: '{}', createdAt: T0 },
      false,
    );
    await b.recordShadow({
      day: '2025-11-20',
      app: 'taxi',
      dialect: 'd',
      route: 'r',
      outcome: 'not-compared',
      upstreamStatus: 200,
      ourStatus: 200,
      difference: `${first}`,
      count: 1,
      upstreamExample: '',
      ourExample: '',
    });
    await b.shareBreaker({
      provider: 'acme',
      place: `${first}`,
      breaker: { outcomes: [], openUntil: undefined, coolOffMs: 1, trialUntil: undefined, reason: undefined },
      changedAt: T0,
    });
    expect(await a.lease(`l${first}`, 'a', T0, T0 + 1)).toBe(true);
    // A day without a table: it is made with the columns that there are now.
    const later = T0 + (10 + first) * 86_400_000;
    expect(
      readable(await b.getVerification('taxi', (await started(a, { number: phone(first + 2), createdAt: later })).id)),
    ).toBeDefined();
    await b.sweep(T0, T0 - 1);
    await a.eraseHistory({ app: 'taxi', number: phone(first), answer: '{}', resumeAt: undefined });
    await a.probe(T0);
    const [usage] = await a.readUsage({ app: 'taxi', from: '2025-11-20', to: '2025-11-20' });
    expect(usage?.counts.sent).toBeGreaterThan(0);
  }

  it('is brought up to date while nodes of an older version go on, beside those of the new one', async () => {
    const older = await open();
    await goesOn(older, older, 100);
    const newer = await openAs(nextVersion(1));
    await goesOn(older, newer, 200);
    await goesOn(newer, older, 300);
    // And a node of the older version starts once more: a roll-back.
    await goesOn(await open(), newer, 400);
  });

  it('is brought up to date under load, and no step of an older node fails', async () => {
    const older = await open();
    await started(older, {});
    const failures: unknown[] = [];
    let [isOver, steps] = [false, 0];
    const worker = async (lane: number) => {
      for (let i = 0; !isOver; i += 1) {
        const verification = await started(older, { number: phone(1000 * lane + i) }).catch((error: unknown) =>
          failures.push(error),
        );
        if (typeof verification !== 'number')
          await checkById(older, verification, wrongDigest, T0).catch((error: unknown) => failures.push(error));
        steps += 1;
      }
    };
    const workers = [1, 2, 3, 4].map(worker);
    while (steps < 20) await older.probe(T0);
    await Promise.all([openAs(nextVersion(1)), openAs(nextVersion(1)), openAs(nextVersion(1))]);
    const reached = steps;
    while (steps < reached + 20) await older.probe(T0);
    isOver = true;
    await Promise.all(workers);
    expect(failures).toEqual([]);
    expect(await sql('SELECT count(*)::integer AS count FROM countersign.migration')).toEqual([{ count: 2 }]);
  });

  it('of an older version is brought up to date, with what is in it', async () => {
    const kept = await started(await open());
    const newer = await openAs(nextVersion(1));
    expect(readable(await newer.getVerification('taxi', kept.id))).toEqual(readable(kept));
    expect(await sql('SELECT version, name, needs FROM countersign.migration ORDER BY version')).toEqual([
      { version: 1, name: '0001-initial.sql', needs: 1 },
      { version: 2, name: '9999-next.sql', needs: 1 },
    ]);
  });

  it('of a newer version is refused where this one cannot live with it', async () => {
    await openAs(nextVersion(2));
    const opening = open();
    await expect(opening).rejects.toMatchObject({ code: 'store-incompatible' });
    await expect(opening).rejects.toThrow(
      /has schema version 2, and this version of Countersign knows 1\. Start the newer version/,
    );
  });

  it('is left as it was by a migration that fails half-way', async () => {
    await open();
    const broken = nextVersion(1);
    const migrations = [
      ...broken.migrations.slice(0, -1),
      { name: 'x.sql', text: '-- needs: 1\nCREATE TABLE countersign.half (a text); SELECT nonsense;' },
    ];
    await expect(openAs({ ...broken, migrations })).rejects.toMatchObject({ code: 'store-incompatible' });
    expect(
      await sql("SELECT to_regclass('countersign.half') AS half, to_regnamespace('countersign_steps_next') AS steps"),
    ).toEqual([{ half: null, steps: null }]);
    await goesOn(await open(), await open(), 100);
  });

  it("is refused where the name is somebody else's", async () => {
    await sql('CREATE SCHEMA countersign; CREATE TABLE countersign.verification (id integer)');
    const opening = open();
    await expect(opening).rejects.toMatchObject({ code: 'store-incompatible' });
    await expect(opening).rejects.toThrow(/cannot be brought up to date .*Is it Countersign's own\?/);
  });

  it('is refused to a user who may not make it, in words that say what is missing', async () => {
    const url = await addPasswordRole(database.url, `nobody_${process.pid}`, 'secret');
    try {
      const opening = open(url);
      await expect(opening).rejects.toMatchObject({ code: 'store-unavailable' });
      await expect(opening).rejects.toThrow(/permission denied.*CREATE on the database/);
    } finally {
      await sql(`DROP ROLE nobody_${process.pid}`);
    }
  });

  it('needs no more than CREATE on the database, and no superuser', async () => {
    const role = `plain_${process.pid}`;
    const url = await addPasswordRole(database.url, role, 'secret');
    try {
      await sql(`GRANT CREATE ON DATABASE ${new URL(url).pathname.slice(1)} TO ${role}`);
      const store = await open(url);
      await goesOn(store, store, 100);
    } finally {
      for (const store of opened.splice(0)) await store.close();
      await sql(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
    }
  });

  it('says so when its steps are dropped under a node, and is whole again after a start', async () => {
    const store = await open();
    await sql(`DROP SCHEMA ${readSchema().stepsSchema} CASCADE`);
    await expect(store.probe(T0)).rejects.toMatchObject({ code: 'store-unavailable' });
    await expect(store.probe(T0)).rejects.toThrow(/is gone; restart it/);
    await (await open()).probe(T0);
    await store.probe(T0);
  });

  it('is not made on a server that is too old or keeps text in another way', async () => {
    const answering = (row: object) =>
      ({ place: 'db.example:5432/x', query: async () => ({ rows: [row], count: 1 }) }) as unknown as Database;
    const good = {
      version: 140_000,
      version_name: '14.0',
      is_read_only: false,
      isolation: 'read committed',
      encoding: 'UTF8',
    };
    await expect(
      prepareSchema(answering({ ...good, version: 130_012, version_name: '13.12' }), readSchema()),
    ).rejects.toThrow('PostgreSQL at db.example:5432/x is version 13.12; 14 or newer is needed.');
    await expect(prepareSchema(answering({ ...good, encoding: 'SQL_ASCII' }), readSchema())).rejects.toThrow(
      "ENCODING 'UTF8'",
    );
  });
});
