import { measureText, normalizeText, renderText } from '../domain/message-text.ts';
import type { CountryCode } from '../domain/phone-number.ts';
import { chooseLocale, defaultTexts, localeOfCountry } from '../domain/texts.ts';
import type { App } from './app.ts';

export type ComposedText = { readonly text: string; readonly encoding: 'GSM-7' | 'UCS-2'; readonly segments: number };

type Measure = Omit<ComposedText, 'text'>;

/** What is the same for every code of an app: looked up once for each locale. */
type PreparedTexts = {
  readonly locales: readonly string[];
  readonly templates: ReadonlyMap<string, string>;
  /** by locale and minutes: digits change neither the encoding nor the length */
  readonly measures: Map<string, Measure>;
};

const prepared = new WeakMap<App, PreparedTexts>();

function textsOf(app: App): PreparedTexts {
  const known = prepared.get(app);
  if (known !== undefined) return known;
  const templates = new Map(Object.entries({ ...defaultTexts, ...Object.fromEntries(app.texts) }));
  for (const [locale, template] of templates) templates.set(locale, normalizeText(template));
  const texts = { locales: [...templates.keys()], templates, measures: new Map<string, Measure>() };
  prepared.set(app, texts);
  return texts;
}

/** The language a code is sent in: what the request asks for, else the app's, else the one of the number's country. */
export function localeFor(app: App, wanted: string | undefined, country: CountryCode | undefined): string {
  const fallback = app.locale ?? (country === undefined ? 'en' : localeOfCountry(country));
  return chooseLocale(wanted, fallback, textsOf(app).locales);
}

/** @param lifeMs what is left of the code's life; the text says it in whole minutes, at least one */
export function composeCodeText(app: App, locale: string, code: string, lifeMs: number): ComposedText {
  const { templates, measures } = textsOf(app);
  const minutes = Math.max(1, Math.ceil(lifeMs / 60_000));
  const template = templates.get(locale) ?? defaultTexts.en;
  const text = renderText(template, { brand: normalizeText(app.brand), code, minutes });
  const key = `${locale} ${minutes}`;
  let measure = measures.get(key);
  if (measure === undefined) {
    const { encoding, segments } = measureText(text);
    measure = { encoding, segments };
    measures.set(key, measure);
  }
  return { text, ...measure };
}
