import type { CountryCode, ParsedNumber } from './phone-number.ts';

/** A set of countries with a language and a lifetime. */
export type Market = {
  /** e.g. `KG` */
  readonly id: string;
  /** ISO 3166-1 alpha-2, or number prefixes: `KG`, `+1` */
  readonly countries: readonly string[];
  /** the language of its texts, unless a request names one; undefined: as everywhere in the app */
  readonly locale: string | undefined;
  readonly codeTtlMs: number | undefined;
  /** what people pay with there, ISO 4217 */
  readonly currency: string | undefined;
};

/** The market of a number: by its longest prefix, else by its country; undefined when it is in none. */
export function marketOf(
  markets: readonly Market[],
  { number, country }: { readonly number: ParsedNumber['number']; readonly country: CountryCode | undefined },
): Market | undefined {
  let found: Market | undefined;
  let length = 0;
  for (const market of markets) {
    for (const key of market.countries) {
      // A country is less than any prefix: who names one means those numbers in particular.
      const matched = key.startsWith('+') ? (number.startsWith(key) ? key.length : 0) : key === country ? 1 : 0;
      if (matched > length) [found, length] = [market, matched];
    }
  }
  return found;
}
