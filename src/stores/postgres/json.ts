// PostgreSQL refuses two things that a JavaScript string may have in it: NUL and half a surrogate pair. They travel, and are
// kept, as a mark and four hexadecimal digits; so is the mark itself, and what goes in comes out again.

/** Unicode has given it to nobody, and never will. https://www.unicode.org/faq/private_use.html#nonchar1 */
const MARK = '\uFDD0';

const isRefused = /\\u(?:0000|d[89a-f])|\uFDD0/;
/** A backslash that is escaped itself is matched first, and stays: `\\u0000` in JSON is six characters, and no NUL. */
const refused = /\\\\|\\u(0000|d[89a-f][0-9a-f]{2})|\uFDD0/g;
const marked = /\uFDD0([0-9a-f]{4})/g;

/** JSON that PostgreSQL takes, whatever is in the strings. */
export function toSqlJson(value: unknown): string {
  const json = JSON.stringify(value);
  if (!isRefused.test(json)) return json;
  return json.replace(refused, (found, digits: string | undefined) =>
    found === '\\\\' ? found : `${MARK}${digits ?? 'fdd0'}`,
  );
}

/** The other way round. */
export function fromSqlJson(json: string): unknown {
  return JSON.parse(json.includes(MARK) ? json.replace(marked, '\\u$1') : json);
}

/**
 * JSON that a step looks into travels as a string within JSON: what is escaped in it is written as it is, and so marked with
 * the rest.
 */
export function withoutEscapes(json: string): string {
  if (!isRefused.test(json)) return json;
  return json.replace(refused, (found, digits: string | undefined) =>
    digits === undefined ? found : String.fromCharCode(Number.parseInt(digits, 16)),
  );
}

/** After that, such JSON can be read: it takes half a pair as it is, and NUL only escaped. */
export function withEscapedNul(json: string): string {
  return json.includes('\0') ? json.replaceAll('\0', '\\u0000') : json;
}
