import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Static } from 'typebox';
import { costOf } from '../../domain/usage.ts';
import type { Countersign } from '../../service/countersign.ts';
import type { MessageView } from '../../service/send-message.ts';
import { toAmount } from '../amount.ts';
import { problemResponses, sendProblem } from '../problem.ts';
import {
  IdempotencyHeaders,
  IdParams,
  MessageBody,
  MessageListBody,
  MessageListQuery,
  MessageRequestBody,
} from '../schemas.ts';
import { readIdempotencyKey, refuseKey } from './verifications.ts';

const DEFAULT_PAGE = 50;

export function messageRoutes({ messages }: Countersign): FastifyPluginAsyncTypebox {
  return async (app) => {
    const tags = ['messages'];

    app.post(
      '/v1/messages',
      {
        schema: {
          tags,
          operationId: 'sendMessage',
          summary: 'Send a text of your own',
          headers: IdempotencyHeaders,
          body: MessageRequestBody,
          response: { 201: MessageBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const { to, country, text, channel } = request.body;
        const idempotencyKey = readIdempotencyKey(request);
        if (idempotencyKey === null) return refuseKey(reply);
        const answer = await messages.send({
          app: request.app,
          to,
          text,
          ...(country === undefined ? {} : { country: country.toUpperCase() }),
          ...(channel === undefined ? {} : { channel }),
          ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
        });
        return answer.kind === 'refused' ? sendProblem(reply, answer) : reply.code(201).send(toBody(answer.message));
      },
    );

    app.get(
      '/v1/messages',
      {
        schema: {
          tags,
          operationId: 'listMessages',
          summary: 'Messages, newest first',
          querystring: MessageListQuery,
          response: { 200: MessageListBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const { to, before, limit } = request.query;
        const size = limit === undefined ? DEFAULT_PAGE : Number(limit);
        const answer = await messages.list({
          app: request.app,
          limit: size,
          // An unescaped `+` of a query arrives as a space.
          ...(to === undefined ? {} : { to: to.replace(/^ (?=\d)/, '+') }),
          ...(before === undefined ? {} : { before }),
        });
        if (answer.kind === 'refused') return sendProblem(reply, answer);
        const last = answer.messages.length === size ? answer.messages.at(-1) : undefined;
        return reply.send({ messages: answer.messages.map(toBody), ...(last === undefined ? {} : { next: last.id }) });
      },
    );

    app.get(
      '/v1/messages/:id',
      {
        schema: {
          tags,
          operationId: 'getMessage',
          summary: 'Look a message up',
          params: IdParams,
          response: { 200: MessageBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const answer = await messages.get({ app: request.app, id: request.params.id });
        return answer.kind === 'refused' ? sendProblem(reply, answer) : reply.send(toBody(answer.message));
      },
    );
  };
}

/** What is undefined here is left out by the serializer, which the type of an optional field cannot say. */
export function toBody({ verificationId, createdAt, dispatches, ...same }: MessageView): Static<typeof MessageBody> {
  return {
    ...same,
    verification_id: verificationId,
    created_at: new Date(createdAt).toISOString(),
    dispatches: dispatches.map((dispatch) => {
      const cost = costOf(dispatch);
      return {
        provider: dispatch.provider,
        channel: dispatch.channel,
        status: dispatch.state,
        provider_message_id: dispatch.providerMessageId,
        reason: dispatch.reason,
        error_code: dispatch.errorCode,
        cost: cost === undefined ? undefined : toAmount(cost),
        cost_basis: cost === undefined ? undefined : dispatch.reportedCost === undefined ? 'estimated' : 'reported',
        at: new Date(dispatch.at).toISOString(),
      };
    }),
  } as Static<typeof MessageBody>;
}
