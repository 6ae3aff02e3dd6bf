import { openProviders } from '../../compose.ts';
import type { Config } from '../../config/config.ts';
import { ConfigError } from '../../config/load.ts';
import { createHttpClient } from '../../provider-kit/http-client.ts';
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
  const off = config.switchedOff.map(({ id, variable }) =>
    skipped(`provider ${id}`, `switched off by ${variable}; set ${variable}=true, or remove it, to send through it`),
  );
  return {
    findings: [...reports.flatMap(({ findings }) => findings), ...off],
    reporting: reports.flatMap(({ reporting }) => reporting),
  };
}

async function examine(config: Config, id: string): Promise<{ findings: Finding[]; reporting: string[] }> {
  const check = `provider ${id}`;
  const alone = { ...config, providers: config.providers.filter((provider) => provider.id === id) };
  const findings: Finding[] = [];
  let reporting: string[] = [];
  const deadline = AbortSignal.timeout(PROBE_DEADLINE_MS);
  const http = createHttpClient(Date.now, process.env);
  try {
    const opened = (await openProviders(alone, undefined, { now: Date.now, http })).get(id);
    if (opened === undefined) return { findings, reporting };
    const { provider, kind } = opened;
    if (provider.parseReport !== undefined) reporting = [id];
    const waiting = waitFinding(config, opened);
    if (waiting !== undefined) findings.push(waiting);
    try {
      if (provider.probe === undefined) {
        findings.unshift(skipped(check, 'it has no call that tries the credentials without sending'));
        return { findings, reporting };
      }
      // Whatever the provider makes of the signal: nobody waits longer.
      const outcome = await Promise.race([provider.probe(deadline), rejectionOf(deadline)]);
      const makesCodes = kind === 'managed' ? ', and makes its own codes' : '';
      const detail = outcome.kind === 'ready' && outcome.detail !== undefined ? `: ${outcome.detail}` : '';
      findings.unshift(
        outcome.kind === 'ready'
          ? fine(check, `answers with these credentials${makesCodes}${detail}`)
          : fault(check, `${outcome.reason} (${outcome.code})`, outcome.fix),
      );
    } finally {
      await provider.close?.();
    }
  } catch (error) {
    if (error instanceof ConfigError) {
      findings.unshift(fault(check, error.faults.join('; '), 'Correct its settings.'));
      return { findings, reporting };
    }
    const late = `no answer within ${PROBE_DEADLINE_MS / 1000} s`;
    const detail = deadline.aborted ? late : error instanceof Error ? error.message : String(error);
    const fix = "Check name resolution, firewall and proxy of this machine, and the provider's status page.";
    findings.unshift(fault(check, detail, fix));
  } finally {
    http.close();
  }
  return { findings, reporting };
}

type Opened = NonNullable<ReturnType<Awaited<ReturnType<typeof openProviders>>['get']>>;

/** Waiting for a report that has no way to come sends each code twice, or does nothing at all. */
function waitFinding({ publicUrl }: Config, { id, provider, reportTimeoutMs }: Opened): Finding | undefined {
  if (reportTimeoutMs === undefined) return undefined;
  const check = `reports ${id}`;
  const seconds = reportTimeoutMs / 1000;
  if (provider.onReport !== undefined || (provider.parseReport !== undefined && publicUrl !== undefined))
    return undefined;
  // At the end of its time it is asked, and only what did not arrive is sent again.
  if (provider.fetchReport !== undefined)
    return publicUrl === undefined && provider.parseReport !== undefined
      ? skipped(check, `no report can come without PUBLIC_URL; it is asked after ${seconds} s instead`)
      : undefined;
  if (provider.parseReport === undefined)
    return fault(
      check,
      `reportTimeoutSeconds is ${seconds}, and this provider never says whether a message arrived`,
      'Take reportTimeoutSeconds out of its settings: it has no effect there.',
    );
  return fault(
    check,
    `reportTimeoutSeconds is ${seconds}, and without PUBLIC_URL no report can come: each code is sent by another way as well, ${seconds} s later`,
    'Set PUBLIC_URL, or take reportTimeoutSeconds out of its settings.',
  );
}

function rejectionOf(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}
