import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  convert,
  createPriceBook,
  estimateApproval,
  estimateDispatch,
  formatMoney,
  groupThousands,
  type Price,
  tariffsIn,
} from '../../src/domain/price.ts';

const rates = { EUR: 0.8, UZS: 12_500 };

function price(row: Partial<Price>): Price {
  return {
    provider: 'acme',
    country: 'UZ',
    channel: 'sms',
    per: 'segment',
    amount: 0.0079,
    currency: 'USD',
    source: 'a test',
    readOn: '2026-11-20',
    ...row,
  };
}

const book = (...rows: Partial<Price>[]) => createPriceBook(rows.map(price), rates);
const toUz = { provider: 'acme', country: 'UZ', channel: 'sms', segments: 1 } as const;
const usd = (micros: number) => ({ micros, currency: 'USD' });

describe('the price of a hand-over', () => {
  it('is in whole micros, whatever the decimal amount is as a binary number', () => {
    expect(estimateDispatch(book({ amount: 0.0079 }), toUz)).toEqual(usd(7900));
    expect(estimateDispatch(book({ amount: 0.053 }), toUz)).toEqual(usd(53_000));
    const amounts = fc.integer({ min: 0, max: 10_000_000_000 });
    fc.assert(
      fc.property(amounts, fc.integer({ min: 1, max: 255 }), (micros, segments) => {
        const found = estimateDispatch(book({ amount: micros / 1_000_000 }), { ...toUz, segments });
        expect(found).toEqual(usd(micros * segments));
      }),
    );
  });

  it('grows with the segments, where they are billed', () => {
    expect(estimateDispatch(book({}), { ...toUz, segments: 3 })).toEqual(usd(23_700));
    expect(estimateDispatch(book({ per: 'message' }), { ...toUz, segments: 3 })).toEqual(usd(7900));
    expect(estimateDispatch(book({ per: 'delivered' }), { ...toUz, segments: 3 })).toEqual(usd(7900));
  });

  it('is the sum of all that is billed for it', () => {
    const fees = book({ amount: 0.01 }, { per: 'message', amount: 0.002 }, { per: 'delivered', amount: 0.0003 });
    expect(estimateDispatch(fees, { ...toUz, segments: 2 })).toEqual(usd(22_300));
  });

  it('is summed in the currency of the first row', () => {
    const mixed = book({ amount: 50, currency: 'UZS' }, { per: 'message', amount: 0.01, currency: 'USD' });
    expect(estimateDispatch(mixed, toUz)).toEqual({ micros: 175_000_000, currency: 'UZS' });
  });

  it('is not known for another provider, channel or country', () => {
    const known = book({});
    expect(estimateDispatch(known, { ...toUz, provider: 'other' })).toBeUndefined();
    expect(estimateDispatch(known, { ...toUz, channel: 'voice' })).toBeUndefined();
    expect(estimateDispatch(known, { ...toUz, country: 'KG' })).toBeUndefined();
    expect(estimateDispatch(known, { ...toUz, country: undefined })).toBeUndefined();
  });

  it('is not known where only the approval has a price', () => {
    expect(estimateDispatch(book({ per: 'approval' }), toUz)).toBeUndefined();
  });

  it('is nothing where it is known to be free', () => {
    expect(estimateDispatch(book({ amount: 0 }), toUz)).toEqual(usd(0));
  });
});

describe('a price for every country', () => {
  const verify = book(
    { country: '*', per: 'approval', amount: 0.05 },
    { country: 'KG', amount: 0.1 },
    { country: '*', per: 'message', amount: 0.03 },
  );

  it('holds where a country has no row, and for numbers of no country', () => {
    expect(estimateDispatch(verify, { ...toUz, country: 'DE' })).toEqual(usd(30_000));
    expect(estimateDispatch(verify, { ...toUz, country: undefined })).toEqual(usd(30_000));
  });

  it('is not added to what a country has of its own', () => {
    expect(estimateDispatch(verify, { ...toUz, country: 'KG' })).toEqual(usd(100_000));
  });

  it('gives the approval to a country that has only a price of messages', () => {
    expect(estimateApproval(verify, { ...toUz, country: 'KG' })).toEqual(usd(50_000));
    expect(estimateApproval(verify, { ...toUz, country: 'DE' })).toEqual(usd(50_000));
    expect(estimateApproval(verify, { ...toUz, channel: 'voice' })).toBeUndefined();
  });

  it('gives way to a country that has its own price of approvals', () => {
    const both = book({ country: '*', per: 'approval', amount: 0.05 }, { per: 'approval', amount: 0.04 });
    expect(estimateApproval(both, toUz)).toEqual(usd(40_000));
    expect(estimateApproval(both, { ...toUz, country: 'KG' })).toEqual(usd(50_000));
  });
});

