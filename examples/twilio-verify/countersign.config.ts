import type { FileConfig } from 'countersign';

export default {
  apps: {
    default: {
      dialect: {
        dialect: 'twilio-verify',
        accountSid: '${COUNTERSIGN_ACCOUNT_SID}',
        authToken: '${COUNTERSIGN_AUTH_TOKEN}',
      },
      brand: 'Acme',
      // Five sends are what Twilio allows for one verification. Who cancels it and starts over gets five more.
      limits: {
        perNumber: [
          { max: 20, windowSeconds: 600 },
          { max: 50, windowSeconds: 86_400 },
        ],
      },
    },
  },
} satisfies FileConfig;
