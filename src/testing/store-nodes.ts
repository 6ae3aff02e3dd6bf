import { describe, expect, it } from 'vitest';
import { type Breaker, closedBreaker } from '../domain/circuit-breaker.ts';
import type { SharedBreaker, Store } from '../domain/store.ts';
import { atOnce, MINUTE, SECOND, T0 } from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

const openBreaker: Breaker = {
  ...closedBreaker,
  openUntil: T0 + 10 * SECOND,
  coolOffMs: 20_000,
  reason: 'unavailable',
};

function shared(given: Partial<SharedBreaker> = {}): SharedBreaker {
  return { provider: 'eskiz', place: 'UZ', breaker: openBreaker, changedAt: T0, ...given };
}

/** What nodes tell each other: who does the work that one of them should do, what is known of providers, what time it is. */
export function describeNodes(stores: () => OpenedStores): void {
  describe('a lease', () => {
    it('is had by one of forty nodes that want it at once, and by none later as long as it lasts', async () => {
      const { a, b } = stores();
      const wanted = (i: number) => (i % 2 === 0 ? a : b).lease('sweep', `n${i}`, T0, T0 + MINUTE);
      const had = await atOnce(40, wanted);
      expect(had.filter(Boolean)).toHaveLength(1);
      const holder = had.indexOf(true);
      for (const i of [0, 1, 2, 3]) {
        const other = i === holder ? 40 : i;
        expect(await b.lease('sweep', `n${other}`, T0 + MINUTE - 1, T0 + 2 * MINUTE)).toBe(false);
      }
    });

    it('is kept by a holder that takes it again in time, however many others want it meanwhile', async () => {
      const { a, b } = stores();
      expect(await a.lease('sweep', 'holder', T0, T0 + 10 * SECOND)).toBe(true);
      for (let second = 5; second <= 30; second += 5) {
        const now = T0 + second * SECOND;
        const [renewed, ...others] = await Promise.all([
          a.lease('sweep', 'holder', now, now + 10 * SECOND),
          ...Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? a : b).lease('sweep', `n${i}`, now, now + MINUTE)),
        ]);
        expect([renewed, others.includes(true)]).toEqual([true, false]);
      }
    });

    it('goes to exactly one other from the very millisecond on at which it ends', async () => {
      const { a, b } = stores();
      await a.lease('sweep', 'dead', T0, T0 + 10 * SECOND);
      expect(await b.lease('sweep', 'early', T0 + 10 * SECOND - 1, T0 + MINUTE)).toBe(false);
      const heirs = await atOnce(20, (i) =>
        (i % 2 === 0 ? a : b).lease('sweep', `n${i}`, T0 + 10 * SECOND, T0 + MINUTE),
      );
      expect(heirs.filter(Boolean)).toHaveLength(1);
      // It was not dead after all, and learns that it lost it.
      expect(await a.lease('sweep', 'dead', T0 + 11 * SECOND, T0 + MINUTE)).toBe(false);
    });

    it('is given back by a holder that takes it until now', async () => {
      const { a, b } = stores();
      await a.lease('sweep', 'leaving', T0, T0 + MINUTE);
      expect(await a.lease('sweep', 'leaving', T0 + 1, T0 + 1)).toBe(true);
      expect(await b.lease('sweep', 'other', T0 + 1, T0 + MINUTE)).toBe(true);
    });

    it('of one name says nothing of another', async () => {
      const { a, b } = stores();
      expect(await a.lease('sweep', 'one', T0, T0 + MINUTE)).toBe(true);
      expect(await b.lease('move', 'two', T0, T0 + MINUTE)).toBe(true);
    });

    it('outlives a restart', async () => {
      await stores().a.lease('sweep', 'one', T0, T0 + MINUTE);
      const store = await stores().reopen();
      expect(await store.lease('sweep', 'two', T0 + 1, T0 + MINUTE)).toBe(false);
      expect(await store.lease('sweep', 'one', T0 + 1, T0 + MINUTE)).toBe(true);
    });
  });

  describe('what nodes found out about providers', () => {
    const listed = async (store: Store) => {
      const nameOf = ({ provider, place }: SharedBreaker) => `${provider} ${place}`;
      return [...(await store.listBreakers())].sort((x, y) => (nameOf(x) < nameOf(y) ? -1 : 1));
    };

    it('is nothing at first', async () => {
      expect(await stores().b.listBreakers()).toEqual([]);
    });

    it('comes back as it was given, by provider and place', async () => {
      const { a, b } = stores();
      const everything: Breaker = {
        outcomes: [
          { at: T0 - 1, isFailure: true },
          { at: T0, isFailure: false },
        ],
        openUntil: T0 + SECOND,
        coolOffMs: 40_000,
        trialUntil: T0 + 15 * SECOND,
        reason: 'throttled',
      };
      const all = [
        shared({ place: '*', breaker: everything }),
        shared({ place: '-', breaker: closedBreaker, changedAt: T0 + 5 }),
        shared(),
        shared({ provider: 'twilio', changedAt: T0 - 5 }),
      ];
      for (const each of all) await a.shareBreaker(each);
      expect(await listed(b)).toEqual(all);
    });

    it('is the newest word, in whichever order the words come', async () => {
      const { a, b } = stores();
      const trial = { ...openBreaker, trialUntil: T0 + MINUTE };
      await a.shareBreaker(shared({ changedAt: T0 + 2, breaker: trial }));
      await b.shareBreaker(shared({ changedAt: T0 + 1 }));
      expect(await listed(a)).toEqual([shared({ changedAt: T0 + 2, breaker: trial })]);
      await b.shareBreaker(shared({ changedAt: T0 + 3, breaker: closedBreaker }));
      expect(await listed(a)).toEqual([shared({ changedAt: T0 + 3, breaker: closedBreaker })]);
    });

    it('is the newest word of fifty at once on two nodes', async () => {
      const { a, b } = stores();
      // 7 and 50 have no divisor in common: each moment once, in no order.
      await atOnce(50, (i) => {
        const changedAt = T0 + ((i * 7) % 50);
        return (i % 2 === 0 ? a : b).shareBreaker(
          shared({ changedAt, breaker: { ...openBreaker, openUntil: changedAt + SECOND } }),
        );
      });
      const newest = T0 + 49;
      expect(await listed(b)).toEqual([
        shared({ changedAt: newest, breaker: { ...openBreaker, openUntil: newest + SECOND } }),
      ]);
    });

    it('outlives a restart', async () => {
      await stores().a.shareBreaker(shared());
      expect(await listed(await stores().reopen())).toEqual([shared()]);
    });
  });

  describe('the clock of the store', () => {
    it('is the same for all nodes and goes on, where there is one', async () => {
      const { a, b } = stores();
      const shown = [await a.clock(), await b.clock(), await a.clock()];
      if (shown.every((at) => at === undefined)) return;
      const times = shown.map(Number);
      expect(times).toEqual([...times].sort((x, y) => x - y));
      expect((times[2] ?? 0) - (times[0] ?? 0)).toBeLessThan(MINUTE);
      // Milliseconds since the epoch, and not seconds or microseconds.
      expect(times[0]).toBeGreaterThan(Date.UTC(2025, 0));
      expect(times[0]).toBeLessThan(Date.UTC(2125, 0));
    });
  });
}
