import type { FileConfig } from 'countersign';

export default {
  apps: {
    'royal-taxi': {
      dialect: 'royal-taxi',
      brand: 'Royal Taxi',
      country: 'UZ',
      allowedCountries: ['UZ'],
      locale: 'uz',
      codeTtlSeconds: 300,
      resend: 'replace',
      texts: {
        uz: "{brand} tasdiqlash kodi: {code}\nKod {minutes} daqiqa davomida amal qiladi.\nAgar siz bu kodni so'ramagan bo'lsangiz, bu xabarni e'tiborsiz qoldiring.",
      },
      // The cheap local providers first. Whichever has its credentials set is used; the inbox in development, when none has.
      routes: { '*': ['eskiz?', 'playmobile?', 'twilio?', 'inbox?'] },
      limits: {
        perNumber: [
          { max: 5, windowSeconds: 300 },
          { max: 10, windowSeconds: 86_400 },
        ],
        perAddress: [{ max: 20, windowSeconds: 3600 }],
      },
    },
  },
} satisfies FileConfig;
