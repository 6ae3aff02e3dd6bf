import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPostgresStore } from '../../src/stores/postgres/postgres-store.ts';
import { started, T0 } from '../../src/testing/store-steps.ts';
import { freePort } from '../servers/machine.ts';
import { addPasswordRole, forgetful, onDatabase, type PostgresServer, startPostgres } from '../servers/postgres.ts';
import { findPostgres } from '../servers/postgres-programs.ts';
import { canReplicate, startPostgresReplica } from '../servers/postgres-replica.ts';
import { authority, serverCertificate, serverKey } from './certificates.ts';
import { silent } from './postgres-database.ts';

async function opensAndWrites(url: string): Promise<void> {
  const store = await openPostgresStore({ url, poolSize: 2, log: silent });
  try {
    await started(store);
  } finally {
    await store.close();
  }
}

/** @returns what it is refused with */
async function refusal(url: string) {
  const before = performance.now();
  const error = (await opensAndWrites(url).catch((thrown: unknown) => thrown)) as
    | { code?: unknown; message: string }
    | undefined;
  return { code: error?.code, text: error?.message ?? '', tookMs: performance.now() - before };
}

describe.skipIf(findPostgres() === null)('DATABASE_URL', () => {
  // Of its own: the driver leaves a connection open whose password is missing, and the server waits for it for a minute.
  let server: PostgresServer;
  /** every character of ASCII that is no letter or digit, and some beyond */
  const ascii = String.fromCharCode(...Array.from({ length: 95 }, (_, i) => i + 32));
  const password = `${ascii.replaceAll(/[A-Za-z0-9]/g, '')} ü€😀%41`;
  const role = `role '"@:/`;
  let url: string;
  beforeAll(async () => {
    server = await startPostgres({ settings: forgetful });
    url = await addPasswordRole(server.url, role, password);
    await onDatabase(server.url, (client) =>
      client.query(`GRANT CREATE ON DATABASE postgres TO ${client.escapeIdentifier(role)}`),
    );
  });
  afterAll(() => server.close());
  const changed = (change: (given: URL) => void) => {
    const given = new URL(url);
    change(given);
    return given.href;
  };

  it('takes a user and a password of every special character, percent-encoded', async () => {
    await opensAndWrites(url);
  });

  it('with a wrong password is refused, and the password is not repeated', async () => {
    const { code, text, tookMs } = await refusal(changed((given) => (given.password = 'wr0ng-passw0rd')));
    expect(code).toBe('store-unavailable');
    expect(text).toMatch(/password authentication failed.*user or password is refused; special characters/);
    expect(text).not.toContain('wr0ng');
    expect(tookMs).toBeLessThan(2000);
  });

  it('without the password that the server asks for is refused', async () => {
    const { code, text } = await refusal(changed((given) => (given.password = '')));
    expect(code).toBe('store-unavailable');
    expect(text).toMatch(/asks for a password, and there is none in DATABASE_URL/);
  });

  it('that names no database of the server is refused', async () => {
    const { code, text } = await refusal(changed((given) => (given.pathname = '/nowhere')));
    expect(code).toBe('store-unavailable');
    expect(text).toMatch(/\/nowhere cannot be used.*there is no database of that name; make it with createdb/);
  });

  it('of a port where nobody listens is refused', async () => {
    const port = await freePort();
    const { code, text, tookMs } = await refusal(changed((given) => (given.port = String(port))));
    expect(code).toBe('store-unavailable');
    expect(text).toMatch(/ECONNREFUSED.*is it running, and reachable from here\?$/);
    expect(tookMs).toBeLessThan(2000);
  });

  it('of a host that there is not is refused', async () => {
    const { code, text } = await refusal(changed((given) => (given.hostname = 'nowhere.invalid')));
    expect(code).toBe('store-unavailable');
    expect(text).toMatch(/nowhere\.invalid:\d+.*(ENOTFOUND|EAI_AGAIN).*reachable from here\?$/);
  });

  it('of a server that says nothing is refused in time', async () => {
    const mute = createServer(() => {});
    const port = await freePort();
    mute.listen(port, '127.0.0.1');
    try {
      const { code, tookMs } = await refusal(changed((given) => (given.port = String(port))));
      expect(code).toBe('store-unavailable');
      expect(tookMs).toBeLessThan(2000);
    } finally {
      mute.close();
    }
  });

  it('of a server that is something else is refused', async () => {
    const web = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const port = await freePort();
    web.listen(port, '127.0.0.1');
    try {
      const { code, tookMs } = await refusal(changed((given) => (given.port = String(port))));
      expect(code).toBe('store-unavailable');
      expect(tookMs).toBeLessThan(2000);
    } finally {
      web.close();
    }
  });

  it('that is none, or has a password that is not encoded, is refused without a word of it', async () => {
    for (const given of ['not a url', 'postgres://user:p/ss-w0rd@127.0.0.1/x']) {
      const { code, text } = await refusal(given);
      expect(code).toBe('store-unavailable');
      expect(text).toMatch(/^DATABASE_URL is no URL.*percent-encoded/);
      expect(text).not.toContain('w0rd');
    }
  });

  it('asks for TLS, which the server does not speak', async () => {
    const { code, text } = await refusal(changed((given) => (given.search = '?sslmode=verify-full')));
    expect(code).toBe('store-unavailable');
    expect(text).toMatch(/it speaks no TLS; DATABASE_URL asks for it with sslmode/);
  });
});

