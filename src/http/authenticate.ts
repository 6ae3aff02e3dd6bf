import type { FastifyRequest, onRequestHookHandler } from 'fastify';
import { CountersignError, refuse } from '../domain/problem.ts';
import { sendProblem } from './problem.ts';
import type { Served } from './served.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** the app whose key the caller showed */
    app: string;
    /** false for the caller without a key in development mode: nothing it says of others is believed */
    hasKey: boolean;
  }
}

const loopbackAddress = /^(127\.|::1$|::ffff:127\.)/;
const loopbackHost = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/i;

/** Finds out which app is calling. In development mode a caller on this machine needs no key. */
export function authenticate({ countersign, config }: Served): onRequestHookHandler {
  const [firstApp = ''] = config.apps.keys();
  const openApp = config.apps.has('default') ? 'default' : firstApp;
  return async (request, reply) => {
    const { authorization } = request.headers;
    if (authorization === undefined) {
      if (config.mode === 'development' && isLocal(request)) {
        request.app = openApp;
        request.hasKey = false;
        return;
      }
      return sendProblem(
        reply,
        refuse(
          'key-missing',
          'Send the API key of an app as Authorization: Bearer cs_…; make one with `countersign keys create`.',
        ),
      );
    }
    const [scheme = '', key = ''] = authorization.split(' ');
    const app = /^bearer$/i.test(scheme) ? await countersign.keys.verify(key) : undefined;
    if (app === undefined) return sendProblem(reply, refuse('key-invalid', 'This API key is unknown or revoked.'));
    if (!config.apps.has(app))
      throw new CountersignError('key-invalid', `This key belongs to the app '${app}', which is no longer configured.`);
    request.app = app;
    request.hasKey = true;
  };
}

/**
 * The socket, the name, and whom a trusted proxy speaks for: a page in a browser can make this machine call itself under
 * a name of the attacker's. What an unknown proxy says is not even looked at.
 */
export function isLocal(request: FastifyRequest): boolean {
  return isLoopback(request) && loopbackAddress.test(request.ip) && loopbackHost.test(request.headers.host ?? '');
}

export function isLoopback(request: FastifyRequest): boolean {
  return loopbackAddress.test(request.socket.remoteAddress ?? '');
}
