import type { Refusal } from '../../domain/problem.ts';
import { problems } from '../problem.ts';
import { answer, type BodyFault, type DialectAnswer, type Framework } from './dialect.ts';

/**
 * FastAPI with Pydantic 2. Sources: https://fastapi.tiangolo.com/tutorial/handling-errors/ and
 * https://docs.pydantic.dev/latest/errors/validation_errors/ (read 2026-11-20).
 */
export const fastApi: Framework = {
  invalid: (faults) => ({ status: 422, body: { detail: faults.map(detailOf) } }),
  refused: (refusal) => detail(problems[refusal.code].status, refusal.detail, refusal),
  unauthorized: (why) => ({
    status: 401,
    body: { detail: why === 'missing' ? 'Not authenticated' : 'Could not validate credentials' },
    headers: { 'www-authenticate': 'Bearer' },
  }),
  wrongMethod: () => detail(405, 'Method Not Allowed'),
  failed: () => detail(500, 'Internal Server Error'),
};

/** `{"detail": …}`, as an `HTTPException` is answered. */
export function detail(status: number, text: string, refusal?: Refusal): DialectAnswer {
  return answer(status, { detail: text }, refusal);
}

function detailOf(fault: BodyFault): { loc: (string | number)[]; msg: string; type: string } {
  switch (fault.kind) {
    case 'unreadable':
      return { loc: ['body', 0], msg: 'JSON decode error', type: 'json_invalid' };
    case 'empty':
      return { loc: ['body'], msg: 'Field required', type: 'missing' };
    case 'media-type':
    case 'not-an-object':
      return {
        loc: ['body'],
        msg: 'Input should be a valid dictionary or object to extract fields from',
        type: 'model_attributes_type',
      };
    case 'missing':
      return { loc: ['body', fault.field], msg: 'Field required', type: 'missing' };
    case 'null':
    case 'not-a-string':
      return { loc: ['body', fault.field], msg: 'Input should be a valid string', type: 'string_type' };
    case 'not-an-integer':
      return { loc: ['body', fault.field], msg: 'Input should be a valid integer', type: 'int_type' };
    case 'too-short':
      return {
        loc: ['body', fault.field],
        msg: `String should have at least ${characters(fault.chars)}`,
        type: 'string_too_short',
      };
    case 'too-long':
      return {
        loc: ['body', fault.field],
        msg: `String should have at most ${characters(fault.chars)}`,
        type: 'string_too_long',
      };
    case 'pattern':
      return { loc: ['body', fault.field], msg: 'String should match the pattern', type: 'string_pattern_mismatch' };
  }
}

/** A field whose text is no value for it, e.g. a phone number that is none. */
export function valueError(field: string, text: string): DialectAnswer {
  return {
    status: 422,
    body: { detail: [{ loc: ['body', field], msg: `Value error, ${text}`, type: 'value_error' }] },
  };
}

function characters(count: number): string {
  return `${count} character${count === 1 ? '' : 's'}`;
}
