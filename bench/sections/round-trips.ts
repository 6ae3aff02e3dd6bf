import { setTimeout as wait } from 'node:timers/promises';
import { type CountingProxy, type RoundTrip, startCountingProxy, type WireReader } from '../counting-proxy.ts';
import { type Bench, loadPairs, newInstallation } from '../measure.ts';
import { holdMover, holdSweeper } from '../mover.ts';
import { readPostgres } from '../postgres-wire.ts';
import { readRedis } from '../redis-wire.ts';
import { type Installation, type RunningServer, startServer } from '../servers.ts';
import { table, whole } from '../tables.ts';
import { nameOfStore } from './rounds.ts';
import { busyConnections, type SectionReport } from './section.ts';

const pairs = 2000;
/** What a node asks by the clock, for all requests together: what others know, what is due, whether there is a lease. */
const mostBesides = pairs / 20;
/** The outcome of a hand-over is recorded after the answer. */
const settleMs = 500;

const stepsOf = {
  postgres: ['start', 'record_dispatch', 'check'],
  redis: ['start', 'record-dispatch', 'check'],
} as const;

type Name = keyof typeof stepsOf;
type Counted = Readonly<Record<Name, readonly RoundTrip[]>>;

/**
 * Asserts that each step of the store is one round trip and is asked for once. It is counted between the node and the
 * servers. With one caller: of several that come at once, steps may share a round trip, or stand in each other's way.
 */
export async function countRoundTrips(bench: Bench): Promise<SectionReport> {
  const { store } = bench.options;
  if (store === 'sqlite') throw new Error('SQLite has no round trips');
  const installation = await newInstallation(bench);
  const { DATABASE_URL = '', REDIS_URL } = installation.environment;
  // What moves the history asks for itself, and for many steps at once.
  await holdSweeper(DATABASE_URL);
  if (REDIS_URL !== undefined) await holdMover(DATABASE_URL);
  const postgres = await proxyTo(DATABASE_URL, readPostgres);
  const redis = REDIS_URL === undefined ? undefined : await proxyTo(REDIS_URL, () => readRedis(stepsOf.redis));
  const environment = {
    ...installation.environment,
    DATABASE_URL: postgres.url,
    ...(redis === undefined ? {} : { REDIS_URL: redis.url }),
  };
  const proxied = { ...installation, environment };
  const take = (): Counted => ({ postgres: postgres.take(), redis: redis?.take() ?? [] });
  const server = await startServer(proxied, bench.entry, bench.pinning);
  // The first steps meet an empty pool, and scripts that Redis does not know yet.
  await loadAndSettle(bench, proxied, server, busyConnections);
  take();
  await loadAndSettle(bench, proxied, server, 1);
  const lone = take();
  await loadAndSettle(bench, proxied, server, busyConnections);
  const busy = take();
  await server.stop();
  for (const proxy of [postgres, redis]) await proxy?.close();
  await installation.remove();

  assertOneEach(store, lone);
  const row = (name: string, figure: (counted: Counted) => number): string[] => [
    name,
    ...[lone, busy].map((counted) => (figure(counted) / pairs).toFixed(3)),
  ];
  const steps: readonly string[] = stepsOf[store];
  const others = (redis === undefined ? (['postgres'] as const) : (['redis', 'postgres'] as const)).map((name) =>
    row(`${nameOfStore[name]}, round trips for anything else`, (counted) => besides(store, name, counted).length),
  );
  const text = table(
    [`of ${whole(pairs)} pairs, for each pair`, 'one caller', `${busyConnections} callers`],
    [
      ...steps.map((step) => row(`step \`${step}\` asked for`, (counted) => timesOf(step, counted[store]))),
      row(`${nameOfStore[store]}, round trips for these steps`, (counted) => withSteps(store, counted).length),
      ...others,
    ],
  );
  return { title: 'Round trips', text, figures: { lone: tally(lone), busy: tally(busy) } };
}

async function loadAndSettle(
  bench: Bench,
  installation: Installation,
  server: RunningServer,
  connections: number,
): Promise<void> {
  await loadPairs(bench, installation, [server], { connections, count: pairs });
  await wait(settleMs);
}

/** @throws Error when there is a round trip too many, or one too few */
function assertOneEach(store: Name, counted: Counted): void {
  const steps = stepsOf[store];
  for (const step of steps) {
    const times = timesOf(step, counted[store]);
    if (times !== pairs) throw new Error(`${pairs} pairs asked ${nameOfStore[store]} ${times} times for ${step}`);
  }
  const roundTrips = withSteps(store, counted).length;
  if (roundTrips > steps.length * pairs) throw new Error(`${pairs} pairs took ${roundTrips} round trips`);
  for (const name of ['postgres', 'redis'] as const) {
    const more = besides(store, name, counted);
    if (more.length <= mostBesides) continue;
    const told = [...countsOf(more)].map(([asked, times]) => `${asked} ${times}`);
    throw new Error(`${pairs} pairs asked ${nameOfStore[name]} for more than their steps: ${told.join(', ')}`);
  }
}

function withSteps(store: Name, counted: Counted): readonly RoundTrip[] {
  return counted[store].filter((roundTrip) => isOfSteps(store, roundTrip));
}

function besides(store: Name, name: Name, counted: Counted): readonly RoundTrip[] {
  return name === store ? counted[name].filter((roundTrip) => !isOfSteps(store, roundTrip)) : counted[name];
}

function isOfSteps(store: Name, roundTrip: RoundTrip): boolean {
  const steps: readonly string[] = stepsOf[store];
  return roundTrip.some((name) => steps.includes(name));
}

function timesOf(step: string, roundTrips: readonly RoundTrip[]): number {
  return countsOf(roundTrips).get(step) ?? 0;
}

function countsOf(roundTrips: readonly RoundTrip[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const name of roundTrips.flat()) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

function tally({ postgres, redis }: Counted): unknown {
  return { postgres: Object.fromEntries(countsOf(postgres)), redis: Object.fromEntries(countsOf(redis)) };
}

async function proxyTo(url: string, openReader: () => WireReader): Promise<CountingProxy & { readonly url: string }> {
  const proxied = new URL(url);
  const proxy = await startCountingProxy(Number(proxied.port), openReader);
  proxied.port = String(proxy.port);
  return { ...proxy, url: proxied.href };
}
