import { hash } from 'node:crypto';
import { makeId } from '../domain/id.ts';
import type { ApiKey, Store } from '../domain/store.ts';

const KEY_BYTES = 24;
/** How long a revoked key may still work on a node that has seen it before. */
const REMEMBERED_MS = 2000;
const MOST_REMEMBERED = 10_000;

/** @returns the key itself, shown once and stored nowhere, and what is kept of it */
export async function createApiKey(
  store: Store,
  app: string,
  name: string,
  now: number,
  randomBytes: (length: number) => Uint8Array,
): Promise<{ readonly key: string; readonly kept: ApiKey }> {
  const key = `cs_${Buffer.from(randomBytes(KEY_BYTES)).toString('base64url')}`;
  const kept: ApiKey = {
    id: makeId('key', now, randomBytes(10)),
    app,
    name,
    hash: digestKey(key),
    createdAt: now,
    revokedAt: undefined,
  };
  await store.addApiKey(kept);
  return { key, kept };
}

export type KeyVerifier = (key: string, now: number) => Promise<string | undefined>;

/** Finds the app of a key. A good key is remembered for two seconds, so that the hot path reads no row for it. */
export function createKeyVerifier(store: Store): KeyVerifier {
  const remembered = new Map<string, { readonly app: string; readonly until: number }>();
  return async (key, now) => {
    // Looked up by digest, so that no comparison runs along the key itself.
    const digest = digestKey(key);
    const known = remembered.get(digest);
    // Not further ahead than it was set: else it was set by a clock that has been put right since.
    if (known !== undefined && now < known.until && known.until - now <= REMEMBERED_MS) return known.app;
    const found = await store.findApiKey(digest);
    if (found === undefined || found.revokedAt !== undefined) {
      remembered.delete(digest);
      return undefined;
    }
    if (remembered.size >= MOST_REMEMBERED) remembered.clear();
    remembered.set(digest, { app: found.app, until: now + REMEMBERED_MS });
    return found.app;
  };
}

function digestKey(key: string): string {
  return hash('sha256', key, 'base64url');
}
