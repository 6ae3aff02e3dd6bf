import type { CountryCode } from './phone-number.ts';

export type DefaultLocale = 'en' | 'ru' | 'uz' | 'ky' | 'kk' | 'ar';

/**
 * One text for each language, used where an app has none of its own. Each is one segment with a brand of 20 characters
 * and a code of 10 digits, in Cyrillic and Arabic too, where a segment holds 70. The code comes early, for previews on a
 * locked screen, and unbroken, near the word for "code", for phones that offer to fill it in.
 *
 * Minutes are abbreviated or counted in a way that is right for every number: the plural of 5 differs from that of 10,
 * or of 21, in Russian and Arabic. The Arabic text begins with an Arabic word, else phones would lay it out left to right.
 */
export const defaultTexts: Readonly<Record<DefaultLocale, string>> = {
  en: '{brand}: your code is {code}. Valid for {minutes} min.',
  ru: '{brand}: ваш код {code}. Действует {minutes} мин.',
  // ASCII apostrophes only, if ever one is needed: the typographic ones of Uzbek are outside GSM 7-bit.
  uz: '{brand}: tasdiqlash kodi {code}. {minutes} daqiqa amal qiladi.',
  ky: '{brand}: ырастоо коду {code}. {minutes} мүнөт жарактуу.',
  kk: '{brand}: растау коды {code}. {minutes} минут жарамды.',
  ar: 'رمز التحقق: {code} ({brand}). الصلاحية بالدقائق: {minutes}',
};

/** RFC 5646, section 4.4.1: a tag can be this long. A longer one comes from nobody's phone. */
const LOCALE_MAX_CHARS = 35;

/**
 * The available locale that is nearest to the wanted one, by the lookup of RFC 4647, section 3.4: subtags are taken away
 * from the end (`uz-Cyrl-UZ`, `uz-Cyrl`, `uz`), case does not matter. Then the same for `fallback`; it is returned as it
 * is when none of its own is available either. `ru_RU`, as many systems write it, is `ru-RU`.
 *
 * @returns the locale as `available` spells it
 */
export function chooseLocale(wanted: string | undefined, fallback: string, available: readonly string[]): string {
  return lookUpLocale(wanted ?? '', available) ?? lookUpLocale(fallback, available) ?? fallback;
}

function lookUpLocale(wanted: string, available: readonly string[]): string | undefined {
  if (wanted.length > LOCALE_MAX_CHARS) return undefined;
  const subtags = wanted.trim().toLowerCase().split(/[-_]/);
  while (subtags.length > 0) {
    const range = subtags.join('-');
    const found = available.find((locale) => locale.toLowerCase().replaceAll('_', '-') === range);
    if (found !== undefined) return found;
    subtags.pop();
  }
  return undefined;
}

/** Where Arabic is an official language and the one that messages are read in. */
const arabicCountries = [
  'AE',
  'BH',
  'DZ',
  'EG',
  'IQ',
  'JO',
  'KW',
  'LB',
  'LY',
  'MA',
  'MR',
  'OM',
  'PS',
  'QA',
  'SA',
  'SD',
  'SY',
  'TN',
  'YE',
];

const localesByCountry = new Map<string, DefaultLocale>([
  ['UZ', 'uz'],
  ['RU', 'ru'],
  ['BY', 'ru'],
  ['TJ', 'ru'],
  // Not kk and ky: Russian is in official use beside the state language in both countries, and read across their peoples,
  // also by those who do not read the other. Who knows that a person prefers Kazakh or Kyrgyz says so with a locale.
  ['KZ', 'ru'],
  ['KG', 'ru'],
  ...arabicCountries.map((country) => [country, 'ar'] as const),
]);

/** The language of a country's messages when nobody says which one is wanted; `en` where we have no better. */
export function localeOfCountry(country: CountryCode | undefined): DefaultLocale {
  return localesByCountry.get(country ?? '') ?? 'en';
}
