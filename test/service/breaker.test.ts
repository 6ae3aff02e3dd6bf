import { afterEach, describe, expect, it, vi } from 'vitest';
import type { ProbeOutcome } from '../../src/domain/provider.ts';
import { accepted, failed, type SendOutcome } from '../../src/index.ts';
import { type Bench, expectStarted, FakeProvider, HOUR, NUMBER, noLimits, openBench, until } from './service-bench.ts';

const GERMAN = '+4915123456789';
const NOT_IN_COUNTRY = '+870773111632';
const takes = (provider: FakeProvider) => async () => accepted(`${provider.id} ${provider.received.length}`);

type OpenBreaker = Bench & {
  readonly first: FakeProvider;
  readonly second: FakeProvider;
  start(to?: string): ReturnType<Bench['countersign']['verifications']['start']>;
  startMany(count: number): Promise<unknown>;
  stateOf(id: string, country?: string): string;
  /** what the log says of providers that come and go */
  changes(): Record<string, unknown>[];
};

/** Two providers of which the first is not well. */
async function openTwo(outcome: SendOutcome, traits = {}, probe?: FakeProvider['probe']): Promise<OpenBreaker> {
  const first = new FakeProvider('first', traits);
  first.probe = probe;
  first.answer = async () => outcome;
  const second = new FakeProvider('second');
  const bench = await openBench(
    { routes: { '*': ['first', 'second'] }, limits: noLimits, maxSends: 10 },
    { providers: [first, second] },
  );
  let subject = 0;
  const start = (to = NUMBER) => {
    subject += 1;
    return bench.countersign.verifications.start({ to, subject: `u${subject}` });
  };
  return {
    ...bench,
    first,
    second,
    start,
    startMany: (count) => Promise.all(Array.from({ length: count }, () => start())),
    stateOf(id, country) {
      const view = bench.countersign.providers.health().find(({ provider }) => provider === id);
      return (
        (country === undefined ? view : view?.countries.find((each) => each.country === country))?.state ?? 'closed'
      );
    },
    changes: () => bench.log.filter(({ message }) => message.includes('routes')),
  };
}

async function failFive(bench: OpenBreaker): Promise<void> {
  for (let failure = 0; failure < 5; failure += 1) expectStarted(await bench.start());
}

describe('a provider (invariant 10)', () => {
  it.each(['unavailable', 'uncertain'] as const)(
    'is taken out of its routes by five times %s, in that country alone',
    async (reason) => {
      const bench = await openTwo(failed(reason, '503'));
      await failFive(bench);
      expect([bench.first.received.length, bench.stateOf('first', 'UZ')]).toEqual([5, 'open']);
      await bench.start();
      expect(bench.first.received).toHaveLength(5);
      expect(bench.stateOf('first')).toBe('closed');
      for (const to of [GERMAN, NOT_IN_COUNTRY]) await bench.start(to);
      expect(bench.first.received.map(({ to }) => to).slice(5)).toEqual([GERMAN, NOT_IN_COUNTRY]);
      expect(bench.changes()).toEqual([
        {
          level: 'warn',
          message: 'provider taken out of its routes',
          provider: 'first',
          country: 'UZ',
          reason,
          coolOffMs: 10_000,
        },
      ]);
    },
  );

  it('is not taken out by four failures, and five in more than a minute are no outage either', async () => {
    const bench = await openTwo(failed('unavailable', '503'));
    for (let failure = 0; failure < 12; failure += 1) {
      await bench.start();
      bench.clock.advance(15_001);
    }
    expect([bench.first.received.length, bench.stateOf('first', 'UZ')]).toEqual([12, 'closed']);
  });

  it('is taken out everywhere at once when its account is at fault', async () => {
    const bench = await openTwo(failed('account', '20003'));
    await bench.start();
    await bench.start(GERMAN);
    expect([bench.first.received.length, bench.stateOf('first')]).toEqual([1, 'open']);
    expect(bench.changes()).toEqual([
      {
        level: 'warn',
        message: 'provider taken out of its routes',
        provider: 'first',
        reason: 'account',
        coolOffMs: 10_000,
      },
    ]);
  });

  it('that asks to slow down is left alone for as long as it says, everywhere', async () => {
    const bench = await openTwo(failed('throttled', '429', { retryAfterMs: 7000 }));
    await bench.start();
    bench.clock.advance(6999);
    await bench.start(GERMAN);
    expect(bench.first.received).toHaveLength(1);
    bench.clock.advance(1);
    await bench.start(GERMAN);
    expect(bench.first.received).toHaveLength(2);
  });

  it.each([
    ['recipient', failed('recipient', '21211')],
    ['blocked', failed('blocked', '60410')],
    ['STOP', failed('blocked', '21610', { optOut: true })],
    ['content', failed('content', '30007')],
    ['coverage', failed('coverage', '21408')],
  ] as const)('is not to blame for %s', async (_, outcome) => {
    const bench = await openTwo(outcome);
    for (let time = 0; time < 12; time += 1) await bench.start();
    expect([bench.first.received.length, bench.stateOf('first', 'UZ'), bench.changes()]).toEqual([12, 'closed', []]);
  });

  it('that hangs costs five messages their time, and further ones none', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const bench = await openTwo(accepted('never'));
    const never = Promise.withResolvers<SendOutcome>();
    bench.first.answer = () => never.promise;
    const five = bench.startMany(5);
    await until(() => bench.first.received.length === 5);
    await vi.advanceTimersByTimeAsync(3000);
    await five;
    // No timer moves any more: whoever waited for the first one would never be answered.
    for (let later = 0; later < 20; later += 1) expectStarted(await bench.start());
    expect([bench.first.received.length, bench.second.received.length]).toEqual([5, 25]);
  });
});

