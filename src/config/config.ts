import type { TObject } from 'typebox';
import type { ProviderDefinition } from '../provider-kit/define-provider.ts';
import type { App } from '../service/app.ts';

export type Mode = 'development' | 'production';

/** A provider with checked settings, not opened yet. */
export type ConfiguredProvider = {
  readonly id: string;
  readonly definition: ProviderDefinition<TObject>;
  readonly settings: Record<string, unknown>;
};

/** Everything that was configured, checked and with every default filled in. */
export type Config = {
  readonly mode: Mode;
  /** undefined in development until the data directory gives one */
  readonly secret: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly dataDir: string;
  readonly publicUrl: string | undefined;
  readonly trustedProxies: readonly string[];
  readonly logLevel: string;
  readonly logFile: string | undefined;
  readonly retentionMs: number;
  readonly providers: readonly ConfiguredProvider[];
  readonly apps: ReadonlyMap<string, App>;
};
