import { isUtf8 } from 'node:buffer';
import type { Socket } from 'node:net';
import fastifySwagger from '@fastify/swagger';
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox';
import Fastify, { type FastifyInstance, type FastifyPluginAsync } from 'fastify';
import { CountersignError, refuse } from '../domain/problem.ts';
import type { Log } from '../service/context.ts';
import { authenticate } from './authenticate.ts';
import { dialectRoutes } from './dialects/mount.ts';
import { createShadowMode } from './dialects/shadow.ts';
import { type Metrics, metricsRoute } from './metrics.ts';
import { Problem, refusalOf, refuseConnection, sendProblem } from './problem.ts';
import { documentationRoutes } from './routes/documentation.ts';
import { inboxRoutes } from './routes/inbox.ts';
import { messageRoutes } from './routes/messages.ts';
import { numberRoutes } from './routes/numbers.ts';
import { reportRoutes } from './routes/reports.ts';
import { routingRoutes } from './routes/routing.ts';
import { systemRoutes } from './routes/system.ts';
import { appUserRoutes, userRoutes } from './routes/users.ts';
import { verificationRoutes } from './routes/verifications.ts';
import type { Served } from './served.ts';
import { twilioVerifyRoutes } from './twilio-verify/index.ts';

const BODY_LIMIT_BYTES = 16 * 1024;
const REQUEST_TIMEOUT_MS = 15_000;
/** How often Node looks for requests that are late; its own 30 s would double the time a slow one may take. */
const LATE_REQUESTS_EVERY_MS = 5_000;
/** Longer than the 60 s of common load balancers, so that it is never we who close first. */
const KEEP_ALIVE_MS = 72_000;

export type ServerOptions = {
  readonly log: Log;
  readonly metrics: Metrics;
  /** where the pages were built to */
  readonly pagesDirectory: string;
  /** where `docs/` is */
  readonly docsDirectory: string;
  /** how long a request may take to arrive */
  readonly requestTimeoutMs?: number;
  /** how long an old back end may take to answer, in shadow mode */
  readonly upstreamDeadlineMs?: number;
};

/** The HTTP face of a composed service: it translates, and decides nothing. */
export async function buildServer(
  composed: Served,
  {
    log,
    metrics,
    pagesDirectory,
    docsDirectory,
    requestTimeoutMs = REQUEST_TIMEOUT_MS,
    upstreamDeadlineMs,
  }: ServerOptions,
): Promise<FastifyInstance> {
  const { config, inbox } = composed;
  const server = Fastify({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: requestTimeoutMs,
    http: {
      // Again, for Node: set afterwards, as Fastify does it, it lets a body take for ever (Node.js 26.10, Fastify 5.12.8).
      requestTimeout: requestTimeoutMs,
      connectionsCheckingInterval: Math.min(requestTimeoutMs, LATE_REQUESTS_EVERY_MS),
    },
    keepAliveTimeout: KEEP_ALIVE_MS,
    trustProxy: config.trustedProxies.length > 0 ? [...config.trustedProxies] : false,
    // A request that comes while the server stops is answered like any other; idle connections are closed.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 200 },
    clientErrorHandler: refuseConnection,
    frameworkErrors: (error, _request, reply) => {
      sendProblem(reply, refusalOf(error) ?? refuse('internal-error', 'The request could not be handled.'));
    },
  }).withTypeProvider<TypeBoxTypeProvider>();

  // Set before the routes: else the framework's own 400 does not fit the problem's schema, and turns into a 500.
  server.setErrorHandler((error, request, reply) => {
    const refusal = refusalOf(error);
    if (refusal !== undefined) {
      if (refusal.code === 'store-unavailable') log.error({ error: (error as Error).message }, 'store unavailable');
      return sendProblem(reply, refusal);
    }
    log.error(
      {
        error: error instanceof Error ? error.stack : String(error),
        method: request.method,
        route: request.routeOptions.url,
      },
      'bug',
    );
    return sendProblem(reply, refuse('internal-error', 'Something went wrong on this side. It was logged.'));
  });
  server.setNotFoundHandler((request, reply) =>
    sendProblem(
      reply,
      refuse('not-found', `There is no ${request.method} ${request.url.split('?')[0]?.slice(0, 100)}; see /docs.`),
    ),
  );
  server.setValidatorCompiler(TypeBoxValidatorCompiler);
  readJson(server);
  rememberAddresses(server);
  endConnectionsOnStop(server);
  server.decorateRequest('app', '');
  server.decorateRequest('hasKey', false);
  server.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'none';
    const durationMs = Math.round(reply.elapsedTime * 100) / 100;
    metrics.countRequest(request.method, route, reply.statusCode, durationMs);
    log.info({ app: request.app, method: request.method, route, status: reply.statusCode, durationMs }, 'request');
    done();
  });

  await server.register(fastifySwagger, {
    openapi: openApi(config.publicUrl),
    // A schema has the name that we gave it, not `def-0`: generated clients call their types so.
    refResolver: { buildLocalReference: ({ $id }, _baseUri, _fragment, index) => String($id ?? `def-${index}`) },
  });
  server.addSchema(Problem);
  await server.register(systemRoutes(composed));
  await server.register(metricsRoute(composed, metrics));
  await server.register(documentationRoutes(docsDirectory));
  await server.register(reportRoutes(composed));
  await server.register(userRoutes(composed.countersign));
  await server.register(keyedRoutes(composed));
  await server.register(twilioVerifyRoutes(composed, log));
  if (inbox !== undefined) {
    await server.register(
      inboxRoutes(inbox, {
        pagesDirectory,
        example: () => ({
          to: '+998901234567',
          url: `${config.publicUrl ?? addressOf(server, config.host)}/v1/verifications`,
        }),
      }),
    );
    server.get('/', { schema: { hide: true } }, async (_request, reply) => reply.redirect('inbox'));
  }
  // Last, so that they find every path of our own taken.
  const shadowMode = createShadowMode(composed, log, metrics, upstreamDeadlineMs);
  for (const mounted of config.dialects) await server.register(dialectRoutes(composed, mounted, log, shadowMode));
  return server;
}

