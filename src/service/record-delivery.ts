import type { DeliveryReport, ReportRequest } from '../domain/provider.ts';
import type { ServiceContext } from './context.ts';
import { takeUpDue } from './take-up.ts';

export type DeliveryAnswer =
  | { readonly kind: 'recorded'; readonly changed: number }
  /** to be answered with that text */
  | { readonly kind: 'handshake'; readonly answer: string }
  | { readonly kind: 'refused'; readonly why: 'unknown' | 'forged' | 'malformed' };

/** Takes a provider's delivery report. A report can move a dispatch forward, and nothing else: it approves nobody. */
export async function recordDelivery(
  context: ServiceContext,
  providerId: string,
  request: ReportRequest,
): Promise<DeliveryAnswer> {
  const provider = context.providers.get(providerId)?.provider;
  if (provider?.parseReport === undefined) return { kind: 'refused', why: 'unknown' };
  const outcome = provider.parseReport(request);
  if (outcome.kind === 'refused') {
    context.log.warn({ provider: providerId, why: outcome.why }, 'delivery report refused');
    return outcome;
  }
  if (outcome.kind === 'handshake') return outcome;
  return { kind: 'recorded', changed: await recordReports(context, providerId, outcome.reports) };
}

/** @returns how many of them said something new */
export async function recordReports(
  context: ServiceContext,
  providerId: string,
  reports: readonly DeliveryReport[],
): Promise<number> {
  let changed = 0;
  let isDue = false;
  for (const report of reports) {
    const outcome = await context.store.recordReport(providerId, report, context.now());
    if (!outcome.changed) continue;
    changed += 1;
    isDue ||= outcome.due;
    context.log.info(
      {
        provider: providerId,
        providerMessage: report.providerMessageId,
        state: report.state,
        reason: report.reason,
        errorCode: report.code,
      },
      'delivery report',
    );
  }
  // The provider need not wait for what its report leads to; should this process die, housekeeping finds the message.
  if (isDue) {
    void context.underWay.add(
      takeUpDue(context).catch((error: unknown) =>
        context.log.error({ error: error instanceof Error ? error.message : String(error) }, 'failover failed'),
      ),
    );
  }
  return changed;
}
