import { describe, expect, it } from 'vitest';
import type { ShadowEntry, ShadowQuery } from '../domain/shadow.ts';
import { dayOf } from '../domain/usage.ts';
import { atOnce, DAY, DAY_0, T0 } from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

const ever = { app: undefined, from: '2025-01-01', to: '2026-12-31' } as const;

function entry(given: Partial<ShadowEntry> = {}): ShadowEntry {
  return {
    day: DAY_0,
    app: 'taxi',
    dialect: 'royal-taxi',
    route: 'POST /send',
    outcome: 'different',
    upstreamStatus: 200,
    ourStatus: 429,
    difference: 'status 200, ours 429',
    count: 1,
    upstreamExample: '{"message":"sent"}',
    ourExample: '{"detail":"later"}',
    ...given,
  };
}

/** What the comparisons of shadow mode came to. */
export function describeShadow(stores: () => OpenedStores): void {
  describe('the comparisons of shadow mode', () => {
    const read = async (query: Partial<ShadowQuery> = {}) => {
      const entries = await stores().b.readShadow({ ...ever, ...query });
      const nameOf = (each: ShadowEntry) => JSON.stringify([each.day, each.app, each.route, each.outcome]);
      return [...entries].sort((x, y) => (nameOf(x) < nameOf(y) ? -1 : 1));
    };

    it('are nothing at first', async () => {
      expect(await read()).toEqual([]);
    });

    it('come back as they were given', async () => {
      const compared = entry();
      const unanswered = entry({
        outcome: 'upstream-failed',
        upstreamStatus: undefined,
        ourStatus: undefined,
        difference: 'timeout',
        upstreamExample: '',
        ourExample: '',
      });
      await stores().a.recordShadow(compared);
      await stores().a.recordShadow(unanswered);
      expect(await read()).toEqual([compared, unanswered]);
    });

    it('are counted exactly by any number of callers on two nodes', async () => {
      const { a, b } = stores();
      await atOnce(200, (i) =>
        (i % 2 === 0 ? a : b).recordShadow(entry(i % 4 < 2 ? { count: 1 } : { count: 3, difference: 'other' })),
      );
      const counts = (await read()).map(({ difference, count }) => [difference, count]).sort();
      expect(counts).toEqual([
        ['other', 300],
        ['status 200, ours 429', 100],
      ]);
    });

    it('keep the examples that came first', async () => {
      const { a, b } = stores();
      await a.recordShadow(entry({ upstreamExample: 'first', ourExample: 'ours' }));
      await b.recordShadow(entry({ upstreamExample: 'second', ourExample: 'later', count: 2 }));
      expect(await read()).toEqual([entry({ upstreamExample: 'first', ourExample: 'ours', count: 3 })]);
    });

    it.each([
      ['day', { day: '2025-11-21' }],
      ['app', { app: 'shop' }],
      ['dialect', { dialect: 'marque' }],
      ['route', { route: 'POST /verify' }],
      ['outcome', { outcome: 'not-compared' }],
      ['status of the old back end', { upstreamStatus: 201 }],
      ['status of ours', { ourStatus: undefined }],
      ['difference', { difference: '' }],
    ] as const)('are apart by %s', async (_name, other) => {
      await stores().a.recordShadow(entry());
      await stores().a.recordShadow(entry({ ...other, count: 5 }));
      const entries = await read();
      expect(entries).toHaveLength(2);
      expect(entries).toContainEqual(entry());
      expect(entries).toContainEqual(entry({ ...other, count: 5 }));
    });

    it('are read by app and by day, both days included', async () => {
      const { a } = stores();
      const days = ['2025-11-18', '2025-11-19', '2025-11-20', '2025-11-21'];
      for (const day of days) await a.recordShadow(entry({ day }));
      await a.recordShadow(entry({ app: 'shop', day: '2025-11-19' }));
      const found = await read({ app: 'taxi', from: '2025-11-19', to: '2025-11-20' });
      expect(found.map(({ app, day }) => [app, day])).toEqual([
        ['taxi', '2025-11-19'],
        ['taxi', '2025-11-20'],
      ]);
      expect(await read({ app: 'shop' })).toHaveLength(1);
      expect(await read({ from: '2025-11-19', to: '2025-11-19' })).toHaveLength(2);
    });

    it('outlive a restart', async () => {
      await stores().a.recordShadow(entry());
      const store = await stores().reopen();
      expect(await store.readShadow(ever)).toEqual([entry()]);
    });

    it('are swept with the history, whole days at a time', async () => {
      const { a } = stores();
      for (const days of [0, 1, 2]) await a.recordShadow(entry({ day: dayOf(T0 + days * DAY) }));
      await a.sweep(T0 + 40 * DAY, T0 + DAY);
      expect((await read()).map(({ day }) => day)).toEqual([dayOf(T0 + DAY), dayOf(T0 + 2 * DAY)]);
    });
  });
}
