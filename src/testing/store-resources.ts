import { describe, expect, it } from 'vitest';
import type { Resource, ResourceChange, Store } from '../domain/store.ts';
import { atOnce, T0 } from './store-steps.ts';
import type { OpenedStores } from './store-suite.ts';

/** Small records that are kept for an app. */
export function describeResources(stores: () => OpenedStores): void {
  const node = (index: number) => (index % 2 === 0 ? stores().a : stores().b);

  function resourceOf(id: string, given: Partial<Resource> = {}): Resource {
    return {
      app: 'taxi',
      kind: 'service',
      id,
      parent: undefined,
      uniqueKey: undefined,
      body: { name: id },
      createdAt: T0,
      updatedAt: T0,
      ...given,
    };
  }

  async function add(store: Store, id: string, given: Partial<Resource> = {}): Promise<Resource> {
    const resource = resourceOf(id, given);
    expect(await store.addResource(resource, undefined)).toBe('added');
    return resource;
  }

  function change(id: string, given: Partial<ResourceChange> = {}): ResourceChange {
    return { app: 'taxi', kind: 'service', id, now: T0 + 1, body: {}, uniqueKey: undefined, ...given };
  }

  async function idsOf(store: Store, kind = 'service', parent?: string, limit = 100): Promise<string[]> {
    const ids: string[] = [];
    let after: string | undefined;
    do {
      const page = await store.listResources({ app: 'taxi', kind, parent, limit, after });
      expect(page.resources.length).toBeLessThanOrEqual(limit);
      ids.push(...page.resources.map(({ id }) => id));
      after = page.next;
    } while (after !== undefined);
    return ids;
  }

  describe('a resource', () => {
    it('comes back as it was given, also after a restart', async () => {
      const body = { name: 'Ünïcode "\n', nested: { list: [1, null, true] }, nothing: null };
      const service = await add(stores().a, 'VA1', { uniqueKey: 'k', body });
      const limit = await add(stores().b, 'RK1', { kind: 'limit', parent: 'VA1' });
      const reopened = await stores().reopen();
      expect(await reopened.getResource('taxi', 'service', 'VA1')).toEqual(service);
      expect(await reopened.getResource('taxi', 'limit', 'RK1')).toEqual(limit);
    });

    it('is nothing to another app, or under another kind (invariant 13)', async () => {
      const { a, b } = stores();
      await add(a, 'VA1', { uniqueKey: 'k' });
      expect(await b.getResource('bank', 'service', 'VA1')).toBeUndefined();
      expect(await b.getResource('taxi', 'limit', 'VA1')).toBeUndefined();
      expect(await b.updateResource(change('VA1', { app: 'bank' }))).toEqual({ kind: 'unknown' });
      expect(await b.updateResource(change('VA1', { kind: 'limit' }))).toEqual({ kind: 'unknown' });
      expect(await b.removeResource('bank', 'service', 'VA1')).toBe(false);
      expect(await b.removeResource('taxi', 'limit', 'VA1')).toBe(false);
      expect(await b.addResource(resourceOf('RK1', { app: 'bank', parent: 'VA1' }), undefined)).toBe('orphan');
      await add(b, 'VA1', { app: 'bank', uniqueKey: 'k' });
      expect(
        (await b.listResources({ app: 'bank', kind: 'service', parent: undefined, limit: 9, after: undefined }))
          .resources,
      ).toHaveLength(1);
      expect(await idsOf(a)).toEqual(['VA1']);
    });

    it('is one for 50 that are added at once under one id or one unique key', async () => {
      const byId = await atOnce(50, (i) => node(i).addResource(resourceOf('VA1', { body: { i } }), undefined));
      expect(byId.filter((outcome) => outcome === 'added')).toHaveLength(1);
      expect(byId.filter((outcome) => outcome === 'exists')).toHaveLength(49);
      const byKey = await atOnce(50, (i) =>
        node(i).addResource(resourceOf(`RK${i}`, { kind: 'limit', parent: 'VA1', uniqueKey: 'address' }), undefined),
      );
      expect(byKey.filter((outcome) => outcome === 'added')).toHaveLength(1);
      expect(byKey.filter((outcome) => outcome === 'exists')).toHaveLength(49);
    });

    it('has its unique key within its kind and parent alone', async () => {
      const { a, b } = stores();
      await add(a, 'VA1', { uniqueKey: 'k' });
      await add(a, 'VA2');
      await add(a, 'VA3');
      for (const [index, given] of [
        { kind: 'limit', parent: 'VA1' },
        { kind: 'limit', parent: 'VA2' },
        { kind: 'other', parent: 'VA1' },
        { kind: 'limit' },
      ].entries()) {
        await add(b, `RK${index}`, { ...given, uniqueKey: 'k' });
      }
    });

    it('is one of `most` at the most, however many come at once', async () => {
      for (const id of ['VA1', 'VA2']) await add(stores().a, id);
      for (const parent of ['VA1', 'VA2', undefined]) {
        const outcomes = await atOnce(60, (i) =>
          node(i).addResource(resourceOf(`${parent} ${i}`, { kind: 'limit', parent }), 10),
        );
        expect(outcomes.filter((outcome) => outcome === 'added')).toHaveLength(10);
        expect(outcomes.filter((outcome) => outcome === 'too-many')).toHaveLength(50);
      }
    });

    it('makes room when it is removed, also for its unique key', async () => {
      const { a, b } = stores();
      const first = resourceOf('VA1', { uniqueKey: 'k' });
      expect(await a.addResource(first, 1)).toBe('added');
      expect(await b.addResource(resourceOf('VA2', { uniqueKey: 'other' }), 1)).toBe('too-many');
      expect(await b.removeResource('taxi', 'service', 'VA1')).toBe(true);
      expect(await b.removeResource('taxi', 'service', 'VA1')).toBe(false);
      expect(await a.addResource(first, 1)).toBe('added');
    });
  });

  describe('the list of resources', () => {
    it('is in the order in which they were added, in pages, and of one parent where asked', async () => {
      const { a, b } = stores();
      await add(a, 'P1', { kind: 'parent' });
      await add(a, 'P2', { kind: 'parent' });
      const wanted: string[] = [];
      // Ids that sort the other way round, all of one millisecond.
      for (let index = 9; index > 0; index -= 1) {
        const parent = index % 3 === 0 ? 'P2' : 'P1';
        await add(index % 2 === 0 ? a : b, `id${index}`, { parent });
        wanted.push(`id${index}`);
      }
      const ofOne = wanted.filter((id) => ['id9', 'id6', 'id3'].includes(id));
      for (const limit of [1, 2, 3, 4, 9, 10]) {
        expect(await idsOf(b, 'service', undefined, limit)).toEqual(wanted);
        expect(await idsOf(a, 'service', 'P2', limit)).toEqual(ofOne);
      }
      expect(await idsOf(a, 'service', 'P3')).toEqual([]);
    });

    it('goes on behind what was removed meanwhile, and is empty for a cursor that was never given', async () => {
      const { a, b } = stores();
      for (const id of ['VA1', 'VA2', 'VA3']) await add(a, id);
      const query = { app: 'taxi', kind: 'service', parent: undefined, limit: 2, after: undefined };
      const first = await a.listResources(query);
      await b.removeResource('taxi', 'service', 'VA2');
      const second = await a.listResources({ ...query, after: first.next });
      expect(second.resources.map(({ id }) => id)).toEqual(['VA3']);
      expect(second.next).toBeUndefined();
      for (const after of ['', 'x', '-1', "1' OR 1=1", '9'.repeat(40)]) {
        expect(await a.listResources({ ...query, after })).toEqual({ resources: [], next: undefined });
      }
    });
  });

  describe('a change of a resource', () => {
    it('puts fields in the place of the old ones, and leaves the others', async () => {
      const { a, b } = stores();
      const service = await add(a, 'VA1', { uniqueKey: 'k', body: { name: 'one', length: 6, nested: { a: 1 } } });
      const changed = {
        ...service,
        body: { name: 'two', length: 6, nested: { b: 2 }, more: null },
        updatedAt: T0 + 1,
      };
      const body = { name: 'two', nested: { b: 2 }, more: null };
      expect(await b.updateResource(change('VA1', { body }))).toEqual({ kind: 'updated', resource: changed });
      expect(await a.getResource('taxi', 'service', 'VA1')).toEqual(changed);
      expect(await a.updateResource(change('VA2'))).toEqual({ kind: 'unknown' });
    });

    it('undoes none that comes at the same moment', async () => {
      await add(stores().a, 'VA1', { body: {} });
      await atOnce(40, (i) => node(i).updateResource(change('VA1', { body: { [`f${i}`]: i } })));
      const kept = await stores().b.getResource('taxi', 'service', 'VA1');
      expect(Object.keys(kept?.body ?? {})).toHaveLength(40);
    });

    it('cannot take another one’s unique key, and frees the one before', async () => {
      const { a, b } = stores();
      await add(a, 'VA1', { uniqueKey: 'one' });
      await add(a, 'VA2', { uniqueKey: 'two' });
      expect(await b.updateResource(change('VA2', { uniqueKey: 'one', body: { name: 'x' } }))).toEqual({
        kind: 'exists',
      });
      expect(await a.getResource('taxi', 'service', 'VA2')).toMatchObject({ uniqueKey: 'two', body: { name: 'VA2' } });
      expect(await b.updateResource(change('VA2', { uniqueKey: 'two' }))).toMatchObject({ kind: 'updated' });
      expect(await b.updateResource(change('VA2', { uniqueKey: 'three' }))).toMatchObject({ kind: 'updated' });
      await add(a, 'VA3', { uniqueKey: 'two' });
    });
  });

  describe('a removal of a resource', () => {
    it('takes along what belongs to it, and nothing else', async () => {
      const { a, b } = stores();
      for (const id of ['VA1', 'VA2']) await add(a, id);
      await add(a, 'RK1', { kind: 'limit', parent: 'VA1' });
      await add(a, 'RK2', { kind: 'limit', parent: 'VA2' });
      await add(a, 'BL1', { kind: 'bucket', parent: 'RK1' });
      await add(a, 'BL2', { kind: 'bucket', parent: 'RK2' });
      for (const [id, kind, parent] of [
        ['VA1', 'service'],
        ['RK1', 'limit', 'VA1'],
        ['BL1', 'bucket', 'RK1'],
      ] as const) {
        await add(b, id, { app: 'bank', kind, parent });
      }
      expect(await b.removeResource('taxi', 'service', 'VA1')).toBe(true);
      expect(await idsOf(a)).toEqual(['VA2']);
      expect(await idsOf(a, 'limit')).toEqual(['RK2']);
      expect(await idsOf(a, 'bucket')).toEqual(['BL2']);
      expect(await a.getResource('bank', 'bucket', 'BL1')).toBeDefined();
    });

    it('leaves no orphan when something is added to it at the same moment', async () => {
      for (let round = 0; round < 10; round += 1) {
        const parent = `VA${round}`;
        await add(stores().a, parent);
        const outcomes = await atOnce(10, async (i) =>
          i === 5
            ? String(await node(i).removeResource('taxi', 'service', parent))
            : node(i).addResource(resourceOf(`${parent} ${i}`, { kind: 'limit', parent }), undefined),
        );
        expect(outcomes[5]).toBe('true');
        expect(outcomes.every((outcome) => ['true', 'added', 'orphan'].includes(outcome))).toBe(true);
        expect(await idsOf(stores().b, 'limit')).toEqual([]);
      }
    });
  });
}
