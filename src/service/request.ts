import { createHmac } from 'node:crypto';
import { addressBucketOf } from '../domain/address.ts';
import type { GuessLane } from '../domain/guess-budget.ts';
import {
  maskNumber,
  type NumberFault,
  type ParsedNumber,
  type PhoneNumber,
  parsePhoneNumber,
  prefixOf,
} from '../domain/phone-number.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import type { Bucket, Idempotency, SendRefusal } from '../domain/store.ts';
import type { TextEnding } from '../domain/text-ending.ts';
import { endOfDay } from '../domain/usage.ts';
import type { App } from './app.ts';
import type { ServiceContext } from './context.ts';

const IDEMPOTENCY_TTL_MS = 24 * 3_600_000;

const numberFaults: Record<NumberFault, string> = {
  empty: 'The number is empty.',
  'not-a-number': 'This is not a phone number. Give it in E.164, e.g. +998901234567.',
  'too-short': 'The number has too few digits.',
  'too-long': 'The number has too many digits.',
  'country-missing': 'The number has no country code. Write it as +998901234567, or say its country.',
  invalid: 'There is no such number: its digits fit no network of its country.',
};

export type Recipient = { readonly ok: true; readonly number: ParsedNumber } | Refusal;

/** @param country of the request, for a national form; the app's own when absent */
export function parseRecipient(app: App, to: string, country: string | undefined): Recipient {
  const parsed = parsePhoneNumber(to, (country as App['country']) ?? app.country);
  if (!parsed.ok) return refuse('number-invalid', numberFaults[parsed.fault], { field: 'to' });
  return { ok: true, number: parsed.value };
}

/** Does the app send to that country at all? Nothing is counted for a number that is refused here. */
export function refuseCountry(app: App, { country }: ParsedNumber): Refusal | undefined {
  if (app.allowedCountries === undefined || app.allowedCountries.has(country ?? '')) return undefined;
  return refuse('country-not-allowed', `This app does not send to ${country ?? 'such numbers'}.`, { field: 'to' });
}

export function sendBuckets(app: App, number: PhoneNumber, clientIp: string | undefined): Bucket[] {
  const { perNumber, perAddress, perPrefix, perApp } = app.limits;
  const address = clientIp === undefined ? undefined : addressBucketOf(clientIp);
  return [
    ...bucket('number', number, perNumber),
    ...(address === undefined ? [] : bucket('address', address, perAddress)),
    ...bucket('prefix', prefixOf(number), perPrefix),
    ...bucket('app', '', perApp),
  ];
}

export function bucket(scope: Bucket['scope'], value: string, rules: Bucket['rules']): Bucket[] {
  return rules.length === 0 ? [] : [{ scope, value, rules }];
}

export function refuseAddress(clientIp: string | undefined): Refusal | undefined {
  if (clientIp === undefined || addressBucketOf(clientIp) !== undefined) return undefined;
  return refuse('request-invalid', 'client_ip is not an IPv4 or IPv6 address.', { field: 'client_ip' });
}

/** One `@`, and nothing that could make a second address or a header of it. */
const EMAIL = /^[^\s@,;<>"\p{Cc}]{1,64}@[^\s@,;<>"\p{Cc}]{1,190}$/u;

export function refuseEmail(email: string | undefined): Refusal | undefined {
  if (email === undefined || EMAIL.test(email)) return undefined;
  return refuse('request-invalid', 'email is not an e-mail address.', { field: 'email' });
}

/** @param request everything of the request that makes it that request */
export function idempotencyOf(
  { codeKeys }: ServiceContext,
  key: string | undefined,
  request: readonly unknown[],
  now: number,
): Idempotency | undefined {
  if (key === undefined) return undefined;
  // Keyed: a custom text may hold a code, and a plain hash of a known sentence gives six digits away.
  const fingerprint = createHmac('sha256', codeKeys.fingerprint).update(canonicalJson(request)).digest('base64url');
  return { key, fingerprint, expiresAt: now + IDEMPOTENCY_TTL_MS };
}

/** JSON in which the order of the fields says nothing: two clients may write one request in two ways. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

/** @param now for when a new day begins */
export function toRefusal(refusal: Exclude<SendRefusal, { kind: 'replayed' }>, now: number): Refusal {
  switch (refusal.kind) {
    case 'limited':
      return refuse('rate-limited', limitSentences[refusal.scope], { retryAfterMs: refusal.retryAfterMs });
    case 'locked':
      return lockedRefusal(refusal.retryAfterMs);
    case 'over-budget':
      return refuse('budget-spent', 'This app has spent what it may spend today.', {
        retryAfterMs: endOfDay(now) - now,
      });
    case 'conflict':
      return refuse(
        'idempotency-conflict',
        'This Idempotency-Key was used for another request. Use a new key for a new request.',
      );
  }
}

const limitSentences: Record<Bucket['scope'], string> = {
  number: 'Too many messages to this number.',
  address: 'Too many messages asked for from this address.',
  prefix: 'Too many messages to numbers like this one.',
  app: 'This app has sent as many messages as it may for now.',
};

export function lockedRefusal(retryAfterMs: number): Refusal {
  return refuse('number-locked', 'Too many wrong codes for this number. It is locked for a while.', { retryAfterMs });
}

/** Which budget of guesses the caller has: one of its own when it shows that the person held the number before. */
export async function laneFor(
  context: ServiceContext,
  app: App,
  number: PhoneNumber,
  approvalToken: string | undefined,
): Promise<GuessLane | Refusal> {
  if (approvalToken === undefined) return 'open';
  if (await context.tokens.provesEarlierApproval(approvalToken, app.id, number, context.now())) return 'trusted';
  return refuse('token-invalid', `This is no token of an earlier approval of ${maskNumber(number)} for this app.`, {
    field: 'approval_token',
  });
}

/** How a client's texts end, so that its phone fills the code in. */
export type AutofillRequest = {
  /** what the person has the app on: a page (`web`), or an app */
  readonly platform?: 'web' | 'ios' | 'android';
  /** of an Android app, where the configuration names several */
  readonly appHash?: string;
};

/** The ending for that client, or why there is none; a platform that is not configured is no fault of the caller. */
export function endingFor(app: App, { platform, appHash }: AutofillRequest): TextEnding | undefined | Refusal {
  const { domain, appHashes } = app.autofill;
  if (appHash !== undefined && !appHashes.includes(appHash)) {
    return refuse('request-invalid', 'app_hash is none of the hashes that are configured for this app.', {
      field: 'app_hash',
    });
  }
  if (platform === 'android' || appHash !== undefined) {
    const hash = appHash ?? (appHashes.length === 1 ? appHashes[0] : undefined);
    return hash === undefined ? undefined : { kind: 'sms-retriever', appHash: hash };
  }
  return platform === undefined || domain === undefined ? undefined : { kind: 'web-otp', domain };
}
