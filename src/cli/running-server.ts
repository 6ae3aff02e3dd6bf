import type { Config } from '../config/config.ts';
import type { Countersign } from '../service/countersign.ts';

/** A server on this machine answers at once, or is not there. */
const PATIENCE_MS = 2000;

/** Who answers at the configured host and port. */
export type RunningServer =
  | { readonly kind: 'none' }
  /** it signs with the keys of our own store; `hasInbox`: it runs in development mode */
  | { readonly kind: 'ours'; readonly url: string; readonly hasInbox: boolean }
  | { readonly kind: 'other'; readonly url: string; readonly isCountersign: boolean };

/** @param ownKeys public keys of the store at hand; undefined when there is no store yet */
export async function findRunningServer(
  { host, port }: Pick<Config, 'host' | 'port'>,
  ownKeys: Awaited<ReturnType<Countersign['tokens']['jwks']>> | undefined,
): Promise<RunningServer> {
  if (port === 0) return { kind: 'none' };
  const url = `http://${reachableName(host)}:${port}`;
  const jwks = await ask(`${url}/.well-known/jwks.json`);
  if (jwks.kind !== 'answer')
    return jwks.kind === 'nobody' ? { kind: 'none' } : { kind: 'other', url, isCountersign: false };
  const keys = (jwks.body as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys)) return { kind: 'other', url, isCountersign: false };
  // A key's id is its thumbprint: whoever has it in common with us works on the same store.
  const own = new Set(ownKeys?.keys.map(({ kid }) => kid));
  if (!keys.some(({ kid }: { kid?: string }) => own.has(kid))) return { kind: 'other', url, isCountersign: true };
  // A filter that matches no number: whether there is an inbox, without reading it.
  const inbox = await ask(`${url}/inbox/api/messages?number=none`);
  return { kind: 'ours', url, hasInbox: inbox.kind === 'answer' };
}

function reachableName(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

async function ask(
  url: string,
): Promise<{ readonly kind: 'answer'; readonly body: unknown } | { readonly kind: 'nobody' | 'something else' }> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS), redirect: 'manual' });
    return response.ok ? { kind: 'answer', body: await response.json() } : { kind: 'something else' };
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as { code?: string };
    return {
      kind: code === 'ECONNREFUSED' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' ? 'nobody' : 'something else',
    };
  }
}
