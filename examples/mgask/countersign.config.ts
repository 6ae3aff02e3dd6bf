import type { FileConfig } from 'countersign';

export default {
  apps: {
    mgask: {
      dialect: 'mgask',
      // What the host system signs its users' tokens with: the subject of a token is whose verification it is.
      bearer: { secret: '${HOST_JWT_SECRET}' },
      brand: 'Mgask',
      country: 'SA',
      locale: 'en',
      codeTtlSeconds: 300,
      texts: {
        en: 'Your {brand} verification code is: {code}. Valid for {minutes} minutes.',
        ar: 'رمز التحقق الخاص بك هو: {code}. صالح لمدة {minutes} دقائق.',
      },
      // By e-mail when no text can be sent and the token names an address.
      routes: { '*': ['twilio?', 'smtp?', 'inbox?'] },
      // The request succeeds in any case, and the text is tried again until the code dies.
      sendFailures: 'retry',
      limits: { perNumber: [{ max: 5, windowSeconds: 300 }] },
    },
  },
} satisfies FileConfig;
