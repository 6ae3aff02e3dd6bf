import { expect, it } from 'vitest';
import { openBench } from './service-bench.ts';

it('resources are kept for one app, with the time of the clock, and listed in pages', async () => {
  const { clock, countersign } = await openBench({}, { config: { apps: { default: {}, bank: {} } } });
  const { resources } = countersign;
  const at = clock.now;
  for (const id of ['VA2', 'VA1', 'VA3']) {
    expect(await resources.add({ kind: 'service', id, body: { name: id }, most: 3 })).toMatchObject({
      kind: 'added',
      resource: { app: 'default', id, parent: undefined, createdAt: at, updatedAt: at },
    });
  }
  expect(await resources.add({ kind: 'service', id: 'VA4', body: {}, most: 3 })).toEqual({ kind: 'too-many' });
  expect(await resources.add({ kind: 'limit', id: 'RK1', parent: 'VA9', body: {} })).toEqual({ kind: 'orphan' });
  await resources.add({ kind: 'limit', id: 'RK1', parent: 'VA1', uniqueKey: 'address', body: {} });
  expect(await resources.add({ kind: 'limit', id: 'RK2', parent: 'VA1', uniqueKey: 'address', body: {} })).toEqual({
    kind: 'exists',
  });
  const page = await resources.list({ kind: 'service', limit: 2 });
  expect(page.resources.map(({ id }) => id)).toEqual(['VA2', 'VA1']);
  const last = await resources.list({ kind: 'service', limit: 2, after: page.next as string });
  expect(last.resources.map(({ id }) => id)).toEqual(['VA3']);
  expect(last.next).toBeUndefined();
  clock.advance(5);
  expect(await resources.update({ kind: 'service', id: 'VA1', body: { length: 6 } })).toMatchObject({
    kind: 'updated',
    resource: { body: { name: 'VA1', length: 6 }, createdAt: at, updatedAt: at + 5 },
  });
  expect(await resources.get({ app: 'bank', kind: 'service', id: 'VA1' })).toBeUndefined();
  expect(await resources.remove({ app: 'bank', kind: 'service', id: 'VA1' })).toBe(false);
  expect(await resources.remove({ kind: 'service', id: 'VA1' })).toBe(true);
  expect(await resources.list({ kind: 'limit', parent: 'VA1' })).toEqual({ resources: [], next: undefined });
  await expect(resources.get({ app: 'nobody', kind: 'service', id: 'VA1' })).rejects.toThrow(/no app 'nobody'/);
});
