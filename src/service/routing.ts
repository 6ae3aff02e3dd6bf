import { isAddress } from '../domain/email.ts';
import type { ParsedNumber } from '../domain/phone-number.ts';
import { convert, estimateDispatch, type Money } from '../domain/price.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import type { Channel } from '../domain/provider.ts';
import { findRoute, orderByWeight, type RouteEntry } from '../domain/route.ts';
import type { BudgetTake, BudgetTaken } from '../domain/store.ts';
import { dayOf } from '../domain/usage.ts';
import type { App } from './app.ts';
import type { OpenProvider, ServiceContext } from './context.ts';

/** One way that a message may go. */
export type Hop = { readonly provider: OpenProvider; readonly channel: Channel };

/** What is to be sent, as far as a route depends on it. */
export type Load = {
  /** undefined: whichever the route says */
  readonly channel: Channel | undefined;
  readonly carries: 'code' | 'text';
  readonly email: string | undefined;
  /** the caller brought the code, so whoever makes codes itself cannot carry it */
  readonly isOwnCode?: boolean;
};

export type PassedBy = { readonly provider: string; readonly why: string };

export type Plan = {
  /** which of the app's routes: a prefix, a country, or `*` */
  readonly route: string;
  /** in the order in which they are tried */
  readonly hops: readonly Hop[];
  readonly passedBy: readonly PassedBy[];
  /** there are no hops, and there would be some for a number of another line type */
  readonly isLineTypeAtFault: boolean;
};

/** The providers that may carry this to that number, in order, and why not the others. Health is looked at later. */
export function planRoute(context: ServiceContext, app: App, number: ParsedNumber, load: Load): Plan {
  const { key, entries } = findRoute(app.routes, number);
  const hops: Hop[] = [];
  const passedBy: PassedBy[] = [];
  let lineTypeFaults = 0;
  // Before some are passed by: two groups of weights stay two when the entry between them is not for this number.
  for (const entry of orderByWeight(entries, () => randomFraction(context))) {
    const provider = context.providers.get(entry.provider);
    if (provider === undefined) continue;
    const channel = channelFor(app, entry, provider, load.channel);
    const why =
      channel === undefined
        ? `it does not send by ${load.channel ?? entry.channel ?? app.channel}`
        : whyNot(app, provider, channel, entry, number, load);
    if (channel !== undefined && why === undefined) {
      // Two entries, `twilio` and `twilio` by voice, are one way when a call is asked for.
      const isNew = hops.every((hop) => hop.provider !== provider || hop.channel !== channel);
      if (isNew) hops.push({ provider, channel });
    } else {
      passedBy.push({ provider: entry.provider, why: why ?? '' });
      if (why?.startsWith(LINE_TYPE) === true) lineTypeFaults += 1;
    }
  }
  return {
    route: key,
    hops,
    passedBy,
    isLineTypeAtFault: hops.length === 0 && lineTypeFaults > 0,
  };
}

const LINE_TYPE = 'the number is a';
const NO_EMAIL = 'the request gives no e-mail address';

function channelFor(
  app: App,
  entry: RouteEntry,
  { channels }: OpenProvider,
  wanted: Channel | undefined,
): Channel | undefined {
  if (wanted !== undefined)
    return (entry.channel ?? wanted) === wanted && channels.includes(wanted) ? wanted : undefined;
  if (entry.channel !== undefined) return channels.includes(entry.channel) ? entry.channel : undefined;
  if (channels.includes(app.channel)) return app.channel;
  return entry.isImplied ? undefined : channels[0];
}

function whyNot(
  app: App,
  provider: OpenProvider,
  channel: Channel,
  { lineTypes }: RouteEntry,
  number: ParsedNumber,
  { carries, email, isOwnCode = false }: Load,
): string | undefined {
  if (isAddress(number.number) && channel !== 'email') return `an e-mail address takes nothing by ${channel}`;
  if (!canTake(app, number, channel))
    return `${LINE_TYPE} ${number.lineType} number, which takes nothing by ${channel}`;
  if (lineTypes !== undefined && !lineTypes.includes(number.lineType))
    return `${LINE_TYPE} ${number.lineType} number, and the route sends only ${lineTypes.join(', ')} ones there`;
  if (provider.countries !== undefined && !provider.countries.has(number.country ?? ''))
    return `it does not deliver to ${number.country ?? 'numbers of no country'}`;
  if (carries === 'text' && (provider.codesOnly || provider.kind === 'managed')) return 'it carries codes only';
  if (isOwnCode && provider.kind === 'managed') return 'it makes its codes itself, and this one is the caller’s own';
  if (channel === 'email' && email === undefined) return NO_EMAIL;
  return undefined;
}

/** Premium and shared-cost numbers bill whoever calls them: they are never sent to, by any channel. */
function canTake({ allowLandlines }: App, { lineType }: ParsedNumber, channel: Channel): boolean {
  if (
    lineType === 'premium-rate' ||
    lineType === 'shared-cost' ||
    lineType === 'pager' ||
    lineType === 'voicemail' ||
    lineType === 'uan'
  )
    return false;
  // An e-mail goes to nobody's line.
  if (channel === 'email') return true;
  if (lineType === 'fixed-line' && channel === 'sms') return allowLandlines;
  if (lineType === 'fixed-line' || lineType === 'toll-free') return channel === 'voice';
  return true;
}

