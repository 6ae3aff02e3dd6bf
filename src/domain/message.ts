import type { CountryCode, PhoneNumber } from './phone-number.ts';
import { believable, type Money } from './price.ts';
import type { Channel, DeliveryReport, DeliveryState, FailureReason } from './provider.ts';

/** A text on its way to one person: a verification's code, or a custom message. Instants are ms since the epoch. */
export type Message = {
  readonly id: string;
  readonly app: string;
  /** absent for a custom message */
  readonly verificationId: string | undefined;
  readonly number: PhoneNumber;
  readonly country: CountryCode | undefined;
  /** the channel it was planned for; each dispatch says which one it took */
  readonly channel: Channel;
  /** whoever asked for it named the channel: no other will do */
  readonly channelFixed: boolean;
  readonly locale: string;
  readonly encoding: 'GSM-7' | 'UCS-2';
  readonly segments: number;
  /** A custom message's text, sealed under the installation's key; a code's text is made anew from its nonce. */
  readonly sealedText: Uint8Array | undefined;
  /** which code of the verification the text carries */
  readonly codeNumber: number;
  /** of the request that asked for it, so that its answer can be kept even after a crash */
  readonly idempotencyKey: string | undefined;
  readonly state: MessageState;
  readonly createdAt: number;
  /** after this moment it is not worth delivering any more */
  readonly validUntil: number;
  readonly dispatches: readonly Dispatch[];
};

/**
 * `pending`: stored, and some node is handing it over (or died doing so: see `Store.claimDue`). Then the state of
 * its last dispatch.
 */
export type MessageState = 'pending' | DeliveryState;

/** One hand-over of a message to one provider. */
export type Dispatch = {
  readonly provider: string;
  readonly channel: Channel;
  readonly state: DeliveryState;
  readonly providerMessageId: string | undefined;
  readonly reason: FailureReason | 'expired' | undefined;
  /** the provider's own error code */
  readonly errorCode: string | undefined;
  /** by the price table; undefined where it knows no price, or nothing was taken */
  readonly estimatedCost: Money | undefined;
  /** as the provider said */
  readonly reportedCost: Money | undefined;
  readonly at: number;
};

const ranks: Record<DeliveryState, number> = {
  unknown: 0,
  queued: 1,
  sent: 2,
  delivered: 3,
  undelivered: 3,
  failed: 3,
};

/** Reports arrive late, twice and out of order: a state only ever moves forward, and the first final one stays. */
export function isForward(from: DeliveryState, to: DeliveryState): boolean {
  return ranks[to] > ranks[from];
}

/** Of one message: is it the same hand-over, whatever was reported of it since? */
export function isSameDispatch(a: Dispatch, b: Dispatch): boolean {
  return a.provider === b.provider && a.at === b.at && a.providerMessageId === b.providerMessageId;
}

/** A provider that took a message has an id for it; one that may have taken it left us not knowing. */
export function wasTaken({ providerMessageId, reason }: Dispatch): boolean {
  return providerMessageId !== undefined || reason === 'uncertain';
}

const LEAST_RETRY_MS = 5000;
const MOST_RETRY_MS = 60_000;

/**
 * How long until a message that nobody took is tried again: 5 s, 10, 20, 40, then 60 each time. As long again as it has
 * been tried for, so that no round has to be counted, and none is forgotten by a crash.
 */
export function retryDelayMs(triedForMs: number): number {
  return Math.min(MOST_RETRY_MS, Math.max(0, triedForMs) + LEAST_RETRY_MS);
}

/** How many further hand-overs there may be: after an outcome that nobody knows there is one more, and then none. */
export function handOversLeft(dispatches: readonly Dispatch[]): number {
  const uncertain = dispatches.findIndex(({ reason }) => reason === 'uncertain');
  if (uncertain === -1) return Number.POSITIVE_INFINITY;
  return uncertain === dispatches.length - 1 ? 1 : 0;
}

/** The dispatch as the report leaves it: itself when the report says nothing new. */
export function reportedDispatch(dispatch: Dispatch, report: DeliveryReport | undefined): Dispatch {
  if (report === undefined) return dispatch;
  const isNews = isForward(dispatch.state, report.state);
  // What it cost may be known later than what became of it.
  const cost = believable(report.cost);
  const isPriced =
    cost !== undefined &&
    (cost.micros !== dispatch.reportedCost?.micros || cost.currency !== dispatch.reportedCost.currency);
  if (!isNews && !isPriced) return dispatch;
  return {
    ...dispatch,
    ...(isNews ? { state: report.state } : {}),
    ...(isNews && report.reason !== undefined ? { reason: report.reason } : {}),
    ...(isNews && report.code !== undefined ? { errorCode: report.code } : {}),
    ...(isPriced ? { reportedCost: cost } : {}),
  };
}

/** Two reports on a dispatch that is not known yet, as one: the state that is further on, and the cost that either names. */
export function joinReports(known: DeliveryReport, report: DeliveryReport): DeliveryReport {
  const cost = believable(report.cost) ?? known.cost;
  return { ...(isForward(known.state, report.state) ? report : known), ...(cost === undefined ? {} : { cost }) };
}

/**
 * When a message is to be looked at again after a report on its last dispatch: at once when it did not arrive and another
 * way may do better, never when it did or when nobody may try.
 * @param dueBefore when it was to be looked at before the report
 */
export function dueAfter(
  message: Pick<Message, 'validUntil'>,
  { state, reason }: Dispatch,
  report: DeliveryReport | undefined,
  now: number,
  dueBefore: number | undefined,
): number | undefined {
  if (state === 'delivered') return undefined;
  if (state !== 'failed' && state !== 'undelivered') return dueBefore;
  const isFinal = reason === 'recipient' || report?.optOut === true || message.validUntil <= now;
  return isFinal ? undefined : now;
}
