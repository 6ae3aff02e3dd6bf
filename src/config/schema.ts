import Type, { type Static, type TSchema, type TSchemaOptions, type TString } from 'typebox';
import { CODE_LENGTHS } from '../domain/code.ts';
import { lineTypes } from '../domain/phone-number.ts';
import { pricedPer } from '../domain/price.ts';
import { channels } from '../domain/provider.ts';
import { BearerSchema } from './bearer.ts';

const closed = { additionalProperties: false } as const;
const DAY_SECONDS = 86_400;

/**
 * Entries under names of the person's own. A record alone lets names of another form pass unread: a route under `+998 90`
 * would be none, and nobody would be told.
 */
const named = <Value extends TSchema>(name: TString, value: Value, options: TSchemaOptions = {}) =>
  Type.Record(name, value, { ...options, propertyNames: name });

const Limit = Type.Object(
  {
    max: Type.Integer({ minimum: 1, maximum: 10_000_000, description: 'events allowed in any window of that length' }),
    // Counters are forgotten after eight days.
    windowSeconds: Type.Integer({ minimum: 1, maximum: 7 * DAY_SECONDS }),
  },
  closed,
);

const limits = (defaults: Static<typeof Limit>[], description: string) =>
  Type.Array(Limit, { maxItems: 4, default: defaults, description });

const Country = Type.String({ pattern: '^[A-Z]{2}$', description: 'ISO 3166-1 alpha-2, e.g. UZ' });
const Locale = Type.String({ pattern: '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$', description: 'BCP 47, e.g. ru or pt-BR' });
const Name = Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,62}$' });

const RouteEntry = Type.Union([
  Type.String({
    pattern: '^[a-z0-9][a-z0-9-]{0,62}\\??$',
    description: 'a provider; `eskiz?` where it may be missing',
  }),
  Type.Object(
    {
      provider: Name,
      channel: Type.Optional(Type.Enum([...channels], { description: 'by this channel and no other' })),
      lineTypes: Type.Optional(
        Type.Array(Type.Enum([...lineTypes]), { minItems: 1, description: 'only numbers of these line types' }),
      ),
      optional: Type.Optional(Type.Boolean({ description: 'the route goes on without it where it is not configured' })),
      weight: Type.Optional(
        Type.Number({
          exclusiveMinimum: 0,
          maximum: 1000,
          description: 'neighbours with weights share the messages by them',
        }),
      ),
    },
    closed,
  ),
]);

/** What every provider may be told besides its own settings. */
export const CommonProviderSchema = Type.Object(
  {
    maxPerSecond: Type.Optional(
      Type.Number({ exclusiveMinimum: 0, maximum: 10_000, description: 'hand-overs a second, of one process' }),
    ),
    reportTimeoutSeconds: Type.Optional(
      Type.Integer({
        minimum: 5,
        maximum: 900,
        description: 'without a word that it arrived by then, the code goes by the next way of the route',
      }),
    ),
    deadlineSeconds: Type.Number({
      minimum: 0.5,
      maximum: 8,
      default: 3,
      description: 'how long one hand-over may take',
    }),
  },
  closed,
);

const PriceRow = Type.Object(
  {
    provider: Name,
    country: Type.String({ pattern: '^([A-Z]{2}|\\*)$' }),
    channel: Type.Enum([...channels], { default: 'sms' }),
    per: Type.Enum([...pricedPer], { default: 'segment' }),
    amount: Type.Number({ minimum: 0, maximum: 1e6 }),
    currency: Type.String({ pattern: '^[A-Z]{3}$', default: 'USD' }),
    source: Type.Optional(Type.String({ description: 'where it is written, for whoever reads the comparison' })),
    readOn: Type.Optional(Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}$' })),
  },
  closed,
);

const Market = Type.Object(
  {
    countries: Type.Array(Type.String({ pattern: '^([A-Z]{2}|\\+[1-9][0-9]{0,11})$' }), {
      minItems: 1,
      description: 'ISO 3166-1 alpha-2, or a number prefix: KG, +1',
    }),
    locale: Type.Optional(Locale),
    codeTtlSeconds: Type.Optional(Type.Integer({ minimum: 30, maximum: 900 })),
    currency: Type.Optional(Type.String({ pattern: '^[A-Z]{3}$', description: 'what people pay with there' })),
  },
  closed,
);

