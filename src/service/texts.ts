import { measureText, normalizeText, renderText } from '../domain/message-text.ts';
import type { CountryCode } from '../domain/phone-number.ts';
import { type TextEnding, withEnding } from '../domain/text-ending.ts';
import { chooseLocale, defaultTexts, localeOfCountry } from '../domain/texts.ts';
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

/** The language a code is sent in: what the request asks for, else the app's, else the one of the number's country. */
export function localeFor(app: App, wanted: string | undefined, country: CountryCode | undefined): string {
  const fallback = app.locale ?? (country === undefined ? 'en' : localeOfCountry(country));
  return chooseLocale(wanted, fallback, textsOf(app).locales);
}

/** @param lifeMs what is left of the code's life; the text says it in whole minutes, at least one */
export function composeCodeText(
  app: App,
  locale: string,
  code: string,
  lifeMs: number,
  ending: TextEnding | undefined,
): string {
  const { templates, brand } = textsOf(app);
  const text = renderText(templates.get(locale) ?? defaultTexts.en, { brand, code, minutes: minutesOf(lifeMs) });
  return withEnding(text, ending, code);
}

export function measureCodeText(
  app: App,
  locale: string,
  codeLength: number,
  lifeMs: number,
  ending: TextEnding | undefined,
): TextCost {
  const { costs } = textsOf(app);
  const key = `${locale} ${codeLength} ${minutesOf(lifeMs)} ${ending?.kind ?? ''}`;
  let cost = costs.get(key);
  if (cost === undefined) {
    const { encoding, segments } = measureText(composeCodeText(app, locale, '0'.repeat(codeLength), lifeMs, ending));
    cost = { encoding, segments };
    costs.set(key, cost);
  }
  return cost;
}

function minutesOf(lifeMs: number): number {
  return Math.max(1, Math.ceil(lifeMs / 60_000));
}