/** What an app calls with its API key. */
function keyedRoutes(composed: Served): FastifyPluginAsync {
  const { countersign } = composed;
  return async (api) => {
    api.addHook('onRequest', authenticate(composed));
    await api.register(verificationRoutes(countersign));
    await api.register(messageRoutes(countersign));
    await api.register(numberRoutes(countersign));
    await api.register(routingRoutes(countersign));
    await api.register(appUserRoutes(countersign));
  };
}

/** JSON and nothing else: a form or a text is what a foreign page in a browser may send here without asking. */
function readJson(
  server: Pick<FastifyInstance, 'removeAllContentTypeParsers' | 'addContentTypeParser' | 'getDefaultJsonParser'>,
): void {
  const parse = server.getDefaultJsonParser('error', 'error');
  server.removeAllContentTypeParsers();
  server.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    // Many clients say JSON with every request, also where there is no body.
    if (body.length === 0) return done(null, undefined);
    // Decoded as it is, every broken byte would become the same character, and two different texts equal.
    if (!isUtf8(body)) return done(new CountersignError('json-invalid', 'The body is not UTF-8.'));
    return parse(request, body.toString(), done);
  });
}

/**
 * A socket knows its address only while it is connected. Who hangs up right behind a request would have none by the time
 * that it is handled, and nobody could count it against the limit of an address.
 */
function rememberAddresses(server: FastifyInstance): void {
  server.server.on('connection', (socket: Socket) => {
    // Node.js keeps what it has read once. Who is gone already waits for no answer.
    if (socket.remoteAddress === undefined) socket.destroy();
  });
}

/**
 * A stop waits for every connection. Node ends those that are idle at that moment, but not one whose request is still
 * under way, which would then stay open for another keep-alive time, and not one that has not said a word yet, which
 * browsers open in advance.
 */
function endConnectionsOnStop(server: FastifyInstance): void {
  const sockets = new Set<Socket>();
  let isStopping = false;
  server.server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.addHook('onSend', (_request, reply, payload, done) => {
    if (isStopping) reply.header('connection', 'close');
    done(null, payload);
  });
  server.addHook('preClose', (done) => {
    isStopping = true;
    for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
    done();
  });
}

/** Where a listening server can be reached from this machine. */
export function addressOf(server: FastifyInstance, host: string): string {
  const address = server.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host;
  return `http://${name}:${port}`;
}

function openApi(publicUrl: string | undefined) {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Countersign',
      version: '1',
      description:
        'Proves that a person holds a phone number. A 2xx answer to a check means approved, and nothing else does. Every refusal is `application/problem+json` with a stable `code`.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    ...(publicUrl === undefined ? {} : { servers: [{ url: publicUrl }] }),
    tags: ['verifications', 'messages', 'numbers', 'users', 'routing', 'usage', 'reports', 'system'].map((name) => ({
      name,
    })),
    security: [{ key: [] }],
    components: {
      securitySchemes: {
        key: {
          type: 'http' as const,
          scheme: 'bearer',
          description: 'API key of an app: `countersign keys create`. Not needed in development mode on this machine.',
        },
        accessToken: { type: 'http' as const, scheme: 'bearer', description: 'access token of a signed-in user' },
      },
    },
  };
}
