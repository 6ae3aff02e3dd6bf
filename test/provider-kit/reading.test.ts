import { describe, expect, it } from 'vitest';
import { moneyOf, numberOf, WRONG_NUMBER, wordOf } from '../../src/provider-kit/reading.ts';

// `String` and `Number` throw at it. JSON can carry it, and a report without a signature can come from anybody.
const hostile = JSON.parse('{"toString":1,"valueOf":1}') as unknown;

describe('what a vendor sends', () => {
  it('is a word only where it is a text or a number', () => {
    expect(['a', 7, '', null, undefined, true, [], {}, hostile, [hostile]].map(wordOf)).toEqual([
      'a',
      '7',
      ...Array.from({ length: 8 }, () => ''),
    ]);
  });

  it('is a number only where it is one, or a text that is one', () => {
    expect([7, '7', ' 7.5 ', -1].map(numberOf)).toEqual([7, 7, 7.5, -1]);
    for (const value of ['', ' ', 'x', '1e999', null, undefined, true, [7], hostile, [hostile]])
      expect(numberOf(value)).toBeNaN();
  });

  it('is money only where somebody could be charged so much', () => {
    expect(moneyOf(0.053, 'usd')).toEqual({ micros: 53_000, currency: 'USD' });
    for (const amount of [0, -1, Number.NaN, 1e300]) expect(moneyOf(amount, 'USD')).toBeUndefined();
    for (const currency of ['', 'dollars', undefined, hostile]) expect(moneyOf(1, currency)).toBeUndefined();
  });

  it.each([
    'Invalid phone number',
    'Recipient is not valid',
    'The mobile phone must be 12 digits.',
    '{"mobile_phone":["Неверный формат номера."]}',
  ])('blames the number for “%s”', (words) => expect(words).toMatch(WRONG_NUMBER));

  it.each([
    'Too many messages to this number',
    'Invalid number of parts',
    'Failed to send',
    'Phone is switched off',
    'Invalid text. Texts have to be approved before they can go to a phone',
  ])('does not blame the number for “%s”', (words) => expect(words).not.toMatch(WRONG_NUMBER));

  it('is read in no time, however long it is', () => {
    const startedAt = performance.now();
    WRONG_NUMBER.test('number phone '.repeat(20_000));
    expect(performance.now() - startedAt).toBeLessThan(500);
  });
});
