import { styleText } from 'node:util';
import { loadProcessConfig } from '../compose.ts';
import type { Config } from '../config/config.ts';
import { nearestTo } from '../domain/nearest.ts';
import { estimateDispatch, formatMoney, type Money } from '../domain/price.ts';
import type { Channel } from '../domain/provider.ts';
import { INBOX } from '../domain/route.ts';
import type { TextEnding } from '../domain/text-ending.ts';
import { lintText, type TextFinding, type TextReport } from '../domain/text-lint.ts';
import { chooseLocale, defaultTexts } from '../domain/texts.ts';
import { toAmount } from '../http/amount.ts';
import type { App } from '../service/app.ts';
import { defineCommand, expectPositionals, jsonOption } from './command.ts';
import { channelOf } from './doctor/routes.ts';
import { chooseApp } from './installation.ts';
import { columns, exitCodes, print, printJson, UsageError } from './output.ts';

export const lintTexts = defineCommand({
  name: 'texts lint',
  positionals: '',
  description: `Looks at every text with a code as it would be sent: those of the apps and the built-in ones, without and with each
configured ending for autofill. Says what it is billed as and costs, who can fill the code in, and what could be wrong.
Nothing is sent, and no store is needed. Exits with 1 when there is an error: a text that would be refused or cut.`,
  options: {
    app: { type: 'string', value: 'APP', help: 'only the texts of this app' },
    locale: { type: 'string', value: 'TAG', help: 'only the text that this language gets, e.g. ru' },
    json: jsonOption,
  },
  examples: ['texts lint', 'texts lint --app taxi --locale uz'],
  async run({ app: named, locale, json }, positionals) {
    expectPositionals('texts lint', positionals);
    const config = await loadProcessConfig();
    const app = named === undefined ? undefined : chooseApp({ config }, named, 'texts lint');
    const looked = [...config.apps.values()]
      .filter(({ id }) => app === undefined || id === app)
      .map((each) => lintApp(config, each, locale));
    const errors = looked.flatMap(({ texts }) => texts).filter(hasError).length;
    if (json === true) printJson({ ok: errors === 0, apps: looked.map(toJson) });
    else print(looked.map(toText).join('\n\n'));
    return errors === 0 ? exitCodes.done : exitCodes.operator;
  },
});

type LintedText = TextReport & {
  /** the app's, and not the built-in one */
  readonly isOwn: boolean;
  readonly ending: TextEnding | undefined;
  /** of one message; undefined where it is not known */
  readonly price: Money | undefined;
};

/** What prices are told for: the app's first country, and who is tried first there. */
type Market = { readonly country: string; readonly provider: string; readonly channel: Channel };

type LintedApp = {
  readonly app: string;
  readonly brand: string;
  readonly market: Market | undefined;
  readonly texts: readonly LintedText[];
};

function lintApp(config: Config, app: App, wanted: string | undefined): LintedApp {
  const templates = new Map(Object.entries({ ...defaultTexts, ...Object.fromEntries(app.texts) }));
  const locales = wanted === undefined ? [...templates.keys()].toSorted() : [localeOf(wanted, [...templates.keys()])];
  const { domain, appHashes } = app.autofill;
  const endings: (TextEnding | undefined)[] = [
    undefined,
    ...(domain === undefined ? [] : [{ kind: 'web-otp', domain } as const]),
    ...appHashes.map((appHash) => ({ kind: 'sms-retriever', appHash }) as const),
  ];
  const market = marketOf(config, app);
  const texts = locales.flatMap((locale) =>
    endings.map((ending): LintedText => {
      const report = lintText({
        locale,
        template: templates.get(locale) ?? '',
        brand: app.brand,
        codeLength: app.codeLength,
        minutes: Math.max(1, Math.ceil(app.codeTtlMs / 60_000)),
        ending,
      });
      return { ...report, isOwn: app.texts.has(locale), ending, price: priceOf(config, market, report.segments) };
    }),
  );
  return { app: app.id, brand: app.brand, market, texts };
}

function localeOf(wanted: string, available: readonly string[]): string {
  const found = chooseLocale(wanted, '', available);
  if (found === '')
    throw new UsageError(`There is no text in '${wanted}'${nearestTo(wanted, available)}`, 'texts lint');
  return found;
}

