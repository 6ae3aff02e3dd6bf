/**
 * Is `to` a number that somebody means by `query`? Only digits count, in whichever script. Behind `+` or `00` they are
 * how the number begins, else a part of it, wherever; a trunk zero in front (`090 …`) is no part of the number.
 * The server's `?number=` follows the same rule, and one table tests both.
 */
export function matchesNumber(to: string, query: string): boolean {
  // Format characters come along when a number is copied out of a right-to-left text.
  const wanted = latinDigits(query.replace('(0)', '')).replace(/[\s\p{Cf}\p{Pd}()./]/gu, '');
  const parts = /^(\+|00|0)?(\d*)$/.exec(wanted);
  if (parts === null) return false;
  const [, prefix, digits = ''] = parts;
  return prefix === '+' || prefix === '00' ? to.startsWith(`+${digits}`) : to.includes(digits);
}

function latinDigits(text: string): string {
  return text.replace(/[٠-٩۰-۹０-９]/g, (digit) => String(digit.charCodeAt(0) & 0xf));
}
