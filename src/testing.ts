export { describeStore, type OpenedStores } from './testing/store-suite.ts';
