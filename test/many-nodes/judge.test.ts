import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { nodeFaults } from '../../faults/nodes/faults.ts';
import { isExcused, judgeLedger, recoveryMs } from '../../faults/nodes/judge.ts';
import type {
  CheckSeen,
  GuessRecord,
  Ledger,
  LimitRecord,
  SeenReply,
  TextRecord,
  VerificationRecord,
} from '../../faults/nodes/ledger.ts';

const sent = { messageId: 'msg_1', code: '830417' };
const answeredAt = (at: number) => ({ sentAt: at - 10, answeredAt: at });
const right = (outcome: CheckSeen['outcome']): CheckSeen => ({
  ...answeredAt(1200),
  isRight: true,
  outcome,
  attemptsLeft: undefined,
});
const wrong = (attemptsLeft: number): CheckSeen => ({
  ...answeredAt(1100),
  isRight: false,
  outcome: 'wrong',
  attemptsLeft,
});

const approved: VerificationRecord = {
  kind: 'verification',
  code: '830417',
  number: '+998901234567',
  ids: new Set(['ver_1']),
  acknowledgedAt: [answeredAt(1050)],
  refusals: [],
  unsureAt: [],
  handOvers: [sent],
  messages: [{ id: 'msg_1', status: 'queued' }],
  checks: [wrong(4), right('approved')],
  state: 'approved',
  attemptsLeft: 3,
  again: 'refused',
};
const text: TextRecord = {
  kind: 'text',
  number: '+998901234568',
  ids: new Set(['msg_2']),
  acknowledgedAt: [answeredAt(1050)],
  refusals: [],
  unsureAt: [],
  handOvers: [{ messageId: 'msg_2', code: undefined }],
  messages: [{ id: 'msg_2', status: 'queued' }],
};
const limit: LimitRecord = {
  kind: 'limit',
  number: '+998901234569',
  max: 3,
  acknowledgedAt: [800, 810, 820].map(answeredAt),
  unsureAt: [],
  refused: 5,
  handOvers: [sent, { ...sent, messageId: 'msg_3' }, { ...sent, messageId: 'msg_4' }],
  messages: [],
};
const guesses: GuessRecord = {
  kind: 'guesses',
  number: '+998901234560',
  max: 20,
  comparedAt: Array.from({ length: 19 }, () => answeredAt(800)),
  unsureAt: [],
  isLocked: true,
};
const reply: SeenReply = {
  node: 0,
  at: 3000,
  ms: 12,
  what: 'start',
  kind: 'answered',
  status: 201,
  code: undefined,
  retryAfterSeconds: undefined,
  mayWait: false,
};
const unavailable: SeenReply = { ...reply, at: 1500, status: 503, code: 'store-unavailable', retryAfterSeconds: 5 };
const cut: SeenReply = { ...reply, at: 1500, kind: 'cut', status: undefined };

const well: Ledger = {
  replies: [reply, { ...reply, node: 1, at: 3100 }, unavailable, cut],
  records: [approved, text, limit, guesses],
  nodes: 2,
  faultBeganAt: 1000,
  faultEndedAt: 2900,
  complaints: [],
  further: [],
};

function brokenBy(change: Partial<Ledger>): string[] {
  return judgeLedger({ ...well, ...change }).map(({ rule, what }) => `${rule}: ${what}`);
}

