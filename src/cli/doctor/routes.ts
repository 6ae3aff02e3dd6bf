import { AsYouType } from 'libphonenumber-js/max';
import type { Config } from '../../config/config.ts';
import { convert, estimateDispatch } from '../../domain/price.ts';
import type { Channel } from '../../domain/provider.ts';
import type { RouteEntry } from '../../domain/route.ts';
import { INBOX } from '../../domain/route.ts';
import type { App } from '../../service/app.ts';
import { type Finding, fault, fine, skipped } from './finding.ts';

/** Where each app sends, and whether its providers go there; and what a budget cannot count. */
export function routeFindings(config: Config): Finding[] {
  const ofApps = [...config.apps.values()].flatMap((app) => [
    ...[...app.routes].map(([key, entries]) => routeFinding(config, app, key, entries)),
    ...closedFindings(app),
    ...budgetFinding(config, app),
  ]);
  return [...ofApps, ...unusedFinding(config)];
}

/** An account that is paid for, perhaps, and that a wrong channel or a forgotten route keeps idle. */
function unusedFinding({ apps, providers }: Config): Finding[] {
  const used = new Set(
    [...apps.values()].flatMap(({ routes }) => [...routes.values()].flat().map((each) => each.provider)),
  );
  const unused = providers.map(({ id }) => id).filter((id) => !used.has(id));
  return unused.length === 0 ? [] : [skipped('routes', `no app sends through ${unused.join(', ')}`)];
}

function routeFinding(config: Config, app: App, key: string, entries: readonly RouteEntry[]): Finding {
  const check = `route ${app.id} ${key}`;
  // Of providers that may be missing, none may be there.
  if (entries.length === 0)
    return fault(
      check,
      'none of its providers is configured, so its numbers are refused (no-provider)',
      `Set the credentials of one of them, or name another in apps.${app.id}.routes.${key}.`,
    );
  const names = entries.map((entry) => nameOf(config, app, entry));
  const detail = names.join(', then ');
  const country = countryOf(key);
  const strangers = entries.filter(({ provider }) => {
    const countries = config.providers.find(({ id }) => id === provider)?.definition.countries;
    return country !== undefined && countries !== undefined && !countries.includes(country);
  });
  if (strangers.length > 0) {
    const who = strangers.map(({ provider }) => provider).join(', ');
    return fault(
      check,
      `${detail}; but ${who} does not deliver to ${country}`,
      `Take ${who} out of apps.${app.id}.routes.${key}: it is passed by there.`,
    );
  }
  return fine(check, detail);
}

/** The channel only where it is not the app's own. */
function nameOf(config: Config, app: App, entry: RouteEntry): string {
  const channel = channelOf(config, app, entry);
  return channel === app.channel ? entry.provider : `${entry.provider} by ${channel}`;
}

/** Countries that nobody sends to: without a route of their own or one for all others. */
function closedFindings(app: App): Finding[] {
  if (app.routes.has('*')) return [];
  const allowed = [...(app.allowedCountries ?? [])].filter((country) => !app.routes.has(country));
  if (allowed.length > 0)
    return [
      fault(
        `route ${app.id} *`,
        `${allowed.join(', ')} ${allowed.length === 1 ? 'is' : 'are'} allowed, and no route leads there`,
        `Add a route for ${allowed.length === 1 ? 'it' : 'them'}, or for * (all others), to apps.${app.id}.routes.`,
      ),
    ];
  if (app.allowedCountries !== undefined) return [];
  return [skipped(`route ${app.id} *`, 'none: numbers of other countries are refused (no-provider)')];
}

/** What has no price counts as nothing, so a budget would not stop it. */
function budgetFinding(config: Config, app: App): Finding[] {
  const { budget } = app;
  if (budget === undefined) return [];
  const uncounted = new Set<string>();
  for (const [key, entries] of app.routes) {
    for (const entry of entries) {
      if (entry.provider === INBOX) continue;
      // What closes a country closes it for the route of all others too.
      const places = key === '*' && app.allowedCountries !== undefined ? othersOf(app) : [countryOf(key)];
      for (const place of places) {
        if (isCounted(config, app, entry, place, budget.currency)) continue;
        uncounted.add(`${nameOf(config, app, entry)} to ${place ?? 'countries without a price of their own'}`);
      }
    }
  }
  const check = `budget ${app.id}`;
  if (uncounted.size === 0) return [fine(check, `every provider of its routes has a known price`)];
  return [
    fault(
      check,
      `no price is known of ${[...uncounted].join(', ')}: the budget counts it as nothing`,
      'Add what you pay to `prices` in the configuration (with `exchangeRates` for other currencies), or close countries with allowedCountries.',
    ),
  ];
}

function othersOf({ allowedCountries = new Set(), routes }: App): string[] {
  return [...allowedCountries].filter((country) => !routes.has(country));
}

function isCounted(
  { prices, providers }: Config,
  app: App,
  entry: RouteEntry,
  country: string | undefined,
  currency: string,
): boolean {
  const channel = channelOf({ providers }, app, entry);
  const definition = providers.find(({ id }) => id === entry.provider)?.definition.id ?? entry.provider;
  return [entry.provider, definition].some((provider) => {
    const price = estimateDispatch(prices, { provider, country, channel, segments: 1 });
    return price !== undefined && convert(prices, price, currency) !== undefined;
  });
}

/** By which channel a route sends when the request names none; as the service chooses it. */
export function channelOf({ providers }: Pick<Config, 'providers'>, app: App, entry: RouteEntry): Channel {
  if (entry.channel !== undefined) return entry.channel;
  const channels = providers.find(({ id }) => id === entry.provider)?.definition.channels;
  return channels === undefined || channels.includes(app.channel) ? app.channel : channels[0];
}

/** Of a route's key: a country, or a prefix of one country; undefined for `*` and prefixes that several share. */
function countryOf(key: string): string | undefined {
  if (/^[A-Z]{2}$/.test(key)) return key;
  if (!key.startsWith('+')) return undefined;
  const typed = new AsYouType();
  typed.input(key);
  return typed.getCountry();
}
