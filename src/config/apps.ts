import { getCountries } from 'libphonenumber-js/max';
import { textFaults } from '../domain/message-text.ts';
import { nearestTo } from '../domain/nearest.ts';
import type { CountryCode } from '../domain/phone-number.ts';
import { MICROS, type PriceBook } from '../domain/price.ts';
import { type Channel, channels } from '../domain/provider.ts';
import type { RouteEntry, Routes } from '../domain/route.ts';
import { INBOX } from '../domain/route.ts';
import { isAppHash, isWebOtpDomain } from '../domain/text-ending.ts';
import type { App } from '../service/app.ts';
import { bearerFaults, resolveBearer } from './bearer.ts';
import type { ConfiguredProvider, Mode } from './config.ts';
import type { AppSettings } from './schema.ts';

const GUESS_WINDOW_MS = 24 * 3_600_000;

/** What routes may name. */
type Available = {
  readonly providers: readonly ConfiguredProvider[];
  /** switched off by their variables: routes that name one go on without it */
  readonly off: ReadonlySet<string>;
  /** every provider there is, configured or not */
  readonly knownIds: ReadonlySet<string>;
};

/** The app with its units turned into ours, and what its schema could not check. */
export function resolveApp(
  id: string,
  settings: AppSettings,
  available: Available,
  prices: PriceBook,
  mode: Mode,
  nameOf: (path: string) => string,
): { app: App; faults: string[] } {
  const faults: string[] = [];
  const place = `apps.${id}`;
  const countries = new Set<string>(getCountries());
  const checkCountry = (country: string, where: string) => {
    if (!countries.has(country)) faults.push(`${where} names ${country}, which is no country code of ISO 3166-1`);
  };
  if (settings.country !== undefined) checkCountry(settings.country, nameOf(`${place}.country`));
  for (const country of settings.allowedCountries ?? []) checkCountry(country, `${place}.allowedCountries`);
  for (const [market, { countries: itsCountries }] of Object.entries(settings.markets)) {
    for (const country of itsCountries)
      if (!country.startsWith('+')) checkCountry(country, `${place}.markets.${market}.countries`);
  }
  if (settings.bearer !== undefined) faults.push(...bearerFaults(`${place}.bearer`, settings.bearer, mode));
  faults.push(...marketFaults(place, settings.markets));
  for (const [locale, template] of Object.entries(settings.texts)) {
    faults.push(...textFaults(template).map((fault) => `${place}.texts.${locale} ${fault}`));
  }
  const { routes, faults: routeFaults } = resolveRoutes(place, settings, available, mode, checkCountry, nameOf);
  faults.push(...routeFaults);
  for (const [name, rules] of Object.entries(settings.limits)) {
    if (mode === 'production' && rules.length === 0)
      faults.push(`${place}.limits.${name} is empty: production needs at least one limit of each kind`);
  }
  faults.push(
    ...autofillFaults(place, settings.autofill),
    ...budgetFaults(place, settings.budget, prices, available.providers),
  );
  const rules = (limits: readonly { max: number; windowSeconds: number }[]) =>
    limits.map(({ max, windowSeconds }) => ({ max, windowMs: windowSeconds * 1000 }));
  return {
    faults,
    app: {
      id,
      brand: settings.brand,
      country: settings.country as CountryCode | undefined,
      locale: settings.locale,
      codeLength: settings.codeLength,
      codeTtlMs: settings.codeTtlSeconds * 1000,
      maxAttempts: settings.maxAttempts,
      maxSends: settings.maxSends,
      resend: settings.resend,
      resendAfterSeconds: settings.resendAfterSeconds,
      channel: settings.channel,
      texts: new Map(Object.entries(settings.texts)),
      routes,
      autofill: { domain: settings.autofill.domain, appHashes: settings.autofill.appHashes },
      budget: budgetOf(settings.budget),
      markets: Object.entries(settings.markets).map(([market, { countries, locale, codeTtlSeconds, currency }]) => ({
        id: market,
        countries,
        locale,
        codeTtlMs: codeTtlSeconds === undefined ? undefined : codeTtlSeconds * 1000,
        currency,
      })),
      bearer: settings.bearer === undefined ? undefined : resolveBearer(settings.bearer),
      twilioVerify: undefined,
      allowedCountries: settings.allowedCountries === undefined ? undefined : new Set(settings.allowedCountries),
      limits: {
        perNumber: rules(settings.limits.perNumber),
        perAddress: rules(settings.limits.perAddress),
        perPrefix: rules(settings.limits.perPrefix),
        perApp: rules(settings.limits.perApp),
        messagesPerNumber: rules(settings.limits.messagesPerNumber),
      },
      sendFailures: settings.sendFailures,
      allowLandlines: settings.allowLandlines,
      guesses: { max: settings.guesses.max, windowMs: GUESS_WINDOW_MS },
    },
  };
}

/** A country of two markets would have two languages. */
function marketFaults(place: string, markets: AppSettings['markets']): string[] {
  const owners = new Map<string, string>();
  const faults: string[] = [];
  for (const [market, { countries }] of Object.entries(markets)) {
    for (const country of countries) {
      const owner = owners.get(country);
      if (owner !== undefined) faults.push(`${place}.markets names ${country} in ${owner} and in ${market}`);
      owners.set(country, market);
    }
  }
  return faults;
}

function autofillFaults(place: string, { domain, appHashes }: AppSettings['autofill']): string[] {
  const faults = appHashes
    .filter((hash) => !isAppHash(hash))
    .map((hash) => `${place}.autofill.appHashes names ${hash}, which is not the 11 characters of an app hash`);
  if (domain !== undefined && !isWebOtpDomain(domain))
    faults.push(`${place}.autofill.domain must be a host alone, e.g. example.com, and is ${domain}`);
  return faults;
}

