import { CODE_LENGTHS, digestCode, normalizeCode } from '../domain/code.ts';
import { isId } from '../domain/id.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import type { CheckOutcome, CheckStep, SettleCheckStep } from '../domain/store.ts';
import {
  boundToSlot,
  type ManagedCode,
  type SlotQuery,
  type Verification,
  type VerificationState,
} from '../domain/verification.ts';
import type { App } from './app.ts';
import { appOf, type ServiceContext } from './context.ts';
import { withinDeadline } from './deadline.ts';
import { guessBuckets, laneFor, lockedRefusal, parseVerified, refuseAddress, toRefusal } from './request.ts';
import { DEFAULT_APP, DEFAULT_PURPOSE } from './start-verification.ts';
import { type VerificationView, viewOf } from './views.ts';

export type CheckByIdRequest = {
  readonly app?: string;
  readonly id: string;
  /** as the person typed it: spaces, dashes and Eastern digits are understood */
  readonly code: string;
  /** refused as unknown unless the verification has this purpose */
  readonly purpose?: string;
  /** refused as unknown unless the verification belongs to this subject */
  readonly subject?: string;
};

export type CheckByNumberRequest = {
  readonly app?: string;
  readonly to: string;
  readonly country?: string;
  readonly code: string;
  readonly purpose?: string;
  readonly subject?: string;
  /** as it was given to the start */
  readonly approvalToken?: string;
  readonly codeLength?: CodeLengths;
  /** the end user's address, from which so many wrong codes may come */
  readonly clientIp?: string;
};

/** By the signed-in subject alone: its live verification, whatever number that is for, of a start without `approvalToken`. */
export type CheckBySubjectRequest = {
  readonly app?: string;
  readonly subject: string;
  readonly code: string;
  readonly purpose?: string;
  readonly codeLength?: CodeLengths;
  /** as in a check by number */
  readonly clientIp?: string;
};

/**
 * How many digits a code may have: the app's `codeLength` unless told otherwise, `any` for 4 to 10. It does not depend on
 * what there is to compare with, which nobody may learn.
 */
export type CodeLengths = number | 'any';

export type Approved = {
  readonly kind: 'approved';
  readonly verification: VerificationView;
  /** a JWT that any service can check offline against `/.well-known/jwks.json` */
  readonly token: string;
  /** false when an e-mail carried the code: whoever reads a mailbox has shown nothing of the number */
  readonly provesNumber: boolean;
};

export type CheckAnswer = Approved | Refusal;

export async function checkVerification(
  context: ServiceContext,
  request: CheckByIdRequest | CheckByNumberRequest | CheckBySubjectRequest,
): Promise<CheckAnswer> {
  const app = appOf(context, request.app ?? DEFAULT_APP);
  // Asked by id, the verification itself says how long its code is.
  const lengths = 'id' in request ? 'any' : (request.codeLength ?? app.codeLength);
  const code =
    lengths === 'any'
      ? normalizeCode(request.code, CODE_LENGTHS.min, CODE_LENGTHS.max)
      : normalizeCode(request.code, lengths);
  if (code === undefined) return malformedRefusal('id' in request ? app.codeLength : lengths);
  if ('id' in request) return checkById(context, app, request, code);
  return 'to' in request ? checkByNumber(context, app, request, code) : checkBySubject(context, app, request, code);
}

function malformedRefusal(length: CodeLengths): Refusal {
  const digits = length === 'any' ? `${CODE_LENGTHS.min} to ${CODE_LENGTHS.max}` : length;
  return refuse('code-malformed', `A code has ${digits} digits. This cost no attempt.`, { field: 'code' });
}

async function checkById(
  context: ServiceContext,
  app: App,
  request: CheckByIdRequest,
  code: string,
): Promise<CheckAnswer> {
  if (!isId('ver', request.id)) return unknownRefusal();
  const now = context.now();
  const outcome = await checkInStore(context, code, {
    by: 'id',
    now,
    app: app.id,
    guesses: app.guesses,
    buckets: [],
    id: request.id,
    purpose: request.purpose,
    subject: request.subject,
    digest: digestCode(context.codeKeys, request.id, code),
    codeLength: code.length,
  });
  switch (outcome.kind) {
    case 'approved':
      return approve(context, outcome, now);
    case 'wrong':
      return refuse('code-wrong', 'This is not the code.', { field: 'code', attemptsLeft: outcome.attemptsLeft });
    case 'locked':
      return lockedRefusal(outcome.retryAfterMs);
    case 'limited':
      return toRefusal(outcome, now);
    case 'malformed':
      return malformedRefusal(outcome.codeLength);
    case 'unknown':
      return unknownRefusal();
    case 'ended':
      return endedRefusal(outcome.state);
    case 'unanswered':
      return unansweredRefusal();
  }
}

/**
 * Whoever asks by number learns nothing but yes or no: no verification, one that has ended and a wrong code are the
 * same answer, after the same work.
 */