export const AppSchema = Type.Object(
  {
    brand: Type.String({ minLength: 1, maxLength: 40, default: 'Countersign', description: 'the name in texts' }),
    country: Type.Optional(Country),
    locale: Type.Optional(Locale),
    codeLength: Type.Integer({ minimum: CODE_LENGTHS.min, maximum: CODE_LENGTHS.max, default: CODE_LENGTHS.default }),
    codeTtlSeconds: Type.Integer({
      minimum: 30,
      maximum: 900,
      default: 600,
      description: 'above 600 only where a market needs it',
    }),
    maxAttempts: Type.Integer({
      minimum: 1,
      maximum: 10,
      default: 5,
      description: 'codes compared for one verification',
    }),
    maxSends: Type.Integer({ minimum: 1, maximum: 10, default: 5 }),
    resend: Type.Enum(['repeat', 'replace'], {
      default: 'repeat',
      description: 'does a resend repeat the code, or replace it',
    }),
    resendAfterSeconds: Type.Array(Type.Integer({ minimum: 0, maximum: 600 }), {
      minItems: 1,
      maxItems: 10,
      default: [30, 30, 60, 120],
    }),
    channel: Type.Enum([...channels], { default: 'sms' }),
    texts: named(Locale, Type.String(), { default: {}, description: 'by locale; {brand} {code} {minutes}' }),
    routes: named(
      Type.String({ pattern: '^([A-Z]{2}|\\+[1-9][0-9]{0,11}|\\*)$' }),
      Type.Array(RouteEntry, { minItems: 1, maxItems: 20 }),
      {
        default: {},
        description:
          "by number prefix (+99890), else country, else '*': providers in the order in which they are tried",
      },
    ),
    markets: named(Type.String({ pattern: '^[A-Z][A-Z0-9-]{0,15}$' }), Market, {
      default: {},
      description: 'sets of countries with a language and a lifetime; numbers of no market are refused',
    }),
    // Checked by dialects.ts: one of the user's own is code.
    dialect: Type.Optional(Type.Unknown()),
    bearer: Type.Optional(BearerSchema),
    autofill: Type.Object(
      {
        domain: Type.Optional(
          Type.String({ description: "host of the page that asks for codes: texts for it end with '@host #code'" }),
        ),
        appHashes: Type.Array(Type.String(), {
          maxItems: 10,
          default: [],
          description: "11 characters each: texts for that Android app end with it, as Google's SMS Retriever wants",
        }),
      },
      { ...closed, default: {} },
    ),
    budget: Type.Optional(
      Type.Object(
        {
          perDay: Type.Number({ exclusiveMinimum: 0, maximum: 1e9, description: 'what a UTC day may cost at most' }),
          currency: Type.String({ pattern: '^[A-Z]{3}$', default: 'USD' }),
          warnAtPercent: Type.Number({ minimum: 1, maximum: 100, default: 80 }),
        },
        closed,
      ),
    ),
    allowedCountries: Type.Optional(Type.Array(Country, { minItems: 1, description: 'closes all others' })),
    sendFailures: Type.Enum(['tell', 'retry'], {
      default: 'tell',
      description: 'is a code that no provider took refused, or tried again while it lives',
    }),
    allowLandlines: Type.Boolean({ default: false, description: 'texts go to landlines too' }),
    limits: Type.Object(
      {
        perNumber: limits(
          [
            { max: 5, windowSeconds: 600 },
            { max: 10, windowSeconds: DAY_SECONDS },
          ],
          'starts and resends to one number',
        ),
        perAddress: limits([{ max: 30, windowSeconds: 3600 }], "starts and resends from one end user's address"),
        perPrefix: limits(
          [{ max: 500, windowSeconds: 3600 }],
          'starts and resends to one block of numbers, against pumping',
        ),
        perApp: limits(
          [{ max: 20_000, windowSeconds: 3600 }],
          'starts and resends of the whole app: what an hour can cost at most',
        ),
        messagesPerNumber: limits([{ max: 20, windowSeconds: 3600 }], 'custom messages to one number'),
      },
      { ...closed, default: {} },
    ),
    guesses: Type.Object(
      {
        max: Type.Integer({
          minimum: 1,
          maximum: 100,
          default: 20,
          description: 'wrong codes per number in any 24 hours',
        }),
      },
      { ...closed, default: {} },
    ),
  },
  closed,
);

export type AppSettings = Static<typeof AppSchema>;

/** What `countersign.config.ts` may say. Most of it has an environment variable too (load.ts), which wins. */
export const FileSchema = Type.Object(
  {
    mode: Type.Optional(Type.Enum(['development', 'production'])),
    secret: Type.Optional(Type.String({ secret: true })),
    host: Type.Optional(Type.String({ minLength: 1 })),
    port: Type.Optional(Type.Integer({ minimum: 0, maximum: 65_535 })),
    dataDir: Type.Optional(Type.String({ minLength: 1 })),
    databaseUrl: Type.Optional(Type.String({ secret: true })),
    databasePoolSize: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })),
    redisUrl: Type.Optional(Type.String({ secret: true })),
    publicUrl: Type.Optional(Type.String({ pattern: '^https?://[^\\s?#]+$' })),
    trustedProxies: Type.Optional(
      Type.Array(Type.String({ minLength: 1 }), { description: 'addresses or networks, e.g. 10.0.0.0/8' }),
    ),
    logLevel: Type.Optional(Type.Enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])),
    logFile: Type.Optional(Type.String({ minLength: 1 })),
    retentionDays: Type.Optional(Type.Integer({ minimum: 1, maximum: 3650 })),
    providers: Type.Optional(named(Name, Type.Unknown())),
    prices: Type.Optional(
      Type.Array(PriceRow, { maxItems: 10_000, description: 'your own, in place of the built-in list prices' }),
    ),
    exchangeRates: Type.Optional(
      named(Type.String({ pattern: '^[A-Z]{3}$' }), Type.Number({ exclusiveMinimum: 0 }), {
        description: 'units of that currency for 1 USD',
      }),
    ),
    apps: Type.Optional(Type.Record(Name, AppSchema, { minProperties: 1 })),
  },
  closed,
);
