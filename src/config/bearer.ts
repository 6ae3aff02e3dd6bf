import { createSecretKey } from 'node:crypto';
import Type from 'typebox';
import type { BearerSettings } from '../service/bearers.ts';
import type { Mode } from './config.ts';

/** RFC 7518, section 3.2: a key for HS256 is at least as long as its output. */
const SECRET_BYTES = 32;

type ClaimSetting = {
  readonly subjectClaim?: string;
  readonly claims?: Readonly<Record<string, string | number | boolean>>;
};

/** Whose bearer tokens an app takes: our own users', or those that an existing back end signs. */
export type BearerSetting =
  | 'own'
  | ({ readonly secret: string; readonly issuer?: string; readonly audience?: string } & ClaimSetting)
  | ({ readonly issuer: string; readonly audience: string; readonly jwksUrl?: string } & ClaimSetting);

/**
 * One object with every key, and not a union of what goes together: of a union each fault would be told once for every
 * branch. `bearerFaults` says what goes together.
 */
export const BearerSchema = Type.Unsafe<BearerSetting>({
  type: ['object', 'string'],
  description: "whose tokens signed-in callers show: 'own', or what a back end's tokens are checked with",
  pattern: '^own$',
  properties: {
    secret: Type.String({ minLength: 1, secret: true, description: 'that the tokens are signed with, by HS256' }),
    issuer: Type.String({ minLength: 1, description: 'their `iss`' }),
    audience: Type.String({ minLength: 1, description: 'that is in their `aud`' }),
    jwksUrl: Type.String({ minLength: 1, description: "where the issuer's public keys are" }),
    subjectClaim: Type.String({ minLength: 1, description: 'says who it is; else `sub`, or `user_id`' }),
    claims: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()]), {
      description: 'that must be there with this value',
    }),
  },
  additionalProperties: false,
});

/** What the schema cannot check. No fault shows the secret. @param place e.g. `apps.taxi.bearer` */
export function bearerFaults(place: string, settings: BearerSetting, mode: Mode): string[] {
  if (settings === 'own') return [];
  const {
    secret,
    issuer,
    audience,
    jwksUrl,
    claims = {},
  } = settings as Partial<Record<BearerKey, string>> & ClaimSetting;
  const faults: string[] = [];
  if (secret !== undefined) {
    // In development it is whatever the host system's developers made up.
    if (mode === 'production' && Buffer.byteLength(secret) < SECRET_BYTES)
      faults.push(`${place}.secret is too short: HS256 needs at least ${SECRET_BYTES} bytes (RFC 7518)`);
    if (jwksUrl !== undefined)
      faults.push(`${place} has both secret and jwksUrl: tokens are signed with a secret or with the issuer's keys`);
  } else if (issuer === undefined && audience === undefined) {
    faults.push(`${place} needs a secret, or issuer and audience, or is 'own'`);
  } else if (issuer === undefined) {
    faults.push(`${place}.issuer is missing: without a secret it says whose keys are good`);
  } else {
    if (audience === undefined)
      faults.push(`${place}.audience is missing: an issuer signs for others too, and their tokens would be taken here`);
    if (!isKeyAddress(jwksUrlOf(issuer, jwksUrl)))
      faults.push(
        jwksUrl === undefined
          ? `${place}.issuer must be an https:// address, or jwksUrl must say where its keys are`
          : `${place}.jwksUrl must be an https:// address without a login in it (http:// only for a host of one's own network, e.g. localhost)`,
      );
  }
  if (claims['token_type'] === 'refresh')
    faults.push(`${place}.claims asks for refresh tokens, which are never taken: token_type is access`);
  return faults;
}

type BearerKey = 'secret' | 'issuer' | 'audience' | 'jwksUrl';

export function resolveBearer(settings: BearerSetting): BearerSettings {
  if (settings === 'own') return { kind: 'own' };
  const { subjectClaim, claims = {} } = settings;
  if ('secret' in settings) {
    const { secret, issuer, audience } = settings;
    return { kind: 'secret', key: createSecretKey(secret, 'utf8'), issuer, audience, subjectClaim, claims };
  }
  const { issuer, audience, jwksUrl } = settings;
  return { kind: 'issuer', issuer, audience, jwksUrl: jwksUrlOf(issuer, jwksUrl), subjectClaim, claims };
}

function jwksUrlOf(issuer: string, jwksUrl: string | undefined): string {
  // Auth0's `iss` has a slash at its end.
  return jwksUrl ?? `${issuer}/.well-known/jwks.json`.replace('//.well-known/', '/.well-known/');
}

/** Whoever can change the answer on its way could sign in as anybody; a name without a dot does not leave one's own network. */
function isKeyAddress(address: string): boolean {
  const url = URL.parse(address);
  if (url === null || url.username !== '' || url.password !== '') return false;
  if (url.protocol === 'https:') return true;
  return url.protocol === 'http:' && (/^[^.:]+$/.test(url.hostname) || /^(127\.[\d.]+|\[::1\])$/.test(url.hostname));
}
