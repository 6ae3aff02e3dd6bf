import { type Channel, channels } from './provider.ts';

/** An amount in millionths of the currency's unit: $0.0079 is 7900 micros of USD. */
export type Money = { readonly micros: number; readonly currency: string };

/** What is billed: each segment handed over, each message, each delivered message, or each approved verification. */
export const pricedPer = ['segment', 'message', 'delivered', 'approval'] as const;
export type PricedPer = (typeof pricedPer)[number];

/** One row of a price table. */
export type Price = {
  readonly provider: string;
  /** ISO 3166-1 alpha-2, or `*` for every country without a row of its own */
  readonly country: string;
  readonly channel: Channel;
  readonly per: PricedPer;
  /** decimal, in the currency's unit; 0 is known to be free */
  readonly amount: number;
  /** ISO 4217 */
  readonly currency: string;
  readonly source: string;
  /** YYYY-MM-DD; absent in an operator's own row, which is as true as they keep it */
  readonly readOn?: string;
  readonly confidence?: 'vendor' | 'reported' | 'estimate';
};

/** The rows that are in force for one provider, channel and country, added up. */
export type Tariff = {
  readonly provider: string;
  readonly channel: Channel;
  /** what each hand-over costs; undefined where only the approval has a known price */
  readonly dispatch: DispatchPrice | undefined;
  /** what an approval costs besides */
  readonly approval: Money | undefined;
  readonly rows: readonly Price[];
};

type DispatchPrice = {
  readonly perSegmentMicros: number;
  readonly perMessageMicros: number;
  readonly currency: string;
};

type Destination = { readonly provider: string; readonly country: string | undefined; readonly channel: Channel };

type ByCountry = ReadonlyMap<string, Tariff>;

/** Prices and exchange rates, made for looking up: once per message, without building a key. */
export type PriceBook = {
  readonly tariffs: ReadonlyMap<string, ReadonlyMap<Channel, ByCountry>>;
  /** units of the currency for 1 USD */
  readonly rates: ReadonlyMap<string, number>;
};

export const MICROS = 1_000_000;
/** As much as a price of the configuration may be. */
const MOST_MICROS = 1e6 * MICROS;
const CURRENCY = /^[A-Z]{3}$/;
const ANY_COUNTRY = '*';

/**
 * A later row takes the place of an earlier one for the same provider, country, channel and kind of billing.
 *
 * A country takes the rows of `*` only where it has none of its own: all that are billed by the hand-over together, and the
 * approval by itself. So a country's flat price never gets the world's price per segment on top.
 *
 * @param rates units of that currency per 1 USD
 * @throws RangeError for a row or a rate that cannot be counted with, and for two currencies in one sum without a rate
 */
export function createPriceBook(rows: readonly Price[], rates: Readonly<Record<string, number>>): PriceBook {
  const rateOf = readRates(rates);
  const byDestination = new Map<string, Map<Channel, Map<string, Map<PricedPer, Price>>>>();
  for (const row of rows) {
    checkRow(row);
    const byCountry = within(within(byDestination, row.provider), row.channel);
    within(byCountry, row.country).set(row.per, row);
  }
  const tariffs = new Map<string, Map<Channel, Map<string, Tariff>>>();
  for (const [provider, byChannel] of byDestination) {
    for (const [channel, byCountry] of byChannel) {
      const elsewhere = [...(byCountry.get(ANY_COUNTRY)?.values() ?? [])];
      for (const [country, own] of byCountry) {
        const inForce = withFallback([...own.values()], elsewhere);
        const tariff = { provider, channel, ...addUp(inForce, rateOf), rows: inForce };
        within(within(tariffs, provider), channel).set(country, tariff);
      }
    }
  }
  return { tariffs, rates: rateOf };
}

/** What the handing over of one message costs, taken to be delivered; undefined when nothing is known. */
export function estimateDispatch(
  book: PriceBook,
  { provider, country, channel, segments }: Destination & { readonly segments: number },
): Money | undefined {
  const dispatch = tariffOf(book, provider, channel, country)?.dispatch;
  if (dispatch === undefined) return undefined;
  const { perSegmentMicros, perMessageMicros, currency } = dispatch;
  return { micros: perSegmentMicros * segments + perMessageMicros, currency };
}

/** What an approved verification costs besides its messages, e.g. $0.05 at Twilio Verify; undefined when nothing. */
export function estimateApproval(book: PriceBook, { provider, country, channel }: Destination): Money | undefined {
  return tariffOf(book, provider, channel, country)?.approval;
}

/** Every tariff that holds in a country, in the order of the table. */
export function tariffsIn(book: PriceBook, country: string): Tariff[] {
  return [...book.tariffs.values()].flatMap((byChannel) =>
    [...byChannel.keys()].flatMap((channel) => tariffIn(byChannel.get(channel), country) ?? []),
  );
}

/** What a provider says a message cost, in whole millionths; undefined when no message can cost that. */
export function believable(money: Money | undefined): Money | undefined {
  // What is no number is `null` in a report that was kept as JSON, and would be rounded to 0.
  if (money === undefined || !Number.isFinite(money.micros) || !CURRENCY.test(money.currency)) return undefined;
  const micros = Math.round(money.micros);
  return micros >= 0 && micros <= MOST_MICROS ? { micros, currency: money.currency } : undefined;
}

/** By the rates of the book; undefined for a currency without one. */
export function convert({ rates }: PriceBook, money: Money, currency: string): Money | undefined {
  return convertBy(rates, money, currency);
}

