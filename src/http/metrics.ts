import type { FastifyPluginAsync } from 'fastify';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ShadowOutcome } from '../domain/shadow.ts';
import { authenticate, isLocal } from './authenticate.ts';
import type { Served } from './served.ts';

export type Metrics = {
  readonly registry: Registry;
  countRequest(method: string, route: string, status: number, durationMs: number): void;
  countComparison(dialect: string, outcome: ShadowOutcome): void;
};

const BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 3, 8];

/** Only routes and statuses are labels: no app, number or address, so that the number of series is bounded. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const histogram = new Histogram({
    name: 'countersign_http_request_seconds',
    help: 'Time from a request to its answer',
    labelNames: ['method', 'route', 'status'],
    buckets: BUCKETS_SECONDS,
    registers: [registry],
  });
  const comparisons = new Counter({
    name: 'countersign_shadow_comparisons_total',
    help: 'Answers of old back ends that were compared with ours, in shadow mode',
    labelNames: ['dialect', 'outcome'],
    registers: [registry],
  });
  // Looking a series up by its labels costs more than counting in it.
  const series = new Map<string, { observe(seconds: number): void }>();
  return {
    registry,
    countRequest(method, route, status, durationMs) {
      const key = `${status} ${method} ${route}`;
      let found = series.get(key);
      if (found === undefined) {
        found = histogram.labels(method, route, String(status));
        series.set(key, found);
      }
      found.observe(durationMs / 1000);
    },
    countComparison: (dialect, outcome) => comparisons.inc({ dialect, outcome }),
  };
}

/** Prometheus' text: for this machine without a key, for any other with one. */
export function metricsRoute(composed: Served, { registry }: Metrics): FastifyPluginAsync {
  watchProviders(composed.countersign, registry);
  const needsKey = authenticate(composed);
  return async (app) => {
    app.get(
      '/metrics',
      {
        onRequest(request, reply, done) {
          if (isLocal(request)) done();
          else return needsKey.call(app, request, reply, done);
        },
        schema: { hide: true },
      },
      async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()),
    );
  };
}

/** Read when somebody asks. Countries are labels only while one is out of order there. */
function watchProviders({ providers }: Served['countersign'], registry: Registry): void {
  const gauge = new Gauge({
    name: 'countersign_provider_out_of_order',
    help: "1 while the provider's circuit breaker is open, or waits for a message that shows it is well again",
    labelNames: ['provider', 'country'],
    registers: [registry],
    collect() {
      gauge.reset();
      for (const { provider, state, countries } of providers.health()) {
        gauge.labels(provider, '').set(state === 'closed' ? 0 : 1);
        for (const { country = '' } of countries) gauge.labels(provider, country).set(1);
      }
    },
  });
}
