import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CountersignError } from '../../src/domain/problem.ts';
import type { Store } from '../../src/domain/store.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import { NUMBER, openBench } from './service-bench.ts';

describe('the outcome of a hand-over that the store could not take', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'countersign-recorded-'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  /** A store that is away for the first outcomes, of which some are carried out all the same. */
  function awayFor(outcomes: readonly ('before' | 'behind')[]): Store {
    const store = openSqliteStore(join(directory, 'countersign.db'));
    const left = [...outcomes];
    const recordDispatch = store.recordDispatch;
    return Object.assign(store, {
      recordDispatch: async (step: Parameters<Store['recordDispatch']>[0]) => {
        const cut = left.shift();
        if (cut !== 'before') await recordDispatch(step);
        if (cut !== undefined) throw new CountersignError('store-unavailable', 'The database is away.');
      },
    });
  }

  it.each([[['before']], [['behind']], [['before', 'behind']]] as const)(
    'gets there as soon as it can, once, and nothing is sent again (connection cut %s it)',
    async (cuts) => {
      const bench = await openBench({}, { parts: { store: awayFor(cuts) } });
      await expect(bench.countersign.verifications.start({ to: NUMBER })).rejects.toMatchObject({
        code: 'store-unavailable',
      });
      const messages = async () => {
        const listed = await bench.countersign.messages.list();
        return listed.kind === 'found' ? listed.messages : [];
      };
      await expect.poll(async () => (await messages())[0]?.status, { timeout: 5000 }).toBe('queued');
      // Behind this nothing is under way any more.
      expect((await messages())[0]?.dispatches).toHaveLength(1);
      expect(bench.fake.received).toHaveLength(1);
    },
  );
});
