import { afterEach, describe, expect, it } from 'vitest';
import { ConfigError, type FileConfig, resolveConfig } from '../../src/config/load.ts';
import { type Market, marketOf } from '../../src/domain/market.ts';
import { parsePhoneNumber } from '../../src/domain/phone-number.ts';
import { providerDefinitions } from '../../src/providers/index.ts';
import { type RunningServer, startServer } from '../http/running-server.ts';
import { expectStarted, MINUTE, noLimits, openBench } from './service-bench.ts';

const KYRGYZ = '+996555123456';
const AMERICAN = '+12125551234';
const CANADIAN = '+14165551234';
const UZBEK = '+998901234567';
const KAZAKH = '+77011234567';
const RUSSIAN = '+79161234567';

type Markets = NonNullable<NonNullable<FileConfig['apps']>[string]['markets']>;

const two: Markets = {
  KG: { countries: ['+996'], locale: 'ru', codeTtlSeconds: 600, currency: 'KGS' },
  US: { countries: ['+1'], locale: 'en', codeTtlSeconds: 900, currency: 'USD' },
};

function market(id: string, ...countries: readonly string[]): Market {
  return { id, countries, locale: undefined, codeTtlMs: undefined, currency: undefined };
}

/** The market's name of a number. */
function nameFor(to: string, ...markets: readonly Market[]): string | undefined {
  const parsed = parsePhoneNumber(to, undefined);
  if (!parsed.ok) throw new Error(`${to}: ${parsed.fault}`);
  return marketOf(markets, parsed.value)?.id;
}

describe('the market of a number', () => {
  it('is that of its country, or of its prefix', () => {
    expect(nameFor(KYRGYZ, market('KG', 'KG'), market('US', 'US'))).toBe('KG');
    expect(nameFor(AMERICAN, market('KG', '+996'), market('US', '+1'))).toBe('US');
    expect(nameFor(UZBEK, market('KG', 'KG', '+1'), market('OTHER', 'KZ', 'UZ'))).toBe('OTHER');
  });

  it('is that of the longest prefix, in whichever order they are named, and a prefix before a country', () => {
    const zones = [market('NORTH', '+1'), market('TORONTO', '+1416'), market('CANADA', 'CA')];
    for (const order of [zones, zones.toReversed()]) {
      expect(nameFor(CANADIAN, ...order)).toBe('TORONTO');
      expect(nameFor(AMERICAN, ...order)).toBe('NORTH');
      expect(nameFor('+16045551234', ...order)).toBe('NORTH');
    }
    const countries = [market('CANADA', 'CA'), market('STATES', 'US')];
    expect(nameFor('+16045551234', ...countries)).toBe('CANADA');
    expect(nameFor(AMERICAN, ...countries)).toBe('STATES');
  });

  it('tells countries apart that share a calling code', () => {
    const markets = [market('KZ', 'KZ'), market('RU', 'RU')];
    expect([nameFor(KAZAKH, ...markets), nameFor(RUSSIAN, ...markets)]).toEqual(['KZ', 'RU']);
    const byPrefix = [market('RU', '+7'), market('KZ', '+77')];
    expect([nameFor(KAZAKH, ...byPrefix), nameFor(RUSSIAN, ...byPrefix)]).toEqual(['KZ', 'RU']);
  });

  it('is none where neither fits, and a whole number is a prefix of itself', () => {
    expect(nameFor(UZBEK, market('KG', 'KG', '+996'), market('US', '+1'))).toBeUndefined();
    expect(nameFor(UZBEK)).toBeUndefined();
    expect(nameFor(UZBEK, market('ONE', UZBEK), market('ALL', 'UZ', '+998'))).toBe('ONE');
    expect(nameFor('+998901234568', market('ONE', UZBEK), market('ALL', 'UZ', '+998'))).toBe('ALL');
  });
});

