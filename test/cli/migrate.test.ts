import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { firstIdAt } from '../../src/domain/id.ts';
import { T0 } from '../../src/testing/store-steps.ts';
import { makeDatabase, type TestDatabase } from '../servers/index.ts';
import { onDatabase } from '../servers/postgres.ts';
import { hasPostgres } from '../stores/postgres-database.ts';
import { collect, eventually, type Installation, makeInstallation, otherCode, SECRET } from './cli.ts';

const migrations = join(import.meta.dirname, '../../src/stores/sqlite/migrations');

// biome-ignore lint/suspicious/noExplicitAny: what a test looks into is what it then says about it
type Json = any;

describe.skipIf(!hasPostgres())('migrate, with what a server has left', () => {
  let installation: Installation;
  let database: TestDatabase;
  let shared: Record<string, string>;
  beforeAll(async () => {
    [installation, database] = [await makeInstallation(), await makeDatabase()];
  });
  afterAll(async () => {
    await installation[Symbol.asyncDispose]();
    await database.close();
  });

  const from = () => `sqlite:${installation.environment['DATA_DIR']}`;
  async function post(url: string, path: string, fields: object, headers: Record<string, string> = {}) {
    const response = await fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(fields),
    });
    return { status: response.status, body: (await response.json()) as Json };
  }

  it('is refused while the server runs, and approves after its crash what was started before', async () => {
    const { body: key } = await installation.json(['keys', 'create']);
    const { body: lost } = await installation.json(['keys', 'create', '--name', 'lost']);
    await installation.run(['keys', 'revoke', lost.id]);
    const before = await installation.serve();
    const request = { to: '+998901234501' };
    const headers = { 'idempotency-key': 'before-the-move' };
    const { body: started } = await post(before.url, '/v1/verifications', request, headers);
    const wrong = { code: otherCode(started.code) };
    const check = `/v1/verifications/${started.id}/check`;
    expect((await post(before.url, check, wrong)).body).toMatchObject({ code: 'code-wrong', attempts_left: 4 });
    const { body: approved } = await post(before.url, '/v1/verifications', { to: '+998901234502' });
    const ofApproved = `/v1/verifications/${approved.id}/check`;
    expect((await post(before.url, ofApproved, { code: approved.code })).status).toBe(200);
    const jwks = await (await fetch(`${before.url}/.well-known/jwks.json`)).json();

    const refused = await installation.json(['migrate', '--from', from(), '--to', database.url]);
    expect(refused).toMatchObject({ code: 1, body: { code: 'store-unavailable' } });
    expect(refused.body.detail).toMatch(/countersign\.db is in use\. Stop the server on it first/);
    expect((await post(before.url, check, wrong)).body).toMatchObject({ attempts_left: 3 });
    // A crash leaves the log beside the file, with what was acknowledged last.
    await before.stop('SIGKILL');
    expect(existsSync(join(installation.environment['DATA_DIR'] ?? '', 'countersign.db-wal'))).toBe(true);

    // Made by the server itself, as in development; nodes have to be given it.
    const secret = readFileSync(join(installation.environment['DATA_DIR'] ?? '', 'secret'), 'utf8').trim();
    shared = { DATABASE_URL: database.url, COUNTERSIGN_SECRET: secret };
    const moved = await installation.json(['migrate', '--from', from()], shared);
    expect(moved).toMatchObject({ code: 0 });
    expect(moved.stderr).toContain(`copying ${installation.environment['DATA_DIR']}/countersign.db to 127.0.0.1:`);
    const tables = moved.body.tables as { table: string; source_rows: number; target_rows: number }[];
    expect(tables.find(({ table }) => table === 'verification')).toMatchObject({ source_rows: 2, target_rows: 2 });
    expect(tables.filter((each) => each.source_rows !== each.target_rows)).toEqual([]);

    const after = await installation.serve(shared);
    expect((await post(after.url, '/v1/verifications', request, headers)).body).toEqual(started);
    expect((await post(after.url, check, wrong)).body).toMatchObject({ code: 'code-wrong', attempts_left: 2 });
    const { status, body } = await post(after.url, check, { code: started.code });
    expect({ status, body }).toMatchObject({ status: 200, body: { status: 'approved', attempts_left: 1 } });
    expect((await post(after.url, check, { code: started.code })).body).toMatchObject({ code: 'verification-settled' });
    expect((await post(after.url, ofApproved, { code: approved.code })).status).not.toBe(200);
    expect(await (await fetch(`${after.url}/.well-known/jwks.json`)).json()).toEqual(jwks);
    const { body: keys } = await installation.json(['keys', 'list'], shared);
    expect(keys.keys).toMatchObject([{ id: key.id }, { id: lost.id, revoked_at: expect.any(String) }]);
    await after.stop();
  }, 60_000);

  it('is not made again into what it has filled, and says so without a word of the password', async () => {
    const url = new URL(database.url);
    url.password = 'hunter2';
    const again = await installation.run(['migrate', '--from', from()], { ...shared, DATABASE_URL: url.href });
    expect(again).toMatchObject({ code: 1, stdout: '' });
    expect(again.stderr).toMatch(/holds a copy of .*countersign\.db already: an earlier run came to its end/);
    expect(again.stderr).not.toContain('hunter2');
  });
});

