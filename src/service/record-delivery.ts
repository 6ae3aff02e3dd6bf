import type { ReportRequest } from '../domain/provider.ts';
import type { ServiceContext } from './context.ts';

export type DeliveryAnswer =
  | { readonly kind: 'recorded'; readonly changed: number }
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
  let changed = 0;
  for (const report of outcome.reports) {
    if (!(await context.store.recordReport(providerId, report, context.now()))) continue;
    changed += 1;
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
  return { kind: 'recorded', changed };
}
