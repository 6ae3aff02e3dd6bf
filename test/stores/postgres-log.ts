import type { StoreLog } from '../../src/stores/store-log.ts';

export const silent: StoreLog = { info: () => {}, warn: () => {}, error: () => {} };
