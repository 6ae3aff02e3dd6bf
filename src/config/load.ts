import { existsSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseEnv } from 'node:util';
import type { Static, TObject } from 'typebox';
import Value from 'typebox/value';
import { nearestTo } from '../domain/nearest.ts';
import type { PriceBook } from '../domain/price.ts';
import { CountersignError } from '../domain/problem.ts';
import type { MountedDialect } from '../http/dialects/mount.ts';
import { loadPriceBook, type OwnPrice } from '../prices/prices.ts';
import type { ProviderDefinition } from '../provider-kit/define-provider.ts';
import { resolveApp } from './apps.ts';
import type { Config, Environment, Mode } from './config.ts';
import { accountFaults, callerFaults, type DialectSetting, pathFaults, resolveDialects } from './dialects.ts';
import { faultsOf, isRecord } from './faults.ts';
import { configuredProviders } from './providers.ts';
import { AppSchema, type AppSettings, FileSchema } from './schema.ts';
import { serverFaults } from './store-servers.ts';
import { NamedVariables } from './variables.ts';

type AppInput = Partial<Omit<AppSettings, 'limits' | 'guesses' | 'autofill' | 'budget' | 'dialect'>> & {
  /** the paths and shapes of an existing back end: `'royal-taxi'`, one of your own, or several */
  readonly dialect?: DialectSetting;
  readonly autofill?: Partial<AppSettings['autofill']>;
  readonly budget?: Partial<AppSettings['budget']> & { readonly perDay: number };
  readonly limits?: Partial<AppSettings['limits']>;
  readonly guesses?: Partial<AppSettings['guesses']>;
};

/** What a configuration file, or `createCountersign`, is given: whatever has a default may be left out. */
export type FileConfig = Omit<Static<typeof FileSchema>, 'apps' | 'prices'> & {
  apps?: Record<string, AppInput>;
  prices?: readonly PriceInput[];
};

type PriceRow = NonNullable<Static<typeof FileSchema>['prices']>[number];
type PriceInput = Pick<PriceRow, 'provider' | 'country' | 'amount'> & Partial<PriceRow>;

const configFileNames = [
  'countersign.config.ts',
  'countersign.config.js',
  'countersign.config.json',
  'countersign.config.yaml',
];

/** Variables that fill a key of the file's schema. */
const variables = {
  COUNTERSIGN_MODE: 'mode',
  COUNTERSIGN_SECRET: 'secret',
  HOST: 'host',
  PORT: 'port',
  DATA_DIR: 'dataDir',
  DATABASE_URL: 'databaseUrl',
  DATABASE_POOL_SIZE: 'databasePoolSize',
  REDIS_URL: 'redisUrl',
  PUBLIC_URL: 'publicUrl',
  TRUSTED_PROXIES: 'trustedProxies',
  LOG_LEVEL: 'logLevel',
  LOG_FILE: 'logFile',
} as const satisfies Record<string, keyof FileConfig>;

/** Variables of the app `default`, for whoever has no file. */
const appVariables = {
  COUNTERSIGN_BRAND: 'brand',
  COUNTERSIGN_COUNTRY: 'country',
  COUNTERSIGN_LOCALE: 'locale',
  /** providers with commas between them, as the route for every country */
  COUNTERSIGN_ROUTE: 'routes',
} as const;

const otherVariables = ['COUNTERSIGN_CONFIG'];

const SECRET_BYTES = 32;

/** Every fault of a configuration at once: nobody wants to find five of them one restart at a time. */
export class ConfigError extends CountersignError {
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(
      'config-invalid',
      `The configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`,
    );
    this.faults = faults;
  }
}

/** Reads `.env`, the environment and the configuration file of a directory. The environment wins over both files. */
export async function loadConfig(
  cwd: string,
  processEnvironment: Environment,
  definitions: readonly ProviderDefinition<TObject>[],
): Promise<Config> {
  const dotEnv = resolve(cwd, '.env');
  const environment = { ...(existsSync(dotEnv) ? parseEnv(readFileSync(dotEnv, 'utf8')) : {}), ...processEnvironment };
  return resolveConfig(await readConfigFile(cwd, environment['COUNTERSIGN_CONFIG']), environment, definitions, cwd);
}

async function readConfigFile(cwd: string, named: string | undefined): Promise<unknown> {
  const file =
    named === undefined || named === ''
      ? configFileNames.map((name) => resolve(cwd, name)).find(existsSync)
      : resolve(cwd, named);
  if (file === undefined) return {};
  if (!existsSync(file)) throw new ConfigError([`COUNTERSIGN_CONFIG names ${file}, and there is no such file`]);
  try {
    const extension = extname(file);
    if (extension === '.json') return await readJson(readFileSync(file, 'utf8'));
    if (extension === '.yaml' || extension === '.yml') return (await import('yaml')).parse(readFileSync(file, 'utf8'));
    const module = (await import(pathToFileURL(file).href)) as { default?: unknown };
    if (module.default === undefined) throw new Error('it has no default export: `export default defineConfig({ … })`');
    return module.default;
  } catch (error) {
    throw new ConfigError([`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`]);
  }
}

