import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from 'jose';
import { isAddress } from '../domain/email.ts';
import type { PhoneNumber } from '../domain/phone-number.ts';
import { CountersignError } from '../domain/problem.ts';
import type { SigningKey, Store } from '../domain/store.ts';
import type { Verification } from '../domain/verification.ts';
import type { Sealer } from './sealer.ts';

/** Long enough to be handed from a phone to a back end, short enough not to become a session. */
const TOKEN_TTL_SECONDS = 900;
/** How long the holder of a token is known as somebody who once held the number. */
const TRUST_DAYS = 180;
/** How soon a rotation made by another process is noticed. */
const RELOAD_AFTER_MS = 10_000;
/** How long the list of public keys may be kept by whoever has fetched it, caches on the way included. */
export const JWKS_MAX_AGE_SECONDS = 10;
/**
 * A new key signs once every node has surely loaded it, and no cache on the way has the list without it. A verifier that keeps the
 * list for longer asks again when it meets a `kid` that it does not know, and then it gets the new one.
 */
const SIGNS_AFTER_MS = RELOAD_AFTER_MS + JWKS_MAX_AGE_SECONDS * 1000;
/** A key that is not known may be a new one, or anybody's invention: how often the store is asked at most. */
const ASK_AGAIN_AFTER_MS = 1000;

export type Tokens = {
  /** A JWT (EdDSA) that says: this number, or mailbox, was held by whoever typed the code. */
  issue(verification: Verification, now: number): string;
  /** Public keys, also those that no longer sign: tokens signed before a rotation stay valid. */
  jwks(now: number): Promise<JSONWebKeySet>;
  /** Is it a token of an earlier approval of that number for that app? Its expiry does not matter here. */
  provesEarlierApproval(token: string, app: string, number: PhoneNumber, now: number): Promise<boolean>;
  /** Makes a new signing key. It is published at once, and signs from `SIGNS_AFTER_MS` on. @returns its id */
  rotate(now: number): Promise<string>;
};

type LoadedKey = { readonly privateKey: KeyObject; readonly encodedHeader: string };

/** Loads the signing keys, and makes the first one. @param issuer the `iss` of every token */
export async function openTokens(store: Store, sealer: Sealer, issuer: string, now: number): Promise<Tokens> {
  let stored = await store.listSigningKeys();
  if (stored.length === 0) {
    await store.addSigningKey(makeKey(sealer, now), true);
    stored = await store.listSigningKeys();
  }
  const loaded = new Map<string, LoadedKey>();
  let jwks = jwksOf(stored);
  let loadedAt = now;
  let reloading: Promise<void> | undefined;
  // Here and not with the first approval: whoever set another secret should be told at the start.
  loadedOf(stored[0]);

  function loadedOf(key: SigningKey | undefined): LoadedKey {
    if (key === undefined) throw new Error('there is no signing key');
    const known = loaded.get(key.id) ?? load(key, sealer);
    loaded.set(key.id, known);
    return known;
  }

  function signerAt(at: number): LoadedKey {
    // The first key of all signs at once, since nobody has another.
    return loadedOf(stored.find(({ createdAt }) => createdAt + SIGNS_AFTER_MS <= at) ?? stored.at(-1));
  }

  async function reload(at: number): Promise<void> {
    const keys = await store.listSigningKeys();
    loadedAt = at;
    if (keys[0]?.id !== stored[0]?.id) {
      // One that cannot be opened, since its node has another secret, is not taken in.
      loadedOf(keys[0]);
      jwks = jwksOf(keys);
      stored = keys;
    }
    reloading = undefined;
  }

  /** @param olderThanMs what was loaded longer ago than this is loaded again */
  function refresh(at: number, olderThanMs = RELOAD_AFTER_MS): Promise<void> {
    if (Math.abs(at - loadedAt) < olderThanMs) return Promise.resolve();
    reloading ??= reload(at).catch(() => {
      // The keys at hand stay good; the store's own callers report that it is away.
      reloading = undefined;
    });
    return reloading;
  }

  return {
    issue(verification, at) {
      void refresh(at);
      const { encodedHeader, privateKey } = signerAt(at);
      const seconds = Math.floor(at / 1000);
      const payload = JSON.stringify({
        iss: issuer,
        aud: verification.app,
        sub: verification.subject ?? verification.number,
        jti: verification.id,
        iat: seconds,
        exp: seconds + TOKEN_TTL_SECONDS,
        ...claimsOf(verification),
        purpose: verification.purpose,
        channel: verification.channel,
      });
      const signed = `${encodedHeader}.${Buffer.from(payload).toString('base64url')}`;
      // By node:crypto: jose goes through WebCrypto, which takes twice as long, and each check of a code signs once.
      return `${signed}.${sign(null, Buffer.from(signed), privateKey).toString('base64url')}`;
    },
    async jwks(at) {
      await refresh(at);
      return jwks;
    },
    async provesEarlierApproval(token, app, number, at) {
      await refresh(at);
      try {
        const { kid } = decodeProtectedHeader(token);
        if (stored.every(({ id }) => id !== kid)) await refresh(at, ASK_AGAIN_AFTER_MS);
        const { payload } = await jwtVerify(token, createLocalJWKSet(jwks), {
          issuer,
          audience: app,
          algorithms: ['EdDSA'],
          currentDate: new Date(at),
          clockTolerance: TRUST_DAYS * 86_400,
        });
        return isAddress(number)
          ? payload['email'] === number && payload['email_verified'] === true
          : payload['phone_number'] === number && payload['phone_number_verified'] === true;
      } catch {
        return false;
      }
    },
    async rotate(at) {
      const key = makeKey(sealer, at);
      await store.addSigningKey(key, false);
      await reload(at);
      return key.id;
    },
  };
}

/** What was shown. An address that is verified for itself says nothing of any number. */
function claimsOf({ number, sentByEmail }: Verification): Readonly<Record<string, unknown>> {
  if (isAddress(number)) return { email: number, email_verified: true };
  // Whoever reads a mailbox has shown nothing of the number.
  return { phone_number: number, phone_number_verified: !sentByEmail };
}

function makeKey(sealer: Sealer, now: number): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const { x = '' } = publicKey.export({ format: 'jwk' });
  // The key's thumbprint (RFC 7638): its members in lexical order, without spaces.
  const id = createHash('sha256').update(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).digest('base64url');
  return {
    id,
    sealedPrivateKey: sealer.seal(privateKey.export({ format: 'der', type: 'pkcs8' }), id),
    publicJwk: JSON.stringify({ kty: 'OKP', crv: 'Ed25519', x, kid: id, use: 'sig', alg: 'EdDSA' }),
    createdAt: now,
  };
}

function load({ id, sealedPrivateKey }: SigningKey, sealer: Sealer): LoadedKey {
  let der: Buffer;
  try {
    der = sealer.open(sealedPrivateKey, id);
  } catch (error) {
    throw new CountersignError(
      'config-invalid',
      'The signing key in the database cannot be opened: it was sealed with another COUNTERSIGN_SECRET. Set the secret that this database was made with.',
      { cause: error },
    );
  }
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const header = JSON.stringify({ alg: 'EdDSA', typ: 'JWT', kid: id });
  return { privateKey, encodedHeader: Buffer.from(header).toString('base64url') };
}

function jwksOf(keys: readonly SigningKey[]): JSONWebKeySet {
  return { keys: keys.map(({ publicJwk }) => JSON.parse(publicJwk) as JSONWebKeySet['keys'][number]) };
}
