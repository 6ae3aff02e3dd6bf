import { parseStored } from '../domain/email.ts';
import { type Message, reportedDispatch, retryDelayMs, wasTaken } from '../domain/message.ts';
import { refuse } from '../domain/problem.ts';
import type { BudgetTake, Due } from '../domain/store.ts';
import { lastMessageOf, stateAt, type Verification } from '../domain/verification.ts';
import type { App } from './app.ts';
import type { ServiceContext } from './context.ts';
import { withinDeadline } from './deadline.ts';
import { notSent, ORPHANED_AFTER_MS } from './dispatch.ts';
import { allOutUntil, budgetTakeFor, type Hop, isRetried, planRoute, watchBudget } from './routing.ts';
import {
  carriedOf,
  dispatchCode,
  logUntaken,
  refuseDelivery,
  retryAt,
  type SendAnswer,
  sendCode,
  settle,
} from './send-code.ts';
import { deliverMessage, dispatchText } from './send-message.ts';
import { viewOf } from './views.ts';

const BATCH = 50;
const REPORT_DEADLINE_MS = 3000;
const RETRY_MS = 5000;
/** How often a message is taken up without its outcome being stored: a crash or two, and no endless row of texts. */
const MOST_CLAIMS = 3;

/** One round claims no further batch after that time: whoever closes waits for the round. */
const ROUND_MS = 5000;

/**
 * Takes up the messages that somebody has to look at: those whose node died between storing and handing over, those that
 * nobody took, and those that did not arrive, by a report or for want of one. What is still worth it is sent, with the
 * same code; of the others it is said why not. Called at the start, then every few seconds, and after a report that asks
 * for it.
 * @returns how many were taken up
 */
export async function takeUpDue(context: ServiceContext): Promise<number> {
  const startedAt = context.now();
  let taken = 0;
  for (;;) {
    const claimed = await takeUpBatch(context);
    taken += claimed;
    // After an outage there are as many as were asked for meanwhile.
    if (claimed < BATCH || context.now() - startedAt >= ROUND_MS) return taken;
  }
}

async function takeUpBatch(context: ServiceContext): Promise<number> {
  const now = context.now();
  const due = await context.store.claimDue(now, now + ORPHANED_AFTER_MS, BATCH);
  // One message that cannot be taken up (its text sealed under another key, say) must not keep the others back.
  await Promise.all(
    due.map((each) =>
      takeUp(context, each).catch((error: unknown) => {
        const text = error instanceof Error ? error.message : String(error);
        const { app, id } = each.message;
        context.log.error({ app, message: id, error: text }, 'message cannot be taken up');
      }),
    ),
  );
  return due.length;
}

async function takeUp(context: ServiceContext, { message, verification, claims }: Due): Promise<void> {
  if (claims > MOST_CLAIMS) return abandon(context, message);
  if (message.state === 'pending') return recover(context, message, verification);
  const known = await askForReport(context, message);
  if (known === undefined) return;
  const app = context.apps.get(message.app);
  const isWanted = isWorthSending(context, known, verification) && isNewest(known, verification);
  if (app === undefined || !isWanted) return settle(context, known, nothing, undefined, undefined);
  const wasUntaken = known.dispatches.every(({ providerMessageId }) => providerMessageId === undefined);
  if (verification !== undefined && isRetried(app, 'code') && wasUntaken)
    await tryAgain(context, app, known, verification);
  else await failOver(context, app, known, verification);
}

/** Each of those who had it may have handed it over before its outcome was lost, and so may the next. */
async function abandon(context: ServiceContext, message: Message): Promise<void> {
  const { app, id, verificationId } = message;
  context.log.error(
    { app, message: id, verification: verificationId },
    'message given up: its outcome is never stored',
  );
  if (message.state !== 'pending') return settle(context, message, nothing, undefined, undefined);
  const lost = { ...notSent(message, 'uncertain', context.now()), state: 'unknown' } as const;
  await settle(
    context,
    message,
    { ...nothing, dispatches: [lost], state: 'unknown' },
    undefined,
    refuseDelivery({ reason: 'uncertain', optOut: false, retryAfterMs: undefined }),
  );
}

