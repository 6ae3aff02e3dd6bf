import type { LineType, ParsedNumber } from './phone-number.ts';
import type { Channel } from './provider.ts';

/** What routes call the provider of development mode by: messages go to a page instead of a phone. */
export const INBOX = 'inbox';

/** One step of a route. */
export type RouteEntry = {
  readonly provider: string;
  /** when the route says which; else the one that is asked for, or the provider's own */
  readonly channel: Channel | undefined;
  /** numbers of other line types pass it by */
  readonly lineTypes: readonly LineType[] | undefined;
  /** neighbours with weights share the traffic by them */
  readonly weight: number | undefined;
  /** nobody named it: then it sends by the channel that is asked for, or the app's, and by no other of its own */
  readonly isImplied: boolean;
};

/** An app's routes by their keys: number prefixes (`+99890`), countries (`UZ`), and `*` for all others. */
export type Routes = ReadonlyMap<string, readonly RouteEntry[]>;

const LONGEST_PREFIX_CHARS = 13;

/** The route of a number: of its longest prefix, else of its country, else the one for all others. */
export function findRoute(
  routes: Routes,
  { number, country }: Pick<ParsedNumber, 'number' | 'country'>,
): { readonly key: string; readonly entries: readonly RouteEntry[] } {
  if (hasPrefixes(routes)) {
    for (let length = Math.min(number.length, LONGEST_PREFIX_CHARS); length > 1; length -= 1) {
      const key = number.slice(0, length);
      const entries = routes.get(key);
      if (entries !== undefined) return { key, entries };
    }
  }
  const ofCountry = country === undefined ? undefined : routes.get(country);
  if (country !== undefined && ofCountry !== undefined) return { key: country, entries: ofCountry };
  return { key: '*', entries: routes.get('*') ?? [] };
}

const withPrefixes = new WeakMap<Routes, boolean>();

function hasPrefixes(routes: Routes): boolean {
  let known = withPrefixes.get(routes);
  if (known === undefined) {
    known = [...routes.keys()].some((key) => key.startsWith('+'));
    withPrefixes.set(routes, known);
  }
  return known;
}

/**
 * The entries in the order in which this one message tries them. Neighbours with weights are shuffled among themselves,
 * an entry with weight 3 coming first three times as often as one with weight 1.
 * @param random draws from [0, 1)
 */
export function orderByWeight<Entry extends { readonly weight: number | undefined }>(
  entries: readonly Entry[],
  random: () => number,
): readonly Entry[] {
  if (!entries.some(({ weight }) => weight !== undefined)) return entries;
  const ordered: Entry[] = [];
  const group: Entry[] = [];
  const drawAll = () => {
    while (group.length > 0) {
      let point = random() * group.reduce((sum, { weight = 0 }) => sum + weight, 0);
      const index = group.findIndex(({ weight = 0 }) => {
        point -= weight;
        return point < 0;
      });
      ordered.push(...group.splice(Math.max(index, 0), 1));
    }
  };
  for (const entry of entries) {
    if (entry.weight !== undefined) group.push(entry);
    else {
      drawAll();
      ordered.push(entry);
    }
  }
  drawAll();
  return ordered;
}
