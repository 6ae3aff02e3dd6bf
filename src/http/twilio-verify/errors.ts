import type { ProblemCode, Refusal } from '../../domain/problem.ts';
import { retryAfterSecondsOf } from '../problem.ts';

/**
 * The numbers that Twilio gives its errors, with the status that each has there.
 * Sources: https://www.twilio.com/docs/verify/api/verify-error-codes and https://www.twilio.com/docs/api/errors (read 2026-11-20).
 */
const statuses = {
  19056: 415,
  20003: 401,
  20004: 405,
  20007: 400,
  20404: 404,
  20429: 429,
  20500: 500,
  20503: 503,
  21211: 400,
  60200: 400,
  60202: 429,
  60203: 429,
  60204: 400,
  60205: 403,
  60206: 400,
  60207: 400,
  60208: 400,
  60209: 400,
  60210: 400,
  60211: 400,
  60213: 400,
  60223: 403,
  60228: 400,
  60605: 403,
} as const;

export type TwilioCode = keyof typeof statuses;

type Facts = { readonly retryAfterSeconds?: number | undefined; readonly limit?: string | undefined };

/**
 * What a request is answered with in place of what it asked for. It is thrown, because nothing of the request is done
 * after it: reading a form of twenty fields would else be twenty branches.
 */
export class TwilioError extends Error {
  override readonly name = 'TwilioError';
  readonly code: TwilioCode;
  readonly facts: Facts;

  constructor(code: TwilioCode, message: string, facts: Facts = {}) {
    super(message);
    this.code = code;
    this.facts = facts;
  }

  get status(): number {
    return statuses[this.code];
  }

  get body() {
    const { code, message, status } = this;
    return { code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status };
  }

  get headers(): Record<string, string> {
    const { retryAfterSeconds, limit } = this.facts;
    return {
      ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }),
      ...(limit === undefined ? {} : { 'twilio-reached-rate-limit': limit }),
    };
  }
}

/** @param why never the value itself: it may be a number or a code */
export function invalid(parameter: string, why: string): TwilioError {
  return new TwilioError(60200, `Invalid parameter \`${parameter}\`: ${why}`);
}

/** @param resource the path without the version */
export function notFound(resource: string): TwilioError {
  return new TwilioError(20404, `The requested resource ${resource} was not found`);
}

/** Our fields by the parameter that filled them. */
const parameters: Readonly<Record<string, string>> = {
  to: 'To',
  channel: 'Channel',
  code: 'Code',
  client_ip: 'DeviceIp',
  app_hash: 'AppHash',
  wording: 'CustomFriendlyName',
  email: 'To',
};

const sentences: Partial<Record<TwilioCode, string>> = {
  20429: 'Too many requests',
  20500: 'Internal server error',
  20503: 'Service unavailable',
  60202: 'Max check attempts reached',
  60203: 'Max send attempts reached',
  60205: 'SMS is not supported by landline phone number',
};

const codes: Partial<Record<ProblemCode, TwilioCode>> = {
  'verification-unknown': 20404,
  'verification-expired': 20404,
  'verification-settled': 20404,
  'message-unknown': 20404,
  'not-found': 20404,
  'attempts-exhausted': 60202,
  'number-locked': 60202,
  'sends-exhausted': 60203,
  'resend-too-early': 60203,
  'budget-spent': 20429,
  'recipient-refused': 21211,
  'line-type-refused': 60205,
  'country-not-allowed': 60605,
  'media-type-unsupported': 19056,
  'no-provider': 20503,
  'delivery-failed': 20503,
  'check-unanswered': 20503,
  'store-unavailable': 20503,
  'internal-error': 20500,
};

/**
 * A refusal of the service in Twilio's numbers.
 * @param resource the path that was asked for, without the version
 */
export function toTwilioError(refusal: Refusal, resource: string): TwilioError {
  const code = codeFor(refusal);
  if (code === 20404) return notFound(resource);
  if (code === 60200) {
    const parameter = refusal.field === undefined ? undefined : (parameters[refusal.field] ?? refusal.field);
    return parameter === undefined ? new TwilioError(60200, refusal.detail) : invalid(parameter, refusal.detail);
  }
  return new TwilioError(code, sentences[code] ?? refusal.detail, {
    retryAfterSeconds: retryAfterSecondsOf(refusal),
    limit: refusal.limit,
  });
}

function codeFor(refusal: Refusal): TwilioCode {
  // Twilio counts sends to a number; whatever else is full is a limit of the service.
  if (refusal.code === 'rate-limited') return refusal.scope === 'number' ? 60203 : 20429;
  return codes[refusal.code] ?? 60200;
}
