import Type, { type TObject } from 'typebox';
import { describe, expect, it } from 'vitest';
import type { Config, Environment } from '../../src/config/config.ts';
import { ConfigError, resolveConfig } from '../../src/config/load.ts';
import { defineProvider, type ProviderDefinition } from '../../src/index.ts';
import { providerDefinitions } from '../../src/providers/index.ts';

function define(id: string, channels: readonly ['sms' | 'voice' | 'email', ...('sms' | 'voice' | 'email')[]]) {
  return defineProvider({
    id,
    kind: 'messaging',
    channels,
    settings: Type.Object({ apiKey: Type.String({ minLength: 8, secret: true }) }, { additionalProperties: false }),
    environment: { [`${id.toUpperCase()}_API_KEY`]: 'apiKey' },
    create: () => ({ send: async () => ({ kind: 'accepted', providerMessageId: '1' }) }),
  }) as unknown as ProviderDefinition<TObject>;
}

const foo = define('foo', ['sms', 'voice']);
const bar = define('bar', ['sms']);
const providers = { foo: { apiKey: 'long enough' }, bar: { apiKey: 'long enough' } };

function resolve(file: unknown, environment: Environment = {}): Config {
  return resolveConfig(file, environment, [foo, bar, ...providerDefinitions], '/srv/app');
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

const app = (settings: object) => ({ providers, apps: { default: settings } });
const routes = (route: unknown) => app({ routes: route });

describe('routes', () => {
  it('are by prefix, country or for all, with names or with more than a name', () => {
    const config = resolve(
      routes({
        '+99890': ['foo', { provider: 'bar', weight: 2.5 }],
        UZ: [{ provider: 'foo', channel: 'voice', lineTypes: ['fixed-line'] }],
        '*': ['bar'],
      }),
    );
    const plain = { channel: undefined, lineTypes: undefined, weight: undefined, isImplied: false };
    expect(config.apps.get('default')?.routes).toEqual(
      new Map([
        [
          '+99890',
          [
            { ...plain, provider: 'foo' },
            { ...plain, provider: 'bar', weight: 2.5 },
          ],
        ],
        ['UZ', [{ ...plain, provider: 'foo', channel: 'voice', lineTypes: ['fixed-line'] }]],
        ['*', [{ ...plain, provider: 'bar' }]],
      ]),
    );
  });

  it('that nobody wrote are implied: all that are configured, in their order', () => {
    expect(resolve({ providers }).apps.get('default')?.routes.get('*')).toMatchObject([
      { provider: 'foo', isImplied: true },
      { provider: 'bar', isImplied: true },
    ]);
  });

  it.each<readonly [object, RegExp]>([
    [{ '*': ['fooo'] }, /^apps\.default\.routes\.\* names fooo, which is not configured; did you mean foo\?$/],
    [
      { '*': [{ provider: 'bar', channel: 'voice' }] },
      /^apps\.default\.routes\.\* sends by voice through bar, which knows only sms$/,
    ],
    [{ UZ: ['foo', 'bar', 'foo'] }, /^apps\.default\.routes\.UZ names a provider twice$/],
    [
      {
        UZ: [
          { provider: 'foo', weight: 1 },
          { provider: 'foo', weight: 2 },
        ],
      },
      /^apps\.default\.routes\.UZ names a provider twice$/,
    ],
    [{ XX: ['foo'] }, /^apps\.default\.routes\.XX names XX/],
    [{ '*': [] }, /^apps\.default\.routes\.\* /],
    [{ '*': [{ provider: 'foo', weight: 0 }] }, /^apps\.default\.routes\.\*\.0/],
    [{ '*': [{ provider: 'foo', weight: 1001 }] }, /^apps\.default\.routes\.\*\.0/],
    [{ '*': [{ provider: 'foo', lineTypes: [] }] }, /^apps\.default\.routes\.\*\.0/],
    [{ '*': [{ provider: 'foo', lineTypes: ['landline'] }] }, /^apps\.default\.routes\.\*\.0/],
    [{ '*': [{ provider: 'foo', channel: 'fax' }] }, /^apps\.default\.routes\.\*\.0/],
    [{ '*': [{ provider: 'foo', wieght: 1 }] }, /^apps\.default\.routes\.\*\.0/],
    ...['+0', '+', '99890', '+99890123456789', 'uz', 'UZB', '+998 90', '**'].map(
      (key) => [{ [key]: ['foo'] }, /^apps\.default\.routes\.\S.* does not have the form/] as const,
    ),
  ])('are refused as %j', (route, fault) => {
    const faults = faultsOf(routes(route));
    expect(faults).toContainEqual(expect.stringMatching(fault));
  });

  it.each([
    [{ exchangeRates: { usd: 1 } }, /^exchangeRates\.usd does not have the form/],
    [{ apps: { default: { texts: { Русский: '{code}' } } } }, /^apps\.default\.texts\.Русский does not have the form/],
    [{ providers: { ...providers, 'Foo 2': foo } }, /^providers\.Foo 2 does not have the form/],
  ])('and whatever else has names of the person’s own let none pass unread: %j', (file, fault) => {
    expect(faultsOf(file)).toContainEqual(expect.stringMatching(fault));
  });

  it('may name a provider twice by two channels, or for two line types', () => {
    expect(
      faultsOf(
        routes({
          '*': [
            { provider: 'foo', channel: 'sms' },
            { provider: 'foo', channel: 'voice', lineTypes: ['mobile'] },
            { provider: 'foo', channel: 'voice', lineTypes: ['fixed-line'] },
          ],
        }),
      ),
    ).toEqual([]);
  });

  it('of the app default come from COUNTERSIGN_ROUTE, which a fault then names', () => {
    expect(resolve({ providers }, { COUNTERSIGN_ROUTE: 'bar, foo' }).apps.get('default')?.routes).toEqual(
      new Map([['*', [expect.objectContaining({ provider: 'bar' }), expect.objectContaining({ provider: 'foo' })]]]),
    );
    // It named a key of a file that the person does not have.
    expect(faultsOf({ providers }, { COUNTERSIGN_ROUTE: 'bar,fooo' })).toEqual([
      'COUNTERSIGN_ROUTE names fooo, which is not configured; did you mean foo?',
    ]);
    expect(faultsOf({ providers }, { COUNTERSIGN_ROUTE: 'foo,foo' })).toEqual([
      'COUNTERSIGN_ROUTE names a provider twice',
    ]);
    expect(faultsOf({ providers }, { COUNTERSIGN_ROUTE: 'Foo' })[0]).toMatch(/^COUNTERSIGN_ROUTE/);
    expect(faultsOf({ providers }, { COUNTERSIGN_ROUTE: ' , ' })[0]).toMatch(/^COUNTERSIGN_ROUTE/);
    expect(faultsOf({ providers, apps: { taxi: {} } }, { COUNTERSIGN_ROUTE: 'foo' })).toEqual([
      'COUNTERSIGN_ROUTE is about the app default, and apps names none',
    ]);
    expect(faultsOf({ providers }, { COUNTERSIGN_COUNTRY: 'XX' })[0]).toMatch(/^COUNTERSIGN_COUNTRY names XX/);
  });
});

describe('an app', () => {
  it.each([
    [{ autofill: { appHashes: ['short'] } }, /^apps\.default\.autofill\.appHashes names short/],
    [{ autofill: { appHashes: ['FA+9qCX9VSu', 'FA+9qCX9VS='] } }, /appHashes names FA\+9qCX9VS=/],
    [{ autofill: { domain: 'https://example.com' } }, /^apps\.default\.autofill\.domain must be a host alone/],
    [{ autofill: { domain: 'example.com:8080' } }, /autofill\.domain/],
    [{ autofill: { domain: '192.0.2.1' } }, /autofill\.domain/],
    [{ autofill: { domain: 'example.com #111111' } }, /autofill\.domain/],
    [{ budget: { perDay: 0 } }, /^apps\.default\.budget\.perDay/],
    [{ budget: {} }, /^apps\.default\.budget\.perDay is missing/],
    [{ budget: { perDay: 1, currency: 'XTS' } }, /^apps\.default\.budget\.currency XTS has no rate/],
    [{ budget: { perDay: 1, currency: 'usd' } }, /^apps\.default\.budget\.currency/],
    [{ budget: { perDay: 1, warnAtPercent: 101 } }, /^apps\.default\.budget\.warnAtPercent/],
  ])('is refused with %j', (settings, fault) => {
    const faults = faultsOf(app(settings));
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatch(fault);
  });

  it('may spend in any currency that has a rate', () => {
    const config = resolve({
      ...app({ budget: { perDay: 12.5, currency: 'XTS', warnAtPercent: 50 } }),
      exchangeRates: { XTS: 3 },
    });
    expect(config.apps.get('default')?.budget).toEqual({
      maxMicros: 12_500_000,
      warnMicros: 6_250_000,
      currency: 'XTS',
    });
  });

  it('cannot keep a budget where a price has no rate: what costs so much would count as free', () => {
    const prices = [{ provider: 'foo', country: 'UZ', amount: 5, currency: 'XTS' }];
    expect(faultsOf({ ...app({}), prices })).toEqual([]);
    expect(faultsOf({ ...app({ budget: { perDay: 1 } }), prices })).toEqual([
      'apps.default.budget cannot count what foo costs: XTS has no rate; name it in exchangeRates',
    ]);
    expect(faultsOf({ ...app({ budget: { perDay: 1 } }), prices, exchangeRates: { XTS: 2 } })).toEqual([]);
  });
});

describe('what every provider may be told', () => {
  it('comes from the file or from a variable with its name, which wins', () => {
    const config = resolve(
      {
        providers: {
          foo: { apiKey: 'long enough', maxPerSecond: 5, deadlineSeconds: 2, reportTimeoutSeconds: 60 },
          bar: providers.bar,
        },
      },
      { FOO_MAX_PER_SECOND: '0.5', BAR_REPORT_TIMEOUT_SECONDS: '30', BAR_DEADLINE_SECONDS: '0.5' },
    );
    expect(config.providers.map(({ id, common }) => [id, common])).toEqual([
      ['foo', { deadlineMs: 2000, maxPerSecond: 0.5, reportTimeoutMs: 60_000 }],
      ['bar', { deadlineMs: 500, maxPerSecond: undefined, reportTimeoutMs: 30_000 }],
    ]);
  });

  it('has the variables of the built-in ones: ESKIZ_MAX_PER_SECOND, TWILIO_VOICE_DEADLINE_SECONDS', () => {
    const environment = {
      ESKIZ_EMAIL: 'a@example.org',
      ESKIZ_PASSWORD: 'long enough',
      ESKIZ_MAX_PER_SECOND: '10',
      ESKIZ_REPORT_TIMEOUT_SECONDS: '45',
      ESKIZ_DEADLINE_SECONDS: '2.5',
    };
    expect(resolve({}, environment).providers).toMatchObject([
      { id: 'eskiz', common: { maxPerSecond: 10, reportTimeoutMs: 45_000, deadlineMs: 2500 } },
    ]);
    for (const [variable, value] of [
      ['ESKIZ_MAX_PER_SECOND', 'many'],
      ['ESKIZ_MAX_PER_SECOND', '-1'],
      ['ESKIZ_REPORT_TIMEOUT_SECONDS', '4'],
      ['ESKIZ_DEADLINE_SECONDS', '8.5'],
    ] as const) {
      const faults = faultsOf({}, { ...environment, [variable]: value });
      expect(faults).toHaveLength(1);
      expect(faults[0]).toMatch(new RegExp(`^${variable} `));
    }
  });

  it.each([
    { maxPerSecond: 0 },
    { maxPerSecond: 10_001 },
    { reportTimeoutSeconds: 4 },
    { reportTimeoutSeconds: 901 },
    { reportTimeoutSeconds: 7.5 },
    { deadlineSeconds: 0.4 },
    { deadlineSeconds: 8.1 },
  ])('has bounds: %j', (common) => {
    const faults = faultsOf({ providers: { foo: { apiKey: 'long enough', ...common } } });
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatch(new RegExp(`^providers\\.foo\\.${Object.keys(common)[0]} `));
  });

  it.each([
    { maxPerSecond: 10_000, reportTimeoutSeconds: 5, deadlineSeconds: 0.5 },
    { maxPerSecond: 0.01, reportTimeoutSeconds: 900, deadlineSeconds: 8 },
  ])('may be %j', (common) => {
    expect(faultsOf({ providers: { foo: { apiKey: 'long enough', ...common } } })).toEqual([]);
  });
});

describe('a second account of one vendor', () => {
  it('under a name of its own takes none of the first one’s variables', () => {
    const environment = { FOO_API_KEY: 'of the first', FOO_MAX_PER_SECOND: '7', FOO_WEST_MAX_PER_SECOND: '9' };
    const config = resolve({ providers: { 'foo-west': { definition: foo, apiKey: 'of the second' } } }, environment);
    expect(config.providers.map(({ id, settings, common }) => [id, settings['apiKey'], common.maxPerSecond])).toEqual([
      ['foo', 'of the first', 7],
      ['foo-west', 'of the second', 9],
    ]);
    expect(faultsOf({ providers: { 'foo-west': { definition: foo } } }, environment)).toEqual([
      'providers.foo-west.apiKey is missing',
    ]);
  });

  it('is one of a built-in provider by its name', () => {
    const config = resolve(
      { providers: { 'eskiz-2': { provider: 'eskiz', email: 'b@example.org', password: 'long enough' } } },
      { ESKIZ_EMAIL: 'a@example.org', ESKIZ_PASSWORD: 'of the first' },
    );
    expect(config.providers.map(({ id, definition, settings }) => [id, definition.id, settings['email']])).toEqual([
      ['eskiz', 'eskiz', 'a@example.org'],
      ['eskiz-2', 'eskiz', 'b@example.org'],
    ]);
  });

  it('reads a variable where the file says so', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is what a file says, and no template of ours
    const file = { providers: { two: { provider: 'foo', apiKey: '${FOO_TWO_KEY}' } } };
    expect(resolve(file, { FOO_TWO_KEY: 'of the second' }).providers[0]?.settings).toEqual({ apiKey: 'of the second' });
    expect(faultsOf(file)).toContain('providers.two.apiKey names FOO_TWO_KEY, and that variable is not set');
  });
});

