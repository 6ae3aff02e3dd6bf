import { setTimeout as wait } from 'node:timers/promises';
import { historyOf } from '../../src/stores/redis/keys.ts';
import { MOST_ENTRIES } from '../../src/stores/redis/steps.ts';
import { onRedis } from '../../test/servers/redis.ts';
import type { LoadResult } from '../load.ts';
import { type Bench, loadPairs, newInstallation } from '../measure.ts';
import { holdMover, holdSweeper, releaseMover } from '../mover.ts';
import { readTreeCpuSeconds } from '../process-stats.ts';
import type { Installation, RunningServer } from '../servers.ts';
import { medianOf, table, whole } from '../tables.ts';
import { nameOfStore, onNewProcess, say, tell } from './rounds.ts';
import { busyConnections, type SectionReport } from './section.ts';

const history = historyOf('bench');
/** Of what Redis keeps at most before it lets nothing in any more. */
const backlogShare = 0.8;
/** The backlog must move this many times as fast as the peak brings it. */
const leastRatio = 2;
const watchMs = 100;
const pollMs = 10;
const patienceMs = 120_000;

type Feed = {
  readonly load: LoadResult;
  readonly entriesPerPair: number;
  readonly entriesPerSecond: number;
  /** The most that waited in Redis while the mover kept up. */
  readonly mostWaiting: number;
};

type Move = {
  readonly entries: number;
  readonly seconds: number;
  readonly nodeCpuSeconds: number;
  readonly storeCpuSeconds: Readonly<Record<string, number>>;
};

/**
 * What moves the history from Redis into PostgreSQL: the peak that one node feeds it, while it is at work beside it, and
 * how fast the same node moves a backlog.
 */
export async function measureConsumer(bench: Bench): Promise<SectionReport> {
  const rounds: { feed: Feed; move: Move }[] = [];
  const installation = await newInstallation(bench);
  const { DATABASE_URL = '', REDIS_URL = '' } = installation.environment;
  await holdSweeper(DATABASE_URL);
  while (rounds.length < bench.options.rounds) {
    const round = await onNewProcess(bench, installation, async (server) => {
      const feed = await measureFeed(bench, installation, server);
      await untilEmpty(REDIS_URL);
      await holdMover(DATABASE_URL);
      const count = Math.floor((backlogShare * MOST_ENTRIES) / feed.entriesPerPair);
      await loadPairs(bench, installation, [server], { connections: busyConnections, count });
      const move = await measureMove(bench, REDIS_URL, server, () => releaseMover(DATABASE_URL));
      return { feed, move };
    });
    const { feed, move } = round;
    say(
      `  fed ${whole(feed.entriesPerSecond)} entries/s (${tell(feed.load)}), ${whole(feed.mostWaiting)} waiting at most; ` +
        `moves ${whole(movedPerSecond(move))} entries/s`,
    );
    rounds.push(round);
  }
  await installation.remove();
  const ratio = medianOf(rounds, ({ feed, move }) => movedPerSecond(move) / feed.entriesPerSecond);
  const perEntry = (of: (move: Move) => number): string =>
    medianOf(rounds, ({ move }) => (of(move) / move.entries) * 1e6).toFixed(1);
  const rows = [
    ['fed by one node at its peak, entries/s', whole(medianOf(rounds, ({ feed }) => feed.entriesPerSecond))],
    ['entries of a pair', medianOf(rounds, ({ feed }) => feed.entriesPerPair).toFixed(2)],
    ['entries that waited at most meanwhile', whole(medianOf(rounds, ({ feed }) => feed.mostWaiting))],
    ['backlog, entries', whole(medianOf(rounds, ({ move }) => move.entries))],
    ['moved when it is let loose, entries/s', whole(medianOf(rounds, ({ move }) => movedPerSecond(move)))],
    ['CPU of the node, µs an entry', perEntry(({ nodeCpuSeconds }) => nodeCpuSeconds)],
    ...bench.store.processes.map(({ name }) => [
      `CPU of ${nameOfStore[name]}, µs an entry`,
      perEntry(({ storeCpuSeconds }) => storeCpuSeconds[name] ?? Number.NaN),
    ]),
    ['moved against fed (2 at least)', ratio.toFixed(2)],
  ];
  if (ratio < leastRatio) say(`  THE CONSUMER IS TOO SLOW: ${ratio.toFixed(2)} times the peak`);
  return { title: 'From Redis into PostgreSQL', text: table(['history', ''], rows), figures: rounds };
}

