import { Type } from 'typebox';
import { afterEach, describe, expect, it } from 'vitest';
import fiveSystems from '../../examples/five-systems/countersign.config.ts';
import { bazaar } from '../../examples/own-dialect/bazaar.ts';
import twilioVerify from '../../examples/twilio-verify/countersign.config.ts';
import type { Config, Environment } from '../../src/config/config.ts';
import { ConfigError, type FileConfig, resolveConfig } from '../../src/config/load.ts';
import { createCountersign, defineDialect, dialectRoute, ok } from '../../src/index.ts';
import { providerDefinitions } from '../../src/providers/index.ts';
import { type RunningServer, SECRET, startServer } from '../http/running-server.ts';
import { makeDataDir, removeDataDir } from '../http/server-process.ts';

const KNOWN = 'royal-taxi, marque, mgask, chaski, messaggio-backend, twilio-verify';
const ACCOUNT = `AC${'1'.repeat(32)}`;
const HOST_SECRET = 'the-host-system-signs-with-this-one-0123456789';

function resolve(file: unknown, environment: Environment = {}): Config {
  return resolveConfig(file, environment, providerDefinitions, '/srv/app');
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

const app = (settings: object) => ({ apps: { taxi: settings } });
const speaking = (dialect: unknown) => app({ dialect });
const own = (...paths: readonly (string | readonly ['POST' | 'PUT', string])[]) =>
  defineDialect({
    ...bazaar,
    id: 'own',
    routes: paths.map((each) => {
      const [method, path] = typeof each === 'string' ? (['POST', each] as const) : each;
      return dialectRoute({ method, path, body: Type.Object({}), handle: async () => ok({}) });
    }),
  });

describe('a dialect', () => {
  it('is named, defined or told something, alone or with others, and is mounted in that order', () => {
    const mounted = (dialect: unknown) =>
      resolve(speaking(dialect)).dialects.map(({ app: id, dialect: { id: name }, prefix, upstream }) => [
        id,
        name,
        prefix,
        upstream,
      ]);
    expect(mounted(undefined)).toEqual([]);
    expect(mounted([])).toEqual([]);
    expect(mounted('chaski')).toEqual([['taxi', 'chaski', '', undefined]]);
    expect(mounted(bazaar)).toEqual([['taxi', 'bazaar', '', undefined]]);
    expect(
      mounted([
        'royal-taxi',
        { dialect: bazaar, prefix: '/a/b-1.c' },
        { dialect: 'chaski', shadow: { upstream: 'https://old.example.com/base//' } },
      ]),
    ).toEqual([
      ['taxi', 'royal-taxi', '', undefined],
      ['taxi', 'bazaar', '/a/b-1.c', undefined],
      ['taxi', 'chaski', '', 'https://old.example.com/base'],
    ]);
    expect(resolve(fiveSystems, { HOST_JWT_SECRET: HOST_SECRET }).dialects).toHaveLength(5);
  });

  it.each([
    ['royal-taksi', `apps.taxi.dialect is royal-taksi, which is no dialect; did you mean royal-taxi?`],
    ['Chaski', `apps.taxi.dialect is Chaski, which is no dialect; did you mean chaski?`],
    ['twilio', `apps.taxi.dialect is twilio, which is no dialect; there are: ${KNOWN}`],
    [['chaski', 'mrque'], `apps.taxi.dialect.1 is mrque, which is no dialect; did you mean marque?`],
    [{ dialect: 'chasky' }, `apps.taxi.dialect is chasky, which is no dialect; did you mean chaski?`],
    ['', `apps.taxi.dialect is "", which is no dialect; there are: ${KNOWN}`],
    [{ authToken: 'hush' }, `apps.taxi.dialect is an object with authToken, which is no dialect; there are: ${KNOWN}`],
    [{ dialect: {} }, `apps.taxi.dialect is an object with nothing, which is no dialect; there are: ${KNOWN}`],
    [['twilio-verify', 'twilio-verify'], 'apps.taxi.dialect.1 is twilio-verify a second time: an app has one account'],
    [null, `apps.taxi.dialect is null, which is no dialect; there are: ${KNOWN}`],
    [7, `apps.taxi.dialect is 7, which is no dialect; there are: ${KNOWN}`],
    [['chaski', ['marque']], `apps.taxi.dialect.1 is a list, which is no dialect; there are: ${KNOWN}`],
    [{ prefix: '/a' }, `apps.taxi.dialect is an object with prefix, which is no dialect; there are: ${KNOWN}`],
    [
      { id: 'half', routes: [] },
      `apps.taxi.dialect is an object with id, routes, which is no dialect; there are: ${KNOWN}`,
    ],
    [{ dialect: 'chaski', prefx: '/a' }, 'apps.taxi.dialect.prefx is not a known key; did you mean prefix?'],
    [
      [{ dialect: bazaar, accountSid: ACCOUNT }],
      'apps.taxi.dialect.0.accountSid is not a known key; there are: prefix, allowedOrigins, shadow',
    ],
    [
      { dialect: 'chaski', shadow: { upstraem: 'https://old.example.com', upstream: 'https://old.example.com' } },
      'apps.taxi.dialect.shadow.upstraem is not a known key; did you mean upstream?',
    ],
    [{ dialect: 'chaski', shadow: {} }, 'apps.taxi.dialect.shadow.upstream is missing'],
    [
      { dialect: 'twilio-verify', authTokn: 'x'.repeat(16) },
      'apps.taxi.dialect.authTokn is not a known key; did you mean authToken?',
    ],
    [
      { dialect: 'twilio-verify', prefix: '/a' },
      expect.stringMatching(/^apps\.taxi\.dialect\.prefix is not a known key; there are: accountSid/),
    ],
  ])('is refused as %j', (dialect, fault) => {
    expect(faultsOf(speaking(dialect))).toEqual([fault]);
  });

  it.each(['a', '/', '/a/', '//a', '/a b', '/:a', '/a/*', '/ä', '/a?b', 'https://example.com/a', ''])(
    'has no prefix like %j',
    (prefix) => {
      const faults = faultsOf(speaking({ dialect: 'chaski', prefix }));
      expect(faults).toHaveLength(1);
      expect(faults[0]).toMatch(/^apps\.taxi\.dialect\.prefix does not have the form/);
    },
  );

  it.each(['ftp://old.example.com', 'old.example.com', 'https://', 'https://a?b', 'https://a#b', 7])(
    'has no upstream like %j',
    (upstream) => {
      const faults = faultsOf(speaking({ dialect: 'chaski', shadow: { upstream } }));
      expect(faults).toHaveLength(1);
      expect(faults[0]).toMatch(/^apps\.taxi\.dialect\.shadow\.upstream /);
    },
  );

  it.each([
    { accountSid: 'AC1' },
    { accountSid: `US${'1'.repeat(32)}` },
    { accountSid: `${ACCOUNT}0` },
    { authToken: 'too short' },
  ])('has no account like %j, and no fault shows its token', (options) => {
    const faults = faultsOf(speaking({ dialect: 'twilio-verify', ...options }));
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatch(new RegExp(`^apps\\.taxi\\.dialect\\.${Object.keys(options)[0]} `));
    expect(faults[0]).not.toContain('too short');
  });
});

describe('paths', () => {
  it('are of one app alone: a second one that speaks at the same needs a prefix', () => {
    const two = (first: unknown, second: unknown) => ({ apps: { one: { dialect: first }, two: { dialect: second } } });
    expect(faultsOf(two('chaski', 'chaski'))).toEqual([
      "apps.one and apps.two both speak at /api/auth/phone/send-code: give one of them a prefix, { dialect: 'chaski', prefix: '/two' }",
    ]);
    const prefixed = (prefix: string) => ({ dialect: 'chaski', prefix });
    expect(faultsOf(two(prefixed('/a'), prefixed('/a')))).toHaveLength(1);
    expect(faultsOf(two(prefixed('/a'), prefixed('/b')))).toEqual([]);
    expect(faultsOf(two('chaski', prefixed('/b')))).toEqual([]);
    expect(faultsOf(two('chaski', 'royal-taxi'))).toEqual([]);
    expect(faultsOf(two(own('/a/b'), { dialect: own('/b'), prefix: '/a' }))).toEqual([
      "apps.one and apps.two both speak at /a/b: give one of them a prefix, { dialect: 'own', prefix: '/two' }",
    ]);
    // Who asks with another method is told by one of them alone which there are.
    expect(faultsOf(two(own(['POST', '/a']), own(['PUT', '/a'])))).toHaveLength(1);
    expect(faultsOf(two(own('/a'), own('/a/b')))).toEqual([]);
  });

  it('are told of a third app as well, and of one that names a dialect twice', () => {
    const chaski = { dialect: 'chaski' };
    expect(faultsOf({ apps: { one: chaski, two: chaski, three: chaski } })).toHaveLength(2);
    expect(faultsOf(speaking(['chaski', 'chaski']))).toEqual([
      expect.stringMatching(/^apps\.taxi and apps\.taxi both speak at \/api\/auth\/phone\/send-code/),
    ]);
  });

  it.each(['otp', '/otp/', '/', '', '/otp/:id', '/otp/*', '/otp//send', '/o tp'])(
    'of a dialect of one’s own are not %j, which no router takes as it stands',
    (path) => {
      const faults = faultsOf(speaking([own('/fine', path)]));
      expect(faults).toHaveLength(1);
      expect(faults[0]).toContain(
        `apps.taxi.dialect.0: the dialect own has the path ${path}, which does not have the form`,
      );
    },
  );

  it('of a dialect of one’s own may have two methods, and each of them once', () => {
    expect(faultsOf(speaking(own(['POST', '/a'], ['PUT', '/a'])))).toEqual([]);
    expect(faultsOf(speaking(own('/a', ['POST', '/a'], '/a')))).toEqual([
      'apps.taxi.dialect: the dialect own has POST /a twice',
    ]);
  });

  it.each(['/v1/check', '/healthz', '/inbox'])('of Countersign’s own are not given to a dialect: %s', async (path) => {
    await expect(startServer({ file: { apps: { taxi: { dialect: own(path) } } } })).rejects.toThrow(
      `apps.taxi speaks own at ${path}, which is a path of Countersign's own: give it a prefix`,
    );
  });
});

describe('callers and accounts', () => {
  it('need a bearer where a dialect has routes for signed-in callers', () => {
    expect(faultsOf(speaking('mgask'))).toEqual([
      'apps.taxi.bearer is missing: the dialect mgask has routes for signed-in callers',
    ]);
    expect(faultsOf(app({ dialect: 'mgask', bearer: 'own' }))).toEqual([]);
    expect(faultsOf(app({ dialect: ['chaski', 'mgask'], bearer: { secret: 'short in development' } }))).toEqual([]);
    expect(faultsOf(speaking(['chaski', 'marque']))).toEqual([]);
  });

  it('have one account sid for one app', () => {
    const verify = (accountSid: string) => ({ dialect: { dialect: 'twilio-verify', accountSid } });
    const other = `AC${'a'.repeat(32)}`;
    expect(faultsOf({ apps: { one: verify(ACCOUNT), two: verify(ACCOUNT), three: verify(other) } })).toEqual([
      'apps.one and apps.two have the same accountSid: give each its own',
    ]);
    expect(faultsOf({ apps: { one: verify(ACCOUNT), two: verify(other) } })).toEqual([]);
  });

  it('have an account sid of their own when the file says none', () => {
    const { apps } = resolve({ apps: { one: { dialect: 'twilio-verify' }, two: { dialect: 'twilio-verify' } } });
    const [one, two] = [apps.get('one')?.twilioVerify, apps.get('two')?.twilioVerify];
    expect(one).toMatchObject({ accountSid: expect.stringMatching(/^AC[0-9a-f]{32}$/), authToken: undefined });
    expect(two?.accountSid).not.toBe(one?.accountSid);
    expect(resolve({ apps: { one: { dialect: 'twilio-verify' } } }).apps.get('one')?.twilioVerify).toEqual(one);
  });
});

describe('variables that a value names', () => {
  /** As a file writes it. */
  const variable = (name: string) => `\${${name}}`;
  const mgask = (secret: string) => app({ dialect: 'mgask', bearer: { secret } });

  it('are filled into bearers and what dialects are told', () => {
    const config = resolve(
      {
        apps: {
          one: {
            bearer: { secret: variable('HOST_JWT_SECRET'), issuer: `https://${variable('HOST')}/` },
            dialect: [
              'mgask',
              { dialect: 'chaski', prefix: `/${variable('PREFIX')}`, shadow: { upstream: variable('OLD_URL') } },
              { dialect: 'twilio-verify', accountSid: variable('SID'), authToken: variable('TOKEN') },
            ],
          },
        },
      },
      {
        HOST_JWT_SECRET: ` ${HOST_SECRET}\n`,
        HOST: 'example.com',
        PREFIX: 'one',
        OLD_URL: 'http://old.example.com',
        SID: ACCOUNT,
        TOKEN: 'a token that is long enough',
      },
    );
    expect(config.apps.get('one')).toMatchObject({
      bearer: { kind: 'secret', issuer: 'https://example.com/' },
      twilioVerify: { accountSid: ACCOUNT, authToken: 'a token that is long enough' },
    });
    expect(config.dialects[1]).toMatchObject({ prefix: '/one', upstream: 'http://old.example.com' });
    const { bearer } = config.apps.get('one') ?? {};
    expect(bearer?.kind === 'secret' && bearer.key.export().toString()).toBe(HOST_SECRET);
  });

  it.each([{}, { HOST_JWT_SECRET: '' }, { HOST_JWT_SECRET: '  ' }])(
    'are a fault when they are not set: %j',
    (environment) => {
      expect(faultsOf(mgask(variable('HOST_JWT_SECRET')), environment)[0]).toBe(
        'apps.taxi.bearer.secret names HOST_JWT_SECRET, and that variable is not set',
      );
      expect(faultsOf(speaking({ dialect: 'twilio-verify', authToken: variable('TOKEN') }), environment)[0]).toBe(
        'apps.taxi.dialect.authToken names TOKEN, and that variable is not set',
      );
      expect(
        faultsOf(speaking(['marque', { dialect: 'chaski', shadow: { upstream: variable('OLD') } }]), environment)[0],
      ).toBe('apps.taxi.dialect.1.shadow.upstream names OLD, and that variable is not set');
    },
  );

  it.each(['host_jwt_secret', 'HostSecret'])('may have small letters, and are no secret by their name: %s', (name) => {
    expect(faultsOf(mgask(variable(name)))[0]).toBe(
      `apps.taxi.bearer.secret names ${name}, and that variable is not set`,
    );
    expect(faultsOf(mgask(variable(name)), { [name]: HOST_SECRET })).toEqual([]);
  });

  it.each(['HOST-JWT', '', ' HOST', '1ST', 'HOST:-default-of-the-shell'])(
    'have a name that one can have, or the secret would be what stands in the file: %j',
    (name) => {
      expect(faultsOf(mgask(variable(name)), { [name]: HOST_SECRET })[0]).toBe(
        `apps.taxi.bearer.secret has ${variable(name)}, which names no variable: ${variable('SOME_NAME')}`,
      );
    },
  );

  it('are no misspelt settings, although they begin with COUNTERSIGN_', () => {
    const environment = { COUNTERSIGN_ACCOUNT_SID: ACCOUNT, COUNTERSIGN_AUTH_TOKEN: 'a token that is long enough' };
    expect(resolve(twilioVerify, environment).apps.get('default')?.twilioVerify).toMatchObject({
      accountSid: ACCOUNT,
      authToken: 'a token that is long enough',
    });
    expect(faultsOf(twilioVerify, { ...environment, COUNTERSIGN_ACOUNT_SID: ACCOUNT })).toEqual([
      expect.stringMatching(/^COUNTERSIGN_ACOUNT_SID is not a known variable/),
    ]);
    // Named by nothing, they are misspelt settings again.
    expect(faultsOf({}, environment)).toEqual([
      expect.stringMatching(/^COUNTERSIGN_ACCOUNT_SID is not a known variable/),
      expect.stringMatching(/^COUNTERSIGN_AUTH_TOKEN is not a known variable/),
    ]);
    expect(faultsOf(mgask(variable('COUNTERSIGN_HOST_SECRET')), { COUNTERSIGN_HOST_SECRET: HOST_SECRET })).toEqual([]);
  });

  it('are read as they are: what a variable says names no other', () => {
    const secret = `${variable('OTHER')} and more than thirty-two bytes`;
    const { bearer } = resolve(mgask(variable('ONE')), { ONE: secret, OTHER: 'x' }).apps.get('taxi') ?? {};
    expect(bearer?.kind === 'secret' && bearer.key.export().toString()).toBe(secret);
  });
});

describe('routes whose providers may be missing', () => {
  const eskiz = { ESKIZ_EMAIL: 'a@example.org', ESKIZ_PASSWORD: 'long enough' };
  const playmobile = { PLAYMOBILE_LOGIN: 'login', PLAYMOBILE_PASSWORD: 'long enough', PLAYMOBILE_SENDER: '3700' };
  const production = { COUNTERSIGN_MODE: 'production', COUNTERSIGN_SECRET: SECRET };
  const routed = (...route: readonly unknown[]) => app({ routes: { '*': route } });
  const namesOf = (file: unknown, environment: Environment) =>
    resolve(file, environment)
      .apps.get('taxi')
      ?.routes.get('*')
      ?.map(({ provider }) => provider);
  const bothModes = [
    ['development', {}],
    ['production', production],
  ] as const;

  it.each(bothModes)('in %s: those that are configured are used, in their order', (_, mode) => {
    const file = routed('playmobile?', 'eskiz?', { provider: 'twilio', optional: true });
    expect(namesOf(file, { ...mode, ...eskiz })).toEqual(['eskiz']);
    expect(namesOf(file, { ...mode, ...eskiz, ...playmobile })).toEqual(['playmobile', 'eskiz']);
    expect(namesOf(file, { ...mode, ...eskiz, ...playmobile, ESKIZ_ENABLED: 'false' })).toEqual(['playmobile']);
    expect(namesOf(file, { ...mode, ...eskiz, ESKIZ_ENABLED: 'false' })).toEqual([]);
    expect(namesOf(file, mode)).toEqual([]);
  });

  it('have the inbox in development, and not in production', () => {
    const file = routed('eskiz?', 'inbox?');
    expect(namesOf(file, {})).toEqual(['inbox']);
    expect(namesOf(file, eskiz)).toEqual(['eskiz', 'inbox']);
    expect(namesOf(file, production)).toEqual([]);
    expect(namesOf(file, { ...production, ...eskiz })).toEqual(['eskiz']);
    expect(faultsOf(routed('inbox'), { ...production, ...eskiz })).toEqual([
      'apps.taxi.routes.* names the inbox, which shows every code to whoever opens it and is for development only',
    ]);
  });

  it.each(bothModes)('in %s: a name that nobody knows is a fault, however optional', (_, mode) => {
    expect(faultsOf(routed('eskizz?'), mode)).toEqual([
      'apps.taxi.routes.* names eskizz, which is no provider that Countersign knows; did you mean eskiz?',
    ]);
    expect(faultsOf(routed({ provider: 'twillio', optional: true }), mode)).toEqual([
      'apps.taxi.routes.* names twillio, which is no provider that Countersign knows; did you mean twilio?',
    ]);
    // A second account, which the file names and nothing opens yet.
    const second = {
      ...routed('eskiz-2?'),
      providers: { 'eskiz-2': { provider: 'eskiz', email: 'a@b.example', password: 'x' } },
    };
    expect(faultsOf(second, { ...mode, ESKIZ_2_ENABLED: 'false' })).toEqual([]);
  });

  it.each(bothModes)('in %s: what is not optional must be there', (_, mode) => {
    const faults = faultsOf(routed('eskiz?', 'twilio'), { ...mode, ...eskiz });
    expect(faults).toEqual([expect.stringMatching(/^apps\.taxi\.routes\.\* names twilio, which is not configured/)]);
    expect(faultsOf(routed({ provider: 'twilio', optional: false }), mode)).toHaveLength(1);
  });

  it.each(['eskiz??', '?', 'eskiz ?', '?eskiz', 'Eskiz?'])('are not written %j', (entry) => {
    const faults = faultsOf(routed(entry), eskiz);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatch(/^apps\.taxi\.routes\.\*\.0/);
  });

  it('name a provider once, optional or not', () => {
    expect(faultsOf(routed('eskiz?', 'eskiz'), eskiz)).toEqual(['apps.taxi.routes.* names a provider twice']);
    expect(faultsOf(routed('eskiz?', { provider: 'eskiz', optional: true }), eskiz)).toHaveLength(1);
  });

  it('knows the channels of one that is there, and nothing of one that is not', () => {
    const file = routed({ provider: 'eskiz', channel: 'voice', optional: true });
    expect(faultsOf(file, {})).toEqual([]);
    expect(faultsOf(file, eskiz)).toEqual([
      expect.stringMatching(/sends by voice through eskiz, which knows only sms/),
    ]);
  });

  it('that are needed and all switched off stop a start in production, and go to the inbox in development', () => {
    const off = { ...eskiz, ESKIZ_ENABLED: 'false' };
    expect(namesOf(routed('eskiz', 'playmobile?'), off)).toEqual(['inbox']);
    expect(faultsOf(routed('eskiz', 'playmobile?'), { ...production, ...off })).toEqual([
      'apps.taxi.routes.* names only providers that are switched off',
    ]);
    expect(namesOf(routed('eskiz', 'playmobile?'), { ...production, ...off, ...playmobile })).toEqual(['playmobile']);
  });
});

describe('a route that came out empty', () => {
  let server: RunningServer | undefined;
  afterEach(() => server?.close());
  const to = '+998901234567';

  it.each(['development', 'production'] as const)(
    'is 503 no-provider in %s, for /v1 and in the words of a dialect',
    async (mode) => {
      const apps = {
        taxi: { dialect: ['royal-taxi', 'marque'], routes: { '*': ['eskiz?'] } },
      } satisfies FileConfig['apps'];
      server = await startServer({ file: { mode, apps } });
      const key = await server.keyOf('taxi');
      const answer = await server.call('POST', '/v1/verifications', { key, body: { to } });
      expect(answer).toMatchObject({ status: 503, json: { code: 'no-provider' }, headers: { 'retry-after': '2' } });
      const taxi = await server.call('POST', '/api/v1/auth/send-otp', { body: { phone: to } });
      expect([taxi.status, Object.keys(taxi.json), taxi.headers['retry-after']]).toEqual([503, ['detail'], '2']);
      const shop = await server.call('POST', '/api/v1/auth/verify-code', { body: { phone: to, code: '123456' } });
      expect([shop.status, shop.json]).toEqual([
        503,
        { detail: 'SMS verification is temporarily unavailable. Please contact support.' },
      ]);
      expect(server.phone.sent).toEqual([]);
      expect(server.composed.inbox?.list() ?? []).toEqual([]);
    },
  );

  it('says the same to a program that uses the library', async () => {
    const dataDir = await makeDataDir();
    const countersign = await createCountersign({
      dataDir,
      mode: 'production',
      secret: SECRET,
      apps: { default: { routes: { '*': ['eskiz?'] } } },
    });
    expect(await countersign.verifications.start({ to })).toMatchObject({ kind: 'refused', code: 'no-provider' });
    await countersign.close();
    await removeDataDir(dataDir);
  });
});
