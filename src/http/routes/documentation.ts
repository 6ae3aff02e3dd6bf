import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fastifySwaggerUi from '@fastify/swagger-ui';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { problemCodes, refuse } from '../../domain/problem.ts';
import { problems, sendProblem } from '../problem.ts';

const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  // The one style that Swagger UI writes into the page.
  "style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** The API described to programs, to people, and problem by problem. */
export function documentationRoutes(docsDirectory: string): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) => reply.send(app.swagger()));

    await app.register(fastifySwaggerUi, {
      routePrefix: '/docs',
      uiConfig: { docExpansion: 'list', defaultModelsExpandDepth: 0, tryItOutEnabled: true },
      // Its own policy asks for every file by https, which a server on this machine does not speak, and names other hosts.
      staticCSP: contentSecurityPolicy,
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
