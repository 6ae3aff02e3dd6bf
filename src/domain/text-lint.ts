// What an operator should know about a text before it is sent: what would be refused, what costs more, and what keeps
// phones from filling the code in.

import { measureText, normalizeText, renderText, type TextMeasure, textFaults } from './message-text.ts';
import { isAppHash, isWebOtpDomain, SMS_RETRIEVER_MAX_BYTES, type TextEnding, withEnding } from './text-ending.ts';
import { chooseLocale, type DefaultLocale } from './texts.ts';

/**
 * `error`: it would be refused or cut, or the code cannot be told from what is around it. `warning`: it goes out, but
 * costs more, may be filtered, or keeps a phone from filling the code in. `hint`: it could be better.
 */
export type TextFinding = { readonly level: 'error' | 'warning' | 'hint'; readonly message: string };

export type TextReport = {
  readonly locale: string;
  /** As it would be sent, with a code that is made up. */
  readonly text: string;
  readonly encoding: TextMeasure['encoding'];
  readonly units: number;
  readonly segments: number;
  readonly unitsLeft: number;
  /** Who can fill the code in. Of `ios` it is a guess where no domain ends the text: Apple publishes no rules. */
  readonly autofill: { readonly ios: boolean; readonly webOtp: boolean; readonly smsRetriever: boolean };
  /** Errors first, then warnings, then hints. */
  readonly findings: readonly TextFinding[];
};

export type TextLintInput = {
  readonly locale: string;
  readonly template: string;
  readonly brand: string;
  readonly codeLength: number;
  readonly minutes: number;
  readonly ending?: TextEnding | undefined;
};

/** Looks at a text as it would be sent: normalised, filled in, with its ending. */
export function lintText({ locale, template, brand, codeLength, minutes, ending }: TextLintInput): TextReport {
  const code = sampleCode(codeLength);
  const values = { brand: normalizeText(brand), code, minutes };
  const normalized = normalizeText(template);
  const forPeople = renderText(normalized, values);
  const text = withEnding(forPeople, ending, code);
  const measure = measureText(text);
  const strangers = otherNumbers(renderText(normalized, { ...values, code: CODE_STAND_IN }));
  const hasCodeWord = includesCodeWord(renderText(normalized, { ...values, brand: '' }), locale);
  const isUnbroken = template.includes('{code}') && touchingDigits(normalized, values).length === 0;
  const endingFaults = faultsOfEnding(text, ending);
  const isEnding = (kind: TextEnding['kind']) => ending?.kind === kind && endingFaults.length === 0;

  // A letter that its language needs costs nothing as long as the text is one segment; it only leaves less room.
  const costly = costlyCharacters(normalized, text);
  const harmless = measure.segments === 1 ? costly.filter((character) => LATIN_LETTER.test(character)) : [];

  const errors = [
    ...textFaults(template),
    ...lengthFaults(template, text, measure),
    ...unsendableCharacters(text),
    ...touchingDigits(normalized, values),
    ...endingFaults,
  ];
  const warnings = [
    ...segmentFindings(measure, measureText(forPeople)),
    ...costFindings(costly.filter((character) => !harmless.includes(character))),
    ...changesOf(template, 'the text'),
    ...changesOf(brand, 'the brand'),
    ...touchingLetters(normalized, values),
    ...linksOf(normalized),
    ...strangers.map((number) => `${number} looks like a code too: phones may fill in that one`),
  ];
  const hints = [
    ...costFindings(harmless),
    ...(hasCodeWord ? [] : [`no word for "code" that we know of in '${locale}': phones may not offer to fill it in`]),
    ...(template.includes('{brand}') ? [] : ['{brand} is missing: nobody can tell whose code it is']),
    ...(isLengthForIos(codeLength) ? [] : [`iOS fills in codes of 4 to 8 digits, this one has ${codeLength}`]),
  ];
  return {
    locale,
    text,
    ...measure,
    autofill: {
      ios: isEnding('web-otp') || (isUnbroken && hasCodeWord && strangers.length === 0 && isLengthForIos(codeLength)),
      webOtp: isEnding('web-otp'),
      smsRetriever: isUnbroken && isEnding('sms-retriever'),
    },
    findings: [...findings('error', errors), ...findings('warning', warnings), ...findings('hint', hints)],
  };
}