async function measureFeed(bench: Bench, installation: Installation, server: RunningServer): Promise<Feed> {
  const { REDIS_URL = '' } = installation.environment;
  const before = await readHistory(REDIS_URL);
  const ended = new AbortController();
  const watching = watchWaiting(REDIS_URL, ended.signal);
  const numbersBefore = installation.nextNumber;
  const load = await loadPairs(bench, installation, [server], { connections: busyConnections });
  ended.abort();
  const { added } = await readHistory(REDIS_URL);
  const entriesPerPair = (added - before.added) / (installation.nextNumber - numbersBefore);
  return {
    load,
    entriesPerPair,
    entriesPerSecond: entriesPerPair * load.pairsPerSecond,
    mostWaiting: await watching,
  };
}

async function watchWaiting(url: string, ended: AbortSignal): Promise<number> {
  return onRedis(url, async (client) => {
    let most = 0;
    while (!ended.aborted) {
      most = Math.max(most, await client.xlen(history));
      await wait(watchMs, undefined, { signal: ended }).catch(() => undefined);
    }
    return most;
  });
}

async function measureMove(
  bench: Bench,
  url: string,
  server: RunningServer,
  letLoose: () => Promise<void>,
): Promise<Move> {
  const read = () => ({
    at: performance.now(),
    node: readTreeCpuSeconds(server.pid) ?? Number.NaN,
    stores: bench.store.processes.map(({ name, pid }) => [name, readTreeCpuSeconds(pid) ?? Number.NaN] as const),
  });
  const { waiting: backlog } = await readHistory(url);
  if (backlog === 0) throw new Error('the history was moved although its lease is held by the bench');
  await letLoose();
  const begun = await untilWaiting(url, (waiting) => waiting < backlog);
  const from = read();
  await untilEmpty(url);
  const to = read();
  return {
    entries: begun,
    seconds: (to.at - from.at) / 1000,
    nodeCpuSeconds: to.node - from.node,
    storeCpuSeconds: Object.fromEntries(
      to.stores.map(([name, seconds], index) => [name, seconds - (from.stores[index]?.[1] ?? Number.NaN)]),
    ),
  };
}

function movedPerSecond({ entries, seconds }: Move): number {
  return entries / seconds;
}

function untilEmpty(url: string): Promise<number> {
  return untilWaiting(url, (waiting) => waiting === 0);
}

/** @returns how many wait then */
async function untilWaiting(url: string, isReached: (waiting: number) => boolean): Promise<number> {
  const deadline = performance.now() + patienceMs;
  return onRedis(url, async (client) => {
    for (;;) {
      const waiting = await client.xlen(history);
      if (isReached(waiting)) return waiting;
      if (performance.now() > deadline) throw new Error(`${waiting} entries of the history are not moved`);
      await wait(pollMs);
    }
  });
}

type History = { readonly added: number; readonly waiting: number };

/** @returns entries that were ever added, and those that wait */
async function readHistory(url: string): Promise<History> {
  return onRedis(url, async (client) => {
    if ((await client.exists(history)) === 0) return { added: 0, waiting: 0 };
    const fields = (await client.xinfo('STREAM', history)) as (string | number)[];
    const field = (name: string): number => Number(fields[fields.indexOf(name) + 1]);
    return { added: field('entries-added'), waiting: field('length') };
  });
}
