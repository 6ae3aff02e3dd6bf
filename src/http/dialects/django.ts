import type { Refusal } from '../../domain/problem.ts';
import { problems, retryAfterSecondsOf } from '../problem.ts';
import { answer, type BodyFault, type DialectAnswer, type Framework } from './dialect.ts';

/**
 * Django REST Framework. Sources: https://www.django-rest-framework.org/api-guide/exceptions/,
 * …/api-guide/fields/#charfield and rest_framework/{fields,exceptions,parsers}.py of 3.16 (read 2026-11-20).
 */
export const django: Framework = {
  // A CharField takes a number for its digits, and drops the spaces around a text.
  coerce: (value) => (typeof value === 'number' ? String(value) : typeof value === 'string' ? value.trim() : value),
  invalid(faults, required) {
    const [first] = faults;
    if (first?.kind === 'media-type') return detail(415, `Unsupported media type "${first.mediaType}" in request.`);
    if (first?.kind === 'unreadable')
      return detail(400, 'JSON parse error - Expecting value: line 1 column 1 (char 0)');
    if (first?.kind === 'not-an-object')
      return fieldErrors({
        non_field_errors: `Invalid data. Expected a dictionary, but got ${pythonTypeOf(first.value)}.`,
      });
    // No body at all is a form without fields.
    const missing = first?.kind === 'empty' ? required.map((field) => ({ kind: 'missing', field }) as const) : faults;
    return fieldErrors(
      Object.fromEntries(missing.flatMap((fault) => ('field' in fault ? [[fault.field, sentenceOf(fault)]] : []))),
    );
  },
  refused(refusal) {
    const { status } = problems[refusal.code];
    return status === 429 ? throttled(refusal) : detail(status, refusal.detail, refusal);
  },
  unauthorized: (why) => ({
    status: 401,
    body: {
      detail:
        why === 'missing'
          ? 'Authentication credentials were not provided.'
          : why === 'expired'
            ? 'Token has expired.'
            : 'Invalid token.',
    },
    headers: { 'www-authenticate': 'Bearer realm="api"' },
  }),
  wrongMethod: (method) => detail(405, `Method "${method}" not allowed.`),
  failed: () => detail(500, 'Internal server error.'),
};

/** `{"detail": …}`, as an `APIException` is answered. */
export function detail(status: number, text: string, refusal?: Refusal): DialectAnswer {
  return answer(status, { detail: text }, refusal);
}

/** `{"phone": ["…"]}`, as a serializer that is not valid is answered. */
export function fieldErrors(errors: Readonly<Record<string, string>>): DialectAnswer {
  return {
    status: 400,
    body: Object.fromEntries(Object.entries(errors).map(([field, sentence]) => [field, [sentence]])),
  };
}

/** The `Throttled` exception. */
export function throttled(refusal: Refusal): DialectAnswer {
  const seconds = retryAfterSecondsOf(refusal);
  const wait = seconds === undefined ? '' : ` Expected available in ${seconds} second${seconds === 1 ? '' : 's'}.`;
  return answer(429, { detail: `Request was throttled.${wait}` }, refusal);
}

function sentenceOf(fault: Extract<BodyFault, { readonly field: string }>): string {
  switch (fault.kind) {
    case 'missing':
      return 'This field is required.';
    case 'null':
      return 'This field may not be null.';
    case 'not-a-string':
      return 'Not a valid string.';
    case 'not-an-integer':
      return 'A valid integer is required.';
    case 'too-short':
      return fault.chars === 1
        ? 'This field may not be blank.'
        : `Ensure this field has at least ${fault.chars} characters.`;
    case 'too-long':
      return `Ensure this field has no more than ${fault.chars} characters.`;
    case 'pattern':
      return 'Enter a valid value.';
  }
}

function pythonTypeOf(value: unknown): string {
  if (Array.isArray(value)) return 'list';
  if (value === null) return 'NoneType';
  if (typeof value === 'boolean') return 'bool';
  return typeof value === 'number' ? (Number.isInteger(value) ? 'int' : 'float') : 'str';
}
