import { getCountries } from 'libphonenumber-js/max';
import { textFaults } from '../domain/message-text.ts';
import { nearestTo } from '../domain/nearest.ts';
import type { CountryCode } from '../domain/phone-number.ts';
import type { App } from '../service/app.ts';
import type { ConfiguredProvider, Mode } from './config.ts';
import type { AppSettings } from './schema.ts';

/** The development provider: messages go to a page instead of a phone. */
export const INBOX = 'inbox';
const GUESS_WINDOW_MS = 24 * 3_600_000;

/** The app with its units turned into ours, and what its schema could not check. */
export function resolveApp(
  id: string,
  settings: AppSettings,
  providers: readonly ConfiguredProvider[],
  mode: Mode,
): { app: App; faults: string[] } {
  const faults: string[] = [];
  const place = `apps.${id}`;
  const countries = new Set<string>(getCountries());
  const checkCountry = (country: string, where: string) => {
    if (!countries.has(country)) faults.push(`${where} names ${country}, which is no country code of ISO 3166-1`);
  };
  if (settings.country !== undefined) checkCountry(settings.country, `${place}.country`);
  for (const country of settings.allowedCountries ?? []) checkCountry(country, `${place}.allowedCountries`);
  for (const [locale, template] of Object.entries(settings.texts)) {
    faults.push(...textFaults(template).map((fault) => `${place}.texts.${locale} ${fault}`));
  }
  const { routes, faults: routeFaults } = resolveRoutes(place, settings.routes, providers, mode, checkCountry);
  faults.push(...routeFaults);
  for (const [name, rules] of Object.entries(settings.limits)) {
    if (mode === 'production' && rules.length === 0)
      faults.push(`${place}.limits.${name} is empty: production needs at least one limit of each kind`);
  }
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
      allowedCountries: settings.allowedCountries === undefined ? undefined : new Set(settings.allowedCountries),
      limits: {
        perNumber: rules(settings.limits.perNumber),
        perAddress: rules(settings.limits.perAddress),
        perPrefix: rules(settings.limits.perPrefix),
        perApp: rules(settings.limits.perApp),
        messagesPerNumber: rules(settings.limits.messagesPerNumber),
      },
      guesses: { max: settings.guesses.max, windowMs: GUESS_WINDOW_MS },
    },
  };
}

/** Without routes of its own an app uses every configured provider, in order; in development the inbox if there is none. */
function resolveRoutes(
  place: string,
  wanted: AppSettings['routes'],
  providers: readonly ConfiguredProvider[],
  mode: Mode,
  checkCountry: (country: string, where: string) => void,
): { routes: ReadonlyMap<string, readonly string[]>; faults: string[] } {
  const faults: string[] = [];
  const known = providers.map(({ id }) => id);
  const usable = mode === 'development' ? [...known, INBOX] : known;
  for (const [country, ids] of Object.entries(wanted)) {
    const where = `${place}.routes.${country}`;
    if (country !== '*') checkCountry(country, where);
    for (const id of ids) {
      if (usable.includes(id)) continue;
      faults.push(
        id === INBOX
          ? `${where} names the inbox, which shows every code to whoever opens it and is for development only`
          : `${where} names ${id}, which is not configured${nearestTo(id, usable)}`,
      );
    }
    if (new Set(ids).size !== ids.length) faults.push(`${where} names a provider twice`);
  }
  if (Object.keys(wanted).length > 0) return { routes: new Map(Object.entries(wanted)), faults };
  if (known.length > 0) return { routes: new Map([['*', known]]), faults };
  if (mode === 'production') {
    faults.push(
      `${place} has no provider to send with: set the credentials of one (e.g. TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_PHONE_NUMBER); the inbox is for development only`,
    );
  }
  return { routes: new Map([['*', [INBOX]]]), faults };
}
