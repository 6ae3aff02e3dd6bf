import { type Dispatch, type Message, wasTaken } from './message.ts';
import type { Money } from './price.ts';
import type { Verification } from './verification.ts';

/** What is added up together. */
export type UsageKey = {
  /** UTC, `2026-11-20` */
  readonly day: string;
  readonly app: string;
  readonly provider: string;
  /** ISO 3166-1 alpha-2; '' for numbers of no country */
  readonly country: string;
  /** of the costs; '' where no price is known */
  readonly currency: string;
};

/** All of it grows only, but for costs, which a provider's own word corrects. */
export type UsageCounts = {
  /** hand-overs that the provider took, or may have taken */
  readonly sent: number;
  /** those of them that carried a code */
  readonly codes: number;
  readonly delivered: number;
  /** refused at the hand-over, or reported as not delivered */
  readonly failed: number;
  /** verifications approved whose code it carried last */
  readonly approved: number;
  readonly costMicros: number;
  readonly codeCostMicros: number;
  /** what the approved ones cost; the rest of `codeCostMicros` was spent for nothing */
  readonly approvedCostMicros: number;
};

export type UsageChange = { readonly key: UsageKey; readonly counts: UsageCounts };

export const noUsage: UsageCounts = {
  sent: 0,
  codes: 0,
  delivered: 0,
  failed: 0,
  approved: 0,
  costMicros: 0,
  codeCostMicros: 0,
  approvedCostMicros: 0,
};

const DAY_MS = 86_400_000;

/** The UTC day of an instant, as `2026-11-20`. */
export function dayOf(at: number): string {
  const midnight = midnightBefore(at);
  if (midnight !== lastDay.midnight) lastDay = { midnight, text: new Date(at).toISOString().slice(0, 10) };
  return lastDay.text;
}

let lastDay = { midnight: Number.NaN, text: '' };

/** When the day of an instant is over. */
export function endOfDay(at: number): number {
  return midnightBefore(at) + DAY_MS;
}

function midnightBefore(at: number): number {
  return Math.floor(at / DAY_MS) * DAY_MS;
}

/** What a dispatch costs: the provider's word where there is one. */
export function costOf({ estimatedCost, reportedCost }: Dispatch): Money | undefined {
  return reportedCost ?? estimatedCost;
}

/**
 * What changes when a dispatch becomes `after`.
 * @param before undefined when it is new
 */
export function usageOfDispatch(
  message: Pick<Message, 'app' | 'country' | 'verificationId'>,
  before: Dispatch | undefined,
  after: Dispatch,
): readonly UsageChange[] {
  const isCode = message.verificationId !== undefined;
  const counted = countsOf(after, isCode);
  if (before === undefined) return [{ key: keyOf(message, after), counts: counted }];
  const key = keyOf(message, after);
  const earlier = countsOf(before, isCode);
  const keyBefore = keyOf(message, before);
  if (keyBefore.currency === key.currency) return [{ key, counts: minus(counted, earlier) }];
  return [
    { key: keyBefore, counts: minus(noUsage, earlier) },
    { key, counts: counted },
  ];
}

/** What changes when a verification is approved: it counts for the provider that carried its code last. */
export function usageOfApproval(
  { app, country }: Pick<Verification | Message, 'app' | 'country'>,
  dispatches: readonly Dispatch[],
): readonly UsageChange[] {
  const taken = dispatches.filter(wasTaken);
  return taken.map((dispatch, index) => {
    const approved = index === taken.length - 1 ? 1 : 0;
    const approvedCostMicros = costOf(dispatch)?.micros ?? 0;
    return { key: keyOf({ app, country }, dispatch), counts: { ...noUsage, approved, approvedCostMicros } };
  });
}

/**
 * What changes when the cost of a dispatch becomes known only after the approval.
 * @param before the dispatches of the approved verification's last message
 */
export function usageOfLateCost(
  message: Pick<Message, 'app' | 'country'>,
  before: readonly Dispatch[],
  after: readonly Dispatch[],
): readonly UsageChange[] {
  const counted = usageOfApproval(message, before);
  return [
    ...counted.map(({ key, counts }) => ({ key, counts: minus(noUsage, counts) })),
    ...usageOfApproval(message, after),
  ];
}

export function addUsage(a: UsageCounts, b: UsageCounts): UsageCounts {
  return {
    sent: a.sent + b.sent,
    codes: a.codes + b.codes,
    delivered: a.delivered + b.delivered,
    failed: a.failed + b.failed,
    approved: a.approved + b.approved,
    costMicros: a.costMicros + b.costMicros,
    codeCostMicros: a.codeCostMicros + b.codeCostMicros,
    approvedCostMicros: a.approvedCostMicros + b.approvedCostMicros,
  };
}

function minus(a: UsageCounts, b: UsageCounts): UsageCounts {
  return addUsage(a, {
    sent: -b.sent,
    codes: -b.codes,
    delivered: -b.delivered,
    failed: -b.failed,
    approved: -b.approved,
    costMicros: -b.costMicros,
    codeCostMicros: -b.codeCostMicros,
    approvedCostMicros: -b.approvedCostMicros,
  });
}

function keyOf({ app, country }: Pick<Message, 'app' | 'country'>, dispatch: Dispatch): UsageKey {
  const currency = wasTaken(dispatch) ? (costOf(dispatch)?.currency ?? '') : '';
  return { day: dayOf(dispatch.at), app, provider: dispatch.provider, country: country ?? '', currency };
}

function countsOf(dispatch: Dispatch, isCode: boolean): UsageCounts {
  const sent = wasTaken(dispatch) ? 1 : 0;
  const costMicros = sent === 1 ? (costOf(dispatch)?.micros ?? 0) : 0;
  const isLost = dispatch.state === 'failed' || dispatch.state === 'undelivered';
  return {
    sent,
    codes: isCode ? sent : 0,
    delivered: dispatch.state === 'delivered' ? 1 : 0,
    failed: isLost ? 1 : 0,
    approved: 0,
    costMicros,
    codeCostMicros: isCode ? costMicros : 0,
    approvedCostMicros: 0,
  };
}
