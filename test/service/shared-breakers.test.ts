import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { CountersignError } from '../../src/domain/problem.ts';
import { accepted, type Countersign, failed, type SendOutcome } from '../../src/index.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import { openStoreOf } from './bare-store.ts';
import { type Bench, expectStarted, FakeProvider, NUMBER, noLimits, openBench, until } from './service-bench.ts';

const POLL_MS = 500;
/** The node that found it out tries first. */
const FINDER_FIRST_MS = 1000;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});
afterEach(() => {
  vi.useRealTimers();
});

type TwoNodes = Bench & {
  readonly a: Countersign;
  readonly b: Countersign;
  readonly first: FakeProvider;
  readonly second: FakeProvider;
  start(node: Countersign): Promise<unknown>;
};

/** Two nodes over one file, and two providers of which the first is not well. */
async function openNodes(outcome: SendOutcome, probe?: FakeProvider['probe']): Promise<TwoNodes> {
  const first = new FakeProvider('first');
  first.probe = probe;
  first.answer = async () => outcome;
  const second = new FakeProvider('second');
  const bench = await openBench(
    { routes: { '*': ['first', 'second'] }, limits: noLimits, maxSends: 10 },
    { providers: [first, second] },
  );
  let subject = 0;
  const start = async (node: Countersign) => {
    subject += 1;
    expectStarted(await node.verifications.start({ to: NUMBER, subject: `u${subject}` }));
  };
  return { ...bench, a: bench.countersign, b: await bench.again(), first, second, start };
}

function stateOn(node: Countersign, country?: string): string {
  const view = node.providers.health().find(({ provider }) => provider === 'first');
  return (country === undefined ? view : view?.countries.find((each) => each.country === country))?.state ?? 'closed';
}

/** Lets every node ask what the others know, again and again until it shows. */
async function pollUntil(isSo: () => boolean): Promise<void> {
  await until(async () => {
    await vi.advanceTimersByTimeAsync(POLL_MS);
    return isSo();
  });
}