/** A message whose node died: whether it was handed over, nobody knows. */
async function recover(
  context: ServiceContext,
  message: Message,
  verification: Verification | undefined,
): Promise<void> {
  const fields = { app: message.app, message: message.id, verification: message.verificationId };
  const app = context.apps.get(message.app);
  const hops = app === undefined ? [] : hopsOf(context, app, message, verification);
  const canWait = app !== undefined && verification !== undefined && isRetried(app, 'code');
  const isWorthIt = isWorthSending(context, message, verification);
  if (app !== undefined && (hops.length > 0 || canWait) && isWorthIt) {
    context.log.warn(fields, 'orphaned message taken up');
    // What the dead node set aside of the budget stays as it is.
    const reserved = undefined;
    if (verification !== undefined) await sendCode(context, { app, hops, reserved, verification, message });
    else await deliverMessage(context, { app, hops, message, reserved, text: textOf(context, message) });
    return;
  }
  context.log.warn({ ...fields, reason: isWorthIt ? 'unavailable' : 'expired' }, 'orphaned message given up');
  const now = context.now();
  const state = verification === undefined ? 'expired' : stateAt(verification, now);
  // Whoever was approved has had the code: what is not known is who took it. What nobody can send is no fault of time.
  const dispatch =
    state === 'approved'
      ? ({ ...notSent(message, 'uncertain', now), state: 'unknown' } as const)
      : notSent(message, isWorthIt ? 'unavailable' : 'expired', now);
  const why = isWorthIt ? 'No provider that is configured sends it.' : 'The message was not sent in time.';
  // The start may have been answered, and its code used: who repeats it is told of the same verification.
  const answer: SendAnswer =
    verification === undefined || state === 'expired' || isWorthIt
      ? refuse('delivery-failed', why)
      : { kind: 'started', verification: viewOf(verification, now), provider: undefined };
  await settle(context, message, { ...nothing, dispatches: [dispatch], state: dispatch.state }, undefined, answer);
}

/**
 * Asks the provider that took the message what became of it, where it can be asked: a report may have been lost.
 * @returns the message as it is then; undefined when it arrived, or nobody may try
 */
async function askForReport(context: ServiceContext, message: Message): Promise<Message | undefined> {
  const last = message.dispatches.at(-1);
  if (last?.providerMessageId === undefined || last.state === 'failed' || last.state === 'undelivered') return message;
  const provider = context.providers.get(last.provider)?.provider;
  const id = last.providerMessageId;
  const report = await withinDeadline(REPORT_DEADLINE_MS, (signal) => provider?.fetchReport?.(id, signal)).catch(
    () => undefined,
  );
  // Another message's, and it moves neither.
  if (report?.providerMessageId !== id) return message;
  await context.store.recordReport(last.provider, report, context.now());
  const isLost = report.state === 'failed' || report.state === 'undelivered';
  const isFinal = isLost && (report.reason === 'recipient' || report.optOut === true);
  if (report.state === 'delivered' || isFinal) return undefined;
  return { ...message, dispatches: message.dispatches.with(-1, reportedDispatch(last, report)) };
}

/** Sends what did not arrive by the next way that was not tried yet: the same code, as long as it is worth something. */
async function failOver(
  context: ServiceContext,
  app: App,
  message: Message,
  verification: Verification | undefined,
): Promise<void> {
  const last = message.dispatches.at(-1);
  const fields = { app: message.app, message: message.id, verification: message.verificationId };
  const leave = () => settle(context, message, nothing, undefined, undefined);
  // With retries each way was asked, and those that did not take it are still worth asking.
  const tried =
    verification !== undefined && isRetried(app, 'code') ? message.dispatches.filter(wasTaken) : message.dispatches;
  const hops = hopsOf(context, app, message, verification).filter(({ provider, channel }) =>
    tried.every((each) => each.provider !== provider.id || each.channel !== channel),
  );
  const noOther = { ...fields, provider: last?.provider, reason: last?.reason };
  if (hops.length === 0) {
    context.log.warn(noOther, 'not delivered, and no other way');
    return leave();
  }
  const backAt = allOutUntil(context, hops, message.country);
  if (backAt !== undefined) {
    context.log.warn(noOther, 'not delivered, and every other way is out of order');
    return settle(context, message, { ...nothing, dueAt: dueWhile(message, backAt) }, undefined, undefined);
  }
  const reserved = await setAside(context, app, hops, message);
  if (reserved === 'over-budget') {
    context.log.warn(noOther, 'not delivered, and the budget of the day is spent');
    return leave();
  }
  const why = last?.state === 'failed' || last?.state === 'undelivered' ? last.state : 'no report';
  const result =
    verification === undefined
      ? await dispatchText(context, { app, hops, message, reserved, text: textOf(context, message) })
      : await dispatchCode(context, { app, hops, reserved, verification, message });
  if (result.dispatches.length === 0) {
    // None had a place for it: it is as it was, and is looked at again.
    const dueAt = dueWhile(message, context.now() + (result.failure?.retryAfterMs ?? RETRY_MS));
    return settle(context, message, { ...nothing, spent: result.spent, dueAt }, undefined, undefined);
  }
  if (result.taken === undefined) context.log.warn(noOther, 'not delivered, and no other way');
  else context.log.warn({ ...noOther, why }, 'sent by another way');
  const carried = verification === undefined ? undefined : carriedOf(verification, result);
  await settle(context, message, result, carried, undefined);
}