function findings(level: TextFinding['level'], messages: readonly string[]): TextFinding[] {
  return [...new Set(messages)].map((message) => ({ level, message }));
}

/** `123456`, to the length that is asked for. Nobody takes it for a real one. */
function sampleCode(length: number): string {
  return Array.from({ length }, (_, index) => (index + 1) % 10).join('');
}

// --- What would be refused

/** Twilio takes no longer body. Source: https://www.twilio.com/docs/api/errors/21617 */
const TEXT_MAX_CHARS = 1600;

/** What 1600 characters of GSM 7-bit come to. In UCS-2 a text of 671 units is over it, and no code needs so many. */
const TEXT_MAX_SEGMENTS = 10;

function lengthFaults(template: string, text: string, { segments }: TextMeasure): string[] {
  const faults: string[] = [];
  // A template that is too long by itself has been named by `textFaults`.
  if (text.length > TEXT_MAX_CHARS && template.length <= TEXT_MAX_CHARS) {
    faults.push(`filled in, the text has ${text.length} characters, ${TEXT_MAX_CHARS} are the most`);
  }
  if (segments > TEXT_MAX_SEGMENTS) {
    faults.push(`the text needs ${segments} segments, ${TEXT_MAX_SEGMENTS} are the most`);
  }
  return faults;
}

/**
 * Control characters, which JSON and XML of gateways refuse or drop, except line ends; halves of surrogate pairs,
 * noncharacters, and U+FFFD, which stands where a file was read in the wrong encoding.
 */
const UNSENDABLE = /(?![\n\r])\p{Cc}|\p{Cs}|\p{Noncharacter_Code_Point}|\uFFFD/gu;

function unsendableCharacters(text: string): string[] {
  return (text.match(UNSENDABLE) ?? []).map((character) => `${codePoint(character)} cannot be sent, take it out`);
}

function faultsOfEnding(text: string, ending: TextEnding | undefined): string[] {
  switch (ending?.kind) {
    case undefined:
      return [];
    case 'web-otp':
      return isWebOtpDomain(ending.domain) ? [] : [`'${ending.domain}' is no domain: a host alone, like example.com`];
    case 'sms-retriever': {
      if (!isAppHash(ending.appHash)) return [`'${ending.appHash}' is no app hash: 11 letters, digits, + or /`];
      const bytes = Buffer.byteLength(text);
      if (bytes <= SMS_RETRIEVER_MAX_BYTES) return [];
      return [
        `with the app hash the text has ${bytes} bytes, SMS Retriever reads ${SMS_RETRIEVER_MAX_BYTES} at the most`,
      ];
    }
  }
}

// --- The code among its neighbours

/** Stands for the code where its neighbours are looked at; for private use, so no text of anybody's has it. */
const CODE_STAND_IN = '\u{F0000}';

type Values = { readonly brand: string; readonly code: string; readonly minutes: number };

function neighboursOfCode(template: string, values: Values): { before: string; after: string }[] {
  const parts = renderText(template, { ...values, code: CODE_STAND_IN }).split(CODE_STAND_IN);
  return parts.slice(1).map((after, index) => ({ before: parts[index] ?? '', after }));
}

