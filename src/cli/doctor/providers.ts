import { openProviders } from '../../compose.ts';
import type { Config } from '../../config/config.ts';
import { ConfigError } from '../../config/load.ts';
import { type Finding, fault, fine, skipped } from './finding.ts';

const PROBE_DEADLINE_MS = 5000;

export type ProviderReport = {
  readonly findings: readonly Finding[];
  /** those that would post delivery reports, if they knew where */
  readonly reporting: readonly string[];
};

/** Does each configured provider answer with these credentials? All are asked at the same time, and nothing is sent. */
export async function examineProviders(config: Config): Promise<ProviderReport> {
  const reports = await Promise.all(config.providers.map(({ id }) => examine(config, id)));
  return { findings: reports.map(({ finding }) => finding), reporting: reports.flatMap(({ reporting }) => reporting) };
}

async function examine(config: Config, id: string): Promise<{ finding: Finding; reporting: string[] }> {
  const check = `provider ${id}`;
  const alone = { ...config, providers: config.providers.filter((provider) => provider.id === id) };
  let reporting: string[] = [];
  const deadline = AbortSignal.timeout(PROBE_DEADLINE_MS);
  try {
    const provider = (await openProviders(alone, undefined, Date.now)).get(id)?.provider;
    if (provider?.parseReport !== undefined) reporting = [id];
    if (provider?.probe === undefined)
      return { finding: skipped(check, 'it has no call that tries the credentials without sending'), reporting };
    try {
      // Whatever the provider makes of the signal: nobody waits longer.
      const outcome = await Promise.race([provider.probe(deadline), rejectionOf(deadline)]);
      if (outcome.kind === 'ready')
        return {
          finding: fine(
            check,
            `answers with these credentials${outcome.detail === undefined ? '' : `: ${outcome.detail}`}`,
          ),
          reporting,
        };
      return { finding: fault(check, `${outcome.reason} (${outcome.code})`, outcome.fix), reporting };
    } finally {
      await provider.close?.();
    }
  } catch (error) {
    if (error instanceof ConfigError)
      return { finding: fault(check, error.faults.join('; '), 'Correct its settings.'), reporting };
    const late = `no answer within ${PROBE_DEADLINE_MS / 1000} s`;
    const detail = deadline.aborted ? late : error instanceof Error ? error.message : String(error);
    const fix = "Check name resolution, firewall and proxy of this machine, and the provider's status page.";
    return { finding: fault(check, detail, fix), reporting };
  }
}

function rejectionOf(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}
