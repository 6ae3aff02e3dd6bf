import type { ParsedNumber, PhoneNumber } from './phone-number.ts';

/** Somebody who signs in to an app that has no users of its own. There is one for each number of an app. */
export type User = {
  readonly app: string;
  /** `'1'`, `'2'`, … in each app; never given again, also after an erasure */
  readonly id: string;
  readonly number: PhoneNumber;
  readonly name: string;
  readonly fullName: string;
  /** ms since the epoch */
  readonly createdAt: number;
};

/** How long an access token signs its user in. */
export const ACCESS_TOKEN_TTL_SECONDS = 30 * 86_400;

/** 160 random bits: nobody guesses one, so nothing slower than SHA-256 is needed to keep it. */
export const ACCESS_TOKEN_BYTES = 20;

const accessTokenPattern = /^[0-9a-f]{40}$/;

export function isAccessToken(text: string): boolean {
  return accessTokenPattern.test(text);
}

/** As a store gives them: 15 digits are the most that every store counts exactly. */
const userIdPattern = /^[1-9]\d{0,14}$/;

export function isUserId(text: string): boolean {
  return userIdPattern.test(text);
}

export const MAX_NAME_CHARS = 100;
export const MAX_FULL_NAME_CHARS = 200;

/**
 * No control characters and line ends: names go into logs and headers of others. Half a surrogate pair comes back from a
 * store as something else.
 */
export const NAME_PATTERN = '^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029\\ud800-\\udfff]*$';

const namePattern = new RegExp(NAME_PATTERN, 'u');

export function isName(name: string): boolean {
  return name !== '' && name.length <= MAX_NAME_CHARS && namePattern.test(name);
}

/** May be empty: nobody has to say it. */
export function isFullName(fullName: string): boolean {
  return fullName.length <= MAX_FULL_NAME_CHARS && namePattern.test(fullName);
}

/** What a user is called until it says otherwise: the national significant number, `555123456` of `+996555123456`. */
export function firstNameOf({ number, callingCode }: Pick<ParsedNumber, 'number' | 'callingCode'>): string {
  return number.slice(1 + callingCode.length);
}