/** Of a key that is there twice JavaScript takes the second, and whoever wrote the first would never hear of it. */
async function readJson(text: string): Promise<unknown> {
  const value: unknown = JSON.parse(text);
  // JSON is YAML as well, and that parser looks.
  const { errors } = (await import('yaml')).parseDocument(text, { uniqueKeys: true });
  const twice = errors.find(({ code }) => code === 'DUPLICATE_KEY');
  if (twice !== undefined) throw new Error(twice.message);
  return value;
}

/**
 * Checks a configuration and fills in its defaults.
 * @throws ConfigError with all faults
 */
export function resolveConfig(
  file: unknown,
  environment: Environment,
  builtIn: readonly ProviderDefinition<TObject>[],
  cwd: string,
): Config {
  if (typeof file !== 'object' || file === null || Array.isArray(file))
    throw new ConfigError(['the configuration must be an object']);
  const faults: string[] = [];
  const named = new NamedVariables(environment);
  const merged: Record<string, unknown> = { ...file };
  const variableOf = new Map<string, string>();
  for (const [variable, key] of Object.entries(variables)) {
    const value = environment[variable];
    if (value === undefined || value === '') continue;
    merged[key] =
      key === 'port' || key === 'databasePoolSize'
        ? numberOrText(value)
        : key === 'trustedProxies'
          ? value.split(/[\s,]+/).filter(Boolean)
          : value;
    variableOf.set(key, variable);
  }
  merged['apps'] = withAppVariables(merged['apps'], environment, variableOf);
  const mode: Mode =
    merged['mode'] === 'production' || (merged['mode'] === undefined && environment['NODE_ENV'] === 'production')
      ? 'production'
      : 'development';

  const filled = Value.Default(
    FileSchema,
    Value.Clone({ ...merged, providers: undefined, apps: undefined }),
  ) as FileConfig;
  const apps = isRecord(merged['apps']) ? Object.entries(merged['apps']) : [];
  if (apps.length === 0) faults.push('apps must be an object that names at least one app');
  if (!apps.some(([id]) => id === 'default')) {
    for (const variable of Object.keys(appVariables)) {
      if (environment[variable]) faults.push(`${variable} is about the app default, and apps names none`);
    }
  }
  const nameOf = (path: string) => {
    // A variable may fill more than one key: COUNTERSIGN_ROUTE the whole of `routes`.
    const filledBy = [...variableOf].find(([key]) => path === key || path.startsWith(`${key}.`));
    return filledBy?.[1] ?? path;
  };
  const shape = { ...filled, providers: merged['providers'] ?? {} };
  faults.push(...faultsOf(FileSchema, withoutUndefined(shape), '', nameOf));
  const areSumsGood = faults.length === 0;
  const prices = priceBook(areSumsGood ? filled : {}, faults);
  const { providers, switchedOff } = configuredProviders(shape.providers, environment, named, builtIn, faults);
  const available = {
    providers,
    off: new Set(switchedOff.map(({ id }) => id)),
    knownIds: new Set([
      ...builtIn.map(({ id }) => id),
      ...Object.keys(isRecord(shape.providers) ? shape.providers : {}),
    ]),
  };
  const dialects: MountedDialect[] = [];
  const resolvedApps = new Map<string, Config['apps'] extends ReadonlyMap<string, infer App> ? App : never>();
  for (const [id, settings] of apps) {
    if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(id))
      faults.push(`apps.${id} is not a name: lower-case letters, digits and '-'`);
    // A dialect of one's own has functions, which nothing can copy.
    const { dialect, ...rest } = isRecord(settings) ? settings : {};
    const given = isRecord(settings) ? withBearer(rest, `apps.${id}`, named, faults) : settings;
    const value = Value.Default(AppSchema, Value.Clone(given)) as unknown;
    const found = faultsOf(AppSchema, value, `apps.${id}`, nameOf);
    faults.push(...found);
    const { app, faults: further } = resolveApp(id, wellFormedPart(value), available, prices, mode, nameOf);
    const { mounted, twilioVerify } = resolveDialects(id, dialect, named, faults);
    dialects.push(...mounted);
    faults.push(...further);
    resolvedApps.set(id, { ...app, twilioVerify });
  }
  faults.push(...pathFaults(dialects), ...callerFaults(dialects, resolvedApps), ...accountFaults(resolvedApps));
  faults.unshift(...unknownVariables(environment, named));
  faults.push(...proxyFaults(filled.trustedProxies ?? [], nameOf('trustedProxies')));
  faults.push(...serverFaults(filled, nameOf));
  faults.push(...secretFaults(filled, mode));
  if (faults.length > 0) throw new ConfigError([...new Set(faults)]);
  return {
    mode,
    secret: filled.secret,
    host: filled.host ?? (mode === 'production' ? '0.0.0.0' : '127.0.0.1'),
    port: filled.port ?? 8080,
    dataDir: resolve(cwd, filled.dataDir ?? 'data'),
    databaseUrl: filled.databaseUrl,
    databasePoolSize: filled.databasePoolSize ?? 10,
    redisUrl: filled.redisUrl,
    publicUrl: filled.publicUrl?.replace(/\/+$/, ''),
    trustedProxies: filled.trustedProxies ?? [],
    logLevel: filled.logLevel ?? 'info',
    logFile: filled.logFile === undefined ? undefined : resolve(cwd, filled.logFile),
    retentionMs: (filled.retentionDays ?? 30) * 86_400_000,
    providers,
    switchedOff,
    prices,
    apps: resolvedApps,
    dialects,
  };
}

