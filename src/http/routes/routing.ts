import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Static } from 'typebox';
import type { Countersign } from '../../service/countersign.ts';
import type { HealthView } from '../../service/provider-health.ts';
import { toAmount } from '../amount.ts';
import { problemResponses, sendProblem } from '../problem.ts';
import { ExplainBody, ProviderListBody, RouteBody, UsageBody, UsageQuery } from '../schemas.ts';

/** Where messages would go, how the providers are, and what it came to. */
export function routingRoutes(countersign: Countersign): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.post(
      '/v1/routes/explain',
      {
        schema: {
          tags: ['routing'],
          operationId: 'explainRoute',
          summary: 'Which providers would be tried',
          description: 'In which order, and why not the others. Nothing is sent or counted.',
          body: ExplainBody,
          response: { 200: RouteBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const { to, country, channel, has_email, locale } = request.body;
        const answer = countersign.routes.explain({
          app: request.app,
          to,
          ...(country === undefined ? {} : { country: country.toUpperCase() }),
          ...(channel === undefined ? {} : { channel }),
          ...(has_email === undefined ? {} : { hasEmail: has_email }),
          ...(locale === undefined ? {} : { locale }),
        });
        if (answer.kind === 'refused') return sendProblem(reply, answer);
        const { lineType, tried, passedBy, ...same } = answer.route;
        return reply.send({
          ...same,
          line_type: lineType,
          tried: tried.map(({ health, price, deadlineMs, ...hop }) => ({
            ...hop,
            ...toHealth(health),
            price: price === undefined ? undefined : toAmount(price),
            deadline_seconds: deadlineMs / 1000,
          })),
          passed_by: passedBy,
        } as Static<typeof RouteBody>);
      },
    );

    app.get(
      '/v1/providers',
      {
        schema: {
          tags: ['routing'],
          operationId: 'listProviders',
          summary: "The providers of the app's routes, and how they are",
          response: { 200: ProviderListBody, ...problemResponses },
        },
      },
      async (request, reply) =>
        reply.send({
          providers: countersign.providers.health({ app: request.app }).map((view) => ({
            provider: view.provider,
            ...toHealth(view),
            countries: view.countries.map((each) => ({ country: each.country, ...toHealth(each) })),
          })),
        } as Static<typeof ProviderListBody>),
    );

    app.get(
      '/v1/usage',
      {
        schema: {
          tags: ['usage'],
          operationId: 'readUsage',
          summary: 'What was sent, delivered, approved and spent',
          description: 'By day, provider and country. The last thirty days unless told otherwise.',
          querystring: UsageQuery,
          response: { 200: UsageBody, ...problemResponses },
        },
      },
      async (request, reply) => {
        const answer = await countersign.usage.read({ app: request.app, ...request.query });
        if (answer.kind === 'refused') return sendProblem(reply, answer);
        return reply.send({
          from: answer.from,
          to: answer.to,
          usage: answer.rows.map(({ app: _, cost, wastedCost, ...row }) => ({
            ...row,
            cost: cost === undefined ? undefined : toAmount(cost),
            wasted_cost: wastedCost === undefined ? undefined : toAmount(wastedCost),
          })),
        } as Static<typeof UsageBody>);
      },
    );
  };
}

function toHealth({ state, reason, openUntil }: HealthView) {
  return { state, reason, open_until: openUntil === undefined ? undefined : new Date(openUntil).toISOString() };
}