describe('a price book', () => {
  it('takes the later of two rows for the same thing', () => {
    expect(estimateDispatch(book({ amount: 0.05 }, { amount: 0.04 }), toUz)).toEqual(usd(40_000));
  });

  it('lists the tariffs of a country with the rows that are in force', () => {
    const several = book(
      { provider: 'b', country: '*', channel: 'telegram' },
      { provider: 'b', country: 'KG' },
      { provider: 'a', amount: 0.05 },
      { provider: 'a', amount: 0.04 },
    );
    const found = tariffsIn(several, 'UZ').map(({ provider, channel, rows }) => [
      provider,
      channel,
      rows.map(({ amount }) => amount),
    ]);
    expect(found).toEqual([
      ['b', 'telegram', [0.0079]],
      ['a', 'sms', [0.04]],
    ]);
  });

  it.each([
    [{ amount: -0.01 }, 'the amount -0.01 is no price'],
    [{ amount: Number.NaN }, 'the amount NaN is no price'],
    [{ amount: 1e12 }, 'the amount 1000000000000 is no price'],
    [{ currency: '$' }, "'$' is no currency of ISO 4217"],
    [{ country: 'uz' }, "'uz' is no country of ISO 3166-1"],
    [{ channel: 'fax' as 'sms' }, "'fax' is no channel"],
    [{ per: 'minute' as 'segment' }, "'minute' is nothing that is billed"],
  ])('refuses %j and names the row', (row, message) => {
    expect(() => book(row)).toThrow(RangeError);
    expect(() => book(row)).toThrow(message);
    expect(() => book(row)).toThrow(/^price of acme in /);
  });

  it('refuses two currencies in one sum when there is no rate between them', () => {
    expect(() => book({}, { per: 'message', currency: 'GBP' })).toThrow('no exchange rate between GBP and USD');
  });

  it.each([
    [{ EUR: 0 }, 'the rate of EUR must be above 0'],
    [{ EUR: Number.POSITIVE_INFINITY }, 'the rate of EUR must be above 0'],
    [{ USD: 2 }, 'the rate of USD is 1'],
  ])('refuses the rates %j', (given, message) => {
    expect(() => createPriceBook([], given)).toThrow(message);
  });
});

describe('conversion', () => {
  const empty = book();

  it('goes by units per dollar, in both directions and across', () => {
    expect(convert(empty, { micros: 50_000_000, currency: 'UZS' }, 'USD')).toEqual(usd(4000));
    expect(convert(empty, usd(53_000), 'UZS')).toEqual({ micros: 662_500_000, currency: 'UZS' });
    expect(convert(empty, { micros: 800_000, currency: 'EUR' }, 'UZS')).toEqual({
      micros: 12_500_000_000,
      currency: 'UZS',
    });
  });

  it('leaves whole micros', () => {
    expect(convert(empty, { micros: 1_000_000, currency: 'UZS' }, 'EUR')).toEqual({ micros: 64, currency: 'EUR' });
    expect(convert(empty, { micros: 10_000, currency: 'UZS' }, 'USD')).toEqual(usd(1));
  });

  it('is undefined for a currency without a rate, except to itself', () => {
    expect(convert(empty, usd(1), 'GBP')).toBeUndefined();
    expect(convert(empty, { micros: 1, currency: 'GBP' }, 'USD')).toBeUndefined();
    expect(convert(empty, { micros: 1, currency: 'GBP' }, 'GBP')).toEqual({ micros: 1, currency: 'GBP' });
    expect(convert(empty, usd(1), 'constructor')).toBeUndefined();
  });
});

describe('money as text', () => {
  it.each([
    [53_000, 'USD', '$0.0530'],
    [50_000, 'USD', '$0.0500'],
    [53_000_000, 'USD', '$53.00'],
    [1_030_000_000, 'USD', '$1 030.00'],
    [0, 'USD', '$0.00'],
    [57_550, 'USD', '$0.05755'],
    [3, 'USD', '$0.000003'],
    [-53_000, 'USD', '-$0.0530'],
    [999_999, 'USD', '$0.999999'],
    [1_999_999, 'USD', '$2.00'],
    [50_000_000, 'UZS', "50 so'm"],
    [500_000_000_000, 'UZS', "500 000 so'm"],
    [662_500_000, 'UZS', "662.50 so'm"],
    [1_200_000, 'EUR', '1.20 EUR'],
    [-1_200_000, 'EUR', '-1.20 EUR'],
  ])('%i micros of %s are %s', (micros, currency, text) => {
    expect(formatMoney({ micros, currency })).toBe(text);
  });

  it.each([
    [0, '$1 235'],
    [2, '$1 234.57'],
    [4, '$1 234.5679'],
    [6, '$1 234.567891'],
  ])('has %i digits behind the point when told so', (digits, text) => {
    expect(formatMoney(usd(1_234_567_891), digits)).toBe(text);
  });

  it('rounds an amount up to the next unit', () => {
    expect(formatMoney(usd(999_999), 2)).toBe('$1.00');
    expect(formatMoney(usd(4), 2)).toBe('$0.00');
  });

  it.each([
    ['1', '1'],
    ['999', '999'],
    ['1000', '1 000'],
    ['123456', '123 456'],
    ['1000000', '1 000 000'],
  ])('groups %s as %s', (digits, text) => {
    expect(groupThousands(digits)).toBe(text);
  });
});
