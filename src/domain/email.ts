import { type CountryCode, maskNumber, type ParsedNumber, type PhoneNumber, parsePhoneNumber } from './phone-number.ts';

/** One `@`, and nothing that could make a second address or a header of it. */
const EMAIL = /^[^\s@,;<>"\p{Cc}]{1,64}@[^\s@,;<>"\p{Cc}]{1,190}$/u;

export function isEmail(text: string): boolean {
  return EMAIL.test(text);
}

/**
 * An e-mail address that is verified for itself. It stands where a number does, so that limits, guess budget, slot and
 * history are the same for both; no number has an `@` in it. Lower case: one mailbox is one bucket, however it is typed.
 * @returns undefined when it is not an address
 */
export function parseEmail(text: string): ParsedNumber | undefined {
  const address = text.trim().toLowerCase();
  if (!isEmail(address)) return undefined;
  return { number: address as PhoneNumber, country: undefined, callingCode: '', lineType: 'unknown' };
}

/** Is it an e-mail address that stands in the place of a number? */
export function isAddress(number: string): boolean {
  return number.includes('@');
}

/** What the store holds as a number, parsed again; undefined for what is none any more. */
export function parseStored(number: string, country?: CountryCode): ParsedNumber | undefined {
  if (isAddress(number)) return parseEmail(number);
  const parsed = parsePhoneNumber(number, country);
  return parsed.ok ? parsed.value : undefined;
}

/** For logs and texts: never a full number, never a full address. `a•••@example.com` */
export function maskRecipient(number: string): string {
  if (!isAddress(number)) return maskNumber(number);
  const [local = '', domain = ''] = number.split('@');
  // Of a short name the first letter says too much.
  return `${local.length > 3 ? local.slice(0, 1) : ''}•••@${domain}`;
}
