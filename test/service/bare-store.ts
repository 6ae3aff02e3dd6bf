import { join } from 'node:path';
import type { Store } from '../../src/domain/store.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';

/** The store of a service, without the service: for what a process wrote that then did nothing more. */
export function openStoreOf(dataDir: string): Store {
  return openSqliteStore(join(dataDir, 'countersign.db'));
}
