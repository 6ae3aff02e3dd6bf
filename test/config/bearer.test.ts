import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import Value from 'typebox/value';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { BearerSchema, type BearerSetting, bearerFaults, resolveBearer } from '../../src/config/bearer.ts';
import type { Mode } from '../../src/config/config.ts';
import { faultsOf } from '../../src/config/faults.ts';

const SECRET = 'f3b1c9e27a5d4408b6e0913cd2745af8';
const ISSUER = { issuer: 'https://login.example.com', audience: 'api' };
const place = 'apps.taxi.bearer';

/** What the schema says, and what it cannot check. */
function faultsIn(settings: unknown, mode: Mode = 'production'): string[] {
  const shape = faultsOf(BearerSchema, settings, place);
  return shape.length > 0 ? shape : bearerFaults(place, settings as BearerSetting, mode);
}

describe('the setting bearer', () => {
  it.each([
    'own',
    { secret: SECRET },
    { secret: SECRET, issuer: 'django', audience: 'riders', subjectClaim: 'user_id', claims: { token_type: 'access' } },
    ISSUER,
    {
      ...ISSUER,
      jwksUrl: 'https://login.example.com/protocol/certs',
      claims: { typ: 'Bearer', level: 2, staff: true },
    },
    { ...ISSUER, issuer: 'no address at all', jwksUrl: 'https://login.example.com/keys' },
    { ...ISSUER, issuer: 'http://keycloak:8080/realms/taxi' },
    { ...ISSUER, issuer: 'http://127.0.0.1:8080' },
    { ...ISSUER, issuer: 'http://[::1]:8080' },
  ])('takes %j', (settings) => {
    expect(Value.Check(BearerSchema, settings)).toBe(true);
    expect(faultsIn(settings)).toEqual([]);
  });

  it('takes a short secret in development', () => {
    expect(faultsIn({ secret: SECRET.slice(1) }, 'development')).toEqual([]);
  });

  it.each([
    ['none', `${place} does not have the form ^own$`],
    [7, `${place} must be either object or string`],
    [{ secrt: SECRET }, `${place}.secrt is not a known key; did you mean secret?`],
    [{ secret: SECRET, claims: { roles: ['rider'] } }, `${place}.claims.roles must be string`],
    [{ secret: '' }, `${place}.secret must not have fewer than 1 characters`],
    [{ secret: SECRET.slice(1) }, `${place}.secret is too short: HS256 needs at least 32 bytes (RFC 7518)`],
    [{ secret: SECRET, jwksUrl: 'https://a.example' }, /has both secret and jwksUrl/],
    [{}, `${place} needs a secret, or issuer and audience, or is 'own'`],
    [{ jwksUrl: 'https://login.example.com/keys' }, /needs a secret, or issuer and audience/],
    [{ audience: 'api' }, /issuer is missing/],
    [{ issuer: ISSUER.issuer }, /audience is missing/],
    [{ ...ISSUER, issuer: 'login.example.com' }, /issuer must be an https:\/\/ address/],
    [{ ...ISSUER, issuer: 'http://login.example.com' }, /issuer must be an https:\/\/ address/],
    [{ ...ISSUER, issuer: 'ftp://keycloak' }, /issuer must be an https:\/\/ address/],
    [{ ...ISSUER, jwksUrl: 'http://login.example.com/keys' }, /jwksUrl must be an https:\/\/ address/],
    [{ ...ISSUER, jwksUrl: 'https://me:word@login.example.com/keys' }, /jwksUrl must be .* without a login/],
    [{ secret: SECRET, claims: { token_type: 'refresh' } }, /asks for refresh tokens/],
  ])('refuses %j', (settings, fault) => {
    expect(faultsIn(settings)).toEqual([expect.stringMatching(fault instanceof RegExp ? fault : /.*/)]);
    if (typeof fault === 'string') expect(faultsIn(settings)).toEqual([fault]);
  });

  it('counts the bytes of a secret, not its characters', () => {
    expect(faultsIn({ secret: 'ў'.repeat(16) })).toEqual([]);
  });

  it('shows no secret in a fault, nor in what it is turned into', () => {
    const short = 'ten-chars!';
    for (const settings of [short, { secret: short }, { secret: short, jwksUrl: 'x' }, { secrets: short }])
      expect(faultsIn(settings).join()).not.toContain(short);
    const resolved = resolveBearer({ secret: SECRET });
    expect(JSON.stringify(resolved) + inspect(resolved, { depth: 9, showHidden: true })).not.toContain(SECRET);
  });

  it('looks for the keys below the issuer, with one slash between', () => {
    for (const issuer of ['https://tenant.auth0.com/', 'https://tenant.auth0.com'])
      expect(resolveBearer({ issuer, audience: 'api' })).toMatchObject({
        kind: 'issuer',
        issuer,
        jwksUrl: 'https://tenant.auth0.com/.well-known/jwks.json',
      });
  });
});

describe('docs/bearers.md', () => {
  const page = readFileSync(new URL('../../docs/bearers.md', import.meta.url), 'utf8');

  it('has set-ups that are taken as they stand', () => {
    const fences = [...page.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, source = '']) => source);
    expect(fences).toHaveLength(5);
    for (const source of fences) {
      const { apps } = parse(source.replaceAll(/\$\{[A-Z_]+\}/g, SECRET)) as { apps: { default: { bearer: unknown } } };
      expect(faultsIn(apps.default.bearer), source).toEqual([]);
    }
  });

  it('names every key, and no other', () => {
    const keys = [...page.matchAll(/^\| `(\w+)` \|/gm)].map(([, key]) => key);
    expect(keys).toEqual(Object.keys((BearerSchema as unknown as { properties: object }).properties));
  });
});