/**
 * `$0.0530`, `500 000 so'm`, `1.20 EUR`.
 * @param digits behind the point, 6 at most. Without it 2, below one unit 4 to 6 as the amount needs, and none for whole so'm
 */
export function formatMoney({ micros, currency }: Money, digits: number = digitsFor(micros, currency)): string {
  const step = 10 ** (6 - digits);
  const rounded = String(Math.round(Math.abs(micros) / step)).padStart(digits + 1, '0');
  const units = groupThousands(rounded.slice(0, rounded.length - digits));
  const text = digits === 0 ? units : `${units}.${rounded.slice(-digits)}`;
  const sign = micros < 0 ? '-' : '';
  if (currency === 'USD') return `${sign}$${text}`;
  return `${sign}${text} ${currency === 'UZS' ? "so'm" : currency}`;
}

/** `'10000'` becomes `'10 000'`: the space is no decimal sign anywhere, as comma and point are. */
export function groupThousands(digits: string): string {
  return digits.replaceAll(/\B(?=(?:\d{3})+$)/g, ' ');
}

function tariffOf(
  book: PriceBook,
  provider: string,
  channel: Channel,
  country: string | undefined,
): Tariff | undefined {
  return tariffIn(book.tariffs.get(provider)?.get(channel), country);
}

function tariffIn(byCountry: ByCountry | undefined, country: string | undefined): Tariff | undefined {
  return (country === undefined ? undefined : byCountry?.get(country)) ?? byCountry?.get(ANY_COUNTRY);
}

function withFallback(own: readonly Price[], elsewhere: readonly Price[]): Price[] {
  const [approvals, dispatches] = [own.filter(isApproval), own.filter((row) => !isApproval(row))];
  return [
    ...(dispatches.length > 0 ? dispatches : elsewhere.filter((row) => !isApproval(row))),
    ...(approvals.length > 0 ? approvals : elsewhere.filter(isApproval)),
  ];
}

function isApproval({ per }: Price): boolean {
  return per === 'approval';
}

function addUp(rows: readonly Price[], rates: ReadonlyMap<string, number>): Pick<Tariff, 'dispatch' | 'approval'> {
  let dispatch: DispatchPrice | undefined;
  let approval: Money | undefined;
  for (const row of rows) {
    const money: Money = { micros: microsOf(row.amount), currency: row.currency };
    if (isApproval(row)) {
      approval = money;
      continue;
    }
    // One sum has one currency: that of its first row.
    const { perSegmentMicros, perMessageMicros, currency } = dispatch ?? {
      perSegmentMicros: 0,
      perMessageMicros: 0,
      currency: money.currency,
    };
    const micros = convertBy(rates, money, currency)?.micros;
    if (micros === undefined)
      throw new RangeError(
        `${nameOf(row)}: there is no exchange rate between ${row.currency} and ${currency}, so they cannot be added up`,
      );
    dispatch =
      row.per === 'segment'
        ? { perSegmentMicros: perSegmentMicros + micros, perMessageMicros, currency }
        : { perSegmentMicros, perMessageMicros: perMessageMicros + micros, currency };
  }
  return { dispatch, approval };
}

function convertBy(rates: ReadonlyMap<string, number>, money: Money, currency: string): Money | undefined {
  if (money.currency === currency) return money;
  const [from, to] = [rates.get(money.currency), rates.get(currency)];
  if (from === undefined || to === undefined) return undefined;
  return { micros: Math.round((money.micros * to) / from), currency };
}

function readRates(rates: Readonly<Record<string, number>>): ReadonlyMap<string, number> {
  const read = new Map(Object.entries({ USD: 1, ...rates }));
  for (const [currency, rate] of read) {
    if (!Number.isFinite(rate) || rate <= 0) throw new RangeError(`the rate of ${currency} must be above 0: ${rate}`);
  }
  if (read.get('USD') !== 1) throw new RangeError('rates are units of a currency for 1 USD, so the rate of USD is 1');
  return read;
}

function checkRow(row: Price): void {
  const fault = (what: string) => new RangeError(`${nameOf(row)}: ${what}`);
  if (!Number.isFinite(row.amount) || row.amount < 0 || !Number.isSafeInteger(microsOf(row.amount)))
    throw fault(`the amount ${row.amount} is no price`);
  if (!CURRENCY.test(row.currency)) throw fault(`'${row.currency}' is no currency of ISO 4217, e.g. USD`);
  if (!/^(?:[A-Z]{2}|\*)$/.test(row.country)) throw fault(`'${row.country}' is no country of ISO 3166-1, nor *`);
  if (!channels.includes(row.channel)) throw fault(`'${row.channel}' is no channel`);
  if (!pricedPer.includes(row.per)) throw fault(`'${row.per}' is nothing that is billed`);
}

function nameOf({ provider, country, channel, per }: Price): string {
  return `price of ${provider} in ${country} by ${channel} per ${per}`;
}

function microsOf(amount: number): number {
  return Math.round(amount * MICROS);
}

function digitsFor(micros: number, currency: string): number {
  const size = Math.abs(micros);
  if (currency === 'UZS') return size % MICROS === 0 ? 0 : 2;
  if (size === 0 || size >= MICROS) return 2;
  if (size % 100 === 0) return 4;
  return size % 10 === 0 ? 5 : 6;
}

function within<Key, InnerKey, Value>(outer: Map<Key, Map<InnerKey, Value>>, key: Key): Map<InnerKey, Value> {
  const found = outer.get(key);
  if (found !== undefined) return found;
  const made = new Map<InnerKey, Value>();
  outer.set(key, made);
  return made;
}