describe.skipIf(!hasPostgres())('migrate', () => {
  let installation: Installation;
  let database: TestDatabase;
  let file: string;
  beforeEach(async () => {
    [installation, database] = [await makeInstallation({ COUNTERSIGN_SECRET: SECRET }), await makeDatabase()];
    const directory = installation.environment['DATA_DIR'] ?? '';
    mkdirSync(directory);
    file = join(directory, 'countersign.db');
  });
  afterEach(async () => {
    await installation[Symbol.asyncDispose]();
    await database.close();
  });

  const run = (args: readonly string[] = [], more: Record<string, string> = {}) =>
    installation.run(['migrate', '--from', `sqlite:${file}`, ...args], { DATABASE_URL: database.url, ...more });
  const rowsOf = (table: string) =>
    onDatabase(database.url, async (client) => {
      const { rows } = await client.query(`SELECT count(*)::integer AS count FROM countersign.${table}`);
      return rows[0].count as number;
    });

  /** A file as a server leaves it that has made its first key. */
  async function makeSource(): Promise<void> {
    await installation.run(['keys', 'create']);
  }

  it('leaves nothing when it is killed in the middle, and then is run again', async () => {
    await makeSource();
    const messages = 60_000;
    const sqlite = new DatabaseSync(file);
    sqlite.exec(
      `WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ${messages})
       INSERT INTO message (id, app, number, channel, locale, encoding, segments, code_number, state, created_at, valid_until,
                            dispatches)
       SELECT '${firstIdAt('msg', T0).slice(0, 14)}' || printf('%016d', n), 'default', '+998901234567', 'sms', 'uz', 'GSM-7', 1,
              0, 'delivered', ${T0}, ${T0}, '' FROM numbers`,
    );
    sqlite.close();
    const child = installation.start(['migrate', '--from', `sqlite:${file}`], { DATABASE_URL: database.url });
    const stderr = collect(child.stderr);
    const ended = once(child, 'close');
    await eventually(() => (stderr().includes('message: 0 of 60 000') ? true : undefined));
    // By then there are rows that nobody has committed.
    await eventually(() =>
      onDatabase(database.url, async (client) => {
        // Not from the table itself, which nobody else may look at meanwhile.
        const { rows } = await client.query(
          `SELECT count(*) > 0 AS is_begun FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'INSERT INTO countersign.message %'`,
        );
        return rows[0].is_begun === true ? true : undefined;
      }),
    );
    child.kill('SIGKILL');
    await ended;
    expect(child.signalCode).toBe('SIGKILL');
    expect([await rowsOf('message'), await rowsOf('api_key')]).toEqual([0, 0]);

    const again = await run();
    expect(again).toMatchObject({ code: 0 });
    expect(again.stdout).toMatch(/^message +60 000 +60 000$/m);
    expect([await rowsOf('message'), await rowsOf('api_key')]).toEqual([messages, 1]);
  }, 60_000);

  it('copies a file of an older schema, and leaves that as it was', async () => {
    await makeSource();
    const sqlite = new DatabaseSync(file);
    sqlite.exec('DROP TABLE breaker; DROP TABLE lease; DROP TABLE shadow; PRAGMA user_version = 5');
    sqlite.close();
    expect(readdirSync(migrations).filter((name) => /^000[67]/.test(name))).toEqual([
      '0006-shadow.sql',
      '0007-nodes.sql',
    ]);
    expect(await run()).toMatchObject({ code: 0 });
    expect(await rowsOf('api_key')).toBe(1);
    const after = new DatabaseSync(file, { readOnly: true });
    expect(after.prepare('PRAGMA user_version').get()).toEqual({ user_version: 5 });
    expect(after.prepare("SELECT count(*) AS count FROM sqlite_schema WHERE name = 'shadow'").get()).toEqual({
      count: 0,
    });
    after.close();
  });

  it('refuses a file that is missing, another program’s, damaged, or of a newer version', async () => {
    const expectRefusal = async (words: RegExp) => {
      const { code, stderr } = await run();
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(words) });
    };
    await expectRefusal(/^countersign: There is no file .*countersign\.db\. --from names the data directory/);
    expect(existsSync(file)).toBe(false);
    writeFileSync(file, 'What I did on my holidays\n'.repeat(100));
    await expectRefusal(/countersign\.db is no database of Countersign\.$/m);
    rmSync(file);
    const other = new DatabaseSync(file);
    other.exec('CREATE TABLE holidays (day TEXT); PRAGMA user_version = 3');
    other.close();
    await expectRefusal(/countersign\.db is no database of Countersign\.$/m);
    rmSync(file);

    await makeSource();
    const copy = `${file}.copy`;
    cpSync(file, copy);
    const sqlite = new DatabaseSync(file);
    sqlite.exec('PRAGMA user_version = 99');
    sqlite.close();
    await expectRefusal(
      /has schema version 99, and this version of Countersign knows \d+\. Copy it with the newer version/,
    );
    cpSync(copy, file);
    truncateSync(file, 3 * 4096);
    await expectRefusal(/countersign\.db is damaged \(.*\)\. Restore it from a backup/);
  }, 60_000);

  it('refuses another secret than the old server had, before anything is copied', async () => {
    await makeSource();
    const other = await run([], { COUNTERSIGN_SECRET: SECRET.split('').reverse().join('') });
    expect(other).toMatchObject({ code: 1, stdout: '' });
    expect(other.stderr).toMatch(
      /The signing key in .* was sealed with another secret than COUNTERSIGN_SECRET\. Set COUNTERSIGN_SECRET to what the old server has/,
    );
    const none = await installation.run(['migrate', '--from', `sqlite:${file}`, '--to', database.url], {
      COUNTERSIGN_SECRET: '',
    });
    expect(none).toMatchObject({ code: 1, stderr: expect.stringContaining('COUNTERSIGN_SECRET is not set. Set') });
  });

  it('says where the secret is that the old server made itself', async () => {
    await installation.run(['keys', 'create'], { COUNTERSIGN_SECRET: '' });
    const kept = join(installation.environment['DATA_DIR'] ?? '', 'secret');
    const { code, stderr } = await run();
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining(`made its own, in ${kept}: set`) });
    const secret = readFileSync(kept, 'utf8').trim();
    expect(stderr).not.toContain(secret);
    expect(await run([], { COUNTERSIGN_SECRET: secret })).toMatchObject({ code: 0 });
  });

  it('refuses a database that is a node’s already, or of a newer version', async () => {
    await makeSource();
    await installation.run(['keys', 'create'], { DATABASE_URL: database.url, COUNTERSIGN_SECRET: `${SECRET}!` });
    const filled = await run();
    expect(filled).toMatchObject({ code: 1, stdout: '' });
    expect(filled.stderr).toContain('has data already (signing_key, api_key), and nothing was changed.');
    await onDatabase(database.url, (client) =>
      client.query('UPDATE countersign.migration SET version = 99, needs = 99'),
    );
    const newer = await run();
    expect(newer).toMatchObject({ code: 1, stderr: expect.stringContaining('has schema version 99') });
  });

  it('exits with 1 for a server that is not there, and with 2 for what is no source or no target', async () => {
    await makeSource();
    const away = await run(['--to', 'postgres://someone:hunter2@127.0.0.1:1/countersign']);
    expect(away).toMatchObject({ code: 1, stdout: '' });
    expect(away.stderr).toContain('PostgreSQL at 127.0.0.1:1/countersign cannot be used just now');
    const wrong: (readonly [args: readonly string[], words: string])[] = [
      [['--from', 'sqlite:'], '--from has to look like sqlite:data'],
      [['--from', 'postgres://127.0.0.1/countersign'], '--from has to look like sqlite:data'],
      [['--to', 'mysql://someone:hunter2@127.0.0.1/countersign'], '--to begins with mysql://'],
      [['--to', 'postgres://someone:hunter2%@127.0.0.1/countersign'], '--to cannot be read as an address'],
      [['--to', 'postgres://someone:hunter2@127.0.0.1'], '--to names no database'],
      [['everything'], "'everything' is one argument too many"],
    ];
    for (const [args, words] of wrong) {
      const refused = await run(args);
      expect(refused).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(words) });
      expect(refused.stderr).not.toContain('hunter2');
    }
    const nowhere = await run([], { DATABASE_URL: '' });
    expect(nowhere).toMatchObject({ code: 2, stderr: expect.stringContaining('set DATABASE_URL') });
    expect(await installation.run(['migrate'])).toMatchObject({ code: 2 });
  }, 60_000);
});