afterEach(() => {
  vi.useRealTimers();
});

describe('a route whose providers are all out', () => {
  it('is refused before anything is stored or counted, and says when to come back', async () => {
    const only = new FakeProvider('only');
    only.answer = async () => failed('account', '20003');
    const once = [{ max: 2, windowSeconds: 3600 }];
    const bench = await openBench(
      { limits: { ...noLimits, perNumber: once, perApp: once }, maxSends: 10, resendAfterSeconds: [0] },
      { providers: [only] },
    );
    const { countersign, clock } = bench;
    expect(await countersign.verifications.start({ to: NUMBER })).toMatchObject({ code: 'delivery-failed' });
    const { verificationId = '' } = await bench.lastMessage();
    clock.advance(2500);
    const refusal = { kind: 'refused', code: 'no-provider', retryAfterMs: 7500 };
    for (let time = 0; time < 3; time += 1) {
      expect(await countersign.verifications.start({ to: NUMBER })).toMatchObject(refusal);
      expect(await countersign.verifications.resend({ id: verificationId })).toMatchObject(refusal);
      expect(await countersign.messages.send({ to: NUMBER, text: 'Hello' })).toMatchObject(refusal);
    }
    expect(await countersign.messages.list()).toMatchObject({ messages: [{ id: expect.any(String) }] });
    only.answer = takes(only);
    clock.advance(7500);
    expectStarted(await countersign.verifications.start({ to: NUMBER }));
    expect(only.received).toHaveLength(2);
  });

  it('is refused while the only one is being asked whether it is well again', async () => {
    const probed = Promise.withResolvers<ProbeOutcome>();
    const only = new FakeProvider('only');
    only.answer = async () => failed('account', '20003');
    let probes = 0;
    only.probe = () => {
      probes += 1;
      return probed.promise;
    };
    const bench = await openBench({ limits: noLimits }, { providers: [only] });
    const { countersign, clock } = bench;
    await countersign.verifications.start({ to: NUMBER });
    clock.advance(10_000);
    // It was stored, counted and handed to nobody; its history did not say why.
    for (let time = 0; time < 3; time += 1)
      expect(await countersign.verifications.start({ to: '+998901234568' })).toMatchObject({
        code: 'no-provider',
        retryAfterMs: 3000,
      });
    expect((await bench.lastMessage()).to).toBe(NUMBER);
    expect(probes).toBe(1);
    only.answer = takes(only);
    probed.resolve({ kind: 'ready' });
    await probed.promise;
    await until(async () => (await countersign.verifications.start({ to: '+998901234568' })).kind === 'started');
    expect(only.received).toHaveLength(2);
  });
});

