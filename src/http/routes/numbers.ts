import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { type Static, Type } from 'typebox';
import type { Countersign } from '../../service/countersign.ts';
import { problemResponses, sendProblem } from '../problem.ts';
import { NumberBody } from '../schemas.ts';

export function numberRoutes({ numbers }: Countersign): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.get(
      '/v1/numbers/:number',
      {
        schema: {
          tags: ['numbers'],
          operationId: 'parseNumber',
          summary: 'What a number is, without asking anybody',
          params: Type.Object({ number: Type.String({ maxLength: 64 }) }),
          querystring: Type.Object(
            { country: Type.Optional(Type.String({ pattern: '^[A-Za-z]{2}$' })) },
            { additionalProperties: false },
          ),
          response: { 200: NumberBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const { country } = request.query;
        const answer = numbers.parse({
          app: request.app,
          to: request.params.number,
          ...(country === undefined ? {} : { country: country.toUpperCase() }),
        });
        if (answer.kind === 'refused') return sendProblem(reply, { ...answer, field: 'number' });
        const { lineType, ...same } = answer.number;
        return reply.send({ ...same, line_type: lineType } as Static<typeof NumberBody>);
      },
    );
  };
}
