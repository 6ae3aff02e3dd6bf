import { getCountries } from 'libphonenumber-js/max';
import { describe, expect, it } from 'vitest';
import { convert, createPriceBook, estimateApproval, estimateDispatch, pricedPer } from '../../src/domain/price.ts';
import { type Channel, channels } from '../../src/domain/provider.ts';
import table from '../../src/prices/prices.json' with { type: 'json' };
import { knownProviders, loadPriceBook, tableVersion } from '../../src/prices/prices.ts';
import { providerDefinitions } from '../../src/providers/index.ts';

const DAY = /^20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$/;
const usd = (micros: number) => ({ micros, currency: 'USD' });
const uzs = (units: number) => ({ micros: units * 1_000_000, currency: 'UZS' });
const by = (provider: string, country: string, channel: Channel = 'sms') => ({
  provider,
  country,
  channel,
  segments: 1,
});

describe('the built-in table', () => {
  it('has words, countries and days as the types promise', () => {
    expect(tableVersion).toMatch(DAY);
    for (const row of table.rows) {
      expect(channels).toContain(row.channel);
      expect(pricedPer).toContain(row.per);
      expect(['*', ...getCountries()]).toContain(row.country);
      expect(['vendor', 'reported', 'estimate']).toContain(row.confidence);
      expect(row.source.length).toBeGreaterThan(10);
      expect(row.readOn).toMatch(DAY);
      expect(row.readOn <= tableVersion).toBe(true);
    }
    for (const { terms, countries = [] } of table.providers) {
      expect(['list', 'contract']).toContain(terms);
      for (const country of countries) expect(getCountries()).toContain(country);
    }
  });

  it('has each price once, in a currency that has a rate', () => {
    const keys = table.rows.map(({ provider, country, channel, per }) => [provider, country, channel, per].join(' '));
    expect(new Set(keys).size).toBe(keys.length);
    const { rates } = loadPriceBook();
    for (const { currency } of table.rows) expect([...rates.keys()]).toContain(currency);
  });

  it('says of each rate where it comes from, and from which day it is', () => {
    for (const { currency, perUsd, source, readOn } of table.rates) {
      expect(currency).toMatch(/^[A-Z]{3}$/);
      expect(perUsd).toBeGreaterThan(0);
      expect(source).toMatch(/^(?:approximation; compare https:|pegged to the dollar)/);
      expect(readOn).toMatch(DAY);
    }
  });

  it('names every provider that there is, and none with a price by contract', () => {
    const known = knownProviders.map(({ id }) => id);
    expect(new Set(known).size).toBe(known.length);
    // What is sent to the inbox costs nothing: it is for development.
    const ids = providerDefinitions.map(({ id }) => id).filter((id) => id !== 'inbox');
    expect(known).toEqual(expect.arrayContaining([...ids, ...table.rows.map(({ provider }) => provider)]));
    const priced = new Set(table.rows.map(({ provider }) => provider));
    expect(knownProviders.filter(({ id, terms }) => terms === 'contract' && priced.has(id))).toEqual([]);
  });

  it.each([
    ['twilio', 'UZ', usd(53_000)],
    ['twilio', 'KG', usd(100_000)],
    ['twilio', 'RU', usd(11_700)],
    ['twilio', 'SA', usd(50_000)],
    ['twilio', 'US', usd(7900)],
    ['twilio-verify', 'UZ', usd(53_000)],
    ['twilio-verify', 'KG', usd(100_000)],
    ['twilio-verify', 'RU', usd(11_700)],
    ['twilio-verify', 'SA', usd(50_000)],
    ['twilio-verify', 'US', usd(7500)],
    ['eskiz', 'UZ', uzs(50)],
    ['playmobile', 'UZ', uzs(60)],
    ['sms-uz', 'UZ', uzs(70)],
  ])('knows what an SMS by %s to %s costs', (provider, country, expected) => {
    expect(estimateDispatch(loadPriceBook(), by(provider, country))).toEqual(expected);
  });

  it('knows what Telegram costs, the same everywhere', () => {
    for (const country of ['UZ', 'US', 'BR'])
      expect(estimateDispatch(loadPriceBook(), by('telegram', country, 'telegram'))).toEqual(usd(10_000));
  });

  it('knows that only Twilio Verify takes something for an approval', () => {
    expect(table.rows.filter(({ per }) => per === 'approval').map(({ provider }) => provider)).toEqual([
      'twilio-verify',
    ]);
    for (const country of ['UZ', 'US', 'BR'])
      expect(estimateApproval(loadPriceBook(), by('twilio-verify', country))).toEqual(usd(50_000));
    expect(estimateApproval(loadPriceBook(), by('twilio', 'US'))).toBeUndefined();
  });
});

