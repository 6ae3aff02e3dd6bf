import { createHmac } from 'node:crypto';
import { addressBucketOf } from '../domain/address.ts';
import { isAddress, isEmail, maskRecipient, parseEmail, parseStored } from '../domain/email.ts';
import type { GuessLane } from '../domain/guess-budget.ts';
import { marketOf } from '../domain/market.ts';
import {
  type NumberFault,
  type ParsedNumber,
  type PhoneNumber,
  parsePhoneNumber,
  prefixOf,
} from '../domain/phone-number.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import type { Channel } from '../domain/provider.ts';
import type { LimitRule } from '../domain/rate-limit.ts';
import { IDEMPOTENCY_TTL_MS } from '../domain/retention.ts';
import type { Bucket, Idempotency, SendRefusal } from '../domain/store.ts';
import { isAppHash, type TextEnding } from '../domain/text-ending.ts';
import { endOfDay } from '../domain/usage.ts';
import type { App } from './app.ts';
import type { ServiceContext } from './context.ts';

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

/** As `parseRecipient`, of a verification: it may be of an e-mail address, by e-mail alone. */
export function parseVerified(app: App, to: string, country: string | undefined): Recipient {
  if (!isAddress(to)) return parseRecipient(app, to, country);
  const number = parseEmail(to);
  return number === undefined
    ? refuse('number-invalid', 'This is no e-mail address.', { field: 'to' })
    : { ok: true, number };
}

/** The number of a stored verification, as it is now: numbering plans change, and it may be none any more. */
export function parseKept(number: PhoneNumber): Recipient {
  const parsed = parseStored(number);
  return parsed === undefined
    ? refuse('number-invalid', numberFaults.invalid, { field: 'to' })
    : { ok: true, number: parsed };
}

/** An e-mail address is reached by e-mail, and is the one that the code goes to. */
export function refuseWayTo(
  number: PhoneNumber,
  { channel, email }: { readonly channel?: Channel; readonly email?: string },
): Refusal | undefined {
  if (!isAddress(number)) return undefined;
  if (channel !== 'email')
    return refuse('request-invalid', 'An e-mail address is verified by e-mail: say the channel email.', {
      field: 'channel',
    });
  if (email === undefined || parseEmail(email)?.number === number) return undefined;
  return refuse('request-invalid', 'The code goes to the address that is verified: leave email out.', {
    field: 'email',
  });
}

/** Does the app send to that country at all? Nothing is counted for a number that is refused here. */
export function refuseCountry(app: App, number: ParsedNumber): Refusal | undefined {
  // A mailbox is in no country.
  if (isAddress(number.number)) return undefined;
  const { country } = number;
  const isAllowed = app.allowedCountries === undefined || app.allowedCountries.has(country ?? '');
  if (isAllowed && (app.markets.length === 0 || marketOf(app.markets, number) !== undefined)) return undefined;
  return refuse('country-not-allowed', `This app does not send to ${country ?? 'such numbers'}.`, { field: 'to' });
}

export function sendBuckets(
  app: App,
  number: PhoneNumber,
  clientIp: string | undefined,
  skipPrefixLimit = false,
): Bucket[] {
  const { perNumber, perAddress, perPrefix, perApp } = app.limits;
  const address = clientIp === undefined ? undefined : addressBucketOf(clientIp);
  return [
    ...bucket('number', number, perNumber),
    ...(address === undefined ? [] : bucket('address', address, perAddress)),
    ...(skipPrefixLimit || isAddress(number) ? [] : bucket('prefix', prefixOf(number), perPrefix)),
    ...bucket('app', '', perApp),
  ];
}

/**
 * How many wrong codes may come from one address: as many as all verifications take that may be started from it. Without
 * it one address could use up the guesses of every number there is, and so lock all of them.
 */
export function guessBuckets({ limits, maxAttempts }: App, clientIp: string | undefined): Bucket[] {
  const address = clientIp === undefined ? undefined : addressBucketOf(clientIp);
  const rules = limits.perAddress.map(({ max, windowMs }) => ({ max: max * maxAttempts, windowMs }));
  return address === undefined ? [] : bucket('guesses', address, rules);
}

/** A limit of the caller's own: so many requests with that value under that name. */
export type NamedLimit = { readonly name: string; readonly value: string; readonly rules: readonly LimitRule[] };

export function namedBuckets({ codeKeys }: ServiceContext, limits: readonly NamedLimit[]): Bucket[] {
  const buckets = new Map<string, Bucket>();
  for (const { name, value, rules } of limits) {
    // Digested: it may be anything, a person's address too, and as long as it likes.
    const hidden = createHmac('sha256', codeKeys.fingerprint)
      .update(JSON.stringify([name, value]))
      .digest('base64url');
    // One bucket for a value that is named twice: two would not see each other's rules.
    const all = [...(buckets.get(hidden)?.rules ?? []), ...rules];
    if (all.length > 0) buckets.set(hidden, { scope: 'named', value: hidden, rules: all, name });
  }
  return [...buckets.values()];
}

export function bucket(scope: Bucket['scope'], value: string, rules: Bucket['rules']): Bucket[] {
  return rules.length === 0 ? [] : [{ scope, value, rules }];
}

export function refuseAddress(clientIp: string | undefined): Refusal | undefined {
  if (clientIp === undefined || addressBucketOf(clientIp) !== undefined) return undefined;
  return refuse('request-invalid', 'client_ip is not an IPv4 or IPv6 address.', { field: 'client_ip' });
}

export function refuseEmail(email: string | undefined): Refusal | undefined {
  if (email === undefined || isEmail(email)) return undefined;
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
      return refuse('rate-limited', limitSentences[refusal.scope], {
        retryAfterMs: refusal.retryAfterMs,
        ...(refusal.limit === undefined ? {} : { limit: refusal.limit }),
        ...(refusal.scope === 'named' ? {} : { scope: refusal.scope === 'guesses' ? 'address' : refusal.scope }),
      });
    case 'used-up':
      return refuse(
        refusal.what === 'sends' ? 'sends-exhausted' : 'attempts-exhausted',
        refusal.what === 'sends'
          ? 'This verification was sent as often as it may be. Start a new one when it has expired.'
          : 'Too many wrong codes were tried. Start a new verification when this one has expired.',
        { retryAfterMs: refusal.retryAfterMs },
      );
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
  guesses: 'Too many wrong codes from this address.',
  named: 'One of the caller’s own limits is reached.',
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
  return refuse('token-invalid', `This is no token of an earlier approval of ${maskRecipient(number)} for this app.`, {
    field: 'approval_token',
  });
}

/** How a client's texts end, so that its phone fills the code in. */
export type AutofillRequest = {
  /** what the person has the app on: a page (`web`), or an app */
  readonly platform?: 'web' | 'ios' | 'android';
  /** of an Android app, where the configuration names several */
  readonly appHash?: string;
  /** the caller is trusted to know its own hashes: `appHash` need not be one that is configured */
  readonly anyAppHash?: true;
};

/** The ending for that client, or why there is none; a platform that is not configured is no fault of the caller. */
export function endingFor(
  app: App,
  { platform, appHash, anyAppHash }: AutofillRequest,
): TextEnding | undefined | Refusal {
  const { domain, appHashes } = app.autofill;
  const isKnown = appHash === undefined || appHashes.includes(appHash) || (anyAppHash === true && isAppHash(appHash));
  if (!isKnown) {
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