describe('after its cool-off a provider', () => {
  it('without a probe is tried with exactly one message of fifty at once', async () => {
    const bench = await openTwo(failed('unavailable', '503'));
    await failFive(bench);
    bench.clock.advance(9999);
    await bench.startMany(10);
    expect(bench.first.received).toHaveLength(5);
    bench.clock.advance(1);
    expect(bench.stateOf('first', 'UZ')).toBe('trial');
    const outcome = Promise.withResolvers<SendOutcome>();
    bench.first.answer = () => outcome.promise;
    const many = bench.startMany(50);
    await until(() => bench.second.received.length === 5 + 10 + 49);
    expect(bench.first.received).toHaveLength(6);
    outcome.resolve(accepted('1'));
    await many;
    expect(bench.stateOf('first', 'UZ')).toBe('closed');
    expect(bench.changes().at(-1)).toMatchObject({
      level: 'info',
      message: 'provider back in its routes',
      provider: 'first',
    });
    bench.first.answer = takes(bench.first);
    await bench.startMany(10);
    expect(bench.first.received).toHaveLength(16);
  });

  it('with a probe is asked once its cool-off is over, so that the next message finds it well', async () => {
    vi.useFakeTimers({ toFake: ['setInterval'] });
    const probed = Promise.withResolvers<ProbeOutcome>();
    const only = new FakeProvider('only');
    let probes = 0;
    only.probe = () => {
      probes += 1;
      return probed.promise;
    };
    only.answer = async () => failed('account', '401');
    const { countersign, clock } = await openBench({}, { providers: [only] });
    await countersign.verifications.start({ to: NUMBER, subject: 'first' });
    await vi.advanceTimersByTimeAsync(2000);
    expect(probes, 'while it cools off').toBe(0);
    clock.advance(10_000);
    await vi.advanceTimersByTimeAsync(2000);
    expect(probes, 'asked, once').toBe(1);
    probed.resolve({ kind: 'ready' });
    await probed.promise;
    only.answer = async () => accepted('1');
    // It was refused, and only that refusal had the provider asked.
    await until(
      async () => (await countersign.verifications.start({ to: NUMBER, subject: 'second' })).kind === 'started',
    );
    expect(only.received).toHaveLength(2);
  });

  it('with a probe is asked in the background, no message waits for it, and then one is the trial', async () => {
    let probed = Promise.withResolvers<ProbeOutcome>();
    let probes = 0;
    const bench = await openTwo(failed('unavailable', '503'), {}, () => {
      probes += 1;
      return probed.promise;
    });
    await failFive(bench);
    await bench.start();
    expect(probes).toBe(0);
    bench.clock.advance(10_000);
    await bench.startMany(20);
    expect([probes, bench.first.received.length, bench.second.received.length]).toEqual([1, 5, 26]);
    // It is still down: the cool-off is twice as long.
    const asked = probed;
    probed = Promise.withResolvers();
    asked.resolve({ kind: 'failed', reason: 'unavailable', code: 'ECONNREFUSED', fix: 'wait' });
    await until(() => bench.stateOf('first', 'UZ') === 'open');
    bench.clock.advance(19_999);
    await bench.startMany(5);
    expect(probes).toBe(1);
    bench.clock.advance(1);
    await bench.start();
    expect([probes, bench.first.received.length]).toEqual([2, 5]);
    probed.resolve({ kind: 'ready' });
    await new Promise((resolve) => setImmediate(resolve));
    const outcome = Promise.withResolvers<SendOutcome>();
    bench.first.answer = () => outcome.promise;
    const many = bench.startMany(50);
    await until(() => bench.second.received.length === 26 + 5 + 1 + 49);
    expect(bench.first.received).toHaveLength(6);
    outcome.resolve(accepted('1'));
    await many;
    expect(bench.changes().map(({ message }) => message)).toEqual([
      'provider taken out of its routes',
      'provider back in its routes',
    ]);
  });

  it.each([
    ['throws', () => Promise.reject(new Error('ECONNRESET'))],
    [
      'throws at once',
      () => {
        throw new TypeError('undefined is not a function');
      },
    ],
    ['never answers, whatever its signal says', () => new Promise<ProbeOutcome>(() => {})],
  ])('whose probe %s is asked again later, and not kept out for ever', async (_, probe) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    let probes = 0;
    const bench = await openTwo(failed('unavailable', '503'), {}, () => {
      probes += 1;
      return probes === 1 ? probe() : Promise.resolve({ kind: 'ready' });
    });
    await failFive(bench);
    bench.clock.advance(10_000);
    await bench.start();
    await vi.advanceTimersByTimeAsync(3000);
    expect(bench.stateOf('first', 'UZ')).toBe('open');
    bench.clock.advance(20_000);
    bench.first.answer = takes(bench.first);
    await bench.start();
    await until(async () => {
      await bench.start();
      return bench.first.received.length > 5;
    });
    expect([probes, bench.stateOf('first', 'UZ')]).toEqual([2, 'closed']);
  });

  it('is out for twice as long after each trial that fails, up to a minute, and ten seconds again once it was well', async () => {
    const bench = await openTwo(failed('unavailable', '503'));
    await failFive(bench);
    for (const coolOffMs of [10_000, 20_000, 40_000, 60_000, 60_000]) {
      const before = bench.first.received.length;
      bench.clock.advance(coolOffMs - 1);
      await bench.start();
      expect(bench.first.received).toHaveLength(before);
      bench.clock.advance(1);
      await bench.start();
      expect(bench.first.received).toHaveLength(before + 1);
    }
    bench.clock.advance(60_000);
    bench.first.answer = takes(bench.first);
    await bench.start();
    bench.first.answer = async () => failed('unavailable', '503');
    await failFive(bench);
    bench.clock.advance(10_000);
    expect(bench.stateOf('first', 'UZ')).toBe('trial');
  });

  it('whose trial never comes back is tried again', async () => {
    const bench = await openTwo(failed('unavailable', '503'));
    await failFive(bench);
    bench.clock.advance(10_000);
    const lost = Promise.withResolvers<SendOutcome>();
    bench.first.answer = () => lost.promise;
    const abandoned = bench.start();
    await until(() => bench.first.received.length === 6);
    bench.clock.advance(15_000);
    bench.first.answer = takes(bench.first);
    await bench.start();
    expect([bench.first.received.length, bench.stateOf('first', 'UZ')]).toEqual([7, 'closed']);
    lost.resolve(accepted('late'));
    await abandoned;
  });
});

