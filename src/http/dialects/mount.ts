import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import { isAddress } from '../../domain/email.ts';
import { CountersignError, type Refusal, refuse } from '../../domain/problem.ts';
import { INBOX } from '../../domain/route.ts';
import { shadowAppOf } from '../../domain/shadow.ts';
import type { Log } from '../../service/context.ts';
import { refusalOf } from '../problem.ts';
import type { Served } from '../served.ts';
import { type BodySchema, compileBody, mediaTypeFault, readBody } from './body.ts';
import type {
  BodyFault,
  Caller,
  Dialect,
  DialectAnswer,
  DialectRequest,
  DialectRoute,
  DialectService,
} from './dialect.ts';
import { allowOrigins } from './origins.ts';
import { SHADOW_BODY_BYTES, type ShadowMode } from './shadow.ts';

/** A dialect and the app that speaks it. */
export type MountedDialect = {
  readonly app: string;
  readonly dialect: Dialect;
  /** before its paths, e.g. `/taxi`; else '' */
  readonly prefix: string;
  /** whose pages may call it from a browser; `*` for all */
  readonly allowedOrigins: ReadonlySet<string>;
  /** the old back end that goes on answering, in shadow mode */
  readonly upstream: string | undefined;
};

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

/** Serves a dialect's routes, with and without a slash at the end, in its framework's shapes throughout. */
export function dialectRoutes(
  served: Served,
  mounted: MountedDialect,
  log: Log,
  shadowMode: ShadowMode,
): FastifyPluginAsync {
  const { app, dialect, prefix, allowedOrigins, upstream } = mounted;
  const { countersign } = served;
  const { framework } = dialect;
  return async (server) => {
    // The body as it came: what is wrong with it is said in the framework's own shape.
    server.removeAllContentTypeParsers();
    server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    server.addHook('onRequest', async (request) => {
      request.app = app;
    });
    if (allowedOrigins.size > 0) allowOrigins(server, allowedOrigins);
    server.setErrorHandler((error, request, reply) => send(reply, thrown(error, request)));
    for (const { path } of dialect.routes) {
      if (METHODS.some((method) => server.hasRoute({ method, url: prefix + path })))
        throw new CountersignError(
          'config-invalid',
          `apps.${app} speaks ${dialect.id} at ${prefix}${path}, which is a path of Countersign's own: give it a prefix, { dialect: …, prefix: '/${app}' }`,
        );
    }
    for (const route of dialect.routes) {
      const method = methodOf(route);
      const body = compileBody(route.body);
      for (const url of [`${prefix}${route.path}`, `${prefix}${route.path}/`]) {
        server.route({
          method,
          url,
          schema: { hide: true },
          ...(upstream === undefined ? {} : { bodyLimit: SHADOW_BODY_BYTES }),
          handler: async (request, reply) => {
            const ip = addressOf(request);
            if (upstream === undefined)
              return send(reply, await handle(route, body, request, serviceFor(served, app, ip)));
            const ours = (wasTaken: boolean) =>
              handleInShadow(route, body, request, ip, wasTaken, server.initialConfig.bodyLimit);
            return shadowMode.relay({ ...mounted, upstream }, url.slice(prefix.length), request, reply, ours);
          },
        });
      }
    }
    for (const path of new Set(dialect.routes.map((route) => route.path))) {
      const allowed = dialect.routes.filter((route) => route.path === path).map(methodOf);
      for (const url of [`${prefix}${path}`, `${prefix}${path}/`]) {
        server.route({
          method: METHODS.filter((method) => !allowed.some((each) => each === method)),
          url,
          schema: { hide: true },
          handler: async (request, reply) =>
            send(reply, { headers: { allow: allowed.join(', ') }, ...framework.wrongMethod(request.method) }),
        });
      }
    }
  };

  async function handle(
    route: DialectRoute,
    body: BodySchema,
    request: FastifyRequest,
    service: DialectService,
  ): Promise<DialectAnswer> {
    const caller = route.signedIn === true ? await callerOf(request) : undefined;
    if (caller !== undefined && 'status' in caller) return caller;
    const read = readBody(request.body as Buffer | undefined, request.headers['content-type'], body, framework);
    if (read.kind === 'wrong') return invalid(read.faults, route.body.required);
    const answer = await route.handle({
      body: read.body,
      caller,
      language: languageOf(request),
      service,
    } as unknown as DialectRequest<never>);
    return 'kind' in answer ? (dialect.refused?.(answer) ?? framework.refused(answer)) : answer;
  }

  /** What `handle` would have answered, had the old back end not: nothing is sent, and the app itself knows nothing of it. */
  async function handleInShadow(
    route: DialectRoute,
    body: BodySchema,
    request: FastifyRequest,
    clientIp: string,
    wasTaken: boolean,
    bodyLimit = SHADOW_BODY_BYTES,
  ): Promise<DialectAnswer> {
    const { shadow, now } = served;
    const service = serviceFor({ countersign: shadow.judging(wasTaken), now }, shadowAppOf(app), clientIp);
    try {
      if (Buffer.byteLength((request.body as Buffer | undefined) ?? '') > bodyLimit)
        throw new CountersignError('body-too-large', 'The body is too large.');
      return await handle(route, body, request, service);
    } catch (error) {
      return thrown(error, request);
    }
  }

  async function callerOf({ headers: { authorization } }: FastifyRequest): Promise<Caller | DialectAnswer> {
    const [scheme = '', token = ''] = authorization?.split(' ') ?? [];
    if (!/^bearer$/i.test(scheme)) return framework.unauthorized('missing');
    const outcome = await countersign.bearers.verify({ app, token });
    return outcome.kind === 'signed-in' ? outcome : framework.unauthorized(outcome.why);
  }

  function invalid(faults: readonly BodyFault[], required: readonly string[] = []): DialectAnswer {
    return dialect.invalid?.(faults) ?? framework.invalid(faults, required);
  }

  function thrown(error: unknown, request: FastifyRequest): DialectAnswer {
    const refusal = refusalOf(error);
    // What is no media type at all Fastify refuses before anybody may read the body.
    if (refusal?.code === 'media-type-unsupported') return invalid([mediaTypeFault(request.headers['content-type'])]);
    if (refusal !== undefined) {
      if (refusal.code === 'store-unavailable') log.error({ error: (error as Error).message }, 'store unavailable');
      return dialect.refused?.(refusal) ?? framework.refused(refusal);
    }
    const text = error instanceof Error ? error.stack : String(error);
    log.error({ error: text, method: request.method, route: request.routeOptions.url }, 'bug');
    return framework.failed();
  }
}

