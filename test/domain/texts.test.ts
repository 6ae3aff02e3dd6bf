import { getCountries } from 'libphonenumber-js/max';
import { describe, expect, it } from 'vitest';
import { measureText, normalizeText, renderText, textFaults } from '../../src/domain/message-text.ts';
import { chooseLocale, defaultTexts, localeOfCountry } from '../../src/domain/texts.ts';

describe('the texts we bring along', () => {
  const texts = Object.entries(defaultTexts);
  const latinBrand = 'Twenty Letters Brand';
  const cyrillicBrand = 'Саша Чурилов и братья'.slice(0, 20);

  it('are there in six languages', () => {
    expect(Object.keys(defaultTexts).sort()).toEqual(['ar', 'en', 'kk', 'ky', 'ru', 'uz']);
  });

  describe.each(texts)('%s', (locale, text) => {
    it('has no faults, and every placeholder once', () => {
      expect(textFaults(text)).toEqual([]);
      expect([...text.matchAll(/\{\w+\}/g)].map(String).sort()).toEqual(['{brand}', '{code}', '{minutes}']);
    });

    it('is normalised', () => {
      expect(normalizeText(text)).toBe(text);
    });

    it('is one segment with a brand of 20 characters and a code of 10 digits', () => {
      expect(latinBrand).toHaveLength(20);
      const measure = measureText(renderText(text, { brand: latinBrand, code: '0123456789', minutes: 15 }));
      expect(measure.segments).toBe(1);
      expect(measure.encoding).toBe(['en', 'uz'].includes(locale) ? 'GSM-7' : 'UCS-2');
    });

    it('is one segment with a Cyrillic brand and a code of 6 digits', () => {
      expect(cyrillicBrand).toHaveLength(20);
      const measure = measureText(renderText(text, { brand: cyrillicBrand, code: '012345', minutes: 15 }));
      expect(measure).toMatchObject({ encoding: 'UCS-2', segments: 1 });
    });

    it('has the code within the first 40 characters, before the minutes', () => {
      const rendered = renderText(text, { brand: 'Royal Taxi', code: '012345', minutes: 10 });
      expect(rendered.indexOf('012345')).toBeLessThan(40);
      expect(rendered.indexOf('012345')).toBeLessThan(rendered.lastIndexOf('10'));
    });
  });

  it('begin with an Arabic letter in Arabic, so that phones lay them out right to left', () => {
    expect(defaultTexts.ar).toMatch(/^\p{Script=Arabic}/u);
  });
});

describe('choosing a locale', () => {
  const available = ['en', 'ru', 'uz', 'uz-Cyrl', 'pt-BR'];

  it.each([
    ['ru', 'ru'],
    ['ru-KZ', 'ru'],
    ['RU-kz', 'ru'],
    ['ru_RU', 'ru'],
    [' ru ', 'ru'],
    ['uz', 'uz'],
    ['uz-Latn-UZ', 'uz'],
    ['uz-Cyrl-UZ', 'uz-Cyrl'],
    ['UZ-CYRL', 'uz-Cyrl'],
    ['ru-u-nu-latn', 'ru'],
    ['uz-Cyrl-x-home', 'uz-Cyrl'],
    ['pt-br', 'pt-BR'],
  ])('takes %s for %s', (wanted, chosen) => {
    expect(chooseLocale(wanted, 'en', available)).toBe(chosen);
  });

  it.each([undefined, '', '-', 'fr', 'r', 'rus', 'pt', 'pt-PT', '*', `ru-${'a-'.repeat(10_000)}`])(
    'takes the fallback for %s',
    (wanted) => {
      expect(chooseLocale(wanted, 'en', available)).toBe('en');
    },
  );

  it('looks the fallback up as well', () => {
    expect(chooseLocale('fr', 'RU-ru', available)).toBe('ru');
    expect(chooseLocale('fr', 'de', available)).toBe('de');
  });
});

describe('the language of a country', () => {
  it.each([
    ['UZ', 'uz'],
    ['RU', 'ru'],
    ['KZ', 'ru'],
    ['KG', 'ru'],
    ['SA', 'ar'],
    ['EG', 'ar'],
    ['US', 'en'],
    ['DE', 'en'],
    [undefined, 'en'],
  ] as const)('of %s is %s', (country, locale) => {
    expect(localeOfCountry(country)).toBe(locale);
  });

  it('always has a text', () => {
    for (const country of getCountries()) expect(defaultTexts[localeOfCountry(country)]).toContain('{code}');
  });
});
