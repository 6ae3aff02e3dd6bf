import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { judge, judgeLoad, type LoadObservation, type Observation } from '../../faults/judge.ts';
import { tableFaults } from '../../faults/pairs.ts';
import { providerDefinitions } from '../../src/providers/index.ts';

/** A refusal, and a second provider that took the message. */
const good: Observation = {
  provider: 'acme',
  fault: 'balance',
  isManaged: false,
  answer: 'accepted',
  ms: 12,
  dispatches: [
    { provider: 'acme', reason: 'account', code: '402' },
    { provider: 'other', reason: undefined, code: undefined },
  ],
  first: [],
  second: ['830417'],
  isApproved: true,
  leaks: [],
};
const [, taken] = good.dispatches;
const stalled: Observation = {
  ...good,
  fault: 'stall',
  ms: 3010,
  dispatches: [{ provider: 'acme', reason: 'uncertain', code: 'timeout' }, ...(taken === undefined ? [] : [taken])],
  first: ['830417'],
};

describe('the judge of a pair', () => {
  it('finds nothing wrong with a failover, and with two hand-overs after an uncertain one', () => {
    expect(judge(good)).toEqual([]);
    expect(judge(stalled)).toEqual([]);
  });

  it.each<[string, Observation, RegExp]>([
    ['a message that was accepted and that nobody took', { ...good, second: [] }, /^lost: accepted/],
    ['a refusal without a history', { ...good, answer: 'delivery-failed', dispatches: [] }, /^lost: delivery-failed/],
    [
      'a refusal although the second provider was well',
      { ...good, answer: 'delivery-failed', dispatches: good.dispatches.slice(0, 1), second: [] },
      /although the second provider was well/,
    ],
    [
      'two hand-overs without an uncertain outcome',
      { ...stalled, dispatches: good.dispatches },
      /^handed over twice, and the first outcome was account/,
    ],
    ['two hand-overs to one provider', { ...stalled, first: ['830417', '830417'] }, /twice to one provider/],
    ['an answer that is late', { ...stalled, ms: 8251 }, /^late: answered after 8251 ms/],
    ['another code at the second provider', { ...stalled, second: ['830418'] }, /another code/],
    ['a code that is not approved', { ...good, isApproved: false }, /not approved/],
    ['a STOP that was gone around', { ...good, fault: 'opt-out' }, /sent around/],
    ['a code in the log', { ...good, leaks: ['a code'] }, /^in the log: a code/],
    ['a fault that did not show', { ...good, dispatches: good.dispatches.slice(1) }, /did not show/],
  ])('flags %s', (_, seen, sentence) => {
    expect(judge(seen)).toContainEqual(expect.stringMatching(sentence));
  });

  it('lets a provider that makes its own code differ, and no other', () => {
    const seen = { ...stalled, first: ['111111'] };
    expect(judge({ ...seen, isManaged: true })).toEqual([]);
    expect(judge(seen)).not.toEqual([]);
  });
});

describe('the judge of the load', () => {
  const calm = { count: 100, p50: 3, p99: 9 };
  const well: LoadObservation = {
    way: 'nobody listens',
    starts: 250,
    rounds: 1,
    accepted: 250,
    before: calm,
    after: calm,
    twin: calm,
    handOvers: 5,
    handOversAfter: 0,
    openedAfterMs: 90,
    coolOffLeftMs: 5000,
    usedAfterMs: 5080,
  };

  it('finds nothing wrong with a breaker that opens, and closes after its cool-off', () => {
    expect(judgeLoad(well, true)).toEqual([]);
  });

  it.each<[string, Partial<LoadObservation>, RegExp]>([
    ['a start that was refused', { accepted: 249 }, /^lost: 1 of 250/],
    ['a breaker that did not open', { openedAfterMs: undefined }, /did not open/],
    ['a message that waited for the dead provider', { handOversAfter: 1 }, /waited/],
    ['latency that was added', { after: { ...calm, p99: 14 } }, /5\.0 ms above/],
    ['percentiles of nothing', { after: { count: 0, p50: Number.NaN, p99: Number.NaN } }, /above/],
    ['a provider that is not used again', { usedAfterMs: undefined }, /not used again/],
    ['a provider that is used again too late', { usedAfterMs: 6001 }, /1001 ms after/],
  ])('flags %s', (_, change, sentence) => {
    expect(judgeLoad({ ...well, ...change }, true)).toContainEqual(expect.stringMatching(sentence));
  });

  it('leaves milliseconds aside where too few starts say too little about them, and nothing else', () => {
    const slow = { ...well, after: { ...calm, p99: 14 }, usedAfterMs: 6001 };
    expect(judgeLoad(slow, false)).toEqual([]);
    expect(judgeLoad({ ...slow, accepted: 249, handOversAfter: 1 }, false)).toHaveLength(2);
  });
});

describe('docs/reliability.md', () => {
  const page = readFileSync(new URL('../../docs/reliability.md', import.meta.url), 'utf8');

  it('has a row for each provider', () => {
    for (const { id } of providerDefinitions) expect(page).toMatch(new RegExp(`^\\| ${id} `, 'm'));
  });

  it('names every fault', () => {
    expect(tableFaults.length).toBeGreaterThanOrEqual(12);
    for (const fault of tableFaults) expect(page).toContain(`\`${fault}\``);
  });
});