/** For what must not come of it: more polls than anything takes that does. */
async function pollOften(): Promise<void> {
  for (let poll = 0; poll < 10; poll += 1) {
    await vi.advanceTimersByTimeAsync(POLL_MS);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('a provider that one node found dead', () => {
  it('is skipped by another after its next poll, in that country alone', async () => {
    const nodes = await openNodes(failed('unavailable', '503'));
    const { a, b, first } = nodes;
    for (let failure = 0; failure < 5; failure += 1) await nodes.start(a);
    expect([stateOn(a, 'UZ'), stateOn(b, 'UZ')]).toEqual(['open', 'closed']);
    await pollUntil(() => stateOn(b, 'UZ') === 'open');
    expect(stateOn(b)).toBe('closed');
    await nodes.start(b);
    expect(first.received).toHaveLength(5);
    expect(nodes.log.filter(({ message }) => message.includes('taken out'))).toMatchObject([
      { provider: 'first', country: 'UZ', reason: 'unavailable' },
      { provider: 'first', country: 'UZ', reason: 'unavailable', foundBy: 'another node' },
    ]);
  });

  it('is skipped by a node that only starts then, from its first message on', async () => {
    const nodes = await openNodes(failed('account', '401'));
    await nodes.start(nodes.a);
    await pollUntil(() => stateOn(nodes.b) === 'open');
    const late = await nodes.again();
    expect(stateOn(late)).toBe('open');
    await nodes.start(late);
    expect(nodes.first.received).toHaveLength(1);
  });

  it('is tried by that node first, and no other hands it a message while the trial is on its way', async () => {
    const nodes = await openNodes(failed('account', '401'));
    const { a, b, first, clock } = nodes;
    await nodes.start(a);
    await pollUntil(() => stateOn(b) === 'open');
    const trial = Promise.withResolvers<SendOutcome>();
    first.answer = () => trial.promise;
    clock.advance(10_000);
    await nodes.start(b);
    expect(first.received).toHaveLength(1);
    const tried = nodes.start(a);
    await until(() => first.received.length === 2);
    clock.advance(FINDER_FIRST_MS);
    expect(stateOn(b)).toBe('trial');
    await pollUntil(() => stateOn(b) === 'open');
    await nodes.start(b);
    expect(first.received).toHaveLength(2);

    trial.resolve(accepted('1'));
    await tried;
    expect(stateOn(a)).toBe('closed');
    await pollUntil(() => stateOn(b) === 'closed');
    first.answer = async () => accepted('2');
    await nodes.start(b);
    expect(first.received).toHaveLength(3);
  });

  it('is tried by another where that node has died', async () => {
    const nodes = await openNodes(failed('account', '401'));
    const { a, b, first, clock } = nodes;
    await nodes.start(a);
    await pollUntil(() => stateOn(b) === 'open');
    clock.advance(10_000 + FINDER_FIRST_MS);
    first.answer = async () => accepted('1');
    await nodes.start(b);
    expect([first.received.length, stateOn(b)]).toEqual([2, 'closed']);
    await pollUntil(() => stateOn(a) === 'closed');
  });

  it('cools off as long as it would for one node, when both ask it in vain whether it is well', async () => {
    const probes: PromiseWithResolvers<{ kind: 'failed'; reason: 'unavailable'; code: string; fix: string }>[] = [];
    const nodes = await openNodes(failed('account', '401'), () => {
      const probe = Promise.withResolvers<{ kind: 'failed'; reason: 'unavailable'; code: string; fix: string }>();
      probes.push(probe);
      return probe.promise;
    });
    const { a, b, clock } = nodes;
    await nodes.start(a);
    await pollUntil(() => stateOn(b) === 'open');
    clock.advance(10_000 + FINDER_FIRST_MS);
    await Promise.all([nodes.start(a), nodes.start(b)]);
    expect(probes).toHaveLength(2);
    const answer = { kind: 'failed', reason: 'unavailable', code: '503', fix: 'wait' } as const;
    probes[0]?.resolve(answer);
    await pollUntil(() => stateOn(a) === 'open' && stateOn(b) === 'open');
    probes[1]?.resolve(answer);
    await pollOften();
    // It was 40 s by then on the one that was answered last, and soon on both.
    clock.advance(20_000 + FINDER_FIRST_MS);
    expect([stateOn(a), stateOn(b)]).toEqual(['trial', 'trial']);
  });

  it('writes nothing while nothing changes: messages that are taken, failures that are merely counted', async () => {
    const nodes = await openNodes(accepted('1'));
    for (let taken = 0; taken < 5; taken += 1) await nodes.start(nodes.a);
    nodes.first.answer = async () => failed('unavailable', '503');
    for (let failure = 0; failure < 4; failure += 1) await nodes.start(nodes.a);
    await pollOften();
    const store = openStoreOf(nodes.dataDir);
    expect(await store.listBreakers()).toEqual([]);
    await store.close();
  });
});

describe('a store that is away', () => {
  it('lets a node go on by what it knows itself, says so once, and is told afterwards', async () => {
    const first = new FakeProvider('first');
    first.answer = async () => failed('account', '401');
    const second = new FakeProvider('second');
    let isAway = false;
    let shares = 0;
    const directory = mkdtempSync(join(tmpdir(), 'countersign-breakers-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const store = openSqliteStore(join(directory, 'countersign.db'));
    const share = store.shareBreaker;
    const list = store.listBreakers;
    const away = () => new CountersignError('store-unavailable', 'away');
    store.shareBreaker = (shared) => {
      shares += 1;
      return isAway ? Promise.reject(away()) : share(shared);
    };
    store.listBreakers = () => (isAway ? Promise.reject(away()) : list());
    const bench = await openBench({ limits: noLimits }, { providers: [first, second], parts: { store } });
    isAway = true;
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    await pollOften();
    expect(stateOn(bench.countersign)).toBe('open');
    expect(shares).toBeGreaterThan(1);
    expect(bench.log.filter(({ message }) => message.includes('tell each other'))).toHaveLength(1);
    isAway = false;
    await vi.advanceTimersByTimeAsync(POLL_MS);
    await until(async () => (await list()).length === 1);
    expect(await list()).toMatchObject([{ provider: 'first', place: '*', breaker: { reason: 'account' } }]);
  });
});
