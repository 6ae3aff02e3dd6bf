import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { JWKS_MAX_AGE_SECONDS } from '../../service/tokens.ts';
import { problemResponses } from '../problem.ts';
import type { Served } from '../served.ts';

/** What load balancers, and services that check tokens, ask for. Nobody needs a key for it. */
export function systemRoutes({ countersign }: Served): FastifyPluginAsyncTypebox {
  return async (app) => {
    const Status = Type.Object({ status: Type.Literal('ok') });
    const open = { tags: ['system'], security: [] };

    app.get(
      '/healthz',
      { schema: { ...open, operationId: 'health', summary: 'The process answers', response: { 200: Status } } },
      async () => ({ status: 'ok' as const }),
    );

    app.get(
      '/readyz',
      {
        schema: {
          ...open,
          operationId: 'ready',
          summary: 'The store can be written',
          response: { 200: Status, ...problemResponses },
        },
      },
      async () => {
        await countersign.ready();
        return { status: 'ok' as const };
      },
    );

    app.get(
      '/.well-known/jwks.json',
      {
        schema: {
          ...open,
          operationId: 'jwks',
          summary: 'Public keys of the tokens',
          response: {
            200: Type.Object({
              keys: Type.Array(
                Type.Object({
                  kty: Type.String(),
                  crv: Type.String(),
                  x: Type.String(),
                  kid: Type.String(),
                  use: Type.String(),
                  alg: Type.String(),
                }),
              ),
            }),
            ...problemResponses,
          },
        },
      },
      async (_request, reply) => {
        const { keys } = await countersign.tokens.jwks();
        reply.header('cache-control', `public, max-age=${JWKS_MAX_AGE_SECONDS}`);
        return { keys: keys as { kty: string; crv: string; x: string; kid: string; use: string; alg: string }[] };
      },
    );
  };
}
