import { getCountries, getExampleNumber } from 'libphonenumber-js/max';
import examples from 'libphonenumber-js/mobile/examples';
import { describe, expect, it } from 'vitest';
import { parsePhoneNumber } from '../../src/domain/phone-number.ts';
import { firstNameOf } from '../../src/domain/user.ts';

describe('the name of a new user', () => {
  function nameOf(number: string): string {
    const parsed = parsePhoneNumber(number);
    if (!parsed.ok) throw new Error(`${number} is ${parsed.fault}`);
    return firstNameOf(parsed.value);
  }

  it('is the national significant number of libphonenumber, in every country', () => {
    const mobiles = getCountries().flatMap((country) => getExampleNumber(country, examples) ?? []);
    expect(mobiles.length).toBeGreaterThan(200);
    expect(mobiles.map(({ number }) => nameOf(number))).toEqual(mobiles.map(({ nationalNumber }) => nationalNumber));
  });

  it('keeps a zero that belongs to the number', () => {
    expect(nameOf('+996555123456')).toBe('555123456');
    expect(nameOf('+390612345678')).toBe('0612345678');
  });
});
