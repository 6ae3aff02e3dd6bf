import { CODE_LENGTHS, deriveCode, digestCode } from '../domain/code.ts';
import { isAddress } from '../domain/email.ts';
import { makeId } from '../domain/id.ts';
import type { Message } from '../domain/message.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import type { Channel } from '../domain/provider.ts';
import type { StartStep } from '../domain/store.ts';
import {
  boundToSlot,
  type CodeDigests,
  resendDelayMs,
  type Slot,
  type Verification,
  type Wording,
} from '../domain/verification.ts';
import type { App } from './app.ts';
import { appOf, type ServiceContext } from './context.ts';
import { ORPHANED_AFTER_MS } from './dispatch.ts';
import {
  type AutofillRequest,
  endingFor,
  idempotencyOf,
  laneFor,
  type NamedLimit,
  namedBuckets,
  parseVerified,
  refuseAddress,
  refuseCountry,
  refuseEmail,
  refuseWayTo,
  sendBuckets,
  toRefusal,
} from './request.ts';
import { budgetTakeFor, planOrRefuse, watchBudget } from './routing.ts';
import { awaitSendAnswer, type SendAnswer, sendCode } from './send-code.ts';
import { codeTtlMsFor, localeFor, measureCodeText, refuseWording, tidyWording } from './texts.ts';

export type StartRequest = AutofillRequest & {
  /** the app that asks; `default` unless told otherwise */
  readonly app?: string;
  /** the number, in E.164 or as its owner writes it; with the channel `email`, it may be an e-mail address to verify */
  readonly to: string;
  /** ISO 3166-1 alpha-2, for a number in national form */
  readonly country?: string;
  /** by this channel alone; the route decides when it is absent */
  readonly channel?: Channel;
  /** where a code by e-mail goes, when the channel or the route says e-mail */
  readonly email?: string;
  /** BCP 47; the language of the text */
  readonly locale?: string;
  /** what the code is for, e.g. `login`; a code of one purpose never approves another */
  readonly purpose?: string;
  /** the signed-in user it belongs to */
  readonly subject?: string;
  /** the end user's address, for the address limit */
  readonly clientIp?: string;
  /** token of an earlier approval of this number: its owner then has a guess budget of its own */
  readonly approvalToken?: string;
  /** up to 16 short texts of the caller's own */
  readonly metadata?: Readonly<Record<string, string>>;
  /** the same key and request give the same answer and no second message */
  readonly idempotencyKey?: string;
  /** the caller's own code, 4 to 10 digits; a repeated start with another one replaces it */
  readonly code?: string;
  /** 4 to 10 digits in place of the app's `codeLength` */
  readonly codeLength?: number;
  /** brand and text template in place of the app's, in resends too */
  readonly wording?: Wording;
  /** limits of the caller's own, taken with all others or not at all; a refusal says the name (`limit`) */
  readonly limits?: readonly NamedLimit[];
  /**
   * One verification for its whole life: a repeated start sends it once more whatever life is left, and is refused
   * (`sends-exhausted`, `attempts-exhausted`) where a new one would take its place.
   */
  readonly keepUntilExpiry?: true;
  /** the number is known to be no part of a run of numbers that are sent to for the fee */
  readonly skipPrefixLimit?: true;
};

export const DEFAULT_APP = 'default';
export const DEFAULT_PURPOSE = 'login';

/** How often a start whose code another start has changed meanwhile comes again. */
const RACES = 5;

