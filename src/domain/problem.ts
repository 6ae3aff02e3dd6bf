/**
 * Everything that Countersign refuses, by its stable code. An HTTP status belongs to each (`http/problem.ts`) and a
 * paragraph of `docs/problems.md`; a test holds the three together.
 */
export const problemCodes = [
  // the request's shape
  'request-invalid',
  'json-invalid',
  'media-type-unsupported',
  'body-too-large',
  'headers-too-large',
  'request-timeout',
  'number-invalid',
  'line-type-refused',
  'country-not-allowed',
  'code-malformed',
  'text-invalid',
  'idempotency-key-invalid',
  // who is asking
  'key-missing',
  'key-invalid',
  'token-invalid',
  'access-token-invalid',
  'number-unproven',
  // the answer to a check
  'code-wrong',
  'verification-unknown',
  'verification-expired',
  'verification-settled',
  'attempts-exhausted',
  'number-locked',
  'check-unanswered',
  // how often
  'rate-limited',
  'resend-too-early',
  'sends-exhausted',
  'budget-spent',
  // repeating
  'idempotency-conflict',
  'idempotency-in-progress',
  // the sending
  'recipient-refused',
  'no-provider',
  'delivery-failed',
  // other
  'message-unknown',
  'user-unknown',
  'report-refused',
  'not-found',
  'issuer-unavailable',
  'store-unavailable',
  'internal-error',
] as const;

export type ProblemCode = (typeof problemCodes)[number];

/** What anyone may see of a problem. */
export type ProblemFacts = {
  /** the field of the request that is at fault, e.g. `to` */
  readonly field?: string;
  readonly retryAfterMs?: number;
  readonly attemptsLeft?: number;
  /** the name of the caller's own limit that is full */
  readonly limit?: string;
  /** which of the app's limits is full, where it is none of the caller's own */
  readonly scope?: 'number' | 'address' | 'prefix' | 'app';
  /** what ended a verification that no longer takes codes */
  readonly status?: string;
};

/** An expected "no": returned, not thrown. */
export type Refusal = {
  readonly kind: 'refused';
  readonly code: ProblemCode;
  /** What happened and what to do about it, in a sentence. */
  readonly detail: string;
} & ProblemFacts;

export function refuse(code: ProblemCode, detail: string, facts: ProblemFacts = {}): Refusal {
  return { kind: 'refused', code, detail, ...facts };
}

/** Something that the operator has to act on; thrown, with a stable code. `cause` stays inside. */
export class CountersignError extends Error {
  override readonly name = 'CountersignError';
  readonly code: ProblemCode | 'config-invalid' | 'store-incompatible';

  constructor(code: CountersignError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
