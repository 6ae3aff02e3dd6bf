import { type Composed, compose, loadProcessConfig } from '../compose.ts';
import { nearestTo } from '../domain/nearest.ts';
import { DEFAULT_APP } from '../service/start-verification.ts';
import { UsageError } from './output.ts';

/**
 * The configured installation, for the length of one command. Orphaned messages are left to the server: whoever asks
 * for a list of keys does not expect texts to go out.
 * @param needs with `store` alone no provider is opened, which saves loading its SDK
 */
export async function withInstallation<Result>(
  needs: 'store' | 'store and providers',
  work: (composed: Composed) => Promise<Result>,
): Promise<Result> {
  const config = await loadProcessConfig();
  const opened = needs === 'store' ? { ...config, providers: [] } : config;
  const composed = await compose(opened, { housekeeping: false });
  try {
    return await work(composed);
  } finally {
    await composed.countersign.close();
  }
}

/** @throws UsageError for an app that is not configured, and for none where it is not clear which is meant */
export function chooseApp({ config }: Composed, named: string | undefined, command: string): string {
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