/** With the variables that its bearers' secret is read from. */
function withBearer(
  settings: Record<string, unknown>,
  place: string,
  named: NamedVariables,
  faults: string[],
): Record<string, unknown> {
  const { bearer } = settings;
  return isRecord(bearer) ? { ...settings, bearer: named.fill(bearer, `${place}.bearer`, faults) } : settings;
}

function priceBook({ prices, exchangeRates }: FileConfig, faults: string[]): PriceBook {
  try {
    // The schema has filled in what an operator's row leaves out.
    return loadPriceBook(prices as readonly OwnPrice[] | undefined, exchangeRates);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    faults.push(`prices: ${error.message}`);
    return loadPriceBook();
  }
}

/**
 * The settings of an app with the default for each key that is at fault, so that what is wrong with the others is told
 * in the same breath.
 */
function wellFormedPart(settings: unknown): Static<typeof AppSchema> {
  const given = typeof settings === 'object' && settings !== null ? settings : {};
  const atFault = new Set([...Value.Errors(AppSchema, given)].map(({ instancePath }) => instancePath.split('/')[1]));
  const kept = Object.entries(given).filter(([key]) => key in AppSchema.properties && !atFault.has(key));
  return Value.Default(AppSchema, Object.fromEntries(kept)) as Static<typeof AppSchema>;
}

/** Networks and addresses as Fastify takes them; a name would stop the start with a stack trace. */
function proxyFaults(trustedProxies: unknown, name: string): string[] {
  if (!Array.isArray(trustedProxies)) return [];
  return trustedProxies
    .filter((proxy) => typeof proxy === 'string' && !isNetwork(proxy))
    .map(
      (proxy) => `${name} names ${proxy}, which is no address or network: 10.0.0.5, 10.0.0.0/8, fd00::/8, or loopback`,
    );
}

function isNetwork(text: string): boolean {
  if (['loopback', 'linklocal', 'uniquelocal'].includes(text)) return true;
  const [address = '', bits, ...rest] = text.split('/');
  const most = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : 0;
  // Zero bits would trust everybody, and so let everybody name any address.
  return (
    most > 0 &&
    rest.length === 0 &&
    (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) >= 1 && Number(bits) <= most))
  );
}

function secretFaults({ secret, databaseUrl }: FileConfig, mode: Mode): string[] {
  if (secret === undefined) {
    if (databaseUrl !== undefined)
      return [
        `COUNTERSIGN_SECRET is missing: all nodes that share a database need the same one, of at least ${SECRET_BYTES} bytes, in development too; make one with \`openssl rand -hex 32\``,
      ];
    return mode === 'production'
      ? [
          `COUNTERSIGN_SECRET is missing: production needs a secret of at least ${SECRET_BYTES} bytes; make one with \`openssl rand -hex 32\``,
        ]
      : [];
  }
  if (Buffer.byteLength(secret) < SECRET_BYTES) {
    return [`COUNTERSIGN_SECRET is too short: at least ${SECRET_BYTES} bytes; make one with \`openssl rand -hex 32\``];
  }
  // A secret that a person made up by holding a key is no secret.
  return new Set(secret).size < 8 ? ['COUNTERSIGN_SECRET is too simple: make one with `openssl rand -hex 32`'] : [];
}

function withAppVariables(apps: unknown, environment: Environment, variableOf: Map<string, string>): unknown {
  const fromVariables: Record<string, unknown> = {};
  for (const [variable, key] of Object.entries(appVariables)) {
    const value = environment[variable];
    if (value === undefined || value === '') continue;
    fromVariables[key] = key === 'routes' ? { '*': value.split(/[\s,;]+/).filter(Boolean) } : value;
    variableOf.set(`apps.default.${key}`, variable);
  }
  if (apps === undefined) return { default: fromVariables };
  if (typeof apps !== 'object' || apps === null || !('default' in apps) || Object.keys(fromVariables).length === 0)
    return apps;
  return { ...apps, default: { ...(apps.default as object), ...fromVariables } };
}

/** A misspelt `COUNTERSIGN_…` would silently leave a protection at its default. */
function unknownVariables(environment: Environment, named: NamedVariables): string[] {
  const known = [...Object.keys(variables), ...Object.keys(appVariables), ...otherVariables].filter((name) =>
    name.startsWith('COUNTERSIGN_'),
  );
  return Object.keys(environment)
    .filter((name) => name.startsWith('COUNTERSIGN_') && !known.includes(name) && !named.has(name))
    .map((name) => `${name} is not a known variable${nearestTo(name, known)}`);
}

function numberOrText(value: string): unknown {
  return /^\d+$/.test(value) ? Number(value) : value;
}

function withoutUndefined(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined));
}
