import { afterEach, describe, expect, it, vi } from 'vitest';
import { accepted, type DeliveryReport, failed, type SendOutcome } from '../../src/index.ts';
import { openStoreOf } from './bare-store.ts';
import {
  type Bench,
  expectStarted,
  FakeManaged,
  FakeProvider,
  type FakeTraits,
  MINUTE,
  NUMBER,
  noLimits,
  openBench,
  report,
  routeOf,
  until,
} from './service-bench.ts';

afterEach(() => {
  vi.useRealTimers();
});

type Open = Bench & {
  readonly first: FakeProvider;
  readonly second: FakeProvider;
  /** the first one's word on the message it took last, and all that follows from it */
  say(word: Partial<DeliveryReport>): Promise<void>;
};

/** Two providers that take what they are handed; the first one sends reports. */
async function openPair(
  app: Parameters<typeof openBench>[0] = {},
  traits: FakeTraits = {},
  more: readonly FakeProvider[] = [],
): Promise<Open> {
  const first = new FakeProvider('first', traits).withReports();
  const second = new FakeProvider('second').withReports();
  const providers = [first, second, ...more];
  const bench = await openBench({ routes: { '*': routeOf(...providers) }, limits: noLimits, ...app }, { providers });
  return {
    ...bench,
    first,
    second,
    async say(word) {
      const providerMessageId = `first ${first.received.at(-1)?.messageId}`;
      await report(bench.countersign, first, { providerMessageId, state: 'failed', ...word });
      await settled(bench);
    },
  };
}

