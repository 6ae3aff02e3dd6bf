import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { CountersignError } from '../../src/domain/problem.ts';
import type { Store } from '../../src/domain/store.ts';
import { parseRedisUrl } from '../../src/stores/redis/connection.ts';
import { openRedisStore } from '../../src/stores/redis/redis-store.ts';
import { faultsOf, parseInfo } from '../../src/stores/redis/server-check.ts';
import { checkById, started, T0 } from '../../src/testing/store-steps.ts';
import { freePort } from '../servers/machine.ts';
import { onRedis, type RedisServer, startRedis, startReplica } from '../servers/redis.ts';
import { startRedisCluster } from '../servers/redis-cluster.ts';
import { authority, localhostCertificate, localhostKey, serverCertificate, serverKey } from './certificates.ts';
import { hasPostgres, postgresForFile, silent } from './postgres-database.ts';

const PASSWORD = 'p@ss:w/rd#1 %2F';

describe('the address of a Redis', () => {
  it('may have a password with special characters, percent-encoded, and is several of a Cluster', () => {
    const password = encodeURIComponent(PASSWORD);
    expect(parseRedisUrl(`redis://somebody:${password}@one:7000/3, redis://two`)).toEqual({
      addresses: [
        { host: 'one', port: 7000 },
        { host: 'two', port: 6379 },
      ],
      options: { db: 3, username: 'somebody', password: PASSWORD },
      place: 'one:7000, two:6379',
    });
    expect(parseRedisUrl('rediss://[::1]:6380').addresses).toEqual([{ host: '::1', port: 6380 }]);
    // The name that the certificate must have is each node's own.
    expect(parseRedisUrl('rediss://host').options.tls).toEqual({});
  });

  it.each([
    '',
    'one',
    'http://one',
    'redis://a:p#ss@host',
    'redis://one/abc',
    'redis://one,',
    'redis://:%zz@one',
    'redis://%zz:a@one',
  ])('is refused when it is none: %s', (url) => {
    expect(() => parseRedisUrl(url)).toThrow(/REDIS_URL is no URL/);
  });

  it.each([
    'redis://one,rediss://two',
    'redis://one,redis://:secret@two',
    'redis://a:secret@one,redis://b:secret@two',
    'redis://one/3,redis://two/4',
  ])('is refused when it says one thing of one node and another thing of another: %s', (url) => {
    expect(() => parseRedisUrl(url)).toThrow(/^REDIS_URL names several nodes(?!.*secret)/);
  });

  it('need not say of each node what it has said of the first', () => {
    const target = parseRedisUrl('redis://a:b@one/3,redis://two/,redis://a:b@three/3');
    expect(target).toMatchObject({
      options: { username: 'a', password: 'b', db: 3 },
      place: 'one:6379, two:6379, three:6379',
    });
  });
});

describe('a server that will not do', () => {
  const info = (given: string) => faultsOf(parseInfo(`redis_version:7.2.4\r\nrole:master\r\n${given}`), 'host:1');

  it('is an old one', () => {
    expect(info('redis_version:6.2.14')[0]?.message).toMatch(/is version 6\.2\.14: Redis 7\.0 or Valkey 7\.2/);
    expect(info('')).toEqual([]);
  });

  it('throws data away when its memory is full', () => {
    expect(info('maxmemory:1000\r\nmaxmemory_policy:allkeys-lru')[0]?.message).toMatch(/maxmemory-policy noeviction/);
    expect(info('maxmemory:1000\r\nmaxmemory_policy:noeviction')).toEqual([]);
    expect(info('maxmemory:0\r\nmaxmemory_policy:allkeys-lru')).toEqual([]);
  });
});