function methodOf({ method = 'POST' }: DialectRoute): 'POST' | 'PUT' {
  return method;
}

function send(reply: FastifyReply, { status, body, headers }: DialectAnswer): FastifyReply {
  // As bytes: to a text Fastify adds a charset, which neither framework does.
  const bytes = Buffer.from(JSON.stringify(body));
  return reply
    .code(status)
    .headers(headers ?? {})
    .type('application/json')
    .send(bytes);
}

function serviceFor(
  { countersign, now }: Pick<Served, 'countersign' | 'now'>,
  app: string,
  clientIp: string,
): DialectService {
  const { verifications, numbers, users, routes } = countersign;
  const receivedAt = now();
  return {
    async start(request) {
      if (isAddress(request.to)) return noNumberRefusal();
      const answer = await verifications.start({ ...request, app, clientIp });
      if (answer.kind === 'refused' || answer.provider === INBOX) return answer;
      // Old back ends show the code where nothing is sent, and nowhere else.
      const { code: _, ...rest } = answer;
      return rest;
    },
    check: async (request) =>
      'to' in request && isAddress(request.to) ? noNumberRefusal() : verifications.check({ ...request, app, clientIp }),
    signIn: (approved) => users.signIn({ app, approved }),
    parse: (to, country) => numbers.parse({ app, to, ...(country === undefined ? {} : { country }) }),
    whyNotTo(to) {
      const explained = routes.explain({ app, to });
      if (explained.kind === 'refused') return explained;
      if (explained.route.tried.length > 0) return undefined;
      return refuse('no-provider', 'No configured provider sends to this number.');
    },
    secondsLeft: ({ expiresAt }) => Math.max(0, Math.round((expiresAt - receivedAt) / 1000)),
  };
}

/** What an old back end is given is a phone number: an e-mail address is a wrong one, and asks for no e-mail. */
function noNumberRefusal(): Refusal {
  return refuse('number-invalid', 'This is no phone number.', { field: 'to' });
}

/**
 * Some proxies write the port as well: `203.0.113.1:4711`, `[2001:db8::1]:4711`. Source, of one:
 * https://azure.microsoft.com/en-us/blog/rewrite-http-headers-with-azure-application-gateway/ (read 2026-11-20).
 */
function addressOf({ ip }: FastifyRequest): string {
  const [, v4, v6] = /^(?:([\d.]+)|\[([^\]]+)\])(?::\d+)?$/.exec(ip) ?? [];
  return v4 ?? v6 ?? ip;
}

/** The first language that the client names, where it names one that can be one. */
function languageOf({ headers }: FastifyRequest): string | undefined {
  const first = headers['accept-language']?.split(/[,;]/)[0]?.trim();
  return first !== undefined && /^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$/.test(first) ? first : undefined;
}