describe('the judge of many nodes', () => {
  it('finds nothing wrong with answers, with 503 and with cut connections, where everything is there afterwards', () => {
    expect(brokenBy({})).toEqual([]);
    expect(recoveryMs(well)).toBe(212);
  });

  it('takes an approval that nobody was told of for one that was asked for without an answer, and for nothing else', () => {
    const untold = { ...approved, checks: [wrong(4), right('unsure')], again: undefined };
    expect(brokenBy({ records: [untold] })).toEqual([]);
    expect(brokenBy({ records: [{ ...untold, checks: [wrong(4)] }] })).toEqual([
      'nothing lost: approved with 0 approvals and 1 wrong codes',
    ]);
  });

  it('counts a start without an answer as done or not done', () => {
    expect(
      brokenBy({
        records: [
          {
            ...limit,
            acknowledgedAt: [800].map(answeredAt),
            unsureAt: Array.from({ length: 2 }, () => answeredAt(900)),
          },
        ],
      }),
    ).toEqual([]);
    expect(brokenBy({ records: [{ ...limit, unsureAt: Array.from({ length: 4 }, () => answeredAt(900)) }] })).toEqual(
      [],
    );
  });

  it.each<[string, Partial<VerificationRecord>, string]>([
    ['two approvals', { checks: [right('approved'), right('approved')] }, 'one approval'],
    ['an approval afterwards', { again: 'approved' }, 'one approval'],
    ['an approval that is gone', { state: 'pending' }, 'one approval'],
    ['a wrong code that is approved', { checks: [{ ...wrong(4), outcome: 'approved' }] }, 'one approval'],
    ['six codes', { checks: [...[4, 3, 2, 1, 0].map(wrong), right('approved')], attemptsLeft: 0 }, 'attempts bounded'],
    ['two attempts that were counted as one', { checks: [wrong(4), wrong(4), right('approved')] }, 'attempts kept'],
    ['an attempt that was forgotten', { attemptsLeft: 4 }, 'attempts kept'],
    ['a verification that is gone', { state: 'unknown' }, 'nothing lost'],
    ['one that was gone for a while', { checks: [right('unknown'), right('approved')] }, 'nothing lost'],
    [
      'a right code that was called wrong',
      { checks: [{ ...wrong(4), isRight: true }, right('approved')] },
      'nothing lost',
    ],
    ['a state that nothing explains', { state: 'exhausted', checks: [wrong(4)] }, 'nothing lost'],
    ['two ids for one key', { ids: new Set(['ver_1', 'ver_2']) }, 'one message'],
    ['two messages for one key', { handOvers: [sent, { ...sent, messageId: 'msg_2' }] }, 'one message'],
    ['two codes for one key', { handOvers: [sent, { ...sent, code: '111111' }] }, 'one message'],
    ['a message without an outcome', { messages: [{ id: 'msg_1', status: 'pending' }] }, 'messages settled'],
    ['a message that was not sent', { handOvers: [] }, 'messages settled'],
    ['a request that was refused', { refusals: ['rate-limited'] }, 'nothing lost'],
    ['a request that was never answered', { ids: new Set<string>() }, 'clear answers'],
  ])('flags %s', (_, change, rule) => {
    expect(brokenBy({ records: [{ ...approved, ...change }] })).toContainEqual(expect.stringMatching(`^${rule}: `));
  });

  it.each<[string, Partial<LimitRecord>]>([
    ['four of three', { acknowledgedAt: [800, 810, 820, 830].map(answeredAt) }],
    ['four sent of three', { handOvers: ['1', '2', '3', '4'].map((messageId) => ({ ...sent, messageId })) }],
    [
      'a refusal before there were three',
      { acknowledgedAt: [800].map(answeredAt), unsureAt: Array.from({ length: 1 }, () => answeredAt(900)) },
    ],
    ['a limit that refuses nobody', { refused: 0 }],
  ])('flags %s', (_, change) => {
    expect(brokenBy({ records: [{ ...limit, ...change }] })).toContainEqual(expect.stringMatching('^limit exact: '));
  });

  it.each<[string, Partial<GuessRecord>]>([
    ['21 guesses', { comparedAt: Array.from({ length: 21 }, () => answeredAt(800)) }],
    ['a lock after ten guesses', { comparedAt: Array.from({ length: 10 }, () => answeredAt(800)) }],
    ['a number that is never locked', { isLocked: false }],
  ])('flags %s', (_, change) => {
    expect(brokenBy({ records: [{ ...guesses, ...change }] })).toContainEqual(
      expect.stringMatching('^guesses bounded: '),
    );
  });

  it.each<[string, Partial<SeenReply>, string]>([
    ['a bare 500', { status: 500, code: 'internal-error' }, 'clear answers: start: 500 internal-error'],
    [
      'a 503 without Retry-After',
      { status: 503, code: 'store-unavailable' },
      'clear answers: start: 503 store-unavailable',
    ],
    ['a 503 that is late', { ...unavailable, ms: 2600 }, 'in time: start: 503 after 2600 ms'],
    ['an answer that never came', { kind: 'hung', status: undefined }, 'in time: start: no answer at all'],
    ['a failure long after the fault', { ...unavailable, at: 7901 }, 'back by itself: 1 requests failed'],
  ])('flags %s', (_, change, line) => {
    const replies = [...well.replies, { ...reply, ...change }];
    expect(brokenBy({ replies })).toContainEqual(expect.stringMatching(`^${line}`));
  });

  it('flags a node that does not serve again, or too late', () => {
    expect(brokenBy({ nodes: 3 })).toEqual(['back by itself: a node did not serve again']);
    const late = [reply, { ...reply, node: 1, at: 7900 }];
    expect(brokenBy({ replies: late })).toEqual(['back by itself: served again after 5012 ms']);
  });

  it('excuses what was acknowledged just before the fault, where that may be lost, and nothing else', () => {
    const twice = { ...approved, checks: [right('approved'), { ...right('approved'), ...answeredAt(3500) }] };
    const [broken] = judgeLedger({ ...well, records: [twice] });
    if (broken === undefined) throw new Error('nothing was found');
    expect(broken).toMatchObject({ rule: 'one approval', knownAt: 1200 });
    const excuses = { 'one approval': { why: 'the replica had not heard of it', lastMs: 500 } };
    expect(isExcused(broken, excuses, 1600)).toBe(true);
    expect(isExcused(broken, excuses, 1701)).toBe(false);
    expect(isExcused(broken, { 'one approval': { why: 'all is forgotten' } }, 1701)).toBe(true);
    expect(isExcused(broken, { 'limit exact': { why: 'another rule' } }, 1600)).toBe(false);
  });

  it('flags what a log or a fault says by itself', () => {
    const further = [{ rule: 'one time', what: 'a token is dated 300 s off' }] as const;
    expect(brokenBy({ complaints: ['a bug'], further })).toEqual([
      'one time: a token is dated 300 s off',
      'clean logs: a bug',
    ]);
  });
});

describe('docs/reliability.md', () => {
  const page = readFileSync(new URL('../../docs/reliability.md', import.meta.url), 'utf8');

  it('has each fault of nodes, on each store that it is for', () => {
    for (const { what, stores } of nodeFaults)
      expect(page.split(`\n| ${what} `).length - 1, what).toBeGreaterThanOrEqual(stores.length);
  });
});
