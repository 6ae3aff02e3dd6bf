import type { TSchema } from 'typebox';
import Value from 'typebox/value';
import { nearestTo } from '../domain/nearest.ts';

/**
 * Every way in which `value` is not what `schema` asks for, each in a sentence with its place.
 * @param place where the value stands, e.g. `apps.taxi`
 * @param nameOf how a key is called where the person wrote it, e.g. its environment variable
 */
export function faultsOf(
  schema: TSchema,
  value: unknown,
  place: string,
  nameOf: (path: string) => string = (path) => path,
): string[] {
  const faults = new Map<string, string>();
  for (const error of Value.Errors(schema, value)) {
    const keys = error.instancePath.split('/').slice(1).map(unescapePointer);
    if (error.keyword === 'additionalProperties') {
      const known = knownKeysAt(schema, keys);
      for (const key of (error.params as { additionalProperties: string[] }).additionalProperties) {
        const path = join(place, [...keys, key]);
        faults.set(path, `${nameOf(path)} is not a known key${nearestTo(key, known)}`);
      }
      continue;
    }
    if (error.keyword === 'required') {
      for (const key of (error.params as { requiredProperties: string[] }).requiredProperties) {
        const path = join(place, [...keys, key]);
        faults.set(path, `${nameOf(path)} is missing`);
      }
      continue;
    }
    const path = join(place, keys);
    // Each name that is wrong has a fault of its own.
    if (error.keyword === 'boolean' || error.keyword === 'propertyNames' || faults.has(path)) continue;
    faults.set(
      path,
      `${nameOf(path)} ${sentenceOf(error.keyword, error.params as Record<string, unknown>, error.message)}`,
    );
  }
  return [...faults.values()];
}

function sentenceOf(keyword: string, params: Record<string, unknown>, message: string): string {
  if (keyword === 'enum' || keyword === 'const') return `must be one of ${[params['allowedValues']].flat().join(', ')}`;
  if (keyword === 'pattern') return `does not have the form ${String(params['pattern'])}`;
  return message;
}

function knownKeysAt(schema: TSchema, keys: readonly string[]): string[] {
  let at: unknown = schema;
  for (const key of keys) {
    const { properties, patternProperties, items } = (at ?? {}) as {
      properties?: Record<string, unknown>;
      patternProperties?: Record<string, unknown>;
      items?: unknown;
    };
    at = properties?.[key] ?? Object.values(patternProperties ?? {})[0] ?? items;
  }
  return Object.keys((at as { properties?: object } | undefined)?.properties ?? {});
}

function join(place: string, keys: readonly string[]): string {
  return [place, ...keys].filter((part) => part !== '').join('.');
}

function unescapePointer(part: string): string {
  return part.replaceAll('~1', '/').replaceAll('~0', '~');
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
