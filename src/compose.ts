import { createHmac, randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Config } from './config/config.ts';
import { developmentSecret } from './config/development-secret.ts';
import { ConfigError, type FileConfig, loadConfig, resolveConfig } from './config/load.ts';
import { codeKeysFrom, subkey } from './domain/code.ts';
import { channels } from './domain/provider.ts';
import { INBOX } from './domain/route.ts';
import type { Store } from './domain/store.ts';
import type { Served } from './http/served.ts';
import type { ProviderContext } from './provider-kit/define-provider.ts';
import { createHttpClient } from './provider-kit/http-client.ts';
import { createInbox, type Inbox } from './providers/inbox.ts';
import { providerDefinitions } from './providers/index.ts';
import type { Log, OpenProvider, ServiceContext } from './service/context.ts';
import { type Countersign, countersignOf } from './service/countersign.ts';
import { ProviderHealth } from './service/provider-health.ts';
import { recordReports } from './service/record-delivery.ts';
import { createSealer } from './service/sealer.ts';
import { openShadow } from './service/shadow.ts';
import { takeUpDue } from './service/take-up.ts';
import { openTokens } from './service/tokens.ts';
import { createUnderWay } from './service/under-way.ts';
import { openSqliteStore } from './stores/sqlite/sqlite-store.ts';

const HOUSEKEEPING_EVERY_MS = 5000;
const PROBE_EVERY_MS = 1000;
const MOST_SWEEPS = 200;
const SWEEP_PAUSE_MS = 10;

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

/** Where the embedded database is. */
export function databaseFileOf({ dataDir }: Pick<Config, 'dataDir'>): string {
  return join(dataDir, 'countersign.db');
}

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
  const now = parts.now ?? Date.now;
  const randomBytes = parts.randomBytes ?? pooledRandomBytes();
  const log = parts.log ?? silent;
  const secret = config.secret ?? developmentSecret(config.dataDir);
  const sealer = createSealer(secret, randomBytes);
  const store = parts.store ?? openSqliteStore(databaseFileOf(config));
  try {
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
    const housekeeping = parts.housekeeping === false ? undefined : startHousekeeping(context, config.retentionMs);
    const close = async () => {
      await housekeeping?.stop();
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

/** Takes up messages that are due and deletes what has ended: once at the start, then every few seconds. */
function startHousekeeping(context: ServiceContext, retentionMs: number): { stop: () => Promise<void> } {
  let isStopped = false;
  let isNextWaiting = false;
  const round = async () => {
    try {
      await takeUpDue(context);
      const now = context.now();
      // As long as there is something to delete, with room for requests in between: else a busy service would delete
      // less than it makes.
      for (let sweeps = 0; sweeps < MOST_SWEEPS && !isStopped; sweeps += 1) {
        const { deleted } = await context.store.sweep(now, now - retentionMs);
        if (deleted === 0) break;
        await delay(SWEEP_PAUSE_MS);
      }
    } catch (error) {
      if (!isStopped)
        context.log.error({ error: error instanceof Error ? error.message : String(error) }, 'housekeeping failed');
    }
  };
  let running = round();
  const timer = setInterval(() => {
    // One round waits for one that takes longer than the time between two, and no more: a stop waits for all of them.
    if (isNextWaiting) return;
    isNextWaiting = true;
    running = running.then(async () => {
      isNextWaiting = false;
      if (!isStopped) await round();
    });
  }, HOUSEKEEPING_EVERY_MS);
  timer.unref();
  const probing = setInterval(() => context.health.probeDue(context.providers.values()), PROBE_EVERY_MS);
  probing.unref();
  return {
    async stop() {
      isStopped = true;
      clearInterval(timer);
      clearInterval(probing);
      await running;
    },
  };
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