describe('what was handed over before a provider was taken out', () => {
  /** Hands `late` over, lets `answer` take the provider out meanwhile, and then says what became of the late ones. */
  async function overtaken(answer: SendOutcome, late: SendOutcome, count = 1): Promise<OpenBreaker> {
    const bench = await openTwo(answer);
    const outcome = Promise.withResolvers<SendOutcome>();
    bench.first.answer = () => outcome.promise;
    const many = bench.startMany(count);
    await until(() => bench.first.received.length === count);
    bench.first.answer = async () => answer;
    await bench.start();
    outcome.resolve(late);
    await many;
    return bench;
  }

  it.each([
    ['arrived', accepted('late')],
    ['met an outage', failed('unavailable', '503')],
    ['had a bad number', failed('recipient', '21211')],
  ])('does not put it back: a text that %s', async (_, late) => {
    // One answer that was on its way opened a breaker again that the account had closed for everybody.
    const bench = await overtaken(failed('account', '20003'), late);
    expect(bench.stateOf('first')).toBe('open');
    const throttled = await overtaken(failed('throttled', '429', { retryAfterMs: 30_000 }), late);
    throttled.clock.advance(29_999);
    expect(throttled.stateOf('first')).toBe('open');
  });

  it('does not lengthen its cool-off: fifty at once that fail are one failure', async () => {
    const bench = await overtaken(failed('account', '20003'), failed('account', '20003'), 50);
    bench.clock.advance(10_000);
    expect(bench.stateOf('first')).toBe('trial');
    bench.first.answer = async () => failed('account', '20003');
    await bench.start();
    bench.clock.advance(20_000);
    // It was a minute by then.
    expect(bench.stateOf('first')).toBe('trial');
  });

  it('does not shorten it: an account at fault is not well again in the second that a busy one asks for', async () => {
    const bench = await overtaken(failed('account', '20003'), failed('throttled', '429', { retryAfterMs: 1000 }));
    bench.clock.advance(9999);
    expect(bench.stateOf('first')).toBe('open');
  });
});

describe('a trial after an account was at fault', () => {
  it('that ends in an outage says nothing good of the account', async () => {
    const bench = await openTwo(failed('account', '20003'));
    await bench.start();
    bench.clock.advance(10_000);
    bench.first.answer = async () => failed('unavailable', 'ECONNREFUSED');
    await bench.start();
    expect(bench.stateOf('first')).toBe('open');
    await bench.startMany(10);
    // Longer than a trial is waited for: it has failed, and is not merely unanswered.
    bench.clock.advance(19_999);
    expect(bench.stateOf('first')).toBe('open');
    await bench.startMany(10);
    expect(bench.first.received).toHaveLength(2);
  });
});

