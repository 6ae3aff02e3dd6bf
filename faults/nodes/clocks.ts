import { setTimeout as delay } from 'node:timers/promises';
import type { Reply } from './caller.ts';
import { EDGE_TTL_SECONDS, GUESS_BUDGET, type Installation, START_LIMIT } from './installation.ts';
import type { Broken } from './judge.ts';
import { freshNumber } from './traffic.ts';

/** The first node is five minutes ahead, the second as much behind. */
export const clocksOffMs: readonly number[] = [300_000, -300_000, 0, 0];

/** Nodes leave alone what is nearer than 50 ms; the rest is for a busy machine. */
const EDGE_MS = 300;
const DATED_WITHIN_MS = 1500;
const TOKEN_SECONDS = 900;

/**
 * What hangs on time, on nodes that differ about it: the very end of a code, a window of a minute, a lock, the dates of a
 * token. The right time is that of this process, which the store's server shares.
 */
export async function lookAtClocks(installation: Installation): Promise<readonly Broken[]> {
  const found = await Promise.all([
    ...installation.nodes.flatMap((_, node) => [
      lookAtEnd(installation, node, true),
      lookAtEnd(installation, node, false),
    ]),
    ...installation.nodes.map((_, node) => lookAtWindow(installation, node)),
    ...installation.nodes.map((_, node) => lookAtLock(installation, node)),
  ]);
  return found.flat().map((what) => ({ rule: 'one time', what }));
}

/** A code just before its end, or just behind it, at a node that another one started the verification for. */
async function lookAtEnd(installation: Installation, node: number, isBefore: boolean): Promise<string[]> {
  const number = freshNumber();
  const starter = (node + 2) % installation.nodes.length;
  const begun = Date.now();
  const started = await installation.call(starter, start(number), 'edge');
  const { id, expires_at: expires } = bodyOf(started);
  const expiresAt = Date.parse(String(expires));
  const offMs = expiresAt - EDGE_TTL_SECONDS * 1000 - begun;
  const code = installation.handOversTo(number)[0]?.code;
  if (!(Math.abs(offMs) < DATED_WITHIN_MS)) return [`${name(installation, starter)} dates a code ${offMs} ms off`];
  await delay(expiresAt - Date.now() + (isBefore ? -EDGE_MS : EDGE_MS));
  const path = `/v1/verifications/${id}/check`;
  const checked = await installation.call(node, { method: 'POST', path, body: { code }, what: 'check' }, 'edge');
  const status = checked.kind === 'answered' ? checked.status : 0;
  if (!isBefore) return status < 400 ? [`${name(installation, node)} takes a code after its end`] : [];
  if (status !== 200) return [`${name(installation, node)} answers ${status} to a code before its end`];
  return lookAtToken(installation, node, String(bodyOf(checked)['token']));
}

function lookAtToken(installation: Installation, node: number, token: string): string[] {
  const [, payload = ''] = token.split('.');
  const { iat, exp } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { iat: number; exp: number };
  const isRight = Math.abs(iat * 1000 - Date.now()) < DATED_WITHIN_MS && exp - iat === TOKEN_SECONDS;
  return isRight ? [] : [`${name(installation, node)} dates a token ${Math.round(iat - Date.now() / 1000)} s off`];
}

/** A limit of a minute: a node that is five minutes ahead must not find it empty, one that is behind not full for ever. */
async function lookAtWindow(installation: Installation, node: number): Promise<string[]> {
  const number = freshNumber();
  const ask = (each: number) => installation.call(each, start(number), 'edge');
  const others = installation.nodes.map((_, index) => index).filter((index) => index !== node);
  const first = [];
  for (let count = 0; count < START_LIMIT; count += 1) first.push(await ask(node));
  const refused = await Promise.all(others.map(ask));
  const waits = refused.map((reply) => (reply.kind === 'answered' ? reply.retryAfterSeconds : undefined) ?? Number.NaN);
  return [
    ...first.filter((reply) => statusOf(reply) !== 201).map((reply) => `a limit refuses too early: ${statusOf(reply)}`),
    ...refused
      .filter((reply) => statusOf(reply) !== 429)
      .map(({ node: at }) => `${name(installation, at)} forgot a limit`),
    ...waits
      .filter((seconds) => !(seconds > 50 && seconds <= 60))
      .map((seconds) => `a minute's limit says ${seconds} s`),
  ];
}

/** A number that was locked at one node, at all others. */
async function lookAtLock(installation: Installation, node: number): Promise<string[]> {
  const body = { to: freshNumber(), code: '000000' };
  const guess = (each: number) =>
    installation.call(each, { method: 'POST', path: '/v1/check', body, what: 'guess' }, 'edge');
  for (let count = 0; count < GUESS_BUDGET; count += 1) await guess(node);
  const replies = await Promise.all(installation.nodes.map((_, index) => guess(index)));
  const day = 86_400;
  return replies.flatMap((reply) => {
    const seconds = reply.kind === 'answered' ? (reply.retryAfterSeconds ?? 0) : 0;
    const isRight = statusOf(reply) === 429 && Math.abs(seconds - day) < 30;
    return isRight
      ? []
      : [`${name(installation, reply.node)} says of a lock of a day: ${statusOf(reply)}, ${seconds} s`];
  });
}

const start = (to: string) => ({ method: 'POST', path: '/v1/verifications', body: { to }, what: 'start' }) as const;

function statusOf(reply: Reply): number {
  return reply.kind === 'answered' ? reply.status : 0;
}

function bodyOf(reply: Reply): Readonly<Record<string, unknown>> {
  return reply.kind === 'answered' ? reply.body : {};
}

function name({ nodes }: Installation, node: number): string {
  const offMs = nodes[node]?.clockOffMs ?? 0;
  return offMs === 0 ? 'a node whose clock is right' : `a node whose clock is ${offMs / 60_000} min off`;
}