export async function startVerification(context: ServiceContext, request: StartRequest): Promise<SendAnswer> {
  const app = appOf(context, request.app ?? DEFAULT_APP);
  const recipient = parseVerified(app, request.to, request.country);
  if ('kind' in recipient) return recipient;
  const { number } = recipient;
  const refusal =
    refuseAddress(request.clientIp) ??
    refuseCountry(app, number) ??
    refuseEmail(request.email) ??
    refuseWayTo(number.number, request) ??
    refuseCode(request) ??
    refuseWording(request.wording);
  if (refusal !== undefined) return refusal;
  const email = isAddress(number.number) ? number.number : request.email;
  const ending = endingFor(app, request);
  if (ending?.kind === 'refused') return ending;
  const isOwnCode = request.code !== undefined;
  const load = { channel: request.channel, carries: 'code', email, isOwnCode } as const;
  const plan = planOrRefuse(context, app, number, load, request.idempotencyKey);
  if ('kind' in plan) return plan;
  const lane = await laneFor(context, app, number.number, request.approvalToken);
  if (typeof lane !== 'string') return lane;

  const now = context.now();
  const { idempotencyKey, app: _, ...body } = request;
  const idempotency = idempotencyOf(context, idempotencyKey, ['start', body], now);
  const slot: Slot = {
    app: app.id,
    purpose: request.purpose ?? DEFAULT_PURPOSE,
    subject: request.subject,
    number: number.number,
    lane,
  };
  const channel = plan.hops[0]?.channel ?? app.channel;
  const locale = localeFor(app, request.locale, number);
  const codeTtlMs = codeTtlMsFor(app, number);
  const wording = tidyWording(request.wording);
  const made = newVerification(context, app, slot, now, {
    country: number.country,
    channel,
    locale,
    ending,
    email,
    wording,
    metadata: request.metadata,
    codeLength: request.code?.length ?? request.codeLength ?? app.codeLength,
    expiresAt: now + codeTtlMs,
  });
  const { verification, code } = request.code === undefined ? made : withOwnCode(context, made, request.code);
  const measure = measureCodeText(app, locale, verification.codeLength, codeTtlMs, ending, wording);
  const planned = newMessage(context, verification, measure, now, idempotencyKey);
  const message = { ...planned, channelFixed: request.channel !== undefined };
  const budget = budgetTakeFor(context, app, plan.hops, number.country, measure.segments, now);
  const step: StartStep = {
    now,
    verification,
    message,
    buckets: [
      ...sendBuckets(app, number.number, request.clientIp, request.skipPrefixLimit),
      ...namedBuckets(context, request.limits ?? []),
    ],
    guesses: app.guesses,
    repeat: app.resend === 'repeat',
    keep: request.keepUntilExpiry === true,
    recode: undefined,
    delaysSeconds: app.resendAfterSeconds,
    budget,
    idempotency,
    orphanedAt: now + ORPHANED_AFTER_MS,
  };
  let outcome = await context.store.start(step);
  for (let race = 0; race < RACES && outcome.kind === 'changed'; race += 1) {
    outcome = await context.store.start({
      ...step,
      recode: { id: outcome.id, ...ownCode(context, outcome.id, slot, code) },
    });
  }
  if (outcome.kind === 'changed')
    return refuse('resend-too-early', 'Other starts for this number were quicker.', { retryAfterMs: 1000 });
  if (outcome.kind === 'replayed') return awaitSendAnswer(context, app.id, idempotencyKey ?? '', outcome.answer);
  if (outcome.kind !== 'started') return toRefusal(outcome, now);
  watchBudget(context, app, outcome.budget);
  const stored = outcome.verification;
  return sendCode(context, {
    app,
    hops: plan.hops,
    reserved: budget,
    verification: stored,
    message,
    ...(stored.id === verification.id ? { code } : {}),
  });
}

/** A verification and its code, which no store is given. */
type Made = { readonly verification: Verification; readonly code: string };

function newVerification(
  context: ServiceContext,
  app: App,
  slot: Slot,
  now: number,
  asked: Pick<
    Verification,
    'country' | 'channel' | 'locale' | 'ending' | 'email' | 'wording' | 'metadata' | 'codeLength' | 'expiresAt'
  >,
): Made {
  const id = makeId('ver', now, context.randomBytes(10));
  const nonce = context.randomBytes(16);
  const code = deriveCode(context.codeKeys, nonce, 0, asked.codeLength);
  const verification: Verification = {
    ...slot,
    ...asked,
    id,
    state: 'pending',
    attempts: 0,
    maxAttempts: app.maxAttempts,
    sends: 1,
    maxSends: app.maxSends,
    nonce,
    codeNumber: 0,
    digests: digestsOf(context, id, slot, code),
    createdAt: now,
    resendAt: now + resendDelayMs(1, app.resendAfterSeconds),
    managed: undefined,
    ownCodeSent: true,
    sentByEmail: asked.channel === 'email',
    messageIds: [],
    sealedCode: undefined,
  };
  return { verification, code };
}

function withOwnCode(context: ServiceContext, { verification }: Made, code: string): Made {
  return { verification: { ...verification, ...ownCode(context, verification.id, verification, code) }, code };
}

/** A code that the caller brought, for the verification of that id: digested to be compared, sealed to be sent again. */
function ownCode(context: ServiceContext, id: string, slot: Slot, code: string) {
  return { digests: digestsOf(context, id, slot, code), sealedCode: context.sealer.seal(code, id) };
}

function refuseCode({ code, codeLength }: StartRequest): Refusal | undefined {
  const { min, max } = CODE_LENGTHS;
  if (code !== undefined && !(/^[0-9]+$/.test(code) && code.length >= min && code.length <= max))
    return refuse('request-invalid', `A code of your own has ${min} to ${max} digits, 0 to 9.`, { field: 'code' });
  if (codeLength !== undefined && !(Number.isInteger(codeLength) && codeLength >= min && codeLength <= max))
    return refuse('request-invalid', `A code has ${min} to ${max} digits.`, { field: 'code_length' });
  return undefined;
}

export function digestsOf(context: ServiceContext, id: string, slot: Slot, code: string): CodeDigests {
  return {
    byId: digestCode(context.codeKeys, id, code),
    bySlot: digestCode(context.codeKeys, boundToSlot(slot), code),
  };
}

/** The message that carries a verification's code. */
export function newMessage(
  context: ServiceContext,
  verification: Verification,
  { encoding, segments }: { encoding: Message['encoding']; segments: number },
  now: number,
  idempotencyKey: string | undefined,
): Message {
  return {
    id: makeId('msg', now, context.randomBytes(10)),
    app: verification.app,
    verificationId: verification.id,
    number: verification.number,
    country: verification.country,
    channel: verification.channel,
    channelFixed: false,
    locale: verification.locale,
    encoding,
    segments,
    sealedText: undefined,
    codeNumber: verification.codeNumber,
    idempotencyKey,
    state: 'pending',
    createdAt: now,
    validUntil: verification.expiresAt,
    dispatches: [],
  };
}
