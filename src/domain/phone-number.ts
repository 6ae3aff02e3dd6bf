import {
  type CountryCode,
  ParseError,
  type PhoneNumberType,
  parsePhoneNumberFromString,
  parsePhoneNumberWithError,
  validatePhoneNumberLength,
} from 'libphonenumber-js/max';
import metadata from 'libphonenumber-js/max/metadata';

export type { CountryCode };

declare const phoneNumberBrand: unique symbol;

/** A number in E.164, e.g. `'+998901234567'`: the only form inside. Made only by `parsePhoneNumber`, and by `parseEmail` for an address. */
export type PhoneNumber = string & { readonly [phoneNumberBrand]: true };

/** What stands at the other end, as far as the numbering plan tells. Where mobiles share the plan with landlines (US), it does not. */
export const lineTypes = [
  'mobile',
  'fixed-line',
  'fixed-line-or-mobile',
  'voip',
  'toll-free',
  'premium-rate',
  'shared-cost',
  'personal',
  'pager',
  'uan',
  'voicemail',
  'unknown',
] as const;
export type LineType = (typeof lineTypes)[number];

export type ParsedNumber = {
  readonly number: PhoneNumber;
  /** Absent for numbers of no country: satellite phones, international toll-free. */
  readonly country: CountryCode | undefined;
  /** Without `+`, e.g. `'998'`. */
  readonly callingCode: string;
  readonly lineType: LineType;
};

/** Why an input is no number: `country-missing` means that it is a national form and no country was given. */
export type NumberFault = 'empty' | 'not-a-number' | 'too-short' | 'too-long' | 'country-missing' | 'invalid';

type ParseOutcome =
  | { readonly ok: true; readonly value: ParsedNumber }
  | { readonly ok: false; readonly fault: NumberFault };

/** 7 to 15 digits. ITU-T E.164 says 15 at most; 7 is where the shortest subscriber numbers are (+683 4xxx, Niue). */
const STRICT_E164 = /^\+[1-9]\d{6,14}$/;
const E164_MIN_DIGITS = 7;

/** Far above any number with its brackets and spaces, and far below what costs time to look at. */
const MAX_INPUT_CHARS = 64;

/**
 * Parses what a person types: national forms of `defaultCountry`, `00`, any spaces, dashes and brackets, digits of other scripts.
 * Letters are refused, extensions too: a message to a switchboard reaches nobody.
 *
 * @example
 * parsePhoneNumber('050 123-45-67', 'SA'); // { ok: true, value: { number: '+966501234567', country: 'SA', … } }
 * parsePhoneNumber('+998901234567abc'); // { ok: false, fault: 'not-a-number' }
 */
export function parsePhoneNumber(input: string, defaultCountry?: CountryCode): ParseOutcome {
  if (input.length > MAX_INPUT_CHARS) return refused('too-long');
  if (STRICT_E164.test(input)) return parseInternational(input);

  const typed = tidy(input);
  if (typed === '') return refused('empty');
  if (typed === '+') return refused('too-short');
  if (!/^\+?\d+$/.test(typed)) return refused('not-a-number');
  if (typed.startsWith('+')) return parseInternational(typed);
  if (!/^00[1-9]/.test(typed)) return parseNational(typed, defaultCountry);

  // 00 is what most of the world dials, and people write it in countries that dial 011 or 810 as well.
  // A few of those have carrier codes that begin with 00 (KR: 007), hence the second look.
  const abroad = parseInternational(`+${typed.slice(2)}`);
  if (abroad.ok || defaultCountry === undefined) return abroad;
  const atHome = parseNational(typed, defaultCountry);
  return atHome.ok ? atHome : abroad;
}

/**
 * For logs: `+49•••••5678`. Shows the calling code and four digits at the most, fewer of a short number;
 * the bullets are always five, so they do not tell its length. What is no number becomes `•••`: nobody knows what it was.
 */
export function maskNumber(number: string): string {
  if (!/^(?:\+[1-9]|\d)\d{6,14}$/.test(number)) return '•••';
  // Without `+` the first digits may be a national number's own, so none of them is shown.
  const callingCode = number.startsWith('+') ? groupOf(number)?.callingCode : undefined;
  const national = number.slice(callingCode === undefined ? 0 : 1 + callingCode.length);
  const shown = Math.min(4, Math.floor(national.length / 2));
  return `${callingCode === undefined ? '' : `+${callingCode}`}•••••${national.slice(national.length - shown)}`;
}