describe.skipIf(findPostgres() === null)('a PostgreSQL with TLS', () => {
  let server: PostgresServer;
  let directory: string;
  const withQuery = (query: string, host = '127.0.0.1') => {
    const url = new URL(server.url);
    url.hostname = host;
    url.search = query;
    return url.href;
  };
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'countersign-tls-'));
    writeFileSync(join(directory, 'ca.crt'), authority);
    server = await startPostgres({ settings: forgetful, tls: { certificate: serverCertificate, key: serverKey } });
    await onDatabase(server.url, (client) => client.query('ALTER SYSTEM SET log_connections = on'));
  });
  afterAll(async () => {
    await server.close();
    rmSync(directory, { recursive: true });
  });
  const isEncrypted = async (url: string) => {
    const store = await openPostgresStore({ url, poolSize: 1, log: silent });
    try {
      const { rows } = await store.database.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
      return rows[0]?.['ssl'];
    } finally {
      await store.close();
    }
  };

  it('is used without it where nobody asks for it', async () => {
    expect(await isEncrypted(withQuery(''))).toBe(false);
  });

  it('is used with it, and its certificate looked at by the authority that is named', async () => {
    expect(await isEncrypted(withQuery(`?sslmode=verify-full&sslrootcert=${directory}/ca.crt`))).toBe(true);
  });

  it('is used with it, whoever it is, where that is what is asked for', async () => {
    expect(await isEncrypted(withQuery('?sslmode=no-verify'))).toBe(true);
    expect(await isEncrypted(withQuery('?uselibpqcompat=true&sslmode=require'))).toBe(true);
  });

  it('is refused where nobody who is trusted has signed its certificate, in words that say what to do', async () => {
    for (const mode of ['verify-full', 'require']) {
      const { code, text } = await refusal(withQuery(`?sslmode=${mode}`));
      expect(code).toBe('store-unavailable');
      expect(text).toMatch(/name the file of the CA in DATABASE_URL: \?sslmode=verify-full&sslrootcert=…/);
    }
  });

  it('is refused where its certificate is for another name', async () => {
    const { code, text } = await refusal(
      withQuery(`?sslmode=verify-full&sslrootcert=${directory}/ca.crt`, 'localhost'),
    );
    expect(code).toBe('store-unavailable');
    expect(text).toMatch(/its certificate is for another host name than the one in DATABASE_URL/);
  });

  it('is refused where there is no such file of an authority', async () => {
    const { code, text } = await refusal(withQuery(`?sslmode=verify-full&sslrootcert=${directory}/none.crt`));
    expect(code).toBe('store-unavailable');
    expect(text).toContain('none.crt');
  });
});

describe.skipIf(findPostgres() === null || !canReplicate())('a replica of a PostgreSQL', () => {
  it('is refused at the start and while it lasts, and used from the moment on that it is the primary', async () => {
    const primary = await startPostgres({ settings: { ...forgetful, wal_level: 'replica', max_wal_senders: 4 } });
    const replica = await startPostgresReplica(primary);
    try {
      const store = await openPostgresStore({ url: primary.url, poolSize: 2, log: silent });
      await started(store);
      await store.close();
      const { code, text } = await refusal(replica.url);
      expect(code).toBe('store-unavailable');
      expect(text).toMatch(/can only be read: DATABASE_URL must name the primary, not a replica/);
      await replica.promote();
      const promoted = await openPostgresStore({ url: replica.url, poolSize: 2, log: silent });
      await promoted.probe(T0);
      // A server that was made to take no more writes while nodes are on it.
      await onDatabase(replica.url, (client) => client.query('ALTER SYSTEM SET default_transaction_read_only = on'));
      await onDatabase(replica.url, (client) => client.query('SELECT pg_reload_conf()'));
      await expect
        .poll(() => promoted.probe(T0).catch((error: { message: string }) => error.message), { timeout: 5000 })
        .toMatch(/can only be read: DATABASE_URL must name the primary/);
      await promoted.close();
    } finally {
      await replica.close();
      await primary.close();
    }
  }, 60_000);
});