/** Is a code that no provider takes tried again, and its request a success all the same? */
export function isRetried({ sendFailures }: App, carries: Load['carries']): boolean {
  return sendFailures === 'retry' && carries === 'code';
}

/**
 * The plan of a request, or why it cannot be sent. A route whose providers are all down is refused here, before anything
 * is counted or stored; unless the code is going to be tried again, in which case the plan may have no hops.
 */
export function planOrRefuse(
  context: ServiceContext,
  app: App,
  number: ParsedNumber,
  load: Load,
  idempotencyKey: string | undefined,
): Plan | Refusal {
  const plan = planRoute(context, app, number, load);
  if (plan.isLineTypeAtFault) {
    const by = load.channel === undefined ? 'a message' : `a message by ${load.channel}`;
    return refuse('line-type-refused', `A ${number.lineType} number does not take ${by}. Use a mobile number.`, {
      field: 'to',
    });
  }
  // Where only the route came to e-mail and codes are tried again, whoever asks learns nothing of the sending, and this neither.
  const isTold = (load.channel ?? app.channel) === 'email' || !isRetried(app, load.carries);
  if (isTold && plan.hops.length === 0 && plan.passedBy.some(({ why }) => why === NO_EMAIL)) {
    return refuse('request-invalid', 'This would go by e-mail, and the request gives no email.', { field: 'email' });
  }
  if (isRetried(app, load.carries)) return plan;
  if (plan.hops.length === 0) {
    const by = load.channel === undefined ? '' : ` by ${load.channel}`;
    return refuse(
      'no-provider',
      `No configured provider sends to ${number.country ?? 'this number'}${by}. Add one to the app's routes.`,
    );
  }
  // A repeated request is to get the answer of the first one, which the store knows and a dead provider does not change.
  if (idempotencyKey !== undefined) return plan;
  const backAt = allOutUntil(context, plan.hops, number.country);
  if (backAt === undefined) return plan;
  return refuse('no-provider', 'Every provider that could send this is out of order. Try again in a moment.', {
    retryAfterMs: Math.max(1, backAt - context.now()),
  });
}

/** When the first of them is back, if there are any and all are out of order; undefined when one is not, and so can be tried. */
export function allOutUntil(
  { health }: ServiceContext,
  hops: readonly Hop[],
  country: string | undefined,
): number | undefined {
  let backAt: number | undefined;
  for (const { provider } of hops) {
    const until = health.outUntil(provider, country);
    if (until === undefined) return undefined;
    backAt = Math.min(backAt ?? until, until);
  }
  return backAt;
}

/** The providers that an app's routes name. */
export function providersOf({ routes }: App): string[] {
  return [...new Set([...routes.values()].flat().map(({ provider }) => provider))];
}

/** What one hand-over costs by the price table. */
export function priceOf(
  { prices }: ServiceContext,
  { provider, channel }: Hop,
  country: string | undefined,
  segments: number,
): Money | undefined {
  const own = estimateDispatch(prices, { provider: provider.id, country, channel, segments });
  if (own !== undefined || provider.definitionId === provider.id) return own;
  return estimateDispatch(prices, { provider: provider.definitionId, country, channel, segments });
}

/** What the dearest way would cost: so much is set aside before anything is handed over. */
export function budgetTakeFor(
  context: ServiceContext,
  app: App,
  hops: readonly Hop[],
  country: string | undefined,
  segments: number,
  now: number,
): BudgetTake | undefined {
  if (app.budget === undefined) return undefined;
  const prices = hops.map((hop) => inBudgetMicros(context, app, priceOf(context, hop, country, segments)) ?? 0);
  return { day: dayOf(now), maxMicros: app.budget.maxMicros, micros: Math.max(0, ...prices) };
}

/** An amount in the currency of the app's budget; undefined where the amount or its rate is not known. */
export function inBudgetMicros(
  { prices }: ServiceContext,
  { budget }: App,
  money: Money | undefined,
): number | undefined {
  if (money === undefined || budget === undefined) return undefined;
  return convert(prices, money, budget.currency)?.micros;
}

/** The day of an app's last warning: what is set aside and given back goes over the mark again and again. */
const warnedOn = new WeakMap<App, string>();

/** Tells the operator once a day, at the request that takes the spending past the mark. */
export function watchBudget(context: ServiceContext, app: App, taken: BudgetTaken | undefined): void {
  if (taken === undefined || app.budget === undefined) return;
  const { warnMicros, maxMicros, currency } = app.budget;
  const today = dayOf(context.now());
  if (taken.beforeMicros < warnMicros && taken.afterMicros >= warnMicros && warnedOn.get(app) !== today) {
    warnedOn.set(app, today);
    const fields = { app: app.id, spent: taken.afterMicros / 1e6, max: maxMicros / 1e6, currency };
    context.log.warn({ event: 'budget-warning', ...fields }, 'the budget of the day is nearly spent');
  }
}

function randomFraction({ randomBytes }: ServiceContext): number {
  return Buffer.from(randomBytes(4)).readUInt32BE() / 2 ** 32;
}
