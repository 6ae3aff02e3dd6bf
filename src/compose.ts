import { createHmac, randomFillSync, randomUUID } from 'node:crypto';
import type { Config } from './config/config.ts';
import { developmentSecret } from './config/development-secret.ts';
import { ConfigError, type FileConfig, loadConfig, resolveConfig } from './config/load.ts';
import { codeKeysFrom, subkey } from './domain/code.ts';
import { channels } from './domain/provider.ts';
import { INBOX } from './domain/route.ts';
import type { Store } from './domain/store.ts';
import type { Served } from './http/served.ts';
import { openStore } from './open-store.ts';
import type { ProviderContext } from './provider-kit/define-provider.ts';
import { createHttpClient } from './provider-kit/http-client.ts';
import { createInbox, type Inbox } from './providers/inbox.ts';
import { providerDefinitions } from './providers/index.ts';
import type { Log, OpenProvider, ServiceContext } from './service/context.ts';
import { type Countersign, countersignOf } from './service/countersign.ts';
import { openHealthExchange } from './service/health-exchange.ts';
import { startHousekeeping } from './service/housekeeping.ts';
import { ProviderHealth } from './service/provider-health.ts';
import { recordReports } from './service/record-delivery.ts';
import { createSealer } from './service/sealer.ts';
import { openShadow } from './service/shadow.ts';
import { openSharedClock, type SharedClock } from './service/shared-clock.ts';
import { openTokens } from './service/tokens.ts';
import { createUnderWay } from './service/under-way.ts';

/** What can be put in the place of the real thing: time and randomness by tests, log and store by anybody. */
export type Parts = {
  readonly log?: Log;
  /** ms since the epoch */
  readonly now?: () => number;
  readonly randomBytes?: (length: number) => Uint8Array;
  readonly store?: Store;
  /** false for a process that lives for one command: orphaned messages and old rows are left to the server */
  readonly housekeeping?: boolean;
};

/** A running service with what only the server needs besides its face. */
export type Composed = Served & { readonly config: Config };

export function loadProcessConfig(): Promise<Config> {
  return loadConfig(process.cwd(), process.env, providerDefinitions);
}

/**
 * Starts Countersign inside a Node.js program.
 * @param config as in `countersign.config.ts`; credentials may come from the environment too, which wins
 * @throws CountersignError `config-invalid` with all faults, `store-unavailable`, `store-incompatible`
 * @example
 * const countersign = await createCountersign({ apps: { default: { brand: 'Royal Taxi', country: 'UZ' } } });
 * const started = await countersign.verifications.start({ to: '90 123 45 67' });
 */
export async function createCountersign(config: FileConfig = {}, parts: Parts = {}): Promise<Countersign> {
  const resolved = resolveConfig(config, process.env, providerDefinitions, process.cwd());
  return (await compose(resolved, parts)).countersign;
}

