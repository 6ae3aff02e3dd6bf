import { getCountries } from 'libphonenumber-js/max';
import { loadProcessConfig } from '../compose.ts';
import {
  convert,
  estimateApproval,
  estimateDispatch,
  formatMoney,
  groupThousands,
  MICROS,
  type Money,
  type Price,
  type PriceBook,
  type Tariff,
  tariffsIn,
} from '../domain/price.ts';
import { knownProviders, tableVersion } from '../prices/prices.ts';
import { defineCommand, expectPositionals, jsonOption } from './command.ts';
import { columns, exitCodes, print, printJson, UsageError } from './output.ts';

const VOLUME_MAX = 1_000_000_000;
/** As many segments as a joined message can have: its part number is one octet (3GPP TS 23.040, 9.2.3.24.1). */
const SEGMENTS_MAX = 255;

export const costs = defineCommand({
  name: 'costs',
  positionals: '',
  description: `Compares what messages to a country cost at each provider with a known price, cheapest first. Nothing is sent.
Prices are those of the built-in table, and yours in their place; docs/costs.md says where they come from.`,
  options: {
    country: { type: 'string', value: 'CC', help: 'where the numbers are, ISO 3166-1, e.g. UZ' },
    volume: { type: 'string', value: 'N', help: 'how many messages; 10000 unless told otherwise' },
    segments: { type: 'string', value: 'N', help: 'segments of each message; 1 unless told otherwise' },
    conversion: {
      type: 'string',
      value: 'SHARE',
      help: 'share of the codes that come back and are approved, 0 to 1; 1 unless told otherwise',
    },
    currency: { type: 'string', value: 'CODE', help: 'to compare in; USD unless told otherwise' },
    json: jsonOption,
  },
  examples: ['costs --country UZ --volume 10000', 'costs --country KG --volume 1000 --conversion 0.9 --currency KGS'],
  async run({ country, volume, segments, conversion, currency, json }, positionals) {
    expectPositionals('costs', positionals);
    const { prices: book, providers } = await loadProcessConfig();
    const question: Question = {
      country: readCountry(country),
      volume: readWhole('--volume', volume ?? '10000', VOLUME_MAX),
      segments: readWhole('--segments', segments ?? '1', SEGMENTS_MAX),
      conversion: readShare(conversion ?? '1'),
      currency: readCurrency(currency ?? 'USD', book),
    };
    const comparison = compareCosts(
      book,
      question,
      providers.map(({ id }) => id),
    );
    if (json === true) printJson(toJson(book, question, comparison));
    else print(toText(book, question, comparison));
    return exitCodes.done;
  },
});

export type Question = {
  readonly country: string;
  readonly volume: number;
  readonly segments: number;
  readonly conversion: number;
  readonly currency: string;
};

type Offer = {
  readonly provider: string;
  readonly channel: Tariff['channel'];
  readonly isConfigured: boolean;
  readonly one: Amount;
  readonly thousand: Amount;
  readonly total: Amount;
  /** of the total: messages whose code is never approved */
  readonly wasted: Amount;
  readonly rows: readonly Price[];
};

type Amount = {
  readonly own: Money;
  /** in the currency of the comparison; undefined when there is no rate */
  readonly converted: Money | undefined;
};

type Comparison = {
  /** cheapest first; what cannot be converted is last */
  readonly offers: readonly Offer[];
  /** something is known, but not what the whole costs */
  readonly incomplete: readonly { readonly provider: string; readonly channel: string; readonly why: string }[];
  readonly byContract: readonly string[];
  readonly withoutPrice: readonly string[];
};

/** @param configured ids of this installation's providers; those without a price are named too */
export function compareCosts(book: PriceBook, question: Question, configured: readonly string[]): Comparison {
  const offers: Offer[] = [];
  const incomplete: Comparison['incomplete'][number][] = [];
  for (const tariff of tariffsIn(book, question.country)) {
    const offer = offerOf(book, question, tariff, configured);
    if (typeof offer === 'string') incomplete.push({ provider: tariff.provider, channel: tariff.channel, why: offer });
    else offers.push(offer);
  }
  const costOf = ({ total }: Offer) => total.converted?.micros ?? Number.POSITIVE_INFINITY;
  offers.sort((a, b) =>
    costOf(a) === costOf(b) ? a.provider.localeCompare(b.provider, 'en') : costOf(a) < costOf(b) ? -1 : 1,
  );

  const named = new Set([...offers, ...incomplete].map(({ provider }) => provider));
  const serving = knownProviders.filter(({ countries }) => countries?.includes(question.country) !== false);
  const unpriced = [...new Set([...serving.map(({ id }) => id), ...configured])].filter((id) => !named.has(id));
  const byContract = unpriced.filter((id) => knownProviders.find((known) => known.id === id)?.terms === 'contract');
  return { offers, incomplete, byContract, withoutPrice: unpriced.filter((id) => !byContract.includes(id)) };
}

