import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyError, FastifyReply } from 'fastify';
import { type Static, Type } from 'typebox';
import { CountersignError, type ProblemCode, problemCodes, type Refusal, refuse } from '../domain/problem.ts';

/** Status and title of every code. A new code without a row does not compile. */
export const problems = {
  'request-invalid': { status: 400, title: 'The request does not have the right shape' },
  'json-invalid': { status: 400, title: 'The body is not JSON' },
  'media-type-unsupported': { status: 415, title: 'The body must be application/json' },
  'body-too-large': { status: 413, title: 'The body is too large' },
  'headers-too-large': { status: 431, title: 'The headers are too large' },
  'request-timeout': { status: 408, title: 'The request took too long to arrive' },
  'number-invalid': { status: 400, title: 'Not a phone number' },
  'line-type-refused': { status: 400, title: 'This kind of line takes no such message' },
  'country-not-allowed': { status: 403, title: 'This country is closed for the app' },
  'code-malformed': { status: 400, title: 'Not a code' },
  'text-invalid': { status: 400, title: 'This text cannot be sent' },
  'idempotency-key-invalid': { status: 400, title: 'Not an idempotency key' },
  'key-missing': { status: 401, title: 'An API key is needed' },
  'key-invalid': { status: 401, title: 'The API key is not good' },
  'token-invalid': { status: 400, title: 'The approval token is not good' },
  'access-token-invalid': { status: 401, title: 'The access token is not good' },
  'number-unproven': { status: 403, title: 'The approval does not prove the number' },
  'code-wrong': { status: 422, title: 'Wrong code' },
  'verification-unknown': { status: 404, title: 'No such verification' },
  'verification-expired': { status: 410, title: 'The verification has expired' },
  'verification-settled': { status: 410, title: 'The verification has ended' },
  'attempts-exhausted': { status: 429, title: 'No attempts left' },
  'number-locked': { status: 429, title: 'The number is locked' },
  'check-unanswered': { status: 502, title: 'The provider does not answer' },
  'rate-limited': { status: 429, title: 'Too many requests' },
  'resend-too-early': { status: 429, title: 'Too early to send again' },
  'sends-exhausted': { status: 429, title: 'Sent too often' },
  'budget-spent': { status: 429, title: 'The budget of the day is spent' },
  'idempotency-conflict': { status: 409, title: 'Idempotency key used for another request' },
  'idempotency-in-progress': { status: 409, title: 'The first request is still being answered' },
  'recipient-refused': { status: 422, title: 'The number cannot receive the message' },
  'no-provider': { status: 503, title: 'No provider for this number' },
  'delivery-failed': { status: 502, title: 'The message could not be sent' },
  'message-unknown': { status: 404, title: 'No such message' },
  'user-unknown': { status: 404, title: 'No such user' },
  'report-refused': { status: 400, title: 'The delivery report is not good' },
  'not-found': { status: 404, title: 'No such address' },
  'issuer-unavailable': { status: 503, title: 'Bearer tokens cannot be checked just now' },
  'store-unavailable': { status: 503, title: 'The store is not available' },
  'internal-error': { status: 500, title: 'Internal error' },
} as const satisfies Record<ProblemCode, { status: number; title: string }>;

/** Body of every refusal, as in RFC 9457. */
export const Problem = Type.Object(
  {
    type: Type.String({ description: 'where the problem is explained, relative to this server' }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.Enum([...problemCodes], { description: 'stable: programs decide by this' }),
    detail: Type.String({ description: 'what happened and what to do about it' }),
    field: Type.Optional(Type.String({ description: 'the field of the request that is at fault' })),
    attempts_left: Type.Optional(Type.Integer()),
    verification_status: Type.Optional(Type.String()),
    retry_after: Type.Optional(Type.Integer({ description: 'seconds; also in the Retry-After header' })),
  },
  { $id: 'Problem' },
);

const problemResponse = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: Type.Unsafe<Static<typeof Problem>>({ $ref: 'Problem#' }) } },
});

export const problemResponses = {
  '4xx': problemResponse('Refused: `code` says why'),
  '5xx': problemResponse('Nobody can answer that just now: `code` says why'),
} as const;

const RETRY_AFTER_SECONDS = 2;

