import type { FileConfig } from 'countersign';

export default {
  apps: {
    'messaggio-backend': {
      dialect: 'messaggio-backend',
      brand: 'Саша Чурилов & Co',
      country: 'RU',
      allowedCountries: ['RU', 'KZ'],
      locale: 'ru',
      codeTtlSeconds: 600,
      texts: { ru: 'Ваш код подтверждения: {code}' },
      routes: { '*': ['messaggio?', 'inbox?'] },
    },
  },
} satisfies FileConfig;
