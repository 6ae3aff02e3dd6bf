import type { FastifyError, FastifyReply } from 'fastify';
import { Type } from 'typebox';
import { CountersignError, type ProblemCode, problemCodes, type Refusal, refuse } from '../domain/problem.ts';

/** Status and title of every code. A new code without a row does not compile. */
export const problems = {
  'request-invalid': { status: 400, title: 'The request does not have the right shape' },
  'json-invalid': { status: 400, title: 'The body is not JSON' },
  'media-type-unsupported': { status: 415, title: 'The body must be application/json' },
  'body-too-large': { status: 413, title: 'The body is too large' },
  'number-invalid': { status: 400, title: 'Not a phone number' },
  'line-type-refused': { status: 400, title: 'This kind of line takes no such message' },
  'country-not-allowed': { status: 403, title: 'This country is closed for the app' },
  'code-malformed': { status: 400, title: 'Not a code' },
  'text-invalid': { status: 400, title: 'This text cannot be sent' },
  'idempotency-key-invalid': { status: 400, title: 'Not an idempotency key' },
  'key-missing': { status: 401, title: 'An API key is needed' },
  'key-invalid': { status: 401, title: 'The API key is not good' },
  'token-invalid': { status: 400, title: 'The approval token is not good' },
  'code-wrong': { status: 422, title: 'Wrong code' },
  'verification-unknown': { status: 404, title: 'No such verification' },
  'verification-expired': { status: 410, title: 'The verification has expired' },
  'verification-settled': { status: 410, title: 'The verification has ended' },
  'attempts-exhausted': { status: 429, title: 'No attempts left' },
  'number-locked': { status: 429, title: 'The number is locked' },
  'rate-limited': { status: 429, title: 'Too many requests' },
  'resend-too-early': { status: 429, title: 'Too early to send again' },
  'sends-exhausted': { status: 429, title: 'Sent too often' },
  'idempotency-conflict': { status: 409, title: 'Idempotency key used for another request' },
  'idempotency-in-progress': { status: 409, title: 'The first request is still being answered' },
  'recipient-refused': { status: 422, title: 'The number cannot receive the message' },
  'channel-unavailable': { status: 422, title: 'No such channel here' },
  'no-provider': { status: 503, title: 'No provider for this number' },
  'delivery-failed': { status: 502, title: 'The message could not be sent' },
  'message-unknown': { status: 404, title: 'No such message' },
  'not-found': { status: 404, title: 'No such address' },
  'store-unavailable': { status: 503, title: 'The store is not available' },
  'shutting-down': { status: 503, title: 'The server is stopping' },
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

export const problemResponses = { '4xx': Problem, '5xx': Problem } as const;

const RETRY_AFTER_SECONDS = 2;

export function sendProblem(reply: FastifyReply, refusal: Refusal): FastifyReply {
  const { status, title } = problems[refusal.code];
  const retryAfterSeconds =
    refusal.retryAfterMs === undefined
      ? status === 503
        ? RETRY_AFTER_SECONDS
        : undefined
      : Math.ceil(refusal.retryAfterMs / 1000);
  if (retryAfterSeconds !== undefined) reply.header('retry-after', String(retryAfterSeconds));
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  return reply
    .code(status)
    .type('application/problem+json')
    .send({
      type: `/problems/${refusal.code}`,
      title,
      status,
      code: refusal.code,
      detail: refusal.detail,
      field: refusal.field,
      attempts_left: refusal.attemptsLeft,
      verification_status: refusal.status,
      retry_after: retryAfterSeconds,
    });
}

/** What was thrown, as a refusal; undefined for a bug, of which nothing may leave the process. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof CountersignError) {
    return error.code === 'config-invalid' || error.code === 'store-incompatible'
      ? undefined
      : refuse(
          error.code,
          error.code === 'store-unavailable'
            ? 'The store cannot be reached just now. Nothing was sent or counted.'
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
      return refuse('body-too-large', 'The body may have 16 KiB at most.');
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return refuse('json-invalid', 'The body cannot be read as JSON.');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
    case 'FST_ERR_BAD_URL':
      return refuse('request-invalid', 'The request cannot be read.');
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
