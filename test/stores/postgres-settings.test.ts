import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import type { CountersignError } from '../../src/domain/problem.ts';
import type { Resource } from '../../src/domain/store.ts';
import { fromSqlJson, toSqlJson } from '../../src/stores/postgres/json.ts';
import { openPostgresStore, type PostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import { historyOf, refusedOf } from '../../src/stores/redis/keys.ts';
import { openRedisStore } from '../../src/stores/redis/redis-store.ts';
import {
  checkById,
  checkBySlot,
  dispatchOf,
  dispatchStep,
  idempotency,
  perNumber,
  phone,
  readable,
  SECOND,
  sentCode,
  sentMessage,
  started,
  startStep,
  T0,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';
import { makeDatabase, useRedis } from '../servers/index.ts';
import { onDatabase } from '../servers/postgres.ts';
import { onRedis } from '../servers/redis.ts';
import { hasPostgres, postgresForFile, silent } from './postgres-database.ts';
import { until } from './redis-stores.ts';

/** What PostgreSQL refuses in text: NUL, halves of surrogate pairs; and the mark that they are kept under. */
const unusual = ['a\0b', '\ud83d', '\udca9\ud83d', '\\u0000', '\\\0', '\uFDD0', '\uFDD00000', 'ü\ud800 "x"', '😀\0\0'];

describe('JSON for PostgreSQL', () => {
  it('has nothing in it that the server refuses, and comes back as it was', () => {
    for (const text of unusual) {
      const json = toSqlJson({ [text]: [text] });
      expect(json.isWellFormed()).toBe(true);
      expect(json.replaceAll('\\\\', '')).not.toMatch(/\\u(0000|d[89a-f])/);
      // The server writes the same characters, and escapes them in its own way.
      expect(fromSqlJson(JSON.stringify(JSON.parse(json)))).toEqual({ [text]: [text] });
    }
  });
});

describe.skipIf(!hasPostgres())('text that PostgreSQL refuses', () => {
  let file: Awaited<ReturnType<typeof postgresForFile>>;
  let store: PostgresStore;
  beforeAll(async () => {
    file = await postgresForFile();
  });
  beforeEach(async () => {
    await file.empty();
    store = await file.open();
  });
  afterEach(() => file.closeStores());
  afterAll(() => file.close());

  it('is a purpose, a subject, metadata and an idempotency key as good as any', async () => {
    for (const text of unusual) {
      const given = { number: phone(3), purpose: text, subject: text, metadata: { [text]: text }, email: text };
      const step = { buckets: [perNumber(99, 1000, phone(3))], idempotency: idempotency(text) };
      const verification = await started(store, given, step);
      expect(readable(await store.getVerification('taxi', verification.id))).toEqual(readable(verification));
      const again = await store.start(startStep(verificationOf(given), step));
      expect(again).toEqual({ kind: 'replayed', answer: undefined });
      const slot = { purpose: text, subject: text, number: phone(3) };
      expect((await store.findVerification({ app: 'taxi', ...slot }))?.id).toBe(verification.id);
      expect((await checkById(store, verification, wrongDigest, T0, { purpose: text, subject: text })).kind).toBe(
        'wrong',
      );
      expect((await checkBySlot(store, verification.digests.bySlot, T0, slot)).kind).toBe('approved');
    }
  });

  it('is no other text: a code of one subject approves none that is written alike', async () => {
    const verification = await started(store, { subject: 'a\0' });
    for (const subject of ['a', 'a\uFFFD', 'a\uFDD00000', 'a\\u0000', '']) {
      expect(await checkById(store, verification, verification.digests.byId, T0, { subject })).toEqual({
        kind: 'unknown',
      });
    }
  });

  it('is what a provider says of a message, and finds it again', async () => {
    for (const text of unusual) {
      const { message } = await sentCode(store, { number: phone(4) }, [{ providerMessageId: text, errorCode: text }]);
      const report = { providerMessageId: text, state: 'failed', code: `${text}!` } as const;
      expect(await store.recordReport('acme', report, T0 + 1)).toEqual({ changed: true, due: true });
      await store.recordReport('acme', { ...report, providerMessageId: `early ${text}` }, T0 + 1);
      const second = dispatchOf({ providerMessageId: `early ${text}` });
      await store.recordDispatch(
        dispatchStep(message, { dispatches: [second], answer: { app: 'taxi', key: 'k', text } }),
      );
      const kept = await store.getMessage('taxi', message.id);
      expect(kept?.dispatches.map(({ providerMessageId, errorCode }) => [providerMessageId, errorCode])).toEqual([
        [text, `${text}!`],
        [`early ${text}`, `${text}!`],
      ]);
      expect(await store.listMessages('taxi', { limit: 1, verificationId: message.verificationId ?? '' })).toEqual([
        kept,
      ]);
    }
  });

  it('is in a message that is kept with its dispatches already', async () => {
    for (const text of unusual) {
      const verification = verificationOf({ number: phone(5) });
      const dispatches = [dispatchOf({ errorCode: text, providerMessageId: text })];
      const step = startStep(verification);
      await store.start({ ...step, message: { ...step.message, dispatches } });
      expect((await checkById(store, verification, verification.digests.byId, T0)).kind).toBe('approved');
      expect((await store.getMessage('taxi', step.message.id))?.dispatches).toEqual(dispatches);
    }
  });

  it('is in a resource, before and after a change of it', async () => {
    for (const [index, text] of unusual.entries()) {
      const resource: Resource = {
        app: 'taxi',
        kind: 'k',
        id: `r${index}`,
        parent: undefined,
        uniqueKey: text,
        body: { [text]: text, b: [1, text] },
        createdAt: T0,
        updatedAt: T0,
      };
      expect(await store.addResource(resource, undefined)).toBe('added');
      expect(await store.addResource({ ...resource, id: `${text} other` }, undefined)).toBe('exists');
      expect(await store.getResource('taxi', 'k', `r${index}`)).toEqual(resource);
      const change = {
        app: 'taxi',
        kind: 'k',
        id: `r${index}`,
        now: T0 + 1,
        body: { b: text, c: {} },
        uniqueKey: undefined,
      };
      const after = { ...resource, body: { [text]: text, b: text, c: {} }, updatedAt: T0 + 1 };
      expect(await store.updateResource(change)).toEqual({ kind: 'updated', resource: after });
      expect(await store.getResource('taxi', 'k', `r${index}`)).toEqual(after);
    }
  });

  it('is the name of an API key', async () => {
    const key = { id: 'key_1', app: 'taxi', name: 'a\0\ud800', hash: 'h', createdAt: T0, revokedAt: undefined };
    await store.addApiKey(key);
    expect(await store.listApiKeys()).toEqual([key]);
  });

  it('is no id of a user, and neither is a number that none can have', async () => {
    for (const id of ['', 'abc', '1.5', '-1', '99999999999999999999', 'a\0', "1' OR '1'='1"]) {
      expect(await store.getUser('taxi', id)).toBeUndefined();
      expect(await store.updateUser('taxi', id, { name: 'x', fullName: undefined })).toBeUndefined();
      expect(await store.revokeTokens('taxi', id)).toBe(false);
    }
  });

  it('is a resource without any field, changed to one without any', async () => {
    const resource: Resource = {
      app: 'taxi',
      kind: 'k',
      id: 'r',
      parent: undefined,
      uniqueKey: undefined,
      body: {},
      createdAt: T0,
      updatedAt: T0,
    };
    await store.addResource(resource, undefined);
    const change = { app: 'taxi', kind: 'k', id: 'r', now: T0, body: {}, uniqueKey: undefined };
    expect(await store.updateResource(change)).toEqual({ kind: 'updated', resource });
  });
});

/** What an operator may have set for the server, the database or the user. */
const settings = [
  ["bytea_output = 'escape'"],
  ["TimeZone = 'Asia/Tashkent'", "DateStyle = 'SQL, DMY'", "IntervalStyle = 'sql_standard'"],
  ['standard_conforming_strings = off', 'backslash_quote = on', 'escape_string_warning = on'],
  ['search_path = shadow, public, pg_catalog'],
  ['quote_all_identifiers = on', 'array_nulls = off', 'transform_null_equals = on', 'extra_float_digits = 0'],
  ["lc_messages = 'C'", 'client_min_messages = debug1', 'check_function_bodies = off', 'row_security = off'],
] as const;

/** Functions that anybody may have made, and that say something else than the server's own. */
const shadows = `
  CREATE SCHEMA shadow;
  CREATE FUNCTION shadow.jsonb_build_object(text, text) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"kind": "approved"}'::jsonb $$;
  CREATE FUNCTION shadow.greatest(bigint, bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT 0::bigint $$;
  CREATE FUNCTION shadow.hashtextextended(text, integer) RETURNS bigint LANGUAGE sql AS $$ SELECT 1/0::bigint $$;
  CREATE FUNCTION shadow.length(text) RETURNS integer LANGUAGE sql AS $$ SELECT 1/0 $$;
  CREATE FUNCTION shadow.to_jsonb(countersign.verification) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
  CREATE FUNCTION shadow.same(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
  CREATE OPERATOR shadow.= (LEFTARG = text, RIGHTARG = text, FUNCTION = shadow.same);
  CREATE FUNCTION shadow.always(bytea, bytea) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
  CREATE OPERATOR shadow.= (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = shadow.always);
  GRANT USAGE ON SCHEMA shadow TO public`;

describe.skipIf(!hasPostgres())('the settings of a database', () => {
  for (const lines of settings) {
    it(`change nothing: ${lines.join(', ')}`, async () => {
      const database = await makeDatabase();
      try {
        await set(database.url, lines);
        await liveAVerification(database.url);
      } finally {
        await database.close();
      }
    });
  }

  // Revivals and reports read bytes in the server's form, so the right code was a wrong one after Redis had been emptied.
  it.skipIf(inject('redisUrl') === null)('change nothing with Redis in front, which is emptied', async () => {
    const [database, redis] = [await makeDatabase(), await useRedis()];
    try {
      await set(database.url, settings.flat());
      await liveBehindRedis(database.url, redis.url);
    } finally {
      await redis.close();
      await database.close();
    }
  });

  it('are refused where transactions would not see what others did while they waited', async () => {
    const database = await makeDatabase();
    try {
      const name = new URL(database.url).pathname.slice(1);
      for (const level of ['repeatable read', 'serializable']) {
        await onDatabase(database.url, (client) =>
          client.query(`ALTER DATABASE ${name} SET default_transaction_isolation = '${level}'`),
        );
        const opening = openPostgresStore({ url: database.url, poolSize: 1, log: silent });
        await expect(opening).rejects.toThrow(`begins transactions as ${level}: ALTER ROLE`);
        await expect(opening).rejects.toMatchObject({ code: 'store-incompatible' } satisfies Partial<CountersignError>);
      }
    } finally {
      await database.close();
    }
  });
});

async function set(url: string, lines: readonly string[]): Promise<void> {
  // The tables are there before: the shadows are of their types.
  await (await openPostgresStore({ url, poolSize: 1, log: silent })).close();
  await onDatabase(url, async (client) => {
    await client.query(shadows);
    for (const line of lines) await client.query(`ALTER DATABASE ${new URL(url).pathname.slice(1)} SET ${line}`);
  });
}

async function liveBehindRedis(url: string, redisUrl: string): Promise<void> {
  const database = await openPostgresStore({ url, poolSize: 4, log: silent, liveIn: 'redis' });
  const store = await openRedisStore({ url: redisUrl, database, log: silent });
  const untilMoved = () =>
    until(() => onRedis(redisUrl, async (client) => (await client.xlen(historyOf('taxi'))) === 0), 'all is moved');
  try {
    const verification = await started(store, { sealedCode: Buffer.from([0, 39, 92, 120, 255]) });
    await checkById(store, verification, wrongDigest, T0);
    const [awaited, known, forgotten] = [
      await sentMessage(store, {}, { dueAt: T0 + SECOND }),
      await sentMessage(store),
      await sentMessage(store),
    ];
    await untilMoved();
    await onRedis(redisUrl, (client) => client.flushdb());
    expect(await store.claimDue(T0 + SECOND, T0 + 9 * SECOND, 9)).toMatchObject([{ message: { id: awaited.id } }]);
    const delivered = async ({ id }: { readonly id: string }) =>
      store.recordReport('acme', { providerMessageId: id, state: 'delivered' }, T0 + SECOND);
    expect(await delivered(known)).toMatchObject({ changed: true });
    const outcome = await checkById(store, verification, verification.digests.byId, T0);
    expect(outcome).toMatchObject({ kind: 'approved', verification: { attempts: 2 } });
    await untilMoved();
    await onRedis(redisUrl, (client) => client.del(`cs:{taxi}:m:${forgotten.id}`));
    expect(await delivered(forgotten)).toMatchObject({ changed: true });
    const [usage] = await store.readUsage({ app: 'taxi', from: '2025-11-20', to: '2025-11-20' });
    expect(usage?.counts).toMatchObject({ sent: 3, delivered: 2 });
    expect((await store.getMessage('taxi', forgotten.id))?.state).toBe('delivered');
    expect(await onRedis(redisUrl, (client) => client.exists(refusedOf('taxi')))).toBe(0);
  } finally {
    await store.close();
  }
}

async function liveAVerification(url: string): Promise<void> {
  const store = await openPostgresStore({ url, poolSize: 2, log: silent });
  try {
    const buckets = [perNumber(1, 1000)];
    // 23:30 UTC is the next day in Tashkent.
    const createdAt = T0 + 11.5 * 3_600_000;
    const given = { createdAt, sealedCode: Buffer.from([0, 39, 92, 120, 255]), metadata: { path: 'C:\\x\\' } };
    const verification = await started(store, given, { buckets });
    expect(await store.start(startStep(verificationOf({ createdAt }), { buckets }))).toMatchObject({ kind: 'limited' });
    expect(readable(await store.getVerification('taxi', verification.id))).toEqual(readable(verification));
    const { message } = await sentCode(store, { createdAt, number: phone(2) });
    expect((await checkById(store, verification, wrongDigest, createdAt)).kind).toBe('wrong');
    const approved = await checkById(store, verification, verification.digests.byId, createdAt);
    expect(approved.kind).toBe('approved');
    expect((await store.getMessage('taxi', message.id))?.dispatches).toHaveLength(1);
    const usage = await store.readUsage({ app: 'taxi', from: '2025-11-20', to: '2025-11-20' });
    expect(usage.map(({ counts }) => counts.sent)).toEqual([1]);
    const key = { id: 'k1', sealedPrivateKey: Buffer.from([0, 92, 255]), publicJwk: '{}', createdAt: T0 };
    await store.addSigningKey(key, true);
    expect((await store.listSigningKeys()).map((each) => Buffer.from(each.sealedPrivateKey).toString('hex'))).toEqual([
      '005cff',
    ]);
    await store.sweep(createdAt, createdAt - 30 * 86_400_000);
  } finally {
    await store.close();
  }
}
