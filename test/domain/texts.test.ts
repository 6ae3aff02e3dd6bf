import { readFileSync } from 'node:fs';
import { getCountries } from 'libphonenumber-js/max';
import { describe, expect, it } from 'vitest';
import { measureText, normalizeText, renderText, textFaults } from '../../src/domain/message-text.ts';
import { withEnding } from '../../src/domain/text-ending.ts';
import { lintText } from '../../src/domain/text-lint.ts';
import { chooseLocale, defaultTexts, localeOfCountry } from '../../src/domain/texts.ts';

describe('the texts we bring along', () => {
  const texts = Object.entries(defaultTexts);
  const latinBrand = 'Twenty Letters Brand';
  const cyrillicBrand = 'Саша Чурилов и братья'.slice(0, 20);
  const inGsm7 = ['de', 'en', 'fr', 'it', 'pl', 'tk', 'tr', 'uz'];

  it('are there in 27 languages', () => {
    expect(Object.keys(defaultTexts).sort().join(' ')).toBe(
      'ar az be de en es fa fr hi it ka kk ko ky mn pl pt-BR ru tg tk tr tt uk ur uz uz-Cyrl zh',
    );
  });

  it('are named by tags as BCP 47 writes them', () => {
    const tags = Object.keys(defaultTexts);
    expect(Intl.getCanonicalLocales(tags)).toEqual(tags);
  });

  it('are listed in docs/texts.md, each with its encoding', () => {
    const page = readFileSync(new URL('../../docs/texts.md', import.meta.url), 'utf8');
    const rows = [...page.matchAll(/^\| `(\S+)` \| [^|]+ \| (.+) \| ((?:GSM-7|UCS-2)) \|$/gm)].map((row) =>
      row.slice(1),
    );
    const expected = texts.map(([locale, text]) => {
      const shown = renderText(text, { brand: 'Acme', code: '123456', minutes: 10 });
      return [locale, shown, measureText(shown).encoding];
    });
    expect(rows).toEqual(expected);
  });

  it('differ from each other', () => {
    expect(new Set(Object.values(defaultTexts)).size).toBe(texts.length);
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
      expect(measure.encoding).toBe(inGsm7.includes(locale) ? 'GSM-7' : 'UCS-2');
    });

    it('is one segment with a Cyrillic brand and a code of 6 digits', () => {
      expect(cyrillicBrand).toHaveLength(20);
      const measure = measureText(renderText(text, { brand: cyrillicBrand, code: '012345', minutes: 15 }));
      expect(measure).toMatchObject({ encoding: 'UCS-2', segments: 1 });
    });

    it('has room for the hash of an Android app', () => {
      const rendered = renderText(text, { brand: latinBrand, code: '012345', minutes: 15 });
      const ended = withEnding(rendered, { kind: 'sms-retriever', appHash: 'FA+9qCX9VSu' }, '012345');
      expect(Buffer.byteLength(ended)).toBeLessThanOrEqual(140);
    });

    it('has the code within the first 40 characters, before the minutes', () => {
      const rendered = renderText(text, { brand: 'Royal Taxi', code: '012345', minutes: 10 });
      expect(rendered.indexOf('012345')).toBeLessThan(40);
      expect(rendered.indexOf('012345')).toBeLessThan(rendered.lastIndexOf('10'));
    });

    it('has no digits of its own, in no script, and lets no letter touch the code', () => {
      expect(text).not.toMatch(/\p{N}/u);
      expect(text).toMatch(/[^\p{L}\p{N}]\{code\}[^\p{L}\p{N}]/u);
    });

    it('has nothing in it that the linter complains of, and a word that phones look for', () => {
      const report = lintText({ locale, template: text, brand: 'Royal Taxi', codeLength: 6, minutes: 10 });
      // Letters outside GSM-7 are a hint where the text is one segment all the same.
      expect(report.findings.filter(({ message }) => !message.includes('outside GSM-7'))).toEqual([]);
      expect(report.findings.filter(({ level }) => level !== 'hint')).toEqual([]);
      expect(report.autofill).toEqual({ ios: true, webOtp: false, smsRetriever: false });
    });
  });

  it.each(['ar', 'fa', 'ur'] as const)(
    'begin with a letter of the script in %s, and so run right to left',
    (locale) => {
      expect(defaultTexts[locale]).toMatch(/^\p{Script=Arabic}/u);
      expect(defaultTexts[locale]).toMatch(/^\p{L}/u);
    },
  );

  it.each([
    ['Latn', ['az', 'de', 'en', 'es', 'fr', 'it', 'pl', 'pt-BR', 'tk', 'tr', 'uz']],
    ['Cyrl', ['be', 'kk', 'ky', 'mn', 'ru', 'tg', 'tt', 'uk', 'uz-Cyrl']],
    ['Arab', ['ar', 'fa', 'ur']],
    ['Deva', ['hi']],
    ['Geor', ['ka']],
    ['Hang', ['ko']],
    ['Hani', ['zh']],
  ])('have letters of one script alone (%s)', (script, locales) => {
    const foreign = new RegExp(`(?!\\p{Script_Extensions=${script}})[\\p{L}\\p{M}]`, 'u');
    for (const locale of locales) {
      const own = (defaultTexts as Record<string, string>)[locale] ?? '';
      expect(own.replace(/\{\w+\}/g, '')).not.toMatch(foreign);
    }
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
    ['BY', 'ru'],
    ['TJ', 'tg'],
    ['TM', 'tk'],
    ['SA', 'ar'],
    ['EG', 'ar'],
    ['AF', 'fa'],
    ['DE', 'de'],
    ['AT', 'de'],
    ['FR', 'fr'],
    ['SN', 'fr'],
    ['MX', 'es'],
    ['BR', 'pt-BR'],
    ['PT', 'pt-BR'],
    ['TR', 'tr'],
    ['UA', 'uk'],
    ['GE', 'ka'],
    ['CN', 'zh'],
    ['US', 'en'],
    ['GB', 'en'],
    [undefined, 'en'],
  ] as const)('of %s is %s', (country, locale) => {
    expect(localeOfCountry(country)).toBe(locale);
  });

  it.each(['CH', 'BE', 'CA', 'IN', 'PK', 'TW', 'HK', 'MO', 'AM', 'MD', 'LV', 'IL'] as const)(
    'of %s is English, where no text of ours is read by nearly all',
    (country) => {
      expect(localeOfCountry(country)).toBe('en');
    },
  );

  it('always has a text', () => {
    for (const country of getCountries()) expect(defaultTexts[localeOfCountry(country)]).toContain('{code}');
  });

  it('is found for every country that is named, and for none twice', () => {
    // A misspelt country, or one in two lists, makes one of these numbers smaller.
    const counts: Record<string, number> = {};
    for (const country of getCountries()) {
      const locale = localeOfCountry(country);
      counts[locale] = (counts[locale] ?? 0) + 1;
    }
    const { en, ...others } = counts;
    expect(others).toEqual({
      ...{ ar: 19, az: 1, de: 3, es: 21, fa: 2, fr: 33, it: 3, ka: 1, ko: 1, mn: 1, pl: 1, 'pt-BR': 7, ru: 4 },
      ...{ tg: 1, tk: 1, tr: 1, uk: 1, uz: 1, zh: 1 },
    });
  });
});