describe('a code for a market', () => {
  const open = (markets: Markets, more = {}) => openBench({ markets, limits: noLimits, brand: 'Marque', ...more });

  it('lives as long and is worded as the market says', async () => {
    const { countersign, clock, fake } = await open(two, { codeTtlSeconds: 120, locale: 'uz' });
    const from = clock.now;
    for (const [to, locale, minutes] of [
      [KYRGYZ, 'ru', 10],
      [AMERICAN, 'en', 15],
      [CANADIAN, 'en', 15],
    ] as const) {
      const { verification } = expectStarted(await countersign.verifications.start({ to }));
      expect(verification).toMatchObject({ locale, expiresAt: from + minutes * MINUTE });
      expect(fake.received.at(-1)).toMatchObject({ locale, validitySeconds: minutes * 60 });
      expect(fake.texts.at(-1)).toMatch(locale === 'ru' ? /[а-я]/ : /^[\x20-\x7e]+$/);
      expect(fake.texts.at(-1)).toMatch(new RegExp(`(?<!\\d)${minutes}(?!\\d)`));
    }
  });

  it('dies at that very millisecond', async () => {
    const { countersign, clock, fake } = await open(two);
    expectStarted(await countersign.verifications.start({ to: AMERICAN }));
    const american = fake.lastCode;
    expectStarted(await countersign.verifications.start({ to: KYRGYZ }));
    const kyrgyz = fake.lastCode;
    clock.advance(10 * MINUTE);
    expect(await countersign.verifications.check({ to: KYRGYZ, code: kyrgyz })).toMatchObject({ kind: 'refused' });
    clock.advance(5 * MINUTE - 1);
    expect(await countersign.verifications.check({ to: AMERICAN, code: american })).toMatchObject({ kind: 'approved' });
    expectStarted(await countersign.verifications.start({ to: AMERICAN }));
    clock.advance(15 * MINUTE);
    expect(await countersign.verifications.check({ to: AMERICAN, code: fake.lastCode })).toMatchObject({
      kind: 'refused',
    });
  });

  it('has the app’s own lifetime and language where the market says none, and what a request asks for before both', async () => {
    const { countersign, clock, fake } = await open(
      { KG: { countries: ['KG'] }, US: { countries: ['US'], locale: 'en' } },
      { codeTtlSeconds: 120, locale: 'uz' },
    );
    const start = async (to: string, locale?: string) =>
      expectStarted(
        await countersign.verifications.start({ to, purpose: `${to} ${locale}`, ...(locale ? { locale } : {}) }),
      ).verification;
    expect(await start(KYRGYZ)).toMatchObject({ locale: 'uz', expiresAt: clock.now + 2 * MINUTE });
    expect(await start(AMERICAN)).toMatchObject({ locale: 'en', expiresAt: clock.now + 2 * MINUTE });
    expect(await start(AMERICAN, 'ru-RU')).toMatchObject({ locale: 'ru' });
    expect(fake.texts.at(-1)).toMatch(/[а-я]/);
  });

  it('is sent again in the market’s language, and says the minutes that are left', async () => {
    const { countersign, clock, fake } = await open(two);
    const { id } = expectStarted(await countersign.verifications.start({ to: AMERICAN })).verification;
    clock.advance(6 * MINUTE);
    expectStarted(await countersign.verifications.resend({ id }));
    expect(fake.received.at(-1)).toMatchObject({ locale: 'en', validitySeconds: 540 });
    expect(fake.texts.at(-1)).toMatch(/(?<!\d)9(?!\d)/);
  });

  it('is refused for a number of no market, and nothing is counted, stored or sent', async () => {
    const { countersign, fake } = await open(two, {
      limits: { ...noLimits, perNumber: [{ max: 1, windowSeconds: 60 }] },
    });
    for (let time = 0; time < 3; time += 1) {
      expect(await countersign.verifications.start({ to: UZBEK })).toMatchObject({
        kind: 'refused',
        code: 'country-not-allowed',
        field: 'to',
      });
    }
    expect(await countersign.messages.send({ to: UZBEK, text: 'a' })).toMatchObject({ code: 'country-not-allowed' });
    expect(await countersign.routes.explain({ to: UZBEK })).toMatchObject({ code: 'country-not-allowed' });
    expect(fake.received).toEqual([]);
    expect(await countersign.messages.list()).toEqual({ kind: 'found', messages: [] });
  });

  it('is refused where allowedCountries closes what a market opens, and the other way round', async () => {
    const { countersign } = await open(two, { allowedCountries: ['KG', 'UZ'] });
    expectStarted(await countersign.verifications.start({ to: KYRGYZ }));
    for (const to of [AMERICAN, UZBEK])
      expect(await countersign.verifications.start({ to })).toMatchObject({ code: 'country-not-allowed' });
  });
});