describe('maxPerSecond', () => {
  it('sends what is above it by the next provider, at once', async () => {
    const bench = await openTwo(accepted('1'), { maxPerSecond: 10 });
    bench.first.answer = takes(bench.first);
    await bench.startMany(25);
    expect([bench.first.received.length, bench.second.received.length]).toEqual([10, 15]);
    bench.clock.advance(500);
    await bench.startMany(25);
    expect(bench.first.received).toHaveLength(15);
    bench.clock.advance(HOUR);
    await bench.startMany(25);
    expect(bench.first.received).toHaveLength(25);
    expect(bench.changes()).toEqual([]);
  });

  it('waits for a place where there is no next provider', async () => {
    const only = new FakeProvider('only', { maxPerSecond: 200 });
    const bench = await openBench({ limits: noLimits }, { providers: [only] });
    const startedAt = performance.now();
    const answers = await Promise.all(
      Array.from({ length: 210 }, (_, subject) =>
        bench.countersign.verifications.start({ to: NUMBER, subject: String(subject) }),
      ),
    );
    for (const answer of answers) expectStarted(answer);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(10 * 5 - 5);
  });

  it('refuses who would wait longer than a hand-over may take, and the message says why', async () => {
    const only = new FakeProvider('only', { maxPerSecond: 1 });
    const bench = await openBench({ limits: noLimits }, { providers: [only] });
    const { countersign } = bench;
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    expectStarted(await countersign.verifications.start({ to: NUMBER, subject: 'first' }));
    const places = Array.from({ length: 7 }, (_, place) =>
      countersign.verifications.start({ to: NUMBER, subject: `${place}` }),
    );
    const answer = await countersign.verifications.start({ to: NUMBER, subject: 'one too many' });
    expect(answer).toMatchObject({ code: 'delivery-failed', retryAfterMs: 8000 });
    // Its history was empty: nobody could tell why it had failed (invariant 8).
    const listed = await countersign.messages.list();
    const lost = listed.kind === 'found' ? listed.messages.filter(({ status }) => status === 'failed') : [];
    expect(lost).toMatchObject([{ dispatches: [{ provider: 'none', state: 'failed', reason: 'throttled' }] }]);
    await vi.advanceTimersByTimeAsync(7000);
    for (const place of await Promise.all(places)) expectStarted(place);
  });

  it('below one is one in several seconds, and not never', async () => {
    const bench = await openTwo(accepted('1'), { maxPerSecond: 0.5 });
    bench.first.answer = takes(bench.first);
    // Its first place was always a second away, and so always somebody else's.
    await bench.startMany(3);
    expect(bench.first.received).toHaveLength(1);
    bench.clock.advance(1999);
    await bench.start();
    expect(bench.first.received).toHaveLength(1);
    bench.clock.advance(1);
    await bench.start();
    expect(bench.first.received).toHaveLength(2);
  });
});

// It was out for as long as the clock had been wrong.
describe('a clock that is set back an hour', () => {
  it('keeps no provider out', async () => {
    const bench = await openTwo(failed('account', '401'));
    await bench.start();
    expect(bench.stateOf('first')).toBe('open');
    bench.clock.advance(-HOUR);
    bench.first.answer = takes(bench.first);
    await bench.start();
    expect([bench.first.received.length, bench.stateOf('first')]).toEqual([2, 'closed']);
  });

  it('lets one trial through, and says when the next is', async () => {
    const bench = await openTwo(failed('account', '401'));
    await bench.start();
    bench.clock.advance(-HOUR);
    bench.first.answer = () => new Promise(() => {});
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const trial = bench.start();
    await until(() => bench.first.received.length === 2);
    const [view] = bench.countersign.providers.health();
    expect(view).toMatchObject({ state: 'open', openUntil: bench.clock.now + 15_000 });
    await vi.advanceTimersByTimeAsync(3000);
    await trial;
  });

  it('leaves no place of maxPerSecond taken', async () => {
    const bench = await openTwo(accepted('1'), { maxPerSecond: 2 });
    bench.first.answer = takes(bench.first);
    await bench.startMany(3);
    bench.clock.advance(-HOUR);
    await bench.startMany(3);
    expect(bench.first.received).toHaveLength(4);
  });
});