/** `1{code}`, `{code}{minutes}`, or a brand that ends in a digit: nobody could tell where the code begins. */
function touchingDigits(template: string, values: Values): string[] {
  const neighbours = neighboursOfCode(template, values);
  return neighbours.flatMap(({ before, after }, index) => {
    // Between `{code}{code}` there is nothing, and each is the other's digits.
    const isDoubled = after === '' && index < neighbours.length - 1;
    const digitsBefore = /\d+$/.exec(before)?.[0] ?? '';
    const digitsAfter = /^\d+/.exec(after)?.[0] ?? '';
    if (!isDoubled && digitsBefore === '' && digitsAfter === '') return [];
    return [`other digits touch the code: ${digitsBefore}{code}${isDoubled ? '{code}' : digitsAfter}`];
  });
}

/** Scripts that put no spaces between words: a code between their letters is the usual thing, and phones know it. */
const UNSPACED = '\\p{Script=Han}\\p{Script=Hangul}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}';
const LETTERS_BEFORE = new RegExp(`(?![${UNSPACED}])[\\p{L}\\p{M}]$`, 'u');
const LETTERS_AFTER = new RegExp(`^(?![${UNSPACED}])[\\p{L}\\p{M}]`, 'u');

function touchingLetters(template: string, values: Values): string[] {
  return neighboursOfCode(template, values).flatMap(({ before, after }) => {
    const letterBefore = LETTERS_BEFORE.exec(before)?.[0] ?? '';
    const letterAfter = LETTERS_AFTER.exec(after)?.[0] ?? '';
    if (letterBefore === '' && letterAfter === '') return [];
    return [`no space between the code and a letter: ${letterBefore}{code}${letterAfter}`];
  });
}

/** Phones take a number of 4 to 8 digits for a code. */
function otherNumbers(text: string): string[] {
  return text.match(/(?<!\d)\d{4,8}(?!\d)/g) ?? [];
}

function isLengthForIos(codeLength: number): boolean {
  return codeLength >= 4 && codeLength <= 8;
}

// --- What it costs

const SINGLE_SEGMENT_UNITS = { 'GSM-7': 160, 'UCS-2': 70 } as const;

function segmentFindings({ encoding, units, segments }: TextMeasure, withoutEnding: TextMeasure): string[] {
  if (segments === 1) return [];
  const room = SINGLE_SEGMENT_UNITS[encoding];
  const because = withoutEnding.segments === 1 ? '; without its ending it would be one' : '';
  return [`${segments} segments: ${units - room} units more than the ${room} of one in ${encoding}${because}`];
}

const LATIN_LETTER = /\p{Script=Latin}/u;

/**
 * Characters outside GSM 7-bit in a text that is Latin otherwise: they alone more than halve what a segment holds. A
 * Cyrillic letter that looks like a Latin one is among them.
 */
function costlyCharacters(template: string, text: string): string[] {
  const own = renderText(template, { brand: '', code: '', minutes: 0 });
  const letters = own.match(/\p{L}/gu) ?? [];
  const latin = letters.filter((letter) => LATIN_LETTER.test(letter));
  if (latin.length * 2 <= letters.length) return [];
  return [...new Set(text)].filter((character) => measureText(character).encoding === 'UCS-2');
}

function costFindings(costly: readonly string[]): string[] {
  if (costly.length === 0) return [];
  const { 'GSM-7': room, 'UCS-2': left } = SINGLE_SEGMENT_UNITS;
  return [`${named(costly)}: outside GSM-7, so a segment holds ${left} units instead of ${room}`];
}

// --- What is changed before sending

/** What normalising does to a text, for whoever has to hand the text in for approval as it will be sent. */
function changesOf(text: string, what: string): string[] {
  if (normalizeText(text) === text) return [];
  const characters = [...new Set(text)];
  const replaced = characters.filter((character) => !['', character].includes(normalizeText(character)));
  const removed = characters.filter((character) => normalizeText(character) === '');
  const changes = [
    ...replaced.map((character) => `${named([character])} becomes ${normalizeText(character).replace(' ', 'a space')}`),
    ...(removed.length === 0 ? [] : [`${removed.map(codePoint).join(', ')}, which nobody sees, taken out`]),
    // What no character does by itself: a letter and an accent that follows are joined.
    ...(text.normalize('NFC') === text || replaced.length > 0 ? [] : ['letters and their accents are joined (NFC)']),
  ];
  return [`${what} is changed before sending: ${changes.join('; ')}`];
}

