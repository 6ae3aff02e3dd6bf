import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Type, { type TObject } from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Config, Environment } from '../../src/config/config.ts';
import { ConfigError, type FileConfig, loadConfig, resolveConfig } from '../../src/config/load.ts';
import { defineProvider, type ProviderDefinition } from '../../src/index.ts';
import { providerDefinitions } from '../../src/providers/index.ts';

const SECRET = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c';

const foo = defineProvider({
  id: 'foo',
  kind: 'messaging',
  channels: ['sms'],
  settings: Type.Object(
    {
      apiKey: Type.String({ minLength: 8, secret: true }),
      senderId: Type.String({ maxLength: 11, default: 'Foo' }),
      retries: Type.Optional(Type.Integer({ minimum: 0 })),
    },
    { additionalProperties: false },
  ),
  environment: { FOO_API_KEY: 'apiKey', FOO_SENDER_ID: 'senderId' },
  faults: ({ senderId }) => (senderId === 'Bad' ? ['FOO_SENDER_ID must not be Bad'] : []),
  create: () => ({ send: async () => ({ kind: 'accepted', providerMessageId: '1' }) }),
}) as unknown as ProviderDefinition<TObject>;

function resolve(file: unknown, environment: Environment = {}): Config {
  return resolveConfig(file, environment, [foo, ...providerDefinitions], '/srv/app');
}

