import { convert, estimateApproval, type Money } from '../domain/price.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import { isShadowApp } from '../domain/shadow.ts';
import { addUsage, dayOf, type UsageChange } from '../domain/usage.ts';
import type { ServiceContext } from './context.ts';

export type UsageRequest = {
  /** undefined: all apps, for whoever runs the installation */
  readonly app: string | undefined;
  /** UTC days, `2026-11-20`, both included; the last thirty unless told otherwise */
  readonly from?: string;
  readonly to?: string;
};

/** One day of one app with one provider in one country. */
export type UsageView = {
  readonly day: string;
  readonly app: string;
  readonly provider: string;
  /** undefined for numbers of no country */
  readonly country: string | undefined;
  /** hand-overs that the provider took, or may have taken */
  readonly sent: number;
  /** those of them that carried a code */
  readonly codes: number;
  readonly delivered: number;
  /** refused, or not delivered */
  readonly failed: number;
  /** verifications approved whose code it carried last */
  readonly approved: number;
  /** approved of each code sent, 0 to 1; undefined where no code was sent */
  readonly conversion: number | undefined;
  /** undefined where no price is known */
  readonly cost: Money | undefined;
  /** of `cost`: what was spent on codes that nobody was approved by (yet) */
  readonly wastedCost: Money | undefined;
};

const DAY_MS = 86_400_000;
const DEFAULT_DAYS = 30;

export async function readUsage(
  context: ServiceContext,
  request: UsageRequest,
): Promise<
  { readonly kind: 'found'; readonly from: string; readonly to: string; readonly rows: readonly UsageView[] } | Refusal
> {
  const now = context.now();
  const { app, to = dayOf(now) } = request;
  for (const [field, day] of Object.entries({ to, from: request.from ?? to })) {
    if (!isDay(day)) return refuse('request-invalid', `${field} is not a day like 2026-11-20.`, { field });
  }
  const from = request.from ?? dayOf(Date.parse(to) - (DEFAULT_DAYS - 1) * DAY_MS);
  if (from > to) return refuse('request-invalid', 'from is after to.', { field: 'from' });
  const found = await context.store.readUsage({ app, from, to });
  // What shadow mode pretends to send was sent by nobody, and belongs in no sum.
  const changes = app === undefined ? found.filter(({ key }) => !isShadowApp(key.app)) : found;
  return { kind: 'found', from, to, rows: withoutUnpriced(changes).map((change) => viewOf(context, change)) };
}

/** What was refused cost nothing, in no currency: it is counted with what the same provider took. */
function withoutUnpriced(changes: readonly UsageChange[]): UsageChange[] {
  const merged: UsageChange[] = [];
  for (const change of changes) {
    const last = merged.at(-1);
    // They are sorted by key, the currency last, and `''` comes before every other.
    const isSame =
      last?.key.currency === '' &&
      (['day', 'app', 'provider', 'country'] as const).every((name) => last.key[name] === change.key[name]);
    if (isSame) merged[merged.length - 1] = { key: change.key, counts: addUsage(last.counts, change.counts) };
    else merged.push(change);
  }
  return merged;
}

function isDay(text: string): boolean {
  const at = Date.parse(`${text}T00:00:00Z`);
  return /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(at) && dayOf(at) === text;
}

function viewOf(context: ServiceContext, { key, counts }: UsageChange): UsageView {
  const { day, app, provider, currency } = key;
  const country = key.country === '' ? undefined : key.country;
  const fee = approvalFee(context, provider, country, counts.approved);
  const isPriced = currency !== '' || fee !== undefined;
  // One currency for a row: a vendor bills its fee in that of its messages.
  const unit = currency === '' ? (fee?.currency ?? '') : currency;
  const feeMicros = fee === undefined ? 0 : (convert(context.prices, fee, unit)?.micros ?? 0);
  const money = (micros: number): Money | undefined => (isPriced ? { micros, currency: unit } : undefined);
  return {
    day,
    app,
    provider,
    country,
    sent: counts.sent,
    codes: counts.codes,
    delivered: counts.delivered,
    failed: counts.failed,
    approved: counts.approved,
    conversion: counts.codes === 0 ? undefined : counts.approved / counts.codes,
    cost: money(counts.costMicros + feeMicros),
    wastedCost: money(counts.codeCostMicros - counts.approvedCostMicros),
  };
}

function approvalFee(
  { prices, providers }: ServiceContext,
  provider: string,
  country: string | undefined,
  approved: number,
): Money | undefined {
  const opened = providers.get(provider);
  for (const id of [provider, opened?.definitionId ?? provider]) {
    for (const channel of opened?.channels ?? (['sms'] as const)) {
      const fee = estimateApproval(prices, { provider: id, country, channel });
      if (fee !== undefined) return { micros: fee.micros * approved, currency: fee.currency };
    }
  }
  return undefined;
}
