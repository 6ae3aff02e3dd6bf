import type { KeyObject } from 'node:crypto';
import { errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import { CountersignError, type Refusal } from '../domain/problem.ts';
import type { Log } from './context.ts';
import { createIssuerKeys } from './issuer-keys.ts';
import { refuseEmail } from './request.ts';

/** Access tokens are one or two kilobytes; a header may have 16 KiB, and all of it would be decoded and hashed. */
const MAX_TOKEN_BYTES = 8192;
/** How far the issuer's clock may be ahead of ours. For `exp` there is none: who wants longer tokens issues longer ones. */
const CLOCK_TOLERANCE_SECONDS = 30;
const MAX_SUBJECT_CHARS = 255;
const MAX_LOCALE_CHARS = 35;

/** How the tokens of an app's signed-in callers are checked. */
export type BearerSettings =
  /** access tokens of the users that Countersign keeps itself */
  | { readonly kind: 'own' }
  | ({
      readonly kind: 'secret';
      /** a key object and no text, because what prints an app must not print it */
      readonly key: KeyObject;
      readonly issuer: string | undefined;
      readonly audience: string | undefined;
    } & ClaimSettings)
  | ({
      readonly kind: 'issuer';
      readonly issuer: string;
      readonly audience: string;
      readonly jwksUrl: string;
    } & ClaimSettings);

type ClaimSettings = {
  /** undefined: `sub`, else `user_id` */
  readonly subjectClaim: string | undefined;
  /** claims that must be there with exactly this value */
  readonly claims: Readonly<Record<string, string | number | boolean>>;
};

/** What a bearer token says, once it is believed. */
export type BearerOutcome =
  | {
      readonly kind: 'signed-in';
      readonly subject: string;
      /** BCP 47 */
      readonly locale: string | undefined;
      readonly email: string | undefined;
    }
  | { readonly kind: 'refused'; readonly why: 'missing' | 'invalid' | 'expired' };

export type BearerVerifier = {
  /**
   * @param token what stands behind `Bearer `; undefined or empty when there is none
   * @throws CountersignError `issuer-unavailable` when nobody can tell, because the issuer's keys cannot be had
   */
  verify(token: string | undefined): Promise<BearerOutcome>;
};

export type BearerParts = {
  /** whose callers they are: an access token of another app's user is refused */
  readonly app: string;
  /** ms since the epoch */
  readonly now: () => number;
  readonly log: Pick<Log, 'warn'>;
  readonly users: OwnUsers;
  readonly fetch?: typeof fetch;
};

type OwnUsers = {
  ofToken(accessToken: string): Promise<
    | {
        readonly kind: 'found';
        readonly app: string;
        readonly user: { readonly id: string; readonly isActive: boolean };
      }
    | Refusal
  >;
};

/** Never the token's own: a header that says `none`, or HS256 where public keys are expected, would choose the lock. */
const SECRET_ALGORITHMS = ['HS256'];
const ISSUER_ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
];

/** jose lets spaces and `=` pass, and so one token would have many spellings. */
const COMPACT_JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** Says who is calling. Tokens are neither logged nor kept. */
export function createBearerVerifier(settings: BearerSettings, parts: BearerParts): BearerVerifier {
  const recognise = settings.kind === 'own' ? ownUserOf(parts) : holderOf(settings, parts);
  return {
    async verify(token) {
      if (token === undefined || token === '') return { kind: 'refused', why: 'missing' };
      if (Buffer.byteLength(token) > MAX_TOKEN_BYTES) return INVALID;
      return await recognise(token);
    },
  };
}

const INVALID: BearerOutcome = { kind: 'refused', why: 'invalid' };
const EXPIRED: BearerOutcome = { kind: 'refused', why: 'expired' };

function ownUserOf({ app, users }: BearerParts) {
  return async (token: string): Promise<BearerOutcome> => {
    const found = await users.ofToken(token);
    if (found.kind === 'refused' || found.app !== app || !found.user.isActive) return INVALID;
    return { kind: 'signed-in', subject: found.user.id, locale: undefined, email: undefined };
  };
}

function holderOf(
  settings: Exclude<BearerSettings, { kind: 'own' }>,
  { now, log, fetch: ownFetch = fetch }: BearerParts,
) {
  const { issuer, audience } = settings;
  const isSecret = settings.kind === 'secret';
  const key: JWTVerifyGetKey = isSecret
    ? async () => settings.key
    : createIssuerKeys(settings, { now, log, fetch: ownFetch });
  const required = {
    algorithms: isSecret ? SECRET_ALGORITHMS : ISSUER_ALGORITHMS,
    requiredClaims: isSecret ? [] : ['exp'],
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    ...(issuer === undefined ? {} : { issuer }),
    ...(audience === undefined ? {} : { audience }),
  };
  return async (token: string): Promise<BearerOutcome> => {
    if (!COMPACT_JWT.test(token)) return INVALID;
    let payload: JWTPayload;
    try {
      ({ payload } = await jwtVerify(token, key, { ...required, currentDate: new Date(now()) }));
    } catch (error) {
      if (error instanceof CountersignError) throw error;
      return error instanceof errors.JWTExpired ? EXPIRED : INVALID;
    }
    // Asked anew: the issuer may have been waited for. And jose grants `exp` the tolerance that is meant for the others.
    return read(payload, settings, now());
  };
}

/** What a token says whose signature, issuer and audience are good. */
function read(payload: JWTPayload, { subjectClaim, claims }: ClaimSettings, now: number): BearerOutcome {
  if (payload.exp !== undefined && payload.exp * 1000 <= now) return EXPIRED;
  if (payload.iat !== undefined && payload.iat * 1000 > now + CLOCK_TOLERANCE_SECONDS * 1000) return INVALID;
  // Django's SimpleJWT signs refresh tokens with the same secret. They live for weeks, and are shown to one address only.
  if (payload['token_type'] === 'refresh') return INVALID;
  if (Object.entries(claims).some(([name, value]) => payload[name] !== value)) return INVALID;
  const subject = subjectOf(subjectClaim === undefined ? (payload.sub ?? payload['user_id']) : payload[subjectClaim]);
  if (subject === undefined) return INVALID;
  return { kind: 'signed-in', subject, locale: localeOf(payload), email: emailOf(payload) };
}

function subjectOf(claim: unknown): string | undefined {
  // Above 2^53 two users would be one.
  if (Number.isSafeInteger(claim)) return String(claim);
  if (typeof claim !== 'string' || claim === '' || [...claim].length > MAX_SUBJECT_CHARS) return undefined;
  // Half a surrogate pair comes back from a store as something else: two users would be one here too.
  return /\p{Cc}/u.test(claim) || !claim.isWellFormed() ? undefined : claim;
}

function localeOf(payload: JWTPayload): string | undefined {
  return [payload['locale'], payload['language']]
    .filter((claim) => typeof claim === 'string')
    .find((claim) => claim.length <= MAX_LOCALE_CHARS && /^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$/.test(claim));
}

function emailOf(payload: JWTPayload): string | undefined {
  const { email, email_verified: isVerified } = payload;
  // Some issuers write the boolean as a text.
  if (typeof email !== 'string' || isVerified === false || isVerified === 'false') return undefined;
  return refuseEmail(email) === undefined ? email : undefined;
}