/** @returns a sentence when the prices that are known do not make a whole */
function offerOf(
  book: PriceBook,
  { country, volume, segments, conversion, currency }: Question,
  { provider, channel, rows }: Tariff,
  configured: readonly string[],
): Offer | string {
  const dispatch = estimateDispatch(book, { provider, country, channel, segments });
  const approval = estimateApproval(book, { provider, country, channel });
  if (dispatch === undefined) return `${rows.map(priceText).join(', ')}, but what the message costs is not known`;
  const approved = approval === undefined ? { ...dispatch, micros: 0 } : convert(book, approval, dispatch.currency);
  if (approved === undefined)
    return `${rows.map(priceText).join(' + ')}, and there is no exchange rate to add them up by`;

  const amount = (micros: number): Amount => {
    const own: Money = { micros: Math.round(micros), currency: dispatch.currency };
    return { own, converted: convert(book, own, currency) };
  };
  const costOf = (messages: number) => amount(messages * (dispatch.micros + approved.micros * conversion));
  return {
    provider,
    channel,
    isConfigured: configured.includes(provider),
    one: costOf(1),
    thousand: costOf(1000),
    total: costOf(volume),
    wasted: amount(volume * dispatch.micros * (1 - conversion)),
    rows,
  };
}

// ---- what is printed --------------------------------------------------------------------------------------------

function toText(book: PriceBook, question: Question, comparison: Comparison): string {
  const { offers, incomplete, byContract, withoutPrice } = comparison;
  const { country, currency } = question;
  const lists = columns(
    [
      ['By contract:', byContract.join(', ')],
      [`No price for ${country}:`, withoutPrice.join(', ')],
      ...incomplete.map(({ provider, channel, why }) => ['Not the whole price:', `${provider} by ${channel}: ${why}`]),
    ].filter(([, names]) => names !== ''),
  );
  const foreign = new Set(offers.map(({ total }) => total.own.currency).filter((each) => each !== currency));
  const rates = [...foreign].map((each) => rateText(book, each, currency));
  return [
    `${titleOf(question)}:`,
    offers.length === 0
      ? '  No provider has a known price there.'
      : columns(tableOf(question, offers, foreign.size > 0)),
    ...(offers.some(({ isConfigured }) => isConfigured) ? ['* configured here'] : []),
    ...(offers.length === 0 ? [] : [`Prices (table of ${tableVersion}):\n${columns(offers.flatMap(sourceLines))}`]),
    ...(rates.length === 0 ? [] : [`Counted with ${rates.join(', ')}: approximate, put your own in their place.`]),
    lists,
  ].join('\n\n');
}

function titleOf({ country, volume, segments, conversion }: Question): string {
  const name = new Intl.DisplayNames('en', { type: 'region' }).of(country);
  const size = segments === 1 ? '1 segment' : `${segments} segments`;
  const share = conversion === 1 ? '' : `, with ${Number((conversion * 100).toFixed(4))} % of the codes approved`;
  return `${groupThousands(String(volume))} ${volume === 1 ? 'message' : 'messages'} of ${size} to ${name} (${country})${share}`;
}

