/** A body as it is compared. */
export type ReadAnswer = {
  readonly status: number;
  readonly body:
    | { readonly kind: 'json'; readonly value: unknown }
    | { readonly kind: 'text'; readonly text: string }
    | { readonly kind: 'nothing' };
};

const MOST_DIFFERENCES = 10;
const MAX_KEY_CHARS = 60;
const MAX_DEPTH = 20;
const MAX_EXAMPLE_CHARS = 500;
/** What is looked at to make an example of: masking all of a page of a megabyte would keep requests waiting. */
const MAX_READ_CHARS = 2_000;
const MASK = '•••';

export function readAnswer(status: number, bytes: Buffer): ReadAnswer {
  const text = bytes.toString();
  if (text.trim() === '') return { status, body: { kind: 'nothing' } };
  try {
    return { status, body: { kind: 'json', value: JSON.parse(text) as unknown } };
  } catch {
    return { status, body: { kind: 'text', text } };
  }
}

/**
 * What a client could trip over: another status, a key that is missing or new, another type. Values of texts and numbers are
 * not compared, and are in no difference.
 * @returns '' when there is none
 */
export function differenceOf(upstream: ReadAnswer, ours: ReadAnswer): string {
  const differences = [
    ...(upstream.status === ours.status ? [] : [`status: ${upstream.status}, ours ${ours.status}`]),
    ...compare([contentOf(upstream)], [contentOf(ours)], '', 0),
  ];
  const more = differences.length - MOST_DIFFERENCES;
  return [...differences.slice(0, MOST_DIFFERENCES), ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}

/** One body, masked, to look at. */
export function exampleOf({ body }: ReadAnswer): string {
  if (body.kind === 'nothing') return '';
  const text = body.kind === 'text' ? body.text.slice(0, MAX_READ_CHARS) : jsonOf(body.value);
  const masked = maskText(text.replace(/\s+/g, ' '));
  return masked.length <= MAX_EXAMPLE_CHARS ? masked : `${masked.slice(0, MAX_EXAMPLE_CHARS - 1).toWellFormed()}…`;
}

// ---- shapes -----------------------------------------------------------------------------------------------------

/** For a body that is no JSON: a type like any other. */
class NoJson {
  readonly type: 'text' | 'nothing';

  constructor(type: 'text' | 'nothing') {
    this.type = type;
  }
}

function contentOf({ body }: ReadAnswer): unknown {
  return body.kind === 'json' ? body.value : new NoJson(body.kind);
}

/**
 * @param upstream what is there at that path: one value, or those of all elements of a list
 * @param path as in `user.name` or `detail[].msg`; '' is the body
 */
function compare(upstream: readonly unknown[], ours: readonly unknown[], path: string, depth: number): string[] {
  const [theirs, own] = [typesOf(upstream), typesOf(ours)];
  const differences = theirs === own ? [] : [`${path === '' ? 'body' : path}: ${theirs}, ours ${own}`];
  if (depth === MAX_DEPTH) return differences;
  const [theirObjects, ownObjects] = [upstream.filter(isObject), ours.filter(isObject)];
  if (theirObjects.length > 0 && ownObjects.length > 0) {
    const [theirValues, ownValues] = [valuesByKey(theirObjects), valuesByKey(ownObjects)];
    for (const key of [...new Set([...theirValues.keys(), ...ownValues.keys()])].sort()) {
      const name = maskText(key.slice(0, MAX_READ_CHARS)).slice(0, MAX_KEY_CHARS).toWellFormed();
      const under = `${path === '' ? '' : `${path}.`}${name}`;
      differences.push(...compare(theirValues.get(key) ?? [], ownValues.get(key) ?? [], under, depth + 1));
    }
  }
  const [theirElements, ownElements] = [upstream, ours].map(
    (values) => values.filter(Array.isArray).flat(1) as unknown[],
  );
  // Of an empty list nobody can say what would be in it.
  if (theirElements?.[0] !== undefined && ownElements?.[0] !== undefined)
    differences.push(...compare(theirElements, ownElements, `${path}[]`, depth + 1));
  return differences;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof NoJson);
}

/** In one pass: a list of thousands may have thousands of keys in all. */
function valuesByKey(objects: readonly Record<string, unknown>[]): ReadonlyMap<string, readonly unknown[]> {
  const values = new Map<string, unknown[]>();
  for (const [key, value] of objects.flatMap((object) => Object.entries(object))) {
    const known = values.get(key);
    if (known === undefined) values.set(key, [value]);
    else known.push(value);
  }
  return values;
}

function typesOf(values: readonly unknown[]): string {
  return values.length === 0 ? 'absent' : [...new Set(values.map(typeOf))].sort().join(' or ');
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (value instanceof NoJson) return value.type;
  return Array.isArray(value) ? 'list' : typeof value;
}

// ---- masks ------------------------------------------------------------------------------------------------------

/** Whatever stands behind such a key is a secret or a person's. */
const PRIVATE_KEY =
  /(token|secret|passw(or)?d|access|refresh|key|code|otp|pin|session|jwt|cookie|signature|hash|name|mail|address|birth|photo|avatar|phone|number)$/i;

function jsonOf(value: unknown): string {
  try {
    // A replacer sees the outer key first, so that what is under a private one is never looked at.
    const text = JSON.stringify(value, (key, inner: unknown) =>
      PRIVATE_KEY.test(key) && typeof inner !== 'boolean' && inner !== null ? MASK : inner,
    );
    // A line break in the middle of a code is no letter.
    return text.slice(0, MAX_READ_CHARS).replace(/\\(u[0-9a-f]{4}|[bfnrt])/g, ' ');
  } catch {
    // Nested so deeply that it cannot be written.
    return MASK;
  }
}

/** Three digits and more, also with spaces and signs in between as numbers and codes are written; and what looks random. */
function maskText(text: string): string {
  return (
    text
      // Whoever made the old back end quote them would write to the operator's terminal.
      .replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, ' ')
      .replace(/[^\s"'<>@]+@[^\s"'<>@]+/g, MASK)
      .replace(/\p{Nd}(?:[^\p{L}\p{N}"{}[\]]{0,2}\p{Nd}){2,}/gu, MASK)
      .replace(/[\w~+/=.-]{4,}/g, (run) => (isTokenLike(run) ? MASK : run))
  );
}

function isTokenLike(run: string): boolean {
  const hasDigitAndLetter = /\d/.test(run) && /[A-Za-z]/.test(run);
  const hasMixedCase = /[a-z][A-Z]/.test(run) && run.length >= 16;
  return hasDigitAndLetter || hasMixedCase || run.length >= 40;
}