async function checkByNumber(
  context: ServiceContext,
  app: App,
  request: CheckByNumberRequest,
  code: string,
): Promise<CheckAnswer> {
  const recipient = parseVerified(app, request.to, request.country);
  if ('kind' in recipient) return recipient;
  const { number } = recipient.number;
  const lane = await laneFor(context, app, number, request.approvalToken);
  if (typeof lane !== 'string') return lane;
  const slot = { app: app.id, purpose: request.purpose ?? DEFAULT_PURPOSE, subject: request.subject, number, lane };
  return checkSlot(context, app, slot, code, request.clientIp);
}

function checkBySubject(
  context: ServiceContext,
  app: App,
  { purpose = DEFAULT_PURPOSE, subject, clientIp }: CheckBySubjectRequest,
  code: string,
): Promise<CheckAnswer> {
  return checkSlot(context, app, { app: app.id, purpose, subject, number: undefined, lane: 'open' }, code, clientIp);
}

async function checkSlot(
  context: ServiceContext,
  app: App,
  slot: SlotQuery,
  code: string,
  clientIp: string | undefined,
): Promise<CheckAnswer> {
  const badAddress = refuseAddress(clientIp);
  if (badAddress !== undefined) return badAddress;
  const now = context.now();
  const step: CheckStep = {
    by: 'slot',
    now,
    guesses: app.guesses,
    buckets: guessBuckets(app, clientIp),
    ...slot,
    digest: digestCode(context.codeKeys, boundToSlot(slot), code),
  };
  const outcome = await checkInStore(context, code, step);
  if (outcome.kind === 'approved') return approve(context, outcome, now);
  if (outcome.kind === 'locked') return lockedRefusal(outcome.retryAfterMs);
  if (outcome.kind === 'limited') return toRefusal(outcome, now);
  if (outcome.kind === 'unanswered') return unansweredRefusal();
  return refuse('code-wrong', 'This is not the code, or it is no longer good.', { field: 'code' });
}

/** The store decides; where a managed provider made the code, after asking that one. */
async function checkInStore(
  context: ServiceContext,
  code: string,
  step: CheckStep,
): Promise<Exclude<CheckOutcome, { kind: 'ask' }> | { readonly kind: 'unanswered' }> {
  const outcome = await context.store.check(step);
  if (outcome.kind !== 'ask') return outcome;
  const { verification, managed } = outcome;
  const { verdict, isAnswered } = await askProvider(context, verification, managed, code);
  const settled = await context.store.settleCheck({
    now: context.now(),
    app: step.app,
    id: verification.id,
    guesses: step.guesses,
    codeNumber: verification.codeNumber,
    verdict,
  });
  return !isAnswered && settled.kind === 'wrong' ? { kind: 'unanswered' } : settled;
}

const ASK_DEADLINE_MS = 5000;

async function askProvider(
  context: ServiceContext,
  { app, id, number }: Verification,
  { provider: providerId, providerMessageId }: ManagedCode,
  code: string,
): Promise<{ readonly verdict: SettleCheckStep['verdict']; readonly isAnswered: boolean }> {
  const opened = context.providers.get(providerId);
  const fields = { app, verification: id, provider: providerId };
  if (opened?.kind !== 'managed') {
    context.log.error(fields, 'the provider that made this code is not configured any more');
    return { verdict: 'unanswered', isAnswered: false };
  }
  const { provider } = opened;
  const outcome = await withinDeadline(ASK_DEADLINE_MS, (signal) =>
    provider.check({ providerMessageId, to: number, code }, signal),
  ).catch((error: unknown) => ({
    kind: 'failed' as const,
    reason: 'uncertain' as const,
    code: error instanceof Error ? error.name : 'thrown',
  }));
  if (outcome.kind === 'approved') return { verdict: 'approved', isAnswered: true };
  if (outcome.kind !== 'failed') return { verdict: 'wrong', isAnswered: true };
  context.log.warn({ ...fields, reason: outcome.reason, errorCode: outcome.code }, 'check not answered');
  // It may have compared the code, and then the attempt was one; but nobody is told that it was wrong.
  return { verdict: outcome.reason === 'uncertain' ? 'wrong' : 'unanswered', isAnswered: false };
}

function unansweredRefusal(): Refusal {
  return refuse('check-unanswered', 'The provider that made this code does not answer. Try again in a moment.', {
    retryAfterMs: 5000,
  });
}

function approve(
  context: ServiceContext,
  { verification }: CheckOutcome & { kind: 'approved' },
  now: number,
): Approved {
  return {
    kind: 'approved',
    verification: viewOf(verification, now),
    token: context.tokens.issue(verification, now),
    provesNumber: !verification.sentByEmail,
  };
}

export function unknownRefusal(): Refusal {
  return refuse('verification-unknown', 'There is no such verification.');
}

export function endedRefusal(state: VerificationState): Refusal {
  if (state === 'exhausted')
    return refuse('attempts-exhausted', 'Too many wrong codes were tried. Start a new verification.', {
      status: state,
    });
  if (state === 'expired')
    return refuse('verification-expired', 'The code has expired. Start a new verification.', { status: state });
  return refuse('verification-settled', `This verification is ${state} already. Start a new one.`, { status: state });
}
