import type { TObject } from 'typebox';
import type { PriceBook } from '../domain/price.ts';
import type { MountedDialect } from '../http/dialects/mount.ts';
import type { ProviderDefinition } from '../provider-kit/define-provider.ts';
import type { App } from '../service/app.ts';

export type Environment = Readonly<Record<string, string | undefined>>;
export type Mode = 'development' | 'production';

/** A provider with checked settings, not opened yet. */
export type ConfiguredProvider = {
  readonly id: string;
  readonly definition: ProviderDefinition<TObject>;
  readonly settings: Record<string, unknown>;
  readonly common: ProviderLimits;
};

/** What holds for every provider, see `CommonProviderSchema`. */
export type ProviderLimits = {
  readonly deadlineMs: number;
  readonly maxPerSecond: number | undefined;
  readonly reportTimeoutMs: number | undefined;
};

/** Everything that was configured, checked and with every default filled in. */
export type Config = {
  readonly mode: Mode;
  /** undefined in development until the data directory gives one */
  readonly secret: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly dataDir: string;
  /** PostgreSQL, with a password: never to be shown. Undefined: the embedded database */
  readonly databaseUrl: string | undefined;
  /** connections to it, of this process */
  readonly databasePoolSize: number;
  /** Redis in front of it, likewise secret; the seed nodes of a Cluster with commas between them */
  readonly redisUrl: string | undefined;
  readonly publicUrl: string | undefined;
  readonly trustedProxies: readonly string[];
  readonly logLevel: string;
  readonly logFile: string | undefined;
  readonly retentionMs: number;
  readonly providers: readonly ConfiguredProvider[];
  /** those that are configured, and out by `variable`, e.g. `TWILIO_ENABLED` */
  readonly switchedOff: readonly { readonly id: string; readonly variable: string }[];
  readonly prices: PriceBook;
  readonly apps: ReadonlyMap<string, App>;
  readonly dialects: readonly MountedDialect[];
};
