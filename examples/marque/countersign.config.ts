import type { FileConfig } from 'countersign';

export default {
  apps: {
    marque: {
      dialect: 'marque',
      brand: 'Marque',
      markets: {
        KG: { countries: ['+996'], locale: 'ru', codeTtlSeconds: 600, currency: 'KGS' },
        US: { countries: ['+1'], locale: 'en', codeTtlSeconds: 900, currency: 'USD' },
      },
      // Twilio Verify alone, as before: without its credentials the answer is 503. Any other provider may follow it.
      routes: { '*': ['twilio-verify?'] },
    },
  },
} satisfies FileConfig;
