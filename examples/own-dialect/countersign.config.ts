import { bazaar } from './bazaar.ts';

export default {
  apps: {
    bazaar: { dialect: bazaar, brand: 'Bazaar', country: 'KZ', codeTtlSeconds: 300 },
  },
};
