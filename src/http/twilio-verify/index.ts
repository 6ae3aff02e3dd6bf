import { hash, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import type { App } from '../../service/app.ts';
import type { Log } from '../../service/context.ts';
import { refusalOf } from '../problem.ts';
import type { Served } from '../served.ts';
import { attemptPaths } from './attempts.ts';
import type { Answer, Call, Handler, Path } from './call.ts';
import { notFound, TwilioError, toTwilioError } from './errors.ts';
import { Form } from './forms.ts';
import { messagingConfigurationPaths } from './messaging-configurations.ts';
import { rateLimitPaths } from './rate-limits.ts';
import { safeListPaths } from './safe-list.ts';
import { makeServices, servicePaths } from './services.ts';
import { templatePaths } from './templates.ts';
import { verificationPaths } from './verifications.ts';

const PREFIX = '/v2';
const methods = ['GET', 'POST', 'DELETE'] as const;
const OTHER_METHODS = ['PUT', 'PATCH'] as const;

const paths: readonly Path[] = [
  ...servicePaths,
  ...verificationPaths,
  ...rateLimitPaths,
  ...messagingConfigurationPaths,
  ...templatePaths,
  ...attemptPaths,
  ...safeListPaths,
];

/** Who calls with which account sid. */
type Accounts = ReadonlyMap<string, { readonly app: App; readonly authToken: string | undefined }>;

/**
 * Twilio Verify v2, as its SDKs speak it: paths, forms, JSON and error numbers of Twilio over our own service, which decides
 * everything. Nothing is served when no app is called so.
 */
export function twilioVerifyRoutes(served: Served, log: Log): FastifyPluginAsync {
  const accounts: Accounts = new Map(
    [...served.config.apps.values()].flatMap((app) =>
      app.twilioVerify === undefined
        ? []
        : [[app.twilioVerify.accountSid, { app, authToken: app.twilioVerify.authToken }] as const],
    ),
  );
  return async (server) => {
    if (accounts.size > 0) await server.register(apiOf(served, accounts, log), { prefix: PREFIX });
  };
}

function apiOf(served: Served, accounts: Accounts, log: Log): FastifyPluginAsync {
  return async (api) => {
    readForms(api);
    for (const { app } of accounts.values()) await makeServices(served.countersign, app);
    const callers = new WeakMap<FastifyRequest, { readonly app: App; readonly accountSid: string }>();
    api.addHook('onRequest', async (request) => {
      const caller = await authenticate(served, accounts, request.headers.authorization);
      if (caller === undefined) throw new TwilioError(20003, 'Authenticate');
      request.app = caller.app.id;
      request.hasKey = true;
      callers.set(request, caller);
    });
    const fail = (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
      const refused = error instanceof TwilioError ? error : readError(error, request, log);
      if (refused.code === 20003) reply.header('www-authenticate', 'Basic realm="Twilio API"');
      return reply.code(refused.status).headers(refused.headers).send(refused.body);
    };
    api.setErrorHandler(fail);
    api.setNotFoundHandler((request, reply) => fail(notFound(resourceOf(request)), request, reply));

    const run = (handler: Handler) => async (request: FastifyRequest, reply: FastifyReply) => {
      const caller = callers.get(request);
      if (caller === undefined) throw new TwilioError(20003, 'Authenticate');
      return send(reply, await handler(callOf(served, caller, request)));
    };
    for (const path of paths) {
      const allowed = methods.filter((method) => path[method] !== undefined);
      for (const method of allowed) {
        const handler = path[method];
        if (handler === undefined) continue;
        api.route({ method, url: path.path, schema: { hide: true }, handler: run(handler) });
      }
      api.route({
        method: [...methods.filter((method) => !allowed.includes(method)), ...OTHER_METHODS],
        url: path.path,
        schema: { hide: true },
        handler: async (request, reply) => {
          reply.header('allow', allowed.join(', '));
          throw new TwilioError(20004, `Method not allowed: ${request.method} ${resourceOf(request)}`);
        },
      });
    }
  };
}

function callOf(
  { countersign, config, now }: Served,
  { app, accountSid }: { readonly app: App; readonly accountSid: string },
  request: FastifyRequest,
): Call {
  const cut = request.url.indexOf('?');
  return {
    app,
    accountSid,
    countersign,
    form: request.body instanceof Form ? request.body : Form.empty,
    query: cut < 0 ? Form.empty : Form.parse(Buffer.from(request.url.slice(cut + 1))),
    params: request.params as Record<string, string>,
    resource: resourceOf(request),
    origin: config.publicUrl ?? `${request.protocol}://${request.host}`,
    now: now(),
  };
}

function send(reply: FastifyReply, { status, body, headers = {} }: Answer): FastifyReply {
  return reply.code(status).headers(headers).send(body);
}

/** Forms and nothing else: Twilio takes no JSON. */
function readForms(api: FastifyInstance): void {
  api.removeAllContentTypeParsers();
  api.addContentTypeParser<Buffer>(
    'application/x-www-form-urlencoded',
    { parseAs: 'buffer' },
    async (_request: FastifyRequest, body: Buffer) => Form.parse(body),
  );
}

const MAX_RESOURCE_CHARS = 200;

/** The path that was asked for, without version and query. */
function resourceOf({ url }: FastifyRequest): string {
  return (url.split('?')[0] ?? '').slice(PREFIX.length, PREFIX.length + MAX_RESOURCE_CHARS);
}

/** What the framework, the store or a bug threw. Nothing of a bug leaves the process. */
function readError(error: unknown, request: FastifyRequest, log: Log): TwilioError {
  const refusal = refusalOf(error);
  if (refusal?.code === 'media-type-unsupported')
    return new TwilioError(19056, 'Send parameters as application/x-www-form-urlencoded');
  if (refusal !== undefined) return toTwilioError(refusal, resourceOf(request));
  const text = error instanceof Error ? error.stack : String(error);
  log.error({ error: text, method: request.method, route: request.routeOptions.url }, 'bug');
  return new TwilioError(20500, 'Internal server error');
}

/**
 * HTTP Basic: an account, and its token or an API key of its app.
 * @returns undefined unless both are good
 */
async function authenticate(
  { countersign }: Served,
  accounts: Accounts,
  authorization: string | undefined,
): Promise<{ readonly app: App; readonly accountSid: string } | undefined> {
  const [scheme = '', credentials = ''] = authorization?.split(' ') ?? [];
  if (!/^basic$/i.test(scheme)) return undefined;
  const login = Buffer.from(credentials, 'base64').toString();
  const cut = login.indexOf(':');
  const accountSid = login.slice(0, Math.max(0, cut));
  const account = accounts.get(accountSid);
  if (account === undefined) return undefined;
  const { app, authToken } = account;
  const secret = login.slice(cut + 1);
  const isGood =
    (authToken !== undefined && isSame(secret, authToken)) || (await countersign.keys.verify(secret)) === app.id;
  return isGood ? { app, accountSid } : undefined;
}

/** In constant time, whatever the lengths. */
function isSame(a: string, b: string): boolean {
  return timingSafeEqual(hash('sha256', a, 'buffer'), hash('sha256', b, 'buffer'));
}
