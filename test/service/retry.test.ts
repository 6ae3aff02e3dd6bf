import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { accepted, createCountersign, failed, type SendOutcome } from '../../src/index.ts';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { twilioSimulator } from '../../src/simulators/twilio.ts';
import { SECRET } from '../http/running-server.ts';
import { makeDataDir, makeKey, removeDataDir, type ServerProcess, serveInProcess } from '../http/server-process.ts';
import {
  type Bench,
  Clock,
  expectStarted,
  FakeManaged,
  FakeProvider,
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

type AppConfig = NonNullable<Parameters<typeof openBench>[0]>;
type Providers = readonly (FakeProvider | FakeManaged)[];
type Retrying = Bench & {
  start(to?: string): Promise<string>;
  /** Time passes, and then somebody looks what is due. */
  pass(ms: number): Promise<void>;
};

const SECOND = 1000;
const unavailable = async () => failed('unavailable', '503');
const takes = (id: string) => async () => accepted(`${id} took it`);

/** An app whose codes are tried again, with a route of these providers. */
async function openRetrying(providers: Providers, app: AppConfig = {}, config = {}): Promise<Retrying> {
  const bench = await openBench(
    { sendFailures: 'retry', limits: noLimits, routes: { '*': routeOf(...providers) }, ...app },
    { providers, config },
  );
  return {
    ...bench,
    async start(to = NUMBER) {
      return expectStarted(await bench.countersign.verifications.start({ to })).verification.id;
    },
    async pass(ms) {
      bench.clock.advance(ms);
      await bench.housekeep();
    },
  };
}

/** One provider that takes nothing until a test says otherwise. */
async function openDown(app: AppConfig = {}, answer = unavailable as FakeProvider['answer']): Promise<Retrying> {
  const fake = new FakeProvider('fake');
  fake.answer = answer;
  return openRetrying([fake], app);
}

/** To the end of every code, looking as often as it could be due. */
async function passAll({ pass }: Retrying): Promise<void> {
  for (let time = 0; time < 15; time += 1) await pass(MINUTE);
}

/** The process that has been running all the time looks what is due; its timers are the test's. */
async function look({ countersign }: Bench): Promise<void> {
  vi.advanceTimersByTime(5000);
  for (let turn = 0; turn < 50; turn += 1) {
    await countersign.ready();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** One round of a process on the same data whose only provider is that one. */
async function restartWith({ dataDir, clock }: Bench, provider: FakeProvider): Promise<void> {
  const config = {
    mode: 'production',
    secret: 'b1946ac92492d2347c6235b4d2611184d41d8cd98f00b204',
    dataDir,
    providers: { [provider.id]: provider.entry() },
    apps: { default: { country: 'UZ', sendFailures: 'retry' } },
  } as const;
  await (await createCountersign(config, { now: () => clock.now })).close();
}

function lines({ log }: Bench, text: string) {
  return log.filter(({ message }) => message.includes(text));
}

const NOT_AGAIN = 'not tried again';

describe('a start that no provider takes, of an app that tries again', () => {
  it.each(['unavailable', 'throttled', 'account', 'content', 'coverage', 'blocked', 'uncertain'] as const)(
    'after %s succeeds, and the code is sent by itself: the same one, once',
    async (reason) => {
      const bench = await openDown({}, async () => failed(reason, '42'));
      const answer = expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
      expect(answer).toMatchObject({ provider: undefined, verification: { status: 'pending', sends: 1 } });
      const { id } = answer.verification;
      bench.fake.answer = takes('fake');
      await bench.pass(5 * SECOND);
      // Its breaker is open for ten seconds, and another process waits one more for the one that opened it.
      if (reason === 'account') {
        expect(bench.fake.codes).toHaveLength(1);
        await bench.pass(6 * SECOND);
      }
      expect(bench.fake.codes).toHaveLength(2);
      expect(bench.fake.codes[0]).toBe(bench.fake.codes[1]);
      expect(bench.fake.received[1]).toMatchObject({ validitySeconds: reason === 'account' ? 589 : 595 });
      expect(await bench.lastMessage()).toMatchObject({
        status: 'queued',
        dispatches: [{ reason }, { state: 'queued', providerMessageId: 'fake took it' }],
      });
      await passAll(bench);
      expect(bench.fake.codes).toHaveLength(2);
      bench.clock.advance(-15 * MINUTE);
      expect(await bench.countersign.verifications.check({ id, code: bench.fake.lastCode })).toMatchObject({
        kind: 'approved',
        provesNumber: true,
      });
    },
  );

  it('says who took it, where somebody does', async () => {
    const first = new FakeProvider('first');
    first.answer = unavailable;
    const bench = await openRetrying([first, new FakeProvider('second')]);
    expect(await bench.countersign.verifications.start({ to: NUMBER })).toMatchObject({ provider: 'second' });
  });

  it('is tried again after 5, 10, 20 and 40 seconds, then every 60, at the very millisecond, and not beyond the code’s life', async () => {
    const bench = await openDown();
    await bench.start();
    let rounds = 1;
    for (const seconds of [5, 10, 20, 40, 60, 60, 60, 60, 60, 60, 60, 60]) {
      await bench.pass(seconds * SECOND - 1);
      expect(bench.fake.received).toHaveLength(rounds);
      await bench.pass(1);
      rounds += 1;
      expect(bench.fake.received).toHaveLength(rounds);
    }
    // At 555 s; the next would be at 615.
    expect(lines(bench, NOT_AGAIN)).toMatchObject([{ level: 'error', reason: 'unavailable' }]);
    await passAll(bench);
    expect(bench.fake.received).toHaveLength(rounds);
    expect(await bench.lastMessage()).toMatchObject({ status: 'failed' });
    expect((await bench.lastMessage()).dispatches).toHaveLength(rounds);
  });

  it('waits from when it was asked for, and not longer because a provider took its time to say no', async () => {
    const bench = await openDown();
    bench.fake.answer = async () => {
      bench.clock.advance(3 * SECOND);
      return failed('unavailable', 'timeout');
    };
    await bench.start();
    await bench.pass(5 * SECOND - 1);
    expect(bench.fake.received).toHaveLength(1);
    await bench.pass(1);
    expect(bench.fake.received).toHaveLength(2);
  });

  it('is a success once for an idempotency key, also while it is tried again and afterwards', async () => {
    const bench = await openDown();
    const request = { to: NUMBER, idempotencyKey: 'k' };
    const first = expectStarted(await bench.countersign.verifications.start(request)).verification;
    bench.fake.answer = takes('fake');
    expect(await bench.countersign.verifications.start(request)).toMatchObject({ verification: { id: first.id } });
    expect(bench.fake.received).toHaveLength(1);
    await bench.pass(5 * SECOND);
    const again = expectStarted(await bench.countersign.verifications.start(request));
    expect(again).toMatchObject({ verification: { id: first.id, sends: 1 } });
    expect(bench.fake.received).toHaveLength(2);
  });

  it('is told to the operator, without a code or a number', async () => {
    const bench = await openDown({ codeLength: 10 });
    const id = await bench.start();
    const line = { level: 'error', app: 'default', verification: id, country: 'UZ', reason: 'unavailable' };
    expect(lines(bench, 'no provider took this code, and it is tried again')).toEqual([expect.objectContaining(line)]);
    await bench.pass(5 * SECOND);
    const all = JSON.stringify(bench.log);
    expect(all).not.toContain(bench.fake.lastCode);
    expect(all).not.toContain(NUMBER.slice(1));
  });

  it('of an app that tells is refused as ever, and nothing is sent later', async () => {
    const bench = await openDown({ sendFailures: 'tell' });
    expect(await bench.countersign.verifications.start({ to: NUMBER })).toMatchObject({ code: 'delivery-failed' });
    await passAll(bench);
    expect(bench.fake.received).toHaveLength(1);
  });

  it('is no success where the request is at fault: line type, limit, budget, lock, bad input', async () => {
    const bench = await openDown({
      limits: { ...noLimits, perNumber: [{ max: 1, windowSeconds: 600 }] },
      guesses: { max: 1 },
    });
    const { verifications } = bench.countersign;
    const codeOf = async (request: Parameters<typeof verifications.start>[0]) => {
      const answer = await verifications.start(request);
      return answer.kind === 'refused' ? answer.code : answer.kind;
    };
    expect(await codeOf({ to: '+998712345678' })).toBe('line-type-refused');
    expect(await codeOf({ to: '12' })).toBe('number-invalid');
    expect(await codeOf({ to: NUMBER, email: 'no address' })).toBe('request-invalid');
    expect(await codeOf({ to: NUMBER })).toBe('started');
    expect(await codeOf({ to: NUMBER })).toBe('rate-limited');
    await verifications.check({ to: '+998901234568', code: '000000' });
    expect(await codeOf({ to: '+998901234568' })).toBe('number-locked');
    expect(bench.fake.received).toHaveLength(1);
  });

  it('is a custom message’s own affair: that one is refused, and not tried again', async () => {
    const bench = await openDown();
    expect(await bench.countersign.messages.send({ to: NUMBER, text: 'Hello' })).toMatchObject({
      code: 'delivery-failed',
    });
    await passAll(bench);
    expect(bench.fake.received).toHaveLength(1);
    const nobody = await openRetrying([new FakeProvider('local', { countries: ['KZ'] })]);
    expect(await nobody.countersign.messages.send({ to: NUMBER, text: 'Hello' })).toMatchObject({
      code: 'no-provider',
    });
  });

  it('shows the code in development, where it is good before anybody took it', async () => {
    const fake = new FakeProvider('fake');
    fake.answer = unavailable;
    const bench = await openRetrying([fake], {}, { mode: 'development' });
    const answer = expectStarted(await bench.countersign.verifications.start({ to: NUMBER }));
    expect(answer.code).toBe(fake.lastCode);
  });
});

describe('what is never tried again', () => {
  it.each([
    ['a number that is none', failed('recipient', '21211')],
    ['a person who said STOP', failed('blocked', '21610', { optOut: true })],
  ])('%s: the start succeeds all the same', async (_, outcome) => {
    const bench = await openDown({}, async () => outcome);
    const id = await bench.start();
    bench.fake.answer = takes('fake');
    await passAll(bench);
    expect(bench.fake.received).toHaveLength(1);
    expect(lines(bench, NOT_AGAIN)).toMatchObject([{ level: 'warn', verification: id }]);
  });

  it('also where that is said only in a later round', async () => {
    const bench = await openDown();
    await bench.start();
    bench.fake.answer = async () => failed('recipient', '21211');
    await passAll(bench);
    expect(bench.fake.received).toHaveLength(2);
  });

  it.each([
    ['', 'uncertain', 'uncertain'],
    [', also when that is surely lost', 'uncertain', 'unavailable'],
  ] as const)('a code that may have arrived, but for one hand-over more%s', async (_, first, second) => {
    const bench = await openDown({}, async () => failed(first, '500'));
    await bench.start();
    bench.fake.answer = async () => failed(second, '500');
    await passAll(bench);
    expect(bench.fake.received).toHaveLength(2);
    expect(await bench.lastMessage()).toMatchObject({ status: 'unknown' });
  });

  it('a code that may have arrived and was handed over once more in the same round', async () => {
    const [first, second] = [new FakeProvider('first'), new FakeProvider('second')];
    first.answer = async () => failed('uncertain', '500');
    second.answer = unavailable;
    const bench = await openRetrying([first, second]);
    await bench.start();
    second.answer = takes('second');
    await passAll(bench);
    expect([first.received.length, second.received.length]).toEqual([1, 1]);
  });

  it('a code that may have arrived at the end of a round: of the whole route, one provider is asked once more', async () => {
    const [first, second] = [new FakeProvider('first'), new FakeProvider('second')];
    first.answer = unavailable;
    second.answer = async () => failed('uncertain', '500');
    const bench = await openRetrying([first, second]);
    await bench.start();
    await passAll(bench);
    expect([first.received.length, second.received.length]).toEqual([2, 1]);
    expect(await bench.lastMessage()).toMatchObject({ status: 'unknown' });
  });
});

describe('a code that is tried again', () => {
  it('goes along its whole route, in its order', async () => {
    const providers = ['first', 'second', 'third'].map((id) => new FakeProvider(id));
    for (const provider of providers) provider.answer = unavailable;
    const bench = await openRetrying(providers);
    await bench.start();
    await bench.pass(5 * SECOND);
    (providers[1] as FakeProvider).answer = takes('second');
    await bench.pass(10 * SECOND);
    expect(providers.map(({ received }) => received.length)).toEqual([3, 3, 2]);
    expect(new Set(providers.flatMap(({ codes }) => codes)).size).toBe(1);
  });

  it('goes by e-mail as well, where there is an address; then it proves no number', async () => {
    const texts = new FakeProvider('texts', { channels: ['sms'] });
    const mails = new FakeProvider('mails', { channels: ['email'] });
    for (const provider of [texts, mails]) provider.answer = unavailable;
    const bench = await openRetrying([texts, mails]);
    const started = await bench.countersign.verifications.start({ to: NUMBER, email: 'ann@example.org' });
    const { id } = expectStarted(started).verification;
    mails.answer = takes('mails');
    await bench.pass(5 * SECOND);
    expect(mails.received[1]).toMatchObject({ channel: 'email', email: 'ann@example.org' });
    expect(await bench.countersign.verifications.get({ id })).toMatchObject({ verification: { channel: 'email' } });
    expect(await bench.countersign.verifications.check({ id, code: mails.lastCode })).toMatchObject({
      kind: 'approved',
      provesNumber: false,
    });
  });

  it('waits as long as all of its providers ask', async () => {
    const bench = await openDown({}, async () => failed('throttled', '429', { retryAfterMs: 90 * SECOND }));
    await bench.start();
    await bench.pass(90 * SECOND - 1);
    expect(bench.fake.received).toHaveLength(1);
    await bench.pass(1);
    expect(bench.fake.received).toHaveLength(2);
  });

  it('does not wait for one that asks to be left alone when there is another', async () => {
    const [first, second] = [new FakeProvider('first'), new FakeProvider('second')];
    first.answer = unavailable;
    second.answer = async () => failed('throttled', '429', { retryAfterMs: 90 * SECOND });
    const bench = await openRetrying([first, second]);
    await bench.start();
    first.answer = takes('first');
    await bench.pass(5 * SECOND);
    expect(first.received).toHaveLength(2);
  });

  it('of a managed provider is that provider’s, and ours is not good', async () => {
    const managed = new FakeManaged('managed');
    const make = managed.answer;
    managed.answer = unavailable;
    const bench = await openRetrying([managed]);
    const id = await bench.start();
    managed.answer = make;
    await bench.pass(5 * SECOND);
    expect(managed.live.size).toBe(1);
    expect(await bench.countersign.verifications.check({ id, code: managed.lastCode })).toMatchObject({
      kind: 'approved',
    });
  });

  it('and did not arrive, by a report, goes by the ways that have not taken it yet', async () => {
    const [first, second] = [new FakeProvider('first').withReports(), new FakeProvider('second').withReports()];
    for (const provider of [first, second]) provider.answer = unavailable;
    const bench = await openRetrying([first, second]);
    await bench.start();
    first.answer = takes('first');
    second.answer = takes('second');
    await bench.pass(5 * SECOND);
    for (const provider of [first, second, first]) {
      const { id } = provider;
      await report(bench.countersign, provider, { providerMessageId: `${id} took it`, state: 'undelivered' });
      await bench.housekeep();
    }
    expect([first.received.length, second.received.length]).toEqual([2, 2]);
    await passAll(bench);
    expect([first.received.length, second.received.length]).toEqual([2, 2]);
  });

  it('is no longer tried again once somebody has taken it, whatever the next way says', async () => {
    const [first, second] = [new FakeProvider('first').withReports(), new FakeProvider('second')];
    first.answer = takes('first');
    second.answer = unavailable;
    const bench = await openRetrying([first, second]);
    await bench.start();
    await report(bench.countersign, first, { providerMessageId: 'first took it', state: 'undelivered' });
    await until(async () => (await bench.lastMessage()).dispatches.length === 2);
    await passAll(bench);
    expect([first.received.length, second.received.length]).toEqual([1, 1]);
  });

  it('is one of many after an outage: all of them are sent in one round', async () => {
    const bench = await openDown();
    for (let index = 0; index < 120; index += 1) await bench.start(`+9989012${String(index).padStart(5, '0')}`);
    const before = bench.fake.received.length;
    bench.fake.answer = async ({ messageId }) => accepted(messageId);
    // The breaker of the process that had the outage says how long most of them wait.
    await bench.pass(15 * SECOND);
    expect(bench.fake.received.length - before).toBe(120);
    expect(new Set(bench.fake.received.slice(before).map(({ messageId }) => messageId)).size).toBe(120);
  });
});

describe('without anybody who could take it', () => {
  it('because none is configured for the number, the start succeeds, and a restart with one sends the code', async () => {
    const local = new FakeProvider('local', { countries: ['KZ'] });
    const bench = await openRetrying([local]);
    const id = await bench.start();
    expect(lines(bench, 'no configured provider sends this code, and it is tried again')).toMatchObject([
      { level: 'error', app: 'default', verification: id, country: 'UZ' },
    ]);
    expect(await bench.lastMessage()).toMatchObject({ status: 'failed', dispatches: [{ provider: 'none' }] });
    await bench.pass(5 * SECOND);
    const world = new FakeProvider('world');
    bench.clock.advance(10 * SECOND);
    await restartWith(bench, world);
    expect(world.received).toHaveLength(1);
    expect(await bench.countersign.verifications.check({ id, code: world.lastCode })).toMatchObject({
      kind: 'approved',
    });
  });

  it('because a restart took it out while a start was under way, the code waits for one that brings it back', async () => {
    const bench = await openDown();
    const lost = Promise.withResolvers<SendOutcome>();
    bench.fake.answer = () => lost.promise;
    const answer = bench.countersign.verifications.start({ to: NUMBER });
    await until(() => bench.fake.received.length === 1);
    bench.clock.advance(15 * SECOND);
    await restartWith(bench, new FakeProvider('local', { countries: ['KZ'] }));
    expect(await bench.lastMessage()).toMatchObject({ status: 'failed', dispatches: [{ provider: 'none' }] });
    const world = new FakeProvider('world');
    bench.clock.advance(20 * SECOND);
    await restartWith(bench, world);
    expect(world.codes).toEqual([bench.fake.lastCode]);
    lost.resolve(failed('unavailable', 'died'));
    await answer;
  });

  it('ever, it is given up when the code is over, and said so once', async () => {
    const bench = await openRetrying([new FakeProvider('local', { countries: ['KZ'] })]);
    await bench.start();
    await passAll(bench);
    expect(lines(bench, NOT_AGAIN)).toHaveLength(1);
    expect((await bench.lastMessage()).dispatches).toHaveLength(1);
  });

  it('because all are out of order, it is sent as soon as the breaker lets one through', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const bench = await openDown({}, async () => failed('account', '20003'));
    await bench.start('+998901234568');
    const before = bench.fake.received.length;
    bench.fake.answer = async ({ messageId }) => accepted(messageId);
    await bench.start();
    expect(bench.fake.received).toHaveLength(before);
    expect(lines(bench, 'no provider took this code, and it is tried again')).toHaveLength(2);
    bench.clock.advance(10 * SECOND - 1);
    await look(bench);
    // The other one was due after five, and has to wait as well.
    expect(bench.fake.received).toHaveLength(before);
    bench.clock.advance(1);
    await look(bench);
    bench.clock.advance(15 * SECOND);
    await look(bench);
    expect(new Set(bench.fake.received.slice(before).map(({ to }) => to)).size).toBe(2);
    expect(bench.fake.received).toHaveLength(before + 2);
  });

  it('because the breaker has opened since, it waits for that one and not for the next round', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const bench = await openDown({}, async () => failed('account', '20003'));
    await bench.start();
    bench.fake.answer = takes('fake');
    for (const [seconds, sent] of [
      [5, 1],
      [9, 1],
      [10, 2],
    ] as const) {
      bench.clock.now = new Clock().now + seconds * SECOND;
      await look(bench);
      expect(bench.fake.received).toHaveLength(sent);
    }
  });

  it('for a request that needs an e-mail address and gives none, it is a mistake of the caller', async () => {
    const bench = await openRetrying([new FakeProvider('mails', { channels: ['email'] })], { channel: 'email' });
    expect(await bench.countersign.verifications.start({ to: NUMBER })).toMatchObject({
      code: 'request-invalid',
      field: 'email',
    });
  });
});

describe('the budget', () => {
  const priced = { prices: [{ provider: 'fake', country: 'UZ', amount: 0.1, currency: 'USD' }] };

  it('is looked at before each round: a spent one is waited for, until the day is over', async () => {
    const fake = new FakeProvider('fake');
    fake.answer = unavailable;
    const bench = await openRetrying([fake], { budget: { perDay: 0.1 } }, priced);
    bench.clock.now = Date.UTC(2025, 10, 20, 23, 58);
    await bench.start();
    fake.answer = takes('fake');
    await bench.start('+998901234568');
    for (let round = 0; round < 11; round += 1) await bench.pass(10 * SECOND);
    expect(fake.received).toHaveLength(2);
    expect(lines(bench, 'the budget of the day is spent').length).toBeGreaterThan(0);
    for (let round = 0; round < 8; round += 1) await bench.pass(10 * SECOND);
    expect(fake.received.map(({ to }) => to)).toEqual([NUMBER, '+998901234568', NUMBER]);
  });

  it('gets back what a round set aside and did not spend', async () => {
    const fake = new FakeProvider('fake');
    fake.answer = unavailable;
    const bench = await openRetrying([fake], { budget: { perDay: 0.1 } }, priced);
    await bench.start();
    await bench.pass(5 * SECOND);
    await bench.pass(10 * SECOND);
    expect(fake.received).toHaveLength(3);
    fake.answer = takes('fake');
    await bench.start('+998901234568');
    expect(await bench.countersign.verifications.start({ to: '+998901234569' })).toMatchObject({
      code: 'budget-spent',
    });
  });
});

describe('nothing is sent any more', () => {
  it.each([
    [
      'once the verification is approved',
      async ({ countersign, fake }: Retrying, id: string) =>
        expect(await countersign.verifications.check({ id, code: fake.lastCode })).toMatchObject({ kind: 'approved' }),
    ],
    ['once it is canceled', ({ countersign }: Retrying, id: string) => countersign.verifications.cancel({ id })],
    ['once it has expired', async ({ clock }: Retrying) => clock.advance(10 * MINUTE)],
    [
      'once it was guessed at too often',
      async ({ countersign, fake }: Retrying, id: string) => {
        const code = fake.lastCode === '000000' ? '000001' : '000000';
        for (let guess = 0; guess < 5; guess += 1) await countersign.verifications.check({ id, code });
      },
    ],
  ])('%s', async (_, end) => {
    const bench = await openDown();
    const id = await bench.start();
    bench.fake.answer = takes('fake');
    await end(bench, id);
    await passAll(bench);
    expect(bench.fake.received).toHaveLength(1);
  });

  it.each(['repeat', 'replace'] as const)('of the older text once another was asked for: %s', async (resend) => {
    for (const ask of ['start', 'resend'] as const) {
      const bench = await openDown({ resend });
      const id = await bench.start();
      bench.clock.advance(4 * SECOND);
      if (ask === 'resend') bench.clock.advance(MINUTE);
      const { verifications } = bench.countersign;
      const answer = await (ask === 'start' ? verifications.start({ to: NUMBER }) : verifications.resend({ id }));
      // That one succeeds as well, and is tried again in the place of the older one.
      expect(expectStarted(answer).provider).toBeUndefined();
      bench.fake.answer = takes('fake');
      await passAll(bench);
      const [older, newer, ...later] = bench.fake.received.map(({ messageId }) => messageId);
      expect(later).toEqual([newer]);
      expect(older).not.toBe(newer);
      expect(bench.fake.codes[2]).toBe(bench.fake.codes[1]);
    }
  });

  it.each([
    ['canceled', ({ countersign }: Retrying, id: string) => countersign.verifications.cancel({ id })],
    [
      'sent once more at the person’s request',
      ({ countersign, clock }: Retrying, id: string) => {
        clock.advance(MINUTE);
        return countersign.verifications.resend({ id });
      },
    ],
  ])('by the next way, when it is %s while the one before takes its time', async (_, end) => {
    const [first, second] = [new FakeProvider('first'), new FakeProvider('second')];
    for (const provider of [first, second]) provider.answer = unavailable;
    const bench = await openRetrying([first, second]);
    const id = await bench.start();
    let asked = 0;
    first.answer = async ({ messageId }) => {
      asked += 1;
      if (asked === 1) await end(bench, id);
      return asked === 1 ? failed('unavailable', '503') : accepted(messageId);
    };
    await bench.pass(5 * SECOND);
    await passAll(bench);
    expect(second.received).toHaveLength(1);
  });
});

describe('a resend that no provider takes', () => {
  it('succeeds and is tried again, with the code that is good then', async () => {
    for (const resend of ['repeat', 'replace'] as const) {
      const bench = await openDown({ resend }, takes('fake'));
      const id = await bench.start();
      bench.clock.advance(MINUTE);
      bench.fake.answer = unavailable;
      const answer = expectStarted(await bench.countersign.verifications.resend({ id }));
      expect(answer).toMatchObject({ provider: undefined, verification: { id, sends: 2 } });
      bench.fake.answer = takes('fake');
      await bench.pass(5 * SECOND);
      expect(bench.fake.received).toHaveLength(3);
      expect(await bench.countersign.verifications.check({ id, code: bench.fake.lastCode })).toMatchObject({
        kind: 'approved',
      });
    }
  });
});

describe('two processes', () => {
  it('that look at once hand a code over once', async () => {
    const bench = await openDown();
    await bench.start();
    const outcome = Promise.withResolvers<SendOutcome>();
    bench.fake.answer = () => outcome.promise;
    bench.clock.advance(5 * SECOND);
    const rounds = Promise.all([bench.housekeep(), bench.housekeep(), bench.housekeep()]);
    await until(() => bench.fake.received.length > 1);
    outcome.resolve(accepted('1'));
    await rounds;
    expect(bench.fake.received).toHaveLength(2);
  });

  it('take over from one another: it died in the middle of a round', async () => {
    const bench = await openDown();
    await bench.start();
    const lost = Promise.withResolvers<SendOutcome>();
    bench.fake.answer = () => lost.promise;
    bench.clock.advance(5 * SECOND);
    const dying = bench.housekeep();
    await until(() => bench.fake.received.length === 2);
    bench.fake.answer = takes('fake');
    await bench.pass(15 * SECOND - 1);
    expect(bench.fake.received).toHaveLength(2);
    await bench.pass(1);
    expect(bench.fake.codes).toHaveLength(3);
    expect(new Set(bench.fake.codes).size).toBe(1);
    expect(await bench.lastMessage()).toMatchObject({ status: 'queued' });
    lost.resolve(accepted('late'));
    await dying;
  });

  it('take over a start from one another: it died before anything was known', async () => {
    const bench = await openDown();
    const lost = Promise.withResolvers<SendOutcome>();
    bench.fake.answer = () => lost.promise;
    const answer = bench.countersign.verifications.start({ to: NUMBER });
    await until(() => bench.fake.received.length === 1);
    bench.fake.answer = unavailable;
    await bench.pass(15 * SECOND);
    expect(bench.fake.received).toHaveLength(2);
    bench.fake.answer = takes('fake');
    await bench.pass(5 * SECOND);
    expect(bench.fake.received).toHaveLength(2);
    await bench.pass(15 * SECOND);
    expect(bench.fake.received).toHaveLength(3);
    lost.resolve(failed('unavailable', 'died'));
    await answer;
  });
});

describe('a process that is killed in the middle of a retry', () => {
  let dataDir: string | undefined;
  let simulator: Simulator | undefined;
  const servers: ServerProcess[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.stop('SIGKILL');
    await simulator?.close();
    if (dataDir !== undefined) await removeDataDir(dataDir);
  });

  it('leaves the code to another one on the same data: it is sent, and good', { timeout: 60_000 }, async () => {
    dataDir = await makeDataDir();
    simulator = await twilioSimulator.start();
    const key = await makeKey(dataDir, SECRET);
    await writeFile(
      join(dataDir, 'countersign.config.json'),
      JSON.stringify({ apps: { default: { sendFailures: 'retry' } } }),
    );
    const environment = {
      COUNTERSIGN_MODE: 'production',
      COUNTERSIGN_SECRET: SECRET,
      DATA_DIR: dataDir,
      ...twilioSimulator.environment(simulator.url),
    };
    const first = await serveInProcess(dataDir, environment);
    servers.push(first);
    // Surely not taken, and no reason to leave the vendor alone for a while.
    simulator.behave('content', 'stall');
    const started = await first.call('POST', '/v1/verifications', { body: { to: NUMBER }, key });
    expect(started.status).toBe(201);
    expect(simulator.messages).toHaveLength(0);
    // The retry: taken by the vendor, which says nothing more.
    await simulator.received(2);
    await first.stop('SIGKILL');
    const second = await serveInProcess(dataDir, environment);
    servers.push(second);
    await expect.poll(() => simulator?.messages.length, { timeout: 30_000 }).toBe(2);
    const codes = simulator.messages.map(({ text }) => /(?<!\d)\d{6}(?!\d)/.exec(text)?.[0]);
    expect(codes[0]).toBe(codes[1]);
    const { id } = started.json as { id: string };
    const checked = await second.call('POST', `/v1/verifications/${id}/check`, { body: { code: codes[1] }, key });
    expect(checked.status).toBe(200);
  });
});
