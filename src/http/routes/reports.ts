import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply } from 'fastify';
import { Type } from 'typebox';
import { refuse } from '../../domain/problem.ts';
import { isSame } from '../../provider-kit/signature.ts';
import { problemResponses, sendProblem } from '../problem.ts';
import type { Served } from '../served.ts';

/** Some vendors post up to a hundred reports at once. */
const BODY_LIMIT_BYTES = 1024 * 1024;

/** Delivery reports in. Whoever has no secret, and whoever has no signature where the provider signs, learns nothing. */
export function reportRoutes({ countersign, config, reportSecretOf }: Served): FastifyPluginAsyncTypebox {
  return async (app) => {
    // Signatures cover the body as it came, so nothing may parse it before the provider's own file does.
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

    const unknown = (reply: FastifyReply) =>
      sendProblem(reply, refuse('not-found', 'There is nothing at this address.'));

    // Some vendors report in the query of a GET, and one asks by GET whether the address is ours.
    for (const [method, operationId] of [
      ['POST', 'takeReport'],
      ['GET', 'takeReportByGet'],
    ] as const) {
      app.route({
        method,
        url: '/v1/reports/:provider/:secret',
        exposeHeadRoute: false,
        bodyLimit: BODY_LIMIT_BYTES,
        schema: {
          tags: ['reports'],
          operationId,
          security: [],
          summary: method === 'POST' ? "A provider's delivery report" : 'The same in a query, and handshakes',
          params: Type.Object({ provider: Type.String({ maxLength: 64 }), secret: Type.String({ maxLength: 128 }) }),
          response: { 200: taken, ...problemResponses },
        },
        // Before the body is read: so much is taken from nobody but a provider.
        onRequest(request, reply, done) {
          const { provider, secret } = request.params;
          if (isSame(secret, reportSecretOf(provider))) done();
          else unknown(reply);
        },
        handler: async (request, reply) => {
          const { provider } = request.params;
          const answer = await countersign.providers.report(provider, {
            method,
            url: `${config.publicUrl ?? `${request.protocol}://${request.host}`}${request.url}`,
            headers: request.headers,
            rawBody: Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0),
          });
          reply.type('text/plain');
          // A body, because one vendor takes an empty answer for none and reports again for a day.
          if (answer.kind === 'recorded') return reply.send('OK');
          if (answer.kind === 'handshake') return reply.send(answer.answer);
          return answer.why === 'unknown'
            ? unknown(reply)
            : sendProblem(
                reply,
                refuse('report-refused', 'The report is not signed, or not worded, as this provider does it.'),
              );
        },
      });
    }
  };
}

const taken = {
  description: '`OK`, or the text that a handshake asks for',
  content: { 'text/plain': { schema: Type.String() } },
} as const;
