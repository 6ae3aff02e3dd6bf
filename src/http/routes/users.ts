import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Countersign } from '../../service/countersign.ts';
import type { UserView } from '../../service/users.ts';
import { problemResponses, sendProblem } from '../problem.ts';
import { IdParams, UpdateUserBody, UserBody } from '../schemas.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** whose access token the caller showed, on the routes of `userRoutes` */
    user: UserView | undefined;
  }
}

const tags = ['users'];
const Nothing = Type.Null({ description: 'Done' });

/** What a signed-in person calls with its access token, without an API key. */
export function userRoutes({ users }: Countersign): FastifyPluginAsyncTypebox {
  return async (api) => {
    api.decorateRequest('user', undefined);
    // Before the body is read: who is not signed in learns nothing of its shape.
    api.addHook('onRequest', async (request, reply) => {
      const answer = await users.ofToken(accessTokenOf(request));
      if (answer.kind === 'refused') return sendProblem(reply, answer);
      request.app = answer.app;
      request.user = answer.user;
    });
    const security = [{ accessToken: [] }];

    api.get(
      '/v1/users/me',
      {
        schema: {
          tags,
          security,
          operationId: 'getMe',
          summary: 'Who is signed in',
          response: { 200: UserBody, ...problemResponses },
        },
      },
      async (request) => toBody(callerOf(request)),
    );

    api.patch(
      '/v1/users/me',
      {
        schema: {
          tags,
          security,
          operationId: 'updateMe',
          summary: 'Change the names of the signed-in user',
          body: UpdateUserBody,
          response: { 200: UserBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const { name, full_name } = request.body;
        const answer = await users.update({
          app: request.app,
          id: callerOf(request).id,
          ...(name === undefined ? {} : { name }),
          ...(full_name === undefined ? {} : { fullName: full_name }),
        });
        return answer.kind === 'refused' ? sendProblem(reply, answer) : reply.send(toBody(answer.user));
      },
    );

    api.delete(
      '/v1/users/me/token',
      {
        schema: {
          tags,
          security,
          operationId: 'signOut',
          summary: 'Sign out: revoke the access token that was shown',
          response: { 204: Nothing, ...problemResponses },
        },
      },
      async (request, reply) => {
        const answer = await users.signOut(accessTokenOf(request));
        return answer.kind === 'refused' ? sendProblem(reply, answer) : reply.code(204).send(null);
      },
    );

    api.delete(
      '/v1/users/me',
      {
        schema: {
          tags,
          security,
          operationId: 'eraseMe',
          summary: 'Erase the signed-in user',
          description: 'With all that the app has of its number. Counters against abuse stay until they run out.',
          response: { 204: Nothing, ...problemResponses },
        },
      },
      async (request, reply) => {
        const answer = await users.erase({ app: request.app, id: callerOf(request).id });
        return answer.kind === 'refused' ? sendProblem(reply, answer) : reply.code(204).send(null);
      },
    );
  };
}

/** What an app does with its users, with its API key. */
export function appUserRoutes({ users }: Countersign): FastifyPluginAsyncTypebox {
  return async (api) => {
    api.get(
      '/v1/users/:id',
      {
        schema: {
          tags,
          operationId: 'getUser',
          summary: 'Look a user up',
          params: IdParams,
          response: { 200: UserBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const answer = await users.get({ app: request.app, id: request.params.id });
        return answer.kind === 'refused' ? sendProblem(reply, answer) : reply.send(toBody(answer.user));
      },
    );

    api.delete(
      '/v1/users/:id/tokens',
      {
        schema: {
          tags,
          operationId: 'signOutEverywhere',
          summary: 'Revoke all access tokens of a user',
          params: IdParams,
          response: { 204: Nothing, ...problemResponses },
        },
      },
      async (request, reply) => {
        const answer = await users.signOutEverywhere({ app: request.app, id: request.params.id });
        return answer.kind === 'refused' ? sendProblem(reply, answer) : reply.code(204).send(null);
      },
    );

    api.delete(
      '/v1/users/:id',
      {
        schema: {
          tags,
          operationId: 'eraseUser',
          summary: 'Erase a user',
          description: 'With all that the app has of its number. Counters against abuse stay until they run out.',
          params: IdParams,
          response: { 204: Nothing, ...problemResponses },
        },
      },
      async (request, reply) => {
        const answer = await users.erase({ app: request.app, id: request.params.id });
        return answer.kind === 'refused' ? sendProblem(reply, answer) : reply.code(204).send(null);
      },
    );
  };
}

/** Empty where there is none: that is no access token. */
function accessTokenOf({ headers }: FastifyRequest): string {
  return /^bearer ([^ ]+)$/i.exec(headers.authorization ?? '')?.[1] ?? '';
}

function callerOf({ user }: FastifyRequest): UserView {
  if (user === undefined) throw new Error('this route is not behind the access token');
  return user;
}

function toBody({ id, name, number, fullName, isActive, isVerified }: UserView): Static<typeof UserBody> {
  return { id, name, phone: number, full_name: fullName, is_active: isActive, is_verified: isVerified };
}