/** As people of the number's country write it, e.g. `(212) 555-1234`. */
export function formatNational(number: PhoneNumber): string {
  return parsePhoneNumberFromString(number)?.formatNational() ?? number;
}

/**
 * The calling code and the next four digits, e.g. `'+9989012'`: the key of prefix buckets. Who pumps messages for the
 * termination fee owns a run of consecutive numbers and never uses one twice, so limits per number do not see it.
 * Fewer digits would put a whole operator's customers into one bucket, more would split the run over many.
 */
export function prefixOf(number: PhoneNumber): string {
  return number.slice(0, 1 + (groupOf(number)?.callingCode.length ?? 3) + 4);
}

// ---- what people type -------------------------------------------------------------------------------------------

/** Bidi marks, zero-width characters and soft hyphens: they come along when a number is copied, and nobody sees them. */
const INVISIBLE = /[\u00AD\u061C\u180E\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFEFF]/g;

/** All Unicode spaces and dashes; minus, hyphen bullet and the katakana sound mark are dashes to those who type them. */
const SEPARATORS = /[\s\p{Zs}\p{Pd}\u2212\u2043\u30FC()[\]（）［］./．／·]/gu;

const OTHER_PLUS = /[\uFF0B\uFE62]/g;

/**
 * The zeros of the scripts whose digits keyboards offer; Unicode keeps the ten of a script in a row. Others (superscripts,
 * mathematical digits) are no number that anybody typed. Source: Unicode Character Database, general category Nd.
 */
const ZEROS = [
  0x0660, // Arabic-Indic
  0x06f0, // Persian, Urdu
  0x0966, // Devanagari
  0x09e6, // Bengali
  0x0a66, // Gurmukhi
  0x0ae6, // Gujarati
  0x0be6, // Tamil
  0x0c66, // Telugu
  0x0ce6, // Kannada
  0x0d66, // Malayalam
  0x0e50, // Thai
  0x0ed0, // Lao
  0x1040, // Myanmar
  0x17e0, // Khmer
  0xff10, // full width
];

/** Digits and a `+` where the input is a number; whatever else it holds is left in, to be refused. */
function tidy(input: string): string {
  return input
    .replace(INVISIBLE, '')
    .trim()
    .replace(/^tel:/i, '')
    .replace(SEPARATORS, '')
    .replace(OTHER_PLUS, '+')
    .replace(/[^\0-\x7F]/gu, toAsciiDigit);
}

function toAsciiDigit(character: string): string {
  const point = character.codePointAt(0) ?? 0;
  const zero = ZEROS.find((candidate) => point >= candidate && point < candidate + 10);
  return zero === undefined ? character : String(point - zero);
}

function parseInternational(number: string): ParseOutcome {
  if (number.length <= E164_MIN_DIGITS) return refused('too-short');
  const value = STRICT_E164.test(number) ? readStrict(number) : undefined;
  return value === undefined ? askLibrary(number, undefined) : { ok: true, value };
}

function parseNational(digits: string, defaultCountry: CountryCode | undefined): ParseOutcome {
  // Own keys only: the library would take `constructor` for a country, and this one may come from a request.
  if (defaultCountry === undefined || !Object.hasOwn(metadata.countries, defaultCountry)) {
    return refused('country-missing');
  }
  return askLibrary(digits, defaultCountry);
}

const ourLineTypes: Readonly<Record<PhoneNumberType, LineType>> = {
  MOBILE: 'mobile',
  FIXED_LINE: 'fixed-line',
  FIXED_LINE_OR_MOBILE: 'fixed-line-or-mobile',
  VOIP: 'voip',
  TOLL_FREE: 'toll-free',
  PREMIUM_RATE: 'premium-rate',
  SHARED_COST: 'shared-cost',
  PERSONAL_NUMBER: 'personal',
  PAGER: 'pager',
  UAN: 'uan',
  VOICEMAIL: 'voicemail',
};

/** What the library says of an input that is no number; an unknown calling code and the rest are `invalid`. */
const libraryFaults = new Map<string, NumberFault>([
  ['NOT_A_NUMBER', 'not-a-number'],
  ['TOO_SHORT', 'too-short'],
  ['TOO_LONG', 'too-long'],
]);