export async function compose(config: Config, parts: Parts = {}): Promise<Composed> {
  const randomBytes = parts.randomBytes ?? pooledRandomBytes();
  const log = parts.log ?? silent;
  const secret = config.secret ?? developmentSecret(config.dataDir);
  const sealer = createSealer(secret, randomBytes);
  const store = parts.store ?? (await openStore(config, log));
  try {
    const clock =
      parts.now === undefined
        ? await openSharedClock(store, log, machineClock)
        : { now: parts.now, earliest: parts.now, isDue: () => false, measure: () => Promise.resolve() };
    const { now } = clock;
    const http = createHttpClient(now, process.env);
    const inbox = config.mode === 'development' ? createInbox({ now }) : undefined;
    const providers = await openProviders(config, inbox, { now, http });
    const reportKey = subkey(secret, 'countersign report');
    const reportSecretOf = (id: string) => createHmac('sha256', reportKey).update(id).digest('base64url').slice(0, 32);
    const context: ServiceContext = {
      store,
      apps: config.apps,
      providers,
      health: new ProviderHealth(now, log),
      prices: config.prices,
      underWay: createUnderWay(),
      codeKeys: codeKeysFrom(secret),
      sealer,
      tokens: await openTokens(store, sealer, config.publicUrl ?? 'countersign', now()),
      now,
      randomBytes,
      log,
      revealCodes: config.mode === 'development',
      reportUrlOf: (id) =>
        config.publicUrl === undefined ? undefined : `${config.publicUrl}/v1/reports/${id}/${reportSecretOf(id)}`,
    };
    listenForReports(context);
    const housekeeping = parts.housekeeping === false ? undefined : await keepHouse(context, config, clock);
    const close = async () => {
      await housekeeping?.stop();
      // Its last round may have left an outcome that the store did not take at once.
      await context.underWay.settled();
      await Promise.all([...providers.values()].map((provider) => closeProvider(provider, log)));
      http.close();
      await store.close();
    };
    const shadowed = config.dialects.flatMap(({ app, upstream }) => (upstream === undefined ? [] : [app]));
    const shadow = openShadow(context, shadowed);
    return { countersign: countersignOf(context, close), config, inbox, reportSecretOf, shadow, now };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** What a server does besides answering. Before its first answer it knows what the other nodes have found out. */
async function keepHouse(context: ServiceContext, { retentionMs }: Config, clock: SharedClock) {
  const exchange = openHealthExchange(context.store, context.health, context.log);
  await exchange.poll();
  return startHousekeeping(context, { retentionMs, holder: randomUUID(), exchange, clock });
}

const machineClock = { wall: () => Date.now(), monotonic: () => performance.now() };

/** @throws ConfigError that names every provider which cannot be opened */
export async function openProviders(
  config: Config,
  inbox: Inbox | undefined,
  providerContext: ProviderContext,
): Promise<Map<string, OpenProvider>> {
  const opened = new Map<string, OpenProvider>();
  if (inbox !== undefined) opened.set(INBOX, openInbox(inbox));
  const faults: string[] = [];
  for (const { id, definition, settings, common } of config.providers) {
    const { channels, countries, codesOnly = false } = definition;
    const known = {
      ...common,
      id,
      definitionId: definition.id,
      channels,
      countries: countries === undefined ? undefined : new Set(countries),
      codesOnly,
    };
    try {
      const provider: OpenProvider =
        definition.kind === 'managed'
          ? { ...known, kind: 'managed', provider: await definition.create(settings, providerContext) }
          : { ...known, kind: 'messaging', provider: await definition.create(settings, providerContext) };
      opened.set(id, provider);
    } catch (error) {
      faults.push(`providers.${id} cannot be opened: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (faults.length > 0) throw new ConfigError(faults);
  return opened;
}

/** One that cannot be closed must not keep the store open. */
async function closeProvider({ id, provider }: OpenProvider, log: Log): Promise<void> {
  try {
    await provider.close?.();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    log.warn({ provider: id, error: text }, 'provider cannot be closed');
  }
}

const INBOX_DEADLINE_MS = 3000;

function openInbox(inbox: Inbox): OpenProvider {
  return {
    id: INBOX,
    definitionId: INBOX,
    kind: 'messaging',
    channels,
    countries: undefined,
    codesOnly: false,
    deadlineMs: INBOX_DEADLINE_MS,
    maxPerSecond: undefined,
    reportTimeoutMs: undefined,
    provider: inbox,
  };
}

/** Reports of providers that send them by a connection of their own. */
function listenForReports(context: ServiceContext): void {
  for (const { id, provider } of context.providers.values()) {
    provider.onReport?.((report) => {
      recordReports(context, id, [report]).catch((error: unknown) =>
        context.log.error(
          { provider: id, error: error instanceof Error ? error.message : String(error) },
          'delivery report lost',
        ),
      );
    });
  }
}

/** One call of the operating system for a hundred requests. */
function pooledRandomBytes(): (length: number) => Uint8Array {
  let pool = Buffer.alloc(0);
  let used = 0;
  return (length) => {
    if (used + length > pool.length) {
      // A new pool each time: parts of the old one may still be in use.
      pool = randomFillSync(Buffer.allocUnsafeSlow(Math.max(4096, length)));
      used = 0;
    }
    used += length;
    return pool.subarray(used - length, used);
  };
}

const silent: Log = { info: () => {}, warn: () => {}, error: () => {} };
