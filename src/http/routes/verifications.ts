import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import { refuse } from '../../domain/problem.ts';
import type { Countersign } from '../../service/countersign.ts';
import type { AutofillRequest } from '../../service/request.ts';
import type { SendAnswer } from '../../service/send-code.ts';
import type { VerificationView } from '../../service/views.ts';
import { problemResponses, sendProblem } from '../problem.ts';
import {
  ApprovedBody,
  CheckByIdBody,
  CheckByNumberBody,
  IdempotencyHeaders,
  IdParams,
  ResendBody,
  StartBody,
  StartedBody,
  VerificationBody,
} from '../schemas.ts';

export function verificationRoutes({ verifications }: Countersign): FastifyPluginAsyncTypebox {
  return async (app) => {
    const tags = ['verifications'];

    app.post(
      '/v1/verifications',
      {
        schema: {
          tags,
          operationId: 'startVerification',
          summary: 'Send a code',
          headers: IdempotencyHeaders,
          body: StartBody,
          response: { 201: StartedBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const { to, country, channel, email, locale, purpose, subject, client_ip, approval_token, metadata } =
          request.body;
        const idempotencyKey = readIdempotencyKey(request);
        if (idempotencyKey === null) return refuseKey(reply);
        const answer = await verifications.start({
          app: request.app,
          to,
          ...(country === undefined ? {} : { country: country.toUpperCase() }),
          ...(channel === undefined ? {} : { channel }),
          ...(email === undefined ? {} : { email }),
          ...autofillOf(request.body),
          ...(locale === undefined ? {} : { locale }),
          ...(purpose === undefined ? {} : { purpose }),
          ...(subject === undefined ? {} : { subject }),
          ...(approval_token === undefined ? {} : { approvalToken: approval_token }),
          ...(metadata === undefined ? {} : { metadata }),
          ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
          ...clientIpOf(request, client_ip),
        });
        return sendStarted(reply, answer);
      },
    );

    app.post(
      '/v1/verifications/:id/check',
      {
        schema: {
          tags,
          operationId: 'checkVerification',
          summary: 'Check a code',
          description: 'A 2xx answer means approved, and nothing else does.',
          params: IdParams,
          body: CheckByIdBody,
          response: { 200: ApprovedBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const { code, purpose, subject } = request.body;
        const answer = await verifications.check({
          app: request.app,
          id: request.params.id,
          code,
          ...(purpose === undefined ? {} : { purpose }),
          ...(subject === undefined ? {} : { subject }),
        });
        if (answer.kind === 'refused') return sendProblem(reply, answer);
        return reply.send({ ...toBody(answer.verification), token: answer.token });
      },
    );

    app.post(
      '/v1/check',
      {
        schema: {
          tags,
          operationId: 'checkByNumber',
          summary: 'Check a code by number',
          description:
            'For a caller that kept no id. A wrong code, an ended verification and none at all are the same answer.',
          body: CheckByNumberBody,
          response: { 200: ApprovedBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const { to, country, code, purpose, subject, approval_token } = request.body;
        const answer = await verifications.check({
          app: request.app,
          to,
          code,
          ...(country === undefined ? {} : { country: country.toUpperCase() }),
          ...(purpose === undefined ? {} : { purpose }),
          ...(subject === undefined ? {} : { subject }),
          ...(approval_token === undefined ? {} : { approvalToken: approval_token }),
        });
        if (answer.kind === 'refused') return sendProblem(reply, answer);
        return reply.send({ ...toBody(answer.verification), token: answer.token });
      },
    );

    app.post(
      '/v1/verifications/:id/resend',
      {
        // The body may be left out.
        preValidation: async (request) => {
          request.body ??= {};
        },
        schema: {
          tags,
          operationId: 'resendVerification',
          summary: 'Send the code again',
          headers: IdempotencyHeaders,
          params: IdParams,
          body: ResendBody,
          response: { 200: StartedBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const { channel, client_ip } = request.body;
        const idempotencyKey = readIdempotencyKey(request);
        if (idempotencyKey === null) return refuseKey(reply);
        const answer = await verifications.resend({
          app: request.app,
          id: request.params.id,
          ...(channel === undefined ? {} : { channel }),
          ...autofillOf(request.body),
          ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
          ...clientIpOf(request, client_ip),
        });
        return sendStarted(reply, answer, 200);
      },
    );

    app.get(
      '/v1/verifications/:id',
      {
        schema: {
          tags,
          operationId: 'getVerification',
          summary: 'Look a verification up',
          params: IdParams,
          response: { 200: VerificationBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const answer = await verifications.get({ app: request.app, id: request.params.id });
        return answer.kind === 'refused' ? sendProblem(reply, answer) : reply.send(toBody(answer.verification));
      },
    );

    app.delete(
      '/v1/verifications/:id',
      {
        schema: {
          tags,
          operationId: 'cancelVerification',
          summary: 'Cancel a verification',
          params: IdParams,
          response: { 200: VerificationBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const answer = await verifications.cancel({ app: request.app, id: request.params.id });
        return answer.kind === 'refused' ? sendProblem(reply, answer) : reply.send(toBody(answer.verification));
      },
    );
  };
}

function sendStarted(reply: FastifyReply, answer: SendAnswer, status = 201): FastifyReply {
  if (answer.kind === 'refused') return sendProblem(reply, answer);
  return reply.code(status).send({ ...toBody(answer.verification), code: answer.code });
}

/** What is undefined here is left out by the serializer, which the type of an optional field cannot say. */
export function toBody(view: VerificationView): Static<typeof VerificationBody> {
  return {
    id: view.id,
    status: view.status,
    to: view.to,
    country: view.country,
    channel: view.channel,
    locale: view.locale,
    purpose: view.purpose,
    subject: view.subject,
    created_at: new Date(view.createdAt).toISOString(),
    expires_at: new Date(view.expiresAt).toISOString(),
    resend_at: new Date(view.resendAt).toISOString(),
    attempts_left: view.attemptsLeft,
    sends: view.sends,
    metadata: view.metadata,
  } as Static<typeof VerificationBody>;
}

/** Whoever has no key is itself the end user: its socket says where it is, or a proxy that is trusted. */
function clientIpOf(request: FastifyRequest, named: string | undefined): { clientIp?: string } {
  const clientIp = request.hasKey ? named : request.ip;
  return clientIp === undefined ? {} : { clientIp };
}

/** @returns null for one that cannot be a key */
export function readIdempotencyKey(request: FastifyRequest): string | undefined | null {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return undefined;
  return typeof key === 'string' && /^[\x21-\x7e]{1,255}$/.test(key) ? key : null;
}

export function refuseKey(reply: FastifyReply): FastifyReply {
  return sendProblem(
    reply,
    refuse('idempotency-key-invalid', 'An Idempotency-Key has 1 to 255 visible ASCII characters.', {
      field: 'Idempotency-Key',
    }),
  );
}

function autofillOf({
  platform,
  app_hash,
}: {
  platform?: 'web' | 'ios' | 'android';
  app_hash?: string;
}): AutofillRequest {
  return {
    ...(platform === undefined ? {} : { platform }),
    ...(app_hash === undefined ? {} : { appHash: app_hash }),
  };
}
