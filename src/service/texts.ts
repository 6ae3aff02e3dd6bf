import { marketOf } from '../domain/market.ts';
import { measureText, normalizeText, renderText, textFaults } from '../domain/message-text.ts';
import type { ParsedNumber } from '../domain/phone-number.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import { type TextEnding, withEnding } from '../domain/text-ending.ts';
import { chooseLocale, defaultTexts, localeOfCountry } from '../domain/texts.ts';
import type { Wording } from '../domain/verification.ts';
import type { App } from './app.ts';

/** What a text costs on its way: the same for every code of that length. */
export type TextCost = { readonly encoding: 'GSM-7' | 'UCS-2'; readonly segments: number };

/** What is the same for every code of an app: looked up once for each locale. */
type PreparedTexts = {
  readonly locales: readonly string[];
  readonly templates: ReadonlyMap<string, string>;
  readonly brand: string;
  /** by locale, code length and minutes */
  readonly costs: Map<string, TextCost>;
};

const prepared = new WeakMap<App, PreparedTexts>();

function textsOf(app: App): PreparedTexts {
  const known = prepared.get(app);
  if (known !== undefined) return known;
  const templates = new Map(Object.entries({ ...defaultTexts, ...Object.fromEntries(app.texts) }));
  for (const [locale, template] of templates) templates.set(locale, normalizeText(template));
  const texts = {
    locales: [...templates.keys()],
    templates,
    brand: normalizeText(app.brand),
    costs: new Map<string, TextCost>(),
  };
  prepared.set(app, texts);
  return texts;
}

/** The language a code is sent in: what the request asks for, else the market's, the app's, or that of the number's country. */
export function localeFor(
  app: App,
  wanted: string | undefined,
  number: Pick<ParsedNumber, 'number' | 'country'>,
): string {
  const { country } = number;
  const fallback =
    marketOf(app.markets, number)?.locale ?? app.locale ?? (country === undefined ? 'en' : localeOfCountry(country));
  return chooseLocale(wanted, fallback, textsOf(app).locales);
}

/** How long a code to that number lives. */
export function codeTtlMsFor(app: App, number: Pick<ParsedNumber, 'number' | 'country'>): number {
  return marketOf(app.markets, number)?.codeTtlMs ?? app.codeTtlMs;
}

/** @param lifeMs what is left of the code's life; the text says it in whole minutes, at least one */
export function composeCodeText(
  app: App,
  locale: string,
  code: string,
  lifeMs: number,
  ending: TextEnding | undefined,
  wording?: Wording,
): string {
  const { templates, brand: appBrand } = textsOf(app);
  const template = wording?.text ?? templates.get(locale) ?? defaultTexts.en;
  const text = renderText(template, { brand: wording?.brand ?? appBrand, code, minutes: minutesOf(lifeMs) });
  return withEnding(text, ending, code);
}

export function measureCodeText(
  app: App,
  locale: string,
  codeLength: number,
  lifeMs: number,
  ending: TextEnding | undefined,
  wording?: Wording,
): TextCost {
  const compose = () => composeCodeText(app, locale, '0'.repeat(codeLength), lifeMs, ending, wording);
  // Wordings come with requests: to remember the cost of each would be to remember without end.
  if (wording !== undefined) return measureText(compose());
  const { costs } = textsOf(app);
  const key = `${locale} ${codeLength} ${minutesOf(lifeMs)} ${ending?.kind ?? ''}`;
  let cost = costs.get(key);
  if (cost === undefined) {
    const { encoding, segments } = measureText(compose());
    cost = { encoding, segments };
    costs.set(key, cost);
  }
  return cost;
}

const BRAND_MAX_CHARS = 40;

/** A wording comes with a request, so it is held to what the configuration holds an app's own texts to. */
export function refuseWording(wording: Wording | undefined): Refusal | undefined {
  const { brand, text } = wording ?? {};
  if (brand !== undefined && (brand.trim() === '' || brand.length > BRAND_MAX_CHARS || /\p{Cc}/u.test(brand)))
    return refuse('text-invalid', `A brand has 1 to ${BRAND_MAX_CHARS} characters, all of them visible.`, {
      field: 'wording',
    });
  const faults = text === undefined ? [] : textFaults(text);
  return faults.length === 0
    ? undefined
    : refuse('text-invalid', `This text cannot be sent: ${faults.join('; ')}.`, { field: 'wording' });
}

/** As it is sent, and kept; undefined where it says nothing. */
export function tidyWording({ brand, text }: Wording = {}): Wording | undefined {
  if (brand === undefined && text === undefined) return undefined;
  return {
    ...(brand === undefined ? {} : { brand: normalizeText(brand) }),
    ...(text === undefined ? {} : { text: normalizeText(text) }),
  };
}

function minutesOf(lifeMs: number): number {
  return Math.max(1, Math.ceil(lifeMs / 60_000));
}