describe('GET /v1/numbers of an app with markets', () => {
  let server: RunningServer | undefined;
  afterEach(() => server?.close());

  it('shows market, currency and language', async () => {
    const markets: Markets = { ...two, KZ: { countries: ['KZ'] } };
    server = await startServer({ file: { apps: { default: { markets }, plain: {} } } });
    const read = async (number: string, app = 'default') =>
      server?.call('GET', `/v1/numbers/${encodeURIComponent(number)}`, { key: await server.keyOf(app) });
    expect(await read(KYRGYZ)).toMatchObject({
      status: 200,
      json: { number: KYRGYZ, country: 'KG', market: 'KG', currency: 'KGS', locale: 'ru' },
    });
    expect(await read(CANADIAN)).toMatchObject({
      json: { country: 'CA', market: 'US', currency: 'USD', locale: 'en' },
    });
    const kazakh = await read(KAZAKH);
    expect(kazakh?.json).toMatchObject({ market: 'KZ' });
    expect(kazakh?.json).not.toHaveProperty('currency');
    for (const answer of [await read(UZBEK), await read(KYRGYZ, 'plain')]) {
      expect(answer?.status).toBe(200);
      expect(answer?.json).not.toHaveProperty('market');
      expect(answer?.json).not.toHaveProperty('currency');
    }
  });
});

describe('markets in a configuration', () => {
  function faultsOf(markets: unknown, more: object = {}): readonly string[] {
    try {
      resolveConfig({ apps: { shop: { markets, ...more } } }, {}, providerDefinitions, '/srv/app');
    } catch (error) {
      if (error instanceof ConfigError) return error.faults;
      throw error;
    }
    return [];
  }

  it('may have a country and prefixes within it, each once', () => {
    expect(faultsOf(two)).toEqual([]);
    expect(faultsOf({ A: { countries: ['US', '+1'] }, B: { countries: ['+1416', 'CA'] } })).toEqual([]);
    expect(faultsOf({ A: { countries: ['KG', 'US'] }, B: { countries: ['UZ', 'KG'] } })).toEqual([
      'apps.shop.markets names KG in A and in B',
    ]);
    expect(faultsOf({ A: { countries: ['+1'] }, B: { countries: ['+1'] }, C: { countries: ['+1'] } })).toEqual([
      'apps.shop.markets names +1 in A and in B',
      'apps.shop.markets names +1 in B and in C',
    ]);
    expect(faultsOf({ A: { countries: ['KG', 'KG'] } })).toEqual(['apps.shop.markets names KG in A and in A']);
  });

  it.each<readonly [object, RegExp]>([
    [{ A: { countries: ['KG'], codeTtlSeconds: 901 } }, /^apps\.shop\.markets\.A\.codeTtlSeconds must be <= 900$/],
    [{ A: { countries: ['KG'], codeTtlSeconds: 29 } }, /^apps\.shop\.markets\.A\.codeTtlSeconds must be >= 30$/],
    [{ A: { countries: ['KG'], codeTtlSeconds: 60.5 } }, /^apps\.shop\.markets\.A\.codeTtlSeconds must be integer$/],
    [{ A: { countries: ['KG'], codeTtlSeconds: '600' } }, /^apps\.shop\.markets\.A\.codeTtlSeconds must be integer$/],
    [{ A: { countries: [] } }, /^apps\.shop\.markets\.A\.countries /],
    [{ A: {} }, /^apps\.shop\.markets\.A\.countries is missing$/],
    [{ A: { countries: ['XX'] } }, /^apps\.shop\.markets\.A\.countries names XX, which is no country code/],
    [{ A: { countries: ['kg'] } }, /^apps\.shop\.markets\.A\.countries\.0 does not have the form/],
    [{ A: { countries: ['996'] } }, /^apps\.shop\.markets\.A\.countries\.0 does not have the form/],
    [{ A: { countries: ['+0'] } }, /^apps\.shop\.markets\.A\.countries\.0 does not have the form/],
    [{ A: { countries: ['KG'], locale: 'r' } }, /^apps\.shop\.markets\.A\.locale does not have the form/],
    [{ A: { countries: ['KG'], currency: 'som' } }, /^apps\.shop\.markets\.A\.currency does not have the form/],
    [
      { A: { countries: ['KG'], curency: 'KGS' } },
      /^apps\.shop\.markets\.A\.curency is not a known key; did you mean currency\?/,
    ],
    [{ kg: { countries: ['KG'] } }, /^apps\.shop\.markets\.kg does not have the form/],
  ])('are refused as %j', (markets, fault) => {
    expect(faultsOf(markets)).toEqual([expect.stringMatching(fault)]);
  });

  it.each([30, 600, 900])('may let a code live for %i s', (codeTtlSeconds) => {
    expect(faultsOf({ A: { countries: ['KG'], codeTtlSeconds } })).toEqual([]);
    expect(faultsOf({}, { codeTtlSeconds })).toEqual([]);
  });

  it('and an app without any may not let one live above 900 s either', () => {
    expect(faultsOf({}, { codeTtlSeconds: 901 })).toEqual([expect.stringMatching(/codeTtlSeconds must be <= 900$/)]);
  });
});