describe('faults', () => {
  it('of routes, prices, endings, budgets and providers come all at once', () => {
    const faults = faultsOf(
      {
        mode: 'production',
        providers: { foo: { apiKey: 'short', maxPerSecond: 0 }, bar: { apiKey: 'long enough', deadlineSeconds: 99 } },
        apps: {
          one: { routes: { '*': ['nobody'], UZ: ['bar', 'bar'] }, autofill: { domain: 'http://x', appHashes: ['x'] } },
          two: { routes: { '99890': ['foo'] }, budget: { perDay: 1, currency: 'XTS' } },
        },
      },
      { COUNTERSIGN_ROUT: 'foo' },
    ).join('\n');
    for (const part of [
      'COUNTERSIGN_SECRET is missing',
      'COUNTERSIGN_ROUT is not a known variable; did you mean COUNTERSIGN_ROUTE?',
      'providers.foo.apiKey',
      'providers.foo.maxPerSecond',
      'providers.bar.deadlineSeconds',
      'apps.one.routes.* names nobody',
      'apps.one.routes.UZ names a provider twice',
      'apps.one.autofill.domain',
      'apps.one.autofill.appHashes names x',
      'apps.two.routes.99890',
      'apps.two.budget.currency XTS',
    ])
      expect(faults).toContain(part);
  });
});
