// What the bench runs: one app, every limit on, and a provider that takes every message and sends nothing.
import Type from 'typebox';
import { defineConfig, defineProvider } from '../src/index.ts';
import { openCodeWriter } from './code-file.ts';

const noop = defineProvider({
  id: 'noop',
  kind: 'messaging',
  channels: ['sms'],
  settings: Type.Object({}, { additionalProperties: false }),
  environment: {},
  create: () => {
    const path = process.env['BENCH_CODES'];
    if (path === undefined) throw new Error('BENCH_CODES must name the file that the load generator reads codes from');
    const write = openCodeWriter(path);
    return {
      send: ({ to, text, messageId }) => {
        write(to, /\d{4,10}/.exec(text)?.[0] ?? '');
        return Promise.resolve({ kind: 'accepted', providerMessageId: messageId });
      },
    };
  },
});

// biome-ignore lint/style/noDefaultExport: what a configuration file exports.
export default defineConfig({
  providers: { noop },
  apps: {
    bench: {
      brand: 'Bench',
      country: 'UZ',
      routes: { '*': ['noop'] },
      // A number comes once in 28 000 000 starts and an address once in 1 048 576 (number-pool.ts), so the first two
      // never trip. The others count every start as in production; 33 000 a second would trip them.
      limits: {
        perNumber: [
          { max: 5, windowSeconds: 300 },
          { max: 20, windowSeconds: 86_400 },
        ],
        perAddress: [{ max: 60, windowSeconds: 3600 }],
        perPrefix: [{ max: 10_000_000, windowSeconds: 300 }],
        perApp: [{ max: 10_000_000, windowSeconds: 300 }],
      },
    },
  },
});