function askLibrary(number: string, defaultCountry: CountryCode | undefined): ParseOutcome {
  try {
    const parsed = parsePhoneNumberWithError(number, defaultCountry);
    // Read again as E.164, so that every spelling of a number gets one country and one line type.
    const value = STRICT_E164.test(parsed.number) ? readStrict(parsed.number) : undefined;
    if (value !== undefined) return { ok: true, value };
    if (!parsed.isValid()) {
      return refused(libraryFaults.get(validatePhoneNumberLength(number, defaultCountry) ?? '') ?? 'invalid');
    }
    // Some plans know numbers of 6 digits (AT) and of more than 15 (DE): no mobile among them, and no E.164 either.
    if (!STRICT_E164.test(parsed.number)) {
      return refused(parsed.number.length <= E164_MIN_DIGITS ? 'too-short' : 'too-long');
    }
    // Behind one trunk prefix may stand another (+375 0 810…): what does not read as itself would be kept and never found.
    const again = parsed.number === number ? parsed : parsePhoneNumberFromString(parsed.number);
    if (again?.number !== parsed.number || !again.isValid()) return refused('invalid');
    const type = parsed.getType();
    return {
      ok: true,
      value: {
        number: parsed.number as string as PhoneNumber,
        country: parsed.country,
        callingCode: parsed.countryCallingCode,
        lineType: type === undefined ? 'unknown' : ourLineTypes[type],
      },
    };
  } catch (error) {
    if (error instanceof ParseError) return refused(libraryFaults.get(error.message) ?? 'invalid');
    throw error;
  }
}

function refused(fault: NumberFault): ParseOutcome {
  return { ok: false, fault };
}

// ---- the short way for strict E.164 -----------------------------------------------------------------------------
// libphonenumber-js compiles its expressions anew for every number: 5 to 14 µs each, and every request has one. Here the
// same metadata is read with expressions that are kept, in a tenth of that or less. This only ever says "valid", and only
// when sure; for everything else the library has the word. A test holds the two together over all countries.

/** Columns of a plan. Source: libphonenumber-js 1.13.16, source/metadata.js; the layout is named by `version`. */
const METADATA_VERSION = 4;
const NATIONAL_PATTERN = 2;
const POSSIBLE_LENGTHS = 3;
const NATIONAL_PREFIX = 5;
const NATIONAL_PREFIX_FOR_PARSING = 7;
const LEADING_DIGITS = 10;
const TYPES = 11;

/** Columns of TYPES. */
const FIXED_LINE = 0;
const MOBILE = 1;

/** The other columns of TYPES in the order in which they are asked: patterns overlap, and the first one wins. */
const otherTypes: readonly (readonly [column: number, lineType: LineType])[] = [
  [3, 'premium-rate'],
  [2, 'toll-free'],
  [9, 'shared-cost'],
  [8, 'voip'],
  [4, 'personal'],
  [7, 'pager'],
  [6, 'uan'],
  [5, 'voicemail'],
];

/** A row of TYPES as it is stored: `0` where the plan has no such numbers, an empty pattern where it is the fixed line's. */
type TypeRow = readonly [pattern: string, lengths?: readonly number[]] | 0 | undefined;

type Rule = {
  readonly lineType: LineType;
  readonly pattern: RegExp;
  /** Bit n is set where n digits are possible. */
  readonly lengths: number;
};

/** Numbering plan of one country, or of a calling code that belongs to none. */
type Plan = {
  readonly nationalPattern: RegExp;
  /** Matches where the library would take a trunk prefix away, or might. */
  readonly trunkPrefix: RegExp | undefined;
  readonly leadingDigits: RegExp | undefined;
  readonly fixedLine: Rule | undefined;
  readonly mobile: Rule | undefined;
  /** Mobiles have no pattern of their own: a fixed line's number may be a mobile's. */
  readonly mobileLikeFixedLine: boolean;
  readonly others: readonly Rule[];
};

/** All plans under one calling code, the main country first. */
type Group = {
  readonly callingCode: string;
  readonly members: readonly { readonly country: CountryCode | undefined; readonly row: readonly unknown[] }[];
  readonly plans: (Plan | undefined)[];
};

/** By calling code, which has 3 digits at most; none is the beginning of another. */
const groups = readGroups();

function readGroups(): readonly (Group | undefined)[] {
  const found: (Group | undefined)[] = new Array(1000).fill(undefined);
  for (const [callingCode, countries] of Object.entries(metadata.country_calling_codes)) {
    const members = countries.map((country) => ({ country, row: metadata.countries[country] ?? [] }));
    found[Number(callingCode)] = { callingCode, members, plans: [] };
  }
  for (const [callingCode, row] of Object.entries(metadata.nonGeographic)) {
    found[Number(callingCode)] = { callingCode, members: [{ country: undefined, row }], plans: [] };
  }
  return found;
}

