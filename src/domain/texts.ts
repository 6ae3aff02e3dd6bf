import type { CountryCode } from './phone-number.ts';

/**
 * Each text is one segment with a brand of 20 characters and a code of 10 digits, in UCS-2 too, where a segment holds 70.
 * The code comes early, for previews on a locked screen, and unbroken, next to the word for "code", for phones that offer
 * to fill it in.
 *
 * Minutes are abbreviated or counted in a way that is right for every number: the plural of 5 differs from that of 1 or
 * 21 in Slavic languages and Arabic, while Turkic languages, Mongolian, Georgian, Persian and Tajik leave the noun as it
 * is after a number. A text in Arabic script begins with a letter of it, else phones would lay it out left to right, and
 * names the brand behind the code, so that a Latin brand does not stand between the code and its word. Digits are ASCII
 * everywhere: phones fill in no others.
 *
 * GSM 7-bit wherever a good sentence can be had in it, so that the ending for automatic fill-in fits too: Polish says
 * "wygasa za" because "ważny" is outside, Turkish "onay kodu" because "doğrulama" is, Turkmen "bir gezeklik kod" because
 * "tassyklaýyş" is. Not at the price of a spelling mistake: Spanish and Portuguese have no other good word for "código",
 * and Azerbaijani hardly a sentence without "ə".
 */
const texts = {
  ar: 'رمز التحقق: {code} ({brand}). الصلاحية بالدقائق: {minutes}',
  az: '{brand}: təsdiq kodu {code}. {minutes} dəqiqə etibarlıdır.',
  be: '{brand}: ваш код {code}. Дзейнічае {minutes} хв.',
  de: '{brand}: Ihr Code lautet {code}. Gültig für {minutes} Min.',
  en: '{brand}: your code is {code}. Valid for {minutes} min.',
  es: '{brand}: tu código es {code}. Válido por {minutes} min.',
  fa: 'کد تأیید: {code} ({brand}). اعتبار: {minutes} دقیقه',
  fr: '{brand} : votre code est {code}. Valable {minutes} min.',
  hi: '{brand}: आपका कोड {code} है। {minutes} मिनट तक मान्य।',
  it: '{brand}: il tuo codice è {code}. Valido per {minutes} min.',
  ka: '{brand}: თქვენი კოდია {code}. მოქმედებს {minutes} წუთი.',
  kk: '{brand}: растау коды {code}. {minutes} минут жарамды.',
  // A sender in brackets comes first in Korea and China, as in every message of a company there.
  ko: '[{brand}] 인증번호: {code} (유효시간 {minutes}분)',
  ky: '{brand}: ырастоо коду {code}. {minutes} мүнөт жарактуу.',
  mn: '{brand}: таны код {code}. {minutes} минут хүчинтэй.',
  pl: '{brand}: kod weryfikacyjny {code}. Wygasa za {minutes} min.',
  'pt-BR': '{brand}: seu código é {code}. Válido por {minutes} min.',
  ru: '{brand}: ваш код {code}. Действует {minutes} мин.',
  tg: '{brand}: коди тасдиқ {code}. {minutes} дақиқа эътибор дорад.',
  tk: '{brand}: bir gezeklik kod {code}. Möhleti {minutes} minut.',
  tr: '{brand}: onay kodunuz {code}. Kodun süresi {minutes} dakika.',
  tt: '{brand}: раслау коды {code}. {minutes} минут яраклы.',
  uk: '{brand}: ваш код {code}. Дійсний {minutes} хв.',
  ur: 'تصدیقی کوڈ: {code} ({brand})۔ میعاد: {minutes} منٹ',
  // ASCII apostrophes only, if ever one is needed: the typographic ones of Uzbek are outside GSM 7-bit.
  uz: '{brand}: tasdiqlash kodi {code}. {minutes} daqiqa amal qiladi.',
  // Not "тасдиқлаш коди" as in Latin script: that is one character more than fits.
  'uz-Cyrl': '{brand}: кодингиз {code}. {minutes} дақиқа амал қилади.',
  zh: '【{brand}】验证码：{code}，有效期{minutes}分钟。',
};

/** The languages that have a text of ours, as BCP 47 writes them. */
export type DefaultLocale = keyof typeof texts;

/** One text for each language, used where an app has none of its own. */
export const defaultTexts: Readonly<Record<DefaultLocale, string>> = texts;

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

/**
 * Where a language is the one that nearly everybody reads. English is left for all countries that are not named, and on
 * purpose for these:
 * - Switzerland, Belgium, Canada: each of their languages is a foreign one to a good part of the country.
 * - India and Pakistan: codes are sent in English there, and a number does not tell who reads which script.
 * - Taiwan, Hong Kong, Macao: our Chinese is in simplified characters, and looks like a message from elsewhere there.
 * - Armenia, Moldova and the Baltic states: many read Russian there, but not all want it from a company unasked.
 */
const countriesByLocale: Partial<Record<DefaultLocale, string>> = {
  // Where Arabic is an official language and the one that messages are read in.
  ar: 'AE BH DZ EG IQ JO KW LB LY MA MR OM PS QA SA SD SY TN YE',
  az: 'AZ',
  de: 'AT DE LI',
  es: 'AR BO CL CO CR CU DO EC ES GQ GT HN MX NI PA PE PR PY SV UY VE',
  // Afghanistan: Dari is Persian, and the language between those who have different ones.
  fa: 'AF IR',
  // In Africa where French is the language of schools and offices, and no other one is written by most.
  fr: 'BF BI BJ BL CD CF CG CI CM DJ FR GA GF GN GP HT KM LU MC MF MG ML MQ NC NE PF PM RE SN TD TG WF YT',
  it: 'IT SM VA',
  ka: 'GE',
  ko: 'KR',
  mn: 'MN',
  pl: 'PL',
  // Portugal and Africa read the Brazilian text without stumbling; it has no word that is Brazil's alone.
  'pt-BR': 'AO BR CV GW MZ PT ST',
  // Belarus: Russian is official too, and what nearly everybody uses every day.
  // Not kk and ky: Russian is in official use beside the state language in both countries, and read across their peoples,
  // also by those who do not read the other. Who knows that a person prefers Kazakh or Kyrgyz says so with a locale.
  ru: 'BY KG KZ RU',
  // Unlike in the two above, Russian is a foreign language here by now: Tajik and Turkmen are what all read.
  tg: 'TJ',
  tk: 'TM',
  tr: 'TR',
  uk: 'UA',
  uz: 'UZ',
  zh: 'CN',
};

const localesByCountry = new Map<string, DefaultLocale>(
  Object.entries(countriesByLocale).flatMap(([locale, countries]) =>
    countries.split(' ').map((country) => [country, locale as DefaultLocale] as const),
  ),
);

/** The language of a country's messages when nobody says which one is wanted; `en` where we have no better. */
export function localeOfCountry(country: CountryCode | undefined): DefaultLocale {
  return localesByCountry.get(country ?? '') ?? 'en';
}