/** Sends a code that nobody took along its whole route again, and says when the next round is should nobody take it now. */
async function tryAgain(
  context: ServiceContext,
  app: App,
  message: Message,
  verification: Verification,
): Promise<void> {
  const fields = { app: app.id, message: message.id, verification: verification.id };
  const hops = hopsOf(context, app, message, verification);
  const postpone = (at: number) => {
    const dueAt = dueWhile(message, at);
    if (dueAt === undefined) logUntaken(context, message, hops, undefined, dueAt);
    return settle(context, message, { ...nothing, dueAt }, undefined, undefined);
  };
  const now = context.now();
  const nextAt = now + retryDelayMs(now - message.createdAt);
  // A restart with another configuration may bring one.
  if (hops.length === 0) return postpone(nextAt);
  const backAt = allOutUntil(context, hops, message.country);
  if (backAt !== undefined) return postpone(backAt);
  const reserved = await setAside(context, app, hops, message);
  if (reserved === 'over-budget') {
    context.log.warn(fields, 'not tried again for now: the budget of the day is spent');
    return postpone(nextAt);
  }
  const isWanted = async () => {
    const current = await context.store.getVerification(app.id, verification.id);
    return isWorthSending(context, message, current) && isNewest(message, current);
  };
  const result = await dispatchCode(context, { app, hops, reserved, verification, message, retry: { isWanted } });
  const { dispatches, taken } = result;
  const dueAt = result.dueAt ?? retryAt(context, app, message, result);
  if (taken !== undefined) context.log.info({ ...fields, provider: taken.provider }, 'sent after all');
  else if (dueAt === undefined) logUntaken(context, message, hops, result.failure, dueAt);
  // None may have had a place for it: then it is as it was.
  const state = dispatches.length === 0 ? undefined : result.state;
  await settle(context, message, { ...result, state, dueAt }, carriedOf(verification, result), undefined);
}

/** What a hand-over along these hops may cost. */
async function setAside(
  context: ServiceContext,
  app: App,
  hops: readonly Hop[],
  { country, segments }: Message,
): Promise<BudgetTake | undefined | 'over-budget'> {
  const wanted = budgetTakeFor(context, app, hops, country, segments, context.now());
  if (wanted === undefined) return undefined;
  const outcome = await context.store.takeBudget(app.id, wanted);
  if (outcome.kind === 'over-budget') return 'over-budget';
  watchBudget(context, app, outcome);
  return wanted;
}

function dueWhile({ validUntil }: Message, at: number): number | undefined {
  return at < validUntil ? at : undefined;
}

const nothing = { dispatches: [], state: undefined, dueAt: undefined, spent: undefined, noReports: true } as const;

/** A code that was replaced since, or whose verification has ended, is worth nothing to anybody. */
function isWorthSending(context: ServiceContext, message: Message, verification: Verification | undefined): boolean {
  const now = context.now();
  if (message.validUntil <= now) return false;
  if (message.verificationId === undefined) return message.sealedText !== undefined;
  return (
    verification !== undefined &&
    verification.codeNumber === message.codeNumber &&
    stateAt(verification, now) === 'pending'
  );
}

/** Not so when the person has asked for another text since, which carries the code and goes on by itself. */
function isNewest({ id }: Message, verification: Verification | undefined): boolean {
  return verification === undefined || lastMessageOf(verification) === id;
}

function hopsOf(
  context: ServiceContext,
  app: App,
  message: Message,
  verification: Verification | undefined,
): readonly Hop[] {
  const number = parseStored(message.number);
  if (number === undefined) return [];
  return planRoute(context, app, number, {
    channel: message.channelFixed ? message.channel : undefined,
    carries: message.verificationId === undefined ? 'text' : 'code',
    email: verification?.email,
  }).hops;
}

function textOf(context: ServiceContext, { sealedText, id }: Message): string {
  return sealedText === undefined ? '' : context.sealer.open(sealedText, id).toString();
}
