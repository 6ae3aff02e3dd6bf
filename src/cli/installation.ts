import type { TObject } from 'typebox';
import { type Composed, compose, loadProcessConfig } from '../compose.ts';
import type { ConfiguredProvider } from '../config/config.ts';
import { nearestTo } from '../domain/nearest.ts';
import type { ProviderDefinition } from '../provider-kit/define-provider.ts';
import { DEFAULT_APP } from '../service/start-verification.ts';
import { UsageError } from './output.ts';

/**
 * The configured installation, for the length of one command. Orphaned messages are left to the server: whoever asks
 * for a list of keys does not expect texts to go out.
 * @param needs with `store` alone no provider is opened, which saves loading its SDK; with `store and routes` they are
 * known by name and channel, and cannot send: opening some of them would log in at the vendor
 */
export async function withInstallation<Result>(
  needs: 'store' | 'store and routes' | 'store and managed providers' | 'store and providers',
  work: (composed: Composed) => Promise<Result>,
): Promise<Result> {
  const config = await loadProcessConfig();
  const opened = {
    store: [],
    'store and routes': config.providers.map(silenced),
    'store and managed providers': config.providers.map((each) =>
      each.definition.kind === 'managed' ? each : silenced(each),
    ),
    'store and providers': config.providers,
  }[needs];
  const composed = await compose({ ...config, providers: opened }, { housekeeping: false });
  try {
    return await work(composed);
  } finally {
    await composed.countersign.close();
  }
}

function silenced(provider: ConfiguredProvider): ConfiguredProvider {
  const refuse = () => Promise.reject(new Error(`${provider.id} was not opened to send`));
  const create = () => ({ send: refuse, start: refuse, check: refuse });
  return { ...provider, definition: { ...provider.definition, create } as ProviderDefinition<TObject> };
}

/** @throws UsageError for an app that is not configured, and for none where it is not clear which is meant */
export function chooseApp({ config }: Pick<Composed, 'config'>, named: string | undefined, command: string): string {
  const apps = [...config.apps.keys()];
  if (named !== undefined) {
    if (config.apps.has(named)) return named;
    throw new UsageError(`There is no app '${named}'${nearestTo(named, apps)}`, command);
  }
  const [only] = apps;
  if (config.apps.has(DEFAULT_APP)) return DEFAULT_APP;
  if (only !== undefined && apps.length === 1) return only;
  throw new UsageError(`Say which app with --app: ${apps.join(', ')}`, command);
}