export function sendProblem(reply: FastifyReply, refusal: Refusal): FastifyReply {
  const body = bodyOf(refusal);
  if (body.retry_after !== undefined) reply.header('retry-after', String(body.retry_after));
  if (body.status === 401) reply.header('www-authenticate', 'Bearer');
  return reply.code(body.status).type('application/problem+json').send(body);
}

/** What `Retry-After` says, where it says something. */
export function retryAfterSecondsOf({ code, retryAfterMs }: Refusal): number | undefined {
  if (retryAfterMs !== undefined) return Math.ceil(retryAfterMs / 1000);
  return problems[code].status === 503 ? RETRY_AFTER_SECONDS : undefined;
}

function bodyOf(refusal: Refusal) {
  const { status, title } = problems[refusal.code];
  return {
    type: `/problems/${refusal.code}`,
    title,
    status,
    code: refusal.code,
    detail: refusal.detail,
    field: refusal.field,
    attempts_left: refusal.attemptsLeft,
    verification_status: refusal.status,
    retry_after: retryAfterSecondsOf(refusal),
  };
}

/** Answers what never became a request: broken HTTP, headers over Node's limit, a request that took too long. */
export function refuseConnection(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const { status, ...body } = bodyOf(
    error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? refuse('request-timeout', 'The request did not arrive in time.')
      : error.code === 'HPE_HEADER_OVERFLOW'
        ? refuse('headers-too-large', 'The headers may have 16 KiB at most.')
        : refuse('request-invalid', 'The request cannot be read.'),
  );
  const text = JSON.stringify({ ...body, status });
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(text)}`,
    'Connection: close',
  ];
  if (socket.writable) socket.end(`${lines.join('\r\n')}\r\n\r\n${text}`);
  else socket.destroy();
}

/** What was thrown, as a refusal; undefined for a bug, of which nothing may leave the process. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof CountersignError) {
    return error.code === 'config-invalid' || error.code === 'store-incompatible'
      ? undefined
      : refuse(
          error.code,
          error.code === 'store-unavailable'
            ? 'The store cannot be reached just now. Try again in a moment.'
            : error.message,
        );
  }
  return fromFastify(error as FastifyError);
}

function fromFastify(error: Partial<FastifyError>): Refusal | undefined {
  if (error.validation !== undefined)
    return refuse('request-invalid', ...describe(error.validation, error.validationContext));
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return refuse('media-type-unsupported', 'Send the body with Content-Type: application/json.');
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return refuse('body-too-large', 'The body may have 16 KiB at most, that of a delivery report 1 MiB.');
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return refuse('json-invalid', 'The body cannot be read as JSON.');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
    case 'FST_ERR_BAD_URL':
      return refuse('request-invalid', 'The request cannot be read.');
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return refuse('not-found', 'A part of the path is too long to be anything here.');
    default:
      return error.statusCode === 400 ? refuse('json-invalid', 'The body cannot be read as JSON.') : undefined;
  }
}

/** The first fault that names a place, in words; and the field it is about. */
function describe(
  faults: NonNullable<FastifyError['validation']>,
  context: string | undefined,
): [string, { field?: string }] {
  for (const { keyword, instancePath, params, message } of faults) {
    const at = instancePath.split('/').filter(Boolean).join('.');
    const within = (key: unknown) => (at === '' ? String(key) : `${at}.${String(key)}`);
    const { requiredProperties, additionalProperties, allowedValues } = params as Record<string, unknown[] | undefined>;
    // An unknown field is reported a second time as a field whose schema is `false`.
    if (keyword === 'boolean') continue;
    if (requiredProperties !== undefined) {
      const field = within(requiredProperties[0]);
      return [`The field ${field} is missing.`, { field }];
    }
    if (additionalProperties !== undefined) {
      const field = within(additionalProperties[0]);
      return [`There is no field ${field} in this request.`, { field }];
    }
    const choices = allowedValues === undefined ? '' : `: ${allowedValues.join(', ')}`;
    if (at === '') return [`The ${context ?? 'body'} ${message ?? 'has the wrong shape'}${choices}.`, {}];
    return [`The field ${at} ${message ?? 'is not right'}${choices}.`, { field: at }];
  }
  return ['The request does not have the right shape.', {}];
}