/** What a report led to is over: the round of it, and one more. */
async function settled({ countersign }: Bench): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) {
    await countersign.ready();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('a code that did not arrive', () => {
  it.each(['failed', 'undelivered'] as const)(
    'by a report `%s` goes by the next provider, and it is the same code',
    async (state) => {
      const bench = await openPair();
      const { verification } = expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
      bench.clock.advance(5000);
      await bench.say({ state, reason: 'coverage', code: '30005' });
      expect(bench.second.codes).toEqual(bench.first.codes);
      // What is left of its life.
      expect(bench.second.received[0]).toMatchObject({ validitySeconds: 595 });
      expect(await bench.lastMessage()).toMatchObject({
        status: 'queued',
        dispatches: [
          { provider: 'first', state, reason: 'coverage', errorCode: '30005' },
          { provider: 'second', state: 'queued' },
        ],
      });
      expect(bench.log).toContainEqual(
        expect.objectContaining({ message: 'sent by another way', provider: 'first', why: state, reason: 'coverage' }),
      );
      const { id } = verification;
      expect(await bench.countersign.verifications.get({ id })).toMatchObject({
        verification: { status: 'pending', sends: 1 },
      });
      expect(await bench.countersign.verifications.check({ id, code: bench.second.lastCode })).toMatchObject({
        kind: 'approved',
      });
    },
  );

  it.each([
    ['the number cannot be reached by anybody', { reason: 'recipient' }],
    ['the person said STOP', { reason: 'blocked', optOut: true }],
  ] as const)('stays where it is when %s', async (_, word) => {
    const bench = await openPair();
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    await bench.say(word);
    await bench.housekeep();
    expect(bench.second.received).toEqual([]);
    expect(await bench.lastMessage()).toMatchObject({ status: 'failed', dispatches: [{ reason: word.reason }] });
  });

  it.each([
    [
      'was approved',
      ({ countersign, first }: Open) => countersign.verifications.check({ to: NUMBER, code: first.lastCode }),
    ],
    [
      'was canceled',
      async ({ countersign, lastMessage }: Open) =>
        countersign.verifications.cancel({ id: (await lastMessage()).verificationId ?? '' }),
    ],
    ['has expired', async ({ clock }: Open) => clock.advance(10 * MINUTE)],
    [
      'was guessed at too often',
      async ({ countersign, first }: Open) => {
        const code = first.lastCode === '000000' ? '000001' : '000000';
        for (let guess = 0; guess < 5; guess += 1) await countersign.verifications.check({ to: NUMBER, code });
      },
    ],
  ])('is not sent again once it %s', async (_, end) => {
    const bench = await openPair();
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    await end(bench);
    await bench.say({ reason: 'coverage' });
    await bench.housekeep();
    expect(bench.second.received).toEqual([]);
    expect((await bench.lastMessage()).status).toBe('failed');
  });

  it.each(['repeat', 'replace'] as const)('is not sent again once another text was asked for: %s', async (resend) => {
    const bench = await openPair({ resend });
    const { id } = expectStarted(await bench.countersign.verifications.start({ to: NUMBER })).verification;
    const providerMessageId = `first ${bench.first.received[0]?.messageId}`;
    bench.clock.advance(MINUTE);
    expectStarted(await bench.countersign.verifications.resend({ id }));
    // With a repeated code the person got a third text for the two they had asked for.
    await report(bench.countersign, bench.first, { providerMessageId, state: 'failed' });
    await settled(bench);
    expect(bench.second.received).toEqual([]);
    await bench.say({ state: 'undelivered' });
    expect(bench.second.codes).toEqual([bench.first.lastCode]);
  });

  it('and has no other way left is told in the log, once', async () => {
    const bench = await openPair({ routes: { '*': ['first'] } });
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    await bench.say({ reason: 'coverage' });
    await bench.housekeep();
    expect(bench.log.filter(({ message }) => message === 'not delivered, and no other way')).toMatchObject([
      { level: 'warn', provider: 'first', reason: 'coverage' },
    ]);
    expect(await bench.lastMessage()).toMatchObject({ status: 'failed', dispatches: [{ provider: 'first' }] });
  });

  it('goes along the whole route, and never twice by the same way', async () => {
    const third = new FakeProvider('third').withReports();
    const bench = await openPair({}, {}, [third]);
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    await bench.say({});
    for (const provider of [bench.second, third]) {
      await report(bench.countersign, provider, {
        providerMessageId: `${provider.id} ${provider.received[0]?.messageId}`,
        state: 'undelivered',
        reason: 'coverage',
      });
      await settled(bench);
    }
    expect([bench.first, bench.second, third].map(({ received }) => received.length)).toEqual([1, 1, 1]);
    expect((await bench.lastMessage()).dispatches.map(({ provider, state }) => [provider, state])).toEqual([
      ['first', 'failed'],
      ['second', 'undelivered'],
      ['third', 'undelivered'],
    ]);
  });

  it('goes by another channel where the route says so, but not where the request named one', async () => {
    for (const channel of [undefined, 'telegram'] as const) {
      const telegram = new FakeProvider('telegram', { channels: ['telegram'] }).withReports();
      const texts = new FakeProvider('texts', { channels: ['sms'] });
      const bench = await openBench({ routes: { '*': ['telegram', 'texts'] } }, { providers: [telegram, texts] });
      const started = await bench.countersign.verifications.start({
        to: NUMBER,
        ...(channel === undefined ? {} : { channel }),
      });
      const { id } = expectStarted(started).verification;
      await report(bench.countersign, telegram, {
        providerMessageId: `telegram ${telegram.received[0]?.messageId}`,
        state: 'undelivered',
        reason: 'coverage',
      });
      await settled(bench);
      expect(texts.codes).toEqual(channel === undefined ? telegram.codes : []);
      expect(await bench.countersign.verifications.get({ id })).toMatchObject({
        verification: { channel: channel ?? 'sms' },
      });
    }
  });

  it('is a custom text as well', async () => {
    const bench = await openPair();
    await bench.countersign.messages.send({ to: NUMBER, text: 'Your driver is here.' });
    await bench.say({ reason: 'coverage' });
    expect(bench.second.texts).toEqual(['Your driver is here.']);
    expect((await bench.lastMessage()).dispatches).toHaveLength(2);
  });

  it('is sent by another way only after the provider is back, when that one is out of order', async () => {
    const bench = await openPair();
    bench.second.answer = async () => failed('account', '20003');
    bench.first.answer = async () => failed('unavailable', '503');
    await bench.countersign.verifications.start({ to: '+998901234568' });
    bench.clock.advance(1);
    bench.first.answer = async ({ messageId }) => accepted(`first ${messageId}`);
    bench.second.answer = async ({ messageId }) => accepted(`second ${messageId}`);
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    const before = bench.second.received.length;
    await bench.say({ state: 'undelivered' });
    // Nothing was sent, the log said that it was, and nobody looked at it again.
    expect(bench.second.received).toHaveLength(before);
    const lines = bench.log.map(({ message }) => message);
    expect(lines).not.toContain('sent by another way');
    expect(lines).toContain('not delivered, and every other way is out of order');
    expect(await bench.lastMessage()).toMatchObject({ status: 'undelivered', dispatches: [{ provider: 'first' }] });
    // Another process leaves the first try to the one that found it out, for a second.
    bench.clock.advance(11_000);
    await bench.housekeep();
    expect(bench.second.codes.slice(before)).toEqual([bench.first.lastCode]);
  });

  it('is sent again by nobody when an approval was claimed by a report', async () => {
    const bench = await openPair();
    const { id } = expectStarted(await bench.countersign.verifications.start({ to: NUMBER })).verification;
    await bench.say({
      state: 'delivered',
      ...({ status: 'approved', approved: true, code: bench.first.lastCode } as object),
    });
    expect(await bench.countersign.verifications.get({ id })).toMatchObject({ verification: { status: 'pending' } });
  });

  it('is told by a report that comes by a connection of the provider’s own', async () => {
    const first = new FakeProvider('first');
    first.reportsByItself = true;
    const second = new FakeProvider('second');
    const bench = await openBench({ routes: { '*': ['first', 'second'] } }, { providers: [first, second] });
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    for (const listener of first.listeners)
      listener({ providerMessageId: `first ${first.received[0]?.messageId}`, state: 'undelivered' });
    await until(() => second.received.length === 1);
    expect(second.codes).toEqual(first.codes);
  });
});

describe('two processes', () => {
  it('that hear of it at once send it once', async () => {
    const bench = await openPair();
    const other = await bench.again();
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    const outcome = Promise.withResolvers<SendOutcome>();
    bench.second.answer = () => outcome.promise;
    const providerMessageId = `first ${bench.first.received[0]?.messageId}`;
    await Promise.all(
      [bench.countersign, other].map((each) => report(each, bench.first, { providerMessageId, state: 'failed' })),
    );
    await Promise.all([
      bench.housekeep(),
      until(() => bench.second.received.length > 0).then(() => outcome.resolve(accepted('2'))),
    ]);
    await settled(bench);
    expect(bench.second.received).toHaveLength(1);
  });

  it('take over from one another: it died between the report and the hand-over', async () => {
    const bench = await openPair();
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    const lost = Promise.withResolvers<SendOutcome>();
    bench.second.answer = () => lost.promise;
    void report(bench.countersign, bench.first, {
      providerMessageId: `first ${bench.first.received[0]?.messageId}`,
      state: 'failed',
    });
    await until(() => bench.second.received.length === 1);
    bench.clock.advance(14_999);
    bench.second.answer = async () => accepted('2');
    await bench.housekeep();
    expect(bench.second.received).toHaveLength(1);
    bench.clock.advance(1);
    await bench.housekeep();
    expect(bench.second.codes).toEqual([bench.first.lastCode, bench.first.lastCode]);
    lost.resolve(failed('unavailable', 'died'));
    await settled(bench);
  });

  it('find what was reported to a process that did nothing more', async () => {
    const bench = await openPair();
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    const store = openStoreOf(bench.dataDir);
    const providerMessageId = `first ${bench.first.received[0]?.messageId}`;
    await store.recordReport('first', { providerMessageId, state: 'failed' }, bench.clock.now);
    await store.close();
    expect(bench.second.received).toEqual([]);
    await bench.housekeep();
    expect(bench.second.codes).toEqual(bench.first.codes);
  });
});

describe('a report that does not come', () => {
  const waiting = { reportTimeoutSeconds: 30 };

  it('in time sends the code by the next provider, at the very second', async () => {
    const bench = await openPair({}, waiting);
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    bench.clock.advance(29_999);
    await bench.housekeep();
    expect(bench.second.received).toEqual([]);
    bench.clock.advance(1);
    await bench.housekeep();
    expect(bench.second.codes).toEqual(bench.first.codes);
    expect(bench.log).toContainEqual(expect.objectContaining({ message: 'sent by another way', why: 'no report' }));
    // The second one has no such time, and so it ends there.
    bench.clock.advance(5 * MINUTE);
    await bench.housekeep();
    expect([bench.first.received.length, bench.second.received.length]).toEqual([1, 1]);
  });

  it('is not waited for when it came', async () => {
    const bench = await openPair({}, waiting);
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    await bench.say({ state: 'delivered' });
    bench.clock.advance(MINUTE);
    await bench.housekeep();
    expect(bench.second.received).toEqual([]);
  });

  it('is not waited for from a provider that sends none', async () => {
    const first = new FakeProvider('first', waiting);
    const second = new FakeProvider('second');
    const bench = await openBench({ routes: { '*': ['first', 'second'] } }, { providers: [first, second] });
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    bench.clock.advance(MINUTE);
    await bench.housekeep();
    expect(second.received).toEqual([]);
  });

  it.each([
    ['delivered', 'is not sent again', 0],
    ['failed', 'goes by the next provider', 1],
    ['sent', 'goes by the next provider', 1],
    [undefined, 'goes by the next provider', 1],
    ['undelivered', 'is not sent again, for the number is at fault', 0, 'recipient'],
  ] as const)('is asked for first: when the answer is %s the code %s', async (...[state, , sent, reason]) => {
    const asked: string[] = [];
    const first = new FakeProvider('first', waiting);
    first.fetchReport = async (providerMessageId) => {
      asked.push(providerMessageId);
      return state === undefined
        ? undefined
        : { providerMessageId, state, ...(reason === undefined ? {} : { reason }) };
    };
    const second = new FakeProvider('second');
    const bench = await openBench({ routes: { '*': ['first', 'second'] } }, { providers: [first, second] });
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    bench.clock.advance(30_000);
    await bench.housekeep();
    expect(asked).toEqual([`first ${first.received[0]?.messageId}`]);
    expect(second.received).toHaveLength(sent);
    expect((await bench.lastMessage()).dispatches[0]?.state).toBe(state ?? 'queued');
  });

  it('and answers for another message, is not believed: the code goes by the next way, the other stays as it was', async () => {
    const first = new FakeProvider('first', waiting);
    // The other one became `delivered`, and this one was asked for again every fifteen seconds, for ever.
    first.fetchReport = async () => ({
      providerMessageId: `first ${first.received[1]?.messageId}`,
      state: 'delivered',
    });
    const second = new FakeProvider('second');
    const bench = await openBench(
      { routes: { '*': ['first', 'second'] }, limits: noLimits },
      { providers: [first, second] },
    );
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    bench.clock.advance(20_000);
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER, subject: 'other' }));
    bench.clock.advance(10_000);
    await bench.housekeep();
    expect(second.received).toHaveLength(1);
    expect((await bench.lastMessage()).dispatches[0]?.state).toBe('queued');
  });

  it.each([
    ['rejects', () => Promise.reject(new Error('ECONNRESET'))],
    [
      'throws at once',
      () => {
        throw new TypeError('undefined is not a function');
      },
    ],
    ['never answers, whatever its signal says', () => new Promise<undefined>(() => {})],
  ])('and cannot be asked for, because that %s, does not hold the code up', async (_, fetchReport) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const first = new FakeProvider('first', waiting);
    first.fetchReport = fetchReport;
    const second = new FakeProvider('second');
    const bench = await openBench({ routes: { '*': ['first', 'second'] } }, { providers: [first, second] });
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    bench.clock.advance(30_000);
    const round = bench.housekeep();
    // Housekeeping itself hung with it.
    await until(async () => {
      await vi.advanceTimersByTimeAsync(100);
      return second.received.length > 0;
    });
    expect(second.codes).toEqual(first.codes);
    await round;
  });

  it('but comes while the code is on its way by the next provider does not send it a third time', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const bench = await openPair({}, waiting);
    expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    const outcome = Promise.withResolvers<SendOutcome>();
    bench.second.answer = () => outcome.promise;
    bench.clock.advance(30_000);
    vi.advanceTimersByTime(5000);
    await until(() => bench.second.received.length === 1);
    // The second one had it already, and the report asked for it to be taken up once more.
    await bench.say({ state: 'undelivered', reason: 'coverage' });
    outcome.resolve(accepted('second 1'));
    await settled(bench);
    expect(bench.second.received).toHaveLength(1);
    expect(await bench.lastMessage()).toMatchObject({
      status: 'queued',
      dispatches: [
        { provider: 'first', state: 'undelivered' },
        { provider: 'second', state: 'queued' },
      ],
    });
  });
});

describe('a code of our own', () => {
  it('follows one that a managed provider could not deliver, and both are good', async () => {
    const managed = new FakeManaged('managed').withReports();
    const texts = new FakeProvider('texts');
    for (const which of ['theirs', 'ours']) {
      const bench = await openBench(
        { routes: { '*': ['managed', 'texts'] }, limits: noLimits },
        { providers: [managed, texts] },
      );
      expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
      const theirs = managed.lastCode;
      await report(bench.countersign, managed, {
        providerMessageId: [...managed.live.keys()].at(-1) ?? '',
        state: 'undelivered',
      });
      await settled(bench);
      const code = which === 'theirs' ? theirs : texts.lastCode;
      expect(await bench.countersign.verifications.check({ to: NUMBER, code })).toMatchObject({ kind: 'approved' });
    }
  });
});
