import type { LineType } from '../domain/phone-number.ts';
import type { Money } from '../domain/price.ts';
import type { Refusal } from '../domain/problem.ts';
import type { Channel } from '../domain/provider.ts';
import { appOf, type ServiceContext } from './context.ts';
import type { HealthView } from './provider-health.ts';
import { parseRecipient, refuseCountry } from './request.ts';
import { type PassedBy, planRoute, priceOf, providersOf } from './routing.ts';
import { DEFAULT_APP } from './start-verification.ts';
import { codeTtlMsFor, localeFor, measureCodeText } from './texts.ts';

export type ExplainRequest = {
  readonly app?: string;
  readonly to: string;
  readonly country?: string;
  readonly channel?: Channel;
  /** an address for codes by e-mail is known */
  readonly hasEmail?: boolean;
  readonly locale?: string;
  /** name the providers of other apps as well, for whoever runs the installation */
  readonly allProviders?: boolean;
};

/** What would be tried, in that order, for a code to a number right now. Nothing is sent or counted. */
export type RouteView = {
  readonly to: string;
  readonly country: string | undefined;
  readonly lineType: LineType;
  readonly locale: string;
  readonly segments: number;
  /** which of the app's routes: a prefix, a country, or `*` */
  readonly route: string;
  readonly tried: readonly RouteHopView[];
  /** the others of the route, and those that are configured and not in it */
  readonly passedBy: readonly PassedBy[];
};

export type RouteHopView = {
  readonly provider: string;
  readonly channel: Channel;
  readonly health: HealthView;
  /** by the price table; undefined where it knows none */
  readonly price: Money | undefined;
  readonly deadlineMs: number;
};

export function explainRoute(
  context: ServiceContext,
  request: ExplainRequest,
): { readonly kind: 'explained'; readonly route: RouteView } | Refusal {
  const app = appOf(context, request.app ?? DEFAULT_APP);
  const recipient = parseRecipient(app, request.to, request.country);
  if ('kind' in recipient) return recipient;
  const { number } = recipient;
  const refusal = refuseCountry(app, number);
  if (refusal !== undefined) return refusal;
  const locale = localeFor(app, request.locale, number);
  const { segments } = measureCodeText(app, locale, app.codeLength, codeTtlMsFor(app, number), undefined);
  const email = request.hasEmail === true ? 'known' : undefined;
  const plan = planRoute(context, app, number, { channel: request.channel, carries: 'code', email });
  const named = new Set([
    ...plan.hops.map(({ provider }) => provider.id),
    ...plan.passedBy.map((each) => each.provider),
  ]);
  // What is configured for other apps is none of this one's business.
  const others = request.allProviders === true ? [...context.providers.keys()] : providersOf(app);
  const notNamed = others.filter((id) => !named.has(id));
  return {
    kind: 'explained',
    route: {
      to: number.number,
      country: number.country,
      lineType: number.lineType,
      locale,
      segments,
      route: plan.route,
      tried: plan.hops.map((hop) => ({
        provider: hop.provider.id,
        channel: hop.channel,
        health: context.health.look(hop.provider.id, number.country),
        price: priceOf(context, hop, number.country, segments),
        deadlineMs: hop.provider.deadlineMs,
      })),
      passedBy: [
        ...plan.passedBy,
        ...notNamed.map((provider) => ({ provider, why: `the route ${plan.route} does not name it` })),
      ],
    },
  };
}
