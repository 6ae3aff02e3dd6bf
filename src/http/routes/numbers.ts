import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { type Static, Type } from 'typebox';
import type { Countersign } from '../../service/countersign.ts';
import { problemResponses, sendProblem } from '../problem.ts';
import { NumberBody } from '../schemas.ts';

const NumberParams = Type.Object({ number: Type.String({ maxLength: 64 }) });
const CountryQuery = Type.Object(
  { country: Type.Optional(Type.String({ pattern: '^[A-Za-z]{2}$' })) },
  { additionalProperties: false },
);

export function numberRoutes({ numbers }: Countersign): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.get(
      '/v1/numbers/:number',
      {
        schema: {
          tags: ['numbers'],
          operationId: 'parseNumber',
          summary: 'What a number is, without asking anybody',
          params: NumberParams,
          querystring: CountryQuery,
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
        const { lineType, market, ...same } = answer.number;
        const itsMarket = market === undefined ? {} : { market: market.id, currency: market.currency };
        return reply.send({ ...same, line_type: lineType, ...itsMarket } as Static<typeof NumberBody>);
      },
    );

    app.delete(
      '/v1/numbers/:number',
      {
        schema: {
          tags: ['numbers'],
          operationId: 'eraseNumber',
          summary: 'Erase what the app has of a number',
          description: 'Its user, verifications and messages. Counters against abuse stay until they run out.',
          params: NumberParams,
          querystring: CountryQuery,
          response: { 204: Type.Null({ description: 'Done' }), ...problemResponses },
        },
      },
      async (request, reply) => {
        const { country } = request.query;
        const answer = await numbers.erase({
          app: request.app,
          to: request.params.number,
          ...(country === undefined ? {} : { country: country.toUpperCase() }),
        });
        if (answer.kind === 'refused') return sendProblem(reply, { ...answer, field: 'number' });
        return reply.code(204).send(null);
      },
    );
  };
}
