import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fastifySwaggerUi from '@fastify/swagger-ui';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { problemCodes, refuse } from '../../domain/problem.ts';
import { problems, sendProblem } from '../problem.ts';

/** The API described to programs, to people, and problem by problem. */
export function documentationRoutes(docsDirectory: string): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) => reply.send(app.swagger()));

    await app.register(fastifySwaggerUi, {
      routePrefix: '/docs',
      uiConfig: { docExpansion: 'list', defaultModelsExpandDepth: 0, tryItOutEnabled: true },
      staticCSP: true,
      // On plain http, which is what a server on this machine speaks, it would ask for every file by https.
      transformStaticCSP: (header) => header.replace(/ ?upgrade-insecure-requests;?/, ''),
      theme: { title: 'Countersign API' },
    });

    app.get(
      '/problems/:code',
      { schema: { hide: true, params: Type.Object({ code: Type.String({ maxLength: 64 }) }) } },
      async (request, reply) => {
        const code = problemCodes.find((known) => known === request.params.code);
        if (code === undefined) return sendProblem(reply, refuse('not-found', 'There is no such problem code.'));
        const { status, title } = problems[code];
        const page = await readFile(join(docsDirectory, 'problems.md'), 'utf8');
        const [, paragraph = ''] = new RegExp(`^## ${code}\\n([\\s\\S]*?)(?=^## |(?![\\s\\S]))`, 'm').exec(page) ?? [];
        return reply
          .type('text/plain; charset=utf-8')
          .send(`${code} (HTTP ${status}): ${title}\n\n${paragraph.trim()}\n`);
      },
    );
  };
}
