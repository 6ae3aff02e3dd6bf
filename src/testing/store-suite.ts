import { afterEach, beforeEach, describe } from 'vitest';
import type { Store } from '../domain/store.ts';
import { describeBudget } from './store-budget.ts';
import { describeChecks } from './store-checks.ts';
import { describeDue } from './store-due.ts';
import { describeHousekeeping } from './store-housekeeping.ts';
import { describeManaged } from './store-managed.ts';
import { describeMessages } from './store-messages.ts';
import { describeNodes } from './store-nodes.ts';
import { describeOwnCodes } from './store-own-codes.ts';
import { describeResources } from './store-resources.ts';
import { describeShadow } from './store-shadow.ts';
import { describeStarts } from './store-starts.ts';
import { describeUsage } from './store-usage.ts';
import { describeUsers } from './store-users.ts';

/** Fresh, empty data and two ways to it. */
export type OpenedStores = {
  readonly a: Store;
  /** a second connection to the same data, as another node has */
  readonly b: Store;
  /** Ends both connections as a restart does, and connects anew to what they left. */
  reopen(): Promise<Store>;
  /** Ends whatever is connected still, and removes the data. */
  close(): Promise<void>;
};

/**
 * What every store has to hold to: the meanings of the port `Store` and the invariants of the design, by their numbers,
 * with real concurrency over two connections. Time is an argument throughout; nothing sleeps.
 * @param open is called before each test
 * @example
 * describeStore('my store', async () => {
 *   const a = await openMyStore(url);
 *   const b = await openMyStore(url);
 *   return { a, b, reopen: …, close: … };
 * });
 */
export function describeStore(name: string, open: () => Promise<OpenedStores>): void {
  describe(`store: ${name}`, () => {
    let opened: OpenedStores | undefined;
    beforeEach(async () => {
      opened = await open();
    });
    afterEach(async () => {
      await opened?.close();
      opened = undefined;
    });
    const stores = (): OpenedStores => {
      if (opened === undefined) throw new Error('no store is open');
      return opened;
    };
    describeStarts(stores);
    describeChecks(stores);
    describeOwnCodes(stores);
    describeManaged(stores);
    describeMessages(stores);
    describeDue(stores);
    describeBudget(stores);
    describeResources(stores);
    describeUsage(stores);
    describeUsers(stores);
    describeShadow(stores);
    describeHousekeeping(stores);
    describeNodes(stores);
  });
}