function budgetFaults(
  place: string,
  budget: AppSettings['budget'],
  { rates, tariffs }: PriceBook,
  providers: readonly ConfiguredProvider[],
): string[] {
  if (budget === undefined) return [];
  const isKnown = (currency: string) => currency === 'USD' || rates.has(currency);
  if (!isKnown(budget.currency))
    return [`${place}.budget.currency ${budget.currency} has no rate: name it in exchangeRates`];
  const faults = new Set<string>();
  for (const id of new Set(providers.flatMap((each) => [each.id, each.definition.id]))) {
    const dispatches = [...(tariffs.get(id)?.values() ?? [])].flatMap((byCountry) => [...byCountry.values()]);
    for (const currency of dispatches.map(({ dispatch }) => dispatch?.currency ?? 'USD')) {
      if (!isKnown(currency))
        faults.add(`${place}.budget cannot count what ${id} costs: ${currency} has no rate; name it in exchangeRates`);
    }
  }
  return [...faults];
}

function budgetOf(budget: AppSettings['budget']): App['budget'] {
  if (budget === undefined) return undefined;
  const maxMicros = Math.round(budget.perDay * MICROS);
  const warnMicros = Math.round((maxMicros * budget.warnAtPercent) / 100);
  return { maxMicros, warnMicros, currency: budget.currency };
}

/**
 * Without routes of its own an app uses every configured provider, in order, by its own channel unless another is asked
 * for; in development the inbox if there is none.
 */
function resolveRoutes(
  place: string,
  { routes: wanted, channel: appChannel }: Pick<AppSettings, 'routes' | 'channel'>,
  { providers, off, knownIds }: Available,
  mode: Mode,
  checkCountry: (country: string, where: string) => void,
  nameOf: (path: string) => string,
): { routes: Routes; faults: string[] } {
  const faults: string[] = [];
  const routes = new Map<string, readonly RouteEntry[]>();
  const channelsOf = new Map<string, readonly Channel[]>(
    providers.map(({ id, definition }) => [id, definition.channels]),
  );
  const known = [...channelsOf.keys()];
  if (mode === 'development') channelsOf.set(INBOX, channels);
  const usable = [...channelsOf.keys()];
  for (const [key, entries] of Object.entries(wanted)) {
    const where = nameOf(`${place}.routes.${key}`);
    if (/^[A-Z]/.test(key)) checkCountry(key, where);
    const steps = entries.map(toRouteEntry);
    const isThere = ({ provider }: RouteEntry) => !off.has(provider) && channelsOf.has(provider);
    for (const { provider, channel, isOptional } of steps) {
      if (off.has(provider)) continue;
      const itsChannels = channelsOf.get(provider);
      if (itsChannels === undefined && isOptional) {
        if (provider !== INBOX && !knownIds.has(provider))
          faults.push(
            `${where} names ${provider}, which is no provider that Countersign knows${nearestTo(provider, [...knownIds])}`,
          );
      } else if (itsChannels === undefined) {
        faults.push(
          provider === INBOX
            ? `${where} names the inbox, which shows every code to whoever opens it and is for development only`
            : `${where} names ${provider}, which is not configured${nearestTo(provider, usable)}`,
        );
      } else if (channel !== undefined && !itsChannels.includes(channel)) {
        faults.push(`${where} sends by ${channel} through ${provider}, which knows only ${itsChannels.join(', ')}`);
      }
    }
    const names = steps.map(({ provider, channel, lineTypes }) => [provider, channel, lineTypes?.join()].join(' '));
    if (new Set(names).size !== names.length) faults.push(`${where} names a provider twice`);
    const left = steps.map(({ isOptional: _, ...step }) => step).filter(isThere);
    // Whoever says of all of them that they may be missing wants the requests refused then, as an old back end did.
    const mayBeEmpty = steps.every(({ isOptional }) => isOptional);
    const needed = steps.filter(({ isOptional }) => !isOptional);
    if (mode === 'production' && !mayBeEmpty && needed.every(({ provider }) => off.has(provider)) && left.length === 0)
      faults.push(`${where} names only providers that are switched off`);
    routes.set(key, left.length === 0 && !mayBeEmpty ? [entryFor(INBOX)] : left);
  }
  if (routes.size > 0) return { routes, faults };
  const implied = known.map((provider) => ({ ...entryFor(provider), isImplied: true }));
  if (known.some((id) => channelsOf.get(id)?.includes(appChannel)))
    return { routes: new Map([['*', implied]]), faults };
  if (mode === 'production') {
    faults.push(
      known.length > 0
        ? `${place} has no provider that sends by ${appChannel}: configured are ${known.join(', ')}; name them in routes, or configure another`
        : `${place} has no provider to send with: set the credentials of one (e.g. TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_PHONE_NUMBER); the inbox is for development only`,
    );
  }
  return { routes: new Map([['*', [entryFor(INBOX)]]]), faults };
}

function toRouteEntry(entry: AppSettings['routes'][string][number]): RouteEntry & { readonly isOptional: boolean } {
  if (typeof entry === 'string') return { ...entryFor(entry.replace(/\?$/, '')), isOptional: entry.endsWith('?') };
  const { provider, channel, lineTypes, weight, optional = false } = entry;
  return { provider, channel, lineTypes, weight, isImplied: false, isOptional: optional };
}

function entryFor(provider: string): RouteEntry {
  return { provider, channel: undefined, lineTypes: undefined, weight: undefined, isImplied: false };
}
