import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Cluster } from 'ioredis';
import { afterEach, describe, expect, inject, it, vi } from 'vitest';
import { makeDatabase, useRedis, useRedisCluster } from './index.ts';
import { findPgbouncer, startPgbouncer } from './pgbouncer.ts';
import { addPasswordRole, forgetful, onDatabase, startPostgres } from './postgres.ts';
import { findPostgres } from './postgres-programs.ts';
import { canReplicate, startPostgresReplica, waitForReplicaOnCommit } from './postgres-replica.ts';
import { onRedis, startRedis, startReplica } from './redis.ts';
import { startRedisCluster } from './redis-cluster.ts';
import { findRedis, findValkey } from './redis-programs.ts';
import { giveTurns, takeTurn } from './turns.ts';

const [hasPostgres, hasRedis] = [findPostgres() !== null, findRedis() !== null];
const hasPgbouncer = hasPostgres && findPgbouncer() !== null;

type Closable = { close(): Promise<void> };
const opened: Closable[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each.close();
});

async function opening<Opened extends Closable>(open: Promise<Opened>): Promise<Opened> {
  const made = await open;
  opened.push(made);
  return made;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function countOf(url: string): Promise<number> {
  return onDatabase(url, async (client) => Number((await client.query('SELECT count(*) FROM kept')).rows[0].count));
}

describe.skipIf(!hasPostgres)('a PostgreSQL of one test', () => {
  it('has its data again after it was stopped, cut off and killed', async () => {
    const server = await opening(startPostgres());
    await onDatabase(server.url, (client) => client.query('CREATE TABLE kept AS SELECT 1 AS row'));
    for (const end of [() => server.stop(), () => server.stop('immediate'), () => server.kill()]) {
      await end();
      await expect(countOf(server.url)).rejects.toThrow('ECONNREFUSED');
      await server.start();
      expect(await countOf(server.url)).toBe(1);
    }
  });

  it('takes settings at each start', async () => {
    const server = await opening(startPostgres({ settings: { ...forgetful, max_connections: 7 } }));
    const ask = (setting: string) =>
      onDatabase(server.url, async (client) => (await client.query(`SHOW ${setting}`)).rows[0][setting]);
    expect([await ask('max_connections'), await ask('fsync')]).toEqual(['7', 'off']);
    await server.stop();
    await server.start({ default_transaction_read_only: 'on' });
    expect(await ask('default_transaction_read_only')).toBe('on');
  });

  it('asks a role with a password for it', async () => {
    const server = await opening(startPostgres({ settings: forgetful }));
    const url = await addPasswordRole(server.url, 'a role', 'p@ss:/?#%w');
    expect(await onDatabase(url, async (client) => (await client.query('SELECT current_user')).rows)).toEqual([
      { current_user: 'a role' },
    ]);
    const wrong = new URL(url);
    wrong.password = 'wrong';
    await expect(countOf(wrong.href)).rejects.toThrow('password authentication failed');
  });

  // The programs of the npm package have nothing to copy a server with.
  it.skipIf(!hasPostgres || !canReplicate())('has a replica that refuses writes until it takes its place', async () => {
    const primary = await opening(startPostgres({ settings: forgetful }));
    await onDatabase(primary.url, (client) => client.query('CREATE TABLE kept AS SELECT 1 AS row'));
    const replica = await opening(startPostgresReplica(primary, forgetful));
    const write = () => onDatabase(replica.url, (client) => client.query('INSERT INTO kept VALUES (2)'));
    expect(await countOf(replica.url)).toBe(1);
    await expect(write()).rejects.toThrow('read-only');
    await primary.kill();
    await replica.promote();
    await write();
    expect(await countOf(replica.url)).toBe(2);
  });

  it.skipIf(!hasPostgres || !canReplicate())(
    'has a replica that has each commit before anybody is told of it',
    async () => {
      const primary = await opening(startPostgres());
      const replica = await opening(startPostgresReplica(primary));
      await onDatabase(primary.url, (client) => client.query('CREATE TABLE kept AS SELECT 1 AS row'));
      await vi.waitFor(async () => expect(await countOf(replica.url)).toBe(1));
      const receiver = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'";
      const receivers = await onDatabase(replica.url, (client) => client.query<{ pid: number }>(receiver));
      const pid = receivers.rows[0]?.pid ?? expect.fail('nobody receives');
      process.kill(pid, 'SIGSTOP');
      await onDatabase(primary.url, (client) => client.query('INSERT INTO kept VALUES (2)'));
      let isInStep = false;
      const waiting = waitForReplicaOnCommit(primary).then(() => (isInStep = true));
      await delay(300);
      const wasInStep = isInStep;
      process.kill(pid, 'SIGCONT');
      expect(wasInStep).toBe(false);
      await waiting;
      await primary.kill();
      await replica.promote();
      expect(await countOf(replica.url)).toBe(2);
    },
  );

  it('leaves no process and no directory behind', async () => {
    const server = await startPostgres({ settings: forgetful });
    const { pid, directory } = server;
    expect([isRunning(pid), existsSync(directory)]).toEqual([true, true]);
    await server.close();
    expect([isRunning(pid), existsSync(directory)]).toEqual([false, false]);
  });
});

describe.skipIf(!hasPgbouncer)('a PgBouncer', () => {
  it('gives one connection to many callers, and comes back after a stop', async () => {
    const server = await opening(startPostgres({ settings: forgetful }));
    const bouncer = await opening(startPgbouncer(server.url, { default_pool_size: 1 }));
    const url = bouncer.url(server.url);
    const backend = () =>
      onDatabase(url, async (client) => (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid);
    expect(new Set(await Promise.all([backend(), backend(), backend()])).size).toBe(1);
    await bouncer.stop();
    await expect(backend()).rejects.toThrow('ECONNREFUSED');
    await bouncer.start();
    expect(await backend()).toBeGreaterThan(0);
  });
});

describe.skipIf(!hasRedis)('a Redis of one test', () => {
  const kept = (url: string) => onRedis(url, (client) => client.get('kept'));

  it('has its data again after it was stopped and killed', async () => {
    const server = await opening(startRedis());
    await onRedis(server.url, (client) => client.set('kept', 'yes'));
    for (const end of [() => server.stop(), () => server.kill()]) {
      await end();
      await expect(kept(server.url)).rejects.toThrow();
      await server.start();
      expect(await kept(server.url)).toBe('yes');
    }
  });

  it('has a replica that takes its place', async () => {
    const primary = await opening(startRedis());
    await onRedis(primary.url, (client) => client.set('kept', 'yes'));
    const replica = await opening(startReplica(primary));
    await expect(onRedis(replica.url, (client) => client.set('kept', 'no'))).rejects.toThrow('READONLY');
    await primary.kill();
    await replica.promote();
    expect(await kept(replica.url)).toBe('yes');
    await onRedis(replica.url, (client) => client.set('kept', 'longer'));
    expect(await kept(replica.url)).toBe('longer');
  });

  it('leaves no process and no directory behind', async () => {
    const server = await startRedis();
    const { pid, directory } = server;
    expect([isRunning(pid), existsSync(directory)]).toEqual([true, true]);
    await server.close();
    expect([isRunning(pid), existsSync(directory)]).toEqual([false, false]);
  });

  it('runs as a cluster of three, each with a part of the keys', async () => {
    const { urls, nodes } = await opening(startRedisCluster());
    const client = new Cluster([...urls]);
    try {
      const keys = Array.from({ length: 100 }, (_, index) => `key:${index}`);
      await Promise.all(keys.map((key) => client.set(key, key)));
      expect(await Promise.all(keys.map((key) => client.get(key)))).toEqual(keys);
    } finally {
      client.disconnect();
    }
    const sizes = await Promise.all(nodes.map(({ url }) => onRedis(url, (node) => node.dbsize())));
    expect(Math.min(...sizes)).toBeGreaterThan(0);
    expect(sizes.reduce((sum, size) => sum + size)).toBe(100);
  });
});

const valkey = findValkey();
describe.skipIf(valkey === null)('a Valkey', () => {
  it('starts and answers', async () => {
    const server = await opening(startRedis(valkey === null ? {} : { program: valkey }));
    expect(server.version).toContain('Valkey');
    expect(await onRedis(server.url, (client) => client.ping())).toBe('PONG');
  });
});

describe('the servers that test files share', () => {
  it.skipIf(inject('postgresUrl') === null)('give each caller a database of its own', async () => {
    const databases = await Promise.all(Array.from({ length: 4 }, () => opening(makeDatabase())));
    for (const { url } of databases) {
      await onDatabase(url, (client) => client.query('CREATE TABLE kept AS SELECT 1 AS row'));
      expect(await countOf(url)).toBe(1);
    }
  });

  it.skipIf(inject('postgresUrl') === null)('remove a database that somebody is connected to', async () => {
    const { url, close } = await makeDatabase();
    await onDatabase(url, async () => {
      await close();
      await expect(countOf(url)).rejects.toThrow('does not exist');
    });
  });

  it.skipIf(inject('redisUrl') === null)('give a file a Redis that is empty', async () => {
    const { url } = await opening(useRedis());
    await onRedis(url, (client) => client.set('left', 'behind'));
    const again = await useRedis();
    expect(again.url).toBe(url);
    expect(await onRedis(again.url, (client) => client.dbsize())).toBe(0);
  });

  it.skipIf(inject('redisClusterUrls') === null)('give the cluster to one file at a time', async () => {
    const cluster = await useRedisCluster();
    let hasBoth = false;
    const other = useRedisCluster().then((given) => {
      hasBoth = true;
      return given;
    });
    await cluster.empty();
    expect(hasBoth).toBe(false);
    await cluster.close();
    await (await other).close();
  });

  it('give turns in the order of asking, also when somebody who waits is gone', async () => {
    const turns = await opening(giveTurns());
    const order: string[] = [];
    const take = async (name: string) => {
      const end = await takeTurn(turns.port);
      order.push(name);
      return end;
    };
    const first = await take('first');
    const second = take('second');
    const third = take('third');
    first();
    (await second)();
    (await third)();
    expect(order).toEqual(['first', 'second', 'third']);
  });
});

describe.skipIf(!hasPostgres || !hasRedis || process.platform === 'win32')('a process that has servers', () => {
  it('takes them along when it is killed', async () => {
    const child = spawn(process.execPath, [fileURLToPath(new URL('./server-child.ts', import.meta.url))], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout });
    const [line] = await once(lines, 'line');
    const servers = JSON.parse(line) as { pid: number; directory: string }[];
    expect(servers.map(({ pid, directory }) => isRunning(pid) && existsSync(directory))).toEqual([true, true]);
    child.kill('SIGKILL');
    const isGone = () => servers.every(({ pid, directory }) => !isRunning(pid) && !existsSync(directory));
    // There is nobody left to say when it is done.
    for (let tries = 0; tries < 150 && !isGone(); tries += 1) await delay(100);
    expect(isGone()).toBe(true);
  });
});