/** @param number begins with `+` and a digit that is not 0 */
function groupOf(number: string): Group | undefined {
  const first = number.charCodeAt(1) - 48;
  const second = first * 10 + number.charCodeAt(2) - 48;
  return groups[first] ?? groups[second] ?? groups[second * 10 + number.charCodeAt(3) - 48];
}

/** Reads a number that matches STRICT_E164; `undefined` when it is not surely valid as it stands. */
function readStrict(number: string): ParsedNumber | undefined {
  const group = groupOf(number);
  if (group === undefined || metadata.version !== METADATA_VERSION) return undefined;
  const { callingCode, members } = group;
  const national = number.slice(1 + callingCode.length);
  const main = planOf(group, 0);
  // A trunk prefix behind the calling code, as in +44 020…: the library takes it away, the number becomes another.
  if (main.trunkPrefix?.test(national)) return undefined;

  for (let index = 0; index < members.length; index += 1) {
    const plan = planOf(group, index);
    // Where countries share a calling code, leading digits settle the country, else a type that fits does.
    if (members.length > 1 && plan.leadingDigits?.test(national) === false) continue;
    const lineType = lineTypeOf(plan, national);
    if (lineType !== undefined) {
      return { number: number as PhoneNumber, country: members[index]?.country, callingCode, lineType };
    }
    if (plan.leadingDigits !== undefined) return undefined;
  }
  return undefined;
}

/** As libphonenumber's getNumberType: fixed line first, then whether it could be a mobile too, then the others. */
function lineTypeOf(plan: Plan, national: string): LineType | undefined {
  if (!plan.nationalPattern.test(national)) return undefined;
  const mobileMatches = (): boolean => plan.mobile !== undefined && fits(plan.mobile, national);
  if (plan.fixedLine !== undefined && fits(plan.fixedLine, national)) {
    return plan.mobileLikeFixedLine || mobileMatches() ? 'fixed-line-or-mobile' : 'fixed-line';
  }
  if (mobileMatches()) return 'mobile';
  for (const rule of plan.others) if (fits(rule, national)) return rule.lineType;
  return undefined;
}

function fits(rule: Rule, national: string): boolean {
  return (rule.lengths & (1 << national.length)) !== 0 && rule.pattern.test(national);
}

/** Compiled at the first number of the plan, and kept: all of them at once would cost every start of the process. */
function planOf(group: Group, index: number): Plan {
  const known = group.plans[index];
  if (known !== undefined) return known;
  const plan = readPlan(group.members[index]?.row ?? []);
  group.plans[index] = plan;
  return plan;
}

function readPlan(row: readonly unknown[]): Plan {
  const types = (row[TYPES] || []) as readonly TypeRow[];
  const lengths = row[POSSIBLE_LENGTHS] as readonly number[];
  const rule = (column: number, lineType: LineType): Rule | undefined => {
    const type = types[column];
    if (!type || type[0] === '') return undefined;
    return { lineType, pattern: whole(type[0]), lengths: bits(type[1] || lengths) };
  };
  const trunkPrefix = (row[NATIONAL_PREFIX_FOR_PARSING] || row[NATIONAL_PREFIX]) as string | 0 | undefined;
  const leadingDigits = row[LEADING_DIGITS] as string | 0 | undefined;
  const mobile = types[MOBILE];
  return {
    nationalPattern: whole(row[NATIONAL_PATTERN] as string),
    // Argentina's matches nothing at all before every number, hence "not at the start again".
    trunkPrefix: trunkPrefix ? new RegExp(`^(?:${trunkPrefix})(?<!^)`) : undefined,
    leadingDigits: leadingDigits ? new RegExp(`^(?:${leadingDigits})`) : undefined,
    fixedLine: rule(FIXED_LINE, 'fixed-line'),
    mobile: rule(MOBILE, 'mobile'),
    mobileLikeFixedLine: !mobile || mobile[0] === '',
    others: otherTypes.map(([column, lineType]) => rule(column, lineType)).filter((found) => found !== undefined),
  };
}

function whole(pattern: string): RegExp {
  return new RegExp(`^(?:${pattern})$`);
}

function bits(lengths: readonly number[]): number {
  return lengths.reduce((mask, length) => mask | (1 << length), 0);
}
