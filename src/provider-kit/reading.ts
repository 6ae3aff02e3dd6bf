import type { DeliveryReport, ProbeOutcome, ReportOutcome, ReportRequest, SendOutcome } from '../domain/provider.ts';
import { failed, reasonForStatus } from './define-provider.ts';
import type { HttpReply, HttpSilence } from './http-client.ts';

// What most provider files have to say about answers and reports that are not as they should be.

/** Nobody answered, or not to the end. */
export function silent({ reason, code }: HttpSilence): SendOutcome {
  return failed(reason, code);
}

/** A 2xx that cannot be understood: the message may be on its way. */
export function unreadable(): SendOutcome {
  return failed('uncertain', 'unreadable');
}

/** The meaning of a status alone, for an error that the vendor's table does not have. */
export function refusedByStatus({ status, retryAfterMs }: HttpReply, code = String(status)): SendOutcome {
  // A bare 404 is a wrong address or account, not a fault of the text.
  const reason = status === 404 ? 'account' : reasonForStatus(status);
  const mayWait = reason === 'throttled' || reason === 'unavailable';
  return failed(reason, code, mayWait && retryAfterMs !== undefined ? { retryAfterMs } : {});
}

/** @param vendor e.g. `Eskiz`; @param baseUrlVariable e.g. `ESKIZ_BASE_URL` */
export function probeSilence(silence: HttpSilence, vendor: string, baseUrlVariable: string): ProbeOutcome {
  const fix = `No answer from ${vendor}: check name resolution, firewall and proxy (HTTPS_PROXY) of this machine, ${baseUrlVariable} if it is set, and the status page of ${vendor}.`;
  return { kind: 'failed', reason: silence.reason, code: silence.code, fix };
}

/** Something answers, and it is not the vendor's API. */
export function probeStranger(reply: Pick<HttpReply, 'status'>, vendor: string, baseUrlVariable: string): ProbeOutcome {
  const fix = `What answers is not the API of ${vendor}: check ${baseUrlVariable} and proxies in between.`;
  const isTwoHundred = reply.status >= 200 && reply.status <= 299;
  return { kind: 'failed', reason: 'unavailable', code: isTwoHundred ? 'unreadable' : String(reply.status), fix };
}

export const malformed: ReportOutcome = { kind: 'refused', why: 'malformed' };
export const forged: ReportOutcome = { kind: 'refused', why: 'forged' };

export function reported(...reports: readonly DeliveryReport[]): ReportOutcome {
  return { kind: 'reports', reports };
}

/** The JSON of a delivery report; undefined when it is none. */
export function jsonOf({ rawBody }: ReportRequest): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(rawBody)) as unknown;
  } catch {
    return undefined;
  }
}

/** The one value of a header; undefined when it is missing or given twice. */
export function headerOf({ headers }: ReportRequest, name: string): string | undefined {
  const value = headers[name.toLowerCase()];
  return typeof value === 'string' ? value : undefined;
}
