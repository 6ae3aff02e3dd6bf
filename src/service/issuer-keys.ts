import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import { CountersignError } from '../domain/problem.ts';
import type { Log } from './context.ts';

/** How long keys are believed without asking again: a key that the issuer withdraws is good for that long. */
const FRESH_MS = 10 * 60_000;
/** How long they go on being used when the issuer does not answer. */
const STALE_MS = 24 * 3_600_000;
/** An unknown `kid` may be a new key, or anybody's invention: how often the issuer is asked at most. */
const ASK_AGAIN_AFTER_MS = 30_000;
/** The same as long as there are no keys, and so nobody can be recognised. */
const ASK_AGAIN_WITHOUT_KEYS_AFTER_MS = 5000;
const DEADLINE_MS = 3000;
const MAX_KEY_SET_BYTES = 1024 * 1024;

type Issuer = { readonly issuer: string; readonly jwksUrl: string };
type Parts = { readonly now: () => number; readonly log: Pick<Log, 'warn'>; readonly fetch: typeof fetch };

/**
 * The public keys of an issuer, as jose asks for them. Its own createRemoteJWKSet reads the system's clock, asks a dead
 * issuer again for each token, and forgets what it knew when no answer comes.
 */
export function createIssuerKeys({ issuer, jwksUrl }: Issuer, { now, log, fetch }: Parts): JWTVerifyGetKey {
  let known: { readonly keyOf: JWTVerifyGetKey; readonly at: number } | undefined;
  let askedAt = Number.NEGATIVE_INFINITY;
  let failure: unknown;
  let asking: Promise<void> | undefined;

  const usable = () => (known !== undefined && now() - known.at < STALE_MS ? known : undefined);

  async function load(): Promise<void> {
    const at = now();
    askedAt = at;
    try {
      known = { keyOf: createLocalJWKSet(await fetchKeySet(jwksUrl, fetch)), at };
      failure = undefined;
    } catch (error) {
      failure = error;
      log.warn({ issuer, error: reasonOf(error) }, 'keys of the issuer of bearer tokens cannot be had');
    } finally {
      asking = undefined;
    }
  }

  /** Asks the issuer, unless that was done a moment ago; whoever comes meanwhile waits for the same answer. */
  async function ask(): Promise<void> {
    const pause = usable() === undefined ? ASK_AGAIN_WITHOUT_KEYS_AFTER_MS : ASK_AGAIN_AFTER_MS;
    if (asking === undefined && now() - askedAt >= pause) asking = load();
    await asking;
  }

  function unavailable(): CountersignError {
    return new CountersignError(
      'issuer-unavailable',
      'Bearer tokens cannot be checked just now: their issuer does not answer. Try again in a moment.',
      { cause: failure },
    );
  }

  return async (header, token) => {
    if (known === undefined || now() - known.at >= FRESH_MS) await ask();
    const before = usable();
    if (before === undefined) throw unavailable();
    try {
      return await before.keyOf(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await ask();
      try {
        return await (usable() ?? before).keyOf(header, token);
      } catch (again) {
        // It may be a new key that the issuer could not tell us about.
        throw again instanceof errors.JWKSNoMatchingKey && failure !== undefined ? unavailable() : again;
      }
    }
  };
}

async function fetchKeySet(jwksUrl: string, fetchFrom: typeof fetch): Promise<JSONWebKeySet> {
  const response = await fetchFrom(jwksUrl, {
    headers: { accept: 'application/json, application/jwk-set+json' },
    // Whoever can make the issuer redirect must not choose the keys.
    redirect: 'manual',
    signal: AbortSignal.timeout(DEADLINE_MS),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`HTTP ${response.status}`);
  }
  const { keys } = JSON.parse(await textOf(response)) as { readonly keys?: unknown };
  if (!Array.isArray(keys)) throw new Error('the answer is no key set');
  // A symmetric key in public is no secret: whoever reads it could sign.
  const usable = (keys as JSONWebKeySet['keys']).filter((key) => ['RSA', 'EC', 'OKP'].includes(key?.kty ?? ''));
  if (usable.length === 0) throw new Error('the answer has no public key');
  return { keys: usable };
}

async function textOf({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    // Leaving the loop ends the connection.
    if (bytes > MAX_KEY_SET_BYTES) throw new Error('the answer is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** For the log. What fetch throws says little itself, and its cause has the system's code. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'timeout';
  const { code } = (error.cause ?? {}) as { readonly code?: unknown };
  return typeof code === 'string' ? code : error.message;
}