describe.skipIf(!hasPostgres() || inject('redisUrl') === null)('opening Redis in front of PostgreSQL', () => {
  let postgres: Awaited<ReturnType<typeof postgresForFile>>;
  let server: RedisServer;
  const opened: Store[] = [];

  beforeAll(async () => {
    postgres = await postgresForFile();
    server = await startRedis();
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((store) => store.close()));
    await postgres.closeStores();
  });
  afterAll(async () => {
    await server.close();
    await postgres.close();
  });

  async function open(url: string): Promise<Store> {
    const store = await openRedisStore({ url, database: await postgres.open(2), log: silent });
    opened.push(store);
    return store;
  }

  /** A server that speaks TLS on a second port. */
  async function withTls(certificate: string, key: string) {
    const directory = mkdtempSync(join(tmpdir(), 'countersign-tls-'));
    const port = await freePort();
    const [certificateFile, keyFile] = [join(directory, 'server.crt'), join(directory, 'server.key')];
    writeFileSync(certificateFile, certificate);
    writeFileSync(keyFile, key);
    const files = [
      '--tls-cert-file',
      certificateFile,
      '--tls-key-file',
      keyFile,
      '--tls-ca-cert-file',
      certificateFile,
    ];
    return {
      port,
      args: ['--tls-port', String(port), '--tls-auth-clients', 'no', ...files],
      remove: () => rmSync(directory, { recursive: true }),
    };
  }

  async function faultOf(url: string): Promise<CountersignError> {
    const begun = performance.now();
    const error = await open(url).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(performance.now() - begun).toBeLessThan(3000);
    expect(error).toBeInstanceOf(CountersignError);
    const fault = error as CountersignError;
    // Neither in the sentence nor in what hangs from it.
    expect(JSON.stringify([fault.message, String(fault.stack), fault.cause])).not.toContain('secret');
    return fault;
  }

  function withUser(url: string, user: string, password: string): string {
    const made = new URL(url);
    made.username = user;
    made.password = encodeURIComponent(password);
    return made.href;
  }

  it('says that nobody is there', async () => {
    const fault = await faultOf(`redis://:secret@127.0.0.1:${await freePort()}`);
    expect(fault).toMatchObject({ code: 'store-unavailable', message: expect.stringMatching(/is it running/) });
  });

  it('says that the password is wrong, and takes one with special characters', async () => {
    await onRedis(server.url, (client) =>
      client.call('ACL', 'SETUSER', 'app', 'on', `>${PASSWORD}`, '~*', '&*', '+@all'),
    );
    const fault = await faultOf(withUser(server.url, 'app', 'secret'));
    expect(fault).toMatchObject({ code: 'store-unavailable', message: expect.stringMatching(/password is refused/) });
    const store = await open(withUser(server.url, 'app', PASSWORD));
    await started(store);
  });

  it('is content with a user of few rights', async () => {
    const rights = ['~cs:*', '+@all', '-@admin', '-@dangerous', '+info'];
    await onRedis(server.url, (client) => client.call('ACL', 'SETUSER', 'modest', 'on', '>secret', ...rights));
    const store = await open(withUser(server.url, 'modest', 'secret'));
    const verification = await started(store);
    await store.probe(T0);
    expect(await store.listMessages('taxi', { limit: 1 })).toHaveLength(1);
    expect(await checkById(store, verification, verification.digests.byId, T0)).toMatchObject({ kind: 'approved' });
    await store.eraseHistory({ app: 'taxi', number: verification.number, answer: '', resumeAt: undefined });
    await store.sweep(T0, T0);
  });

  it('says that a password is missing', async () => {
    const guarded = withUser(server.url, '', 'secret');
    await onRedis(server.url, (client) => client.config('SET', 'requirepass', 'secret'));
    try {
      expect((await faultOf(server.url)).message).toMatch(/password is refused/);
      await started(await open(guarded));
    } finally {
      await onRedis(guarded, (client) => client.config('SET', 'requirepass', ''));
    }
  });

  it('says that scripts are not allowed', async () => {
    await onRedis(server.url, (client) =>
      client.call('ACL', 'SETUSER', 'silent', 'on', '>secret', '~*', '&*', '+@all', '-@scripting'),
    );
    const fault = await faultOf(withUser(server.url, 'silent', 'secret'));
    expect(fault).toMatchObject({ code: 'store-incompatible', message: expect.stringMatching(/runs no scripts/) });
  });

  it('says that it is a replica', async () => {
    const replica = await startReplica(server);
    try {
      const fault = await faultOf(replica.url);
      expect(fault).toMatchObject({
        code: 'store-incompatible',
        message: expect.stringMatching(/must name the primary/),
      });
    } finally {
      await replica.close();
    }
  });

  it('says that it throws data away, also when that begins later', async () => {
    const store = await open(server.url);
    const set = (...given: [string, string][]) =>
      onRedis(server.url, async (client) => {
        for (const [name, value] of given) await client.config('SET', name, value);
      });
    try {
      await set(['maxmemory', '100mb'], ['maxmemory-policy', 'allkeys-lru']);
      const fault = await faultOf(server.url);
      expect(fault).toMatchObject({ code: 'store-incompatible', message: expect.stringMatching(/noeviction/) });
      await expect(store.probe(T0)).rejects.toMatchObject({
        code: 'store-unavailable',
        message: expect.stringMatching(/noeviction/),
      });
    } finally {
      await set(['maxmemory', '0'], ['maxmemory-policy', 'noeviction']);
    }
    await store.probe(T0);
  });

  it('says it when its memory is full, and goes on when there is room', async () => {
    const store = await open(server.url);
    await started(store);
    const set = (value: string) => onRedis(server.url, (client) => client.config('SET', 'maxmemory', value));
    try {
      await set('1mb');
      await expect(started(store)).rejects.toMatchObject({ code: 'store-unavailable' });
    } finally {
      await set('0');
    }
    await started(store);
  });

  it('says that there is no database of that number', async () => {
    const refused = { message: expect.stringMatching(/no database of the number behind the host/) };
    expect(await faultOf(`${server.url}/99`)).toMatchObject(refused);
    const cluster = await startRedisCluster({ nodes: 1 });
    try {
      expect(await faultOf(`${cluster.urls[0]}/3`)).toMatchObject(refused);
    } finally {
      await cluster.close();
    }
  });

  describe('with TLS', () => {
    let trusted: string[];
    beforeAll(() => {
      trusted = getCACertificates('default');
      setDefaultCACertificates([...trusted, authority, localhostCertificate]);
    });
    afterAll(() => setDefaultCACertificates(trusted));

    it('goes to an address, and to no other name than the certificate has', async () => {
      const tls = await withTls(serverCertificate, serverKey);
      const secure = await startRedis({ args: tls.args });
      try {
        await started(await open(`rediss://127.0.0.1:${tls.port}`));
        expect((await faultOf(`rediss://localhost:${tls.port}`)).message).toMatch(/does not match certificate/);
      } finally {
        await secure.close();
        tls.remove();
      }
    });

    it('goes to the nodes of a Cluster by the names that they give', async () => {
      const tls = await withTls(localhostCertificate, localhostKey);
      const names = ['--cluster-announce-hostname', 'localhost', '--cluster-preferred-endpoint-type', 'hostname'];
      const args = [...tls.args, '--tls-cluster', 'yes', ...names];
      const cluster = await startRedisCluster({ nodes: 1, args });
      try {
        await started(await open(`rediss://localhost:${tls.port}`));
      } finally {
        await cluster.close();
        tls.remove();
      }
    });
  });
});
