import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

const PREFLIGHT_SECONDS = 600;

/**
 * Lets pages of those origins call the routes of a plugin, and no others (https://fetch.spec.whatwg.org/#http-cors-protocol).
 * Without credentials: no route knows its caller by a cookie. A browser asks first, because the bodies are JSON.
 */
export function allowOrigins(server: FastifyInstance, origins: ReadonlySet<string>): void {
  server.addHook('onRequest', async (request, reply) => {
    const { origin } = request.headers;
    // A cache must not give the answer of one origin to another.
    reply.header('vary', 'Origin');
    if (origin === undefined || !(origins.has(origin) || origins.has('*'))) return;
    reply.header('access-control-allow-origin', origins.has('*') ? '*' : origin);
    reply.header('access-control-expose-headers', 'Retry-After');
    if (isPreflight(request)) return answerPreflight(reply);
  });
}

function isPreflight({ method, headers }: FastifyRequest): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
}

function answerPreflight(reply: FastifyReply): FastifyReply {
  return reply
    .code(204)
    .header('access-control-allow-methods', 'POST, PUT')
    .header('access-control-allow-headers', 'Content-Type, Authorization, Accept-Language')
    .header('access-control-max-age', String(PREFLIGHT_SECONDS))
    .send();
}
