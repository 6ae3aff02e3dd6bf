import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CountryCode, PhoneNumber } from '../../src/domain/phone-number.ts';
import { findRoute, orderByWeight, type RouteEntry, type Routes } from '../../src/domain/route.ts';

function entry(provider: string, weight?: number): RouteEntry {
  return { provider, channel: undefined, lineTypes: undefined, weight, isImplied: false };
}

function routesOf(...keys: string[]): Routes {
  return new Map(keys.map((key) => [key, [entry(`for ${key}`)]]));
}

function to(number: string, country?: CountryCode) {
  return { number: number as PhoneNumber, country };
}

describe('the route of a number', () => {
  it('is that of its country, else the one for all others', () => {
    const routes = routesOf('*', 'UZ');
    expect(findRoute(routes, to('+998901234567', 'UZ'))).toEqual({ key: 'UZ', entries: [entry('for UZ')] });
    expect(findRoute(routes, to('+77011234567', 'KZ'))).toEqual({ key: '*', entries: [entry('for *')] });
    expect(findRoute(routes, to('+881612345678'))).toEqual({ key: '*', entries: [entry('for *')] });
  });

  it('is that of its longest prefix before that of its country', () => {
    const routes = routesOf('UZ', '+998', '+99890', '+9989', '*', '+7');
    const keyOf = (number: string, country?: CountryCode) => findRoute(routes, to(number, country)).key;
    expect(keyOf('+998901234567', 'UZ')).toBe('+99890');
    expect(keyOf('+998911234567', 'UZ')).toBe('+9989');
    expect(keyOf('+998711234567', 'UZ')).toBe('+998');
    expect(keyOf('+77011234567', 'KZ')).toBe('+7');
    expect(keyOf('+14155552671', 'US')).toBe('*');
  });

  it('may have a prefix as long as the configuration takes it, and a whole number', () => {
    const routes = routesOf('+998901234567', '*', '+1');
    expect(findRoute(routes, to('+998901234567', 'UZ')).key).toBe('+998901234567');
    // A number of 15 digits begins with one of 12.
    expect(findRoute(routesOf('+123456789012', '*'), to('+123456789012345')).key).toBe('+123456789012');
    expect(findRoute(routes, to('+998901234568', 'UZ')).key).toBe('*');
    expect(findRoute(routes, to('+1')).key).toBe('+1');
  });

  it('is empty where there is none', () => {
    expect(findRoute(routesOf('KZ', '+7'), to('+998901234567', 'UZ'))).toEqual({ key: '*', entries: [] });
    expect(findRoute(new Map(), to('+998901234567', 'UZ'))).toEqual({ key: '*', entries: [] });
  });

  it('is looked up in the routes that are given, whichever were asked before', () => {
    const number = to('+998901234567', 'UZ');
    const [plain, prefixed] = [routesOf('UZ'), routesOf('UZ', '+998')];
    for (let round = 0; round < 2; round += 1) {
      expect(findRoute(plain, number).key).toBe('UZ');
      expect(findRoute(prefixed, number).key).toBe('+998');
    }
  });
});

describe('the order of a route', () => {
  const names = (entries: readonly { readonly provider: string }[]) => entries.map(({ provider }) => provider).join('');
  const never = () => {
    throw new Error('nothing is to be drawn');
  };

  it('is as it is written where nothing has a weight', () => {
    const entries = [entry('a'), entry('b'), entry('c')];
    expect(orderByWeight(entries, never)).toEqual(entries);
    expect(orderByWeight([], never)).toEqual([]);
  });

  it('is drawn by weight, exactly at its edges', () => {
    const entries = [entry('a', 3), entry('b', 1)];
    expect(names(orderByWeight(entries, () => 0))).toBe('ab');
    expect(names(orderByWeight(entries, () => 0.7499))).toBe('ab');
    expect(names(orderByWeight(entries, () => 0.75))).toBe('ba');
    expect(names(orderByWeight(entries, () => 1 - 2 ** -53))).toBe('ba');
  });

  it('has each first as often as its weight says', () => {
    const entries = [entry('a', 1), entry('b', 2), entry('c', 5)];
    const first: Record<string, number> = {};
    for (let draw = 0; draw < 800; draw += 1) {
      const ordered = names(orderByWeight(entries, () => (draw + 0.5) / 800));
      first[ordered.charAt(0)] = (first[ordered.charAt(0)] ?? 0) + 1;
    }
    expect(first).toEqual({ a: 100, b: 200, c: 500 });
  });

  it('draws the second by the weights of those that are left', () => {
    const draws = [0.99, 0.4];
    // c first; of a and b, with 1 and 2 of 3, 0.4 is b's.
    const ordered = orderByWeight([entry('a', 1), entry('b', 2), entry('c', 5)], () => draws.shift() ?? 0);
    expect(names(ordered)).toBe('cba');
  });

  it('is drawn among neighbours alone: what has no weight stays where it is and parts them', () => {
    const entries = [entry('a', 1), entry('b', 1), entry('x'), entry('c', 1), entry('d', 1), entry('y')];
    expect(names(orderByWeight(entries, () => 0))).toBe('abxcdy');
    expect(names(orderByWeight(entries, () => 0.99))).toBe('baxdcy');
  });

  it('holds every entry exactly once, whatever is drawn', () => {
    const anyEntry = fc.record({
      weight: fc.option(fc.double({ min: 1e-9, max: 1000, noNaN: true }), { nil: undefined }),
    });
    const draw = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(fc.array(anyEntry, { maxLength: 12 }), fc.infiniteStream(draw), (entries, draws) => {
        const ordered = orderByWeight(entries, () => draws.next().value as number);
        expect(ordered).toHaveLength(entries.length);
        expect(new Set(ordered)).toEqual(new Set(entries));
        for (const [index, each] of entries.entries()) if (each.weight === undefined) expect(ordered[index]).toBe(each);
      }),
    );
  });
});