function faultsOf(file: unknown, environment: Environment = {}): readonly string[] {
  try {
    resolve(file, environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  return [];
}

/** A provider in a route, of which nothing else was said. */
function routed(provider: string) {
  return { provider, channel: undefined, lineTypes: undefined, weight: undefined, isImplied: false };
}

const production = { mode: 'production', secret: SECRET, providers: { foo: { apiKey: 'long enough' } } } as const;

describe('a configuration', () => {
  it('may be empty: then there is one app, in development, with the inbox', () => {
    const config = resolve({});
    expect(config).toMatchObject({
      mode: 'development',
      secret: undefined,
      host: '127.0.0.1',
      port: 8080,
      dataDir: '/srv/app/data',
      retentionMs: 30 * 86_400_000,
      providers: [],
    });
    expect([...config.apps.keys()]).toEqual(['default']);
    expect(config.apps.get('default')).toMatchObject({
      brand: 'Countersign',
      codeLength: 6,
      codeTtlMs: 600_000,
      maxAttempts: 5,
      maxSends: 5,
      resend: 'repeat',
      resendAfterSeconds: [30, 30, 60, 120],
      guesses: { max: 20, windowMs: 86_400_000 },
      routes: new Map([['*', [routed('inbox')]]]),
    });
    expect(config.apps.get('default')?.limits.perNumber.length).toBeGreaterThan(0);
  });

  it('keeps every default beside what is said', () => {
    const app = resolve({
      apps: { taxi: { limits: { perNumber: [{ max: 3, windowSeconds: 60 }] }, guesses: { max: 5 } } },
    }).apps.get('taxi');
    expect(app?.limits.perNumber).toEqual([{ max: 3, windowMs: 60_000 }]);
    expect(app?.limits.perAddress.length).toBeGreaterThan(0);
    expect(app?.guesses.max).toBe(5);
  });

  it('names all its faults at once, each by the name under which it was written', () => {
    const error = (() => {
      try {
        resolve(
          {
            mode: 'production',
            apps: {
              taxi: {
                codeTtlSeconds: 901,
                guesses: { max: 101 },
                limits: { perNumber: [] },
                texts: { uz: 'no placeholder' },
                brnad: 'Taxi',
              },
              bank: { limits: { perAddress: [] } },
            },
            providers: { foo: { apiKey: 'short' } },
          },
          { PORT: 'eighty', COUNTERSIGN_SECRT: SECRET },
        );
      } catch (thrown) {
        return thrown as ConfigError;
      }
      throw new Error('it was taken');
    })();
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.code).toBe('config-invalid');
    for (const name of [
      'COUNTERSIGN_SECRET',
      'COUNTERSIGN_SECRT',
      'PORT',
      'apps.taxi.codeTtlSeconds',
      'apps.taxi.guesses.max',
      'apps.taxi.brnad',
      'apps.bank.limits.perAddress',
      'providers.foo.apiKey',
    ]) {
      expect(error.faults.filter((fault) => fault.startsWith(`${name} `))).toHaveLength(1);
      expect(error.message).toContain(name);
    }
  });

  it.each([
    [{ prot: 8080 }, /^prot is not a known key; did you mean port\?$/],
    [{ apps: { default: { codeTtlSecond: 60 } } }, /^apps\.default\.codeTtlSecond .*did you mean codeTtlSeconds\?$/],
    [
      { apps: { default: { limits: { perNumer: [] } } } },
      /^apps\.default\.limits\.perNumer .*did you mean perNumber\?$/,
    ],
    [
      { apps: { default: { limits: { perNumber: [{ max: 1, windowSecs: 1 }] } } } },
      /^apps\.default\.limits\.perNumber\.0\.windowSecs .*did you mean windowSeconds\?$/,
    ],
    [{ providers: { twillio: {} } }, /^providers\.twillio .*did you mean twilio\?$/],
    [
      { providers: { foo: { apiKey: 'long enough', senderld: 'x' } } },
      /^providers\.foo\.senderld .*did you mean senderId\?$/,
    ],
    [
      { apps: { default: { routes: { UZ: ['fooo'] } } } },
      /^apps\.default\.routes\.UZ names fooo, which is not configured/,
    ],
    [{ zzzzzzzz: 1 }, /^zzzzzzzz is not a known key; there are: mode, secret/],
  ])('refuses an unknown key and names the nearest: %j', (file, fault) => {
    expect(faultsOf(file)).toContainEqual(expect.stringMatching(fault));
  });

  it('refuses a variable that nobody reads, and names the nearest', () => {
    expect(faultsOf({}, { COUNTERSIGN_MOD: 'production' })).toEqual([
      'COUNTERSIGN_MOD is not a known variable; did you mean COUNTERSIGN_MODE?',
    ]);
    expect(faultsOf({}, { SOMETHING_ELSE: '1', PATH: '/bin' })).toEqual([]);
  });

  it.each([
    [{ apps: { default: { country: 'XX' } } }, 'apps.default.country names XX'],
    [{ apps: { default: { allowedCountries: ['UZ', 'XY'] } } }, 'apps.default.allowedCountries names XY'],
    [{ apps: { default: { routes: { XX: ['inbox'] } } } }, 'apps.default.routes.XX names XX'],
    [{ apps: { default: { routes: { UZ: ['inbox', 'inbox'] } } } }, 'apps.default.routes.UZ names a provider twice'],
    [{ apps: { default: { texts: { uz: 'Kod' } } } }, 'apps.default.texts.uz {code} is missing'],
    [{ apps: { Taxi: {} } }, 'apps.Taxi is not a name'],
    [{ apps: { default: { codeLength: 3 } } }, 'apps.default.codeLength'],
    [{ apps: { default: { maxAttempts: 11 } } }, 'apps.default.maxAttempts'],
    [{ apps: { default: { resend: 'again' } } }, 'apps.default.resend must be one of repeat, replace'],
    [{ publicUrl: 'otp.example.org' }, 'publicUrl'],
    [{ secret: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }, 'COUNTERSIGN_SECRET is too simple'],
    [{ secret: 'short' }, 'COUNTERSIGN_SECRET is too short'],
    [{ providers: { foo: { apiKey: 'long enough', senderId: 'Bad' } } }, 'FOO_SENDER_ID must not be Bad'],
    [{ providers: { foo: {} } }, 'providers.foo.apiKey (FOO_API_KEY) is missing'],
  ])('refuses %j', (file, fault) => {
    const faults = faultsOf(file);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toContain(fault);
  });

  it('never repeats a secret in what it says', () => {
    const secret = 'hunter2hunter2';
    const message = faultsOf({ secret, providers: { foo: { apiKey: 'pa55', senderId: 'x'.repeat(20) } } }).join('\n');
    expect(message).toContain('COUNTERSIGN_SECRET');
    expect(message).toContain('providers.foo');
    expect(message).not.toContain('hunter2');
    expect(message).not.toContain('pa55');
  });

  it.each([null, 'text', 7, []])('has to be an object, which %j is not', (file) => {
    expect(faultsOf(file)).toEqual(['the configuration must be an object']);
  });
});

describe('production (invariant 14)', () => {
  it('starts with a secret, a provider and limits', () => {
    expect(resolve(production)).toMatchObject({ mode: 'production', host: '0.0.0.0', secret: SECRET });
  });

  it.each([
    ['no secret', { ...production, secret: undefined }, 'COUNTERSIGN_SECRET is missing'],
    ['a short secret', { ...production, secret: 'x'.repeat(31) }, 'COUNTERSIGN_SECRET is too short'],
    ['no provider', { ...production, providers: {} }, 'apps.default has no provider to send with'],
    [
      'the inbox',
      { ...production, apps: { default: { routes: { '*': ['foo'], UZ: ['inbox'] } } } },
      'apps.default.routes.UZ names the inbox',
    ],
    [
      'a lifetime above fifteen minutes',
      { ...production, apps: { default: { codeTtlSeconds: 901 } } },
      'apps.default.codeTtlSeconds',
    ],
    [
      'a guess budget above a hundred',
      { ...production, apps: { default: { guesses: { max: 101 } } } },
      'apps.default.guesses.max',
    ],
    ...['perNumber', 'perAddress', 'perPrefix', 'perApp', 'messagesPerNumber'].map(
      (limit) =>
        [
          `no limit ${limit}`,
          { ...production, apps: { default: { limits: { [limit]: [] } } } },
          `apps.default.limits.${limit} is empty`,
        ] as const,
    ),
    ['an unknown key', { ...production, secrets: SECRET }, 'secrets is not a known key'],
  ] as const)('does not start with %s', (_, file, fault) => {
    const faults = faultsOf(withoutUndefined(file));
    expect(faults).toHaveLength(1);
    expect(faults[0]).toContain(fault);
  });

  it('is meant by NODE_ENV, unless a mode is said', () => {
    expect(faultsOf({}, { NODE_ENV: 'production' }).join('\n')).toContain('COUNTERSIGN_SECRET is missing');
    expect(resolve({}, { NODE_ENV: 'production', COUNTERSIGN_MODE: 'development' }).mode).toBe('development');
    expect(resolve({ mode: 'development' }, { NODE_ENV: 'production' }).mode).toBe('development');
    expect(faultsOf({}, { COUNTERSIGN_MODE: 'prod' })[0]).toContain('COUNTERSIGN_MODE must be one of');
  });

  function withoutUndefined(file: object): object {
    return Object.fromEntries(Object.entries(file).filter(([, value]) => value !== undefined));
  }
});

describe('the environment', () => {
  it('wins over the file', () => {
    const config = resolve(
      {
        port: 1,
        host: 'file',
        dataDir: 'file',
        logLevel: 'error',
        apps: { default: { brand: 'File', country: 'UZ' } },
      },
      {
        PORT: '9',
        HOST: 'env',
        DATA_DIR: '/var/env',
        LOG_LEVEL: 'debug',
        PUBLIC_URL: 'https://otp.example.org/',
        TRUSTED_PROXIES: '10.0.0.0/8, 192.0.2.1',
        COUNTERSIGN_BRAND: 'Env',
        COUNTERSIGN_SECRET: SECRET,
      },
    );
    expect(config).toMatchObject({
      port: 9,
      host: 'env',
      dataDir: '/var/env',
      logLevel: 'debug',
      publicUrl: 'https://otp.example.org',
      trustedProxies: ['10.0.0.0/8', '192.0.2.1'],
      secret: SECRET,
    });
    expect(config.apps.get('default')).toMatchObject({ brand: 'Env', country: 'UZ' });
  });

  it('of which a variable is empty says nothing', () => {
    expect(resolve({ port: 7 }, { PORT: '', COUNTERSIGN_SECRET: '', COUNTERSIGN_MODE: '' })).toMatchObject({ port: 7 });
  });

  it('names its variable in a fault', () => {
    expect(faultsOf({}, { PORT: '99999' })[0]).toMatch(/^PORT /);
    expect(faultsOf({}, { COUNTERSIGN_COUNTRY: 'uz' })[0]).toMatch(/^COUNTERSIGN_COUNTRY /);
    expect(faultsOf({}, { FOO_API_KEY: 'short' })[0]).toMatch(/^FOO_API_KEY /);
  });
});

describe('a provider', () => {
  it('is configured by its credentials in the environment, without stray spaces', () => {
    const config = resolve({}, { FOO_API_KEY: ' long enough\n' });
    expect(config.providers).toMatchObject([{ id: 'foo', settings: { apiKey: 'long enough', senderId: 'Foo' } }]);
    expect(config.apps.get('default')?.routes).toEqual(new Map([['*', [{ ...routed('foo'), isImplied: true }]]]));
  });

  it('of the file is filled up by the environment, which wins', () => {
    const config = resolve(
      { providers: { foo: { apiKey: 'of the file', retries: 2 } } },
      { FOO_API_KEY: 'of the env' },
    );
    expect(config.providers[0]?.settings).toEqual({ apiKey: 'of the env', senderId: 'Foo', retries: 2 });
  });

  it.each(['false', '0', 'no', 'OFF'])('is switched off by FOO_ENABLED=%s, whatever else is said', (value) => {
    const config = resolve({ providers: { foo: { apiKey: 'x' } } }, { FOO_API_KEY: 'y', FOO_ENABLED: value });
    expect(config.providers).toEqual([]);
    expect(config.apps.get('default')?.routes).toEqual(new Map([['*', [routed('inbox')]]]));
  });

  it('that is switched off leaves its routes to the others', () => {
    const bar = { ...foo, id: 'bar', environment: {} };
    const providers = { foo: { apiKey: 'long enough' }, bar: { definition: bar, apiKey: 'long enough' } };
    const apps = { default: { routes: { UZ: ['foo', 'bar'], '*': ['bar'] } } };
    const config = resolve({ ...production, providers, apps }, { FOO_ENABLED: 'false' });
    expect(config.apps.get('default')?.routes).toEqual(
      new Map([
        ['UZ', [routed('bar')]],
        ['*', [routed('bar')]],
      ]),
    );
    expect(config.switchedOff).toEqual([{ id: 'foo', variable: 'FOO_ENABLED' }]);
    const onlyFoo = { ...production, providers, apps: { default: { routes: { UZ: ['foo'], '*': ['bar'] } } } };
    expect(faultsOf(onlyFoo, { FOO_ENABLED: 'false' })).toEqual([
      'apps.default.routes.UZ names only providers that are switched off',
    ]);
  });

  it('is a fault with FOO_ENABLED=disabled, where it would go on sending', () => {
    expect(faultsOf({ ...production }, { FOO_ENABLED: 'disabled' })).toEqual([
      'FOO_ENABLED must be true or false, and is "disabled"',
    ]);
  });

  it('is a fault with FOO_ENABLED=true and nothing to send with: its codes would end in the inbox', () => {
    expect(faultsOf({}, { FOO_ENABLED: 'true' })).toEqual([
      expect.stringMatching(/^FOO_ENABLED is true, and none of its other variables is set: FOO_/),
    ]);
  });

  it('stays on with FOO_ENABLED=true', () => {
    expect(resolve({}, { FOO_API_KEY: 'long enough', FOO_ENABLED: 'true' }).providers).toHaveLength(1);
  });

  it('may be the user’s own: a definition, or one with settings', () => {
    const own = { ...foo, id: 'own' };
    const plain = {
      ...foo,
      id: 'plain',
      settings: Type.Object({}, { additionalProperties: false }),
      environment: {},
      faults: () => [],
    };
    const config = resolve({
      providers: { own: { definition: own, apiKey: 'long enough' }, plain },
      apps: { default: { routes: { '*': ['own', 'plain'] } } },
    });
    expect(config.providers.map(({ id, definition, settings }) => [id, definition, settings])).toEqual([
      ['own', own, { apiKey: 'long enough', senderId: 'Foo' }],
      ['plain', plain, {}],
    ]);
    expect(faultsOf({ providers: { own: { definition: own } } })).toEqual([
      'providers.own.apiKey (FOO_API_KEY) is missing',
    ]);
  });
});

describe('configuration files', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'countersign-config-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });
  const write = (name: string, text: string) => writeFileSync(join(directory, name), text);
  const load = (environment: Environment = {}) => loadConfig(directory, environment, [foo]);
  const file = { port: 4711, apps: { taxi: { brand: 'Royal Taxi', country: 'UZ' } } } satisfies FileConfig;

  it.each([
    ['countersign.config.json', JSON.stringify(file)],
    ['countersign.config.yaml', 'port: 4711\napps:\n  taxi:\n    brand: Royal Taxi\n    country: UZ\n'],
    [
      'countersign.config.ts',
      `const file: { port: number } & object = ${JSON.stringify(file)};\nexport default file;\n`,
    ],
    ['countersign.config.js', `export default ${JSON.stringify(file)};\n`],
  ])('are found: %s', async (name, text) => {
    write('package.json', '{"type":"module"}');
    write(name, text);
    const config = await load();
    expect(config.port).toBe(4711);
    expect(config.dataDir).toBe(join(directory, 'data'));
    expect(config.apps.get('taxi')).toMatchObject({ brand: 'Royal Taxi', country: 'UZ' });
  });

  it('may be elsewhere, where COUNTERSIGN_CONFIG says', async () => {
    write('countersign.config.json', '{"port":1}');
    write('other.yml', 'port: 2');
    expect((await load({ COUNTERSIGN_CONFIG: 'other.yml' })).port).toBe(2);
    await expect(load({ COUNTERSIGN_CONFIG: 'missing.json' })).rejects.toThrow(
      /missing\.json, and there is no such file/,
    );
  });

  it.each([
    ['countersign.config.json', '{"port":'],
    ['countersign.config.yaml', 'port: [1'],
    ['countersign.config.ts', 'export default {'],
    ['countersign.config.js', 'export const file = {};'],
  ])('that cannot be read say which and why: %s', async (name, text) => {
    write('package.json', '{"type":"module"}');
    write(name, text);
    await expect(load()).rejects.toMatchObject({
      name: 'CountersignError',
      code: 'config-invalid',
      faults: [expect.stringContaining(join(directory, name))],
    });
  });

  it.each([
    // The second one won in silence.
    [
      'countersign.config.json',
      '{\n\t"providers": {\n\t\t"foo": {"apiKey":"one"},\n\t\t"foo": {"apiKey":"two"}\n\t}\n}',
    ],
    ['countersign.config.yaml', 'providers:\n  foo: { apiKey: one }\n  foo: { apiKey: two }\n'],
  ])('that have two providers with one id say so: %s', async (name, text) => {
    write(name, text);
    await expect(load()).rejects.toThrow(/Map keys must be unique at line [34]/);
  });

  it('may be JSON with tabs, escapes and numbers of any kind', async () => {
    write('countersign.config.json', '{\n\t"port":\t1e3,\n\t"logLevel": "\\u0077arn"\n}');
    expect(await load()).toMatchObject({ port: 1000, logLevel: 'warn' });
  });

  it('are filled up by .env, over which the environment wins', async () => {
    write('.env', `PORT=5\nHOST=dotenv\nCOUNTERSIGN_SECRET="${SECRET}" # a comment\n`);
    write('countersign.config.json', '{"port":1,"logLevel":"warn"}');
    expect(await load({ HOST: 'env' })).toMatchObject({ port: 5, host: 'env', logLevel: 'warn', secret: SECRET });
  });

  it('are named by .env too', async () => {
    write('.env', 'COUNTERSIGN_CONFIG=other.json\n');
    write('other.json', '{"port":3}');
    expect((await load()).port).toBe(3);
  });
});
