import type { CodeKeys } from '../domain/code.ts';
import type { PriceBook } from '../domain/price.ts';
import type { Channel, ManagedProvider, MessagingProvider } from '../domain/provider.ts';
import type { Store } from '../domain/store.ts';
import type { App } from './app.ts';
import type { ProviderHealth } from './provider-health.ts';
import type { Sealer } from './sealer.ts';
import type { Tokens } from './tokens.ts';
import type { UnderWay } from './under-way.ts';

/** An opened provider under the name that routes call it by. */
export type OpenProvider = {
  readonly id: string;
  /** the id of its definition: what its prices are known by, unless there are some for `id` */
  readonly definitionId: string;
  readonly channels: readonly Channel[];
  /** everywhere when undefined */
  readonly countries: ReadonlySet<string> | undefined;
  readonly codesOnly: boolean;
  /** how long one hand-over may take */
  readonly deadlineMs: number;
  readonly maxPerSecond: number | undefined;
  /** how long a delivery report is waited for before the code goes by another way; for ever when undefined */
  readonly reportTimeoutMs: number | undefined;
} & (
  | { readonly kind: 'messaging'; readonly provider: MessagingProvider }
  | { readonly kind: 'managed'; readonly provider: ManagedProvider }
);

/** What pino offers, as far as the service needs it. Fields never hold a code, a credential or a full number. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What every use case works with. */
export type ServiceContext = {
  readonly store: Store;
  readonly apps: ReadonlyMap<string, App>;
  readonly providers: ReadonlyMap<string, OpenProvider>;
  readonly health: ProviderHealth;
  readonly prices: PriceBook;
  readonly underWay: UnderWay;
  readonly codeKeys: CodeKeys;
  readonly sealer: Sealer;
  readonly tokens: Tokens;
  /** ms since the epoch */
  readonly now: () => number;
  readonly randomBytes: (length: number) => Uint8Array;
  readonly log: Log;
  /** development mode: outcomes carry the code */
  readonly revealCodes: boolean;
  /** where a provider may post its delivery reports; undefined without a public URL */
  readonly reportUrlOf: (providerId: string) => string | undefined;
};

/**
 * @throws RangeError for an app that is not configured: a caller's key names its app, so that is a mistake of
 * the program, not of a request
 */
export function appOf(context: ServiceContext, id: string): App {
  const app = context.apps.get(id);
  if (app === undefined) {
    throw new RangeError(`There is no app '${id}'; configured are: ${[...context.apps.keys()].join(', ')}`);
  }
  return app;
}
