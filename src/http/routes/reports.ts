import { timingSafeEqual } from 'node:crypto';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { refuse } from '../../domain/problem.ts';
import { problemResponses, sendProblem } from '../problem.ts';
import type { Served } from '../served.ts';

/** Delivery reports in. Whoever has no secret, and whoever has no signature where the provider signs, learns nothing. */
export function reportRoutes({ countersign, config, reportSecretOf }: Served): FastifyPluginAsyncTypebox {
  return async (app) => {
    // Signatures cover the body as it came, so nothing may parse it before the provider's own file does.
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

    app.post(
      '/v1/reports/:provider/:secret',
      {
        schema: {
          tags: ['reports'],
          security: [],
          operationId: 'takeReport',
          summary: "A provider's delivery report",
          params: Type.Object({ provider: Type.String({ maxLength: 64 }), secret: Type.String({ maxLength: 128 }) }),
          response: { 204: Type.Null(), ...problemResponses },
        },
      },
      async (request, reply) => {
        const { provider, secret } = request.params;
        const unknown = () => sendProblem(reply, refuse('not-found', 'There is nothing at this address.'));
        if (!isSame(secret, reportSecretOf(provider))) return unknown();
        const answer = await countersign.providers.report(provider, {
          url: `${config.publicUrl ?? `${request.protocol}://${request.host}`}${request.url}`,
          headers: request.headers,
          rawBody: Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0),
        });
        if (answer.kind === 'recorded') return reply.code(204).send(null);
        return answer.why === 'unknown'
          ? unknown()
          : sendProblem(
              reply,
              refuse('report-refused', 'The report is not signed, or not worded, as this provider does it.'),
            );
      },
    );
  };
}

function isSame(given: string, expected: string): boolean {
  const a = Buffer.from(given);
  const b = Buffer.from(expected);
  return a.length === b.length && timingSafeEqual(a, b);
}