describe("the operator's prices", () => {
  const eskiz = { provider: 'eskiz', country: 'UZ', channel: 'sms', currency: 'UZS' } as const;

  it('take the place of ours', () => {
    const book = loadPriceBook([{ ...eskiz, per: 'segment', amount: 45 }]);
    expect(estimateDispatch(book, by('eskiz', 'UZ'))).toEqual(uzs(45));
    expect(estimateDispatch(book, by('playmobile', 'UZ'))).toEqual(uzs(60));
  });

  it('are the whole price of a hand-over, also where they are billed otherwise than ours', () => {
    const book = loadPriceBook([{ ...eskiz, per: 'delivered', amount: 48 }]);
    expect(estimateDispatch(book, by('eskiz', 'UZ'))).toEqual(uzs(48));
  });

  it('of messages leave the price of an approval as it is, and the other way round', () => {
    const verify = { provider: 'twilio-verify', country: 'UZ', channel: 'sms', currency: 'USD' } as const;
    const messages = loadPriceBook([{ ...verify, per: 'segment', amount: 0.02 }]);
    expect(estimateDispatch(messages, by('twilio-verify', 'UZ'))).toEqual(usd(20_000));
    expect(estimateApproval(messages, by('twilio-verify', 'UZ'))).toEqual(usd(50_000));
    const approvals = loadPriceBook([{ ...verify, per: 'approval', amount: 0.03 }]);
    expect(estimateDispatch(approvals, by('twilio-verify', 'UZ'))).toEqual(usd(53_000));
    expect(estimateApproval(approvals, by('twilio-verify', 'UZ'))).toEqual(usd(30_000));
    expect(estimateApproval(approvals, by('twilio-verify', 'KG'))).toEqual(usd(50_000));
  });

  it('need no source, and keep the one they have', () => {
    const rowsOf = (source: { source?: string }) =>
      loadPriceBook([{ ...eskiz, per: 'segment', amount: 45, ...source }])
        .tariffs.get('eskiz')
        ?.get('sms')
        ?.get('UZ')?.rows;
    expect(rowsOf({})?.map((row) => row.source)).toEqual(['your configuration']);
    expect(rowsOf({ source: 'contract of May' })?.map((row) => row.source)).toEqual(['contract of May']);
  });

  it('can be in a currency of their own, with its rate', () => {
    const book = loadPriceBook([{ ...eskiz, per: 'segment', amount: 0.01, currency: 'GBP' }], {
      GBP: 0.8,
      UZS: 12_000,
    });
    expect(convert(book, { micros: 10_000, currency: 'GBP' }, 'USD')).toEqual(usd(12_500));
    expect(convert(book, usd(1), 'UZS')).toEqual({ micros: 12_000, currency: 'UZS' });
    expect(convert(book, usd(4), 'SAR')).toEqual({ micros: 15, currency: 'SAR' });
  });

  it('make the same book as the rows alone when there are none', () => {
    const rates = Object.fromEntries(table.rates.map(({ currency, perUsd }) => [currency, perUsd]));
    expect(loadPriceBook()).toEqual(createPriceBook(table.rows as never, rates));
  });
});
