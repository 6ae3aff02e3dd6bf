import type { TObject } from 'typebox';
import { Compile, type Validator } from 'typebox/compile';
import type { BodyFault, Framework } from './dialect.ts';

export type ReadBody =
  | { readonly kind: 'read'; readonly body: Record<string, unknown> }
  | { readonly kind: 'wrong'; readonly faults: readonly BodyFault[] };

export type BodySchema = { readonly schema: TObject; readonly validator: Validator };

const utf8 = new TextDecoder('utf-8', { fatal: true });

export function compileBody(schema: TObject): BodySchema {
  return { schema, validator: Compile(schema) as unknown as Validator };
}

/**
 * Reads a body as its framework would. JSON and nothing else: a form or a text is what a foreign page in a browser may
 * send here without asking.
 */
export function readBody(
  raw: Buffer | undefined,
  mediaType: string | undefined,
  { schema, validator }: BodySchema,
  { coerce = (value) => value }: Framework,
): ReadBody {
  const wrong = (...faults: BodyFault[]): ReadBody => ({ kind: 'wrong', faults });
  if (raw === undefined || raw.length === 0) return wrong({ kind: 'empty' });
  if (!/^application\/([a-z0-9.-]+\+)?json$/.test(nameOf(mediaType))) return wrong(mediaTypeFault(mediaType));
  let value: unknown;
  try {
    // Without the mark that some clients begin with (RFC 8259 lets it be ignored), and by no bytes that are no UTF-8:
    // decoded as they are, all of them would become the same character.
    value = JSON.parse(utf8.decode(raw));
  } catch {
    return wrong({ kind: 'unreadable' });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return wrong({ kind: 'not-an-object', value });
  // Only the fields that the route knows: `__proto__` and whatever else was sent is left where it is.
  const body: Record<string, unknown> = {};
  for (const field of Object.keys(schema.properties)) {
    if (Object.hasOwn(value, field)) body[field] = coerce((value as Record<string, unknown>)[field]);
  }
  return validator.Check(body) ? { kind: 'read', body } : { kind: 'wrong', faults: faultsOf(schema, validator, body) };
}

/** @param mediaType the header as it came */
export function mediaTypeFault(mediaType: string | undefined): BodyFault {
  return { kind: 'media-type', mediaType: nameOf(mediaType).slice(0, 100) };
}

function nameOf(mediaType: string | undefined): string {
  return mediaType?.split(';')[0]?.trim().toLowerCase() ?? '';
}

/** One fault for each field, in the order of the schema. */
function faultsOf(schema: TObject, validator: Validator, body: Record<string, unknown>): BodyFault[] {
  const byField = new Map<string, BodyFault>();
  for (const { keyword, instancePath, params } of validator.Errors(body)) {
    if (keyword === 'required') {
      for (const field of (params as { requiredProperties: string[] }).requiredProperties)
        byField.set(field, { kind: 'missing', field });
      continue;
    }
    const field = instancePath.split('/')[1];
    if (field !== undefined && !byField.has(field))
      byField.set(field, faultOf(field, keyword, params, body[field], schema));
  }
  return Object.keys(schema.properties).flatMap((field) => byField.get(field) ?? []);
}

function faultOf(field: string, keyword: string, params: unknown, value: unknown, schema: TObject): BodyFault {
  if (value === null) return { kind: 'null', field };
  const { limit = 1 } = params as { limit?: number };
  if (keyword === 'minLength') return { kind: 'too-short', field, chars: limit };
  if (keyword === 'maxLength') return { kind: 'too-long', field, chars: limit };
  if (keyword === 'pattern') return { kind: 'pattern', field };
  const { type } = schema.properties[field] as { type?: string };
  return { kind: type === 'integer' ? 'not-an-integer' : 'not-a-string', field };
}