function marketOf(config: Config, app: App): Market | undefined {
  const isCountry = (key: string) => /^[A-Z]{2}$/.test(key);
  const country = app.country ?? [...app.routes.keys(), ...(app.allowedCountries ?? [])].find(isCountry);
  const [main] = (country === undefined ? undefined : (app.routes.get(country) ?? app.routes.get('*'))) ?? [];
  if (country === undefined || main === undefined || main.provider === INBOX) return undefined;
  return { country, provider: main.provider, channel: channelOf(config, app, main) };
}

function priceOf({ prices, providers }: Config, market: Market | undefined, segments: number): Money | undefined {
  if (market === undefined) return undefined;
  const definition = providers.find(({ id }) => id === market.provider)?.definition.id ?? market.provider;
  return (
    estimateDispatch(prices, { ...market, segments }) ??
    estimateDispatch(prices, { ...market, provider: definition, segments })
  );
}

function hasError({ findings }: LintedText): boolean {
  return findings.some(({ level }) => level === 'error');
}

// ---- what is printed --------------------------------------------------------------------------------------------

const marks = { error: '✗', warning: '!', hint: '–' } as const;
const colours = { error: 'red', warning: 'yellow', hint: 'dim' } as const;

function toText({ app, brand, market, texts }: LintedApp): string {
  const isPriced = texts.some(({ price }) => price !== undefined);
  const rows = texts.map((text) => [
    `  ${text.locale}`,
    text.isOwn ? 'own' : 'built in',
    endingText(text.ending),
    text.encoding,
    String(text.units),
    String(text.segments),
    ...(isPriced ? [text.price === undefined ? '–' : formatMoney(text.price)] : []),
    autofillText(text),
  ]);
  const head = [
    '  TEXT',
    'FROM',
    'ENDING',
    'ENCODING',
    'UNITS',
    'SEGMENTS',
    ...(isPriced ? ['PRICE'] : []),
    'AUTOFILL',
  ];
  const prices =
    !isPriced || market === undefined ? '' : `; prices of ${market.provider} by ${market.channel} in ${market.country}`;
  return [`App ${app} (${brand})${prices}:`, columns([head, ...rows]), ...findingLines(texts)].join('\n\n');
}

/** Each finding once, with the texts that it is about. */
function findingLines(texts: readonly LintedText[]): string[] {
  const byFinding = new Map<string, { readonly finding: TextFinding; readonly places: Set<string> }>();
  for (const { findings, locale, ending } of texts) {
    for (const finding of findings) {
      const key = `${finding.level} ${finding.message}`;
      const known = byFinding.get(key) ?? { finding, places: new Set() };
      byFinding.set(key, known);
      // What is so without an ending is so with one.
      if (ending === undefined || !known.places.has(locale))
        known.places.add(ending === undefined ? locale : `${locale} with ${endingText(ending)}`);
    }
  }
  const order = ['error', 'warning', 'hint'];
  const lines = [...byFinding.values()]
    .toSorted((a, b) => order.indexOf(a.finding.level) - order.indexOf(b.finding.level))
    .map(({ finding: { level, message }, places }) => {
      const mark = styleText(colours[level], marks[level], { stream: process.stdout });
      return `${mark} ${[...places].join(', ')}: ${message}`;
    });
  return lines.length === 0 ? [] : [lines.join('\n')];
}

function endingText(ending: TextEnding | undefined): string {
  if (ending === undefined) return 'none';
  return ending.kind === 'web-otp' ? `@${ending.domain}` : ending.appHash;
}

function autofillText({ autofill: { ios, webOtp, smsRetriever } }: TextReport): string {
  const who = [...(ios ? ['iOS'] : []), ...(webOtp ? ['WebOTP'] : []), ...(smsRetriever ? ['SMS Retriever'] : [])];
  return who.length === 0 ? 'nobody' : who.join(', ');
}

function toJson({ app, brand, market, texts }: LintedApp): object {
  return {
    app,
    brand,
    prices_of: market,
    texts: texts.map(
      ({ locale, isOwn, ending, text, encoding, units, segments, unitsLeft, price, autofill, findings }) => ({
        locale,
        own: isOwn,
        ending: ending === undefined ? undefined : endingText(ending),
        text,
        encoding,
        units,
        segments,
        units_left: unitsLeft,
        price: price === undefined ? undefined : toAmount(price),
        autofill: { ios: autofill.ios, web_otp: autofill.webOtp, sms_retriever: autofill.smsRetriever },
        findings,
      }),
    ),
  };
}
