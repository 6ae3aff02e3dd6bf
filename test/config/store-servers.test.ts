import { describe, expect, it } from 'vitest';
import type { Environment } from '../../src/config/config.ts';
import { ConfigError, resolveConfig } from '../../src/config/load.ts';
import { nameOfStore } from '../../src/open-store.ts';
import { providerDefinitions } from '../../src/providers/index.ts';

const secret = 'b1946ac92492d2347c6235b4d2611184d41d8cd98f00b204';
const DATABASE = 'postgres://countersign:pass@db.example.com:5432/codes';

function resolved(environment: Environment, file: object = {}) {
  return resolveConfig(file, { COUNTERSIGN_SECRET: secret, ...environment }, providerDefinitions, '/');
}

function faultsOf(environment: Environment, file: object = {}): readonly string[] {
  try {
    resolved(environment, file);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
}

describe('the servers that keep the data', () => {
  it('are none unless they are named', () => {
    expect(resolved({})).toMatchObject({ databaseUrl: undefined, redisUrl: undefined, databasePoolSize: 10 });
  });

  it('are read from the environment, which wins, or the file', () => {
    const file = { databaseUrl: 'postgresql://file.example.com/codes', databasePoolSize: 7 };
    expect(resolved({}, file)).toMatchObject(file);
    const redisUrl = 'rediss://user:pass@10.0.0.1:6379,rediss://10.0.0.2';
    expect(resolved({ DATABASE_URL: DATABASE, DATABASE_POOL_SIZE: '200', REDIS_URL: redisUrl }, file)).toMatchObject({
      databaseUrl: DATABASE,
      databasePoolSize: 200,
      redisUrl,
    });
  });

  it.each([
    'postgres://db.example.com/codes',
    'postgresql://user@[::1]:5433/codes?sslmode=require',
    'postgres://user:p%23%40%2F%25@db.example.com/codes',
    'postgres:///codes?host=/var/run/postgresql',
    'POSTGRES://db.example.com/codes',
  ])('may be %s', (url) => {
    expect(faultsOf({ DATABASE_URL: url })).toEqual([]);
  });

  it.each([
    ['db.example.com/codes', /^DATABASE_URL is no address: it has to look like postgres:/],
    [
      'mysql://db.example.com/codes',
      /^DATABASE_URL begins with mysql:\/\/, and must begin with postgres:\/\/ or postgresql:\/\/$/,
    ],
    ['postgres://db.example.com:5432', /^DATABASE_URL names no database behind the host db\.example\.com/],
    ['postgres://user:hunter2@db.example.com/', /^DATABASE_URL names no database behind the host db\.example\.com/],
    ['postgres:///codes', /^DATABASE_URL names no host/],
    ['postgres://user:hunter2#1@db.example.com/codes', /percent-encoded: # as %23, @ as %40, \/ as %2F/],
    // What stands before the # reads like a host and its port.
    ['postgres://user:1234#hunter2@db.example.com/codes', /has a # in it: .*# as %23/],
    ['postgres://user:hunter2/1@db.example.com/codes', /percent-encoded/],
    ['postgres://user:hunter2?1@db.example.com/codes', /percent-encoded/],
    ['postgres://user:hunter2%@db.example.com/codes', /percent-encoded: .*% as %25/],
  ])('are named when they are at fault, without a password: %s', (url, wanted) => {
    const faults = faultsOf({ DATABASE_URL: url });
    expect(faults).toEqual([expect.stringMatching(wanted)]);
    expect(faults.join()).not.toContain('hunter2');
  });

  it.each([
    ['http://cache.example.com', /^REDIS_URL begins with http:\/\/, and must begin with redis:\/\/ or rediss:\/\/$/],
    ['cache.example.com:6379', /^REDIS_URL is no address/],
    ['redis://10.0.0.1:6379,10.0.0.2:6379', /^REDIS_URL is no address/],
    ['redis://:hunter2/3@cache.example.com', /percent-encoded/],
    ['redis://cache.example.com/codes', /^REDIS_URL has something else than the number of a database behind the host/],
  ])('are named when they are at fault, of Redis too: %s', (url, wanted) => {
    const faults = faultsOf({ DATABASE_URL: DATABASE, REDIS_URL: url });
    expect(faults).toEqual([expect.stringMatching(wanted)]);
    expect(faults.join()).not.toContain('hunter2');
  });

  it('are at fault all together, with whatever else is', () => {
    const environment = { REDIS_URL: 'http://cache', DATABASE_POOL_SIZE: '0', PORT: '99999' };
    expect(faultsOf(environment)).toEqual([
      expect.stringMatching(/^PORT must be/),
      expect.stringMatching(/^DATABASE_POOL_SIZE must be/),
      expect.stringMatching(/^REDIS_URL begins with http/),
      expect.stringMatching(/^REDIS_URL is set and DATABASE_URL is not/),
    ]);
    expect(faultsOf({ DATABASE_URL: DATABASE, DATABASE_POOL_SIZE: 'many' })).toHaveLength(1);
    expect(faultsOf({ DATABASE_URL: DATABASE, DATABASE_POOL_SIZE: '201' })).toHaveLength(1);
  });

  it.each(['development', 'production'])('need a secret that all nodes share, in %s mode', (mode) => {
    const file = { providers: { twilio: {} }, mode: 'development' };
    const faults = faultsOf({ DATABASE_URL: DATABASE, COUNTERSIGN_SECRET: '', COUNTERSIGN_MODE: mode }, file);
    expect(faults).toContainEqual(
      expect.stringMatching(/^COUNTERSIGN_SECRET is missing: all nodes that share a database/),
    );
  });
});

describe('the name of the store', () => {
  it('says which it is, and neither user nor password', () => {
    const dataDir = '/var/lib/countersign';
    expect(nameOfStore(resolved({ DATA_DIR: dataDir }))).toBe('/var/lib/countersign/countersign.db');
    expect(nameOfStore(resolved({ DATABASE_URL: DATABASE }))).toBe('PostgreSQL, codes on db.example.com:5432');
    expect(nameOfStore(resolved({ DATABASE_URL: 'postgres:///codes?host=/run/postgresql' }))).toBe(
      'PostgreSQL, codes on /run/postgresql',
    );
    const redisUrl = 'redis://:hunter2@10.0.0.1:6379, redis://10.0.0.2:6379';
    expect(nameOfStore(resolved({ DATABASE_URL: DATABASE, REDIS_URL: redisUrl }))).toBe(
      'Redis on 10.0.0.1:6379, 10.0.0.2:6379, in front of PostgreSQL, codes on db.example.com:5432',
    );
  });
});
