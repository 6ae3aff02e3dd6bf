// The last line of a text, by which phones know whose code it is. It is made for machines, and part of what is billed.

/**
 * How a text ends so that a phone may fill the code in by itself: for the pages of a domain, or for one Android app. A
 * text has one ending at the most, because both want to be the last.
 */
export type TextEnding =
  | { readonly kind: 'web-otp'; readonly domain: string }
  | { readonly kind: 'sms-retriever'; readonly appHash: string };

/**
 * "Be no longer than 140 bytes", the ending included. In which encoding is not said; we count UTF-8, which has the fewest
 * bytes for a Latin text and the most for Georgian, Hindi, Korean and Chinese.
 * Source: https://developers.google.com/identity/sms-retriever/verify (read 2026-11-20).
 */
export const SMS_RETRIEVER_MAX_BYTES = 140;

/**
 * The text with its ending on a line of its own; without an ending, the text as it is.
 *
 * `web-otp` is what the WebOTP API of Chrome and the keyboards of iOS and macOS read: `@example.com #123456`, with exactly
 * one space between. What follows is ignored today and may get a meaning later, so nothing does.
 * Sources: WICG, "Origin-bound one-time codes delivered via SMS", https://wicg.github.io/sms-one-time-codes/, and
 * https://developer.apple.com/documentation/security/enabling-autofill-for-domain-bound-sms-codes (read 2026-11-20).
 *
 * `sms-retriever` is the hash by which Google Play services hand a message to the app it is for. The `<#>` at the
 * beginning, which it once took, is not asked for any more.
 * Source: https://developers.google.com/identity/sms-retriever/verify (read 2026-11-20).
 *
 * @param text already filled in; the code stays in there, for people
 */
export function withEnding(text: string, ending: TextEnding | undefined, code: string): string {
  switch (ending?.kind) {
    case undefined:
      return text;
    case 'web-otp':
      return `${text}\n@${ending.domain} #${code}`;
    case 'sms-retriever':
      return `${text}\n${ending.appHash}`;
  }
}

const HOST_MAX_CHARS = 253;
const HOST_LABEL = /^(?!-)[a-z\d-]{1,63}(?<!-)$/i;

/**
 * A host alone: no scheme, no port, no path, no dot at its end, no address in numbers. Names in other scripts are
 * written as punycode (`xn--e1afmkfd.xn--p1ai`), which a browser compares as well. `localhost` is for developers.
 */
export function isWebOtpDomain(text: string): boolean {
  if (text.toLowerCase() === 'localhost') return true;
  const labels = text.split('.');
  return (
    text.length <= HOST_MAX_CHARS &&
    labels.length > 1 &&
    labels.every((label) => HOST_LABEL.test(label)) &&
    // A last label of digits makes an IPv4 address of it; URLs read `0x7f` as a number as well.
    !/^(\d+|0x[\da-f]*)$/i.test(labels.at(-1) ?? '')
  );
}

/**
 * The first 11 characters of the base64 of an app's package name and signing certificate, hashed.
 * Source: https://developers.google.com/identity/sms-retriever/verify (read 2026-11-20).
 */
export function isAppHash(text: string): boolean {
  return /^[A-Za-z0-9+/]{11}$/.test(text);
}