const NAMED_AT_MOST = 5;

/** `U+00F3 ó, U+00E9 é`, and how many more there are. */
function named(characters: readonly string[]): string {
  const shown = characters.slice(0, NAMED_AT_MOST).map((character) => `${codePoint(character)} ${visible(character)}`);
  const more = characters.length - shown.length;
  return shown.map((name) => name.trimEnd()).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

function visible(character: string): string {
  return /[\p{C}\p{Z}\p{M}]/u.test(character) ? '' : character;
}

function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
}

// --- Links

/** Endings of hosts that stand in messages. Not every one there is: `Code.Valid` is a missing space and no host. */
const TOP_LEVEL_DOMAINS =
  'com|net|org|info|biz|io|ai|app|dev|me|ly|gl|gd|cc|co|to|link|click|page|site|online|shop|store|xyz|top|eu|' +
  'ae|am|az|br|by|cn|de|es|fr|ge|in|ir|it|kg|kr|kz|mn|pk|pl|pt|ru|sa|tj|tm|tr|ua|uk|us|uz';
const LINK = new RegExp(
  `(?:https?://|www\\.)\\S+|(?<![\\w@.-])(?:[A-Za-z\\d-]+\\.)+(?:${TOP_LEVEL_DOMAINS})(?![\\w-]|\\.\\w)(?:/\\S*)?`,
  'g',
);

function linksOf(template: string): string[] {
  return (template.match(LINK) ?? []).map(
    (link) =>
      `${link.replace(/[.,;:!?)]+$/, '')} is a link: operators hold back codes with links, shortened ones above all`,
  );
}

// --- The word for "code"

/**
 * What a code is called in messages. Apple publishes no list of the words that iOS looks for; "code", "passcode" and
 * "код" are known to do. Sought in lower case, and within words too, for German compounds and Turkic endings.
 */
const codeWords: Record<DefaultLocale, readonly string[]> = {
  ar: ['رمز', 'كود'],
  az: ['kod', 'şifrə'],
  be: ['код', 'пароль'],
  de: ['code', 'kennwort', 'passwort'],
  en: ['code', 'password', 'otp'],
  es: ['código', 'clave', 'contraseña'],
  fa: ['کد', 'رمز'],
  fr: ['code', 'mot de passe'],
  hi: ['कोड', 'ओटीपी', 'otp'],
  it: ['codice', 'password'],
  ka: ['კოდ'],
  kk: ['код', 'құпиясөз'],
  ko: ['인증번호', '코드'],
  ky: ['код', 'сырсөз'],
  mn: ['код'],
  pl: ['kod', 'hasło'],
  'pt-BR': ['código', 'senha'],
  ru: ['код', 'пароль'],
  tg: ['код', 'рамз'],
  tk: ['kod', 'parol'],
  tr: ['kod', 'şifre', 'parola'],
  tt: ['код', 'серсүз'],
  uk: ['код', 'пароль'],
  ur: ['کوڈ'],
  uz: ['kod', 'parol'],
  'uz-Cyrl': ['код', 'парол'],
  zh: ['验证码', '校验码', '驗證碼', '動態密碼', '动态密码'],
};

const codeWordsByLocale = new Map<string, readonly string[]>(Object.entries(codeWords));

/** In a language without a text of ours, the words of all languages are sought. */
function includesCodeWord(text: string, locale: string): boolean {
  const nearest = chooseLocale(locale, '', [...codeWordsByLocale.keys()]);
  const words = codeWordsByLocale.get(nearest) ?? Object.values(codeWords).flat();
  const lowerCase = text.toLowerCase();
  return words.some((word) => lowerCase.includes(word));
}
