import { createPriceBook, type Price, type PriceBook } from '../domain/price.ts';
import table from './prices.json' with { type: 'json' };

/** A price of the operator: it needs no source, being their own contract. */
export type OwnPrice = Omit<Price, 'source'> & { readonly source?: string };

export type KnownProvider = {
  readonly id: string;
  /** `contract` when there is no price for everybody that a table could hold */
  readonly terms: 'list' | 'contract';
  /** everywhere when absent */
  readonly countries?: readonly string[];
};

/** Day of the built-in table, YYYY-MM-DD. */
export const tableVersion: string = table.version;

// A JSON file has texts where the types have words; test/prices holds the file to them.
const builtInRows = table.rows as readonly Price[];

/** Every provider that a comparison should name, with or without a price. */
export const knownProviders = table.providers as readonly KnownProvider[];

/**
 * The built-in prices, and the operator's in their place.
 *
 * What somebody says of a hand-over (provider, country, channel) is all that a hand-over costs there: whoever pays by the
 * delivered message does not also pay our row per segment. The price of an approval is replaced by itself.
 *
 * @param ownRates units of that currency per 1 USD
 * @throws RangeError as `createPriceBook`
 */
export function loadPriceBook(
  ownRows: readonly OwnPrice[] = [],
  ownRates: Readonly<Record<string, number>> = {},
): PriceBook {
  const replaced = new Set(ownRows.map(subjectOf));
  const kept = builtInRows.filter((row) => !replaced.has(subjectOf(row)));
  const own = ownRows.map((row) => ({ ...row, source: row.source ?? 'your configuration' }));
  const rates = Object.fromEntries(table.rates.map(({ currency, perUsd }) => [currency, perUsd]));
  return createPriceBook([...kept, ...own], { ...rates, ...ownRates });
}

function subjectOf({ provider, country, channel, per }: OwnPrice): string {
  return [provider, country, channel, per === 'approval' ? 'approval' : 'dispatch'].join(' ');
}