function tableOf(
  { volume, conversion, currency }: Question,
  offers: readonly Offer[],
  isConverted: boolean,
): string[][] {
  // A volume of one, or of a thousand, has its column already.
  const amounts = [
    { head: 'ONE', of: (offer: Offer) => offer.one },
    { head: '1 000', of: (offer: Offer) => offer.thousand },
    ...(volume === 1 || volume === 1000
      ? []
      : [{ head: groupThousands(String(volume)), of: (offer: Offer) => offer.total }]),
    ...(conversion === 1 ? [] : [{ head: 'OF IT WASTED', of: (offer: Offer) => offer.wasted }]),
  ];
  return [
    [
      'PROVIDER',
      'CHANNEL',
      ...amounts.map(({ head }) => head),
      ...(isConverted ? amounts.map(({ head }) => `${head} (${currency})`) : []),
    ],
    ...offers.map((offer) => [
      `${offer.provider}${offer.isConfigured ? ' *' : ''}`,
      offer.channel,
      ...amounts.map(({ of }) => formatMoney(of(offer).own)),
      ...(isConverted ? amounts.map(({ of }) => moneyOr(of(offer).converted, 'no rate')) : []),
    ]),
  ];
}

function sourceLines({ provider, rows }: Offer): string[][] {
  return rows.map((row) => [
    `  ${provider}`,
    priceText(row),
    `${row.source}${row.readOn === undefined ? '' : ` (${row.readOn})`}`,
  ]);
}

function priceText({ amount, currency, per }: Price): string {
  return `${formatMoney({ micros: Math.round(amount * MICROS), currency })} per ${per === 'delivered' ? 'delivered message' : per}`;
}

/** Of the two currencies the one of which there are more stands on the right: 1 USD = 12 500 so'm. */
function rateText(book: PriceBook, one: string, other: string): string {
  const unit = (currency: string): Money => ({ micros: MICROS, currency });
  const there = convert(book, unit(one), other);
  const back = convert(book, unit(other), one);
  if (there === undefined || back === undefined) return `no rate for ${one}`;
  const [left, right] = there.micros >= MICROS ? [one, there] : [other, back];
  return `1 ${left} = ${formatMoney(right, right.micros % MICROS === 0 ? 0 : 4)}`;
}

function moneyOr(money: Money | undefined, otherwise: string): string {
  return money === undefined ? otherwise : formatMoney(money);
}

function toJson(book: PriceBook, question: Question, comparison: Comparison): object {
  const money = ({ own, converted }: Amount) => ({
    amount: own.micros / MICROS,
    currency: own.currency,
    converted: converted === undefined ? undefined : converted.micros / MICROS,
  });
  return {
    ...question,
    table: tableVersion,
    per_usd: Object.fromEntries(book.rates),
    providers: comparison.offers.map(({ provider, channel, isConfigured, one, thousand, total, wasted, rows }) => ({
      provider,
      channel,
      configured: isConfigured,
      one: money(one),
      per_1000: money(thousand),
      total: money(total),
      wasted: money(wasted),
      prices: rows.map(({ per, amount, currency, country, source, readOn, confidence }) => ({
        per,
        amount,
        currency,
        country,
        source,
        read_on: readOn,
        confidence,
      })),
    })),
    incomplete: comparison.incomplete,
    by_contract: comparison.byContract,
    without_price: comparison.withoutPrice,
  };
}

// ---- what is asked ----------------------------------------------------------------------------------------------

function readCountry(given: string | undefined): string {
  if (given === undefined)
    throw new UsageError('--country is missing: where the numbers are, e.g. --country UZ', 'costs');
  const country = given.toUpperCase();
  // The countries that have phone numbers; others get no messages.
  if (!(getCountries() as string[]).includes(country))
    throw new UsageError(`There is no country '${given}': say its two letters of ISO 3166-1, e.g. UZ`, 'costs');
  return country;
}

function readWhole(option: string, given: string, max: number): number {
  const value = Number(given);
  if (!/^\d+$/.test(given) || value < 1 || value > max)
    throw new UsageError(`${option} is a whole number from 1 to ${max}, not '${given}'`, 'costs');
  return value;
}

function readShare(given: string): number {
  const value = Number(given);
  if (!/^(?:\d+(?:\.\d*)?|\.\d+)$/.test(given) || value > 1)
    throw new UsageError(`--conversion is a share from 0 to 1, e.g. 0.9, not '${given}'`, 'costs');
  return value;
}

function readCurrency(given: string, { rates }: PriceBook): string {
  const currency = given.toUpperCase();
  // No guess at the nearest: any two codes of three letters are near each other.
  if (!rates.has(currency))
    throw new UsageError(
      `There is no exchange rate for '${given}'; there are: ${[...rates.keys()].join(', ')}`,
      'costs',
    );
  return currency;
}
