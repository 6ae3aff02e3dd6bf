import type { FileConfig } from 'countersign';

export default {
  apps: {
    chaski: {
      dialect: 'chaski',
      brand: 'Chaski',
      locale: 'en',
      codeTtlSeconds: 600,
      // Chosen by what is set: Verify before Messaging; in development without either, the inbox and the console.
      routes: { '*': ['twilio-verify?', 'twilio?', 'inbox?'] },
      // Its numbers include landlines, which some networks read texts to.
      allowLandlines: true,
    },
  },
} satisfies FileConfig;
