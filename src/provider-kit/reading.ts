import type { Money } from '../domain/price.ts';
import type {
  DeliveryReport,
  FailureReason,
  ProbeOutcome,
  ReportOutcome,
  ReportRequest,
  SendOutcome,
} from '../domain/provider.ts';
import { failed, reasonForStatus } from './define-provider.ts';
import type { HttpReply, HttpSilence } from './http-client.ts';

type Failed = Extract<SendOutcome, { kind: 'failed' }>;

// What most provider files have to say about answers and reports that are not as they should be.

/** Nobody answered, or not to the end. */
export function silent({ reason, code }: HttpSilence): Failed {
  return failed(reason, code);
}

/** A 2xx that cannot be understood: the message may be on its way. */
export function unreadable(): Failed {
  return failed('uncertain', 'unreadable');
}

export function isTwoHundred({ status }: Pick<HttpReply, 'status'>): boolean {
  return status >= 200 && status <= 299;
}

const NUMBER = String.raw`phone|msisdn|recipient|\bdst\b|destination|\bnumber\b(?! of)|номер|получател`;
const WRONG = `invalid|incorrect|wrong|not (?:a )?valid|malformed|does(?: not|n't) exist|digits|неверн|некоррект|неправильн|не существует`;
/**
 * Words that say that the number itself is wrong, for vendors that have no error numbers. A `recipient` ends the
 * verification, so it takes two of them side by side: "too many to this number" and "invalid number of parts" are
 * something else.
 */
export const WRONG_NUMBER = new RegExp(`(?:${NUMBER}).{0,40}(?:${WRONG})|(?:${WRONG}).{0,40}(?:${NUMBER})`, 'is');

/** The meaning of a status alone, for an error that the vendor's table does not have. */
export function refusedByStatus(
  { status, retryAfterMs }: Pick<HttpReply, 'status' | 'retryAfterMs'>,
  code = String(status),
): Failed {
  // A bare 404 is a wrong address or account, not a fault of the text.
  const reason = status === 404 ? 'account' : reasonForStatus(status);
  return failed(reason, code, waitOf(reason, retryAfterMs));
}

/** `Retry-After` where it makes sense: a wrong password is not mended by waiting. */
export function waitOf(reason: FailureReason, retryAfterMs: number | undefined): { readonly retryAfterMs?: number } {
  const mayWait = reason === 'throttled' || reason === 'unavailable';
  return mayWait && retryAfterMs !== undefined ? { retryAfterMs } : {};
}

/** @param vendor e.g. `Eskiz`; @param baseUrlVariable e.g. `ESKIZ_BASE_URL` */
export function probeSilence(silence: HttpSilence, vendor: string, baseUrlVariable: string): ProbeOutcome {
  const fix = `No answer from ${vendor}: check name resolution, firewall and proxy (HTTPS_PROXY) of this machine, ${baseUrlVariable} if it is set, and the status page of ${vendor}.`;
  return { kind: 'failed', reason: silence.reason, code: silence.code, fix };
}

/** Something answers, and it is not the vendor's API. */
export function probeStranger(reply: Pick<HttpReply, 'status'>, vendor: string, baseUrlVariable: string): ProbeOutcome {
  const fix = `What answers is not the API of ${vendor}: check ${baseUrlVariable} and proxies in between.`;
  const code = isTwoHundred(reply) ? 'unreadable' : String(reply.status);
  return { kind: 'failed', reason: 'unavailable', code, fix };
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

/**
 * A text or a number as a text, else an empty one. What a vendor sends can be anything, and `String` throws at an object
 * with a `toString` of its own.
 */
export function wordOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

/** A number, or a text that is one; NaN for everything else. */
export function numberOf(value: unknown): number {
  const number = wordOf(value).trim() === '' ? Number.NaN : Number(value);
  return Number.isFinite(number) ? number : Number.NaN;
}

/** Undefined for nothing, less than nothing, more than anybody could be charged, and what is no currency. */
export function moneyOf(amount: number, currency: unknown): Money | undefined {
  const micros = Math.round(amount * 1_000_000);
  const code = wordOf(currency).toUpperCase();
  return micros > 0 && Number.isSafeInteger(micros) && /^[A-Z]{3}$/.test(code) ? { micros, currency: code } : undefined;
}

/** The one value of a header; undefined when it is missing or given twice. */
export function headerOf({ headers }: ReportRequest, name: string): string | undefined {
  const value = headers[name.toLowerCase()];
  return typeof value === 'string' ? value : undefined;
}
